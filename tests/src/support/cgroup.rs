//! A control group with a memory limit, of version 1 or 2; for root.

use std::fs;
use std::path::{Path, PathBuf};

use super::peer;

/// The group, removed with its owner. Its processes have to have ended by then.
#[derive(Debug)]
pub struct MemoryGroup {
    path: PathBuf,
    is_v2: bool,
}

impl MemoryGroup {
    /// A group of so many MiB. `None` (and a line on stderr) where none can be made.
    ///
    /// # Panics
    /// If none can be made, and `AQUEDUCT_REQUIRE_ROOT=1`.
    pub fn of_mib(mebibytes: u64) -> Option<Self> {
        Self::make(mebibytes << 20).inspect_err(|why| peer::skip("AQUEDUCT_REQUIRE_ROOT", why)).ok()
    }

    fn make(bytes: u64) -> Result<Self, String> {
        let v1 = Path::new("/sys/fs/cgroup/memory");
        let is_v2 = !v1.join("memory.limit_in_bytes").exists();
        let root = if is_v2 { Path::new("/sys/fs/cgroup") } else { v1 };
        let path = root.join(format!("aqueduct-test-{}", std::process::id()));
        let needs = |error: std::io::Error| format!("a memory cgroup needs root: {}: {error}", path.display());
        fs::create_dir_all(&path).map_err(needs)?;
        let group = Self { path, is_v2 };
        let limit = group.path.join(if is_v2 { "memory.max" } else { "memory.limit_in_bytes" });
        match fs::write(&limit, bytes.to_string()) {
            Ok(()) => Ok(group),
            Err(error) => Err(format!("a memory cgroup needs root and that controller: {}: {error}", limit.display())),
        }
    }

    /// Where a process joins by writing its id.
    pub fn processes(&self) -> PathBuf {
        self.path.join("cgroup.procs")
    }

    /// How often the kernel ended a process of it for want of memory.
    ///
    /// # Panics
    /// If the kernel does not tell.
    pub fn kills(&self) -> u64 {
        let file = self.path.join(if self.is_v2 { "memory.events" } else { "memory.oom_control" });
        let text = fs::read_to_string(&file).expect("the group is there");
        let line = text.lines().find_map(|line| line.strip_prefix("oom_kill "));
        line.and_then(|number| number.trim().parse().ok()).expect("a kernel that counts them")
    }
}

impl Drop for MemoryGroup {
    fn drop(&mut self) {
        // Threads that the kernel ran for a process may outlive it for a moment.
        for _ in 0..100 {
            if fs::remove_dir(&self.path).is_ok() {
                break;
            }
            std::thread::sleep(std::time::Duration::from_millis(10));
        }
    }
}
