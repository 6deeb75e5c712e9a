//! A disk for the product that can be filled, and whose power can fail: ext4 on a file, mounted by loop. Brokers get such ones too.
//!
//! A cut is the ioctl EXT4_IOC_SHUTDOWN without a flush of the journal: from then on every access fails, and what was not
//! synced is not on the disk when it is mounted again. It is the only way that also catches io_uring and O_DIRECT. All of it
//! needs root.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use miette::{IntoDiagnostic, Result, WrapErr, bail};

use crate::reaper::{self, Duty};

/// Room for a run of some minutes; sparse until it is used.
const IMAGE_BYTES: u64 = 512 << 20;
/// The same for a broker, which keeps what it was sent.
const BROKER_IMAGE_BYTES: u64 = 1 << 30;
/// Rust's standard library has no ioctl, and Perl is on every Debian: the number of the call, then its flag 2, which leaves
/// the journal unflushed.
const SHUTDOWN: &str =
    r#"open(my $f, "<", $ARGV[0]) or die $!; my $flag = pack("L", 2); ioctl($f, 0x8004587d, $flag) or die $!;"#;

/// The mounted file system.
pub(super) struct Disk {
    image: PathBuf,
    mount: PathBuf,
    options: &'static str,
}

impl Disk {
    /// Makes and mounts it in `dir`.
    pub(super) fn create(dir: &Path) -> Result<Self> {
        let disk = Self::make(dir, "disk", IMAGE_BYTES, &[], "loop")?;
        fs::write(disk.mount.join("cut-here"), b"").into_diagnostic()?;
        Ok(disk)
    }

    /// Makes and mounts one of this name in `dir` whose writers wait until the device has taken what they write. It need not be on
    /// what the device itself lies on.
    pub(super) fn written_through(dir: &Path, name: &str) -> Result<Self> {
        Self::make(dir, name, BROKER_IMAGE_BYTES, &["-m", "0", "-O", "^has_journal"], "loop,sync,nobarrier")
    }

    fn make(dir: &Path, name: &str, bytes: u64, format: &[&str], options: &'static str) -> Result<Self> {
        let disk = Self { image: dir.join(format!("{name}.img")), mount: dir.join(name), options };
        fs::create_dir_all(&disk.mount).into_diagnostic()?;
        let image = fs::File::create(&disk.image).into_diagnostic()?;
        image.set_len(bytes).into_diagnostic()?;
        run(Command::new("mkfs.ext4").args(["-q", "-F"]).args(format).arg(&disk.image))?;
        disk.mount()?;
        reaper::enrol(Duty::Mount(disk.mount.clone()));
        Ok(disk)
    }

    /// Where it is mounted.
    pub(super) fn path(&self) -> &Path {
        &self.mount
    }

    /// The power fails. Whoever writes there must stand still already: while the kernel (Linux 6.18) shuts the file system
    /// down, an `fdatasync` that is under way may end well although its data are gone. Of three files that a program extends
    /// and syncs by turns, every twelfth lost a sync that was reported as done, over 200 cuts; none did among the syncs
    /// that ended before the call.
    pub(super) fn cut(&self) -> Result<()> {
        run(Command::new("perl").args(["-e", SHUTDOWN]).arg(self.mount.join("cut-here")))
    }

    /// The power is back; nobody may have a file open.
    pub(super) fn remount(&self) -> Result<()> {
        run(Command::new("umount").arg(&self.mount))?;
        self.mount()
    }

    /// Takes all the room there is.
    pub(super) fn fill(&self) -> Result<()> {
        // `dd` ends with an error when the disk is full, which is what it is for here.
        let filler = format!("of={}", self.mount.join("filler").display());
        Command::new("dd").args(["if=/dev/zero", &filler, "bs=64k", "status=none"]).output().into_diagnostic()?;
        Ok(())
    }

    /// Gives it back.
    pub(super) fn clear(&self) -> Result<()> {
        fs::remove_file(self.mount.join("filler")).into_diagnostic()
    }

    fn mount(&self) -> Result<()> {
        run(Command::new("mount").args(["-o", self.options]).arg(&self.image).arg(&self.mount))
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let duty = Duty::Mount(self.mount.clone());
        reaper::end(&duty);
        reaper::discharge(&duty);
    }
}

fn run(command: &mut Command) -> Result<()> {
    let output = command.output().into_diagnostic().wrap_err_with(|| format!("{command:?}"))?;
    if !output.status.success() {
        bail!("{command:?}: {}", String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(())
}
