//! File systems of a few megabytes, to be filled. Mounting takes root.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::peer;
use super::scratch::Scratch;

/// A small file system, unmounted when it is dropped.
#[derive(Debug)]
pub struct SmallDisk {
    path: PathBuf,
    _scratch: Scratch,
}

impl SmallDisk {
    /// One in memory, which can grow. `None` (and a line on stderr) where this user may not mount; with `AQUEDUCT_REQUIRE_ROOT=1`
    /// that is a failure.
    pub fn in_memory(size: &str) -> Option<Self> {
        Self::mount(|_, path| run(mount().args(["-t", "tmpfs", "-o", &format!("size={size}"), "tmpfs"]).arg(path)))
    }

    /// As [`in_memory`](Self::in_memory), ext4 on a file: a directory takes room there too.
    pub fn ext4(bytes: u64) -> Option<Self> {
        Self::mount(|scratch, path| {
            let image = scratch.join("image");
            File::create(&image).and_then(|file| file.set_len(bytes)).expect("a sparse file");
            let plain = ["-q", "-F", "-m", "0", "-O", "^has_journal"];
            run(Command::new("mkfs.ext4").args(plain).arg(&image))
                && run(mount().args(["-o", "loop"]).arg(&image).arg(path))
        })
    }

    fn mount(mount: impl FnOnce(&Path, &Path) -> bool) -> Option<Self> {
        let scratch = Scratch::new("disk");
        let path = scratch.path().join("disk");
        fs::create_dir_all(&path).expect("a folder");
        if !mount(scratch.path(), &path) {
            peer::skip("AQUEDUCT_REQUIRE_ROOT", "no file system can be mounted here; that takes root");
            return None;
        }
        Some(Self { path, _scratch: scratch })
    }

    /// Where it is mounted.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Another size, of one in memory.
    ///
    /// # Panics
    /// If it cannot be had.
    pub fn grow(&self, size: &str) {
        assert!(run(mount().args(["-o", &format!("remount,size={size}")]).arg(&self.path)), "a tmpfs can grow");
    }

    /// Takes what is left of it, to the last block.
    ///
    /// # Panics
    /// If it does not end.
    pub fn fill(&self) {
        let mut rest = File::create(self.path.join("rest")).expect("a file");
        let written = (0..1_000_000).find(|_| rest.write_all(&[b'.'; 512]).is_err());
        assert!(written.is_some(), "half a gigabyte fills a small disk");
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        run(Command::new("umount").arg("-l").arg(&self.path));
    }
}

fn mount() -> Command {
    Command::new("mount")
}

fn run(command: &mut Command) -> bool {
    command.status().is_ok_and(|status| status.success())
}
