//! One core: the MQTT connections whose clients have their home here, and the Kafka partitions this shard owns.
//!
//! A synchronous machine without I/O, clock or randomness: see [`io`] for its border.

pub mod control;
pub mod io;
pub mod mesh;

pub use io::ShardId;
