//! A [`Connection`] over a blocking TCP socket, for one client in a thread of its own.
//!
//! The socket itself does not block: it is waited for together with the next deadline and, where a caller asks, with
//! another descriptor. So a client that reads its messages from a pipe still answers its server in time.

use std::fmt;
use std::io::{self, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream, ToSocketAddrs as _};
use std::os::fd::BorrowedFd;
use std::time::{Duration, Instant};

use mqtt::QoS;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;

use super::{ClientError, Connection, Happening, Options, Packets};

/// How long one address may take to accept.
const CONNECT: Duration = Duration::from_secs(10);

/// What is tried beside the port that refuses, to say where something does listen.
const USUAL_PORT: u16 = 1883;

/// Read at once.
const READ_BYTES: usize = 64 * 1024;

/// Where a server is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Address {
    /// Name or address.
    pub host: String,
    /// Port.
    pub port: u16,
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { host, port } = self;
        if host.contains(':') { write!(f, "[{host}]:{port}") } else { write!(f, "{host}:{port}") }
    }
}

/// Why [`Socket::wait`] returned.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Wake {
    /// Something happened on the connection.
    Happened(Happening),
    /// The other descriptor can be read.
    Readable,
    /// Time is up.
    Time,
}

/// See the module's head.
#[derive(Debug)]
pub struct Socket {
    stream: TcpStream,
    address: Address,
    connection: Connection,
    began: Instant,
    buffer: Vec<u8>,
    /// The server has closed; what it said before may still be unread.
    ended: bool,
}

impl Socket {
    /// Connects and introduces the client; the answer comes as [`Happening::Connected`].
    ///
    /// # Errors
    /// If no address of the host can be reached.
    pub fn connect(address: &Address, options: &Options, packets: Option<Packets>) -> Result<Self, ClientError> {
        let stream = open(address)?;
        let set = stream.set_nodelay(true).and_then(|()| stream.set_nonblocking(true));
        set.map_err(|error| ClientError::Io { address: address.clone(), error })?;
        let connection = Connection::new(0, options, packets);
        let (address, buffer) = (address.clone(), vec![0; READ_BYTES]);
        Ok(Self { stream, address, connection, began: Instant::now(), buffer, ended: false })
    }

    /// The next happening, or the end of `until`, or that `also` can be read: whichever comes first. Whatever was
    /// published or acknowledged before is written on the way.
    ///
    /// # Errors
    /// After which the connection is over.
    pub fn wait(&mut self, until: Option<Instant>, also: Option<BorrowedFd<'_>>) -> Result<Wake, ClientError> {
        loop {
            let now_ms = self.now_ms();
            if let Some(happening) = self.connection.poll(now_ms).map_err(|fault| self.fault(fault))? {
                return Ok(Wake::Happened(happening));
            }
            if self.ended {
                return Err(self.closed());
            }
            self.connection.handle_timeout(now_ms).map_err(|fault| self.fault(fault))?;
            self.write()?;
            if until.is_some_and(|until| Instant::now() >= until) {
                return Ok(Wake::Time);
            }
            let (ours, other) = self.ready(until, also)?;
            if ours {
                self.read()?;
            } else if other {
                return Ok(Wake::Readable);
            }
        }
    }

    /// As [`Connection::publish`].
    ///
    /// # Errors
    /// As there.
    pub fn publish(&mut self, topic: &str, payload: &[u8], qos: QoS, retain: bool) -> Result<u16, super::Refusal> {
        self.connection.publish(self.now_ms(), topic, payload, qos, retain)
    }

    /// As [`Connection::subscribe`].
    ///
    /// # Errors
    /// As there.
    pub fn subscribe(&mut self, filters: &[String], qos: QoS) -> Result<u16, super::Refusal> {
        self.connection.subscribe(self.now_ms(), filters, qos)
    }

    /// The protocol's state.
    pub fn connection(&self) -> &Connection {
        &self.connection
    }

    /// Waits until everything is written, the server has closed, or `until` is over.
    ///
    /// # Errors
    /// After which the connection is over.
    pub fn flush(&mut self, until: Option<Instant>) -> Result<(), ClientError> {
        self.write()?;
        while !self.connection.output().is_empty() && !self.ended && until.is_none_or(|until| Instant::now() < until) {
            // A server whose own writes nobody reads may stop reading ours.
            if self.ready(until, None)?.0 {
                self.read()?;
            }
            self.write()?;
        }
        Ok(())
    }

