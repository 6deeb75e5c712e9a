//! The memory budget of one shard: what is charged, what is left, and the reserve that keeps paused clients alive.
//!
//! Pressure has one place: bytes are charged where sockets can be paused, to the shard that received them, and return there
//! with their outcome. `used <= limit` always, except that buffers in hand may be grown to hold what was already read.
//!
//! What is read and not placed waits for room in batches, so it must never take that room: it counts against batches up to
//! half of the limit and no further. Without that, connections paused with full buffers would wait for each other for ever.
//! Where QoS 0 is dropped instead of paused it is the other way round as well: batches leave room for what is being read, or
//! a client would be held in the middle of a packet that is to be dropped.

/// Bytes of one shard's budget.
#[derive(Debug)]
pub struct Budget {
    limit_bytes: usize,
    reserve_bytes: usize,
    /// What batches leave for reading.
    reading_bytes: usize,
    used_bytes: usize,
    /// Part of `used_bytes`: read and not placed.
    unread_bytes: usize,
    /// The reserve is open: a paused connection has its turn.
    reserve_open: bool,
    /// Everything is granted: what is charged takes the place of what was given back just before.
    beyond_open: bool,
}

/// Share of the budget that only keeps paused connections readable (spec section 2.3 step 3): one twentieth.
const RESERVE_DIVISOR: usize = 20;

/// Share of the budget that batches leave for reading where reading goes on whatever is full.
const READING_DIVISOR: usize = 8;

impl Budget {
    /// A budget of `limit_bytes`, five percent of which are the reserve.
    pub fn new(limit_bytes: usize) -> Self {
        Self {
            limit_bytes,
            reserve_bytes: limit_bytes / RESERVE_DIVISOR,
            reading_bytes: 0,
            used_bytes: 0,
            unread_bytes: 0,
            reserve_open: false,
            beyond_open: false,
        }
    }

    /// Has batches leave an eighth of the limit for reading.
    #[must_use]
    pub fn reading_on(mut self) -> Self {
        self.reading_bytes = self.limit_bytes / READING_DIVISOR;
        self
    }

    /// Charges `bytes` of batches if they fit without the reserve and what is left for reading.
    #[inline]
    #[must_use]
    pub fn try_charge(&mut self, bytes: usize) -> bool {
        let left_for_reading = self.reading_bytes.saturating_sub(self.unread_bytes);
        if bytes > self.free_bytes().saturating_sub(left_for_reading) {
            return false;
        }
        self.used_bytes += bytes;
        true
    }

    /// Charges `bytes` that are already in hand, into the reserve and beyond if need be.
    pub fn charge(&mut self, bytes: usize) {
        self.used_bytes += bytes;
    }

    /// Charges `bytes` that were read or are about to be.
    pub fn charge_unread(&mut self, bytes: usize) {
        self.used_bytes += bytes;
        self.unread_bytes += bytes;
    }

    /// Returns what [`charge_unread`](Self::charge_unread) took.
    pub fn release_unread(&mut self, bytes: usize) {
        self.unread_bytes -= bytes;
        self.release(bytes);
    }

    /// Bytes that may be read and kept.
    #[inline]
    pub fn free_unread_bytes(&self) -> usize {
        self.free_bytes().min((self.limit_bytes / 2).saturating_sub(self.unread_bytes))
    }

    /// Returns what was charged.
    #[inline]
    pub fn release(&mut self, bytes: usize) {
        assert!(bytes <= self.used_bytes, "no more is returned than was charged");
        self.used_bytes -= bytes;
    }

    /// Bytes that may still be charged; those of the reserve only while it is open.
    #[inline]
    pub fn free_bytes(&self) -> usize {
        if self.beyond_open {
            return usize::MAX / 2;
        }
        let kept = if self.reserve_open { 0 } else { self.reserve_bytes };
        let batch_bytes = self.used_bytes - self.unread_bytes;
        (self.limit_bytes - kept).saturating_sub(batch_bytes + self.unread_bytes.min(self.limit_bytes / 2))
    }

    /// Whether more than half of it is used.
    #[inline]
    pub fn is_half_used(&self) -> bool {
        self.used_bytes > self.limit_bytes / 2
    }

    /// Opens the reserve for a paused connection's turn, or closes it again.
    pub fn open_reserve(&mut self, open: bool) {
        self.reserve_open = open;
    }

    /// Grants every charge, or ceases to: for records that move from one batch to another, whose room was looked for before.
    pub fn open_beyond(&mut self, open: bool) {
        self.beyond_open = open;
    }

    /// Whether limits of partitions do not count: a paused connection has its turn, or records move.
    pub fn is_reserve_open(&self) -> bool {
        self.reserve_open || self.beyond_open
    }

    /// Bytes charged now.
    pub fn used_bytes(&self) -> usize {
        self.used_bytes
    }

    /// The whole budget.
    pub fn limit_bytes(&self) -> usize {
        self.limit_bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_reserve_is_not_given_to_ordinary_charges() {
        let mut budget = Budget::new(1000);
        assert!(budget.try_charge(950));
        assert!(!budget.try_charge(1));
        budget.open_reserve(true);
        assert!(budget.try_charge(50));
        assert!(!budget.try_charge(1));
        budget.open_reserve(false);
        budget.release(1000);
        assert_eq!(budget.used_bytes(), 0);
        assert_eq!(budget.free_bytes(), 950);
    }

    #[test]
    fn what_is_left_for_reading_is_not_given_to_batches() {
        let mut budget = Budget::new(1000).reading_on();
        assert!(!budget.try_charge(826));
        assert!(budget.try_charge(825));
        assert_eq!(budget.free_unread_bytes(), 125);
        budget.charge_unread(125);
        assert!(!budget.try_charge(1));
        budget.release_unread(125);
        assert!(!budget.try_charge(1));
    }
}
