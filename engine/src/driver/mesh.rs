//! The rings between shards: one bounded queue for each ordered pair, FIFO, plus the doorbell of the receiver.
//!
//! The senders bound what they send by credits, and the plan sizes the rings by them. Should a ring be full all the same, the
//! driver keeps the rest in order on its own side: nothing is dropped, nothing blocks.

use std::collections::VecDeque;
use std::sync::Arc;

use crossbeam::queue::ArrayQueue;

use super::doorbell::Doorbell;
use super::sockets::Client;
use crate::shard::ShardId;
use crate::shard::mesh::{MeshMsg, Moved};

/// What travels: a message of the shard, or a connection with its descriptor.
#[derive(Debug)]
pub(super) enum Parcel {
    Message(MeshMsg),
    Conn(Client, Box<Moved>),
}

type Ring = Arc<ArrayQueue<Parcel>>;

/// One shard's end of the mesh.
#[derive(Debug)]
pub struct MeshEnd {
    outbound: Vec<Outbound>,
    inbound: Vec<Ring>,
}

#[derive(Debug)]
struct Outbound {
    ring: Ring,
    overflow: VecDeque<Parcel>,
    bell: Arc<Doorbell>,
    /// Something was pushed since the last ring of the bell.
    fresh: bool,
}

/// Makes the mesh: one end for each bell, in shard order, with `capacity` parcels for each ordered pair.
pub fn weave(bells: &[Arc<Doorbell>], capacity: usize) -> Vec<MeshEnd> {
    let shards = bells.len();
    let rings: Vec<Ring> = (0..shards * shards).map(|_| Arc::new(ArrayQueue::new(capacity.max(1)))).collect();
    let ring = |from: usize, to: usize| Arc::clone(&rings[from * shards + to]);
    let outbound = |from: usize| {
        let to_peer = |(to, bell): (usize, &Arc<Doorbell>)| Outbound {
            ring: ring(from, to),
            overflow: VecDeque::new(),
            bell: Arc::clone(bell),
            fresh: false,
        };
        bells.iter().enumerate().map(to_peer).collect()
    };
    (0..shards)
        .map(|me| MeshEnd { outbound: outbound(me), inbound: (0..shards).map(|from| ring(from, me)).collect() })
        .collect()
}

impl MeshEnd {
    /// Queues a parcel. The receiver is woken by [`Self::flush`], once for everything a round sent it.
    #[inline]
    pub(super) fn send(&mut self, to: ShardId, parcel: Parcel) {
        let out = &mut self.outbound[to.0 as usize];
        out.fresh = true;
        if !out.overflow.is_empty() {
            out.overflow.push_back(parcel);
        } else if let Err(parcel) = out.ring.push(parcel) {
            out.overflow.push_back(parcel);
        }
    }

    /// Moves what overflowed into rings that have room again, and wakes receivers. True: something is still left over.
    pub(super) fn flush(&mut self) -> bool {
        let mut left = false;
        for out in &mut self.outbound {
            while let Some(parcel) = out.overflow.pop_front() {
                out.fresh = true;
                if let Err(parcel) = out.ring.push(parcel) {
                    out.overflow.push_front(parcel);
                    left = true;
                    break;
                }
            }
            if std::mem::take(&mut out.fresh) {
                out.bell.ring();
            }
        }
        left
    }

    /// How many shards there are.
    pub(super) fn shards(&self) -> usize {
        self.inbound.len()
    }

    /// The next parcel from one shard.
    #[inline]
    pub(super) fn take(&mut self, from: ShardId) -> Option<Parcel> {
        self.inbound[from.0 as usize].pop()
    }

    /// Whether a parcel has come from anyone.
    pub(super) fn is_empty(&self) -> bool {
        self.inbound.iter().all(|ring| ring.is_empty())
    }
}
