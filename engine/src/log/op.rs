//! Disk operations: owned buffers go to the writer thread of the shard and come back when the bytes are durable.

use rustix::io::Errno;

use super::journal::{JournalDone, JournalOp};
use crate::buffer::Batch;

/// Index of a partition log in the node's list of logs (configuration order: topic, then partition).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LogId(pub u32);

/// A piece of work for the writer thread. Operations of one log are carried out in order.
#[derive(Debug)]
pub enum DiskOp {
    /// Write the batches one behind the other at byte `at` of a segment, then make them durable and publish `end_offset`.
    /// The thread syncs once for all appends that lie in its queue.
    ///
    /// `at` = 0 begins a new file: one of that name that an earlier failure left is unlinked first, never truncated, so
    /// that pages the kernel failed to write are not among the new ones; and the directory is synced before the answer.
    /// After a failed write or sync the open file is closed and not synced again; no further append goes to it.
    Append {
        /// Which log.
        log: LogId,
        /// Base offset of the segment: its file name.
        segment: i64,
        /// Byte position in the segment.
        at: u64,
        /// Offset after the last record: readers may see records below it once this append is durable.
        end_offset: i64,
        /// The batches, sealed and stamped with their offsets.
        batches: Vec<Box<Batch>>,
    },
    /// Remove a segment that retention has passed; readers are told before the file goes. A file that is missing is no
    /// error.
    Delete {
        /// Which log.
        log: LogId,
        /// Base offset of the segment.
        segment: i64,
    },
    /// For a sink's buffer.
    Journal(JournalOp),
}

/// What went wrong on disk. After a failed sync the segment is dead: what was written to it is in doubt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DiskError {
    /// What was being done: "write", "sync", "create", "delete", "read".
    pub during: &'static str,
    /// `errno`, or 0 for a short write.
    pub errno: i32,
    /// For people.
    pub text: String,
}

impl DiskError {
    /// Whether nothing is wrong but that there is no room.
    pub fn is_full(&self) -> bool {
        [Errno::NOSPC, Errno::DQUOT].iter().any(|errno| errno.raw_os_error() == self.errno)
    }

    /// Whether the system lacks something that it may have later: what the disk holds is none the worse for it.
    pub fn may_pass(&self) -> bool {
        let passing = [Errno::MFILE, Errno::NFILE, Errno::NOMEM, Errno::AGAIN, Errno::INTR];
        passing.iter().any(|errno| errno.raw_os_error() == self.errno)
    }
}

/// The end of an operation.
#[derive(Debug)]
pub enum DiskDone {
    /// An append ended: durable, or failed as a whole.
    Appended {
        /// Which log.
        log: LogId,
        /// The segment it went to.
        segment: i64,
        /// As given.
        end_offset: i64,
        /// The buffers return.
        batches: Vec<Box<Batch>>,
        /// Durable, or why not.
        result: Result<(), DiskError>,
    },
    /// A segment was removed, or could not be.
    Deleted {
        /// Which log.
        log: LogId,
        /// The segment.
        segment: i64,
        /// Gone, or why not.
        result: Result<(), DiskError>,
    },
    /// From a sink's buffer.
    Journal(JournalDone),
}

impl DiskDone {
    /// The batches it carries.
    pub fn batches(&self) -> impl Iterator<Item = &Batch> {
        let (log, journal) = match self {
            Self::Appended { batches, .. } => (&batches[..], None),
            Self::Deleted { .. } => (&[][..], None),
            Self::Journal(done) => (&[][..], Some(done)),
        };
        log.iter().map(|batch| &**batch).chain(journal.into_iter().flat_map(JournalDone::batches))
    }
}
