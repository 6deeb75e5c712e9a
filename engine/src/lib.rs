//! The engine: everything between an MQTT socket and a Kafka broker.

pub mod config;
