//! `aqueduct init`: a file to start from.

use std::io::Write as _;
use std::process::ExitCode;

use clap::Args;

use super::{Outcome, print};
use crate::config::sample;

const EXAMPLES: &str = "\
Examples:
  aqueduct init                   writes aqueduct.toml
  aqueduct init /etc/aqueduct.toml
  aqueduct init - | less          prints it";

/// Write a commented configuration file
///
/// The file shows every option with its default, and as it stands is what `aqueduct run` does without a file.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Init {
    /// File to write; - prints it
    #[arg(value_name = "FILE", default_value = "aqueduct.toml")]
    file: String,
    /// Replace an existing file
    #[arg(long)]
    force: bool,
}

impl Init {
    pub(super) fn run(self) -> Outcome {
        if self.file == "-" {
            print(&sample())?;
            return Ok(ExitCode::SUCCESS);
        }
        let mut options = std::fs::OpenOptions::new();
        options.write(true).truncate(true);
        if self.force {
            options.create(true)
        } else {
            options.create_new(true)
        };
        let written = options.open(&self.file).and_then(|mut file| file.write_all(sample().as_bytes()));
        written.map_err(|error| match error.kind() {
            std::io::ErrorKind::AlreadyExists => {
                miette::miette!(help = "name another file, or add --force to replace it", "{} exists", self.file)
            }
            _ => miette::miette!("{} cannot be written: {error}", self.file),
        })?;
        let file = &self.file;
        print(&format!(
            "wrote {file}\n  aqueduct check --config {file}   reads it without starting\n  \
             aqueduct run --config {file}     starts\n"
        ))?;
        Ok(ExitCode::SUCCESS)
    }
}
