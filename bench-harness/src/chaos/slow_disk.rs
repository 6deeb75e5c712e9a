//! A disk for a broker that takes little in a second.
//!
//! A control group limits what its processes write to the device. In version 1 of control groups such a limit does not see pages that
//! are written later, by the kernel; so the file system is written through: a write returns when the device has taken it, which its
//! writer waits for.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use miette::{IntoDiagnostic, Result};
use rustix::process::Pid;

use super::disk::Disk;
use super::group::Group;

/// The two controllers there are, as their files want a limit written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Controller {
    /// `blkio`, of version 1.
    Blkio,
    /// `io`, of version 2.
    Io,
}

/// The disk, and the group of those whose writes to it are slow.
pub(super) struct SlowDisk {
    // It goes first: what is slow is slow to unmount.
    group: Group,
    controller: Controller,
    /// `major:minor`.
    device: String,
    _disk: Disk,
}

impl SlowDisk {
    /// Makes that of a broker, counted from 1, and mounts it in `dir` under the broker's number. It is not limited yet.
    pub(super) fn create(dir: &Path, broker: u32) -> Result<Self> {
        let disk = Disk::written_through(dir, &broker.to_string())?;
        let number = fs::metadata(disk.path()).into_diagnostic()?.dev();
        let device = format!("{}:{}", rustix::fs::major(number), rustix::fs::minor(number));
        let controller = Controller::of_machine();
        let name = format!("aqueduct-chaos-{}-disk-{broker}", std::process::id());
        let group = Group::make(controller.root(), &name, controller.file(), controller.limit(&device, None))?;
        let slow = Self { group, controller, device, _disk: disk };
        // What refuses this refuses every limit.
        slow.limit(None).map(|()| slow)
    }

    /// From now on this process is one of those whose writes are limited.
    pub(super) fn slows(&self, process: Pid) -> Result<()> {
        self.group.admit(process.as_raw_nonzero().get() as u32)
    }

    /// How many bytes all of them together may write to it in a second; `None` is as many as it takes.
    pub(super) fn limit(&self, bytes_a_second: Option<u64>) -> Result<()> {
        self.group.limit(&self.controller.limit(&self.device, bytes_a_second))
    }
}

impl Controller {
    fn of_machine() -> Self {
        if Self::Blkio.root().is_dir() {
            return Self::Blkio;
        }
        // Where they were given to groups already this changes nothing. What is written for a group later is known for its own by
        // its memory.
        let _ = fs::write(Self::Io.root().join("cgroup.subtree_control"), "+io +memory");
        Self::Io
    }

    fn root(self) -> &'static Path {
        Path::new(match self {
            Self::Blkio => "/sys/fs/cgroup/blkio",
            Self::Io => "/sys/fs/cgroup",
        })
    }

    /// The file of the limit.
    fn file(self) -> &'static str {
        match self {
            Self::Blkio => "blkio.throttle.write_bps_device",
            Self::Io => "io.max",
        }
    }

    /// What to write there.
    fn limit(self, device: &str, bytes_a_second: Option<u64>) -> String {
        match (self, bytes_a_second) {
            (Self::Blkio, bytes) => format!("{device} {}", bytes.unwrap_or(0)),
            (Self::Io, Some(bytes)) => format!("{device} wbps={bytes}"),
            (Self::Io, None) => format!("{device} wbps=max"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_is_written_as_the_kernel_reads_it() {
        let check = |controller: Controller, bytes: Option<u64>, expected: &str| {
            assert_eq!(controller.limit("7:3", bytes), expected);
        };
        check(Controller::Blkio, Some(1 << 20), "7:3 1048576");
        check(Controller::Blkio, None, "7:3 0");
        check(Controller::Io, Some(1 << 20), "7:3 wbps=1048576");
        check(Controller::Io, None, "7:3 wbps=max");
    }
}
