//! strace, which has every sync of a process fail, or a shard of it panic.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use miette::{IntoDiagnostic, Result, WrapErr, bail, miette};
use serde::Serialize;

use crate::system::Running;
use crate::system::process::Process;

const CALLS: &str = "fsync,fdatasync,sync_file_range";
/// After which a file of the same name is another one.
const REMOVALS: &str = "unlink,unlinkat";
/// What a shard waits in.
const WAITS: &str = "epoll_wait,epoll_pwait,epoll_pwait2";
/// There is always a first one.
const SHARD: &str = "shard-1";
/// How long it may take to reach every thread.
const ATTACHED: Duration = Duration::from_secs(30);

/// A process whose syncs fail with EIO.
pub(super) struct FailingSyncs {
    tracer: Process,
    trace: PathBuf,
}

/// Which files were synced in vain.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct FailedSyncs {
    /// Files of logs and buffers.
    pub files: u64,
    /// How often one of them was synced once more. A kernel may have forgotten by then what it did not write, and say that all is well.
    pub again: u64,
}

impl FailingSyncs {
    /// From when this returns every sync fails. `log`: what strace says.
    pub(super) fn begin(pid: u32, log: &Path) -> Result<Self> {
        let trace = log.with_extension("trace");
        let mut strace = Command::new("strace");
        strace.args(["-f", "-q", "-y", "-s", "4096", "-e", &format!("trace={CALLS},{REMOVALS}")]);
        strace.args(["-e", &format!("inject={CALLS}:error=EIO")]);
        strace.arg("-o").arg(&trace).args(["-p", &pid.to_string()]);
        let tracer = Process::start("strace", &mut strace, log)?;
        let start = Instant::now();
        while !is_traced(pid)? {
            if start.elapsed() > ATTACHED {
                bail!("strace has not reached every thread within {ATTACHED:?}; see {}", log.display());
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        Ok(Self { tracer, trace })
    }

    /// Syncs end well again.
    pub(super) fn end(self) -> Result<FailedSyncs> {
        self.tracer.stop()?;
        let trace =
            fs::read_to_string(&self.trace).into_diagnostic().wrap_err_with(|| self.trace.display().to_string())?;
        Ok(FailedSyncs::of(&trace))
    }
}

impl FailedSyncs {
    fn of(trace: &str) -> Self {
        let (mut counts, mut there) = (Self::default(), BTreeSet::new());
        for line in trace.lines() {
            if let Some(path) = removed(line) {
                there.remove(path);
            } else if let Some(path) = synced(line) {
                let is_new = there.insert(path);
                (counts.files, counts.again) = (counts.files + u64::from(is_new), counts.again + u64::from(!is_new));
            }
        }
        counts
    }
}

/// The file of a log or a buffer that a line is about: `17 fdatasync(12</data/00000001.journal>) = -1 EIO ...`.
fn synced(line: &str) -> Option<&str> {
    let (_, rest) = line.split_once("sync(")?;
    let (path, _) = rest.split_once('<')?.1.split_once('>')?;
    (path.ends_with(".journal") || path.ends_with(".log")).then_some(path)
}

/// The file that is gone: `17 unlink("/data/00000001.journal") = 0`.
fn removed(line: &str) -> Option<&str> {
    let (_, rest) = line.split_once("unlink")?;
    Some(rest.split_once('"')?.1.split_once('"')?.0)
}

/// The wait for events of a shard fails, at which it panics, and the process ends.
pub(super) fn end_shard(node: &mut Running, log: &Path) -> Result<()> {
    let shard = oldest_thread(node.process.id(), SHARD)?;
    let mut strace = Command::new("strace");
    strace.args(["-q", "-e", &format!("trace={WAITS}"), "-e", &format!("inject={WAITS}:error=EBADF")]);
    strace.args(["-o", "/dev/null", "-p", &shard.to_string()]);
    let tracer = Process::start("strace", &mut strace, log)?;
    let start = Instant::now();
    while node.process.is_running() {
        if start.elapsed() > ATTACHED {
            bail!("the product goes on without a shard; see {}", log.display());
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    tracer.stop()
}

/// The oldest thread of that name: a shard's helpers bear its name too.
fn oldest_thread(pid: u32, name: &str) -> Result<u32> {
    let threads = fs::read_dir(format!("/proc/{pid}/task")).into_diagnostic()?.flatten();
    let of_name =
        threads.filter(|thread| fs::read_to_string(thread.path().join("comm")).is_ok_and(|found| found.trim() == name));
    let ids = of_name.filter_map(|thread| thread.file_name().to_str()?.parse().ok());
    ids.min().ok_or_else(|| miette!("process {pid} has no thread {name}"))
}

/// Whether every thread of the process has a tracer.
fn is_traced(pid: u32) -> Result<bool> {
    let threads = fs::read_dir(format!("/proc/{pid}/task")).into_diagnostic()?;
    Ok(threads.flatten().all(|thread| {
        let status = fs::read_to_string(thread.path().join("status")).unwrap_or_default();
        status.lines().any(|line| line.strip_prefix("TracerPid:").is_some_and(|tracer| tracer.trim() != "0"))
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_is_synced_again_is_found() {
        let line = |path: &str| format!("17 fdatasync(12<{path}>) = -1 EIO (Input/output error) (INJECTED)\n");
        let trace = [line("/b/1.journal"), line("/b"), line("/b"), line("/b/2.journal"), line("/log/t/0.log")].concat();
        assert_eq!(FailedSyncs::of(&trace), FailedSyncs { files: 3, again: 0 });
        let again = trace + "18 fdatasync(12</b/2.journal> <unfinished ...>\n18 <... fdatasync resumed>) = -1 EIO\n";
        assert_eq!(FailedSyncs::of(&again), FailedSyncs { files: 3, again: 1 });
        let anew = again + "17 unlink(\"/b/2.journal\") = 0\n" + &line("/b/2.journal");
        assert_eq!(FailedSyncs::of(&anew), FailedSyncs { files: 4, again: 1 });
    }
}
