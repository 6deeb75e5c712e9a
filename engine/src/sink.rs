//! Sinks: what becomes of records once a route has made them.
//!
//! A sink has two halves. The receiving half lives on every shard: it renders records, chooses partitions and fills batches
//! ([`Sink`], [`accumulator`], [`partitioning`]). The owning half, one per connector and shard, writes the sealed batches of
//! the partitions its shard owns ([`Writer`]). Between them travel whole batches and nothing else.

pub mod accumulator;
pub mod ceiling;
pub mod discard;
pub mod embedded;
pub mod kafka;
pub mod live_topics;
pub mod mapping;
pub mod packing;
pub mod partitioning;
pub mod route;
#[cfg(test)]
pub mod script;

use crate::broker::Logins;
use crate::buffer::Batch;
use crate::clock::{Mono, Now};
use crate::config::{Config, ConnectorKind};
use crate::log::journal::Journal;
use crate::metrics::Health;
use crate::shard::ShardId;
use crate::shard::control::{Level, Snapshot};
use crate::shard::io::{Input, Io};
use crate::ticket::{FailReason, Outcome};

use self::kafka::Produce;
use accumulator::Accumulator;
use ceiling::Ceiling;
use discard::Discard;
use embedded::Embedded;
use live_topics::{Aim, Held, LiveSlots, LiveTopics};
use mapping::Mapping;
use partitioning::{Choice, Partitioner, Partitions};

/// A batch with the last word on it.
#[derive(Debug)]
pub struct Answered {
    /// The batch, released by whoever wrote it.
    pub batch: Box<Batch>,
    /// What became of its records.
    pub outcome: Outcome,
}

/// The receiving half of one sink at one shard.
#[derive(Debug)]
pub struct Sink {
    /// Batches being filled.
    pub accumulator: Accumulator,
    /// How partitions are chosen.
    pub partitioner: Partitioner,
    /// How many partitions keys are spread over.
    pub mapping: Mapping,
    /// Index of its connector, and of the writer there.
    pub connector: usize,
    /// How large batches may get for now.
    pub ceiling: Ceiling,
    /// A record that is larger, alone in its batch, is refused at once: Kafka never takes it. [`usize::MAX`] where Kafka is to
    /// say so. Of topics that messages name each has its own.
    pub record_bytes_max: usize,
    /// Where batches wait on disk, if the sink's buffer may lie there.
    pub journal: Option<Stored>,
    /// Its topics, where messages name them.
    pub live: Option<Box<LiveTopics>>,
    /// Some of what is open may have been acknowledged already, though that is not what is configured now.
    pub promised_early: bool,
    /// What writers counted for it in slots that it has left.
    pub carried: WriterCounts,
}

/// A sink's journal, and what the shard counts of it.
#[derive(Debug)]
pub struct Stored {
    /// The journal.
    pub journal: Journal,
    /// Bytes charged for its lists of entries, and for what is read back beyond its share.
    pub charge_bytes: usize,
    /// Something has happened that may let batches leave.
    pub ready: bool,
    /// When it wants to be called.
    pub deadline: Option<Mono>,
    /// The sink comes with a change that is not in force yet: nothing of what was found leaves, and nothing is counted.
    pub held: bool,
}

/// The topic and the partition of a slot; the name is empty where the topic is the sink's own.
#[inline]
pub fn target_of<'a>(live: Option<&'a LiveTopics>, accumulator: &Accumulator, slot: u32) -> (&'a str, u32) {
    let Some(live) = live else { return ("", slot) };
    let (topic, partition) = accumulator.place_of(slot);
    (live.name(topic).0, partition)
}

impl Sink {
    /// As [`target_of`], of a slot of this sink.
    #[inline]
    pub fn target(&self, slot: u32) -> (&str, u32) {
        target_of(self.live.as_deref(), &self.accumulator, slot)
    }

    /// How many partitions keys are spread over, where `told` is the newest number; `None` while what was placed by another one is
    /// waited for.
    #[inline]
    pub fn partitions_for_keys(&mut self, told: u32, now: Mono) -> Option<u32> {
        let held = Held::of(&self.accumulator, self.journal.as_ref());
        self.mapping.count(told, now, || held.is_nothing())
    }

