//! The one place that reads clocks for the shards: once a round, and once more to learn how long the round took.

use std::time::{Instant, SystemTime, UNIX_EPOCH};

use crate::clock::{Mono, Now};

/// Where the clock stands when it begins, 36 years from zero. What was buffered before the process began is older than that, and
/// there has to be a point in time for it, or it would be young again after every start.
const START: Mono = Mono(1 << 60);

/// Both clocks. One is made at start and copied to every shard, because `Mono` values travel between shards with batches.
#[derive(Debug, Clone, Copy)]
pub struct Clock {
    origin: Instant,
}

impl Clock {
    /// A clock that begins to run at this moment.
    pub fn start() -> Self {
        Self { origin: Instant::now() }
    }

    /// Nanoseconds since `START` before the start.
    #[inline]
    pub fn mono(&self) -> Mono {
        // 64 bits of nanoseconds last 584 years.
        START + self.origin.elapsed().as_nanos() as u64
    }

    /// Both clocks, as a round sees them.
    #[inline]
    pub fn now(&self) -> Now {
        let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Now { mono: self.mono(), wall_ms: wall.as_millis() as i64 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_is_a_point_for_what_is_older_than_the_process() {
        let (now, month_ns) = (Clock::start().mono(), 30 * 86_400 * 1_000_000_000);
        assert_eq!(now.since(now - month_ns), month_ns);
    }
}
