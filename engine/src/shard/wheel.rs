//! One timer wheel for all connections: a connection stands in one slot and is asked for its deadline when that slot comes.
//!
//! Receiving a packet costs nothing here: the deadline in the connection moves on, and the wheel finds that out when the old
//! time comes. Timers are late by at most one tick.

use super::io::ConnKey;
use crate::clock::Mono;

/// Resolution of keep-alive and connect timeouts.
const TICK_MS: u64 = 100;
/// Slots; deadlines beyond the horizon (102 s) are asked for once per turn.
const SLOTS: usize = 1024;

/// Connections by the time they are to be looked at.
#[derive(Debug)]
pub(super) struct Wheel {
    slots: Vec<Vec<ConnKey>>,
    /// The next tick to be looked at.
    tick: u64,
    entries: usize,
    /// First tick that holds an entry, if it has been looked for since the last change.
    earliest: Option<u64>,
}

impl Wheel {
    /// An empty wheel.
    pub(super) fn new(now: Mono) -> Self {
        Self { slots: vec![Vec::new(); SLOTS], tick: now.as_ms() / TICK_MS, entries: 0, earliest: None }
    }

    /// Looks at `conn` again at `deadline_ms` or up to a tick later (or at the horizon, if that is earlier). Returns when, in
    /// milliseconds.
    pub(super) fn add(&mut self, conn: ConnKey, deadline_ms: u64) -> u64 {
        let wanted = deadline_ms.div_ceil(TICK_MS);
        let tick = wanted.clamp(self.tick, self.tick + SLOTS as u64 - 1);
        self.slots[(tick % SLOTS as u64) as usize].push(conn);
        self.entries += 1;
        self.earliest = if self.entries == 1 { Some(tick) } else { self.earliest.map(|e| e.min(tick)) };
        tick * TICK_MS
    }

    /// Moves every connection whose time has come into `due`.
    pub(super) fn take_due(&mut self, now: Mono, due: &mut Vec<ConnKey>) {
        let last = now.as_ms() / TICK_MS;
        if self.earliest.is_some_and(|tick| tick > last) {
            return;
        }
        self.earliest = None;
        while self.tick <= last && self.entries > 0 {
            let slot = &mut self.slots[(self.tick % SLOTS as u64) as usize];
            self.entries -= slot.len();
            due.append(slot);
            self.tick += 1;
        }
        self.tick = self.tick.max(last);
    }

    /// Entries, leftovers included.
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.entries
    }

    /// When to look again.
    pub(super) fn deadline(&mut self) -> Option<Mono> {
        if self.entries == 0 {
            return None;
        }
        if self.earliest.is_none() {
            let slots = &self.slots;
            let filled = |tick: &u64| !slots[(tick % SLOTS as u64) as usize].is_empty();
            self.earliest = (self.tick..self.tick + SLOTS as u64).find(filled);
        }
        self.earliest.map(|tick| Mono::from_ms(tick * TICK_MS))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(index: u32) -> ConnKey {
        ConnKey { index, generation: 1 }
    }

    #[test]
    fn timers_come_at_their_time_and_not_before() {
        let mut wheel = Wheel::new(Mono(0));
        wheel.add(key(1), 250);
        wheel.add(key(2), 5_000);
        let mut due = Vec::new();
        assert_eq!(wheel.deadline(), Some(Mono::from_ms(300)));
        wheel.take_due(Mono::from_ms(249), &mut due);
        assert!(due.is_empty());
        wheel.take_due(Mono::from_ms(300), &mut due);
        assert_eq!(due, [key(1)]);
        wheel.take_due(Mono::from_ms(100_000), &mut due);
        assert_eq!(due, [key(1), key(2)]);
        assert_eq!(wheel.deadline(), None);
    }

    #[test]
    fn a_deadline_beyond_the_horizon_is_looked_at_early_not_late() {
        let mut wheel = Wheel::new(Mono(0));
        wheel.add(key(1), 10_000_000);
        let deadline = wheel.deadline().expect("an entry");
        assert!(deadline <= Mono::from_ms(SLOTS as u64 * TICK_MS));
        wheel.add(key(2), 0);
        assert_eq!(wheel.deadline(), Some(Mono(0)));
    }
}
