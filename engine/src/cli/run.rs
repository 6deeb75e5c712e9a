//! `aqueduct run`: the main job.

use clap::Args;

use super::source::{ConfigArgs, print_warnings};
use super::{Outcome, logging, topology};
use crate::config::{Flag, Machine};
use crate::plan::Plan;
use crate::run::{RunOptions, run};

const EXAMPLES: &str = "\
Examples:
  aqueduct run
  aqueduct run --kafka kafka-1:9092,kafka-2:9092 --topic fleet --profile throughput
  aqueduct run --config /etc/aqueduct.toml --set sinks.fleet.linger=2ms
  aqueduct run --config aqueduct.toml --dry-run

Every option can also be set by a variable: AQUEDUCT__MQTT__MAX_PACKET_SIZE=64KB, AQUEDUCT__SINKS__FLEET__LINGER=2ms.
Flags win over variables, these over the file, the file over the profile.";

/// Run: MQTT in, Kafka out
///
/// Without --config this is the embedded default: MQTT on 127.0.0.1:1883, a Kafka-compatible log embedded on
/// 127.0.0.1:9092, and every publication in its topic `mqtt`. SIGTERM and SIGINT drain; a second signal ends at once.
#[derive(Debug, Args)]
#[command(after_help = "`aqueduct run --help` shows examples.", after_long_help = EXAMPLES)]
pub(super) struct Run {
    #[command(flatten)]
    config: ConfigArgs,
    #[command(flatten)]
    shorthands: Shorthands,
    /// Resolve, connect, print the topology and which shard owns which partition, then end
    #[arg(long)]
    dry_run: bool,
}

/// Flags for the options people change most.
#[derive(Debug, Args)]
#[command(next_help_heading = "Shorthands")]
pub(super) struct Shorthands {
    /// Threads that serve clients and partitions; 0 is one for each core (node.shards)
    #[arg(long, value_name = "N")]
    shards: Option<String>,
    /// Address of the only listener (listeners.NAME.bind)
    #[arg(long, value_name = "ADDRESS:PORT")]
    bind: Option<String>,
    /// Kafka to write to, instead of the embedded log (connectors.NAME.bootstrap_hosts)
    #[arg(long, value_name = "HOST:PORT,…")]
    kafka: Option<String>,
    /// Kafka topic of the only sink (sinks.NAME.topic)
    #[arg(long, value_name = "TOPIC")]
    topic: Option<String>,
    /// Directory of everything this node keeps (node.data_dir)
    #[arg(long, value_name = "DIR")]
    data_dir: Option<String>,
    /// Most bytes of a batch, of every sink (sinks.NAME.max_batch_bytes)
    #[arg(long, value_name = "SIZE")]
    max_batch_bytes: Option<String>,
    /// Unanswered batches of a partition, of every sink (sinks.NAME.max_inflight)
    #[arg(long, value_name = "N")]
    max_inflight: Option<String>,
    /// Longest a batch waits for more, of every sink (sinks.NAME.linger)
    #[arg(long, value_name = "DURATION")]
    linger: Option<String>,
}

impl Shorthands {
    /// The flags that were given.
    pub(super) fn flags(&self) -> Vec<Flag> {
        let make = |value: &Option<String>, flag: &dyn Fn(&str) -> Flag| value.as_deref().map(flag);
        [
            make(&self.shards, &|v| Flag::path("--shards", "node.shards", v)),
            make(&self.bind, &|v| Flag::only_listener("--bind", "bind", v)),
            make(&self.kafka, &|v| Flag::kafka("--kafka", v)),
            make(&self.topic, &|v| Flag::only_sink("--topic", "topic", v)),
            make(&self.data_dir, &|v| Flag::path("--data-dir", "node.data_dir", v)),
            make(&self.max_batch_bytes, &|v| Flag::every_sink("--max-batch-bytes", "max_batch_bytes", v)),
            make(&self.max_inflight, &|v| Flag::every_sink("--max-inflight", "max_inflight", v)),
            make(&self.linger, &|v| Flag::every_sink("--linger", "linger", v)),
        ]
        .into_iter()
        .flatten()
        .collect()
    }
}

impl Run {
    pub(super) fn run(self) -> Outcome {
        let flags = self.shorthands.flags();
        let loaded = self.config.load(flags.clone())?;
        print_warnings(&loaded);
        let machine = Machine::probe();
        let plan = Plan::new(&loaded.config, &machine)?;
        if self.dry_run {
            return topology::dry_run(&loaded.config, &plan);
        }
        let set_log = logging::start(&loaded.config.log)?;
        Machine::raise_descriptors();
        let (config, file) = (loaded.config.clone(), self.config.file().map(str::to_string));
        let reload = self.config.reload(flags, loaded, machine, set_log);
        let options = RunOptions { demo: None, file, reload };
        Ok(run(config, plan, options)?)
    }
}