    /// Takes other numbers of partitions into use where nothing is open any more; whether any was.
    pub fn settle_mappings(&mut self, now: Mono) -> bool {
        let held = Held::of(&self.accumulator, self.journal.as_ref());
        let own = self.mapping.settle(now, || held.is_nothing());
        self.live.as_mut().is_some_and(|live| live.settle(now, held)) || own
    }

    /// Until when records wait for other numbers of partitions at the most, if any do.
    pub fn remapped_until(&self) -> Option<Mono> {
        let live = self.live.as_ref().and_then(|live| live.remapped_until());
        self.mapping.until().into_iter().chain(live).min()
    }

    /// A batch has come home: its size may say how large the next ones may be.
    #[inline]
    pub fn learn_size(&mut self, batch: &Batch, stored: bool) {
        if batch.too_large {
            self.ceiling.refused(batch.plain_bytes());
        } else if !stored || !self.ceiling.stored() {
            return;
        }
        self.accumulator.set_bytes_max(self.ceiling.bytes());
    }

    /// How many partitions the topic has: as Kafka says or, with a buffer on disk and as long as Kafka is away, as it said to an
    /// earlier start. `None` while nobody knows.
    #[inline]
    pub fn partitions(&self, sink: u16, writer: &Writer) -> Option<u32> {
        writer.partitions(sink).or_else(|| self.journal.as_ref()?.journal.topic_partitions())
    }

    /// The partition for a record, or `None` while the topic's partitions are not known.
    #[inline]
    pub fn choose(&mut self, sink: u16, choice: &Choice<'_>, writer: &Writer, now: Mono) -> Option<u32> {
        let count = self.partitions(sink, writer)?;
        let journal = self.journal.as_ref();
        let view = View { count, sink, topic: None, writer, accumulator: &self.accumulator, journal, now };
        Some(self.partitioner.choose(choice, &view))
    }

    /// The slot for a record whose topic its message names, or `None` while the topic's partitions are not known or there is
    /// no room for another topic.
    pub fn aim(&mut self, sink: u16, name: &str, choice: &Choice<'_>, writer: &mut Writer, now: Mono) -> Option<Aim> {
        let live = self.live.as_mut()?;
        let topic = match live.find(name) {
            Some(topic) => topic,
            None => {
                if let Some(evicted) = live.make_room(&mut self.accumulator).ok()? {
                    writer.close_topic(evicted.writer_topic);
                }
                let writer_topic = writer.open_topic(sink, name)?;
                live.add(name, writer_topic, self.partitioner.fork())?
            }
        };
        let told = match writer.find_topic(sink, live.parts(topic).1.writer_topic, now) {
            Found::Partitions(count) => count,
            Found::Unknown => return None,
            Found::Never(why) => return Some(Aim::Never(why)),
        };
        let journal = self.journal.as_ref();
        let held = Held::of(&self.accumulator, journal);
        let Some(count) = live.count(topic, told, now, held) else { return Some(Aim::Later) };
        let (partitioner, slots) = live.parts(topic);
        let view = View { count, sink, topic: Some(slots), writer, accumulator: &self.accumulator, journal, now };
        let partition = partitioner.choose(choice, &view);
        let writer_topic = slots.writer_topic;
        let slot = live.open_slot(topic, partition, &mut self.accumulator);
        Some(Aim::Slot { slot, batch_bytes_max: writer.topic_batch_bytes_max(writer_topic) })
    }

    /// The batch in a slot was sealed: who chose its partition for as long as it filled chooses anew.
    pub fn sealed(partitioner: &mut Partitioner, live: Option<&mut LiveTopics>, batch: &Batch) {
        match live {
            Some(live) => live.partitioner(batch.live).sealed(batch.part.partition),
            None => partitioner.sealed(batch.part.partition),
        }
    }
}

/// What is known of a topic that messages name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Found {
    /// How many partitions it has.
    Partitions(u32),
    /// Nothing yet.
    Unknown,
    /// Records for it can never be written.
    Never(FailReason),
}

/// The partitions of a sink as its shard sees them.
struct View<'a> {
    count: u32,
    sink: u16,
    /// The topic, where messages name it.
    topic: Option<LiveSlots<'a>>,
    writer: &'a Writer,
    accumulator: &'a Accumulator,
    journal: Option<&'a Stored>,
    now: Mono,
}

