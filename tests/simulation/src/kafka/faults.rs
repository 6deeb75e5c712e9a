//! What goes wrong, and how often.

/// Error codes by the names of Kafka's protocol guide.
pub mod code {
    /// The broker failed inside.
    pub const UNKNOWN_SERVER_ERROR: i16 = -1;
    /// No error.
    pub const NONE: i16 = 0;
    /// The batch is damaged.
    pub const CORRUPT_MESSAGE: i16 = 2;
    /// The broker does not have the partition.
    pub const UNKNOWN_TOPIC_OR_PARTITION: i16 = 3;
    /// There is an election.
    pub const LEADER_NOT_AVAILABLE: i16 = 5;
    /// Another broker leads.
    pub const NOT_LEADER_OR_FOLLOWER: i16 = 6;
    /// The replicas were too slow.
    pub const REQUEST_TIMED_OUT: i16 = 7;
    /// The batch is larger than the topic allows.
    pub const MESSAGE_TOO_LARGE: i16 = 10;
    /// A connection between brokers broke.
    pub const NETWORK_EXCEPTION: i16 = 13;
    /// Too few replicas in sync, nothing stored.
    pub const NOT_ENOUGH_REPLICAS: i16 = 19;
    /// Too few replicas in sync, stored.
    pub const NOT_ENOUGH_REPLICAS_AFTER_APPEND: i16 = 20;
    /// The user may not write to the topic.
    pub const TOPIC_AUTHORIZATION_FAILED: i16 = 29;
    /// A timestamp is too far from the broker's clock.
    pub const INVALID_TIMESTAMP: i16 = 32;
    /// The version of the request is not spoken.
    pub const UNSUPPORTED_VERSION: i16 = 35;
    /// A sequence does not follow the last one.
    pub const OUT_OF_ORDER_SEQUENCE_NUMBER: i16 = 45;
    /// An older producer epoch than the partition has seen.
    pub const INVALID_PRODUCER_EPOCH: i16 = 47;
    /// The disk failed.
    pub const KAFKA_STORAGE_ERROR: i16 = 56;
    /// The producer is not known.
    pub const UNKNOWN_PRODUCER_ID: i16 = 59;
    /// A record breaks a rule of the topic.
    pub const INVALID_RECORD: i16 = 87;
}

/// The newest code of Kafka 4.1; every one from -1 on exists.
pub(super) const CODE_MAX: i16 = 133;

/// Codes for a batch that is not stored, and may be sent again.
pub(super) const PASSING: [i16; 12] = [-1, 2, 3, 5, 6, 9, 13, 19, 41, 56, 74, 89];

/// Codes for a batch that is stored all the same.
pub(super) const AFTER_APPEND: [i16; 7] = [7, 20, 6, -1, 13, 56, 5];

/// Codes after which a producer sends the batch in another form or under another number: a broker that gives one of them for
/// a batch that it has stored makes duplicates, so it is given truthfully only.
pub(super) const RENUMBERED: [i16; 10] = [2, 10, 18, 32, 45, 47, 49, 59, 87, 90];

/// Codes after which a producer numbers anew what it has in doubt: to say one without a reason excuses duplicates.
pub(super) const FORGETFUL: [i16; 5] = [45, 47, 49, 59, 90];

/// Codes after which a producer sends the records of a batch again in smaller ones, to find out which are at fault.
pub(super) const IN_PARTS: [i16; 5] = [2, 10, 18, 32, 87];

/// Whether a producer that keeps to the protocol does not send the same again after this code: neither for a while, nor under
/// another number, which only one that is `numbered` can have.
pub(super) fn is_final(error: i16, numbered: bool) -> bool {
    let stored = error == code::NONE || error == 46;
    let again = PASSING.contains(&error) && !IN_PARTS.contains(&error);
    let anew = numbered && FORGETFUL.contains(&error);
    !stored && !again && !anew && !AFTER_APPEND.contains(&error)
}

/// Codes for a whole topic in an answer to Metadata.
pub(super) const TOPIC: [i16; 5] = [3, 5, 17, 29, -1];

/// Codes for a question for a producer id.
pub(super) const PRODUCER_ID: [i16; 6] = [14, 15, 16, 41, 7, -1];

/// What goes wrong: chances of a million, and how long it lasts at most in nanoseconds. The default is that nothing does.
///
/// Chances are drawn for each request, each batch of a Produce, or each period of [`super::ClusterPlan::nemesis_ns`], as
/// the field says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Faults {
    /// A request: its connection breaks before the broker has read it.
    pub close_before: u32,
    /// A request: it is handled, and its connection breaks instead of the answer.
    pub close_after: u32,
    /// A request: it is handled, and never answered.
    pub never_answered: u32,
    /// A request: its answer is late, by `late_ns_max` at most.
    pub late: u32,
    /// How late answers are at most.
    pub late_ns_max: u64,
    /// A Produce: its answer asks for quiet, for `throttle_ms_max` at most.
    pub throttle: u32,
    /// How long brokers ask for quiet at most, ms.
    pub throttle_ms_max: u32,
    /// A Produce: its answer is not in the order of the request.
    pub shuffle: u32,

    /// A batch: it is refused with a code that passes, not stored.
    pub refuse_passing: u32,
    /// A batch: it is refused with any code of the table, not stored.
    pub refuse_any: u32,
    /// A batch: it is stored, and answered with an error.
    pub after_append: u32,
    /// A batch: the leader forgets the partition's producers before it judges it.
    pub amnesia: u32,
    /// A batch: the places of records at fault are not told, and no words.
    pub silent_errors: u32,

    /// An ApiVersions: answered with an error.
    pub versions_error: u32,
    /// A topic in a Metadata or a DescribeConfigs: answered with an error.
    pub topic_error: u32,
    /// A partition in a Metadata: it is told to be without a leader.
    pub leaderless: u32,
    /// An InitProducerId: answered with an error.
    pub producer_id_error: u32,

    /// A period: a partition gets another leader.
    pub leader_move: u32,
    /// A period: a broker dies.
    pub kill: u32,
    /// How long a broker is dead at most.
    pub dead_ns_max: u64,
    /// A period: a broker stands still, its process or its whole host.
    pub freeze: u32,
    /// How long a broker stands still at most.
    pub frozen_ns_max: u64,
    /// A period: a broker stops copying from others.
    pub stall: u32,
    /// How long it copies nothing at most.
    pub stalled_ns_max: u64,
    /// A period: a broker that stops copying is out of sync at once, everywhere.
    pub shrink: u32,
    /// A period: a topic takes other batch sizes, from `batch_bytes_min` to the planned maximum.
    pub resize: u32,
    /// The least size that a topic's limit is set to, bytes.
    pub batch_bytes_min: u32,
    /// A period: a topic gets one partition more.
    pub grow: u32,
    /// Most partitions a topic grows to.
    pub partitions_max: u32,
    /// A period: a topic is deleted; it is made anew after `deleted_ns_max` at most.
    pub delete: u32,
    /// How long a topic is gone at most.
    pub deleted_ns_max: u64,
    /// A period: all brokers lose their power, and with it the end of partitions that they had acknowledged and not written.
    pub outage: u32,
    /// Most committed batches of a partition that are gone then.
    pub lost_batches_max: u32,
    /// A period: brokers learn of changes later than planned, up to `news_ns_max`, from now on.
    pub slow_news: u32,
    /// How late brokers learn of changes at most, then.
    pub news_ns_max: u64,
}
