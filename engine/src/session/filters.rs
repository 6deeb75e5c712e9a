//! The filter index: which shards, and which sessions of this shard, subscribe to what.
//!
//! A tree of topic levels. Every shard holds all filters with the shards that have subscribers for them, and for its own part
//! the subscribers too.
//!
//! ```text
//! a/+/c   root ─ a ─ + ─ c: shards {0, 2}, subscribers here [..]
//! a/#          └─ # : shards {1}
//! ```
//!
//! A topic is matched by a walk with a stack of its own: a node is visited at most once, and no depth that a client chooses
//! becomes a depth of calls. Filters come in valid, `$share` taken apart or refused before.

use std::hash::{Hash, Hasher};

use super::subscription::{Subscriber, Subscription};
use crate::hash::{Keyed, Map};
use crate::shard::ShardId;

/// Names a filter for as long as anybody subscribes to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct FilterId(u32);

const ROOT: u32 = 0;
/// No node: the root is nobody's child.
const NONE: u32 = 0;

/// The filters of the process and the subscribers of one shard.
#[derive(Debug)]
pub struct FilterIndex {
    own: ShardId,
    nodes: Vec<Node>,
    free: Vec<u32>,
    /// Children by name; those for wildcards stand in their parent.
    named: Map<Edge, u32>,
    /// Where a session stands among the subscribers of a filter.
    seats: Map<(FilterId, u32), u32>,
    /// Branches still to be walked; kept for its capacity.
    stack: Vec<(u32, Rest)>,
    bytes: usize,
}

#[derive(Debug, Default)]
struct Node {
    parent: u32,
    level: Box<str>,
    children: u32,
    plus: u32,
    hash: u32,
    /// Shards that subscribe to the filter ending here, sorted.
    shards: Vec<ShardId>,
    subscribers: Vec<Subscriber>,
}

/// What is left of a topic: begins there, or nothing.
type Rest = Option<usize>;

#[derive(Debug, PartialEq, Eq)]
struct Edge {
    parent: u32,
    level: Box<str>,
}

/// An [`Edge`] to look for.
struct Step<'a> {
    parent: u32,
    level: &'a str,
}

impl Hash for Edge {
    fn hash<H: Hasher>(&self, state: &mut H) {
        Step { parent: self.parent, level: &self.level }.hash(state);
    }
}

impl Hash for Step<'_> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u32(self.parent);
        state.write(self.level.as_bytes());
    }
}

impl hashbrown::Equivalent<Edge> for Step<'_> {
    fn equivalent(&self, edge: &Edge) -> bool {
        self.parent == edge.parent && *self.level == *edge.level
    }
}

/// What a subscription changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Change {
    /// This shard began or ceased to subscribe to the filter: the others must know.
    pub shard: bool,
    /// The filter is new, or gone, on all shards: some topics match now that did not, or the other way round.
    pub filter: bool,
}

impl FilterIndex {
    /// An empty index of the shard `own`, whose maps hash under `keyed`.
    pub fn new(own: ShardId, keyed: Keyed) -> Self {
        Self {
            own,
            nodes: vec![Node::default()],
            free: Vec::new(),
            named: Map::with_hasher(keyed),
            seats: Map::with_hasher(keyed),
            stack: Vec::new(),
            bytes: 0,
        }
    }

    /// Subscribes a session of this shard; a subscription it has to the same filter is replaced [MQTT-3.8.4-3].
    pub fn subscribe(&mut self, filter: &str, session: u32, subscription: Subscription) -> (FilterId, Change) {
        let id = FilterId(self.make(filter));
        let subscriber = Subscriber { session, subscription };
        let node = &mut self.nodes[id.0 as usize];
        if let Some(&seat) = self.seats.get(&(id, session)) {
            node.subscribers[seat as usize] = subscriber;
            return (id, Change::default());
        }
        self.seats.insert((id, session), node.subscribers.len() as u32);
        node.subscribers.push(subscriber);
        self.bytes += SUBSCRIBER_BYTES;
        let shard = node.subscribers.len() == 1;
        let filter = shard && self.add_shard(id.0, self.own);
        (id, Change { shard, filter })
    }