impl View<'_> {
    /// The slot of a partition, if it has one.
    fn slot(&self, partition: u32) -> Option<u32> {
        match self.topic {
            Some(slots) => slots.slot(partition),
            None => Some(partition),
        }
    }

    fn waiting_bytes(&self, partition: u32) -> usize {
        self.slot(partition).map_or(0, |slot| self.accumulator.waiting_bytes(slot))
    }
}

impl Partitions for View<'_> {
    fn count(&self) -> u32 {
        self.count
    }

    fn usable(&self, partition: u32) -> bool {
        let topic = self.topic.map_or("", |topic| topic.name);
        let stored = self.journal.map_or(0, |stored| stored.journal.held_bytes(topic, partition)) as usize;
        let full = self.waiting_bytes(partition) + stored >= self.accumulator.limits().partition_bytes_max;
        let answers = || match self.topic {
            Some(slots) => self.writer.topic_answers(slots.writer_topic, partition, self.now),
            None => self.writer.answers(self.sink, partition, self.now),
        };
        !full && answers()
    }

    fn load(&self, partition: u32) -> usize {
        // An unanswered batch counts as a target's worth of bytes: its size is with the owner.
        let unanswered = self.slot(partition).map_or(0, |slot| self.accumulator.unanswered(slot)) as usize;
        self.waiting_bytes(partition) + unanswered * self.accumulator.limits().target_bytes
    }
}

/// The owning half: writes batches of the partitions its shard owns, one for each connector.
#[derive(Debug)]
pub enum Writer {
    /// Counts and drops.
    Discard(Discard),
    /// Appends to the local log.
    Embedded(Embedded),
    /// Writes to a Kafka cluster.
    Kafka(Box<Produce>),
    /// Does what a test says.
    #[cfg(test)]
    Script(script::Script),
}

/// What a writer counts for one sink, for all shards whose records it writes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct WriterCounts {
    /// Records sent again.
    pub retried: u64,
    /// Requests sent.
    pub requests: u64,
    /// Bytes of batches sent, after compression; repeats count again.
    pub sent_bytes: u64,
    /// Records sent again under a new producer epoch because their fate was open.
    pub possible_duplicate: u64,
    /// Offsets that Kafka had acknowledged and gave out again.
    pub acked_loss: u64,
    /// Batches sent as they are because their broker is too old for the codec.
    pub uncompressed: u64,
}

impl std::ops::AddAssign for WriterCounts {
    fn add_assign(&mut self, other: Self) {
        let Self { retried, requests, sent_bytes, possible_duplicate, acked_loss, uncompressed } = other;
        self.retried += retried;
        self.requests += requests;
        self.sent_bytes += sent_bytes;
        self.possible_duplicate += possible_duplicate;
        self.acked_loss += acked_loss;
        self.uncompressed += uncompressed;
    }
}

impl Writer {
    /// The writer of the connector with this number at one shard of so many; `None` of one that writes to the embedded log.
    /// `nonce_key` is secret, and no other connector has it.
    pub fn new(shard: ShardId, shards: u16, connector: usize, config: &Config, nonce_key: [u8; 32]) -> Option<Self> {
        match config.connectors.get(connector)?.kind {
            ConnectorKind::Discard => Some(Self::Discard(Discard::new(discard::PARTITIONS))),
            ConnectorKind::Kafka(_) => {
                Produce::new(shard, shards, connector, config, nonce_key).map(|kafka| Self::Kafka(Box::new(kafka)))
            }
            ConnectorKind::Embedded(_) => None,
        }
    }

    /// Partitions of the sink's topic, or `None` while they are not known.
    #[inline]
    pub fn partitions(&self, sink: u16) -> Option<u32> {
        match self {
            Writer::Discard(w) => w.partitions(sink),
            Writer::Embedded(w) => w.partitions(sink),
            Writer::Kafka(w) => w.partitions(sink),
            #[cfg(test)]
            Writer::Script(w) => w.partitions,
        }
    }

    /// Holds a topic open that messages of `sink` name; its number here. `None` if there are too many.
    pub fn open_topic(&mut self, sink: u16, name: &str) -> Option<u16> {
        match self {
            Writer::Kafka(w) => w.open_topic(sink, name),
            _ => Some(0),
        }
    }

    /// A sink needs the topic no longer.
    pub fn close_topic(&mut self, topic: u16) {
        if let Writer::Kafka(w) = self {
            w.close_topic(topic);
        }
    }

