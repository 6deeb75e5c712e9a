//! What is known of a cluster's topics: how many partitions, who leads them; and when to ask again.

use std::collections::VecDeque;

use kafka::ErrorCode;
use kafka::message::metadata;

use super::limits::Limit;
use super::table::LinkNumbers;
use crate::clock::Mono;
use crate::shard::ShardId;
use crate::shard::placement::{owner_in, owner_of};
use crate::ticket::FailReason;

/// A topic named by messages that brokers do not know for so long is one that does not exist.
const UNKNOWN_MS: u64 = 60_000;

/// How long brokers that are behind may tell of a topic that was made anew since; those that still do are believed.
const BEHIND_MS_MAX: u64 = 30_000;
/// As many of its former ids are kept.
const FORMER_KEPT: usize = 4;

/// A topic that sinks of the connector write to.
#[derive(Debug)]
pub struct Topic {
    /// Its name; empty where there is none in this place.
    pub name: String,
    /// By how many shards the owners of its partitions are shifted for records whose messages name it.
    base: u16,
    /// Messages have named it.
    live: bool,
    /// The configuration names it.
    fixed: bool,
    /// Since when brokers say that there is no such topic.
    missing_since: Option<Mono>,
    /// Its id, zero while unknown or where brokers are too old to say.
    id: [u8; 16],
    /// Its ids before it was made anew, and until when who tells of them is taken to be behind.
    former: VecDeque<([u8; 16], Mono)>,
    /// By partition; empty until the topic is first known.
    leaders: Vec<Leader>,
    /// By partition: which of the links to its leader is its own, where each has one.
    links: Vec<Option<u16>>,
    /// Why it cannot be used, from the newest answer.
    pub trouble: Option<ErrorCode>,
    /// How large a batch it takes.
    pub(super) limit: Limit,
}

/// Who leads a partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Leader {
    /// Index among the cluster's brokers, `None` during an election.
    pub broker: Option<u16>,
    /// Epoch of the leader, -1 where brokers do not say; an older one is stale news.
    epoch: i32,
}

/// What an answer changed about a topic.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Change {
    /// It is known for the first time, or has another number of partitions.
    pub count: bool,
    /// It was deleted and made anew under the same name, and had so many partitions before; 0 where that may be told by a broker that is
    /// behind.
    pub recreated: Option<u32>,
    /// The answer was taken in.
    pub heard: bool,
}

impl Topic {
    /// A topic of the configuration, of which nothing is known.
    pub fn fixed(name: String) -> Self {
        Self { fixed: true, ..Self::new(name) }
    }

    fn new(name: String) -> Self {
        Self {
            name,
            base: 0,
            live: false,
            fixed: false,
            missing_since: None,
            id: [0; 16],
            former: VecDeque::new(),
            leaders: Vec::new(),
            links: Vec::new(),
            trouble: None,
            limit: Limit::Unasked,
        }
    }

    /// A topic that a message has named.
    pub fn live(name: String, base: u16) -> Self {
        Self { base, live: true, ..Self::new(name) }
    }

    /// No topic.
    pub fn vacant() -> Self {
        Self::new(String::new())
    }

    /// A message has named it too.
    pub fn name_by_message(&mut self, base: u16) {
        (self.live, self.base) = (true, base);
    }

    /// Whether the configuration names it.
    pub fn set_fixed(&mut self, fixed: bool) {
        self.fixed = fixed;
    }

    /// Whether the configuration names it.
    pub fn is_fixed(&self) -> bool {
        self.fixed
    }

    /// Whether batches of a partition may come to `shard` to be written.
    pub fn is_owned(&self, partition: u32, shard: ShardId, shards: u16) -> bool {
        self.fixed && owner_of(partition, shards) == shard
            || self.live && owner_in(self.base, partition, shards) == shard
    }

    /// Whether messages have named it.
    pub fn is_live(&self) -> bool {
        self.live
    }

    /// Whether there is a topic.
    pub fn is_vacant(&self) -> bool {
        self.name.is_empty()
    }

