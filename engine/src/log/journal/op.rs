//! What the journal asks of its shard's writer thread, and the answers.

use crate::buffer::Batch;
use crate::log::DiskError;

/// Index of a journal directory in the node's list.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct JournalId(pub u32);

/// One file of a journal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SegmentId {
    /// The directory.
    pub journal: JournalId,
    /// Its number there.
    pub seq: u32,
}

/// What a journal holds of one partition, by number, as long as it holds something.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct BacklogId(pub u32);

/// An entry to be read back.
#[derive(Debug)]
pub struct Wanted {
    /// Its number in the journal.
    pub number: u64,
    /// Where it begins in the segment.
    pub at: u32,
    /// Its length.
    pub bytes: u32,
    /// Room for it, of the shard that will give it back: an allocator takes note late of what another thread frees than the one that
    /// asked for it, and of batches that is soon more than all that may be read back.
    pub room: Vec<u8>,
}

impl Wanted {
    /// An entry, with room for it.
    pub fn new(number: u64, at: u32, bytes: u32) -> Self {
        Self { number, at, bytes, room: Vec::with_capacity(bytes as usize) }
    }
}

/// An entry to be copied.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Copied {
    /// Its number in the journal.
    pub number: u64,
    /// Where it begins in the segment.
    pub at: u32,
    /// Its length.
    pub bytes: u32,
}

/// A piece of work. Those of one journal are carried out in order, except that reads and copies, in order among themselves, give
/// way to all others.
#[derive(Debug)]
pub enum JournalOp {
    /// Write entries one behind the other at byte `at`, and make them durable together with everything else that is queued.
    /// `at` = 0 begins a new file, as for [`crate::log::DiskOp::Append`].
    Append {
        /// Which file.
        segment: SegmentId,
        /// The end of what is durable in it.
        at: u64,
        /// The entries, each with its envelope in the header gap; its bytes are [`pieces`](super::pieces).
        batches: Vec<Box<Batch>>,
    },
    /// Write the footer: nothing is appended behind it.
    Finish {
        /// Which file.
        segment: SegmentId,
        /// The end of its entries.
        at: u64,
        /// The footer.
        footer: Vec<u8>,
    },
    /// Read entries of one partition.
    Read {
        /// Which file.
        segment: SegmentId,
        /// Whose entries they are.
        backlog: BacklogId,
        /// Its partition.
        partition: u32,
        /// Which.
        wanted: Vec<Wanted>,
    },
    /// Write entries of one file to another, one behind the other at byte `at`, and make them durable. Those that are not what was
    /// written to the first are left out.
    Copy {
        /// Where they are.
        from: SegmentId,
        /// A file of the same directory; `at` = 0 begins it.
        to: SegmentId,
        /// The end of what is durable in it.
        at: u64,
        /// Which, by ascending number.
        entries: Vec<Copied>,
    },
    /// Replace one of the two files of positions, and make it durable.
    Positions {
        /// Of which journal.
        journal: JournalId,
        /// Which of the two.
        slot: u8,
        /// All of its bytes.
        bytes: Vec<u8>,
    },
    /// Remove a file; one that is missing is no error.
    Delete {
        /// Which file.
        segment: SegmentId,
    },
}

/// What a read brought of one entry.
#[derive(Debug)]
pub enum ReadBack {
    /// The batch as it was, and when it was written, milliseconds since 1970.
    Whole(Box<Batch>, i64),
    /// Bytes that are not what was written; they were set aside.
    Damaged,
    /// The disk did not give it.
    Failed(DiskError),
}

/// The end of a piece of work.
#[derive(Debug)]
pub enum JournalDone {
    /// Entries are durable, or the append failed as a whole.
    Appended {
        /// Which file.
        segment: SegmentId,
        /// The buffers return.
        batches: Vec<Box<Batch>>,
        /// How long the sync took, nanoseconds.
        sync_ns: u64,
        /// Durable, or why not.
        result: Result<(), DiskError>,
    },
    /// The footer is durable, or the next start has to scan the file.
    Finished {
        /// Which file.
        segment: SegmentId,
        /// Durable, or why not.
        result: Result<(), DiskError>,
    },
    /// Entries that were asked for, in that order.
    Read {
        /// Which file.
        segment: SegmentId,
        /// Whose entries they are.
        backlog: BacklogId,
        /// Number and what was found.
        entries: Vec<(u64, ReadBack)>,
    },
    /// Entries are durable in another file, too, or none of them is.
    Copied {
        /// Where they were.
        from: SegmentId,
        /// Where they are.
        to: SegmentId,
        /// Whether each of them, in the order in which they were asked for, was whole and is there; or why none is.
        result: Result<Vec<bool>, DiskError>,
    },
    /// Positions are durable, or the older ones still count.
    Positions {
        /// Of which journal.
        journal: JournalId,
        /// Durable, or why not.
        result: Result<(), DiskError>,
    },
    /// A file was removed, or could not be.
    Deleted {
        /// Which file.
        segment: SegmentId,
        /// Gone, or why not.
        result: Result<(), DiskError>,
    },
}

impl JournalDone {
    /// Which journal it is about.
    pub fn journal(&self) -> JournalId {
        match self {
            Self::Appended { segment, .. }
            | Self::Finished { segment, .. }
            | Self::Read { segment, .. }
            | Self::Copied { to: segment, .. }
            | Self::Deleted { segment, .. } => segment.journal,
            Self::Positions { journal, .. } => *journal,
        }
    }

    /// The batches it carries.
    pub fn batches(&self) -> impl Iterator<Item = &Batch> {
        let appended = match self {
            Self::Appended { batches, .. } => &batches[..],
            _ => &[],
        };
        let read = match self {
            Self::Read { entries, .. } => &entries[..],
            _ => &[],
        };
        let whole = read.iter().filter_map(|(_, found)| match found {
            ReadBack::Whole(batch, _) => Some(&**batch),
            ReadBack::Damaged | ReadBack::Failed(_) => None,
        });
        appended.iter().map(|batch| &**batch).chain(whole)
    }
}
