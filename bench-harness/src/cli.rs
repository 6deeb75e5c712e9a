//! The command line: arguments to plans.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};
use miette::{IntoDiagnostic, Result, miette};

use crate::ceiling::{self, CeilingArgs};
use crate::chaos::{self, ChaosArgs};
use crate::compare::{self, CompareArgs};
use crate::disk::{self, DiskArgs};
use crate::kill::{self, DriveArgs, KillArgs};
use crate::report::{self, ReportArgs};
use crate::run::{self, Plan};
use crate::system::peer::Peer;
use crate::system::{Connector, Setup, System};
use crate::table::{self, TableArgs};
use crate::verify;
use crate::workload::{CANONICAL, Workload};

/// Measures Aqueduct, and checks that nothing acknowledged is lost.
#[derive(Debug, Parser)]
#[command(version, max_term_width = 100)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// The subcommands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run a workload: start the system, load it, read Kafka back, print one line of JSON and a table
    Run(RunArgs),
    /// Alternate two builds, profiles or settings and print the ratios of their medians
    Compare(CompareArgs),
    /// Measure several systems under several workloads in turn and print the Markdown of docs/performance.md
    Table(TableArgs),
    /// Measure what a buffer on disk acknowledges, beside what the disk under it takes
    Disk(DiskArgs),
    /// Kill -9 the system under load, again and again, and check that nothing acknowledged is lost
    Kill(KillArgs),
    /// Let things go wrong under load, by a seed or a plan, and let the ledger judge
    Chaos(ChaosArgs),
    /// Drive a running MQTT server with a workload, writing down what was sent and acknowledged
    Drive(DriveArgs),
    /// Read a topic back and judge it by what was written down
    Verify(VerifyArgs),
    /// List the canonical workloads
    Workloads,
    /// Make docs/performance.md, and an HTML page with plots, from the results that were kept
    Report(ReportArgs),
    /// Install systems of others for `compare --systems`, from their registries, or list them
    Peers {
        /// mochi, …; nothing lists them
        names: Vec<String>,
    },
    /// Be the ceiling: a bare epoll MQTT sink fused with a raw producer
    Ceiling(CeilingArgs),
}

/// What is measured, as `run`, `compare` and `kill` share it.
#[derive(Debug, Clone, Args)]
pub struct SystemArgs {
    /// The product's binary [default: aqueduct beside this one]
    #[arg(long, value_name = "PATH")]
    pub binary: Option<PathBuf>,
    /// Where the messages go
    #[arg(long, value_enum, default_value_t = Connector::Kafka)]
    pub connector: Connector,
    /// Shards of the product
    #[arg(long, default_value_t = 1, value_name = "N")]
    pub shards: u32,
    /// Profile of the product
    #[arg(long, value_name = "P")]
    pub profile: Option<String>,
    /// A setting handed to the product as it is; may be given several times
    #[arg(long, value_name = "KEY=VALUE")]
    pub set: Vec<String>,
    /// An argument handed to the ceiling as it is, e.g. --ceiling-arg=--rounds=false
    #[arg(long, value_name = "ARG", allow_hyphen_values = true)]
    pub ceiling_arg: Vec<String>,
    /// Send so many messages instead of the workload's number
    #[arg(long, value_name = "N")]
    pub messages: Option<u64>,
    /// Kafka listens for TLS as well, and the product uses that where it is set to (connectors.k.tls.enable=true)
    #[arg(long)]
    pub secure: bool,
    /// Where Kafka lives while it is needed; wiped afterwards [default: a temporary directory]
    #[arg(long, value_name = "DIR")]
    pub kafka_dir: Option<PathBuf>,
    /// Leave the system's files behind, and say where
    #[arg(long)]
    pub keep: bool,
    /// Print the line of JSON and nothing else
    #[arg(long)]
    pub json: bool,
}

impl SystemArgs {
    /// The named workload with the number of messages asked for.
    pub fn workload(&self, name: &str) -> Result<Workload> {
        let workload = Workload::load(name)?;
        Ok(match self.messages {
            Some(messages) => workload.with_messages(messages),
            None => workload,
        })
    }