    /// Why records for it can never be written, if so. Those of the configuration are waited for.
    pub fn never(&self, now: Mono) -> Option<FailReason> {
        match self.trouble? {
            _ if self.fixed || !self.live => None,
            ErrorCode::UNKNOWN_TOPIC_OR_PARTITION => {
                self.gives_up_at().is_some_and(|at| at <= now).then_some(FailReason::UnknownTopic)
            }
            ErrorCode::TOPIC_AUTHORIZATION_FAILED => Some(FailReason::Unauthorized),
            ErrorCode::INVALID_TOPIC_EXCEPTION => Some(FailReason::Invalid),
            _ => None,
        }
    }

    /// When it will be known that it does not exist.
    pub fn gives_up_at(&self) -> Option<Mono> {
        self.missing_since.filter(|_| self.live && !self.fixed).map(|since| since.plus_ms(UNKNOWN_MS))
    }

    /// Whether brokers tell its id, and so whether it was made anew.
    pub fn has_id(&self) -> bool {
        self.id != [0; 16]
    }

    /// Number of partitions, `None` until it is first known.
    #[inline]
    pub fn partitions(&self) -> Option<u32> {
        (!self.leaders.is_empty()).then_some(self.leaders.len() as u32)
    }

    /// The most bytes of a batch, header included, that Kafka takes for it (`max.message.bytes`); `None` where that is not known.
    #[inline]
    pub fn batch_bytes_max(&self) -> Option<usize> {
        self.limit.bytes()
    }

    /// The leader of a partition, as an index among the brokers.
    #[inline]
    pub fn leader(&self, partition: u32) -> Option<u16> {
        self.leaders.get(partition as usize)?.broker
    }

    /// Which of the links to its leader is the partition's own.
    #[inline]
    pub fn link(&self, partition: u32) -> Option<u16> {
        self.links.get(partition as usize).copied().flatten()
    }

    /// Gives each partition that is `ours` and has none a link of its own.
    pub(super) fn number_links(&mut self, numbers: &mut LinkNumbers, ours: impl Fn(u32) -> bool) {
        self.links.resize(self.links.len().max(self.leaders.len()), None);
        for (partition, link) in self.links.iter_mut().enumerate() {
            if link.is_none() && ours(partition as u32) {
                *link = Some(numbers.take());
            }
        }
    }

    /// Gives back the links that partitions had of their own.
    pub(super) fn give_links(&self, numbers: &mut LinkNumbers) {
        self.links.iter().flatten().for_each(|&number| numbers.give(number));
    }

    /// Whether every partition has a leader.
    pub fn is_led(&self) -> bool {
        !self.leaders.is_empty() && self.leaders.iter().all(|leader| leader.broker.is_some())
    }

    /// Takes in an answer. `broker` gives the index of a broker id.
    pub fn learn(&mut self, now: Mono, told: &metadata::Topic, broker: impl Fn(i32) -> Option<u16>) -> Change {
        if !told.error.is_ok() && told.partitions.is_empty() {
            self.trouble = Some(told.error);
            let missing = told.error == ErrorCode::UNKNOWN_TOPIC_OR_PARTITION;
            self.missing_since = missing.then(|| self.missing_since.unwrap_or(now));
            if told.error == ErrorCode::UNKNOWN_TOPIC_OR_PARTITION {
                // Deleted: nobody leads it. How many partitions it had is kept until it is there again.
                self.leaders.fill(Leader { broker: None, epoch: -1 });
            }
            return Change::default();
        }
        if self.former.iter().any(|&(id, until)| id == told.id && now < until) {
            return Change::default();
        }
        (self.trouble, self.missing_since) = (None, None);
        let known = !self.leaders.is_empty();
        let is_recreated = known && self.id != [0; 16] && told.id != [0; 16] && self.id != told.id;
        // Topics do not shrink: a broker that names fewer partitions of the same topic is behind.
        let same = known && self.id != [0; 16] && self.id == told.id;
        let count = if same { told.partitions.len().max(self.leaders.len()) } else { told.partitions.len() };
        // It tells of a former topic for so long that it is believed.
        let is_behind = self.former.iter().any(|&(id, _)| id == told.id);
        if is_recreated && !is_behind {
            self.former.truncate(FORMER_KEPT - 1);
            self.former.push_front((self.id, now.plus_ms(BEHIND_MS_MAX)));
        }
        self.id = told.id;
        let count_before = if is_behind { 0 } else { self.leaders.len() as u32 };
        let recreated = is_recreated.then_some(count_before);
        let change = Change { count: count != self.leaders.len(), recreated, heard: true };
        self.leaders.resize(count, Leader { broker: None, epoch: -1 });
        if is_recreated {
            self.leaders.fill(Leader { broker: None, epoch: -1 });
            self.limit = Limit::Unasked;
        }
        for partition in &told.partitions {
            let Some(leader) = usize::try_from(partition.index).ok().and_then(|at| self.leaders.get_mut(at)) else {
                continue;
            };
            if partition.leader_epoch >= leader.epoch || partition.leader_epoch < 0 {
                *leader = Leader { broker: broker(partition.leader), epoch: partition.leader_epoch };
            }
        }
        change
    }

