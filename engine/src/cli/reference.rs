//! `docs/reference/cli.md`: the help of every command, from the same declaration as the arguments.

use std::fmt::Write as _;

use clap::{Command, CommandFactory as _};

use super::Cli;

const HEAD: &str = "\
# Command line

<!-- Written from the declarations in engine/src/cli; `AQUEDUCT_BLESS=1 cargo tidy` writes it anew. -->

Exit codes: 0 all went well, 1 the command failed, 2 the command line or the configuration is wrong.
";

/// Columns of the page, whatever the terminal has.
const WIDTH: usize = 100;

/// The reference page, in Markdown.
pub fn reference() -> String {
    let mut out = HEAD.to_string();
    let mut command = Cli::command().term_width(WIDTH).max_term_width(WIDTH);
    command.build();
    pages(&mut command, 2, &mut out);
    out
}

/// The help of a command, then of those below it.
fn pages(command: &mut Command, level: usize, out: &mut String) {
    let help = command.clone().term_width(WIDTH).render_long_help().to_string();
    let name = command.get_bin_name().unwrap_or_else(|| command.get_name()).to_string();
    let lines: Vec<&str> = help.lines().map(str::trim_end).collect();
    let _ = writeln!(out, "\n{} {name}\n\n```text\n{}\n```", "#".repeat(level), lines.join("\n"));
    for inner in command.get_subcommands_mut().filter(|inner| inner.get_name() != "help") {
        pages(inner, (level + 1).min(4), out);
    }
}
