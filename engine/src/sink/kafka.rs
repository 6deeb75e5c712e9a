//! The Kafka sink's owning half: sealed batches of the partitions this shard owns, numbered, sent, answered.
//!
//! ```text
//! submit ─ partition queue ─ dispatch (merge, number, seal) ─ one Produce a link and round ─ broker
//! answered ─ delivery (stored, again, split, failed) ─ partition flights <─ Response, Sent, LinkDown
//! ```
//!
//! A pure machine like the shard it is part of. Promises: every batch submitted gets exactly one outcome, or stays here;
//! with idempotence (or one batch in flight) the records of a partition are stored in the order of their submission; no
//! two copies of a batch are on their way; a partition waits for nobody but the broker that leads it.
//!
//! Left out: filling batches and their size ([`super::accumulator`]), sockets, and the cluster itself ([`crate::broker`]).

mod acked_loss;
mod audit;
mod change;
mod delivery;
mod dispatch;
mod ends;
mod given_up;
mod partition;
mod producer_id;
mod settings;
mod shipment;
mod split;
mod topics;

use std::collections::VecDeque;

use super::packing::Packer;
use super::{Answered, WriterCounts};
use crate::broker::{Cluster, Event, Logins};
use crate::buffer::Batch;
use crate::clock::{self, Mono, Now};
use crate::config::Config;
use crate::metrics::Health;
use crate::plants::{Plant, is_planted};
use crate::shard::ShardId;
use crate::shard::control::Level;
use crate::shard::io::{Input, Io, Request};
use crate::ticket::{FailReason, Outcome};

use acked_loss::Suspect;
use dispatch::Outgoing;
use ends::Ends;
use partition::Partition;
use producer_id::ProducerId;
use settings::{Settings, Terms};
use shipment::{Cargo, Carriers, Shipment};
use split::Splits;
use topics::TopicState;

/// Emptied requests kept for their buffers.
const REQUESTS_KEPT: usize = 16;

/// Writes to one Kafka cluster for one shard.
#[derive(Debug)]
pub struct Produce {
    shards: usize,
    /// By sink; `None` for those of other connectors.
    terms: Vec<Option<Terms>>,
    /// By sink: how long Kafka may be silent before the sink is no longer `connected`, nanoseconds.
    patience_ns: Vec<u64>,
    cluster: Cluster,
    topics: Vec<TopicState>,
    /// Counts how often topics were asked for by name.
    uses: u64,
    /// When the next topic turns out not to exist.
    gives_up_at: Option<Mono>,
    producer_id: ProducerId,
    /// Some sink numbers its batches.
    idempotent: bool,
    /// When queues are looked through next for what is spent. `None`: all sinks are of one patience, so nothing is spent before the
    /// head of its queue.
    look_through_at: Option<Mono>,
    /// Longest pause before a batch is sent again, milliseconds.
    backoff_ms_max: u64,
    /// Partitions with something to do.
    listed: Vec<Place>,
    splits: Splits,
    carriers: Carriers,
    packer: Packer,
    /// Losses that may be none, until the topics have been asked about.
    suspects: Vec<Suspect>,
    answered: VecDeque<Answered>,
    /// Batches taken and not given back.
    open_batches: usize,
    /// By sink.
    counts: Vec<WriterCounts>,
    /// Records without an answer, by sink and home shard.
    inflight: Vec<u64>,
    changed: bool,
    outgoing: Vec<Outgoing>,
    requests: Vec<Request>,
    frame: dispatch::Frame,
}

/// A partition by topic and number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Place {
    topic: u16,
    partition: u32,
}

impl Produce {
    /// The writer of the connector with this index, or `None` if that reaches no Kafka cluster.
    /// `nonce_key` is secret and new at every start.
    pub fn new(shard: ShardId, shards: u16, connector: usize, config: &Config, nonce_key: [u8; 32]) -> Option<Self> {
        let settings = Settings::new(shard, shards, connector, config, nonce_key)?;
        let sinks = settings.terms.len();
        Some(Self {
            shards: usize::from(shards),
            idempotent: settings.terms.iter().flatten().any(|terms| terms.idempotent),
            look_through_at: given_up::look_through(&settings.terms, None),
            backoff_ms_max: settings.cluster.terms.patience.reconnect_delay_ms,
            topics: topic_states(&settings),
            uses: 0,
            gives_up_at: None,
            patience_ns: settings.patience_ns,
            terms: settings.terms,
            cluster: Cluster::new(settings.cluster),
            producer_id: ProducerId::new(),
            listed: Vec::new(),
            splits: Splits::default(),
            packer: Packer::default(),
            carriers: Carriers::new(shard, settings.carrier_bytes_max),
            suspects: Vec::new(),
            answered: VecDeque::new(),
            open_batches: 0,
            counts: vec![WriterCounts::default(); sinks],
            inflight: vec![0; sinks * usize::from(shards)],
            changed: false,
            outgoing: Vec::new(),
            requests: Vec::new(),
            frame: dispatch::Frame::default(),
        })
    }

