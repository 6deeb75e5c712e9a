//! Clocks and what the kernel says about a process: CPU time and memory.
//!
//! CPU time comes from `/proc/PID/task/*/schedstat` in nanoseconds. A thread that ended takes its share with it, which
//! `/proc/PID/stat` keeps, but in steps of 10 ms; so the difference of two samples takes the finer one unless the
//! coarser shows that something is missing.

use std::fs;
use std::time::Duration;

use miette::{IntoDiagnostic, Result, WrapErr, miette};
use rustix::time::{ClockId, Timespec, clock_gettime};

/// The monotonic clock in nanoseconds.
#[inline]
pub fn mono_ns() -> u64 {
    nanoseconds(clock_gettime(ClockId::Monotonic))
}

/// CPU time that the calling thread has used.
pub fn thread_cpu() -> Duration {
    Duration::from_nanos(nanoseconds(clock_gettime(ClockId::ThreadCPUTime)))
}

fn nanoseconds(time: Timespec) -> u64 {
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}

/// CPU time of a whole process at one instant.
#[derive(Debug, Clone, Copy)]
pub struct CpuSample {
    /// Sum over the living threads, exact.
    threads: Duration,
    /// Of the process with its ended threads, in steps of a clock tick.
    ticks: Duration,
}

impl CpuSample {
    /// Samples a process.
    pub fn of(pid: u32) -> Result<Self> {
        let context = || format!("reading the CPU time of process {pid}");
        let mut threads = Duration::ZERO;
        for task in fs::read_dir(format!("/proc/{pid}/task")).into_diagnostic().wrap_err_with(context)? {
            // A thread may end between the listing and the reading.
            let Ok(text) = fs::read_to_string(task.into_diagnostic()?.path().join("schedstat")) else { continue };
            let on_cpu = text.split_ascii_whitespace().next().and_then(|field| field.parse().ok());
            threads += Duration::from_nanos(on_cpu.unwrap_or(0));
        }
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).into_diagnostic().wrap_err_with(context)?;
        let ticks = cpu_ticks(&stat).ok_or_else(|| miette!("/proc/{pid}/stat has an unknown form"))?;
        Ok(Self { threads, ticks: Duration::from_micros(ticks * 1_000_000 / clock_ticks_per_second()) })
    }

    /// Of two processes together.
    pub fn and(self, other: Self) -> Self {
        Self { threads: self.threads + other.threads, ticks: self.ticks + other.ticks }
    }

    /// CPU time used since `earlier`.
    pub fn since(&self, earlier: &Self) -> Duration {
        let threads = self.threads.saturating_sub(earlier.threads);
        let ticks = self.ticks.saturating_sub(earlier.ticks);
        if ticks > threads + Duration::from_millis(20) { ticks } else { threads }
    }
}

/// User and system ticks of a line of `/proc/PID/stat`: fields 14 and 15, counted behind the command's last parenthesis.
fn cpu_ticks(stat: &str) -> Option<u64> {
    let (_, rest) = stat.rsplit_once(')')?;
    let mut fields = rest.split_ascii_whitespace().skip(11);
    let user: u64 = fields.next()?.parse().ok()?;
    let system: u64 = fields.next()?.parse().ok()?;
    Some(user + system)
}

fn clock_ticks_per_second() -> u64 {
    rustix::param::clock_ticks_per_second().max(1)
}

/// Resident memory of a process in bytes.
#[derive(Debug, Clone, Copy)]
pub struct Memory {
    /// Now.
    pub resident: u64,
    /// The most it ever was.
    pub peak: u64,
}

impl Memory {
    /// Reads it from `/proc/PID/status`.
    pub fn of(pid: u32) -> Result<Self> {
        let path = format!("/proc/{pid}/status");
        let status = fs::read_to_string(&path).into_diagnostic().wrap_err(path)?;
        let field = |name: &str| kilobytes(&status, name).ok_or_else(|| miette!("/proc/{pid}/status has no {name}"));
        Ok(Self { resident: field("VmRSS:")?, peak: field("VmHWM:")? })
    }

    /// Of two processes together; their peaks need not have been at the same time.
    pub fn and(self, other: Self) -> Self {
        Self { resident: self.resident + other.resident, peak: self.peak + other.peak }
    }
}

fn kilobytes(status: &str, name: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix(name))?;
    line.split_ascii_whitespace().next()?.parse::<u64>().ok().map(|kb| kb * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stat_fields_are_counted_behind_a_hostile_command_name() {
        let stat = "7 (a) b) c) S 1 7 7 0 -1 4194560 100 0 0 0 123 45 0 0 20 0 1 0";
        assert_eq!(cpu_ticks(stat), Some(168));
        assert_eq!(cpu_ticks("7 (a"), None);
    }

    #[test]
    fn memory_fields_are_kilobytes() {
        assert_eq!(kilobytes("Name:\tx\nVmHWM:\t    2048 kB\n", "VmHWM:"), Some(2 << 20));
    }

    #[test]
    fn work_of_this_process_is_seen() {
        let before = CpuSample::of(std::process::id()).unwrap();
        let start = thread_cpu();
        let mut sum = 0_u64;
        while thread_cpu() - start < Duration::from_millis(50) {
            sum = std::hint::black_box(sum + 1);
        }
        let used = CpuSample::of(std::process::id()).unwrap().since(&before);
        assert!(used >= Duration::from_millis(40), "{used:?}");
        assert!(Memory::of(std::process::id()).unwrap().peak > 0);
    }
}
