//! What shards say to each other. FIFO per pair of shards; every kind is bounded by the sender.

use std::net::SocketAddr;

use super::shares::Token;
use crate::buffer::Batch;
use crate::publication::Publication;
use crate::ticket::Outcome;

/// One message from shard to shard.
#[derive(Debug)]
pub enum MeshMsg {
    /// A whole sealed batch for a partition the receiver owns.
    HandOver(Box<Batch>),
    /// A batch that returns to the shard that filled it, with its outcome.
    Return(Box<Batch>, Outcome),
    /// A batch has returned that the receiver had given up, and what waited behind it is given up too: what the sender hands over from
    /// now on was filled later.
    GapKnown {
        /// Index of the sink.
        sink: u16,
        /// The topic that messages named; empty for the sink's own.
        topic: Box<str>,
        /// Its partition.
        partition: u32,
    },
    /// Filters that the sender begins or ceases to subscribe to, in order.
    Filters(Box<[FilterChange]>),
    /// One more message of filters has been taken in.
    FiltersKnown,
    /// A publication for the receiver's subscribers.
    Parcel(Box<Publication>),
    /// Parcels that have been taken, and their bytes: the sender may send as many more.
    ParcelsTaken {
        /// How many.
        parcels: u32,
        /// Bytes of their publications.
        bytes: usize,
    },
    /// The sender has passed everything that earlier starts had left on disk for a partition, which the receiver has waited for.
    BacklogPassed {
        /// Index of the sink.
        sink: u16,
        /// The topic that messages named; empty for the sink's own.
        topic: Box<str>,
        /// Its partition.
        partition: u32,
    },
    /// The sender's recent bytes of each sink; the receiver answers with its own a second later.
    Share(Token),
}

/// A shard's first subscriber to a filter has come, or its last has gone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FilterChange {
    /// The filter.
    pub filter: Box<str>,
    /// Come, or gone.
    pub subscribes: bool,
}

/// A connection on its way to its home shard: everything but the descriptor, which the driver carries.
#[derive(Debug)]
pub struct Moved {
    /// Bytes received and not yet parsed; they begin with the CONNECT packet.
    pub unread: Vec<u8>,
    /// Which listener accepted it.
    pub listener: u16,
    /// Address of the client.
    pub peer: SocketAddr,
}
