//! What the journal holds of one partition, oldest first.
//!
//! ```text
//! open [on their way to Kafka]   queue [in memory: window | being read | on disk only …]   unwritten
//! ```

use std::collections::VecDeque;

use super::op::SegmentId;
use crate::buffer::Batch;
use crate::clock::Mono;
use crate::ticket::{FailReason, Run};

/// What was being written when the head of its partition was given up.
#[derive(Debug, Clone, Copy)]
pub(super) struct LeftBehind {
    /// Entries of lower numbers.
    pub(super) below: u64,
    pub(super) why: FailReason,
}

/// A durable entry that has not been passed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) number: u64,
    pub(super) segment: SegmentId,
    pub(super) at: u32,
    pub(super) bytes: u32,
    pub(super) records: u32,
}

/// Bytes of an entry in memory, its place in the lists included: what is charged for it.
pub(super) const ENTRY_BYTES: usize = 40;

/// An entry on its way.
#[derive(Debug)]
pub(super) struct Open {
    /// What its batch bears.
    pub(super) token: u64,
    pub(super) entry: Entry,
    pub(super) memory: Memory,
}

/// Whose memory a batch takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Memory {
    /// Charged since it was filled: so many bytes.
    Kept(usize),
    /// Read back: so many bytes of what may be read ahead.
    Loaded(usize),
}

/// A batch that is ready to go.
#[derive(Debug)]
pub(super) struct Ready {
    pub(super) batch: Box<Batch>,
    pub(super) memory: Memory,
}

/// One partition.
#[derive(Debug, Default)]
pub(super) struct Backlog {
    /// Kafka's number of the partition.
    pub(super) partition: u32,
    /// Number of its topic, where messages named it.
    pub(super) topic: Option<u32>,
    /// Durable, not on their way.
    pub(super) queue: VecDeque<Entry>,
    /// Batches of the first entries of the queue.
    pub(super) window: VecDeque<Ready>,
    pub(super) open: Vec<Open>,
    /// Tickets of entries whose batches are not in memory, by number.
    pub(super) saved: VecDeque<(u64, Vec<Run>)>,
    /// A read is out.
    pub(super) reading: bool,
    /// Bytes it may bring.
    pub(super) reading_bytes: usize,
    /// Failed reads of what comes next.
    pub(super) tries: u32,
    /// No read before this.
    pub(super) retry_at: Mono,
    /// Another shard has to pass what it took over first.
    pub(super) blocked: bool,
    /// Entries of earlier starts.
    pub(super) adopted: u64,
    /// Batches taken and not durable.
    pub(super) unwritten: u32,
    /// Of those, the ones that go with a head that was given up.
    pub(super) left_behind: Option<LeftBehind>,
    /// Bytes of `unwritten` and `queue`.
    pub(super) held_bytes: u64,
    /// Bytes of `window`.
    pub(super) window_bytes: usize,
    /// Bytes of `open`.
    pub(super) open_bytes: usize,
    /// Stands in the list of partitions with something to do.
    pub(super) listed: bool,
}

impl Backlog {
    /// Whether nothing waits: what comes now may go straight to Kafka behind what is open.
    pub(super) fn is_passed(&self) -> bool {
        self.queue.is_empty() && self.unwritten == 0
    }

    /// Whether entries wait that may leave.
    pub(super) fn has_more(&self) -> bool {
        !self.queue.is_empty() && !self.blocked
    }

    /// Whether there is nothing of it anywhere.
    pub(super) fn is_spent(&self) -> bool {
        let busy = self.reading || self.blocked || self.listed;
        self.is_passed() && self.open.is_empty() && self.adopted == 0 && !busy
    }

    /// Whether everything that waits is in memory.
    pub(super) fn is_in_memory(&self) -> bool {
        self.queue.len() == self.window.len()
    }

    /// The tickets that were saved for an entry of this start.
    pub(super) fn take_saved(&mut self, number: u64) -> Vec<Run> {
        match self.saved.binary_search_by_key(&number, |(n, _)| *n) {
            Ok(at) => self.saved.remove(at).map(|(_, runs)| runs).unwrap_or_default(),
            Err(_) => Vec::new(),
        }
    }

    /// Puts the batch of the next entry that is not in memory into the window.
    pub(super) fn load(&mut self, batch: Box<Batch>, memory: Memory) {
        self.window_bytes += batch.bytes.len();
        self.window.push_back(Ready { batch, memory });
    }

    /// Takes out the newest that waits, where all are in memory; for a planted bug.
    pub(super) fn pop_newest(&mut self) -> Option<(Entry, Option<Ready>)> {
        let (entry, ready) = (self.queue.pop_back()?, self.window.pop_back()?);
        self.held_bytes -= u64::from(entry.bytes);
        self.window_bytes -= ready.batch.bytes.len();
        Some((entry, Some(ready)))
    }

    /// Takes out the oldest that waits, with its batch if that is in memory.
    pub(super) fn pop(&mut self) -> Option<(Entry, Option<Ready>)> {
        let entry = self.queue.pop_front()?;
        let ready = self.window.pop_front();
        self.held_bytes -= u64::from(entry.bytes);
        if let Some(ready) = &ready {
            self.window_bytes -= ready.batch.bytes.len();
        }
        Some((entry, ready))
    }
}
