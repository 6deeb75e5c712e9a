//! The kept inputs of a target: small files in `corpus/TARGET/`, in the order of their names.

use std::fs;
use std::path::{Path, PathBuf};

use crate::target::Target;

/// Where a target's inputs lie.
pub fn folder(target: &Target) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus").join(target.name)
}

/// All of them, with their names.
///
/// # Panics
/// If the folder cannot be read or is empty: a target without a corpus tests little.
pub fn load(target: &Target) -> Vec<(String, Vec<u8>)> {
    let folder = folder(target);
    let listing = fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let mut paths: Vec<PathBuf> = listing.map(|entry| entry.expect("a directory entry").path()).collect();
    paths.sort();
    assert!(!paths.is_empty(), "{} is empty", folder.display());
    let read = |path: &PathBuf| {
        let bytes = fs::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        (path.file_name().unwrap_or_default().to_string_lossy().into_owned(), bytes)
    };
    paths.iter().map(read).collect()
}
