//! From a checked configuration to a running engine.

use std::process::ExitCode;

use crate::config::Config;
use crate::plan::Plan;

/// What a run is asked for beside its configuration.
#[derive(Debug, Clone, Default)]
pub struct RunOptions {
    /// Resolve, connect, print the topology and which shard owns which partition, then end.
    pub dry_run: bool,
    /// Simulated devices to publish with.
    pub demo: Option<DemoOptions>,
    /// The configuration file, for the lines printed at start; without one this is the embedded default.
    pub file: Option<String>,
}

/// What simulated devices do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DemoOptions {
    /// How many there are.
    pub devices: u32,
    /// Time between two publishes of one device, in milliseconds.
    pub interval_ms: u64,
}

/// Runs the engine within the limits of `plan` until it is told to stop.
pub fn run(_config: Config, _plan: Plan, _options: RunOptions) -> miette::Result<ExitCode> {
    Err(miette::miette!("the engine is not wired yet"))
}
