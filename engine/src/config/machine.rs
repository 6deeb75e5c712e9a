//! What the machine has: memory for percentages, cores for shards.

use std::fs;
use std::path::Path;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Facts of the machine that defaults are derived from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Machine {
    /// Memory this process may use, in bytes: the machine's, or its cgroup's where that is less.
    pub memory_bytes: u64,
    /// Cores this process may run on, at least 1.
    pub cores: usize,
    /// Files and sockets this process may have open.
    pub descriptors: u64,
}

impl Machine {
    /// Asks the kernel. What cannot be read is assumed small: 1 GB, one core.
    pub fn probe() -> Self {
        let physical = meminfo_total().unwrap_or(super::unit::GB);
        let v2 = cgroup_limit("0::", "/sys/fs/cgroup", "memory.max");
        let v1 = cgroup_limit(":memory:", "/sys/fs/cgroup/memory", "memory.limit_in_bytes");
        let limits = [v2, v1];
        let memory_bytes = limits.into_iter().flatten().fold(physical, u64::min);
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let descriptors = getrlimit(Resource::Nofile).maximum.unwrap_or(u64::MAX);
        Self { memory_bytes, cores, descriptors }
    }

    /// Lifts this process's own limit of open files to what the system allows it.
    pub fn raise_descriptors() {
        let limit = getrlimit(Resource::Nofile);
        let raised = Rlimit { current: limit.maximum, maximum: limit.maximum };
        // A refusal leaves the old limit, which `doctor` shows.
        let _ = setrlimit(Resource::Nofile, raised);
    }
}

fn meminfo_total() -> Option<u64> {
    let text = fs::read_to_string("/proc/meminfo").ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()?.checked_mul(1024)
}

/// The least limit from this process's cgroup up to the root: the group in the line with `mark`, its files called `file`. In a
/// container the path may be the host's, of which nothing but the root is there.
fn cgroup_limit(mark: &str, root: &str, file: &str) -> Option<u64> {
    let text = fs::read_to_string("/proc/self/cgroup").ok()?;
    let path = text.lines().find_map(|line| line.split_once(mark).map(|(_, path)| path))?;
    let parents = Path::new(path.trim_start_matches('/')).ancestors();
    parents.filter_map(|dir| number_in(&Path::new(root).join(dir).join(file))).min()
}

fn number_in(path: &Path) -> Option<u64> {
    fs::read_to_string(path).ok()?.trim().parse().ok()
}