    /// How to start the system.
    pub fn setup(&self, system: System) -> Result<Setup> {
        Ok(Setup {
            system,
            binary: match (&self.binary, system) {
                (Some(binary), System::Aqueduct) => binary.clone(),
                (None, System::Aqueduct) => beside_us("aqueduct")?,
                _ => std::env::current_exe().into_diagnostic()?,
            },
            dir: PathBuf::new(),
            connector: self.connector,
            bootstrap: None,
            tls: None,
            topic: String::new(),
            partitions: 1,
            shards: self.shards,
            profile: self.profile.clone(),
            set: self.set.clone(),
            ceiling_args: self.ceiling_arg.clone(),
            routes: Vec::new(),
            unmatched_sinks: 0,
            variables: Vec::new(),
            group: None,
            eager: false,
        })
    }
}

/// Arguments of `run`.
#[derive(Debug, Args)]
pub struct RunArgs {
    /// A canonical workload (see `workloads`) or the path of a file like theirs
    pub workload: String,
    /// What to measure
    #[arg(long, value_enum, default_value_t = System::Aqueduct)]
    pub system: System,
    /// Count the system's calls into the kernel too, with perf or strace; it costs some of the CPU time measured
    #[arg(long)]
    pub syscalls: bool,
    /// Run so often, and print the median with its spread
    #[arg(long, default_value_t = 1, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub repeat: u32,
    /// What is measured
    #[command(flatten)]
    pub system_args: SystemArgs,
}

/// Arguments of `verify`.
#[derive(Debug, Args)]
pub struct VerifyArgs {
    /// Bootstrap address
    #[arg(long, value_name = "HOSTS")]
    pub kafka: String,
    /// The topic to read; of a book of `chaos` all its topics in order, separated by commas
    #[arg(long, value_delimiter = ',', required = true)]
    pub topic: Vec<String>,
    /// Its partitions; a book of `chaos` does without
    #[arg(long, default_value_t = 4)]
    pub partitions: i32,
    /// The file that `drive` or `chaos` wrote
    #[arg(long, value_name = "FILE")]
    pub truth: PathBuf,
}

impl Command {
    /// Does it. `Ok(false)`: it was done, and what it found is not good.
    pub fn run(&self) -> Result<bool> {
        match self {
            Self::Run(args) => measure(args),
            Self::Compare(args) => compare::run(args),
            Self::Table(args) => table::run(args),
            Self::Disk(args) => disk::run(args),
            Self::Kill(args) => kill::run(args),
            Self::Chaos(args) => chaos::run(args),
            Self::Drive(args) => kill::drive(args),
            Self::Verify(args) => {
                let (line, clean) = verify::run(&args.kafka, &args.topic, args.partitions, &args.truth)?;
                println!("{line}");
                Ok(clean)
            }
            Self::Workloads => {
                for (name, _) in CANONICAL {
                    println!("{name:6} {}", Workload::load(name)?.about);
                }
                Ok(true)
            }
            Self::Report(args) => report::run(args).map(|()| true),
            Self::Peers { names } => peers(names).map(|()| true),
            Self::Ceiling(args) => ceiling::run(args).map(|()| true),
        }
    }
}

fn peers(names: &[String]) -> Result<()> {
    let peers = System::ALL.iter().filter_map(|system| Some((system.to_possible_value()?, system.peer()?)));
    for (value, folder) in peers {
        if names.is_empty() {
            println!("{:10} {}", value.get_name(), Peer::load(folder)?.about);
        } else if names.iter().any(|name| name == value.get_name()) {
            Peer::install(folder)?;
        }
    }
    Ok(())
}

fn measure(args: &RunArgs) -> Result<bool> {
    let plan = Plan {
        workload: args.system_args.workload(&args.workload)?,
        setup: args.system_args.setup(args.system)?,
        syscalls: args.syscalls,
        repeats: args.repeat as usize,
    };
    let outcome = run::run(&plan, &args.system_args)?;
    println!("{}", outcome.to_json());
    if !args.system_args.json {
        println!("{}", outcome.to_table());
    }
    Ok(outcome.is_clean())
}

fn beside_us(name: &str) -> Result<PathBuf> {
    let us = std::env::current_exe().into_diagnostic()?;
    let folder = us.parent().ok_or_else(|| miette!("{} lies in no folder", us.display()))?;
    Ok(folder.join(name))
}
