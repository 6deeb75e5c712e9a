//! A directory that one process at a time may use: a file in it, held with flock as long as the process runs.

use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;

use crate::driver::StartError;

/// The lock, until this is dropped or the process ends, however it ends.
#[derive(Debug)]
pub(super) struct Lock {
    _file: File,
}

impl Lock {
    /// Locks a directory that is there: a `what`, which `option` names.
    ///
    /// # Errors
    /// Another process has it, or it cannot be written.
    pub(super) fn take(dir: &Path, what: &str, option: &str) -> Result<Self, StartError> {
        let path = dir.join("lock");
        let nofollow = rustix::fs::OFlags::NOFOLLOW.bits() as i32;
        let mut options = OpenOptions::new();
        let open =
            options.read(true).write(true).create(true).truncate(false).custom_flags(nofollow).mode(0o600).open(&path);
        let mut file = open.map_err(|e| StartError::path("open", &path, &e))?;
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(Errno::WOULDBLOCK) => {
                let mut owner = String::new();
                let _ = file.read_to_string(&mut owner);
                return Err(StartError::new(format!(
                    "the {what} {} is in use by another aqueduct (process {}). Stop that one, or set `{option}` to another \
                     directory.",
                    dir.display(),
                    owner.trim(),
                )));
            }
            Err(errno) => return Err(StartError::path("lock", &path, &errno.into())),
        }
        // For the sentence above. The lock itself does not need it, and a full disk, which may not take it, is no reason not to
        // start: what lies on it has to leave.
        let _ = file.set_len(0).and_then(|()| writeln!(file, "{}", std::process::id()));
        Ok(Self { _file: file })
    }
}
