//! The command line: arguments to a configuration, and from there to the engine or to a page about it.
//!
//! One file per subcommand. Exit codes: 0 ok, 1 failed, 2 usage or configuration.

use std::io::Write as _;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use miette::{Diagnostic, GraphicalReportHandler};

use crate::config::Problems;

pub use reference::reference;

mod check;
mod client;
mod completions;
mod config;
mod demo;
pub mod doctor;
mod init;
mod logging;
mod man;
mod profile;
mod publish;
mod reference;
mod reload;
mod run;
mod source;
mod subscribe;
mod topology;

/// Exit code of a wrong command line or configuration.
const USAGE: u8 = 2;

const EXAMPLES: &str = "\
Examples:
  aqueduct run                                     MQTT on 127.0.0.1:1883 into an embedded log on 127.0.0.1:9092
  aqueduct run --kafka kafka-1:9092 --topic fleet  the same into your Kafka
  aqueduct init && aqueduct run --config aqueduct.toml
  aqueduct doctor                                  what this machine lacks, and how to fix it

`aqueduct help COMMAND` tells more of a command.";

/// The ingest tier between an MQTT fleet and Kafka.
///
/// Terminates MQTT, writes what devices publish to Kafka, and acknowledges a message when Kafka has it.
#[derive(Debug, Parser)]
#[command(name = "aqueduct", version, after_help = EXAMPLES, max_term_width = 110, propagate_version = false)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Run(run::Run),
    Demo(demo::Demo),
    Init(init::Init),
    Check(check::Check),
    Config(config::ConfigCommand),
    Doctor(doctor::Doctor),
    Profile(profile::ProfileCommand),
    Reload(reload::Reload),
    #[command(name = "pub")]
    Publish(publish::Publish),
    #[command(name = "sub")]
    Subscribe(subscribe::Subscribe),
    Completions(completions::Completions),
    Man(man::Man),
}

/// Why a command failed.
#[derive(Debug)]
enum Failure {
    /// The command line or the configuration is wrong: exit code 2.
    Usage(Problems),
    /// The command could not do its work: exit code 1.
    Work(miette::Report),
}

impl From<Problems> for Failure {
    fn from(problems: Problems) -> Self {
        Self::Usage(problems)
    }
}

impl From<miette::Report> for Failure {
    fn from(report: miette::Report) -> Self {
        Self::Work(report)
    }
}

impl From<std::io::Error> for Failure {
    fn from(error: std::io::Error) -> Self {
        Self::Work(miette::miette!("{error}"))
    }
}

type Outcome = Result<ExitCode, Failure>;

/// Parses the process's arguments and does what they say.
pub fn main() -> ExitCode {
    let outcome = match Cli::parse().command {
        Command::Run(command) => command.run(),
        Command::Demo(command) => command.run(),
        Command::Init(command) => command.run(),
        Command::Check(command) => command.run(),
        Command::Config(command) => command.run(),
        Command::Doctor(command) => command.run(),
        Command::Profile(command) => command.run(),
        Command::Reload(command) => command.run(),
        Command::Publish(command) => command.run(),
        Command::Subscribe(command) => command.run(),
        Command::Completions(command) => command.run(),
        Command::Man(command) => command.run(),
    };
    match outcome {
        Ok(code) => code,
        Err(Failure::Usage(problems)) => {
            print_problems(&problems);
            ExitCode::from(USAGE)
        }
        Err(Failure::Work(report)) => {
            print_diagnostic(&*report);
            ExitCode::FAILURE
        }
    }
}

/// Writes to standard output. A reader that has seen enough, such as `head`, is no error.
fn print(text: &str) -> std::io::Result<()> {
    let mut out = std::io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
        written => written,
    }
}

/// Every problem with its line, then how many there are.
fn print_problems(problems: &Problems) {
    for problem in problems.iter() {
        print_diagnostic(problem);
        eprintln!();
    }
    if problems.iter().count() > 1 {
        eprintln!("{problems}");
    }
}

/// Coloured on a terminal unless NO_COLOR says otherwise, plain elsewhere.
fn print_diagnostic(diagnostic: &dyn Diagnostic) {
    let mut out = String::new();
    match GraphicalReportHandler::new().render_report(&mut out, diagnostic) {
        Ok(()) => eprint!("{out}"),
        Err(_) => eprintln!("{diagnostic}"),
    }
}
