//! The topics that messages name, as one sink sees them at one shard: `topic = "t-${payload.site}"`.
//!
//! ```text
//! name ─ live topic ┬ partitioner of its own
//!                   └ partitions ─ slots of the accumulator
//! ```
//!
//! There are at most `live_topics_max`. For one more the topic that was idle for longest gives up its place; where all have
//! batches open, the message waits. Shards count for themselves: who owns the partitions is told a topic's name with each
//! batch, and knows it by a number of its own.

use crate::clock::Mono;
use crate::config::{KeyHash, PartitionStrategy};
use crate::hash::{Keyed, Map};
use crate::log::journal::Journal;
use crate::shard::placement::base_of;
use crate::ticket::FailReason;

use super::Stored;
use super::accumulator::Accumulator;
use super::mapping::Mapping;
use super::partitioning::Partitioner;

/// A slot that no partition has.
const NO_SLOT: u32 = u32::MAX;

/// One topic.
#[derive(Debug)]
struct LiveTopic {
    /// Empty where the place is free.
    name: String,
    /// Its number at the writer of this shard.
    writer_topic: u16,
    base: u16,
    partitioner: Partitioner,
    mapping: Mapping,
    /// By partition.
    slots: Vec<u32>,
    /// When it was last named, as a count.
    used: u64,
}

/// All of a sink's topics.
#[derive(Debug)]
pub struct LiveTopics {
    max: usize,
    topics: Vec<LiveTopic>,
    names: Map<Box<str>, u16>,
    shards: u16,
    uses: u64,
    /// Topics whose records wait for another number of partitions.
    remapped: Vec<u16>,
    /// Topics that gave up their place.
    pub evicted: u64,
}

/// A topic that gave up its place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Evicted {
    /// Its number at the writer.
    pub writer_topic: u16,
}

impl LiveTopics {
    /// No topics yet, and at most `max`.
    pub fn new(max: usize, shards: u16, keyed: Keyed) -> Self {
        Self {
            max,
            topics: Vec::new(),
            names: Map::with_hasher(keyed),
            shards,
            uses: 0,
            remapped: Vec::new(),
            evicted: 0,
        }
    }

    /// Another number may be live. Where there are more, idle ones give up their places now, and the others in their turn.
    pub fn configure(&mut self, max: usize, accumulator: &mut Accumulator) -> Vec<Evicted> {
        self.max = max;
        let mut evicted = Vec::new();
        while self.len() > max {
            match self.evict(accumulator) {
                Ok(topic) => evicted.push(topic),
                Err(NoRoom) => break,
            }
        }
        evicted
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.names.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.names.is_empty()
    }

    /// The number of a topic that is live.
    #[inline]
    pub fn find(&mut self, name: &str) -> Option<u16> {
        let at = *self.names.get(name)?;
        self.uses += 1;
        self.topics[usize::from(at)].used = self.uses;
        Some(at)
    }

    /// Makes room for one more: the idle topic whose place it may have, or nothing if there is room.
    ///
    /// # Errors
    /// If all that may be live have batches open.
    pub fn make_room(&mut self, accumulator: &mut Accumulator) -> Result<Option<Evicted>, NoRoom> {
        if self.len() < self.max {
            return Ok(None);
        }
        self.evict(accumulator).map(Some)
    }

    /// Takes the place of the topic that was idle for longest.
    fn evict(&mut self, accumulator: &mut Accumulator) -> Result<Evicted, NoRoom> {
        let is_idle = |topic: &LiveTopic| {
            !topic.name.is_empty() && topic.slots.iter().all(|&slot| slot == NO_SLOT || accumulator.is_slot_idle(slot))
        };
        let idle = self.topics.iter_mut().filter(|topic| is_idle(topic)).min_by_key(|topic| topic.used);
        let topic = idle.ok_or(NoRoom)?;
        self.names.remove(topic.name.as_str());
        topic.name.clear();
        topic.mapping = Mapping::default();
        topic.slots.drain(..).filter(|&slot| slot != NO_SLOT).for_each(|slot| accumulator.close_slot(slot));
        self.evicted += 1;
        Ok(Evicted { writer_topic: topic.writer_topic })
    }

    /// Adds a topic, for which there is room.
    pub fn add(&mut self, name: &str, writer_topic: u16, partitioner: Partitioner) -> Option<u16> {
        self.uses += 1;
        let base = base_of(name, self.shards);
        let partitioner = partitioner.based(base);
        let topic = LiveTopic {
            name: name.to_string(),
            writer_topic,
            base,
            partitioner,
            mapping: Mapping::default(),
            slots: Vec::new(),
            used: self.uses,
        };
        let at = match self.topics.iter().position(|topic| topic.name.is_empty()) {
            Some(at) => {
                self.topics[at] = topic;
                at
            }
            None => {
                self.topics.push(topic);
                self.topics.len() - 1
            }
        };
        let at = u16::try_from(at).ok()?;
        self.names.insert(name.into(), at);
        Some(at)
    }

    /// What choosing a partition of it needs.
    #[inline]
    pub fn parts(&mut self, topic: u16) -> (&mut Partitioner, LiveSlots<'_>) {
        let LiveTopic { name, partitioner, slots, writer_topic, .. } = &mut self.topics[usize::from(topic)];
        (partitioner, LiveSlots { name, slots, writer_topic: *writer_topic })
    }

    /// The slot of a topic's partition, if it has one.
    pub fn slot(&self, name: &str, partition: u32) -> Option<u32> {
        let topic = &self.topics[usize::from(*self.names.get(name)?)];
        topic.slots.get(partition as usize).copied().filter(|&slot| slot != NO_SLOT)
    }

