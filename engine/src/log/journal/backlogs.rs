//! All backlogs of a journal: one for each partition of the sink's own topic, and of the topics that messages named one for each
//! partition that holds something.
//!
//! Named topics may be many, and whoever sends to them knows only so many at once. So they take turns: at most `turns_max` of
//! them have batches read back and on their way, the others wait on disk. A turn goes on as long as nobody waits for it; else
//! it ends after [`TURN_ENTRIES`], so that a topic that never rests does not keep others waiting for ever.
//!
//! ```text
//! resting ─ claim ┬ there is room ─ its turn ─ nothing left, or enough for now, and all of it answered ─ resting, or waiting again
//!                 └ else ─ waiting ─ another's turn ends ─┘
//! ```

use std::collections::{BTreeMap, VecDeque};
use std::ops::{Index, IndexMut};

use super::backlog::Backlog;
use super::op::BacklogId;
use crate::hash::{Keyed, Map};

/// What a topic hands over in a turn while others wait.
const TURN_ENTRIES: u32 = 256;
/// Bytes of memory that a backlog of a named topic takes, and its topic, apart from the name: what is charged for them.
const NAMED_BYTES: usize = 512;

/// The backlogs, by number.
#[derive(Debug)]
pub(super) struct Backlogs {
    all: Vec<Backlog>,
    free: Vec<BacklogId>,
    /// By partition of the sink's own topic.
    own: Vec<Option<BacklogId>>,
    topics: Vec<Topic>,
    free_topics: Vec<u32>,
    names: Map<Box<str>, u32>,
    /// Topics in the order of their turns.
    waiting: VecDeque<u32>,
    turns: usize,
    turns_max: usize,
    /// Backlogs of named topics, and bytes of the names.
    named: usize,
    names_bytes: usize,
}

/// A topic that messages named.
#[derive(Debug, Default)]
struct Topic {
    name: Box<str>,
    partitions: BTreeMap<u32, BacklogId>,
    turn: Turn,
    /// Entries it may still hand over in its turn while others wait.
    left: u32,
    /// Entries on their way.
    away: u32,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum Turn {
    #[default]
    Rests,
    Waits,
    Has,
}

impl Backlogs {
    /// None yet. At most `turns_max` named topics have batches on their way at once.
    pub(super) fn new(turns_max: usize, keyed: Keyed) -> Self {
        Self {
            all: Vec::new(),
            free: Vec::new(),
            own: Vec::new(),
            topics: Vec::new(),
            free_topics: Vec::new(),
            names: Map::with_hasher(keyed),
            waiting: VecDeque::new(),
            turns: 0,
            turns_max,
            named: 0,
            names_bytes: 0,
        }
    }

    /// Another number of topics may have batches on their way; turns that were given are not taken back.
    pub(super) fn configure(&mut self, turns_max: usize) {
        self.turns_max = turns_max;
    }

    /// The backlog of a partition, if it has one; `topic` is empty for the sink's own.
    pub(super) fn find(&self, topic: &str, partition: u32) -> Option<BacklogId> {
        if topic.is_empty() {
            return self.own.get(partition as usize).copied().flatten();
        }
        self.topics[*self.names.get(topic)? as usize].partitions.get(&partition).copied()
    }

    /// The backlog of a partition, which is made if it has none.
    pub(super) fn open(&mut self, topic: &str, partition: u32) -> BacklogId {
        if let Some(id) = self.find(topic, partition) {
            return id;
        }
        let of = (!topic.is_empty()).then(|| self.open_topic(topic));
        let fresh = Backlog { partition, topic: of, ..Backlog::default() };
        let id = match self.free.pop() {
            Some(id) => {
                self[id] = fresh;
                id
            }
            None => {
                self.all.push(fresh);
                BacklogId(self.all.len() as u32 - 1)
            }
        };
        let at = partition as usize;
        match of {
            Some(of) => {
                self.topics[of as usize].partitions.insert(partition, id);
                self.named += 1;
            }
            None => {
                self.own.resize(self.own.len().max(at + 1), None);
                self.own[at] = Some(id);
            }
        }
        id
    }

    fn open_topic(&mut self, name: &str) -> u32 {
        if let Some(&topic) = self.names.get(name) {
            return topic;
        }
        let fresh = Topic { name: name.into(), ..Topic::default() };
        let topic = match self.free_topics.pop() {
            Some(topic) => {
                self.topics[topic as usize] = fresh;
                topic
            }
            None => {
                self.topics.push(fresh);
                self.topics.len() as u32 - 1
            }
        };
        self.names.insert(name.into(), topic);
        self.names_bytes += 2 * name.len();
        topic
    }

    /// Forgets the backlog of a named topic that holds nothing.
    pub(super) fn close_spent(&mut self, id: BacklogId) {
        let Some(topic) = self[id].topic.filter(|_| self[id].is_spent()) else { return };
        let partition = self[id].partition;
        if self.topics[topic as usize].partitions.remove(&partition).is_none() {
            return;
        }
        self[id] = Backlog::default();
        self.free.push(id);
        self.named -= 1;
        self.close_topic(topic);
    }

