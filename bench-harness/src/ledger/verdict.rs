//! What the ledger found, as numbers and as a list of the messages it is about.

use serde::Serialize;

/// What became of the messages. A message is one (client, sequence); a record is one copy of it in Kafka.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Verdict {
    /// Messages sent, or about to be when the run ended.
    pub sent: u64,
    /// Messages whose acknowledgement (QoS 1: PUBACK, QoS 2: PUBREC) was read.
    pub acked: u64,
    /// Messages that were refused with a reason.
    pub nacked: u64,
    /// Attempts beyond the first of all messages.
    pub resent: u64,
    /// Messages found in Kafka.
    pub delivered: u64,
    /// Records found in Kafka.
    pub records: u64,
    /// Acknowledged and not in Kafka. Must be 0.
    pub lost: u64,
    /// Acknowledged, and gone with a topic that was deleted after that: allowed.
    pub excused: u64,
    /// Sent, not acknowledged, not in Kafka: allowed.
    pub lost_unacked: u64,
    /// Records of this form that nobody sent. Must be 0.
    pub ghost: u64,
    /// Records that are no message, or not byte for byte. Must be 0.
    pub corrupt: u64,
    /// Records with another key, in another topic or another partition than they belong to, and clients that changed their partition
    /// more often than partitions were added. Must be 0.
    pub misrouted: u64,
    /// Refused and in Kafka all the same: allowed.
    pub nacked_present: u64,
    /// Copies of one attempt under one producer id and epoch: a retry that was not recognised. Must be 0.
    pub dup_own: u64,
    /// Copies of one attempt under different producer ids or epochs: sent again because its fate was open. At most what the
    /// product itself counts as possible.
    pub dup_across: u64,
    /// Copies because the client sent again. At most `resent`.
    pub dup_resend: u64,
    /// Those of the other copies that were published at QoS 2. Must be 0 unless the product was restarted.
    pub dup2: u64,
    /// First copies that stand behind a later message of their client, or came to another partition after it. Must be 0.
    pub reorder: u64,
    /// The same of messages that came only when their client had sent them again. Must be 0 unless a buffer sends later ones first: hybrid,
    /// in sync, after the product was killed.
    pub reorder_resend: u64,
    /// Clients whose messages went on in another partition, once there were more.
    pub moved: u64,
    /// Refused and not in Kafka, while a later message of its client is there that had been sent a second and more before the refusal:
    /// whoever refused the one had both, and went on behind a gap. Must be 0 where what waits is given up as a whole.
    pub refused_then_later: u64,
    /// Those of the lost for which a later acknowledged message of their client is there.
    pub gap_then_later: u64,
}

impl Verdict {
    /// True if nothing is there that must not be. `restarted`: the product's sessions were lost on the way.
    pub fn is_clean(&self, restarted: bool) -> bool {
        let order = self.reorder + self.reorder_resend;
        let never = self.lost + self.ghost + self.corrupt + self.misrouted + self.dup_own + order;
        never == 0 && self.dup_resend <= self.resent && (restarted || self.dup2 == 0)
    }
}

/// One message that is not as it should be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Bad {
    /// Which count of the verdict it is in.
    pub what: &'static str,
    /// Index of the client; absent where the record does not tell.
    pub client: Option<u32>,
    /// Its place among the client's messages.
    pub sequence: Option<u32>,
    /// When it was first sent, milliseconds of the monotonic clock.
    pub sent_ms: Option<u64>,
    /// When it was acknowledged.
    pub acked_ms: Option<u64>,
    /// Faults that were on between sending and acknowledgement.
    pub faults: Vec<String>,
    /// Where its copies lie, or those of its neighbours if it has none.
    pub places: Vec<String>,
}

/// The whole result.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Findings {
    /// The counts.
    #[serde(flatten)]
    pub verdict: Verdict,
    /// The first of the bad messages.
    pub bad: Vec<Bad>,
    /// By client: the partition its records lie in; of one that moved, the lowest.
    #[serde(skip)]
    pub partition_of: Vec<(u32, i32)>,
    /// All that is lost, by client and sequence.
    #[serde(skip)]
    pub lost: Vec<(u32, u32)>,
}
