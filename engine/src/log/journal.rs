//! The journal: where the disk and hybrid buffers of a sink keep batches until Kafka has them. One for each sink and shard, so
//! that one `fdatasync` commits all partitions.
//!
//! ```text
//! shard thread    machine    numbers entries, decides segments, hands over, forgets; speaks JournalOp
//! writer thread   (driver)   writes, syncs, reads back, removes
//! start-up        open       entries that are left, from footers, or from a scan where a crash left none
//! ```
//!
//! ```text
//! <dir>/<sink>/000003.2.1.5f0c31aa/     third start, two shards, this one's of shard 1, and its mark
//!     0000000007.journal                entry, entry, … footer
//!     positions-0, positions-1          what has been passed; the newer one that is whole counts
//! <dir>/<sink>/quarantine/              bytes that were found damaged
//! <dir>/<sink>/lock                     held while a process has it
//! ```
//!
//! Every start begins directories of its own and takes over those of earlier ones, so files do not depend on the number of
//! shards. Promises: an entry that was told to be stored is found again after a crash; entries of a partition come back in
//! the order they went in; what is damaged costs itself and nothing else. Left out: retention, readers, offsets.

pub use entry::{Envelope, pieces};
pub use footer::{Item, Listed, read as read_footer};
pub use machine::{BacklogPart, Gone, Journal, JournalCounts, JournalLimits};
pub use op::{BacklogId, Copied, JournalDone, JournalId, JournalOp, ReadBack, SegmentId, Wanted};
pub use open::{JournalPlace, JournalSpec, JournalStart, Journals, OpenedJournals, open_journals, remove_passed};
pub use positions::{Position, Positions};
pub use read::{copy_entries, read_back};
pub use topic_table::TopicTable;

pub mod scan;

mod backlog;
mod backlogs;
mod entry;
mod footer;
mod machine;
mod op;
mod open;
mod positions;
mod read;
mod rescue;
#[cfg(test)]
pub(crate) mod rig;
mod topic_table;
