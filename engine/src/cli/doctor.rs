//! `aqueduct doctor`: what this machine and its surroundings lack. Each line is a finding, why it matters, and the fix.

use std::process::ExitCode;
use std::time::Duration;

use clap::Args;

use super::source::ConfigArgs;
use super::{Outcome, print};
use crate::config::Machine;

mod access;
mod broker;
mod disk;
pub(super) mod kafka;
mod kernel;
mod settings;
mod stream;

const EXAMPLES: &str = "\
Examples:
  aqueduct doctor
  aqueduct doctor --config aqueduct.toml --json

Exit codes: 0 nothing stands in the way, 1 something does, 2 the configuration has errors.";

/// Find what stands in the way of running here
///
/// Looks at the kernel, io_uring, locked memory, file descriptors, cores, the disk of the data directory and the Kafka
/// clusters of the configuration. Changes nothing, except that it writes and removes one small file in the data
/// directory if that exists.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Doctor {
    #[command(flatten)]
    config: ConfigArgs,
    /// As JSON
    #[arg(long)]
    json: bool,
}

/// How bad a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Good,
    Warning,
    Failure,
}

/// One thing that was looked at.
#[derive(Debug, Clone)]
pub(super) struct Finding {
    state: State,
    /// What was looked at: "io_uring".
    subject: String,
    /// What was found.
    found: String,
    /// Why it matters; empty where all is well.
    why: String,
    /// What to do about it.
    fix: String,
}

impl Finding {
    fn good(subject: &str, found: impl Into<String>) -> Self {
        Self::new(State::Good, subject, found, "", "")
    }

    fn warning(subject: &str, found: impl Into<String>, why: &str, fix: impl Into<String>) -> Self {
        Self::new(State::Warning, subject, found, why, fix)
    }

    fn failure(subject: &str, found: impl Into<String>, why: &str, fix: impl Into<String>) -> Self {
        Self::new(State::Failure, subject, found, why, fix)
    }

    fn new(state: State, subject: &str, found: impl Into<String>, why: &str, fix: impl Into<String>) -> Self {
        Self { state, subject: subject.to_string(), found: found.into(), why: why.to_string(), fix: fix.into() }
    }

    /// With the time it took to find out.
    fn in_time(mut self, time: Duration) -> Self {
        self.found += &format!(" ({})", took(time));
        self
    }

    /// Makes a failure a warning where there is another way; `why` says which.
    fn soften(&mut self, why: &str) {
        if self.is_failure() {
            self.state = State::Warning;
            self.why = why.to_string();
        }
    }

    pub(super) fn is_failure(&self) -> bool {
        self.state == State::Failure
    }

    pub(super) fn is_warning(&self) -> bool {
        self.state == State::Warning
    }

    /// The finding as lines for a terminal.
    pub(super) fn text(&self) -> String {
        let mark = match self.state {
            State::Good => "ok  ",
            State::Warning => "warn",
            State::Failure => "FAIL",
        };
        let mut out = format!("{mark}  {:18} {}\n", self.subject, self.found);
        if !self.why.is_empty() {
            out += &format!("      why: {}\n", self.why);
        }
        if !self.fix.is_empty() {
            out += &format!("      fix: {}\n", self.fix);
        }
        out
    }

    fn json(&self) -> serde_json::Value {
        let state = match self.state {
            State::Good => "ok",
            State::Warning => "warning",
            State::Failure => "failure",
        };
        serde_json::json!({
            "state": state, "subject": self.subject, "found": self.found, "why": self.why, "fix": self.fix
        })
    }
}

impl Doctor {
    pub(super) fn run(self) -> Outcome {
        let config = self.config.load(Vec::new())?.config;
        let machine = Machine::probe();
        let shards = if config.node.shards == 0 { machine.cores } else { config.node.shards };
        let mut findings = vec![
            kernel::version(),
            kernel::io_uring(shards),
            kernel::locked_memory(shards),
            kernel::descriptors(),
            kernel::cores(shards, &machine),
            kernel::memory(&config, &machine),
        ];
        findings.extend(disk::findings(&config.node.data_dir));
        findings.extend(kafka::findings(&config));
        print(&match self.json {
            true => format!("{:#}\n", serde_json::Value::from_iter(findings.iter().map(Finding::json))),
            false => findings.iter().map(Finding::text).collect(),
        })?;
        let failed = findings.iter().any(Finding::is_failure);
        Ok(if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS })
    }
}

/// A time for people: "0.3 ms", "1.2 s".
fn took(time: Duration) -> String {
    match time.as_secs_f64() {
        seconds if seconds >= 1.0 => format!("{seconds:.1} s"),
        seconds => format!("{:.1} ms", seconds * 1e3),
    }
}
