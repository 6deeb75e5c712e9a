//! Counters that belong to one shard: plain integers, copied out whole when the control thread asks.
//!
//! A metric is one row in [`table`]; code names the row's field, never a string. Labels are few and bounded: shard, sink,
//! reason. No client id and no topic is ever a label.

mod export;
mod health;
mod latency;
mod reference;
mod table;

pub use export::{CONTENT_TYPE, CertificateDays, NodeSample, render};
pub use health::Health;
pub use latency::Latency;
pub use reference::reference;
pub use table::{ConfigCounters, Kind, LogCounters, Row, ShardCounters, SinkCounters};

/// Everything one shard counts, copied at the end of a round, so that sums over fields are consistent.
#[derive(Debug, Clone)]
pub struct ShardSample {
    /// The shard.
    pub shard: u16,
    /// What the shard counts for itself.
    pub own: ShardCounters,
    /// What it counts for each sink, by the sink's index in the configuration.
    pub sinks: Vec<SinkCounters>,
    /// How each sink stands with what it writes to, by the same index.
    pub health: Vec<Health>,
    /// How each connector stands, by its index in the configuration.
    pub connectors: Vec<Health>,
    /// From the first record of a batch until its outcome came home, one sample a batch and record count.
    pub ack_latency: Vec<Latency>,
}
