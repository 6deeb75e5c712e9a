//! A Kafka cluster as a deterministic machine: requests and `now` go in; answers, and the times at which they leave, come
//! out.
//!
//! ```text
//! controller ── news, late ──> brokers' views: who leads what        Metadata and "do I lead this" are answered from them
//! receive ──> leader's copy ── fetches, late ──> followers' copies ──> high watermark ──> held answers are released
//! ```
//!
//! Modelled after Apache Kafka 4.1 with KRaft: leaders, leader epochs, replicas, in-sync sets that shrink and grow, high
//! watermarks (which stand still below `min.insync.replicas`), truncation by leader epoch, elections among the replicas in
//! sync only, fencing after a session timeout; producer state that follows the log; acks 0, 1 and all; topics that grow,
//! vanish and come back under new ids; brokers that die, stand still, and go on believing that they lead.
//!
//! A process that dies keeps its log, as the page cache does. Left out: fetching by consumers, transactions, compression,
//! quotas except their `throttle_time`, power cuts of brokers.
//!
//! What we send is read by code of its own; what Kafka would find malformed is a bug of ours and panics with a sentence.
//!
//! One connection at a time: a broker reads the next request of a connection when the answer to the one before it has left.
//! Whoever carries the bytes sees to that.

mod batch;
mod broker;
mod controller;
mod counts;
pub mod faults;
mod held;
mod nemesis;
mod partition;
mod produce;
mod producers;
mod questions;
mod storing;
mod timeline;

pub use batch::{Record, Records, plain, with_header};
pub use counts::Counts;
pub use faults::Faults;
pub use held::Token;
pub use partition::{Committed, Place};

use aqueduct::clock::{Mono, Now};

use crate::random::Random;
use broker::{Broker, State};
use controller::Controller;
use held::{Held, Unread, Waiting, Waits};
use partition::Partition;
use produce::{Answer, Fate};
use timeline::{Event, Timeline};

/// Brokers are bits of a `u16` here and there.
const BROKERS_MAX: usize = 16;

/// The name of every broker; they differ in their ports.
pub const HOST: &str = "kafka";

/// Broker 0 listens here, the others at the ports behind it.
pub const PORT: u16 = 9092;

/// A topic of the cluster.
#[derive(Debug, Clone)]
pub struct TopicPlan {
    /// Its name.
    pub name: String,
    /// Partitions it has at the beginning.
    pub partitions: u32,
    /// Copies of each, at most as many as brokers.
    pub replicas: usize,
    /// `min.insync.replicas`.
    pub insync_min: usize,
    /// Nothing is poison here.
    pub takes_poison: bool,
}

/// What the cluster is. The default is one broker as Kafka 4.1 without a topic.
#[derive(Debug, Clone)]
pub struct ClusterPlan {
    /// How many brokers, 1 to 16.
    pub brokers: usize,
    /// The topics, by the order of which they are named elsewhere.
    pub topics: Vec<TopicPlan>,
    /// Newest Produce spoken, 3 to 13.
    pub produce_version: i16,
    /// Newest Metadata spoken, 4 to 13.
    pub metadata_version: i16,
    /// Newest InitProducerId spoken, if there is one.
    pub producer_id_version: Option<i16>,
    /// Newest ApiVersions spoken, 0 to 4.
    pub versions_version: i16,
    /// Newest DescribeConfigs spoken, 0 to 4; 0 is older than what we speak.
    pub configs_version: i16,
    /// `max.message.bytes` of all topics.
    pub batch_bytes_max: u32,
    /// By broker: how far its clock is ahead of the cluster's; those that are not named have that.
    pub clocks_ms: Vec<i64>,
    /// `message.timestamp.before.max.ms`.
    pub timestamp_before_max_ms: i64,
    /// `message.timestamp.after.max.ms`.
    pub timestamp_after_max_ms: i64,
    /// `producer.id.expiration.ms`, counted from the timestamps of records.
    pub producer_expiry_ms: Option<i64>,
    /// Producers that are not known begin at sequence 0, as before Kafka 2.4 (UNKNOWN_PRODUCER_ID).
    pub strangers_begin_at_0: bool,
    /// Batches of a producer that are recognised when they come again, 1 to 5: one before Kafka 1.0.
    pub remembered_batches: usize,
    /// The high watermark moves below `min.insync.replicas`, as before Kafka 3.7 (NOT_ENOUGH_REPLICAS_AFTER_APPEND).
    pub commits_below_min: bool,
    /// After such a silence the controller fences a broker, ns.
    pub session_ns: u64,
    /// `replica.lag.time.max.ms`, in ns.
    pub lag_ns: u64,
    /// Brokers learn what the controller decides after so long, ns: least and most.
    pub news_ns: (u64, u64),
    /// Followers copy what is new after so long, ns: least and most.
    pub fetch_ns: (u64, u64),
    /// Answers leave so long after they could, ns: least and most.
    pub service_ns: (u64, u64),
    /// How often faults of the whole cluster are drawn, ns.
    pub nemesis_ns: u64,
    /// A topic that is made anew has as many partitions as planned, also where it had grown.
    pub shrinks: bool,
    /// Values that the cluster refuses as invalid.
    pub is_poison: fn(&[u8]) -> bool,
}

