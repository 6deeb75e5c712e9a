//! `aqueduct config`: what takes effect and where it came from, and what an option means.

use std::process::ExitCode;

use clap::{Args, Subcommand};

use super::source::ConfigArgs;
use super::{Outcome, print};
use crate::config::{Effective, Origin, Problems, explain};

const EXAMPLES: &str = "\
Examples:
  aqueduct config show --config aqueduct.toml
  aqueduct config show --config aqueduct.toml --changed sinks
  aqueduct config explain linger
  aqueduct config explain sinks";

/// Show effective values with their origin, or explain an option
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct ConfigCommand {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Every option with its value and the place it came from
    #[command(after_help = EXAMPLES)]
    Show(Show),
    /// What an option means, its range and default, and how to set it
    #[command(after_help = EXAMPLES)]
    Explain {
        /// An option (sinks.main.linger, sinks.linger or linger) or a section
        key: String,
    },
}

#[derive(Debug, Args)]
struct Show {
    /// Only options whose path begins with this
    #[arg(value_name = "PREFIX", default_value = "")]
    prefix: String,
    /// Only options that something other than the default set
    #[arg(long)]
    changed: bool,
    /// As JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    config: ConfigArgs,
}

impl ConfigCommand {
    pub(super) fn run(self) -> Outcome {
        let text = match self.action {
            Action::Show(show) => show.text()?,
            Action::Explain { key } => explain(&key).map_err(|problem| Problems::new(vec![problem]))?,
        };
        print(&text)?;
        Ok(ExitCode::SUCCESS)
    }
}

impl Show {
    fn text(&self) -> Result<String, super::Failure> {
        let loaded = self.config.load(Vec::new())?;
        let wanted = |effective: &&Effective| {
            effective.path.starts_with(&self.prefix) && !(self.changed && effective.origin == Origin::Default)
        };
        let shown: Vec<&Effective> = loaded.effective.iter().filter(wanted).collect();
        if self.json {
            let rows: Vec<serde_json::Value> = shown
                .iter()
                .map(|e| serde_json::json!({ "option": e.path, "value": e.value, "origin": e.origin.to_string() }))
                .collect();
            return Ok(format!("{:#}\n", serde_json::Value::from(rows)));
        }
        let lines: Vec<String> = shown.iter().map(|e| format!("{} = {}", e.path, e.value)).collect();
        let width = lines.iter().map(|line| line.chars().count()).max().unwrap_or(0).min(72);
        let rows = lines.iter().zip(&shown).map(|(line, e)| format!("{line:width$}  # {}\n", e.origin));
        Ok(rows.collect())
    }
}
