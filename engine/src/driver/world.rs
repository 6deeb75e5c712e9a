//! The real world of one shard: implements [`Io`] with sockets, links, rings and files.

use std::os::fd::AsFd;

use super::clock::Clock;
use super::disk::Disk;
use super::links::Links;
use super::listener::Listener;
use super::mailbox::{ControlPort, Letter};
use super::mesh::{MeshEnd, Parcel};
use super::poller::Poller;
use super::sockets::Sockets;
use crate::clock::Now;
use crate::log::DiskOp;
use crate::shard::ShardId;
use crate::shard::control::{ControlMsg, Level};
use crate::shard::io::{BrokerAddr, CloseReason, ConnKey, Io, LinkKey, LoginQuestion, Recv, Request};
use crate::shard::mesh::{MeshMsg, Moved};

/// Everything a shard can touch. The loop hands it to the machine as its `Io`.
#[derive(Debug)]
pub(super) struct World {
    pub clock: Clock,
    /// The clock of the round.
    pub now: Now,
    pub poller: Poller,
    pub sockets: Sockets,
    pub listeners: Vec<Listener>,
    pub links: Links,
    pub mesh: MeshEnd,
    pub control: ControlPort,
    pub disk: Option<Disk>,
    /// Clients that were reset: told after the round in which the rest of their bytes could be read.
    pub gone: Vec<ConnKey>,
}

impl World {
    /// Tells the log something the driver itself has noticed.
    pub(super) fn note(&mut self, level: Level, text: String) {
        self.control.send(Letter::Message(ControlMsg::Note { level, text }));
    }

    /// The writer of this shard.
    pub(super) fn disk_writer(&mut self) -> &mut Disk {
        self.disk.as_mut().expect("a shard with files has a disk writer")
    }

    /// Whether nothing waits in the queues that other threads push into and ring the doorbell for.
    pub(super) fn inboxes_empty(&self) -> bool {
        let disk = self.disk.as_ref().is_none_or(Disk::is_empty);
        disk && self.mesh.is_empty() && self.control.is_empty()
    }
}

impl Io for World {
    #[inline]
    fn recv(&mut self, conn: ConnKey, into: &mut [u8]) -> Recv {
        self.sockets.recv(conn, into)
    }

    #[inline]
    fn send(&mut self, conn: ConnKey, bytes: &[u8]) -> usize {
        self.sockets.send(conn, bytes)
    }

    fn close(&mut self, conn: ConnKey, _why: CloseReason) {
        // Closing the only descriptor takes it out of the epoll set as well.
        drop(self.sockets.remove(conn));
    }

    fn move_conn(&mut self, conn: ConnKey, to: ShardId, state: Box<Moved>) {
        let Some(client) = self.sockets.remove(conn) else { return };
        // The descriptor lives on, so this set must let go of it.
        let removed = self.poller.remove_client(client.as_fd());
        debug_assert!(removed.is_ok(), "a client socket is registered from its first to its last moment here");
        self.mesh.send(to, Parcel::Conn(client, state));
    }

    fn dial(&mut self, to: &BrokerAddr) -> LinkKey {
        self.links.dial(to, self.now.mono, &self.poller, &mut self.control)
    }

    fn request(&mut self, link: LinkKey, request: Request) {
        self.links.request(link, request);
    }

    fn drop_link(&mut self, link: LinkKey) {
        self.links.fail(link, "dropped".to_string());
    }

    fn find_answer(&mut self, link: LinkKey, question: LoginQuestion) {
        self.control.send(Letter::FindAnswer { link, question });
    }

    fn mesh(&mut self, to: ShardId, message: MeshMsg) {
        self.mesh.send(to, Parcel::Message(message));
    }

    fn disk(&mut self, op: DiskOp) {
        self.disk_writer().send(op);
    }

    fn control(&mut self, message: ControlMsg) {
        self.control.send(Letter::Message(message));
    }
}
