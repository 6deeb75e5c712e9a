//! What comes back: a ticket is our receipt for one PUBLISH, an outcome is the word of Kafka (or the local log) on a batch.
//!
//! A PUBLISH that became several records waits for all of them; `pending` counts those still open. Outcomes find tickets
//! through the runs of a batch, never through packet ids, so a late outcome cannot answer a later PUBLISH.

/// Why a record did not reach its partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum FailReason {
    /// Larger than the topic or the broker takes.
    TooLarge,
    /// The broker denies writing to the topic.
    Unauthorized,
    /// The broker refuses the record for another reason that a resend cannot mend.
    Invalid,
    /// The topic is not known, and will not be.
    UnknownTopic,
    /// Discarded by `overflow = "drop_oldest"`.
    QueueFull,
    /// Refused by `overflow = "reject"`.
    Rejected,
    /// Older than `max_batch_age`.
    Expired,
    /// Refused more often than `max_retries` allows.
    RetriesExhausted,
    /// `sync_timeout` passed and `on_sync_timeout` is not "wait".
    TimedOut,
    /// The local disk refused the write.
    Disk,
    /// The process is shutting down.
    Shutdown,
}

impl FailReason {
    /// Whether the record itself, or its topic, is at fault, so that no later try could succeed. Buffers, disks and shutdowns
    /// are none of its making.
    pub fn is_final(self) -> bool {
        matches!(self, Self::TooLarge | Self::Unauthorized | Self::Invalid | Self::UnknownTopic)
    }

    /// One word for machines.
    pub fn word(self) -> &'static str {
        match self {
            Self::TooLarge => "too_large",
            Self::Unauthorized => "unauthorized",
            Self::Invalid => "invalid",
            Self::UnknownTopic => "unknown_topic",
            Self::QueueFull => "queue_full",
            Self::Rejected => "rejected",
            Self::Expired => "expired",
            Self::RetriesExhausted => "retries_exhausted",
            Self::TimedOut => "timed_out",
            Self::Disk => "disk",
            Self::Shutdown => "shutdown",
        }
    }
}

/// The last word on the records of a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// Written at the sink's `required_acks`; the offset of the first record, -1 where the broker names none.
    Stored {
        /// Offset of the batch's first record.
        base_offset: i64,
    },
    /// Will never be written.
    Failed(FailReason),
}

/// Records of a batch that failed while the outcome of the others is another one: Kafka refused them by name, or the batch
/// had to be split.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Refused {
    /// Place of the first one in the batch, from 0.
    pub first: u32,
    /// How many.
    pub n: u32,
    /// Why.
    pub why: FailReason,
}

/// Who waits for the outcomes of a run: one of a session's two acknowledgement lanes, a lane of publications, or an entry of a
/// journal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Lane {
    /// QoS 1: answered by PUBACK, in the order of arrival.
    PubAck,
    /// QoS 2: answered by PUBREC, in the order of arrival.
    PubRec,
    /// Any QoS: released to subscribers, in the order of arrival. The run names the lane itself, not a session.
    Publication,
    /// Dead letters that lie on disk for the sink they were meant for: that entry has been passed once they are safe elsewhere.
    /// The run names the entry, not a session.
    Entry,
}

/// `n` consecutive tickets of one session whose records lie side by side in one batch.
#[derive(Debug, Clone, Copy)]
pub struct Run {
    /// The session's slot in its shard's table; for publications the lane's slot.
    pub session: u32,
    /// Generation of the lane when the tickets were written; a lane of another generation ignores them.
    pub lane_gen: u32,
    /// Number of the first ticket, counted over the life of the lane (wraps).
    pub first: u32,
    /// Place of its record in the batch, from 0. Records without a ticket (QoS 0, async) lie between runs.
    pub record: u32,
    /// How many.
    pub n: u16,
    /// Which lane.
    pub lane: Lane,
    /// The records are here because another sink failed them for this: if they fail here too, that is what is told.
    pub cause: Option<FailReason>,
}
