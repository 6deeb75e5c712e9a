//! strace, which has every sync of a process fail.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use miette::{IntoDiagnostic, Result, bail};

use crate::system::process::Process;

const CALLS: &str = "fsync,fdatasync,sync_file_range";
/// How long it may take to reach every thread.
const ATTACHED: Duration = Duration::from_secs(30);

/// From when this returns until the tracer is stopped every sync fails with EIO.
pub(super) fn fail_syncs(pid: u32, log: &Path) -> Result<Process> {
    let mut strace = Command::new("strace");
    strace.args(["-f", "-q", "-e", &format!("trace={CALLS}"), "-e", &format!("inject={CALLS}:error=EIO")]);
    strace.args(["-o", "/dev/null", "-p", &pid.to_string()]);
    let tracer = Process::start("strace", &mut strace, log)?;
    let start = Instant::now();
    while !is_traced(pid)? {
        if start.elapsed() > ATTACHED {
            bail!("strace has not reached every thread within {ATTACHED:?}; see {}", log.display());
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    Ok(tracer)
}

/// Whether every thread of the process has a tracer.
fn is_traced(pid: u32) -> Result<bool> {
    let threads = fs::read_dir(format!("/proc/{pid}/task")).into_diagnostic()?;
    Ok(threads.flatten().all(|thread| {
        let status = fs::read_to_string(thread.path().join("status")).unwrap_or_default();
        status.lines().any(|line| line.strip_prefix("TracerPid:").is_some_and(|tracer| tracer.trim() != "0"))
    }))
}
