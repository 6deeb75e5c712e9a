//! A memory limit for the product: a control group of version 1 or 2. A process that joins takes nothing along of what it has; one that is
//! started inside is charged for all.

use std::fs;
use std::path::{Path, PathBuf};

use miette::{Result, bail};

use super::group::Group;

/// The group.
pub(super) struct MemoryGroup(Group);

impl MemoryGroup {
    /// Puts a process into a group of its own with a limit.
    pub(super) fn confine(pid: u32, mebibytes: u32) -> Result<Self> {
        // The file of the limit, and the word for none.
        let (root, limit, none) = if Path::new("/sys/fs/cgroup/memory/memory.limit_in_bytes").exists() {
            ("/sys/fs/cgroup/memory", "memory.limit_in_bytes", "-1")
        } else if fs::read_to_string("/sys/fs/cgroup/cgroup.controllers").is_ok_and(|all| all.contains("memory")) {
            ("/sys/fs/cgroup", "memory.max", "max")
        } else {
            bail!("no memory control group on this machine");
        };
        let group = Group::make(Path::new(root), &format!("aqueduct-chaos-{pid}"), limit, none.to_owned())?;
        group.limit(&format!("{}", u64::from(mebibytes) << 20))?;
        group.admit(pid)?;
        Ok(Self(group))
    }

    /// Where a process joins by writing its id.
    pub(super) fn processes(&self) -> PathBuf {
        self.0.processes()
    }
}