impl Default for ClusterPlan {
    fn default() -> Self {
        Self {
            brokers: 1,
            topics: Vec::new(),
            produce_version: 12,
            metadata_version: 13,
            producer_id_version: Some(5),
            versions_version: 4,
            configs_version: 4,
            batch_bytes_max: 1_048_588,
            clocks_ms: Vec::new(),
            timestamp_before_max_ms: 3_600_000,
            timestamp_after_max_ms: 3_600_000,
            producer_expiry_ms: None,
            strangers_begin_at_0: false,
            remembered_batches: producers::REMEMBERED,
            commits_below_min: false,
            session_ns: 9_000_000_000,
            lag_ns: 30_000_000_000,
            news_ns: (500_000, 20_000_000),
            fetch_ns: (200_000, 2_000_000),
            service_ns: (20_000, 300_000),
            nemesis_ns: 10_000_000,
            shrinks: true,
            is_poison: |_| false,
        }
    }
}

/// What becomes of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Connect {
    /// It stands.
    Up,
    /// Nobody listens.
    Refused,
    /// Nothing comes back.
    Silent,
}

/// What a partition's leader expects of a producer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expected {
    /// It knows nothing of it.
    Anything,
    /// The next sequence.
    Sequence(i32),
}

/// When a request is answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reply {
    /// The frame that was written leaves the broker at that time.
    At(Mono),
    /// The request wants no answer (acks 0). The next one may be read at once.
    Unanswered,
    /// It never is, and the connection stays open.
    Never,
    /// The connection breaks now.
    Close {
        /// Whether the request was carried out before.
        handled: bool,
    },
    /// It is not decided yet: [`Cluster::tick`] will tell.
    Held(Token),
}

/// What an answer tells whoever asked.
#[derive(Debug, Clone, Default)]
pub struct Told {
    /// Which batches of a Produce it calls stored, a bit each, in the order of the request.
    pub stored: u128,
    /// Topics and which of their lives the answer is about: of each batch of a Produce, or of each topic in a Metadata. Empty as
    /// long as no topic was made anew.
    pub lives: Vec<(u16, u16)>,
}

/// A request whose answer was not decided at once.
#[derive(Debug)]
pub struct Released {
    /// As it was given.
    pub token: Token,
    /// What becomes of it; never [`Reply::Held`].
    pub reply: Reply,
    /// The response frame; empty unless the reply is [`Reply::At`].
    pub frame: Vec<u8>,
    /// What the frame tells.
    pub told: Told,
}

#[derive(Debug)]
struct Life {
    id: u128,
    /// Indices into the cluster's partitions.
    partitions: Vec<u32>,
}

#[derive(Debug)]
struct Topic {
    plan: TopicPlan,
    lives: Vec<Life>,
    batch_bytes_max: usize,
}

/// The cluster.
#[derive(Debug)]
pub struct Cluster {
    plan: ClusterPlan,
    faults: Faults,
    random: Random,
    wall_ms: i64,
    topics: Vec<Topic>,
    partitions: Vec<Partition>,
    brokers: Vec<Broker>,
    controller: Controller,
    timeline: Timeline,
    waiting: Waiting,
    released: Vec<Released>,
    broken: Vec<usize>,
    /// Partition and batch.
    committed: Vec<(u32, u32)>,
    /// Topics and values of records that were refused for good.
    refused: Vec<(usize, Vec<u8>)>,
    counts: Counts,
    /// Topics that were made anew.
    renewed: Vec<usize>,
    /// Batches that were committed and are gone, by partition.
    lost: Vec<(u32, u32)>,
    producer_id_next: i64,
    /// What the newest answer tells: see [`Cluster::told`].
    told: Told,
    // Kept for their capacity.
    spare_frames: Vec<Vec<u8>>,
    spare_answers: Vec<Answer>,
    scratch: Scratch,
}

