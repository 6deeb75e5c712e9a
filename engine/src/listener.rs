//! The client's side of the wire: received bytes up to whole packets, packets to be sent down to bytes.

pub mod connection;
pub mod read_buffers;
pub mod receive;
