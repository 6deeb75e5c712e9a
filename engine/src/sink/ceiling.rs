//! How large batches may get while Kafka refuses larger ones (MESSAGE_TOO_LARGE): the topic's `max.message.bytes` may change at any
//! time, Kafka need not tell it, and of a compressed batch it counts other bytes.
//!
//! A refusal halves the ceiling, from the size that was refused; after it, every hundred batches that were stored raise it
//! by an eighth, up to what is configured. So a topic that takes less than `max_batch_bytes` costs one split in some hundred
//! batches, and one that takes more again is soon given more.

/// No refusal lowers the ceiling below this: a topic that takes no 4 KB batch is best served record by record.
const BYTES_MIN: usize = 4 << 10;

/// Batches stored before the ceiling is raised by a step.
const STORED_PER_STEP: u32 = 100;

/// A step is this part of the ceiling.
const STEP_DIVISOR: usize = 8;

/// The most bytes of a batch for now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ceiling {
    configured: usize,
    bytes: usize,
    stored: u32,
}

impl Ceiling {
    /// Nothing has been refused yet.
    pub fn new(configured: usize) -> Self {
        Self { configured, bytes: configured, stored: 0 }
    }

    /// Another size is configured. What Kafka refused before stays refused.
    pub fn configure(&mut self, configured: usize) {
        let is_lowered = self.bytes < self.configured;
        self.bytes = if is_lowered { self.bytes.min(configured) } else { configured };
        self.configured = configured;
    }

    /// The most bytes of a batch.
    #[inline]
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// A batch of several records and so many bytes was refused for its size.
    pub fn refused(&mut self, batch_bytes: usize) {
        let half = (batch_bytes / 2).max(BYTES_MIN);
        self.bytes = self.bytes.min(half).min(self.configured);
        self.stored = 0;
    }

    /// A batch was stored. Whether the ceiling has risen.
    #[inline]
    pub fn stored(&mut self) -> bool {
        if self.bytes == self.configured {
            return false;
        }
        self.stored += 1;
        if self.stored < STORED_PER_STEP {
            return false;
        }
        self.stored = 0;
        self.bytes = (self.bytes + self.bytes / STEP_DIVISOR).min(self.configured);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals_halve_it_and_successes_raise_it_step_by_step() {
        let mut ceiling = Ceiling::new(896 << 10);
        assert!(!ceiling.stored(), "it stands where it is configured");
        ceiling.refused(800 << 10);
        assert_eq!(ceiling.bytes(), 400 << 10);
        // Batches that were under way before the first refusal came.
        ceiling.refused(700 << 10);
        assert_eq!(ceiling.bytes(), 350 << 10);
        assert_eq!((1..=100).filter(|_| ceiling.stored()).count(), 1);
        assert_eq!(ceiling.bytes(), (350 << 10) / 8 * 9);
        let steps = (0..10_000).filter(|_| ceiling.stored()).count();
        assert_eq!((steps, ceiling.bytes()), (7, 896 << 10));
    }

    #[test]
    fn another_size_counts_at_once_unless_kafka_refused_it() {
        let mut ceiling = Ceiling::new(64 << 10);
        ceiling.configure(256 << 10);
        assert_eq!(ceiling.bytes(), 256 << 10);
        ceiling.refused(200 << 10);
        ceiling.configure(512 << 10);
        assert_eq!(ceiling.bytes(), 100 << 10, "it rises step by step");
        ceiling.configure(32 << 10);
        assert_eq!(ceiling.bytes(), 32 << 10);
        assert!(!ceiling.stored(), "it stands where it is configured");
    }

    #[test]
    fn it_stays_above_nothing_and_below_what_is_configured() {
        let mut ceiling = Ceiling::new(64 << 10);
        (0..20).for_each(|_| ceiling.refused(100));
        assert_eq!(ceiling.bytes(), 4 << 10);
        let mut small = Ceiling::new(1 << 10);
        small.refused(3_000);
        assert_eq!(small.bytes(), 1 << 10);
    }
}
