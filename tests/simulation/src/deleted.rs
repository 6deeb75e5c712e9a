//! What lay in topics that were deleted. It was stored, and is gone with its topic: that excuses these records and no others.
//!
//! Brokers hear late of what the controller has decided, so that some go on to store in a former life of a topic for a while.

use std::collections::{BTreeMap, BTreeSet};

use crate::kafka::Place;
use crate::message::MessageId;

/// The records of former lives of topics.
#[derive(Debug, Default)]
pub(crate) struct Deleted {
    /// By topic: how often it was made anew.
    lives: Vec<u16>,
    /// How many there were, by message and sink.
    records: BTreeMap<(MessageId, usize), u16>,
    /// Dead letters among them, by message and the sink that it was meant for.
    buried: BTreeSet<(MessageId, usize)>,
}

impl Deleted {
    /// So many topics, all in their first lives.
    pub(crate) fn new(topics: usize) -> Self {
        Self { lives: vec![0; topics], ..Self::default() }
    }

    /// A topic is made anew.
    pub(crate) fn made_anew(&mut self, topic: usize) {
        self.lives[topic] += 1;
    }

    /// Whether a place lies in a former life of its topic.
    pub(crate) fn is_former(&self, place: Place) -> bool {
        place.life < self.lives[usize::from(place.topic)]
    }

    /// So many records of a message lay there for a sink.
    pub(crate) fn add(&mut self, id: MessageId, sink: usize, records: u16) {
        *self.records.entry((id, sink)).or_default() += records;
    }

    /// It lay there among the dead letters, meant for this sink.
    pub(crate) fn bury(&mut self, id: MessageId, meant_for: usize) {
        self.buried.insert((id, meant_for));
    }

    /// How many records of a message lay there for a sink.
    pub(crate) fn records(&self, id: MessageId, sink: usize) -> u16 {
        if self.records.is_empty() { 0 } else { self.records.get(&(id, sink)).copied().unwrap_or_default() }
    }

    /// Whether a message lay there for a sink, or among the dead letters for that sink.
    pub(crate) fn held(&self, id: MessageId, sink: usize) -> bool {
        self.records(id, sink) > 0 || self.buried.contains(&(id, sink))
    }
}
