//! `aqueduct check`: is a configuration in order?

use std::process::ExitCode;

use clap::Args;

use super::source::ConfigArgs;
use super::{Failure, Outcome, print, print_diagnostic};
use crate::config::{Machine, Problem, Problems};
use crate::plan::Plan;

const EXAMPLES: &str = "\
Examples:
  aqueduct check --config aqueduct.toml
  aqueduct check --config aqueduct.toml --connect
  aqueduct check --config aqueduct.toml --deny-warnings    for CI

Exit codes: 0 in order, 1 not reachable or warnings denied, 2 errors.";

/// Check a configuration without starting
///
/// Reads the file, the variables and the flags as `run` would, and reports every error with its line, the reason and
/// what to write instead.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Check {
    #[command(flatten)]
    config: ConfigArgs,
    /// Also resolve, reach and question the Kafka clusters it names
    #[arg(long)]
    connect: bool,
    /// Fail on warnings too, those of --connect included
    #[arg(long)]
    deny_warnings: bool,
}

impl Check {
    pub(super) fn run(self) -> Outcome {
        let loaded = self.config.load(Vec::new())?;
        for warning in &loaded.warnings {
            print_diagnostic(warning);
            eprintln!();
        }
        let config = &loaded.config;
        Plan::new(config, &Machine::probe())?;
        // Files of TLS are read here too: a run would not start without them.
        crate::run::tls_clients(config).map_err(|refusal| {
            let problem = Problem::error(refusal.to_string(), "correct the file, or the option that names it");
            Failure::Usage(Problems::new(vec![problem]))
        })?;
        print(&format!(
            "{} is in order: {}, {}, {}, {}\n",
            self.config.file().unwrap_or("the embedded default"),
            count(config.listeners.len(), "listener"),
            count(config.connectors.len(), "connector"),
            count(config.sinks.len(), "sink"),
            count(loaded.warnings.len(), "warning"),
        ))?;
        let (mut reached, mut warned) = (true, !loaded.warnings.is_empty());
        if self.connect {
            for finding in super::doctor::kafka::findings(config) {
                print(&finding.text())?;
                reached &= !finding.is_failure();
                warned |= finding.is_warning();
            }
        }
        let denied = self.deny_warnings && warned;
        Ok(if denied || !reached { ExitCode::FAILURE } else { ExitCode::SUCCESS })
    }
}

fn count(n: usize, noun: &str) -> String {
    format!("{n} {noun}{}", if n == 1 { "" } else { "s" })
}