    /// What is known of a topic that `sink` holds open.
    #[inline]
    pub fn find_topic(&self, sink: u16, topic: u16, now: Mono) -> Found {
        match self {
            Writer::Kafka(w) => w.find_topic(topic, now),
            other => other.partitions(sink).map_or(Found::Unknown, Found::Partitions),
        }
    }

    /// The most bytes of a batch, header included, that can be written to the sink's topic, where that is known.
    pub fn batch_bytes_max(&self, sink: u16) -> Option<usize> {
        match self {
            Writer::Kafka(w) => w.batch_bytes_max(sink),
            Writer::Discard(_) | Writer::Embedded(_) => None,
            #[cfg(test)]
            Writer::Script(w) => w.batch_bytes_max,
        }
    }

    /// As [`batch_bytes_max`](Self::batch_bytes_max), for a topic that messages name.
    #[inline]
    pub fn topic_batch_bytes_max(&self, topic: u16) -> Option<usize> {
        match self {
            Writer::Kafka(w) => w.topic_batch_bytes_max(topic),
            Writer::Discard(_) | Writer::Embedded(_) => None,
            #[cfg(test)]
            Writer::Script(w) => w.batch_bytes_max,
        }
    }

    /// Whether [`batch_bytes_max`](Self::batch_bytes_max) may say something else than at the last call.
    pub fn take_limits_changed(&mut self) -> bool {
        match self {
            Writer::Kafka(w) => w.take_limits_changed(),
            Writer::Discard(_) | Writer::Embedded(_) => false,
            #[cfg(test)]
            Writer::Script(w) => std::mem::take(&mut w.limits_changed),
        }
    }

    /// As [`answers`](Self::answers), for a topic that messages name.
    pub fn topic_answers(&self, topic: u16, partition: u32, now: Mono) -> bool {
        match self {
            Writer::Kafka(w) => w.topic_answers(topic, partition, now),
            _ => true,
        }
    }

    /// Whether the partition's leader answered within the last second, as far as this shard knows.
    pub fn answers(&self, sink: u16, partition: u32, now: Mono) -> bool {
        match self {
            Writer::Discard(_) | Writer::Embedded(_) => true,
            Writer::Kafka(w) => w.answers(sink, partition, now),
            #[cfg(test)]
            Writer::Script(_) => true,
        }
    }

