//! A blocking connection to a broker, plain or through TLS, with the same trust that a run has.

use std::io::{self, Read, Write};
use std::net::{TcpStream, ToSocketAddrs as _};
use std::time::Duration;

use rustls::{ClientConnection, StreamOwned};

use crate::config::HostPort;
use crate::driver::tls::{Client, explain};

/// A connected socket.
pub(super) enum Stream {
    Plain(TcpStream),
    Tls(Box<StreamOwned<ClientConnection, TcpStream>>),
}

impl Stream {
    /// The first address of `host` that accepts; else the error of the last.
    pub(super) fn dial(host: &HostPort, timeout: Duration) -> io::Result<Self> {
        let mut last = io::Error::other("the name has no address");
        for address in (host.host.as_str(), host.port).to_socket_addrs()? {
            match TcpStream::connect_timeout(&address, timeout) {
                Ok(stream) => {
                    stream.set_nodelay(true)?;
                    stream.set_read_timeout(Some(timeout))?;
                    stream.set_write_timeout(Some(timeout))?;
                    return Ok(Self::Plain(stream));
                }
                Err(error) => last = error,
            }
        }
        Err(last)
    }

    /// The same connection, encrypted; and what was agreed, for people.
    ///
    /// # Errors
    /// One sentence without a full stop.
    pub(super) fn encrypt(self, host: &str, client: &Client) -> Result<(Self, String), String> {
        let Self::Plain(mut socket) = self else { return Err("it is encrypted already".to_string()) };
        let mut tls = client.connect(host)?;
        while tls.is_handshaking() {
            tls.complete_io(&mut socket).map_err(|error| handshake_fault(&error))?;
        }
        let version = tls.protocol_version().and_then(|version| version.as_str().map(str::to_string));
        let suite = tls.negotiated_cipher_suite().map(|suite| format!("{:?}", suite.suite()));
        let agreed = [version, suite].into_iter().flatten().collect::<Vec<_>>().join(", ");
        Ok((Self::Tls(Box::new(StreamOwned::new(tls, socket))), agreed))
    }

    /// No read takes longer than this.
    pub(super) fn set_read_timeout(&self, timeout: Duration) -> io::Result<()> {
        let socket = match self {
            Self::Plain(socket) => socket,
            Self::Tls(tls) => tls.get_ref(),
        };
        socket.set_read_timeout(Some(timeout))
    }

    /// Sends all of it.
    pub(super) fn send(&mut self, bytes: &[u8]) -> Result<(), String> {
        let sent = match self {
            Self::Plain(socket) => socket.write_all(bytes),
            Self::Tls(tls) => tls.write_all(bytes).and_then(|()| tls.flush()),
        };
        sent.map_err(|error| words_of(&error))
    }

    /// Some bytes; none at its end.
    pub(super) fn receive(&mut self, into: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Plain(socket) => socket.read(into),
            Self::Tls(tls) => match tls.read(into) {
                // A peer that closes without saying goodbye has ended all the same.
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(0),
                other => other,
            },
        }
    }
}

fn handshake_fault(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::UnexpectedEof => "the broker closed the connection; does it speak TLS on this port?".to_string(),
        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => "no answer in time".to_string(),
        _ => words_of(error),
    }
}

/// rustls hands its own errors through as those of io.
pub(super) fn words_of(error: &io::Error) -> String {
    let own = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
    own.map_or_else(|| error.to_string(), explain)
}
