//! Counts the system calls of a process over a phase, by what they are for.
//!
//! perf counts trace points at little cost; it needs the right to. strace is the way out: it stops the process at every
//! call, so the process falls behind, gathers more per call, and the counts come out too low. The result names which.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use miette::{IntoDiagnostic, Result, WrapErr, bail};
use rustix::process::{Pid, Signal, kill_process};

use crate::result::Metrics;

/// How long a tracer may take to attach to all threads, or to let go of them.
const PATIENCE: Duration = Duration::from_secs(10);
/// The calls that are named, and the metric each counts for.
const NAMED: [(&str, &str); 16] = [
    ("recvfrom", RECEIVING),
    ("recvmsg", RECEIVING),
    ("recvmmsg", RECEIVING),
    ("read", RECEIVING),
    ("readv", RECEIVING),
    ("sendto", SENDING),
    ("sendmsg", SENDING),
    ("sendmmsg", SENDING),
    ("write", SENDING),
    ("writev", SENDING),
    ("epoll_wait", WAITING),
    ("epoll_pwait", WAITING),
    ("epoll_pwait2", WAITING),
    ("poll", WAITING),
    ("ppoll", WAITING),
    ("io_uring_enter", WAITING),
];
const RECEIVING: &str = "recv_calls_per_message";
const SENDING: &str = "send_calls_per_message";
const WAITING: &str = "wait_calls_per_message";
const OTHERS: &str = "other_calls_per_message";
/// perf's trace point of every call; what remains of it are the others.
const ALL_CALLS: &str = "raw_syscalls:sys_enter";

/// A count in progress.
pub struct SyscallTrace {
    tracer: Child,
    kind: Tracer,
    summary: PathBuf,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Tracer {
    Perf,
    Strace,
}

impl SyscallTrace {
    /// Attaches to all threads of a process and answers when it has; the summary goes to `dir`.
    pub fn start(pid: u32, dir: &Path) -> Result<Self> {
        Self::attach(Tracer::Perf, pid, dir)
            .or_else(|_| Self::attach(Tracer::Strace, pid, dir))
            .wrap_err("counting system calls needs perf or strace, and the right to use one of them on another process")
    }