    /// Takes in what belongs to this writer; gives back what does not.
    pub fn on_input<'a>(&mut self, now: Now, input: Input<'a>, io: &mut impl Io) -> Option<Input<'a>> {
        match self {
            Writer::Discard(_) => Some(input),
            Writer::Embedded(w) => match input {
                Input::Disk(done) if w.owns(&done) => {
                    w.on_disk(now, done);
                    None
                }
                other => Some(other),
            },
            Writer::Kafka(w) => w.on_input(now, input, io),
            #[cfg(test)]
            Writer::Script(_) => Some(input),
        }
    }

    /// Takes a sealed batch of a partition this shard owns.
    pub fn submit(&mut self, _now: Now, batch: Box<Batch>) {
        match self {
            Writer::Discard(w) => w.submit(batch),
            Writer::Embedded(w) => w.submit(batch),
            Writer::Kafka(w) => w.submit(batch),
            #[cfg(test)]
            Writer::Script(w) => w.submit(batch),
        }
    }

    /// Sends what can be sent; returns when to be called again at the latest.
    pub fn end_round(&mut self, now: Now, io: &mut impl Io) -> Option<Mono> {
        match self {
            Writer::Discard(_) => None,
            Writer::Embedded(w) => w.end_round(now, io),
            Writer::Kafka(w) => w.end_round(now, io),
            #[cfg(test)]
            Writer::Script(_) => None,
        }
    }

    /// The next batch with an outcome.
    #[inline]
    pub fn pop_answered(&mut self) -> Option<Answered> {
        match self {
            Writer::Discard(w) => w.pop_answered(),
            Writer::Embedded(w) => w.pop_answered(),
            Writer::Kafka(w) => w.pop_answered(),
            #[cfg(test)]
            Writer::Script(w) => w.pop_answered(),
        }
    }

    /// Records of `sink`, received by shard `home`, that were sent and have no answer.
    pub fn inflight_records(&self, sink: u16, home: ShardId) -> u64 {
        match self {
            Writer::Discard(_) => 0,
            Writer::Embedded(w) => w.inflight_records(sink, home),
            Writer::Kafka(w) => w.inflight_records(sink, home),
            #[cfg(test)]
            Writer::Script(w) => w.inflight_records(sink, home),
        }
    }

    /// What was counted for `sink` since the start.
    pub fn counts(&self, sink: u16) -> WriterCounts {
        match self {
            Writer::Discard(_) | Writer::Embedded(_) => WriterCounts::default(),
            Writer::Kafka(w) => w.counts(sink),
            #[cfg(test)]
            Writer::Script(w) => w.counts,
        }
    }

    /// How the sink stands with what it writes to.
    pub fn health(&self, sink: u16, now: Mono) -> Health {
        match self {
            Writer::Discard(_) | Writer::Embedded(_) => Health::Connected,
            Writer::Kafka(w) => w.health(sink, now),
            #[cfg(test)]
            Writer::Script(_) => Health::Connected,
        }
    }

    /// How the connector stands with what its sinks write to.
    pub fn connector_health(&self, now: Mono) -> Health {
        match self {
            Writer::Discard(_) | Writer::Embedded(_) => Health::Connected,
            Writer::Kafka(w) => w.connector_health(now),
            #[cfg(test)]
            Writer::Script(_) => Health::Connected,
        }
    }

    /// The next line for the log.
    pub fn pop_note(&mut self) -> Option<(Level, String)> {
        match self {
            Writer::Discard(_) => None,
            Writer::Embedded(w) => w.pop_note(),
            Writer::Kafka(w) => w.pop_note(),
            #[cfg(test)]
            Writer::Script(_) => None,
        }
    }

    /// Takes up the sinks that come with another configuration. `connector` is this writer's.
    pub fn prepare(&mut self, connector: usize, snapshot: &Snapshot) {
        match self {
            Writer::Discard(_) => {}
            Writer::Embedded(w) => w.prepare(connector, snapshot),
            Writer::Kafka(w) => w.prepare(connector, snapshot),
            #[cfg(test)]
            Writer::Script(_) => {}
        }
    }

    /// Works by another configuration, which was prepared.
    pub fn apply(&mut self, connector: usize, snapshot: &Snapshot) {
        if let Writer::Kafka(w) = self {
            w.apply(connector, snapshot);
        }
    }

    /// A sink is gone: no batch of it is anywhere.
    pub fn forget(&mut self, sink: u16) {
        if let Writer::Kafka(w) = self {
            w.forget(sink);
        }
    }

    /// No sink has this writer any more: its links end, and nothing of it is left.
    pub fn close(&mut self, io: &mut impl Io) {
        if let Writer::Kafka(w) = self {
            w.close(io);
        }
        *self = Writer::Discard(Discard::new(0));
    }

    /// A new token for the brokers, or why there is none any more.
    pub fn set_token(&mut self, token: Result<::kafka::sasl::Secret, String>) {
        if let Writer::Kafka(w) = self {
            w.set_token(token);
        }
    }

    /// How often brokers and we have proven to each other who we are.
    pub fn logins(&self) -> Logins {
        match self {
            Writer::Kafka(w) => w.logins(),
            _ => Logins::default(),
        }
    }

    /// Whether something changed since the last call that a held PUBLISH may wait for, such as a topic that is now known.
    pub fn take_changed(&mut self) -> bool {
        match self {
            Writer::Discard(_) | Writer::Embedded(_) => false,
            Writer::Kafka(w) => w.take_changed(),
            #[cfg(test)]
            Writer::Script(w) => w.take_changed(),
        }
    }

    /// Shows every charged batch it holds; not those that the driver has. For audits.
    pub fn each_batch(&self, show: &mut impl FnMut(&Batch)) {
        match self {
            Writer::Discard(w) => w.each_batch(show),
            Writer::Embedded(w) => w.each_batch(show),
            Writer::Kafka(w) => w.each_batch(show),
            #[cfg(test)]
            Writer::Script(w) => w.batches().for_each(show),
        }
    }

    /// Whether nothing is queued and nothing is in flight.
    pub fn is_idle(&self) -> bool {
        match self {
            Writer::Discard(w) => w.is_idle(),
            Writer::Embedded(w) => w.is_idle(),
            Writer::Kafka(w) => w.is_idle(),
            #[cfg(test)]
            Writer::Script(w) => w.is_idle(),
        }
    }
}
