//! Recounts what the accumulator counts as it goes; for tests and the simulator.

use super::{Accumulator, Partition};
use crate::buffer::Batch;
use crate::clock::Mono;

impl Accumulator {
    /// Recounts everything; returns the bytes that its batches have charged.
    pub(crate) fn audit(&self) -> usize {
        let (mut charged, mut records, mut bytes) = (0, 0, 0);
        for (index, slot) in self.partitions.iter().enumerate() {
            let waiting = || slot.filling.iter().chain(&slot.full);
            assert_eq!(slot.waiting_bytes, waiting().map(|b| b.queued_bytes).sum::<usize>(), "bytes of {index}");
            assert!(slot.full.iter().all(|b| b.records > 0), "a full batch has records");
            let listed = self.open.iter().filter(|&&p| p as usize == index).count();
            assert_eq!(listed, usize::from(slot.listed), "a partition stands in the list once or not at all");
            assert!(slot.listed || waiting().next().is_none(), "a partition with batches is listed");
            charged += waiting().map(|b| b.charge_bytes).sum::<usize>();
            records += waiting().map(|b| u64::from(b.records)).sum::<u64>();
            bytes += waiting().map(|b| b.queued_bytes).sum::<usize>();
        }
        assert_eq!(self.queued_bytes, bytes, "what is queued");
        assert!(self.open_records >= records, "what waits here is open");
        charged
    }

    /// Whether a batch could be sealed at once.
    pub(crate) fn can_seal(&self, now: Mono) -> bool {
        let due = |b: &Batch| {
            let large = b.bytes.len() >= self.limits.target_bytes.min(self.limits.bytes_max);
            b.records > 0 && (large || now >= b.opened + self.limits.linger_ns)
        };
        let ready = |s: &Partition| !s.full.is_empty() || s.filling.as_ref().is_some_and(|b| due(b));
        self.partitions.iter().any(|s| s.unanswered < self.limits.inflight_max && ready(s))
    }
}
