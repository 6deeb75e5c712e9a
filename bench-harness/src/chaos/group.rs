//! A control group with one limit, which it may exceed no longer than its owner lives: then it is removed, as it is when the run is killed.

use std::fs;
use std::path::{Path, PathBuf};

use miette::{IntoDiagnostic, Result, WrapErr};

use crate::reaper::{self, Duty};

/// The group.
pub(super) struct Group {
    path: PathBuf,
    /// The file of its limit.
    limit: &'static str,
    duty: Duty,
}

impl Group {
    /// Makes one below the root of a controller. `lifted`: what stands in the file of the limit where there is none.
    pub(super) fn make(root: &Path, name: &str, limit: &'static str, lifted: String) -> Result<Self> {
        let path = root.join(name);
        fs::create_dir_all(&path).into_diagnostic().wrap_err_with(|| path.display().to_string())?;
        let duty = Duty::Group(path.clone(), limit, lifted);
        reaper::enrol(duty.clone());
        Ok(Self { path, limit, duty })
    }

    /// A process joins.
    pub(super) fn admit(&self, pid: u32) -> Result<()> {
        write(&self.processes(), &pid.to_string())
    }

    /// Sets the limit.
    pub(super) fn limit(&self, text: &str) -> Result<()> {
        write(&self.path.join(self.limit), text)
    }

    /// Where a process joins by writing its id.
    pub(super) fn processes(&self) -> PathBuf {
        self.path.join("cgroup.procs")
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        reaper::end(&self.duty);
        reaper::discharge(&self.duty);
    }
}

fn write(path: &Path, text: &str) -> Result<()> {
    fs::write(path, text).into_diagnostic().wrap_err_with(|| path.display().to_string())
}
