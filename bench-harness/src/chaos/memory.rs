//! A memory limit for the product: a control group of version 1 or 2, removed when it is empty. A process that joins takes nothing along
//! of what it has; one that is started inside is charged for all.

use std::fs;
use std::path::{Path, PathBuf};

use miette::{IntoDiagnostic, Result, WrapErr, bail};

/// The group.
pub(super) struct MemoryGroup {
    path: PathBuf,
    /// The file of the limit, and the word for none.
    limit: (&'static str, &'static str),
    root: PathBuf,
}

impl MemoryGroup {
    /// Puts a process into a group of its own with a limit.
    pub(super) fn confine(pid: u32, mebibytes: u32) -> Result<Self> {
        let (root, limit) = if Path::new("/sys/fs/cgroup/memory/memory.limit_in_bytes").exists() {
            (PathBuf::from("/sys/fs/cgroup/memory"), ("memory.limit_in_bytes", "-1"))
        } else if fs::read_to_string("/sys/fs/cgroup/cgroup.controllers").is_ok_and(|all| all.contains("memory")) {
            (PathBuf::from("/sys/fs/cgroup"), ("memory.max", "max"))
        } else {
            bail!("no memory control group on this machine");
        };
        let group = Self { path: root.join(format!("aqueduct-chaos-{pid}")), limit, root };
        fs::create_dir_all(&group.path).into_diagnostic().wrap_err_with(|| group.path.display().to_string())?;
        group.write(group.limit.0, &format!("{}", u64::from(mebibytes) << 20))?;
        group.write("cgroup.procs", &pid.to_string())?;
        Ok(group)
    }

    /// Where a process joins by writing its id.
    pub(super) fn processes(&self) -> PathBuf {
        self.path.join("cgroup.procs")
    }

    fn write(&self, file: &str, text: &str) -> Result<()> {
        let path = self.path.join(file);
        fs::write(&path, text).into_diagnostic().wrap_err_with(|| path.display().to_string())
    }
}

impl Drop for MemoryGroup {
    fn drop(&mut self) {
        let _ = self.write(self.limit.0, self.limit.1);
        let members = fs::read_to_string(self.path.join("cgroup.procs")).unwrap_or_default();
        for pid in members.lines() {
            let _ = fs::write(self.root.join("cgroup.procs"), pid);
        }
        let _ = fs::remove_dir(&self.path);
    }
}