    /// Detaches and puts the counts per message.
    pub fn end(mut self, metrics: &mut Metrics, messages: u64) -> Result<()> {
        if let Some(pid) = i32::try_from(self.tracer.id()).ok().and_then(Pid::from_raw) {
            let _ = kill_process(pid, Signal::INT);
        }
        let start = Instant::now();
        while self.tracer.try_wait().into_diagnostic()?.is_none() {
            if start.elapsed() > PATIENCE {
                bail!("{:?} does not end", self.kind);
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        let text = fs::read_to_string(&self.summary).into_diagnostic().wrap_err("reading the tracer's summary")?;
        let counts = match self.kind {
            Tracer::Perf => of_perf(&text),
            Tracer::Strace => of_strace(&text),
        };
        for (metric, calls) in by_purpose(&counts) {
            metrics.insert(metric, calls as f64 / messages as f64);
        }
        metrics.insert("calls_counted_by_strace", f64::from(u8::from(self.kind == Tracer::Strace)));
        Ok(())
    }

    fn attach(kind: Tracer, pid: u32, dir: &Path) -> Result<Self> {
        let summary = dir.join(format!("syscalls-{kind:?}"));
        let mut command = match kind {
            Tracer::Perf => {
                let points: Vec<String> = NAMED.iter().map(|(name, _)| format!("syscalls:sys_enter_{name}")).collect();
                let mut command = Command::new("perf");
                command.args(["stat", "-x,", "-e", &points.join(","), "-e", ALL_CALLS]);
                command
            }
            Tracer::Strace => {
                let mut command = Command::new("strace");
                command.args(["-f", "-c", "-q"]);
                command
            }
        };
        command.args(["-p", &pid.to_string(), "-o"]).arg(&summary);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let tracer = command.spawn().into_diagnostic()?;
        let mut trace = Self { tracer, kind, summary };
        let start = Instant::now();
        while !trace.is_attached(pid) {
            if start.elapsed() > PATIENCE || trace.tracer.try_wait().into_diagnostic()?.is_some() {
                bail!("{kind:?} cannot attach to process {pid}");
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        Ok(trace)
    }

    fn is_attached(&self, pid: u32) -> bool {
        let Ok(tasks) = fs::read_dir(format!("/proc/{pid}/task")) else { return false };
        let tasks: Vec<PathBuf> = tasks.flatten().map(|task| task.path()).collect();
        match self.kind {
            Tracer::Strace => tasks.iter().all(|task| {
                let status = fs::read_to_string(task.join("status")).unwrap_or_default();
                status.lines().find_map(|line| line.strip_prefix("TracerPid:")).is_some_and(|id| id.trim() != "0")
            }),
            // One descriptor for each trace point and thread.
            Tracer::Perf => {
                let Ok(open) = fs::read_dir(format!("/proc/{}/fd", self.tracer.id())) else { return false };
                let links = open.flatten().filter_map(|entry| fs::read_link(entry.path()).ok());
                links.filter(|link| link.to_string_lossy().contains("perf_event")).count()
                    >= tasks.len() * (NAMED.len() + 1)
            }
        }
    }
}

impl Drop for SyscallTrace {
    fn drop(&mut self) {
        let _ = self.tracer.kill();
        let _ = self.tracer.wait();
    }
}

/// Calls by name, and all of them under [`ALL_CALLS`].
type Counts = Vec<(String, u64)>;

/// Lines of `perf stat -x,`: count, unit, event.
fn of_perf(summary: &str) -> Counts {
    let line = |line: &str| {
        let mut fields = line.split(',');
        let calls = fields.next()?.parse().ok()?;
        let event = fields.nth(1)?;
        Some((event.strip_prefix("syscalls:sys_enter_").unwrap_or(event).to_owned(), calls))
    };
    summary.lines().filter_map(line).collect()
}

/// The table of `strace -c`: the calls are the fourth column, the name the last.
fn of_strace(summary: &str) -> Counts {
    let line = |line: &str| {
        let columns: Vec<&str> = line.split_ascii_whitespace().collect();
        let calls = columns.get(3)?.parse().ok()?;
        let name = *columns.last()?;
        Some((if name == "total" { ALL_CALLS } else { name }.to_owned(), calls))
    };
    summary.lines().filter_map(line).collect()
}

fn by_purpose(counts: &Counts) -> [(&'static str, u64); 4] {
    let all: u64 = counts.iter().filter(|(name, _)| name == ALL_CALLS).map(|(_, calls)| calls).sum();
    let of = |metric: &str| -> u64 {
        let named = |name: &str| NAMED.iter().any(|(known, counts_for)| *known == name && *counts_for == metric);
        counts.iter().filter(|(name, _)| named(name)).map(|(_, calls)| calls).sum()
    };
    let (receiving, sending, waiting) = (of(RECEIVING), of(SENDING), of(WAITING));
    let others = all.saturating_sub(receiving + sending + waiting);
    [(RECEIVING, receiving), (SENDING, sending), (WAITING, waiting), (OTHERS, others)]
}

#[cfg(test)]
mod tests {
    use super::*;

    const EXPECTED: [(&str, u64); 4] = [(RECEIVING, 19_877), (SENDING, 19_031), (WAITING, 1_046), (OTHERS, 2)];

    #[test]
    fn straces_table_is_read_with_and_without_errors() {
        let summary = "\
% time     seconds  usecs/call     calls    errors syscall
------ ----------- ----------- --------- --------- ----------------
 56.84    0.195596          10     18652           sendto
 36.24    0.124709           6     19877       749 recvfrom
  4.70    0.016162          15      1046           epoll_pwait
  2.20    0.007571          19       379           sendmsg
  0.02    0.000052          26         2           brk
------ ----------- ----------- --------- --------- ----------------
100.00    0.344090           8     39956       749 total
";
        assert_eq!(by_purpose(&of_strace(summary)), EXPECTED);
    }

    #[test]
    fn perfs_lines_are_read() {
        let summary = "\
# started on Sat Nov 21 09:12:20 2026

19877,,syscalls:sys_enter_recvfrom,3000,100.00,,
19031,,syscalls:sys_enter_sendto,3000,100.00,,
<not counted>,,syscalls:sys_enter_poll,0,100.00,,
1046,,syscalls:sys_enter_epoll_pwait,3000,100.00,,
39956,,raw_syscalls:sys_enter,3000,100.00,,
";
        assert_eq!(by_purpose(&of_perf(summary)), EXPECTED);
    }
}
