//! Shards, clients, network, disk and Kafka in one thread, from one seed.

pub mod kafka;
pub mod random;
