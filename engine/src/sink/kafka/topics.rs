//! The topics of one writer: those of the configuration for good, those that messages name as long as somebody uses them.
//!
//! A topic that messages name is used by the sinks of this shard that hold it open, and by the batches that other shards hand
//! over. Where neither is left its place is given to another once there are more than [`IDLE_MAX`] such topics.

use super::ends::Ends;
use super::partition::Partition;
use super::settings::Terms;
use super::{Place, Produce};
use crate::buffer::Batch;
use crate::clock::Mono;
use crate::sink::Found;
use crate::sink::ceiling::Ceiling;
use crate::ticket::{FailReason, Outcome};

/// Topics that nobody uses, kept for their next message.
const IDLE_MAX: usize = 200;

/// A topic's partitions, indexed by their numbers; only those that this shard owns are ever used.
#[derive(Debug)]
pub(super) struct TopicState {
    pub(super) partitions: Vec<Partition>,
    /// What Kafka last said against writing to it.
    pub(super) trouble: Option<String>,
    /// How many partitions it has, once that is known.
    pub(super) ends: Option<Ends>,
    /// How large merged batches may get for now.
    pub(super) ceiling: Ceiling,
    /// Sinks of this shard that hold it open.
    users: u32,
    /// Sinks of this shard whose configuration names it.
    pub(super) fixed: u32,
    /// When somebody last asked for it, as a count.
    used: u64,
}

impl TopicState {
    /// A topic that sinks with the terms of this one write.
    pub(super) fn new(terms: &Terms) -> Self {
        Self {
            partitions: Vec::new(),
            trouble: None,
            ends: None,
            ceiling: Ceiling::new(terms.batch_bytes_max),
            users: 0,
            fixed: 0,
            used: 0,
        }
    }

    fn is_idle(&self) -> bool {
        self.users == 0 && self.fixed == 0 && self.partitions.iter().all(Partition::is_idle)
    }
}

impl Produce {
    /// Holds a topic open that messages of `sink` name; its number here. `None` if there are too many.
    pub fn open_topic(&mut self, sink: u16, name: &str) -> Option<u16> {
        let topic = self.take_up(sink, name)?;
        self.topics.get_mut(usize::from(topic))?.users += 1;
        Some(topic)
    }

    /// A sink needs the topic no longer.
    pub fn close_topic(&mut self, topic: u16) {
        if let Some(state) = self.topics.get_mut(usize::from(topic)) {
            state.users = state.users.saturating_sub(1);
        }
    }

    /// What is known of a topic.
    pub fn find_topic(&self, topic: u16, now: Mono) -> Found {
        let Some(known) = self.cluster.topic(topic) else { return Found::Unknown };
        match (known.never(now), known.partitions()) {
            (Some(why), _) => Found::Never(why),
            (None, Some(count)) => Found::Partitions(count),
            (None, None) => Found::Unknown,
        }
    }

    /// The most bytes of a batch that Kafka takes for a topic, where that is known.
    #[inline]
    pub fn topic_batch_bytes_max(&self, topic: u16) -> Option<usize> {
        self.cluster.topic(topic)?.batch_bytes_max()
    }

    /// Whether the leader of a topic's partition lets no question wait for more than a second. Of leaders that this shard has
    /// no link to nothing bad is known.
    pub fn topic_answers(&self, topic: u16, partition: u32, now: Mono) -> bool {
        let Some(slot) = self.cluster.slot(topic, partition) else { return false };
        !self.cluster.is_owned(topic, partition) || self.cluster.link(slot).is_some_and(|link| link.answers(now))
    }

    /// The place that a batch is written to, taken up if it is the first for its topic.
    pub(super) fn open_place(&mut self, batch: &mut Batch) -> Option<Place> {
        if !batch.topic_name.is_empty() {
            batch.topic = self.take_up(batch.part.sink, &batch.topic_name)?;
        }
        self.place_of(batch)
    }