#[derive(Debug, Default)]
struct Scratch {
    fresh: Vec<u32>,
    woken: Vec<Token>,
    to_fetch: Vec<u32>,
}

impl Cluster {
    /// A cluster in which everything is up and led.
    ///
    /// # Panics
    /// If the plan is not within its ranges.
    pub fn new(plan: ClusterPlan, mut random: Random) -> Self {
        assert!((1..=BROKERS_MAX).contains(&plan.brokers), "{} brokers", plan.brokers);
        let producer_id_next = random.below(1 << 40) as i64;
        let topic = |plan: &TopicPlan, bytes| Topic { plan: plan.clone(), lives: Vec::new(), batch_bytes_max: bytes };
        let mut cluster = Self {
            topics: plan.topics.iter().map(|of| topic(of, plan.batch_bytes_max as usize)).collect(),
            brokers: (0..plan.brokers).map(|_| Broker::new(plan.topics.len())).collect(),
            controller: Controller::new(plan.brokers, plan.topics.len()),
            faults: Faults::default(),
            wall_ms: 0,
            partitions: Vec::new(),
            timeline: Timeline::default(),
            waiting: Waiting::default(),
            released: Vec::new(),
            broken: Vec::new(),
            committed: Vec::new(),
            refused: Vec::new(),
            counts: Counts::default(),
            renewed: Vec::new(),
            lost: Vec::new(),
            producer_id_next,
            told: Told::default(),
            spare_frames: Vec::new(),
            spare_answers: Vec::new(),
            scratch: Scratch::default(),
            random,
            plan,
        };
        let begin = Mono::default();
        for topic in 0..cluster.topics.len() {
            cluster.create(begin, topic);
        }
        for broker in 0..cluster.brokers.len() {
            cluster.hear_news(begin, broker);
        }
        cluster.timeline.plan(begin + cluster.plan.lag_ns / 2, Event::Lag);
        cluster.timeline.plan(begin + cluster.plan.nemesis_ns, Event::Nemesis);
        cluster
    }

    /// What goes wrong from now on.
    pub fn set_faults(&mut self, faults: Faults) {
        self.faults = faults;
    }

    /// The broker at an address, whether it is up or not.
    pub fn broker_at(&self, host: &str, port: u16) -> Option<usize> {
        let broker = usize::from(port.checked_sub(PORT)?);
        (host == HOST && broker < self.brokers.len()).then_some(broker)
    }

    /// Somebody connects to a broker.
    pub fn connect(&mut self, broker: usize) -> Connect {
        match self.brokers[broker].state {
            State::Up => Connect::Up,
            State::Dead => Connect::Refused,
            State::Frozen { host: true } => Connect::Silent,
            // The kernel answers for a process that stands still.
            State::Frozen { host: false } => Connect::Up,
        }
    }

