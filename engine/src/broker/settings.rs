//! How one shard reaches a cluster.

use super::link::Patience;
use super::login::Credentials;
use crate::shard::ShardId;
use crate::shard::io::BrokerAddr;

/// How to reach a cluster.
#[derive(Debug, Clone)]
pub struct ClusterSettings {
    /// The shard that reaches it.
    pub shard: ShardId,
    /// Shards of this process.
    pub shards: u16,
    /// Name of the connector, for log lines.
    pub name: String,
    /// What nonces are made from; secret, and the same for all shards.
    pub nonce_key: [u8; 32],
    /// Brokers to ask first; not empty.
    pub bootstrap: Vec<BrokerAddr>,
    /// Links of this shard to each broker.
    pub links: Division,
    /// How long it may take until a broker has answered for the first time, milliseconds.
    pub start_timeout_ms: u64,
    /// Names of the topics written to; elsewhere a topic is an index here.
    pub topics: Vec<String>,
    /// What may change.
    pub terms: ClusterTerms,
}

/// How to deal with a cluster; may change while links stand.
#[derive(Debug, Clone)]
pub struct ClusterTerms {
    /// Name by which brokers know us.
    pub client_id: String,
    /// How we prove to brokers who we are.
    pub credentials: Credentials,
    /// How long things may take.
    pub patience: Patience,
    /// Whether asking for a topic may create it.
    pub create_topics: bool,
    /// Least time between two questions about topics, milliseconds.
    pub refresh_min_ms: u64,
    /// Most time between two questions about topics, milliseconds.
    pub refresh_max_ms: u64,
    /// When links are probed.
    pub probes: Probes,
}

/// After how long a silence a link is asked whether anybody is there, milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Probes {
    /// The link for questions.
    pub control_ms: u64,
    /// Links to the leaders of partitions.
    pub links_ms: u64,
}

/// How partitions are divided over the links to their leader. A partition keeps its link as long as it keeps its leader, so its
/// requests are handled in order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Division {
    /// So many links to each broker, shared by the partitions it leads.
    PerBroker(u16),
    /// One link for each partition: none waits behind another's request.
    PerPartition,
}
