//! The one place that reads clocks for the shards: once a round, and once more to learn how long the round took.

use std::time::{Instant, SystemTime, UNIX_EPOCH};

use crate::clock::{Mono, Now};

/// Both clocks. One is made at start and copied to every shard, because `Mono` values travel between shards with batches.
#[derive(Debug, Clone, Copy)]
pub struct Clock {
    origin: Instant,
}

impl Clock {
    /// A clock whose zero is this moment.
    pub fn start() -> Self {
        Self { origin: Instant::now() }
    }

    /// Nanoseconds since the start.
    #[inline]
    pub fn mono(&self) -> Mono {
        // 64 bits of nanoseconds last 584 years.
        Mono(self.origin.elapsed().as_nanos() as u64)
    }

    /// Both clocks, as a round sees them.
    #[inline]
    pub fn now(&self) -> Now {
        let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Now { mono: self.mono(), wall_ms: wall.as_millis() as i64 }
    }
}
