//! A disk that takes little in a second; for root.
//!
//! It is an ext4 on a file, and a control group limits what its processes write to that device. In version 1 of control groups such a
//! limit does not see pages that are written later, by the kernel; so this file system is written through: a write returns when the
//! device has taken it, which its writer waits for.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::peer;
use super::small_disk::SmallDisk;

/// The disk and the group of those whose writes are slow; both go with their owner.
#[derive(Debug)]
pub struct SlowDisk {
    disk: SmallDisk,
    group: PathBuf,
    is_v2: bool,
    /// `major:minor`.
    device: String,
}

impl SlowDisk {
    /// One of so many bytes, not limited yet. `None` (and a line on stderr) where none can be made.
    ///
    /// # Panics
    /// If none can be made, and `AQUEDUCT_REQUIRE_ROOT=1`.
    pub fn of_bytes(bytes: u64) -> Option<Self> {
        let disk = SmallDisk::written_through(bytes)?;
        let number = fs::metadata(disk.path()).expect("it is mounted").dev();
        let device = format!("{}:{}", rustix::fs::major(number), rustix::fs::minor(number));
        let v1 = Path::new("/sys/fs/cgroup/blkio");
        let is_v2 = !v1.is_dir();
        let root = if is_v2 { Path::new("/sys/fs/cgroup") } else { v1 };
        if is_v2 {
            // Where it was given to groups already this changes nothing.
            let _ = fs::write(root.join("cgroup.subtree_control"), "+io");
        }
        let group = root.join(format!("aqueduct-test-disk-{}", std::process::id()));
        let made = fs::create_dir_all(&group);
        let slow = Self { disk, group, is_v2, device };
        let limited = made.and_then(|()| slow.write_limit(None));
        let needs = |error| format!("a limit of a disk needs root and the controller blkio or io: {error}");
        limited.map_err(needs).inspect_err(|why| peer::skip("AQUEDUCT_REQUIRE_ROOT", why)).ok().map(|()| slow)
    }

    /// Where it is mounted.
    pub fn path(&self) -> &Path {
        self.disk.path()
    }

    /// From now on this process is one of those whose writes are limited.
    ///
    /// # Panics
    /// If it does not run.
    pub fn slows(&self, pid: i32) {
        fs::write(self.group.join("cgroup.procs"), pid.to_string()).expect("it runs");
    }

    /// How many bytes all of them together may write to it in a second; `None` is as many as it takes.
    ///
    /// # Panics
    /// If the kernel refuses.
    pub fn limit(&self, bytes_a_second: Option<u64>) {
        self.write_limit(bytes_a_second).expect("the kernel has taken another limit before");
    }

    fn write_limit(&self, bytes_a_second: Option<u64>) -> std::io::Result<()> {
        let device = &self.device;
        if self.is_v2 {
            let bytes = bytes_a_second.map_or_else(|| "max".to_owned(), |bytes| bytes.to_string());
            return fs::write(self.group.join("io.max"), format!("{device} wbps={bytes}"));
        }
        let bytes = bytes_a_second.unwrap_or(0);
        fs::write(self.group.join("blkio.throttle.write_bps_device"), format!("{device} {bytes}"))
    }
}

impl Drop for SlowDisk {
    fn drop(&mut self) {
        let _ = self.write_limit(None);
        let members = fs::read_to_string(self.group.join("cgroup.procs")).unwrap_or_default();
        let root = self.group.with_file_name("cgroup.procs");
        for member in members.lines() {
            let _ = fs::write(&root, member);
        }
        let _ = fs::remove_dir(&self.group);
    }
}