    /// Partitions of the sink's topic, or `None` until Kafka has said how many there are.
    #[inline]
    pub fn partitions(&self, sink: u16) -> Option<u32> {
        self.cluster.topic(self.terms_of(sink)?.topic?)?.partitions()
    }

    /// Whether the partition's leader lets no question wait for more than a second. Of leaders that this shard has no link
    /// to nothing bad is known.
    pub fn answers(&self, sink: u16, partition: u32, now: Mono) -> bool {
        let topic = self.terms_of(sink).and_then(|terms| terms.topic);
        topic.is_some_and(|topic| self.topic_answers(topic, partition, now))
    }

    /// Takes in what belongs to a link of this writer; gives back what does not.
    pub fn on_input<'a>(&mut self, now: Now, input: Input<'a>, io: &mut impl Io) -> Option<Input<'a>> {
        match self.cluster.on_input(now.mono, input, io) {
            Ok(event) => {
                self.on_event(now.mono, event, io);
                None
            }
            Err(input) => Some(input),
        }
    }

    /// Takes a sealed batch of a partition this shard owns.
    pub fn submit(&mut self, mut batch: Box<Batch>) {
        self.open_batches += 1;
        let Some(place) = self.open_place(&mut batch) else {
            return self.answered.push_back(Answered { batch, outcome: Outcome::Failed(FailReason::UnknownTopic) });
        };
        self.partition_mut(place).queue.push_back(Shipment::of(batch));
        self.list(place);
    }

    /// Sends what can be sent; returns when to be called again at the latest.
    pub fn end_round(&mut self, now: Now, io: &mut impl Io) -> Option<Mono> {
        let now = now.mono;
        if self.gives_up_at.take_if(|at| *at <= now).is_some() {
            self.changed = true;
        }
        self.cluster.step(now, io);
        self.ask_producer_id(now, io);
        self.ask_about_suspects(now, io);
        self.settle_failures(now);
        self.dispatch(now, io);
        let asks = self.producer_id.due_at().filter(|_| self.idempotent && self.cluster.takes_questions());
        let pauses = self.listed.iter().filter_map(|&place| self.partition(place)?.pause_ends(now)).min();
        let ages = self.listed.iter().filter_map(|&place| self.expires_at(place)).filter(|&at| at > now).min();
        let look = self.look_through_at.filter(|_| !self.listed.is_empty());
        self.gives_up_at = self.cluster.gives_up_at(now);
        clock::earliest([self.cluster.deadline(now), asks, pauses, ages, look, self.gives_up_at])
    }

    /// The next batch with an outcome.
    #[inline]
    pub fn pop_answered(&mut self) -> Option<Answered> {
        let answered = self.answered.pop_front()?;
        self.open_batches -= 1;
        Some(answered)
    }

    /// Records of `sink`, received by shard `home`, that were sent and have no answer.
    pub fn inflight_records(&self, sink: u16, home: ShardId) -> u64 {
        self.inflight.get(self.inflight_index(sink, home)).copied().unwrap_or(0)
    }

    /// What was counted for `sink` since the start.
    pub fn counts(&self, sink: u16) -> WriterCounts {
        self.counts.get(usize::from(sink)).copied().unwrap_or_default()
    }

    /// How the sink stands with its cluster.
    pub fn health(&self, sink: u16, now: Mono) -> Health {
        let Some(terms) = self.terms_of(sink) else { return Health::Connected };
        if terms.idempotent
            && let Some((why, _)) = self.producer_id.denied()
        {
            return Health::Stopped(why.to_string());
        }
        let patience_ns = self.patience_ns.get(usize::from(sink)).copied().unwrap_or(u64::MAX);
        let of_topic = terms.topic.map(|topic| self.cluster.trouble(topic));
        let cluster = of_topic.unwrap_or_else(|| self.cluster.trouble_at_all());
        let cluster = cluster.or_else(|| self.cluster.silence(now, patience_ns));
        let own = terms.topic.and_then(|topic| self.topics.get(usize::from(topic))?.trouble.clone());
        self.cluster.health_with(cluster.or(own))
    }

    /// How the cluster itself stands, whatever becomes of a sink's topic.
    pub fn connector_health(&self, now: Mono) -> Health {
        let silence = || self.cluster.silence(now, self.patience_ns.iter().copied().max().unwrap_or(u64::MAX));
        self.cluster.health_with(self.cluster.trouble_at_all().or_else(silence))
    }

    /// The next line for the log.
    pub fn pop_note(&mut self) -> Option<(Level, String)> {
        self.cluster.pop_note()
    }

    /// Ends every link. Nothing of this writer may be open.
    pub fn close(&mut self, io: &mut impl Io) {
        self.cluster.close(io);
    }

    /// A new token for the brokers, or why there is none any more.
    pub fn set_token(&mut self, token: Result<kafka::sasl::Secret, String>) {
        self.cluster.set_token(token);
    }

    /// How often brokers and we have proven to each other who we are.
    pub fn logins(&self) -> Logins {
        self.cluster.logins()
    }

    /// Whether a topic's partitions have become known, or are others now, since the last call.
    pub fn take_changed(&mut self) -> bool {
        std::mem::take(&mut self.changed)
    }

    /// The most bytes of a batch that Kafka takes for the sink's topic, where that is known.
    pub fn batch_bytes_max(&self, sink: u16) -> Option<usize> {
        self.topic_batch_bytes_max(self.terms_of(sink)?.topic?)
    }

    /// Whether Kafka takes larger or smaller batches for a topic than at the last call, or nobody knows any more.
    pub fn take_limits_changed(&mut self) -> bool {
        self.cluster.take_limits_changed()
    }

    /// Whether nothing is queued and nothing is in flight.
    pub fn is_idle(&self) -> bool {
        self.open_batches == 0
    }

    fn on_event(&mut self, now: Mono, event: Event<'_>, io: &mut impl Io) {
        match event {
            Event::None => {}
            Event::Produced { slot, version, body, request } => self.on_produced(now, slot, version, body, request, io),
            Event::Sent(request) => self.on_sent(now, request),
            Event::Lost(unanswered) => unanswered.into_iter().for_each(|request| self.on_lost(request)),
            Event::Learned(learned) => {
                self.changed |= learned.counts;
                self.settle_suspects(&learned);
                for (topic, count_before) in learned.recreated {
                    self.on_recreated(now, topic, count_before);
                }
                for topic in learned.told {
                    let count = self.cluster.topic(topic).and_then(|topic| topic.partitions());
                    if let Some((state, count)) = self.topics.get_mut(usize::from(topic)).zip(count) {
                        state.ends.get_or_insert_with(|| Ends::first(count)).hear(now, count);
                    }
                }
            }
            Event::ProducerId(answer) => {
                let denied = self.producer_id.on_answer(now, answer);
                self.say_stopped(denied);
            }
            Event::ProducerIdLost => self.producer_id.on_lost(),
        }
    }

    fn ask_producer_id(&mut self, now: Mono, io: &mut impl Io) {
        if !self.idempotent || self.producer_id.due_at().is_none_or(|at| at > now) || !self.cluster.takes_questions() {
            return;
        }
        match self.cluster.ask_producer_id(now, io) {
            Ok(true) => self.producer_id.on_asked(),
            Ok(false) => {}
            Err(why) => {
                let denied = self.producer_id.deny(now, why, FailReason::Invalid);
                self.say_stopped(denied);
            }
        }
    }

    fn say_stopped(&mut self, denied: Option<String>) {
        if let Some(why) = denied {
            self.cluster.note(Level::Error, why);
        }
    }

    /// The topic was made anew: brokers know nothing of what was sent to the old one.
    fn on_recreated(&mut self, now: Mono, topic: u16, count_before: u32) {
        let count = self.cluster.topic(topic).and_then(|topic| topic.partitions());
        let Some(state) = self.topics.get_mut(usize::from(topic)) else { return };
        state.ends = count.map(|count| Ends::new(now, count, count_before));
        for partition in 0..state.partitions.len() as u32 {
            let place = Place { topic, partition };
            if !is_planted(Plant::KeepEpoch) {
                self.partition_mut(place).forget_numbers();
            }
            self.partition_mut(place).forget_offsets();
            self.list(place);
        }
    }

    #[inline]
    fn terms_of(&self, sink: u16) -> Option<&Terms> {
        self.terms.get(usize::from(sink))?.as_ref()
    }

    fn partition(&self, place: Place) -> Option<&Partition> {
        self.topics.get(usize::from(place.topic))?.partitions.get(place.partition as usize)
    }

    fn partition_mut(&mut self, place: Place) -> &mut Partition {
        let partitions = &mut self.topics[usize::from(place.topic)].partitions;
        let at = place.partition as usize;
        if at >= partitions.len() {
            partitions.resize_with(at + 1, Partition::default);
        }
        &mut partitions[at]
    }

    /// Notes that a partition has something to do.
    fn list(&mut self, place: Place) {
        let partition = self.partition_mut(place);
        if !partition.listed {
            partition.listed = true;
            self.listed.push(place);
        }
    }

    fn inflight_index(&self, sink: u16, home: ShardId) -> usize {
        usize::from(sink) * self.shards + usize::from(home.0)
    }

    /// Keeps an emptied request for its buffers.
    fn recycle(&mut self, request: Request) {
        if request.batches.is_empty() && self.requests.len() < REQUESTS_KEPT {
            self.requests.push(request);
        }
    }
}

/// Sinks that write one topic share its limits.
fn topic_states(settings: &Settings) -> Vec<TopicState> {
    let of_topic = |topic: usize| {
        let mut sinks = settings.terms.iter().flatten().filter(|terms| terms.topic.map(usize::from) == Some(topic));
        let mut state = TopicState::new(sinks.next()?);
        state.fixed = 1 + sinks.count() as u32;
        Some(state)
    };
    // Every topic of a connector is there for the sake of a sink.
    (0..settings.cluster.topics.len()).filter_map(of_topic).collect()
}

#[cfg(test)]
mod tests;