    /// A broker named the leader in an answer to a Produce (KIP-951). Whether that is news. Epochs of a topic that was just made anew are
    /// lower than those of the topic before, of which a broker that is behind may still tell.
    pub fn hear_of_leader(&mut self, now: Mono, partition: u32, broker: u16, epoch: i32) -> bool {
        if self.former.iter().any(|&(_, until)| now < until) {
            return false;
        }
        match self.leaders.get_mut(partition as usize) {
            Some(leader) if epoch > leader.epoch => {
                *leader = Leader { broker: Some(broker), epoch };
                true
            }
            _ => false,
        }
    }
}

/// When to ask.
#[derive(Debug)]
pub struct Refresh {
    /// Least time between two questions.
    interval_min_ms: u64,
    /// Most time between two questions.
    interval_max_ms: u64,
    /// When the last question was asked.
    asked: Option<Mono>,
    /// Something says that what we know is out of date.
    stale: bool,
    /// There is something that was never asked about.
    fresh: bool,
    /// A question is open.
    open: bool,
}

impl Refresh {
    /// Asks at once, then at least every `interval_max_ms` and never more often than every `interval_min_ms`.
    pub fn new(interval_min_ms: u64, interval_max_ms: u64) -> Self {
        Self { interval_min_ms, interval_max_ms, asked: None, stale: true, fresh: false, open: false }
    }

    /// What we know is out of date.
    pub fn mark_stale(&mut self) {
        self.stale = true;
    }

    /// Asks so often from now on, as in [`new`](Self::new).
    pub fn configure(&mut self, interval_min_ms: u64, interval_max_ms: u64) {
        (self.interval_min_ms, self.interval_max_ms) = (interval_min_ms, interval_max_ms);
    }

    /// What we know may be wrong, and that is not to wait.
    pub fn ask_at_once(&mut self) {
        self.stale = true;
        self.asked = None;
    }

    /// Whether a question is open.
    pub fn is_open(&self) -> bool {
        self.open
    }

    /// There is a topic that was never asked about: whoever names it waits for it.
    pub fn mark_fresh(&mut self) {
        self.fresh = true;
    }

    /// When to ask next, unless a question is open.
    pub fn due_at(&self) -> Option<Mono> {
        if self.open {
            return None;
        }
        if self.fresh {
            return Some(Mono::default());
        }
        let Some(asked) = self.asked else { return Some(Mono::default()) };
        let after_ms = if self.stale { self.interval_min_ms } else { self.interval_max_ms.max(self.interval_min_ms) };
        Some(asked.plus_ms(after_ms))
    }

    /// A question was asked.
    pub fn on_asked(&mut self, now: Mono) {
        self.asked = Some(now);
        self.open = true;
        (self.stale, self.fresh) = (false, false);
    }

    /// It was answered.
    pub fn on_answer(&mut self) {
        self.open = false;
    }

    /// It will not be answered: ask again as soon as there is somebody to ask.
    pub fn on_lost(&mut self) {
        if self.open {
            self.open = false;
            self.stale = true;
            self.asked = None;
        }
    }
}