    /// Says goodbye, and waits until everything is written, but no longer than `patience`.
    ///
    /// # Errors
    /// If it could not be written.
    pub fn disconnect(mut self, patience: Duration) -> Result<(), ClientError> {
        self.connection.disconnect();
        self.flush(Some(Instant::now() + patience))
    }

    /// Waits; whether our socket is ready, and whether the other descriptor is.
    fn ready(&self, until: Option<Instant>, also: Option<BorrowedFd<'_>>) -> Result<(bool, bool), ClientError> {
        let wanted = if self.connection.output().is_empty() { PollFlags::IN } else { PollFlags::IN | PollFlags::OUT };
        let socket = PollFd::new(&self.stream, wanted);
        let timeout = self.timeout(until);
        let outcome = match &also {
            Some(other) => {
                let mut both = [socket, PollFd::new(other, PollFlags::IN)];
                poll(&mut both, timeout.as_ref()).map(|_| (both[0].revents(), both[1].revents()))
            }
            None => {
                let mut one = [socket];
                poll(&mut one, timeout.as_ref()).map(|_| (one[0].revents(), PollFlags::empty()))
            }
        };
        match outcome {
            Ok((ours, other)) => Ok((!ours.is_empty(), !other.is_empty())),
            Err(Errno::INTR) => Ok((false, false)),
            Err(errno) => Err(self.io(errno.into())),
        }
    }

    /// How long to wait at most: to `until`, or to what the protocol has to do.
    fn timeout(&self, until: Option<Instant>) -> Option<Timespec> {
        let protocol = self.connection.deadline_ms().map(|ms| self.began + Duration::from_millis(ms));
        let end = match (until, protocol) {
            (Some(until), Some(protocol)) => until.min(protocol),
            (until, protocol) => until.or(protocol)?,
        };
        let left = end.saturating_duration_since(Instant::now());
        Some(Timespec {
            tv_sec: i64::try_from(left.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: i64::from(left.subsec_nanos()),
        })
    }

    fn read(&mut self) -> Result<(), ClientError> {
        match self.stream.read(&mut self.buffer) {
            Ok(0) => {
                self.ended = true;
                Ok(())
            }
            Ok(n) => {
                self.connection.receive(self.buffer.get(..n).unwrap_or_default());
                Ok(())
            }
            Err(error) if is_later(&error) => Ok(()),
            Err(error) if is_gone(&error) => {
                self.ended = true;
                Ok(())
            }
            Err(error) => Err(self.io(error)),
        }
    }

    /// Writes as much as the socket takes.
    fn write(&mut self) -> Result<(), ClientError> {
        while !self.connection.output().is_empty() {
            match self.stream.write(self.connection.output()) {
                Ok(n) => self.connection.written(n),
                Err(error) if is_later(&error) => break,
                // The server may have said why before it closed; what it said is read first.
                Err(error) if is_gone(&error) => {
                    let all = self.connection.output().len();
                    self.connection.written(all);
                }
                Err(error) => return Err(self.io(error)),
            }
        }
        Ok(())
    }

    fn now_ms(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    fn fault(&self, fault: super::Fault) -> ClientError {
        ClientError::Fault { address: self.address.clone(), fault }
    }

    fn closed(&self) -> ClientError {
        ClientError::Closed { address: self.address.clone(), connected: self.connection.is_active() }
    }

    fn io(&self, error: io::Error) -> ClientError {
        ClientError::Io { address: self.address.clone(), error }
    }
}

/// Tries every address that the host has.
fn open(address: &Address) -> Result<TcpStream, ClientError> {
    let unresolved = |error| ClientError::Unresolved { address: address.clone(), error };
    let found: Vec<SocketAddr> = (&*address.host, address.port).to_socket_addrs().map_err(unresolved)?.collect();
    let mut last = io::Error::new(io::ErrorKind::NotFound, "the host has no address");
    for to in &found {
        match TcpStream::connect_timeout(to, CONNECT) {
            Ok(stream) => return Ok(stream),
            Err(error) => last = error,
        }
    }
    let instead = found.iter().any(|to| address.port != USUAL_PORT && listens(SocketAddr::new(to.ip(), USUAL_PORT)));
    Err(ClientError::Unreachable { address: address.clone(), error: last, instead: instead.then_some(USUAL_PORT) })
}

fn listens(to: SocketAddr) -> bool {
    TcpStream::connect_timeout(&to, Duration::from_millis(200)).is_ok()
}

fn is_later(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted)
}

fn is_gone(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionAborted
    )
}