    /// Ends a subscription of a session of this shard. The id is not valid afterwards if the filter is gone.
    pub fn unsubscribe(&mut self, id: FilterId, session: u32) -> Change {
        let Some(seat) = self.seats.remove(&(id, session)) else { return Change::default() };
        let node = &mut self.nodes[id.0 as usize];
        node.subscribers.swap_remove(seat as usize);
        if let Some(moved) = node.subscribers.get(seat as usize) {
            self.seats.insert((id, moved.session), seat);
        }
        self.bytes -= SUBSCRIBER_BYTES;
        let shard = node.subscribers.is_empty();
        let filter = shard && self.remove_shard(id.0, self.own);
        Change { shard, filter }
    }

    /// Another shard begins or ceases to subscribe to `filter`; whether the filter is new or gone on all shards.
    pub fn note(&mut self, filter: &str, shard: ShardId, subscribes: bool) -> bool {
        if subscribes {
            let node = self.make(filter);
            return self.add_shard(node, shard);
        }
        self.find(filter).is_some_and(|id| self.remove_shard(id.0, shard))
    }

    /// The filter, if anybody subscribes to it.
    pub fn find(&self, filter: &str) -> Option<FilterId> {
        let mut node = ROOT;
        for level in filter.split('/') {
            node = self.child(node, level)?;
        }
        (!self.nodes[node as usize].shards.is_empty()).then_some(FilterId(node))
    }

    /// Whether a session of this shard subscribes to the filter.
    pub fn holds(&self, id: FilterId, session: u32) -> bool {
        self.seats.contains_key(&(id, session))
    }

    /// The filter as it was written.
    pub fn filter(&self, id: FilterId) -> String {
        let mut levels = Vec::new();
        let mut node = id.0;
        while node != ROOT {
            let Node { parent, level, .. } = &self.nodes[node as usize];
            levels.push(&**level);
            node = *parent;
        }
        levels.reverse();
        levels.join("/")
    }

    /// Whether a subscriber anywhere matches `topic`.
    pub fn matches(&mut self, topic: &str) -> bool {
        let mut found = false;
        self.walk(topic, |_| {
            found = true;
            false
        });
        found
    }

    /// The shards with subscribers that match `topic`, sorted, into `shards`.
    pub fn shards(&mut self, topic: &str, shards: &mut Vec<ShardId>) {
        shards.clear();
        self.walk(topic, |node| {
            shards.extend_from_slice(&node.shards);
            true
        });
        shards.sort_unstable();
        shards.dedup();
    }

    /// The subscribers of this shard that match `topic` published by the session `publisher`, into `matching`; those of one
    /// session side by side.
    pub fn subscribers(&mut self, topic: &str, publisher: Option<u32>, matching: &mut Vec<Subscriber>) {
        matching.clear();
        let mut filters = 0;
        self.walk(topic, |node| {
            // [MQTT-3.8.3-3]
            let own = |s: &&Subscriber| s.subscription.no_local && Some(s.session) == publisher;
            matching.extend(node.subscribers.iter().filter(|s| !own(s)));
            filters += u32::from(!node.subscribers.is_empty());
            true
        });
        // A session stands at most once at each filter.
        if filters > 1 {
            matching.sort_by_key(|s| s.session);
        }
    }

    /// Bytes the index takes in memory, nearly.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Most bytes that subscribing to `filter` adds.
    pub fn bytes_for(filter: &str) -> usize {
        mqtt::topic::levels(filter) * NODE_BYTES + 2 * filter.len() + SHARD_BYTES + SUBSCRIBER_BYTES
    }

    /// Calls `visit` for each filter that matches `topic`, in an order that only the filters decide, until it says false.
    fn walk(&mut self, topic: &str, mut visit: impl FnMut(&Node) -> bool) {
        // [MQTT-4.7.2-1]
        let reserved = topic.starts_with('$');
        let mut stack = std::mem::take(&mut self.stack);
        stack.clear();
        stack.push((ROOT, Some(0)));
        while let Some((at, rest)) = stack.pop() {
            let node = &self.nodes[at as usize];
            let wildcards = at != ROOT || !reserved;
            // `#` covers the level before it too: "a/#" matches "a".
            if wildcards && node.hash != NONE && !visit(&self.nodes[node.hash as usize]) {
                break;
            }
            let Some((level, rest)) = rest.map(|from| split(topic, from)) else {
                if !node.shards.is_empty() && !visit(node) {
                    break;
                }
                continue;
            };
            if wildcards && node.plus != NONE {
                stack.push((node.plus, rest));
            }
            if let Some(&named) = self.named.get(&Step { parent: at, level }) {
                stack.push((named, rest));
            }
        }
        self.stack = stack;
    }

