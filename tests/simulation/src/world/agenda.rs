//! What will happen, earliest first; what happens at the same time happens in the order it was planned.
//!
//! Clients, shards, the cluster and the disks wait for one time each, which may only come nearer. Most of what happens is theirs, so
//! each has a place here, and the next is found by looking at all places, which are few. The rest is in a heap.

use std::cmp::{Ordering, Reverse};
use std::collections::BinaryHeap;

/// Who waits for one time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Sleeper {
    /// The cluster wants to be called.
    Cluster,
    /// The disks want to be called.
    Disks,
    /// A shard has a round.
    Shard(usize),
    /// A client acts.
    Client(usize),
}

/// What happens next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Next<E> {
    /// Somebody wakes.
    Wake(Sleeper),
    /// An event.
    Event(E),
}

/// Time and order.
type Key = (u64, u64);

const NEVER: u64 = u64::MAX;

/// Shards that a node may have.
const SHARDS_MAX: usize = 4;

const FIRST_SHARD: usize = 2;
const FIRST_CLIENT: usize = FIRST_SHARD + SHARDS_MAX;

#[derive(Debug)]
pub(super) struct Agenda<E> {
    /// When they wake: the cluster, the disks, shards, clients.
    wakes: Vec<u64>,
    /// And when that was planned.
    turns: Vec<u64>,
    events: BinaryHeap<Reverse<Planned<E>>>,
    order: u64,
}

impl<E: Copy> Agenda<E> {
    /// An empty one, with places for so many clients.
    pub(super) fn new(clients: usize) -> Self {
        let places = FIRST_CLIENT + clients;
        Self { wakes: vec![NEVER; places], turns: vec![0; places], events: BinaryHeap::new(), order: 0 }
    }

    /// Plans an event.
    pub(super) fn plan(&mut self, at: u64, event: E) {
        let key = self.key(at);
        self.events.push(Reverse(Planned { key, event }));
    }

    /// Somebody is to wake then, if not before.
    #[inline]
    pub(super) fn wake(&mut self, who: Sleeper, at: u64) {
        let place = place(who);
        if at < self.wakes[place] {
            (self.wakes[place], self.turns[place]) = self.key(at);
        }
    }

    /// Nobody wakes the shards any more.
    pub(super) fn forget_shards(&mut self) {
        self.wakes[FIRST_SHARD..FIRST_CLIENT].fill(NEVER);
    }

    /// Takes what happens next, with its time.
    #[inline]
    pub(super) fn pop(&mut self) -> Option<(u64, Next<E>)> {
        // The times alone first, which takes a few lanes at once; who of those at the same time was planned first, then.
        let earliest = self.wakes.iter().copied().fold(NEVER, u64::min);
        let (mut first, mut turn) = (0, NEVER);
        for (place, &at) in self.wakes.iter().enumerate() {
            if at == earliest && self.turns[place] < turn {
                (first, turn) = (place, self.turns[place]);
            }
        }
        if let Some(Reverse(event)) = self.events.peek()
            && event.key < (earliest, turn)
        {
            let Reverse(event) = self.events.pop()?;
            return Some((event.key.0, Next::Event(event.event)));
        }
        if earliest == NEVER {
            return None;
        }
        self.wakes[first] = NEVER;
        let who = match first {
            0 => Sleeper::Cluster,
            1 => Sleeper::Disks,
            FIRST_SHARD..FIRST_CLIENT => Sleeper::Shard(first - FIRST_SHARD),
            client => Sleeper::Client(client - FIRST_CLIENT),
        };
        Some((earliest, Next::Wake(who)))
    }

    fn key(&mut self, at: u64) -> Key {
        self.order += 1;
        (at, self.order)
    }
}

fn place(who: Sleeper) -> usize {
    match who {
        Sleeper::Cluster => 0,
        Sleeper::Disks => 1,
        Sleeper::Shard(shard) => {
            assert!(shard < SHARDS_MAX, "a place for shard {shard}");
            FIRST_SHARD + shard
        }
        Sleeper::Client(client) => FIRST_CLIENT + client,
    }
}

#[derive(Debug)]
struct Planned<E> {
    key: Key,
    event: E,
}

impl<E> PartialEq for Planned<E> {
    fn eq(&self, other: &Self) -> bool {
        self.key == other.key
    }
}

impl<E> Eq for Planned<E> {}

impl<E> PartialOrd for Planned<E> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl<E> Ord for Planned<E> {
    fn cmp(&self, other: &Self) -> Ordering {
        self.key.cmp(&other.key)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_planned_happens_by_time_and_then_in_the_order_of_planning() {
        let mut agenda = Agenda::new(2);
        agenda.plan(20, 'a');
        agenda.wake(Sleeper::Client(1), 20);
        agenda.plan(20, 'b');
        agenda.wake(Sleeper::Shard(3), 30);
        agenda.wake(Sleeper::Shard(3), 10);
        agenda.wake(Sleeper::Shard(3), 15);
        agenda.wake(Sleeper::Cluster, 20);
        let expected = [
            (10, Next::Wake(Sleeper::Shard(3))),
            (20, Next::Event('a')),
            (20, Next::Wake(Sleeper::Client(1))),
            (20, Next::Event('b')),
            (20, Next::Wake(Sleeper::Cluster)),
        ];
        for next in expected {
            assert_eq!(agenda.pop(), Some(next));
        }
        assert_eq!(agenda.pop(), None, "whoever wakes earlier does not wake again");
        agenda.wake(Sleeper::Shard(0), 40);
        agenda.forget_shards();
        assert_eq!(agenda.pop(), None);
    }
}
