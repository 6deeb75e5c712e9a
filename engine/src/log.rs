//! The local log: a directory per partition with segments as Apache Kafka writes them.
//!
//! ```text
//! shard thread      partition   decides offsets, segments, retention; speaks DiskOp
//! writer thread     (driver)    writes, syncs, then moves the published end
//! control thread    reader      reads below the published end, for the Kafka listener
//! start-up          open        recovery of the newest segments, directories
//! ```
//!
//! Reader and recovery believe no byte of a segment before its checksum: both walk it with `scan`.

pub use catalogue::{Catalogue, Damage, LogPlace, TopicLogs};
pub use op::{DiskDone, DiskError, DiskOp, LogId};
pub use open::{OpenError, Opened, TopicSpec, open};
pub use partition::{LogLimits, PartitionLog, Recovered, Segment};
pub use published::PublishedEnds;
pub use reader::{LogReader, ReadError};
pub use scan::Mark;

pub mod journal;
pub mod recovery;
pub mod scan;
pub mod segment;

mod catalogue;
mod op;
mod open;
mod partition;
mod published;
mod reader;
#[cfg(test)]
pub(crate) mod rig;
