//! The local log.

pub use op::{DiskDone, DiskError, DiskOp, LogId};
pub use published::PublishedEnds;

mod op;
mod published;
