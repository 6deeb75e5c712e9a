//! Listening sockets: bound before the shards start, one per shard and address (`SO_REUSEPORT`), each with its own backlog.

use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::time::Duration;

use rustix::io::Errno;
use rustix::net::{SocketAddrAny, SocketFlags};
use socket2::{Domain, Protocol, Socket, Type};

use super::admission::Seats;
use super::start_error::StartError;
use crate::clock::Mono;
use crate::shard::io::ListenerId;

/// Connections the kernel completes before we accept them; what a storm of reconnects may pile up.
const BACKLOG: i32 = 4096;
/// Connections accepted from one listener in one round; the rest stay in the backlog.
pub(super) const ACCEPTS_PER_ROUND: usize = 64;
/// How long a listener rests when descriptors or memory ran out.
pub(super) const REST_MS: u64 = 100;
/// Unacknowledged bytes for this long mean a dead peer.
const USER_TIMEOUT: Duration = Duration::from_secs(30);

/// One listening socket of one shard.
#[derive(Debug)]
pub struct Listener {
    /// Which listener of the configuration it serves.
    pub id: ListenerId,
    pub(super) fd: OwnedFd,
    /// Of this listener, on all shards.
    pub(super) seats: Arc<Seats>,
    /// Muted until then.
    pub(super) resting: Option<Mono>,
}

/// What one accept brought.
#[derive(Debug)]
pub(super) enum Accepted {
    Socket(OwnedFd, SocketAddr),
    /// The backlog is empty.
    Nothing,
    /// This connection was gone before we took it; the next may be fine.
    Aborted,
    /// No descriptor or no memory: rest.
    Exhausted(Errno),
}

impl Listener {
    /// Takes one connection from the backlog, non-blocking and closed on exec.
    pub(super) fn accept(&self) -> Accepted {
        match rustix::net::acceptfrom_with(&self.fd, SocketFlags::NONBLOCK | SocketFlags::CLOEXEC) {
            Ok((fd, Some(peer))) => match socket_addr(peer) {
                Some(peer) => Accepted::Socket(fd, peer),
                None => Accepted::Aborted,
            },
            Ok((_, None)) => Accepted::Aborted,
            Err(Errno::AGAIN) => Accepted::Nothing,
            Err(errno @ (Errno::MFILE | Errno::NFILE | Errno::NOBUFS | Errno::NOMEM)) => Accepted::Exhausted(errno),
            // Everything else (ECONNABORTED, EPERM of a firewall, EPROTO …) concerns this one connection.
            Err(_) => Accepted::Aborted,
        }
    }
}

fn socket_addr(addr: SocketAddrAny) -> Option<SocketAddr> {
    addr.try_into().ok()
}

/// Binds one address once per shard, for as many clients as there are `seats`. With port 0 the kernel chooses, the same for all shards.
///
/// Returns the sockets in shard order and the address they are bound to.
pub fn bind(
    id: ListenerId,
    name: &str,
    addr: SocketAddr,
    shards: usize,
    seats: &Arc<Seats>,
) -> Result<(Vec<Listener>, SocketAddr), StartError> {
    let failed = |source: io::Error| StartError::listen(name, addr, &source);
    // With SO_REUSEPORT the kernel would let a second process of ours share the port in silence, so first see whether the
    // port can be had alone.
    let mut bound = addr;
    {
        let probe = tcp(addr).map_err(failed)?;
        probe.bind(&addr.into()).map_err(failed)?;
        if addr.port() == 0 {
            bound = probe.local_addr().map_err(failed)?.as_socket().unwrap_or(addr);
        }
    }
    let mut listeners = Vec::with_capacity(shards);
    for _ in 0..shards {
        let fd = listen(bound).map_err(failed)?;
        listeners.push(Listener { id, fd, seats: Arc::clone(seats), resting: None });
    }
    Ok((listeners, bound))
}

fn tcp(addr: SocketAddr) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(addr), Type::STREAM.nonblocking().cloexec(), Some(Protocol::TCP))?;
    // A port whose old connections are still in TIME_WAIT is free.
    socket.set_reuse_address(true)?;
    Ok(socket)
}

fn listen(addr: SocketAddr) -> io::Result<OwnedFd> {
    let socket = tcp(addr)?;
    socket.set_reuse_port(true)?;
    // Accepted sockets inherit these on Linux, which saves a system call for each connection.
    socket.set_tcp_nodelay(true)?;
    socket.set_tcp_user_timeout(Some(USER_TIMEOUT))?;
    socket.bind(&addr.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

impl AsFd for Listener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}
