//! How many partitions a sink spreads keys over.
//!
//! When a topic grows, keys move to other partitions. So that the records of a key lie in Kafka in the order of their
//! publishing on each side of the change and across it, the new number counts when everything that was placed by the old one has
//! its outcome. Publishers wait for that: as long as the broker takes for what is open. A partition that does not answer must not
//! hold up all others for good, so there is an end to patience.
//!
//! ```text
//! 4 partitions │ placed by 4 │ 6 are told │ wait for what is open, 30 s at most │ 6 partitions
//! ```

use crate::clock::Mono;

/// How long what is open is waited for.
const PATIENCE_NS: u64 = 30_000_000_000;

/// Stands for a number in use that no topic has: the rules of before.
const ANOTHER: u32 = u32::MAX;

/// The number of partitions in use, and the next one.
#[derive(Debug, Default)]
pub struct Mapping {
    /// 0: none yet.
    count: u32,
    /// What has been told, and until when the present number stays in use at the most.
    next: Option<(u32, Mono)>,
}

impl Mapping {
    /// What waits from an earlier start was placed by `count`.
    pub fn of(count: u32) -> Self {
        Self { count, next: None }
    }

    /// The number to place a record by, where `told` is the newest; `None` while the record has to wait.
    #[inline]
    pub fn count(&mut self, told: u32, now: Mono, is_idle: impl FnOnce() -> bool) -> Option<u32> {
        if told == self.count {
            self.next = None;
            return Some(told);
        }
        self.change(told, now, is_idle)
    }

    #[cold]
    fn change(&mut self, told: u32, now: Mono, is_idle: impl FnOnce() -> bool) -> Option<u32> {
        if self.count == 0 || is_idle() {
            *self = Self { count: told, next: None };
            return Some(told);
        }
        let until = self.next.map_or(now + PATIENCE_NS, |(_, until)| until);
        self.next = Some((told, until));
        None
    }

    /// Keys are spread by other rules from now on: as with another number, what was placed before is waited for.
    pub fn renew(&mut self, now: Mono) {
        if !matches!(self.count, 0 | ANOTHER) {
            let next = self.next.map_or(self.count, |(next, _)| next);
            *self = Self { count: ANOTHER, next: Some((next, now + PATIENCE_NS)) };
        }
    }

    /// Whether records wait for the next number.
    #[inline]
    pub fn is_waiting(&self) -> bool {
        self.next.is_some()
    }

    /// The next number, if records wait for it.
    pub fn next(&self) -> Option<u32> {
        self.next.map(|(next, _)| next)
    }

    /// Until when they wait at the most.
    #[inline]
    pub fn until(&self) -> Option<Mono> {
        self.next.map(|(_, until)| until)
    }

    /// Takes the next number into use if nothing is open any more, or for too long; whether it did.
    #[inline]
    pub fn settle(&mut self, now: Mono, is_idle: impl FnOnce() -> bool) -> bool {
        match self.next {
            Some((next, until)) if until <= now || is_idle() => {
                *self = Self { count: next, next: None };
                true
            }
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn other_rules_wait_for_what_was_placed_by_the_old_ones() {
        let mut mapping = Mapping::default();
        mapping.renew(Mono(0));
        assert_eq!(mapping.count(4, Mono(0), || false), Some(4), "nothing had been placed");
        mapping.renew(Mono(1));
        assert_eq!(mapping.count(4, Mono(2), || false), None);
        assert!(mapping.is_waiting() && !mapping.settle(Mono(3), || false));
        assert!(mapping.settle(Mono(4), || true));
        assert_eq!(mapping.count(4, Mono(5), || false), Some(4));
        mapping.renew(Mono(6));
        assert!(mapping.settle(Mono(6 + PATIENCE_NS), || false), "not for ever");
    }
}
