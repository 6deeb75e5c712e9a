//! The file of one segment, open for appending.

use std::fs::{self, File, OpenOptions};
use std::io::{self, IoSlice};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use rustix::io::{Errno, ReadWriteFlags};

use crate::log::DiskError;

/// Pieces handed to the kernel in one call; it takes at most 1024.
const PIECES_MAX: usize = 256;

/// An open segment. `len` bytes of it are whole appends; nothing lies behind them.
#[derive(Debug)]
pub(super) struct Segment {
    base: i64,
    file: File,
    len: u64,
    /// Written to since the last sync.
    touched: bool,
    /// The file is new and its directory entry not yet durable: the directory, to be synced with it.
    entry_of: Option<PathBuf>,
}

impl Segment {
    /// Opens the file `path` in `dir`, its number `base`, to append at `at`, or begins it if `at` is 0. Bytes behind `at`
    /// belong to no append and are cut off.
    ///
    /// A new segment is always a new file: one of its name that an earlier failure left goes first, so that pages which the
    /// kernel failed to write, and calls clean, are not among the new ones.
    pub(super) fn open(dir: &Path, path: &Path, base: i64, at: u64) -> Result<Self, DiskError> {
        let begins = at == 0;
        if begins
            && let Err(e) = fs::remove_file(path)
            && e.kind() != io::ErrorKind::NotFound
        {
            return Err(error("create", &e));
        }
        let mut options = OpenOptions::new();
        options.write(true).create_new(begins).custom_flags(rustix::fs::OFlags::NOFOLLOW.bits() as i32).mode(0o600);
        let file = options.open(path).map_err(|e| error("create", &e))?;
        let len = file.metadata().map_err(|e| error("create", &e))?.len();
        if len < at {
            let text = format!("{} has {len} bytes, and the append belongs at {at}", path.display());
            return Err(DiskError { during: "write", errno: 0, text });
        }
        if len > at {
            file.set_len(at).map_err(|e| error("create", &e))?;
        }
        Ok(Self { base, file, len: at, touched: len > at, entry_of: begins.then(|| dir.to_owned()) })
    }

    /// A segment of `len` bytes over any file, to test what a failing sync does.
    #[cfg(test)]
    pub(super) fn over(base: i64, len: u64, file: File) -> Self {
        Self { base, file, len, touched: false, entry_of: None }
    }

    /// One whose name cannot be made durable, as this directory is not there.
    #[cfg(test)]
    pub(super) fn in_missing(self, dir: &Path) -> Self {
        Self { entry_of: Some(dir.to_owned()), ..self }
    }

    pub(super) fn base(&self) -> i64 {
        self.base
    }

    /// Writes pieces behind each other at byte `at`, which must be the end of the file: after a failed append those that
    /// were meant to follow it fail too, or they would lie behind a gap and be lost at recovery.
    pub(super) fn append<'a>(&mut self, at: u64, pieces: impl Iterator<Item = &'a [u8]>) -> Result<(), DiskError> {
        if at != self.len {
            let text = format!("segment {} ends at {}, and the append belongs at {at}", self.base, self.len);
            return Err(DiskError { during: "write", errno: 0, text });
        }
        self.touched = true;
        let mut end = at;
        let mut pieces: Vec<IoSlice<'_>> = pieces.map(IoSlice::new).collect();
        for group in pieces.chunks_mut(PIECES_MAX) {
            if let Err(failure) = self.write_all(&mut end, group) {
                // What was written of this append must not stay behind the last whole one. Should even this fail, recovery
                // cuts it off, because a torn batch has a wrong checksum.
                let _ = self.file.set_len(self.len);
                return Err(failure);
            }
        }
        self.len = end;
        Ok(())
    }

    fn write_all(&self, at: &mut u64, mut rest: &mut [IoSlice<'_>]) -> Result<(), DiskError> {
        IoSlice::advance_slices(&mut rest, 0);
        while !rest.is_empty() {
            match rustix::io::pwritev2(&self.file, rest, *at, ReadWriteFlags::empty()) {
                Ok(0) => {
                    return Err(DiskError { during: "write", errno: 0, text: "the file takes no more".to_string() });
                }
                Ok(n) => {
                    *at += n as u64;
                    IoSlice::advance_slices(&mut rest, n);
                }
                Err(Errno::INTR) => {}
                Err(errno) => return Err(error("write", &errno.into())),
            }
        }
        Ok(())
    }

    /// Takes back what is behind byte `len`, as far as that can be had.
    pub(super) fn cut(self, len: u64) {
        let _ = self.file.set_len(len);
    }

    /// Makes everything written so far durable, the directory entry of a new file included.
    pub(super) fn sync(&mut self) -> Result<(), DiskError> {
        if std::mem::take(&mut self.touched) {
            self.file.sync_data().map_err(|e| error("sync", &e))?;
        }
        if let Some(dir) = self.entry_of.take() {
            File::open(&dir).and_then(|dir| dir.sync_all()).map_err(|e| error("sync", &e))?;
        }
        Ok(())
    }
}

/// An I/O error in the words of the joint.
pub(super) fn error(during: &'static str, error: &io::Error) -> DiskError {
    DiskError { during, errno: error.raw_os_error().unwrap_or(0), text: error.to_string() }
}
