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

/// The number of partitions in use, and the next one.
#[derive(Debug, Default)]
pub struct Mapping {
    /// 0: none yet.
    count: u32,
    /// What has been told, and until when the present number stays in use at the most.
    next: Option<(u32, Mono)>,
}

impl Mapping {
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

    /// Whether records wait for the next number.
    #[inline]
    pub fn is_waiting(&self) -> bool {
        self.next.is_some()
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
