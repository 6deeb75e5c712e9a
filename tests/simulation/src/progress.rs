//! How far a long run is, on stderr: a line every ten seconds on a terminal, every minute elsewhere.

use std::io::IsTerminal;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::Sum;

/// A seed that takes longer may never end.
const PATIENCE: Duration = Duration::from_secs(120);

/// Whoever takes longer than this, and a tenth of a millisecond for each step, does not end.
const PATIENCE_MAX: Duration = Duration::from_secs(300);
const STEP_MAX: Duration = Duration::from_micros(100);

/// What a job is at.
#[derive(Debug, Default)]
struct Job {
    seed: AtomicU64,
    /// Since when, milliseconds of the run.
    since_ms: AtomicU64,
}

/// A run of many seeds.
#[derive(Debug)]
pub(crate) struct Progress {
    began: Instant,
    seeds: u64,
    jobs: Vec<Job>,
    interval: Duration,
    /// Milliseconds of the run when the next line is due.
    due_ms: AtomicU64,
}

impl Progress {
    /// A run of so many seeds begins.
    pub(crate) fn new(seeds: u64, jobs: usize) -> Self {
        let interval = Duration::from_secs(if std::io::stderr().is_terminal() { 10 } else { 60 });
        let jobs = (0..jobs).map(|_| Job::default()).collect();
        let due_ms = AtomicU64::new(interval.as_millis() as u64);
        Self { began: Instant::now(), seeds, jobs, interval, due_ms }
    }

    /// A job turns to a seed.
    pub(crate) fn begins(&self, job: usize, seed: u64) {
        let job = &self.jobs[job];
        job.seed.store(seed, Ordering::Relaxed);
        job.since_ms.store(self.ms(), Ordering::Relaxed);
    }

    /// A job has nothing left to do.
    pub(crate) fn ends(&self, job: usize) {
        self.jobs[job].since_ms.store(u64::MAX, Ordering::Relaxed);
    }

    /// The figures of a run.
    pub(crate) fn line(&self, sum: &Sum) -> String {
        let steps = sum.mix.steps();
        let steps_per_s = steps as f64 / self.began.elapsed().as_secs_f64();
        format!("seeds={} steps={steps} steps_per_s={steps_per_s:.0} violations={}", sum.seeds, sum.violations)
    }

    /// Prints how far it is, when that is due.
    pub(crate) fn tell(&self, sum: &Mutex<Sum>) {
        let ms = self.ms();
        if ms < self.due_ms.load(Ordering::Relaxed) {
            return;
        }
        self.due_ms.store(ms + self.interval.as_millis() as u64, Ordering::Relaxed);
        let sum = sum.lock().unwrap_or_else(PoisonError::into_inner);
        let left_s = (ms / 1_000) * (self.seeds - sum.seeds) / sum.seeds.max(1);
        eprintln!(
            "{:3} % {} left={}h{:02}m memory={}MB",
            100 * sum.seeds / self.seeds,
            self.line(&sum),
            left_s / 3_600,
            left_s / 60 % 60,
            memory_bytes() >> 20
        );
        for (seed, age) in self.ages().filter(|(_, age)| *age > PATIENCE) {
            eprintln!("seed {seed} has been running for {} s", age.as_secs());
        }
    }

    /// A seed whose world of `steps` does not come to an end: a shard that goes round and round cannot be stopped from outside.
    pub(crate) fn endless(&self, steps: u64) -> Option<u64> {
        let patience = PATIENCE_MAX + STEP_MAX.saturating_mul(u32::try_from(steps).unwrap_or(u32::MAX));
        self.ages().find(|(_, age)| *age > patience).map(|(seed, _)| seed)
    }

    /// What is at work, and for how long it has been.
    fn ages(&self) -> impl Iterator<Item = (u64, Duration)> {
        let ms = self.ms();
        self.jobs.iter().map(move |job| {
            let age_ms = ms.saturating_sub(job.since_ms.load(Ordering::Relaxed));
            (job.seed.load(Ordering::Relaxed), Duration::from_millis(age_ms))
        })
    }

    fn ms(&self) -> u64 {
        self.began.elapsed().as_millis() as u64
    }
}

/// Resident memory of this process; 0 where it is not told.
fn memory_bytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let kib =
        status.lines().find_map(|line| line.strip_prefix("VmRSS:")?.split_whitespace().next()?.parse::<u64>().ok());
    kib.unwrap_or(0) << 10
}