    /// A whole request has reached a broker: `head` with each of `batches` spliced in after its cut. With [`Reply::At`] the
    /// response, from its correlation id on, is in `out`, which is cleared first.
    ///
    /// # Panics
    /// If the request is not what Kafka's protocol says.
    pub fn receive<'b>(
        &mut self,
        now: Now,
        broker: usize,
        head: &[u8],
        cuts: &[u32],
        batches: impl Iterator<Item = &'b [u8]>,
        out: &mut Vec<u8>,
    ) -> Reply {
        out.clear();
        self.wall_ms = now.wall_ms;
        match self.brokers[broker].state {
            State::Up => {}
            State::Dead => return Reply::Close { handled: false },
            State::Frozen { .. } => {
                let batches = batches.map(<[u8]>::to_vec).collect();
                let unread = Unread { head: head.to_vec(), cuts: cuts.to_vec(), batches };
                let token = self.waiting.insert(Held { broker, waits: Waits::Unread(unread) });
                self.brokers[broker].unread.push(token);
                return Reply::Held(token);
            }
        }
        match self.handle(now.mono, broker, head, cuts, batches, out) {
            Handled::Done(reply) => reply,
            Handled::Waits(waits) => {
                let token = self.waiting.insert(Held { broker, waits });
                self.await_replicas(broker, token);
                Reply::Held(token)
            }
        }
    }

    /// What the answer to the request just received tells.
    pub fn told(&mut self) -> Told {
        std::mem::take(&mut self.told)
    }

    /// When [`Self::tick`] is to be called at the latest.
    pub fn next_event(&self) -> Option<Mono> {
        [self.timeline.next(), self.waiting.until].into_iter().flatten().min()
    }

    /// Does what is due. Requests whose answers are decided are added to `released`.
    pub fn tick(&mut self, now: Now, released: &mut Vec<Released>) {
        self.wall_ms = now.wall_ms;
        let now = now.mono;
        while let Some(event) = self.timeline.pop(now) {
            self.happen(now, event);
        }
        if self.waiting.until.is_some_and(|until| until <= now) {
            self.give_up(now);
        }
        released.append(&mut self.released);
    }

    /// Takes back the frame of an answer that has left, for its capacity.
    pub fn recycle(&mut self, mut frame: Vec<u8>) {
        if self.spare_frames.len() < 64 {
            frame.clear();
            self.spare_frames.push(frame);
        }
    }

    /// Brokers whose connections break now.
    pub fn broken(&mut self) -> impl Iterator<Item = usize> + '_ {
        self.broken.drain(..)
    }

    /// Nothing goes wrong from now on. Brokers go on or start at once, their clocks are right, topics that were deleted are there
    /// again, and within a few seconds all partitions are led and all replicas in sync.
    pub fn heal(&mut self, now: Now) {
        self.wall_ms = now.wall_ms;
        self.faults = Faults::default();
        self.plan.clocks_ms.clear();
        self.rescue(now.mono);
    }

    /// Topics and values of records that have been refused for good since: those at fault, or whatever stood in a batch whose refusal
    /// was for another reason than its records.
    pub fn refused(&mut self) -> impl Iterator<Item = (usize, Vec<u8>)> {
        self.refused.drain(..)
    }

    /// Topics that have been made anew since: what their former lives held is gone.
    pub fn renewed(&mut self) -> impl Iterator<Item = usize> + '_ {
        self.renewed.drain(..)
    }

    /// Shows batches that have been committed since: what no broker can lose any more. With acks 0 and 1 answers come
    /// earlier.
    pub fn committed(&mut self, mut show: impl FnMut(&Committed<'_>)) {
        for (partition, batch) in self.committed.drain(..) {
            show(&self.partitions[partition as usize].show(batch));
        }
    }

    /// Shows batches that were committed, and that all brokers have lost since.
    pub fn lost(&mut self, mut show: impl FnMut(&Committed<'_>)) {
        for (partition, batch) in self.lost.drain(..) {
            show(&self.partitions[partition as usize].show(batch));
        }
    }

    /// Shows the batches of a topic's partitions, as their leaders have them, partition by partition.
    pub fn for_each_batch(&self, topic: usize, mut show: impl FnMut(&Committed<'_>)) {
        let Some(life) = self.topics[topic].lives.last() else { return };
        for &id in &life.partitions {
            let partition = &self.partitions[id as usize];
            let led = self.controller.leds[id as usize];
            let broker = led.leader.or_else(|| (0..self.brokers.len()).find(|broker| led.isr >> broker & 1 == 1));
            partition.log(broker.expect("somebody is in sync")).for_each(|batch| show(&batch));
        }
    }

    /// Whether a producer, by its id and epoch, is not to blame for duplicates in a partition: its brokers forgot it, said that
    /// they had, refused for its form a batch that they had stored before; or a former leader, which did not know better, refused
    /// a sequence.
    pub fn is_excused(&self, place: Place, producer: (i64, i16)) -> bool {
        let is_misled = |partition: &Partition| partition.misled.contains(&producer);
        self.has_forgotten(place, producer) || self.partition(place).is_some_and(is_misled)
    }

    /// Whether some copy of a partition has forgotten a producer, by its id and epoch.
    pub fn has_forgotten(&self, place: Place, producer: (i64, i16)) -> bool {
        self.partition(place).is_some_and(|partition| partition.forgotten.contains(&producer))
    }

    /// Whether a topic made anew, which knows no producer, took a batch from the middle of an epoch: batches before it may come
    /// after it.
    pub fn began_amid(&self, place: Place, producer: (i64, i16)) -> bool {
        self.partition(place).is_some_and(|partition| partition.began_amid.contains(&producer))
    }

    /// Whether a former life of the partition knows a producer's epoch, or did before its brokers lost their power: those that hear
    /// late of what was made anew still took batches for it.
    pub fn was_written_before(&self, place: Place, producer: (i64, i16)) -> bool {
        let mut formers = (0..place.life).filter_map(|life| self.partition(Place { life, ..place }));
        formers.any(|partition| partition.is_known(producer) || partition.forgotten.contains(&producer))
    }

    fn partition_id(&self, place: Place) -> Option<u32> {
        let life = self.topics[usize::from(place.topic)].lives.get(usize::from(place.life))?;
        life.partitions.get(place.partition as usize).copied()
    }

    fn partition(&self, place: Place) -> Option<&Partition> {
        self.partitions.get(self.partition_id(place)? as usize)
    }

    /// What a partition's leader expects next of a producer in an epoch; `None` while nobody leads.
    pub fn expects(&self, place: Place, producer_id: i64, epoch: i16) -> Option<Expected> {
        let id = self.partition_id(place)?;
        let leader = self.controller.leds[id as usize].leader?;
        let known = self.partitions[id as usize].expects(leader, producer_id, epoch);
        Some(known.map_or(Expected::Anything, Expected::Sequence))
    }

    /// Partitions a topic has by now.
    pub fn partitions(&self, topic: usize) -> u32 {
        self.topics[topic].lives.last().map_or(0, |life| life.partitions.len() as u32)
    }

    /// How often a topic was made anew.
    pub fn life(&self, topic: usize) -> u16 {
        self.topics[topic].lives.len().saturating_sub(1) as u16
    }

    /// Whether every partition of every topic has a leader and all its replicas in sync, as all brokers know.
    pub fn is_whole(&self) -> bool {
        let heard = |broker: &Broker| matches!(broker.state, State::Up) && broker.heard == self.controller.news.len();
        let live = (0..self.topics.len()).all(|topic| self.controller.topics[topic].is_some());
        let full = |id: &u32| {
            let (led, replicas) = (&self.controller.leds[*id as usize], &self.partitions[*id as usize].replicas);
            led.leader.is_some() && led.isr.count_ones() as usize == replicas.len()
        };
        let mut newest = self.topics.iter().filter_map(|topic| topic.lives.last());
        live && self.brokers.iter().all(heard) && newest.all(|life| life.partitions.iter().all(full))
    }

    /// What has happened so far.
    pub fn counts(&self) -> &Counts {
        &self.counts
    }

    fn handle<'b>(
        &mut self,
        now: Mono,
        broker: usize,
        head: &[u8],
        cuts: &[u32],
        batches: impl Iterator<Item = &'b [u8]>,
        out: &mut Vec<u8>,
    ) -> Handled {
        self.counts.requests += 1;
        self.told = Told::default();
        if self.random.chance(self.faults.close_before) {
            self.counts.closed += 1;
            return Handled::Done(Reply::Close { handled: false });
        }
        let fate = if self.random.chance(self.faults.close_after) {
            Fate::Closed
        } else if self.random.chance(self.faults.never_answered) {
            Fate::Never
        } else {
            Fate::Sent
        };
        let late = self.random.chance(self.faults.late);
        let late_ns = if late { self.random.below(self.faults.late_ns_max + 1) } else { 0 };
        if head.get(4..6) == Some(&[0, 0]) {
            return self.store(now, broker, head, cuts, batches, fate, late_ns, out);
        }
        assert!(cuts.is_empty(), "batches outside a Produce");
        self.answer_question(broker, head, out);
        Handled::Done(self.end(now, fate, late_ns, out))
    }

    /// Gives an answer that is complete its time.
    fn end(&mut self, now: Mono, fate: Fate, late_ns: u64, out: &mut Vec<u8>) -> Reply {
        if fate != Fate::Sent {
            out.clear();
        }
        match fate {
            Fate::Sent => {
                let (least, most) = self.plan.service_ns;
                Reply::At(now + self.random.between(least, most) + late_ns)
            }
            Fate::Closed => {
                self.counts.closed += 1;
                Reply::Close { handled: true }
            }
            Fate::Never => {
                self.counts.never_answered += 1;
                Reply::Never
            }
        }
    }
}

/// What came of a request at once.
#[derive(Debug)]
enum Handled {
    Done(Reply),
    Waits(Waits),
}

#[cfg(test)]
mod tests;
