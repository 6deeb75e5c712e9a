//! The control plane: what operators, dashboards and Kafka clients ask of a node. It runs on a thread of its own, may wait,
//! and never calls a shard.

pub mod http;
pub mod kafka;
pub mod socket;
