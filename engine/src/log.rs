//! The local log.

pub use op::{DiskDone, DiskError, DiskOp, LogId};
mod op;
