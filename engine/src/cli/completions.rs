//! `aqueduct completions`: completion scripts from the same declaration as the arguments.

use std::process::ExitCode;

use clap::{Args, CommandFactory as _};

use super::{Cli, Outcome, print};

const EXAMPLES: &str = "\
Examples:
  aqueduct completions bash > /etc/bash_completion.d/aqueduct
  aqueduct completions zsh > ~/.zfunc/_aqueduct
  aqueduct completions fish > ~/.config/fish/completions/aqueduct.fish";

/// Print a completion script for a shell
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Completions {
    /// The shell
    shell: clap_complete::Shell,
}

impl Completions {
    pub(super) fn run(self) -> Outcome {
        let mut script = Vec::new();
        clap_complete::generate(self.shell, &mut Cli::command(), "aqueduct", &mut script);
        print(&String::from_utf8_lossy(&script))?;
        Ok(ExitCode::SUCCESS)
    }
}
