//! Names that mean what a test says: a process of its own mount namespace has an `/etc/hosts` of its own; for root.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::peer;
use super::scratch::Scratch;

/// The file, which the programs started with it read at each look-up.
#[derive(Debug)]
pub struct Hosts(Scratch);

impl Hosts {
    /// One without names. `None` (and a line on stderr) where no mount namespace can be had.
    ///
    /// # Panics
    /// If there is none, and `AQUEDUCT_REQUIRE_ROOT=1`.
    pub fn new() -> Option<Self> {
        let may = Command::new("unshare").args(["--mount", "true"]).status().is_ok_and(|status| status.success());
        if !may {
            peer::skip("AQUEDUCT_REQUIRE_ROOT", "a mount namespace needs root, and unshare of util-linux");
            return None;
        }
        let hosts = Self(Scratch::new("hosts"));
        fs::write(hosts.file(), "").expect("the folder is writable");
        Some(hosts)
    }

    /// From now on `name` means `address`, and no other name means anything.
    ///
    /// # Panics
    /// If that cannot be written.
    pub fn say(&self, name: &str, address: &str) {
        // In place: the file that is mounted stays the same one.
        fs::write(self.file(), format!("{address} {name}\n")).expect("the folder is writable");
    }

    /// A program that becomes `program`, with these names.
    ///
    /// # Panics
    /// If it cannot be written.
    pub fn seen_by(&self, program: &Path) -> PathBuf {
        let script = self.0.file("with-hosts");
        let (hosts, program) = (self.file(), program.display());
        let text = format!(
            "#!/bin/sh\nexec unshare --mount sh -c 'mount --bind \"$0\" /etc/hosts && exec \"$@\"' '{}' '{program}' \"$@\"\n",
            hosts.display()
        );
        fs::write(&script, text).expect("the folder is writable");
        fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).expect("our own file");
        script
    }

    fn file(&self) -> PathBuf {
        self.0.file("hosts")
    }
}