    /// The place that a batch was submitted for.
    pub(super) fn place_of(&self, batch: &Batch) -> Option<Place> {
        let fixed = self.terms_of(batch.part.sink)?.topic;
        let topic = if batch.topic_name.is_empty() { fixed? } else { batch.topic };
        Some(Place { topic, partition: batch.part.partition })
    }

    fn take_up(&mut self, sink: u16, name: &str) -> Option<u16> {
        self.uses += 1;
        if let Some(topic) = self.cluster.find(name) {
            self.topics.get_mut(usize::from(topic))?.used = self.uses;
            self.cluster.name_by_message(topic);
            return Some(topic);
        }
        let terms = *self.terms_of(sink)?;
        self.make_room();
        let topic = self.cluster.add_topic(name)?;
        self.put_topic(topic, TopicState { used: self.uses, ..TopicState::new(&terms) });
        Some(topic)
    }

    fn put_topic(&mut self, topic: u16, state: TopicState) {
        match self.topics.get_mut(usize::from(topic)) {
            Some(place) => *place = state,
            None => self.topics.push(state),
        }
    }

    /// Takes up a topic that the configuration of a sink with these terms names.
    pub(super) fn fix_topic(&mut self, name: &str, terms: &Terms) -> Option<u16> {
        let is_known = self.cluster.find(name).is_some();
        let topic = self.cluster.fix_topic(name)?;
        if !is_known {
            self.put_topic(topic, TopicState::new(terms));
        }
        self.topics.get_mut(usize::from(topic))?.fixed += 1;
        Some(topic)
    }

    /// A sink whose configuration names the topic is gone.
    pub(super) fn unfix_topic(&mut self, topic: u16) {
        let Some(state) = self.topics.get_mut(usize::from(topic)) else { return };
        state.fixed = state.fixed.saturating_sub(1);
        if state.fixed > 0 {
            return;
        }
        let is_idle = state.is_idle();
        self.cluster.set_fixed(topic, false);
        if is_idle {
            self.forget_topic(usize::from(topic));
        }
    }

    /// Forgets the topic that nobody has used for longest, if there are many of that kind.
    fn make_room(&mut self) {
        let idle = |(at, state): &(usize, &TopicState)| {
            state.is_idle() && self.cluster.topic(*at as u16).is_some_and(|topic| !topic.is_vacant())
        };
        let all = self.topics.iter().enumerate().filter(idle);
        if all.clone().count() < IDLE_MAX {
            return;
        }
        let Some(at) = all.min_by_key(|(_, state)| state.used).map(|(at, _)| at) else { return };
        self.forget_topic(at);
    }

    /// Forgets a topic that nobody uses.
    fn forget_topic(&mut self, at: usize) {
        for mut partition in std::mem::take(&mut self.topics[at].partitions) {
            if let Some(producer) = partition.forget_identity() {
                self.producer_id.retire(producer);
            }
        }
        self.listed.retain(|place| usize::from(place.topic) != at);
        self.suspects.retain(|suspect| usize::from(suspect.place.topic) != at);
        self.cluster.remove_topic(at as u16);
    }

    /// A topic that messages name has turned out not to exist: what waits for it fails.
    pub(super) fn give_up_missing(&mut self, now: Mono, place: Place) {
        let never = self.cluster.topic(place.topic).and_then(|topic| topic.never(now));
        let Some(why) = never.filter(|_| self.partition_mut(place).is_idle_aloft()) else { return };
        self.fail_queue(place, why);
        if let Some(producer) = self.partition_mut(place).forget_identity() {
            self.producer_id.retire(producer);
        }
    }

    /// Ends everything that waits in a partition.
    pub(super) fn fail_queue(&mut self, place: Place, why: FailReason) {
        for shipment in std::mem::take(&mut self.partition_mut(place).queue) {
            self.complete(shipment, Outcome::Failed(why));
        }
    }
}
