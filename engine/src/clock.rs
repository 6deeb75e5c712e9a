//! Time as the engine sees it: handed in by the driver once a round, never read here.

use std::ops::{Add, Sub};

/// Monotonic time in nanoseconds since a point long before the process started, so that there is one for what an earlier process
/// began. Zero is "long ago". Deadlines and durations are made of this alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Mono(pub u64);

impl Mono {
    /// Milliseconds since that point; what the MQTT codec counts in.
    #[inline]
    pub fn as_ms(self) -> u64 {
        self.0 / 1_000_000
    }

    /// A point `ms` milliseconds after that one.
    #[inline]
    pub fn from_ms(ms: u64) -> Self {
        Self(ms.saturating_mul(1_000_000))
    }

    /// Nanoseconds from `earlier` to here; 0 if `earlier` is later.
    #[inline]
    pub fn since(self, earlier: Mono) -> u64 {
        self.0.saturating_sub(earlier.0)
    }

    /// This point moved `ms` milliseconds into the future.
    #[inline]
    pub fn plus_ms(self, ms: u64) -> Self {
        self + ms.saturating_mul(1_000_000)
    }
}

impl Add<u64> for Mono {
    type Output = Mono;
    #[inline]
    fn add(self, ns: u64) -> Mono {
        Mono(self.0.saturating_add(ns))
    }
}

impl Sub<u64> for Mono {
    type Output = Mono;
    #[inline]
    fn sub(self, ns: u64) -> Mono {
        Mono(self.0.saturating_sub(ns))
    }
}

/// The earliest of several deadlines, none if all are none.
#[inline]
pub fn earliest<const N: usize>(deadlines: [Option<Mono>; N]) -> Option<Mono> {
    let sooner = |a: Option<Mono>, b: Option<Mono>| if b.is_some() && (a.is_none() || b < a) { b } else { a };
    deadlines.into_iter().fold(None, sooner)
}

/// Both clocks at the start of a round.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Now {
    /// For deadlines and durations.
    pub mono: Mono,
    /// Milliseconds since 1970-01-01 UTC; for record timestamps only, it may jump.
    pub wall_ms: i64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_earliest_deadline_is_found_wherever_it_stands() {
        let (soon, late) = (Some(Mono(1)), Some(Mono(2)));
        assert_eq!(earliest([late, None, soon]), soon);
        assert_eq!(earliest([soon, late, None]), soon);
        assert_eq!(earliest([None, None]), None);
        assert_eq!(earliest([]), None);
    }
}