    fn child(&self, parent: u32, level: &str) -> Option<u32> {
        let node = &self.nodes[parent as usize];
        match level {
            "+" => Some(node.plus).filter(|&n| n != NONE),
            "#" => Some(node.hash).filter(|&n| n != NONE),
            _ => self.named.get(&Step { parent, level }).copied(),
        }
    }

    /// The node of `filter`, made if need be.
    fn make(&mut self, filter: &str) -> u32 {
        filter.split('/').fold(ROOT, |parent, level| match self.child(parent, level) {
            Some(node) => node,
            None => self.grow(parent, level),
        })
    }

    fn grow(&mut self, parent: u32, level: &str) -> u32 {
        self.bytes += NODE_BYTES + 2 * level.len();
        let node = Node { parent, level: level.into(), ..Node::default() };
        let at = match self.free.pop() {
            Some(at) => {
                self.nodes[at as usize] = node;
                at
            }
            None => {
                self.nodes.push(node);
                self.nodes.len() as u32 - 1
            }
        };
        self.nodes[parent as usize].children += 1;
        self.link(parent, level, at);
        at
    }

    /// Makes `child` the one its parent has at `level`; [`NONE`] takes it away.
    fn link(&mut self, parent: u32, level: &str, child: u32) {
        match level {
            "+" => self.nodes[parent as usize].plus = child,
            "#" => self.nodes[parent as usize].hash = child,
            _ if child == NONE => {
                self.named.remove(&Step { parent, level });
            }
            _ => {
                self.named.insert(Edge { parent, level: level.into() }, child);
            }
        }
    }

    /// Whether it is the first shard of the filter.
    fn add_shard(&mut self, node: u32, shard: ShardId) -> bool {
        let shards = &mut self.nodes[node as usize].shards;
        if let Err(place) = shards.binary_search(&shard) {
            shards.insert(place, shard);
            self.bytes += SHARD_BYTES;
        }
        shards.len() == 1
    }

    /// Whether it was the last shard of the filter.
    fn remove_shard(&mut self, node: u32, shard: ShardId) -> bool {
        let shards = &mut self.nodes[node as usize].shards;
        let Ok(place) = shards.binary_search(&shard) else { return false };
        shards.remove(place);
        self.bytes -= SHARD_BYTES;
        let last = shards.is_empty();
        self.prune(node);
        last
    }

    /// Removes nodes that lead nowhere, from `at` upwards.
    fn prune(&mut self, mut at: u32) {
        while at != ROOT {
            let node = &self.nodes[at as usize];
            if node.children > 0 || !node.shards.is_empty() {
                return;
            }
            assert!(node.subscribers.is_empty(), "the shard of a subscriber is among the shards of its filter");
            let Node { parent, level, .. } = std::mem::take(&mut self.nodes[at as usize]);
            self.bytes -= NODE_BYTES + 2 * level.len();
            self.link(parent, &level, NONE);
            self.nodes[parent as usize].children -= 1;
            self.free.push(at);
            at = parent;
        }
    }
}

/// The level of `topic` that begins at `from`, and where the next begins.
#[inline]
fn split(topic: &str, from: usize) -> (&str, Rest) {
    let rest = &topic[from..];
    match rest.find('/') {
        Some(len) => (&rest[..len], Some(from + len + 1)),
        None => (rest, None),
    }
}

/// A node with its entry in the map and the heads of two allocations; its level is counted apart, twice.
const NODE_BYTES: usize = size_of::<Node>() + size_of::<(Edge, u32)>() + 32;
const SUBSCRIBER_BYTES: usize = size_of::<Subscriber>() + size_of::<((FilterId, u32), u32)>() + 2;
const SHARD_BYTES: usize = size_of::<ShardId>();

#[cfg(test)]
mod tests;
