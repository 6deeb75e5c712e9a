//! Subscriptions and topics, against a matcher so simple that it is right.
//!
//! Lines: `+N filter` session N subscribes, `-N filter` it unsubscribes, `>N filter` and `<N filter` the same of another shard; every
//! other line is a topic that something is published to.
//!
//! Promises: the index finds exactly the sessions and shards whose filters match; so does the codec's own matcher, filter by filter;
//! and when everybody has left, nothing is left.

use aqueduct::hash::Keyed;
use aqueduct::session::filters::FilterIndex;
use aqueduct::session::subscription::Subscription;
use aqueduct::shard::ShardId;
use mqtt::{QoS, topic};

use crate::trail;

const OWN: ShardId = ShardId(0);
/// So many sessions, and other shards, that both sharing and replacing happens.
const SESSIONS: u32 = 3;

/// Plays the lines.
pub(super) fn run(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let mut both = Both { index: FilterIndex::new(OWN, Keyed::new(1, 2)), here: Vec::new(), elsewhere: Vec::new() };
    for line in text.split('\n') {
        both.line(line);
    }
    both.leave();
}

/// The index and the list that it must agree with.
struct Both<'t> {
    index: FilterIndex,
    here: Vec<(&'t str, u32)>,
    elsewhere: Vec<(&'t str, ShardId)>,
}

impl<'t> Both<'t> {
    fn line(&mut self, line: &'t str) {
        let order = line.split_at_checked(3).filter(|(order, _)| order.ends_with(' '));
        let number = order.and_then(|(order, _)| order.get(1..2)?.parse::<u32>().ok()).unwrap_or(0) % SESSIONS;
        match (line.as_bytes().first(), order) {
            (Some(b'+' | b'-' | b'>' | b'<'), Some((_, filter))) if !is_filter(filter) => {}
            (Some(b'+'), Some((_, filter))) => self.subscribe(filter, number),
            (Some(b'-'), Some((_, filter))) => self.unsubscribe(filter, number),
            (Some(b'>'), Some((_, filter))) => self.note(filter, ShardId(1 + number as u16), true),
            (Some(b'<'), Some((_, filter))) => self.note(filter, ShardId(1 + number as u16), false),
            _ if topic::valid_name(line) => self.publish(line),
            _ => {}
        }
    }

    /// Subscribers of a filter anywhere.
    fn holders(&self, filter: &str) -> (usize, usize) {
        let here = self.here.iter().filter(|(held, _)| *held == filter).count();
        (here, self.elsewhere.iter().filter(|(held, _)| *held == filter).count())
    }

    fn subscribe(&mut self, filter: &'t str, session: u32) {
        let (here, elsewhere) = self.holders(filter);
        let is_new = !self.here.contains(&(filter, session));
        let (id, change) = self.index.subscribe(filter, session, subscription(session));
        assert_eq!(self.index.filter(id), filter);
        assert_eq!(change.shard, is_new && here == 0, "{filter}");
        assert_eq!(change.filter, is_new && here + elsewhere == 0, "{filter}");
        if is_new {
            self.here.push((filter, session));
        }
    }

    fn unsubscribe(&mut self, filter: &str, session: u32) {
        let held = self.here.iter().position(|held| *held == (filter, session));
        let found = self.index.find(filter);
        assert_eq!(found.is_some(), self.holders(filter) != (0, 0), "{filter}");
        let Some(id) = found else { return };
        assert_eq!(self.index.holds(id, session), held.is_some(), "{filter}");
        let change = self.index.unsubscribe(id, session);
        if let Some(held) = held {
            self.here.swap_remove(held);
        }
        let (here, elsewhere) = self.holders(filter);
        assert_eq!(change.shard, held.is_some() && here == 0, "{filter}");
        assert_eq!(change.filter, held.is_some() && here + elsewhere == 0, "{filter}");
    }

    fn note(&mut self, filter: &'t str, shard: ShardId, subscribes: bool) {
        let (here, elsewhere) = self.holders(filter);
        let held = self.elsewhere.iter().position(|held| *held == (filter, shard));
        let changed = self.index.note(filter, shard, subscribes);
        match (held, subscribes) {
            (None, true) => {
                self.elsewhere.push((filter, shard));
                assert_eq!(changed, here + elsewhere == 0, "{filter}");
            }
            (Some(held), false) => {
                self.elsewhere.swap_remove(held);
                assert_eq!(changed, here + elsewhere == 1, "{filter}");
            }
            _ => {}
        }
    }

    fn publish(&mut self, topic: &str) {
        let levels: Vec<&str> = topic.split('/').collect();
        let covers = |filter: &str| {
            let covers = naive(&filter.split('/').collect::<Vec<_>>(), &levels, true);
            assert_eq!(topic::matches(filter, topic), covers, "{filter} {topic}");
            covers
        };
        let mut sessions: Vec<u32> = self.here.iter().filter(|(f, _)| covers(f)).map(|(_, session)| *session).collect();
        sessions.sort_unstable();
        let mut found = Vec::new();
        self.index.subscribers(topic, None, &mut found);
        let mut found: Vec<u32> = found.iter().map(|subscriber| subscriber.session).collect();
        let groups = found.chunk_by(|a, b| a == b).count();
        found.sort_unstable();
        let together = found.chunk_by(|a, b| a == b).count();
        assert_eq!((&found, groups), (&sessions, together), "{topic}: those of one session stand side by side");

        let mut shards: Vec<ShardId> =
            self.elsewhere.iter().filter(|(f, _)| covers(f)).map(|(_, shard)| *shard).collect();
        shards.extend((!sessions.is_empty()).then_some(OWN));
        shards.sort_unstable();
        shards.dedup();
        let mut found = Vec::new();
        self.index.shards(topic, &mut found);
        assert_eq!(found, shards, "{topic}");
        assert_eq!(self.index.matches(topic), !shards.is_empty(), "{topic}");
        trail::mark(20, (sessions.len() as u64) << 16 | (shards.len() as u64) << 8 | levels.len().min(8) as u64);
    }

    fn leave(&mut self) {
        trail::mark_size(21, self.here.len());
        for (filter, session) in std::mem::take(&mut self.here) {
            let id = self.index.find(filter).expect("it is subscribed to");
            self.index.unsubscribe(id, session);
        }
        for (filter, shard) in std::mem::take(&mut self.elsewhere) {
            self.index.note(filter, shard, false);
        }
        assert_eq!(self.index.bytes(), 0);
    }
}

/// Shared subscriptions are taken apart or refused before the index.
fn is_filter(filter: &str) -> bool {
    topic::valid_filter(filter).is_ok() && !filter.starts_with("$share/")
}

/// The rules of MQTT 5.0 section 4.7, level by level. `$` in front is covered by its own name alone.
fn naive(filter: &[&str], topic: &[&str], is_first: bool) -> bool {
    let hidden = is_first && topic.first().is_some_and(|level| level.starts_with('$'));
    match (filter, topic) {
        (["#"], _) => !hidden,
        ([], []) => true,
        (["+", filter @ ..], [_, topic @ ..]) => !hidden && naive(filter, topic, false),
        ([name, filter @ ..], [level, topic @ ..]) => name == level && naive(filter, topic, false),
        _ => false,
    }
}

fn subscription(session: u32) -> Subscription {
    Subscription { id: session, qos: QoS::AtLeastOnce, no_local: false, retain_as_published: false }
}
