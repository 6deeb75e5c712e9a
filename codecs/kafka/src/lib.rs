//! Kafka's side of the house as pure machines: bytes go in, bytes and answers come out.
//!
//! What a record takes on its way to a partition, in order:
//!
//! ```text
//! partitioner   key → partition, as the Java client would choose it
//! record_batch  records → one sealed batch v2, with its CRC-32C
//! compression   the records of a batch, in the bytes Kafka accepts
//! message       batches → one Produce request; the other requests a producer needs
//! frame         where a response ends
//! connection    correlation: which response answers which request, at which version
//! error_code    what a broker's answer means, and what to do next
//! sasl          proving to a broker who we are
//! cluster       which versions a broker and we both speak
//! topic_name    what a topic may be called
//! ```
//!
//! Everything is written by hand. For the hot paths (records into a batch, Produce there and back) that saves the
//! allocations; for the small messages beside them it is because `kafka-protocol` reserves memory for whatever array
//! length a peer announces. It is the second opinion in the tests instead.
//!
//! Deliberately absent: sockets, clocks, retries and metadata caching (the engine's), transactions and consumer groups
//! (later modules of this crate).

#![forbid(unsafe_code)]
#![cfg_attr(
    not(test),
    deny(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::indexing_slicing,
        clippy::panic,
        clippy::unreachable,
        clippy::todo
    )
)]

pub mod cluster;
pub mod compression;
pub mod connection;
pub mod error_code;
pub mod frame;
pub mod message;
pub mod partitioner;
pub mod primitive;
pub mod record_batch;
pub mod sasl;
pub mod topic_name;

mod error;

pub use error::Error;
pub use error_code::ErrorCode;
