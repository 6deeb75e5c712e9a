//! The arguments that say which configuration is meant, shared by every command that reads one.

use std::path::PathBuf;
use std::sync::Arc;

use clap::Args;

use super::logging::SetLog;
use super::{Failure, print_diagnostic};
use crate::config::{Document, Flag, Loaded, Machine, Problem, Problems, Profile, Sources};
use crate::run::Reload;

#[derive(Debug, Args)]
#[command(next_help_heading = "Configuration")]
pub(super) struct ConfigArgs {
    /// Configuration file; without one, the embedded default
    #[arg(short, long, value_name = "FILE", env = "AQUEDUCT_CONFIG", hide_env_values = true)]
    config: Option<String>,
    /// Values for one purpose: balanced, throughput, latency, durable, edge, or the path of a profile file
    #[arg(short, long, value_name = "NAME|FILE", env = "AQUEDUCT_PROFILE", hide_env_values = true)]
    profile: Option<String>,
    /// Sets any option, such as sinks.mqtt.linger=2ms; may be repeated
    #[arg(short, long = "set", value_name = "KEY=VALUE", value_parser = assignment)]
    set: Vec<String>,
}

impl ConfigArgs {
    /// The configuration file, if one was named.
    pub(super) fn file(&self) -> Option<&str> {
        self.config.as_deref()
    }

    /// Reads and checks the configuration; `shorthands` are the command's own flags, stronger than `--set`.
    pub(super) fn load(&self, shorthands: Vec<Flag>) -> Result<Loaded, Failure> {
        let sources = self.sources(shorthands)?;
        Ok(Loaded::load(&sources, &Machine::probe())?)
    }

    /// What a node that runs on this configuration needs to read it again, with the same flags.
    pub(super) fn reload(self, shorthands: Vec<Flag>, loaded: Loaded, machine: Machine, set_log: SetLog) -> Reload {
        let resolve = move || {
            let sources = self.sources(shorthands.clone())?;
            Loaded::load(&sources, &machine)
        };
        Reload { loaded, machine, resolve: Arc::new(resolve), set_log }
    }

    /// The data directory of the node, whatever else is wrong with the configuration.
    pub(super) fn data_dir(&self, shorthands: Vec<Flag>) -> Result<PathBuf, Problems> {
        Ok(self.sources(shorthands)?.data_dir())
    }

    fn sources(&self, shorthands: Vec<Flag>) -> Result<Sources, Problems> {
        let profile = Profile::find(self.profile.as_deref().unwrap_or("balanced"))?;
        let mut sources = match &self.config {
            Some(path) => Sources::file(read(path)?),
            None => Sources::embedded(),
        };
        sources.profile = Some(profile);
        // Variables that are not UTF-8 cannot be ours.
        sources.environment = std::env::vars_os()
            .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
            .collect();
        sources.environment.sort();
        sources.flags = self.set.iter().map(|text| Flag::set(text)).chain(shorthands).collect();
        Ok(sources)
    }
}

/// A `--set` has a key and a value.
fn assignment(text: &str) -> Result<String, String> {
    match text.split_once('=') {
        Some((key, _)) if !key.trim().is_empty() => Ok(text.to_string()),
        _ => Err("write KEY=VALUE, such as mqtt.receive_maximum=100".to_string()),
    }
}

fn read(path: &str) -> Result<Document, Problems> {
    match std::fs::read_to_string(path) {
        Ok(text) => Ok(Document::new(path, &text)),
        Err(error) => {
            let remedy = "name a readable TOML file; `aqueduct init FILE` writes one to start from";
            let fault = format!("the configuration {path} cannot be read: {error}");
            Err(Problems::new(vec![Problem::error(fault, remedy)]))
        }
    }
}

/// Prints the warnings a start deserves.
pub(super) fn print_warnings(loaded: &Loaded) {
    loaded.warnings.iter().for_each(|warning| print_diagnostic(warning));
}
