//! What the kernel allows: its version, io_uring, locked memory, descriptors, cores and memory.

use rustix::process::{Resource, getrlimit};

use super::Finding;
use crate::config::{Config, Machine, unit};

/// glommio needs features of io_uring that came with this version.
const KERNEL_MIN: (u32, u32) = (5, 8);
/// What an executor's rings and buffers pin.
const MEMLOCK_PER_SHARD_BYTES: u64 = 512 * unit::KB;
/// Below this a fleet of any size meets the limit first.
const DESCRIPTORS_COMFORTABLE: u64 = 65_536;

pub(super) fn version() -> Finding {
    let release = rustix::system::uname().release().to_string_lossy().to_string();
    let mut numbers = release.split(['.', '-']).map_while(|part| part.parse::<u32>().ok());
    let version = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0));
    if version >= KERNEL_MIN {
        return Finding::good("kernel", release);
    }
    let why = "the shards use io_uring as Linux 5.8 has it";
    Finding::failure("kernel", release, why, "run Linux 5.8 or newer")
}

pub(super) fn io_uring(shards: usize) -> Finding {
    match crate::driver::probe(shards) {
        Ok(()) => Finding::good("io_uring", format!("rings for {shards} shards can be set up")),
        // The sentence holds the reason and the fix, as a run would print it.
        Err(error) => Finding::failure("io_uring", error.to_string(), "every shard is driven by one", ""),
    }
}

pub(super) fn locked_memory(shards: usize) -> Finding {
    let subject = "locked memory";
    let need = MEMLOCK_PER_SHARD_BYTES * shards as u64;
    let Some(limit) = getrlimit(Resource::Memlock).current else { return Finding::good(subject, "unlimited") };
    let found = format!("{} allowed, {} wanted for {shards} shards", unit::show_size(limit), unit::show_size(need));
    if limit >= need {
        return Finding::good(subject, found);
    }
    let why = "the rings of a shard are locked memory; without it the shard cannot start";
    let fix = format!(
        "LimitMEMLOCK={need} in the systemd unit, `--ulimit memlock={need}` for docker, or `ulimit -l {}`",
        need / unit::KB
    );
    if rustix::process::geteuid().is_root() {
        return Finding::warning(subject, format!("{found} (root is exempt)"), why, fix);
    }
    Finding::failure(subject, found, why, fix)
}

pub(super) fn descriptors() -> Finding {
    let subject = "file descriptors";
    // A run raises its own limit to the hard one.
    let Some(hard) = getrlimit(Resource::Nofile).maximum else { return Finding::good(subject, "unlimited") };
    let found = format!("{hard} allowed: about {} clients", hard / 10 * 8);
    if hard >= DESCRIPTORS_COMFORTABLE {
        return Finding::good(subject, found);
    }
    let why = "every client holds one";
    let fix = "LimitNOFILE=1048576 in the systemd unit, `--ulimit nofile=1048576` for docker, or `ulimit -Hn 1048576`";
    Finding::warning(subject, found, why, fix)
}

pub(super) fn cores(shards: usize, machine: &Machine) -> Finding {
    let subject = "cores";
    let found = format!("{} allowed by cpuset and affinity, {shards} shards", machine.cores);
    if shards <= machine.cores {
        return Finding::good(subject, found);
    }
    let why = "shards that share a core wait for each other";
    Finding::warning(subject, found, why, format!("write node.shards = {}, or allow more cores", machine.cores))
}

pub(super) fn memory(config: &Config, machine: &Machine) -> Finding {
    let subject = "memory";
    let limit = config.node.memory_limit_bytes;
    let found = format!("{} MB planned of {} MB", limit / unit::MB, machine.memory_bytes / unit::MB);
    if limit <= machine.memory_bytes / 10 * 9 {
        return Finding::good(subject, found);
    }
    let why = "the system needs some too; beyond it the kernel ends processes";
    Finding::warning(subject, found, why, "write node.memory_limit = \"70%\"")
}
