//! Who is let in: seats, counted over all shards, and the pace at which one shard takes connections.
//!
//! A seat belongs to a socket for its whole life and travels with it from shard to shard, so that it is given back exactly
//! when the socket is closed, wherever that happens. Left out: who a client is, which is decided at its CONNECT.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use crate::clock::Mono;

/// A pace is not tried again sooner than after this: one wake-up then lets in a few.
const PAUSE_NS_MIN: u64 = 10_000_000;
/// What may be used ahead: a second's worth at once.
const BURST_NS: u64 = 1_000_000_000;
/// Between two lines about the same kind of refusal.
const LINE_NS: u64 = 10_000_000_000;

/// The seats of a listener, or of the whole node.
#[derive(Debug)]
pub struct Seats {
    /// Counts more than are given for a moment, when one too many asks.
    taken: AtomicU32,
    max: u32,
    /// Whoever takes a seat here needs one there, too.
    node: Option<Arc<Seats>>,
}

/// A place for one connection, given back when it is dropped.
#[derive(Debug)]
pub(super) struct Seat(Arc<Seats>);

impl Seats {
    /// The seats of the whole node.
    pub fn of_node(max: u32) -> Arc<Self> {
        Arc::new(Self { taken: AtomicU32::new(0), max, node: None })
    }

    /// The seats of one listener; 0 is as many as the node has.
    pub fn of_listener(max: u32, node: &Arc<Self>) -> Arc<Self> {
        let max = if max == 0 { u32::MAX } else { max };
        Arc::new(Self { taken: AtomicU32::new(0), max, node: Some(Arc::clone(node)) })
    }

    /// A seat here and at the node, unless one of them is full.
    pub(super) fn take(self: &Arc<Self>) -> Option<Seat> {
        if !self.occupy() {
            return None;
        }
        if self.node.as_ref().is_some_and(|node| !node.occupy()) {
            self.taken.fetch_sub(1, Ordering::Relaxed);
            return None;
        }
        Some(Seat(Arc::clone(self)))
    }

    // Relaxed: the number guards no other memory, and additions and subtractions of one atomic are never lost.
    fn occupy(&self) -> bool {
        let free = self.taken.fetch_add(1, Ordering::Relaxed) < self.max;
        if !free {
            self.taken.fetch_sub(1, Ordering::Relaxed);
        }
        free
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        for seats in [Some(&self.0), self.0.node.as_ref()].into_iter().flatten() {
            seats.taken.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

/// So many in a second, and so many at once after a second without any.
#[derive(Debug)]
pub(super) struct Pace {
    each_ns: u64,
    /// Up to when time has been used; a second ahead at most.
    used: Mono,
}

impl Pace {
    /// `rate` a second, at least 1.
    pub(super) fn new(rate: u32) -> Self {
        Self { each_ns: 1_000_000_000 / u64::from(rate.max(1)), used: Mono::default() }
    }

    /// When to ask again; `None`: one may come in now.
    pub(super) fn wait_until(&self, now: Mono) -> Option<Mono> {
        let due = self.used - BURST_NS;
        (due > now).then(|| due.max(now + PAUSE_NS_MIN))
    }

    /// One has come.
    pub(super) fn count(&mut self, now: Mono) {
        self.used = self.used.max(now) + self.each_ns;
    }
}

/// Lets one line through and then, for a while, none: a storm of clients must not become a storm of log lines.
#[derive(Debug, Default)]
pub(super) struct Seldom {
    next: Mono,
}

impl Seldom {
    /// Whether it is time for another line.
    pub(super) fn may(&mut self, now: Mono) -> bool {
        let due = self.next <= now;
        if due {
            self.next = now + LINE_NS;
        }
        due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seat_is_taken_at_the_listener_and_the_node_and_given_back_to_both() {
        let node = Seats::of_node(3);
        let (small, open) = (Seats::of_listener(2, &node), Seats::of_listener(0, &node));
        let mut seats: Vec<Seat> = (0..2).map(|_| small.take().expect("a free seat")).collect();
        assert!(small.take().is_none(), "the listener is full");
        seats.push(open.take().expect("the third of the node"));
        assert!(open.take().is_none(), "the node is full");
        seats.remove(0);
        assert_eq!((small.taken.load(Ordering::Relaxed), node.taken.load(Ordering::Relaxed)), (1, 2));
        assert!(open.take().is_some());
    }

    #[test]
    fn a_pace_lets_in_a_second_at_once_and_then_so_many_a_second() {
        let mut pace = Pace::new(200);
        let mut now = Mono::from_ms(5);
        let let_in = |pace: &mut Pace, now: Mono| {
            let mut n = 0;
            while pace.wait_until(now).is_none() {
                pace.count(now);
                n += 1;
            }
            n
        };
        assert_eq!(let_in(&mut pace, now), 201, "the burst, and the one that is due now");
        let mut n = 0;
        let start = now;
        while now < start.plus_ms(10_000) {
            now = pace.wait_until(now).expect("it is used up");
            n += let_in(&mut pace, now);
        }
        assert!((1_990..=2_010).contains(&n), "{n} in ten seconds");
    }

    #[test]
    fn lines_are_ten_seconds_apart() {
        let mut seldom = Seldom::default();
        let said = (0..300).filter(|i| seldom.may(Mono::from_ms(1_000 + i * 100))).count();
        assert_eq!(said, 3);
    }
}
