//! `aqueduct demo`: a run with devices of its own.

use clap::Args;

use super::run::Shorthands;
use super::source::{ConfigArgs, print_warnings};
use super::{Outcome, logging};
use crate::config::Machine;
use crate::demo::{DemoOptions, INTERVAL_MS_MAX};
use crate::plan::Plan;
use crate::run::{RunOptions, run};

const EXAMPLES: &str = "\
Examples:
  aqueduct demo
  aqueduct demo --devices 1000 --interval-ms 100
  kcat -b 127.0.0.1:9092 -t mqtt -C -o end    in another terminal: the records as they come";

/// Run with simulated devices, to see records flow
///
/// The same as `aqueduct run`, with devices in this process that connect over MQTT and publish temperatures.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Demo {
    /// Simulated devices
    #[arg(long, value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    devices: u32,
    /// Time between two publishes of a device, in milliseconds
    #[arg(long, value_name = "MS", default_value_t = 1000, value_parser = clap::value_parser!(u64).range(1..=INTERVAL_MS_MAX))]
    interval_ms: u64,
    #[command(flatten)]
    config: ConfigArgs,
    #[command(flatten)]
    shorthands: Shorthands,
}

impl Demo {
    pub(super) fn run(self) -> Outcome {
        let flags = self.shorthands.flags();
        let loaded = self.config.load(flags.clone())?;
        print_warnings(&loaded);
        let machine = Machine::probe();
        let plan = Plan::new(&loaded.config, &machine)?;
        let set_log = logging::start(&loaded.config.log)?;
        Machine::raise_descriptors();
        let demo = DemoOptions { devices: self.devices, interval_ms: self.interval_ms };
        let (config, file) = (loaded.config.clone(), self.config.file().map(str::to_string));
        let reload = self.config.reload(flags, loaded, machine, set_log);
        let options = RunOptions { demo: Some(demo), file, reload };
        Ok(run(config, plan, options)?)
    }
}
