//! `[node]`: this process, its cores, its directory and its memory.

use std::path::PathBuf;

use super::kind::Flag;
use super::kind::number::{Count, MemoryShare, Micros, Millis};
use super::kind::text::{File, Name};
use super::option::{Group, Section, options, or};
use super::unit::{HOUR, MB, MILLISECOND};

/// Where a node keeps what it keeps, unless it is told otherwise.
pub(crate) const DATA_DIR: &str = "./aqueduct-data";

pub(crate) static SECTION: Section = Section {
    name: "node",
    named: false,
    about: Node::ABOUT,
    groups: &[Group { only: None, about: Node::ABOUT, rows: Node::ROWS }],
};

options! {
    /// This process: its name, its cores, its directory and its memory.
    pub struct Node {
        /// What this node is called in logs, in metrics and in the client id it shows to Kafka.
        "name" => name: String = Name, or("aqueduct");
        /// Threads that serve clients and partitions, each on a core of its own; 0 is one for each core.
        "shards" => shards: usize = Count::within(0, 512), or("0");
        /// Whether a shard stays on one core. Turn it off where other processes are pinned to the same cores.
        "pin" => pin: bool = Flag, or("true");
        /// Time a shard looks around for work before it sleeps. Sleeping and waking up cost latency; looking costs processor
        /// time, of a core that nobody else should need.
        "busy_poll" => busy_poll_us: u64 = Micros::within(0, 10 * MILLISECOND), or("0");
        /// Directory of everything this node keeps: the embedded log, the access token, its lock.
        "data_dir" => data_dir: PathBuf = File, or(DATA_DIR);
        /// How long a drain may take; what is left then is dropped and counted, and the exit code is 1 if a client had been told
        /// that it is safe.
        "shutdown_timeout" => shutdown_timeout_ms: u64 = Millis::within(0, 24 * HOUR), or("30s"), live;
        /// Memory this process plans with; a percentage is of the machine's, or of its cgroup's where that is less.
        "memory_limit" => memory_limit_bytes: u64 = MemoryShare { min: 64 * MB }, or("70%");
        /// Memory in use, by this process or in its cgroup, above which sinks with `buffer.memory_overload_protection` act; a
        /// percentage as for `memory_limit`.
        "memory_high_watermark" => memory_high_watermark_bytes: u64 = MemoryShare { min: 16 * MB }, or("70%"), live;
    }
}
