//! Sockets we open ourselves: options, and the non-blocking connect. Names are resolved on the control thread.

use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;

use rustix::io::Errno;
use socket2::{Domain, Protocol, Socket, TcpKeepalive, Type};

use super::tls;

/// Options of sockets we open ourselves, to brokers.
#[derive(Debug, Clone)]
pub struct SocketOptions {
    /// Time from the dial until the connection stands, name resolution and TLS handshake included.
    pub connect_timeout_ms: u64,
    /// Send small segments at once.
    pub nodelay: bool,
    /// Kernel send buffer; `None` leaves it to the kernel.
    pub sndbuf_bytes: Option<usize>,
    /// Kernel receive buffer; `None` leaves it to the kernel.
    pub recbuf_bytes: Option<usize>,
    /// Keep-alive probes, or none.
    pub keepalive: Option<KeepAlive>,
    /// Encrypts the connection.
    pub tls: Option<Arc<tls::Client>>,
}

/// TCP keep-alive of a link.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KeepAlive {
    /// Silence before the first probe, seconds.
    pub idle_s: u32,
    /// Between probes, seconds.
    pub interval_s: u32,
    /// Probes without an answer before the link is dead.
    pub probes: u32,
}

impl Default for SocketOptions {
    fn default() -> Self {
        Self {
            connect_timeout_ms: 5_000,
            nodelay: true,
            sndbuf_bytes: Some(1024 * 1024),
            recbuf_bytes: Some(1024 * 1024),
            keepalive: None,
            tls: None,
        }
    }
}

/// Starts connecting. The end of it shows as an event, and its result in the socket's error.
pub(super) fn connect(addr: SocketAddr, options: &SocketOptions) -> io::Result<OwnedFd> {
    let socket = outgoing(addr, options)?;
    match socket.connect(&addr.into()) {
        Ok(()) => Ok(socket.into()),
        Err(e) if e.raw_os_error() == Some(Errno::INPROGRESS.raw_os_error()) => Ok(socket.into()),
        Err(e) => Err(e),
    }
}

/// A socket with its options set. Buffer sizes must be set before the connect, or they do not shape the window.
fn outgoing(addr: SocketAddr, options: &SocketOptions) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(addr), Type::STREAM.nonblocking().cloexec(), Some(Protocol::TCP))?;
    socket.set_tcp_nodelay(options.nodelay)?;
    if let Some(bytes) = options.sndbuf_bytes {
        socket.set_send_buffer_size(bytes)?;
    }
    if let Some(bytes) = options.recbuf_bytes {
        socket.set_recv_buffer_size(bytes)?;
    }
    if let Some(keep) = options.keepalive {
        let probes = TcpKeepalive::new()
            .with_time(Duration::from_secs(keep.idle_s.into()))
            .with_interval(Duration::from_secs(keep.interval_s.into()))
            .with_retries(keep.probes);
        socket.set_tcp_keepalive(&probes)?;
    }
    Ok(socket)
}
