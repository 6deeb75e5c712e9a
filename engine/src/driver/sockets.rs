//! The client sockets of one shard: a slab of descriptors with generations, and the direct system calls on them.
//!
//! TLS will live here, between the descriptor and the caller of [`Sockets::recv`] and [`Sockets::send`]: the shard sees
//! plaintext only, and "more" will then also mean plaintext at hand. Left out: everything MQTT.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::event::epoll::EventFlags;
use rustix::io::Errno;
use rustix::net::{self, RecvFlags, SendFlags};

use super::admission::Seat;
use crate::shard::io::{ConnKey, Recv};

/// A client's descriptor and the seat it has as long as it is open.
#[derive(Debug)]
pub(super) struct Client {
    pub fd: OwnedFd,
    pub _seat: Seat,
}

impl AsFd for Client {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// One client's socket.
#[derive(Debug)]
struct Socket {
    client: Client,
    /// A send was cut short, and the shard waits for `Writable`.
    blocked: bool,
    /// The peer has shut down its side. From then on a short read does not mean "drained": the end itself is still to be read,
    /// and no further edge announces it.
    ended: bool,
}

#[derive(Debug, Default)]
struct Slot {
    generation: u32,
    socket: Option<Socket>,
}

/// What an event means for the shard.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Edges {
    /// `Input::Readable` is due.
    pub readable: bool,
    /// `Input::Writable` is due.
    pub writable: bool,
    /// Reset or timed out: `Input::Closed` is due, after what still can be read.
    pub gone: bool,
}

/// The client sockets of one shard.
#[derive(Debug, Default)]
pub(super) struct Sockets {
    slots: Vec<Slot>,
    free: Vec<u32>,
}

impl Sockets {
    /// Gives a socket (non-blocking) a key.
    pub(super) fn insert(&mut self, client: Client) -> ConnKey {
        let index = self.free.pop().unwrap_or_else(|| {
            self.slots.push(Slot::default());
            (self.slots.len() - 1) as u32
        });
        let slot = &mut self.slots[index as usize];
        slot.socket = Some(Socket { client, blocked: false, ended: false });
        ConnKey { index, generation: slot.generation }
    }

    /// Takes the socket out; the key is dead from here on.
    pub(super) fn remove(&mut self, key: ConnKey) -> Option<Client> {
        let slot = self.slots.get_mut(key.index as usize).filter(|slot| slot.generation == key.generation)?;
        let socket = slot.socket.take()?;
        slot.generation = slot.generation.wrapping_add(1);
        self.free.push(key.index);
        Some(socket.client)
    }

    /// The descriptor behind a key.
    pub(super) fn fd(&self, key: ConnKey) -> Option<impl AsFd + '_> {
        let slot = self.slots.get(key.index as usize).filter(|slot| slot.generation == key.generation)?;
        slot.socket.as_ref().map(|socket| &socket.client)
    }

    /// Whether the key still names a socket.
    pub(super) fn is_live(&self, key: ConnKey) -> bool {
        self.fd(key).is_some()
    }

    #[inline]
    fn get_mut(&mut self, key: ConnKey) -> Option<&mut Socket> {
        let slot = self.slots.get_mut(key.index as usize).filter(|slot| slot.generation == key.generation)?;
        slot.socket.as_mut()
    }

    /// Takes in the flags of an event; nothing is due for a dead key.
    pub(super) fn note(&mut self, key: ConnKey, flags: EventFlags) -> Edges {
        let Some(socket) = self.get_mut(key) else { return Edges::default() };
        let gone = flags.intersects(EventFlags::ERR | EventFlags::HUP);
        if gone || flags.contains(EventFlags::RDHUP) {
            socket.ended = true;
        }
        let writable = socket.blocked && flags.contains(EventFlags::OUT);
        if writable {
            socket.blocked = false;
        }
        Edges { readable: socket.ended || flags.contains(EventFlags::IN), writable, gone }
    }

    /// Reads once into `into`.
    #[inline]
    pub(super) fn recv(&mut self, key: ConnKey, into: &mut [u8]) -> Recv {
        debug_assert!(!into.is_empty(), "an empty read would look like the end");
        let Some(socket) = self.get_mut(key) else { return Recv::Error };
        let full = into.len();
        loop {
            return match net::recv(&socket.client.fd, &mut *into, RecvFlags::DONTWAIT) {
                Ok((0, _)) => Recv::Eof,
                Ok((n, _)) => Recv::Got { n, more: n == full || socket.ended },
                Err(Errno::INTR) => continue,
                Err(Errno::AGAIN) => Recv::Empty,
                Err(_) => Recv::Error,
            };
        }
    }

    /// Sends once; a broken socket takes everything, because its end is told by `recv` or `Closed`.
    #[inline]
    pub(super) fn send(&mut self, key: ConnKey, bytes: &[u8]) -> usize {
        let Some(socket) = self.get_mut(key) else { return bytes.len() };
        loop {
            return match net::send(&socket.client.fd, bytes, SendFlags::DONTWAIT | SendFlags::NOSIGNAL) {
                Ok(n) => {
                    socket.blocked = n < bytes.len();
                    n
                }
                Err(Errno::INTR) => continue,
                Err(Errno::AGAIN) => {
                    socket.blocked = true;
                    0
                }
                Err(_) => bytes.len(),
            };
        }
    }
}