    /// Its name, and by how much the owners of its partitions are shifted.
    pub fn name(&self, topic: u16) -> (&str, u16) {
        let topic = &self.topics[usize::from(topic)];
        (&topic.name, topic.base)
    }

    /// Its partitioner.
    pub fn partitioner(&mut self, topic: u16) -> &mut Partitioner {
        &mut self.topics[usize::from(topic)].partitioner
    }

    /// The numbers of all topics at the writer.
    pub fn writer_topics(&self) -> impl Iterator<Item = u16> {
        self.topics.iter().filter(|topic| !topic.name.is_empty()).map(|topic| topic.writer_topic)
    }

    /// All partitioners.
    pub fn partitioners(&mut self) -> impl Iterator<Item = &mut Partitioner> {
        self.topics.iter_mut().map(|topic| &mut topic.partitioner)
    }

    /// Other rules choose partitions from now on.
    pub fn repartition(&mut self, now: Mono, strategy: PartitionStrategy, key_hash: KeyHash) {
        for (at, topic) in (0..).zip(&mut self.topics) {
            if topic.partitioner.configure(strategy, key_hash) && !topic.name.is_empty() {
                topic.mapping.renew(now);
                note(&mut self.remapped, at, &topic.mapping);
            }
        }
    }

    /// The number of partitions that keys of a topic are spread over, where `told` is the newest; `None` while they have to wait
    /// for what was placed by another number.
    #[inline]
    pub fn count(&mut self, topic: u16, told: u32, now: Mono, held: Held<'_>) -> Option<u32> {
        let LiveTopic { name, partitioner, mapping, slots, .. } = &mut self.topics[usize::from(topic)];
        if !partitioner.is_by_key() {
            return Some(told);
        }
        let count = mapping.count(told, now, || held.is_idle(name, slots, told));
        note(&mut self.remapped, topic, mapping);
        count
    }

    /// Takes other numbers of partitions into use where nothing is open any more, or for too long; whether any was.
    pub fn settle(&mut self, now: Mono, held: Held<'_>) -> bool {
        let waiting = self.remapped.len();
        let topics = &mut self.topics;
        self.remapped.retain(|&topic| {
            let LiveTopic { name, mapping, slots, .. } = &mut topics[usize::from(topic)];
            let told = mapping.next().unwrap_or_default();
            mapping.is_waiting() && !mapping.settle(now, || held.is_idle(name, slots, told))
        });
        self.remapped.len() < waiting
    }

    /// Until when the records of some topic wait for another number of partitions at the most.
    pub fn remapped_until(&self) -> Option<Mono> {
        self.remapped.iter().filter_map(|&topic| self.topics[usize::from(topic)].mapping.until()).min()
    }

    /// The slot of a partition; it is given one if it has none.
    #[inline]
    pub fn open_slot(&mut self, topic: u16, partition: u32, accumulator: &mut Accumulator) -> u32 {
        if let Some(slot) = self.parts(topic).1.slot(partition) {
            return slot;
        }
        let slots = &mut self.topics[usize::from(topic)].slots;
        let at = partition as usize;
        if at >= slots.len() {
            slots.resize(at + 1, NO_SLOT);
        }
        slots[at] = accumulator.open_slot(topic, partition);
        slots[at]
    }
}

fn note(remapped: &mut Vec<u16>, topic: u16, mapping: &Mapping) {
    if mapping.is_waiting() && !remapped.contains(&topic) {
        remapped.push(topic);
    }
}

/// Where records of a sink may be open.
#[derive(Debug, Clone, Copy)]
pub struct Held<'a> {
    /// Those that are being filled, or have no outcome yet.
    accumulator: &'a Accumulator,
    /// Those on disk.
    journal: Option<&'a Journal>,
}

impl<'a> Held<'a> {
    /// The records of a sink with these parts.
    pub fn of(accumulator: &'a Accumulator, stored: Option<&'a Stored>) -> Self {
        Self { accumulator, journal: stored.map(|stored| &stored.journal) }
    }

    /// Whether no record of a topic with these slots, and by now with so many partitions, is open.
    fn is_idle(self, name: &str, slots: &[u32], partitions: u32) -> bool {
        let filled = slots.iter().any(|&slot| slot != NO_SLOT && !self.accumulator.is_slot_idle(slot));
        !filled && !self.stores(name, partitions)
    }

    /// Whether records of a topic lie on disk.
    fn stores(self, name: &str, partitions: u32) -> bool {
        self.journal.is_some_and(|journal| !journal.holds_nothing() && (0..partitions).any(|p| journal.holds(name, p)))
    }

    /// Whether no record of the sink is open.
    pub fn is_nothing(self) -> bool {
        self.accumulator.is_idle() && self.journal.is_none_or(Journal::holds_nothing)
    }
}

/// The slots of one topic's partitions.
#[derive(Debug, Clone, Copy)]
pub struct LiveSlots<'a> {
    /// The topic's name.
    pub name: &'a str,
    slots: &'a [u32],
    /// The topic's number at the writer.
    pub writer_topic: u16,
}

impl LiveSlots<'_> {
    /// The slot of a partition, if it has one.
    #[inline]
    pub fn slot(&self, partition: u32) -> Option<u32> {
        self.slots.get(partition as usize).copied().filter(|&slot| slot != NO_SLOT)
    }
}

/// All topics that may be live have batches open.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NoRoom;

/// Where a record goes whose topic is a template.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Aim {
    /// To a slot of the accumulator.
    Slot {
        /// Which.
        slot: u32,
        /// The most bytes of a batch, header included, that can be written to the topic, where that is known.
        batch_bytes_max: Option<usize>,
    },
    /// Nowhere yet: what was placed by another number of partitions is waited for.
    Later,
    /// Nowhere, ever.
    Never(FailReason),
}
