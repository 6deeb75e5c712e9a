//! strace, which has every sync of a process fail, or a shard of it panic.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use miette::{IntoDiagnostic, Result, bail, miette};

use crate::system::Running;
use crate::system::process::Process;

const CALLS: &str = "fsync,fdatasync,sync_file_range";
/// What a shard waits in.
const WAITS: &str = "epoll_wait,epoll_pwait,epoll_pwait2";
/// There is always a first one.
const SHARD: &str = "shard-1";
/// How long it may take to reach every thread.
const ATTACHED: Duration = Duration::from_secs(30);

/// From when this returns until the tracer is stopped every sync fails with EIO.
pub(super) fn fail_syncs(pid: u32, log: &Path) -> Result<Process> {
    let mut strace = Command::new("strace");
    strace.args(["-f", "-q", "-e", &format!("trace={CALLS}"), "-e", &format!("inject={CALLS}:error=EIO")]);
    strace.args(["-o", "/dev/null", "-p", &pid.to_string()]);
    let tracer = Process::start("strace", &mut strace, log)?;
    let start = Instant::now();
    while !is_traced(pid)? {
        if start.elapsed() > ATTACHED {
            bail!("strace has not reached every thread within {ATTACHED:?}; see {}", log.display());
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    Ok(tracer)
}

/// The wait for events of a shard fails, at which it panics, and the process ends.
pub(super) fn end_shard(node: &mut Running, log: &Path) -> Result<()> {
    let shard = oldest_thread(node.process.id(), SHARD)?;
    let mut strace = Command::new("strace");
    strace.args(["-q", "-e", &format!("trace={WAITS}"), "-e", &format!("inject={WAITS}:error=EBADF")]);
    strace.args(["-o", "/dev/null", "-p", &shard.to_string()]);
    let tracer = Process::start("strace", &mut strace, log)?;
    let start = Instant::now();
    while node.process.is_running() {
        if start.elapsed() > ATTACHED {
            bail!("the product goes on without a shard; see {}", log.display());
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    tracer.stop()
}

/// The oldest thread of that name: a shard's helpers bear its name too.
fn oldest_thread(pid: u32, name: &str) -> Result<u32> {
    let threads = fs::read_dir(format!("/proc/{pid}/task")).into_diagnostic()?.flatten();
    let of_name =
        threads.filter(|thread| fs::read_to_string(thread.path().join("comm")).is_ok_and(|found| found.trim() == name));
    let ids = of_name.filter_map(|thread| thread.file_name().to_str()?.parse().ok());
    ids.min().ok_or_else(|| miette!("process {pid} has no thread {name}"))
}

/// Whether every thread of the process has a tracer.
fn is_traced(pid: u32) -> Result<bool> {
    let threads = fs::read_dir(format!("/proc/{pid}/task")).into_diagnostic()?;
    Ok(threads.flatten().all(|thread| {
        let status = fs::read_to_string(thread.path().join("status")).unwrap_or_default();
        status.lines().any(|line| line.strip_prefix("TracerPid:").is_some_and(|tracer| tracer.trim() != "0"))
    }))
}
