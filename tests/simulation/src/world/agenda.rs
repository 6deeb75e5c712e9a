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
type Key = u128;

const NEVER: Key = Key::MAX;

/// Shards that a node may have.
const SHARDS_MAX: usize = 4;

const FIRST_SHARD: usize = 2;
const FIRST_CLIENT: usize = FIRST_SHARD + SHARDS_MAX;

#[derive(Debug)]
pub(super) struct Agenda<E> {
    /// The cluster, the disks, shards, clients.
    wakes: Vec<Key>,
    /// By place: times that were planned and then were too late. Should one of them be planned again, it keeps its turn.
    put_off: Vec<Vec<Key>>,
    events: BinaryHeap<Reverse<Planned<E>>>,
    order: u64,
    /// What has happened last.
    newest: Key,
}

impl<E: Copy> Agenda<E> {
    /// An empty one, with places for so many clients.
    pub(super) fn new(clients: usize) -> Self {
        let places = FIRST_CLIENT + clients;
        let (wakes, put_off) = (vec![NEVER; places], vec![Vec::new(); places]);
        Self { wakes, put_off, events: BinaryHeap::new(), order: 0, newest: 0 }
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
        let before = self.wakes[place];
        if at >= time(before) {
            return;
        }
        self.put_off(place);
        let key = self.key(at);
        let put_off = &mut self.put_off[place];
        let turn = put_off.iter().position(|&turn| time(turn) == at && turn > self.newest);
        self.wakes[place] = turn.map_or(key, |turn| put_off.swap_remove(turn));
    }

    /// Nobody wakes the shards any more.
    pub(super) fn forget_shards(&mut self) {
        (FIRST_SHARD..FIRST_CLIENT).for_each(|shard| self.put_off(shard));
    }

    /// Somebody does not wake when it was planned.
    fn put_off(&mut self, place: usize) {
        let key = std::mem::replace(&mut self.wakes[place], NEVER);
        if key != NEVER {
            let put_off = &mut self.put_off[place];
            put_off.retain(|&turn| turn > self.newest);
            put_off.push(key);
        }
    }

    /// Takes what happens next, with its time.
    #[inline]
    pub(super) fn pop(&mut self) -> Option<(u64, Next<E>)> {
        let (mut first, mut key) = (0, NEVER);
        for (place, &wakes) in self.wakes.iter().enumerate() {
            if wakes < key {
                (first, key) = (place, wakes);
            }
        }
        if let Some(Reverse(event)) = self.events.peek()
            && event.key < key
        {
            let Reverse(event) = self.events.pop()?;
            self.newest = event.key;
            return Some((time(event.key), Next::Event(event.event)));
        }
        if key == NEVER {
            return None;
        }
        self.wakes[first] = NEVER;
        self.newest = key;
        let who = match first {
            0 => Sleeper::Cluster,
            1 => Sleeper::Disks,
            FIRST_SHARD..FIRST_CLIENT => Sleeper::Shard(first - FIRST_SHARD),
            client => Sleeper::Client(client - FIRST_CLIENT),
        };
        Some((time(key), Next::Wake(who)))
    }

    fn key(&mut self, at: u64) -> Key {
        self.order += 1;
        Key::from(at) << 64 | Key::from(self.order)
    }
}

fn time(key: Key) -> u64 {
    (key >> 64) as u64
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

    #[test]
    fn a_time_that_is_planned_again_keeps_its_turn() {
        let mut agenda = Agenda::new(1);
        agenda.wake(Sleeper::Client(0), 50);
        agenda.plan(50, 'a');
        agenda.wake(Sleeper::Client(0), 30);
        assert_eq!(agenda.pop(), Some((30, Next::Wake(Sleeper::Client(0)))));
        agenda.wake(Sleeper::Client(0), 50);
        assert_eq!(agenda.pop(), Some((50, Next::Wake(Sleeper::Client(0)))));
        assert_eq!(agenda.pop(), Some((50, Next::Event('a'))));
        assert_eq!(agenda.pop(), None);
    }
}
