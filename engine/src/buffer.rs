//! The buffers that messages live in between the receive buffer and Kafka: batches and the pool they return to.

mod batch;
mod pool;
mod prefetch;

pub use batch::{Batch, PartKey};
pub use pool::BatchPool;
pub use prefetch::prefetch_behind;
