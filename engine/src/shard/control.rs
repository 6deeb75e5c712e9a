//! What the control thread and a shard say to each other. Both directions are bounded queues.

use kafka::sasl::Secret;

use crate::metrics::ShardSample;

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
    /// Stop reading clients, flush what is open, say goodbye, then report `Drained`.
    Drain,
    /// What the brokers of a connector take as proof of who we are.
    Token {
        /// Index of the connector in the configuration.
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
    /// Drained: nothing is open any more. Counts what had to be dropped.
    Drained {
        /// Records accepted but not written when time was up.
        acked_records_dropped: u64,
        /// Records never acknowledged; their clients will send them again.
        unacked_records_dropped: u64,
    },
}
