//! What the control thread and a shard say to each other. Both directions are bounded queues.

use kafka::sasl::Secret;

use crate::config::Config;
use crate::log::journal::JournalStart;
use crate::metrics::ShardSample;
use crate::plan::Plan;

/// A configuration that is to replace the one in force, as every shard is told of it; see `docs/adr/0008-live-changes.md`.
#[derive(Debug, Clone)]
pub struct Snapshot {
    /// Changes are counted.
    pub number: u64,
    /// The configuration. Its sinks stand in their slots, its connectors by number: those that leave too, and something where nobody is.
    /// Sinks that leave have no filters.
    pub config: Config,
    /// What follows from it.
    pub plan: Plan,
    /// By slot.
    pub slots: Vec<SlotState>,
    /// Slots that are taken with this change, ascending.
    pub fresh: Vec<u16>,
    /// By number of the connector.
    pub connectors: Vec<SlotState>,
    /// Connectors that come with this change, ascending.
    pub fresh_connectors: Vec<u16>,
    /// Connectors that stay and have other options, ascending.
    pub changed_connectors: Vec<u16>,
}

/// What one shard needs to make ready for a change.
#[derive(Debug)]
pub struct Preparation {
    /// What is to be in force, for all shards the same.
    pub snapshot: Snapshot,
    /// The journals of new sinks, as they were found. The shard's disk writer knows them already.
    pub starts: Vec<JournalStart>,
    /// What nonces of new connectors are made from; secret, for all shards the same, and new with every change.
    pub nonce_key: [u8; 32],
}

/// Who has a slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SlotState {
    /// A sink of the configuration.
    Active,
    /// One that no longer is, until everything it was given has its outcome.
    Leaving,
    /// Nobody.
    Vacant,
}

/// From the control thread to a shard.
#[derive(Debug)]
pub enum Command {
    /// Answer with a copy of your counters at the end of this round.
    Scrape {
        /// Returned with the answer.
        token: u64,
    },
    /// More memory is in use than `node.memory_high_watermark`, or no longer.
    Overloaded(bool),
    /// Make everything ready for this configuration, change nothing, and say `Prepared`: after that other shards may hand over
    /// batches of its new sinks.
    Prepare(Box<Preparation>),
    /// Work by the configuration that was prepared, and say `Applied`.
    Apply {
        /// Its number.
        number: u64,
    },
    /// Forget the configuration that was prepared, and its new sinks.
    Withdraw {
        /// Its number.
        number: u64,
    },
    /// No shard has anything left of a sink that left: forget it.
    Forget {
        /// Its slot.
        sink: u16,
    },
    /// No shard has anything left of a connector that left: close its links and forget it.
    CloseConnector {
        /// Its number.
        connector: u16,
    },
    /// Stop reading clients, flush what is open, say goodbye, then report `Drained`.
    Drain,
    /// What the brokers of a connector take as proof of who we are.
    Token {
        /// Number of the connector.
        connector: u16,
        /// A new token, or why there is none any more.
        token: Result<Secret, String>,
    },
    /// The time for draining is over: drop what is left and report `Drained`.
    DrainNow,
}

/// How bad a note is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Level {
    /// Something went as configured that a person may want to know.
    Info,
    /// Something needs attention; nothing acknowledged is in danger.
    Warn,
    /// Something is broken.
    Error,
}

/// What a shard has done of a change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// It is ready for the configuration with this number, and knows the topics of its new sinks.
    Prepared(u64),
    /// It works by it.
    Applied(u64),
    /// It has nothing left of a sink that left.
    Left {
        /// Number of the change that was applied last.
        number: u64,
        /// The sink's slot.
        sink: u16,
    },
}

/// From a shard to the control thread.
#[derive(Debug)]
pub enum ControlMsg {
    /// The answer to a scrape.
    Sample {
        /// The token of the scrape.
        token: u64,
        /// The counters at the end of one round.
        sample: Box<ShardSample>,
    },
    /// A line for the log. The shard limits its own rate.
    Note {
        /// How bad.
        level: Level,
        /// What happened, where, and what to do.
        text: String,
    },
    /// A step of a change is done.
    Changed(Step),
    /// Drained: nothing is open any more. Counts what had to be dropped.
    Drained {
        /// Records accepted but not written when time was up.
        acked_records_dropped: u64,
        /// Records never acknowledged; their clients will send them again.
        unacked_records_dropped: u64,
    },
}