    /// Forgets a topic that holds nothing, unless it is on the list of those that wait.
    fn close_topic(&mut self, topic: u32) {
        let state = &mut self.topics[topic as usize];
        if !state.partitions.is_empty() || state.turn != Turn::Rests {
            return;
        }
        let name = std::mem::take(&mut state.name);
        self.names.remove(&*name);
        self.names_bytes -= 2 * name.len();
        self.free_topics.push(topic);
    }

    /// The topic of a backlog; empty for the sink's own.
    pub(super) fn topic(&self, id: BacklogId) -> &str {
        self[id].topic.map_or("", |topic| &self.topics[topic as usize].name)
    }

    /// All backlogs that there are of named topics, with the names.
    pub(super) fn named(&self) -> impl Iterator<Item = (&str, &Backlog)> {
        self.topics.iter().flat_map(|topic| topic.partitions.values().map(|&id| (&*topic.name, &self[id])))
    }

    /// All backlogs.
    pub(super) fn iter(&self) -> impl Iterator<Item = &Backlog> {
        self.all.iter()
    }

    /// As [`iter`](Self::iter), with their numbers.
    pub(super) fn ids(&self) -> impl Iterator<Item = (BacklogId, &Backlog)> {
        self.all.iter().enumerate().map(|(at, backlog)| (BacklogId(at as u32), backlog))
    }

    /// Bytes of memory that named topics take.
    pub(super) fn bytes(&self) -> usize {
        self.named * NAMED_BYTES + self.names_bytes
    }

    /// Whether it is the turn of this backlog's topic, which it is from now on if there is room; else it waits for it.
    pub(super) fn claim(&mut self, id: BacklogId) -> bool {
        let Some(at) = self[id].topic else { return true };
        let has_room = self.turns < self.turns_max;
        let topic = &mut self.topics[at as usize];
        match topic.turn {
            Turn::Has => true,
            Turn::Waits => false,
            Turn::Rests if has_room => {
                (topic.turn, topic.left) = (Turn::Has, TURN_ENTRIES);
                self.turns += 1;
                true
            }
            Turn::Rests => {
                topic.turn = Turn::Waits;
                self.waiting.push_back(at);
                false
            }
        }
    }

    /// Whether batches of this backlog may be had in memory: it is its topic's turn, and goes on.
    pub(super) fn may_load(&self, id: BacklogId) -> bool {
        let Some(topic) = self[id].topic else { return true };
        let Topic { turn, left, .. } = self.topics[topic as usize];
        turn == Turn::Has && (left > 0 || self.waiting.is_empty())
    }

    /// An entry of this backlog is on its way.
    pub(super) fn departed(&mut self, id: BacklogId) {
        let Some(topic) = self[id].topic else { return };
        let topic = &mut self.topics[topic as usize];
        (topic.away, topic.left) = (topic.away + 1, topic.left.saturating_sub(1));
    }

    /// An entry of this backlog has been passed.
    pub(super) fn returned(&mut self, id: BacklogId) {
        let Some(topic) = self[id].topic else { return };
        self.topics[topic as usize].away -= 1;
    }

    /// Ends the turn of this backlog's topic if it is over; tells which backlogs may claim the next.
    pub(super) fn end_turn(&mut self, id: BacklogId, mut next: impl FnMut(BacklogId)) {
        let Some(at) = self[id].topic else { return };
        if self.topics[at as usize].turn != Turn::Has || !self.is_over(at) {
            return;
        }
        self.turns -= 1;
        let waits = self.has_more(at);
        self.topics[at as usize].turn = if waits { Turn::Waits } else { Turn::Rests };
        if waits {
            self.waiting.push_back(at);
        }
        for _ in self.turns..self.turns_max {
            let Some(at) = self.waiting.pop_front() else { return };
            let topic = &mut self.topics[at as usize];
            topic.turn = Turn::Rests;
            let ready = topic.partitions.values().filter(|id| self.all[id.0 as usize].has_more());
            ready.copied().for_each(&mut next);
            self.close_topic(at);
        }
    }

    /// Whether a topic has nothing in memory and nothing on its way, and leaves the rest to others.
    fn is_over(&self, at: u32) -> bool {
        let topic = &self.topics[at as usize];
        let at_rest = |id: &BacklogId| self[*id].window.is_empty() && !self[*id].reading;
        let goes_on = topic.left > 0 || self.waiting.is_empty();
        topic.away == 0 && topic.partitions.values().all(at_rest) && !(goes_on && self.has_more(at))
    }

    fn has_more(&self, at: u32) -> bool {
        self.topics[at as usize].partitions.values().any(|&id| self[id].has_more())
    }
}

impl Index<BacklogId> for Backlogs {
    type Output = Backlog;

    fn index(&self, id: BacklogId) -> &Backlog {
        &self.all[id.0 as usize]
    }
}

impl IndexMut<BacklogId> for Backlogs {
    fn index_mut(&mut self, id: BacklogId) -> &mut Backlog {
        &mut self.all[id.0 as usize]
    }
}
