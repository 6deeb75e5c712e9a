//! A wall clock that jumps, for one process: libfaketime between it and the C library, told by a file.
//!
//! It moves what `SystemTime` reads and leaves the monotonic clock alone, as a step of a real wall clock does.

use std::path::{Path, PathBuf};

use miette::{IntoDiagnostic, Result, WrapErr};

/// Where distributions put it.
const FOLDERS: [&str; 4] = [
    "/usr/lib/x86_64-linux-gnu/faketime",
    "/usr/lib/aarch64-linux-gnu/faketime",
    "/usr/lib64/faketime",
    "/usr/lib/faketime",
];

/// The library, if it is installed.
pub(super) fn library() -> Option<PathBuf> {
    FOLDERS.iter().map(|folder| Path::new(folder).join("libfaketimeMT.so.1")).find(|path| path.is_file())
}

/// Variables that put a process under the clock of a file.
pub(super) fn variables(file: &Path) -> Vec<(String, String)> {
    let library = library().unwrap_or_default();
    [
        ("LD_PRELOAD", library.display().to_string()),
        ("FAKETIME_TIMESTAMP_FILE", file.display().to_string()),
        ("FAKETIME_NO_CACHE", "1".to_owned()),
        ("FAKETIME_DONT_FAKE_MONOTONIC", "1".to_owned()),
        ("DONT_FAKE_MONOTONIC", "1".to_owned()),
    ]
    .map(|(name, value)| (name.to_owned(), value))
    .to_vec()
}

/// Sets the clock of the file wrong by so many seconds.
pub(super) fn set(file: &Path, seconds: i64) -> Result<()> {
    // Written beside and moved, so that no half of it is read.
    let beside = file.with_extension("new");
    std::fs::write(&beside, format!("{seconds:+}s\n")).into_diagnostic()?;
    std::fs::rename(&beside, file).into_diagnostic().wrap_err_with(|| file.display().to_string())
}
