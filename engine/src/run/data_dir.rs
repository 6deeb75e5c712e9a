//! The data directory: one process at a time, one format version.
//!
//! ```text
//! data_dir/lock      held with flock while the process runs; holds its process id
//! data_dir/format    the version of everything below, a decimal number
//! data_dir/log/…     the embedded log
//! data_dir/buffer/…  buffers of sinks, unless they have a directory of their own
//! data_dir/control.sock    where the node takes orders, while it runs
//! data_dir/token     what a request to the management port from elsewhere shows
//! ```
//!
//! | format | what is new |
//! |---|---|
//! | 1 | |
//! | 2 | entries of buffers, their footers and positions may name topics |
//!
//! A directory of an older format is taken up as it is: everything in it means what it meant, and what is written from then on may be
//! of the newer one. So its number is raised first, for older programs to refuse it.

use std::fs::{self, DirBuilder, OpenOptions};
use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use super::lock::Lock;
use super::random;
use crate::driver::StartError;

/// What this program writes. A higher number on disk was written by a newer program.
const FORMAT: u32 = 2;

/// The data directory, locked until this is dropped or the process ends, however it ends.
#[derive(Debug)]
pub(super) struct DataDir {
    path: PathBuf,
    _lock: Lock,
}

impl DataDir {
    /// Makes the directory if it is missing, and locks it.
    ///
    /// # Errors
    /// Another process runs on it, it was written by a newer program, or it cannot be written.
    pub(super) fn open(path: &Path) -> Result<Self, StartError> {
        let mut builder = DirBuilder::new();
        builder.recursive(true).mode(0o700);
        builder.create(path).map_err(|e| StartError::path("create the data directory", path, &e))?;
        let lock = Lock::take(path, "data directory", "node.data_dir")?;
        check_format(path)?;
        Ok(Self { path: path.to_path_buf(), _lock: lock })
    }

    /// Where it lies.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// The token of the management port, made at random when first asked for.
    pub(super) fn token(&self) -> Result<String, StartError> {
        let path = self.path.join("token");
        match fs::read_to_string(&path) {
            Ok(token) if !token.trim().is_empty() => return Ok(token.trim().to_string()),
            Ok(_) => {}
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => {}
            Err(e) => return Err(StartError::path("read", &path, &e)),
        }
        let token: String = random::bytes::<16>()?.iter().map(|byte| format!("{byte:02x}")).collect();
        write_private(&path, &format!("{token}\n")).map_err(|e| StartError::path("write", &path, &e))?;
        Ok(token)
    }
}

fn check_format(dir: &Path) -> Result<(), StartError> {
    let path = dir.join("format");
    match fs::read_to_string(&path) {
        Ok(text) => match text.trim().parse::<u32>() {
            Ok(FORMAT) => Ok(()),
            Ok(version) if version < FORMAT => write_format(&path),
            Ok(version) => Err(StartError::new(format!(
                "the data directory {} was written by a newer aqueduct (format {version}; this one knows {FORMAT}). Run that \
                 version, or set `node.data_dir` to another directory.",
                dir.display()
            ))),
            Err(_) => Err(StartError::new(format!(
                "{} is damaged: it should hold a number. If the directory is this version's, write `{FORMAT}` into it.",
                path.display()
            ))),
        },
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => write_format(&path),
        Err(e) => Err(StartError::path("read", &path, &e)),
    }
}

fn write_format(path: &Path) -> Result<(), StartError> {
    write_private(path, &format!("{FORMAT}\n")).map_err(|e| StartError::path("write", path, &e))
}

/// Writes a small file whole or not at all, readable by this user only.
fn write_private(path: &Path, text: &str) -> std::io::Result<()> {
    let unfinished = path.with_extension("new");
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&unfinished)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    fs::rename(&unfinished, path)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scratch(name: &str) -> PathBuf {
        let path = std::env::temp_dir().join(format!("aqueduct-data-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&path);
        path
    }

    #[test]
    fn a_directory_serves_one_process_at_a_time() {
        let path = scratch("lock");
        let first = DataDir::open(&path).expect("nobody has it");
        // flock belongs to the open file, so a second open in this process stands for another process.
        let refused = DataDir::open(&path).expect_err("it is taken").to_string();
        assert!(refused.contains(&format!("in use by another aqueduct (process {})", std::process::id())), "{refused}");
        drop(first);
        DataDir::open(&path).expect("free again");
        fs::remove_dir_all(&path).expect("goes away");
    }

    #[test]
    fn an_older_format_is_taken_up_and_older_programs_hear_of_it() {
        let path = scratch("older");
        fs::create_dir_all(&path).expect("a directory");
        fs::write(path.join("format"), "1\n").expect("writes");
        DataDir::open(&path).expect("older");
        assert_eq!(fs::read_to_string(path.join("format")).expect("reads"), "2\n");
        fs::remove_dir_all(&path).expect("goes away");
    }

    #[test]
    fn a_newer_format_is_refused_and_the_token_stays() {
        let path = scratch("format");
        let token = DataDir::open(&path).and_then(|dir| dir.token()).expect("a token");
        assert_eq!(token.len(), 32);
        assert_eq!(DataDir::open(&path).and_then(|dir| dir.token()).expect("the same"), token);
        fs::write(path.join("format"), "3\n").expect("writes");
        assert!(DataDir::open(&path).expect_err("newer").to_string().contains("format 3"));
        fs::write(path.join("format"), "x").expect("writes");
        assert!(DataDir::open(&path).expect_err("damaged").to_string().contains("damaged"));
        fs::remove_dir_all(&path).expect("goes away");
    }
}
