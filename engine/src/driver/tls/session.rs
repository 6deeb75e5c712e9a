//! One TLS connection as a pump between plaintext and a non-blocking socket; of links now, of clients later.
//!
//! Both directions are bounded: plaintext is taken for sending while the cipher queue has room, and ciphertext is decrypted
//! a record at a time into whatever the caller offers.

use std::io::{self, IoSlice, Read as _, Write as _};
use std::os::fd::{AsFd, BorrowedFd};

use rustix::io::Errno;
use rustix::net::{SendAncillaryBuffer, SendFlags, sendmsg};
use rustls::{ClientConnection, Connection};

use super::explain;

/// Most ciphertext that waits for the kernel, in bytes: a socket buffer's worth keeps the kernel busy while we encrypt.
const CIPHER_QUEUE_BYTES: usize = 256 * 1024;

/// A TLS connection without its socket.
#[derive(Debug)]
pub(in crate::driver) struct Session {
    tls: Box<Connection>,
}

/// How far ciphertext got.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::driver) enum Sent {
    /// The kernel has all of it.
    All,
    /// The kernel is full; an edge will come.
    Blocked,
}

impl Session {
    /// The side that dialled.
    pub(in crate::driver) fn client(tls: ClientConnection) -> Self {
        let mut tls = Box::new(Connection::Client(tls));
        tls.set_buffer_limit(Some(CIPHER_QUEUE_BYTES));
        Self { tls }
    }

    /// Whether neither side may send plaintext yet.
    pub(in crate::driver) fn is_handshaking(&self) -> bool {
        self.tls.is_handshaking()
    }

    /// Whether ciphertext waits for the kernel.
    #[inline]
    pub(in crate::driver) fn wants_send(&self) -> bool {
        self.tls.wants_write()
    }

    /// Encrypts as much as the cipher queue has room for; how many bytes that were.
    pub(in crate::driver) fn write(&mut self, pieces: &[IoSlice<'_>]) -> Result<usize, String> {
        self.tls.writer().write_vectored(pieces).map_err(|error| fault_of(&error))
    }

    /// Gives waiting ciphertext to the kernel.
    pub(in crate::driver) fn send(&mut self, socket: &impl AsFd) -> Result<Sent, Errno> {
        let mut out = Out { socket: socket.as_fd() };
        while self.tls.wants_write() {
            match self.tls.write_tls(&mut out) {
                Ok(_) => {}
                Err(error) => match Errno::from_io_error(&error) {
                    Some(Errno::AGAIN) => return Ok(Sent::Blocked),
                    Some(Errno::INTR) => {}
                    other => return Err(other.unwrap_or(Errno::IO)),
                },
            }
        }
        Ok(Sent::All)
    }

    /// Decrypts what was received. `room` offers space for plaintext and is told how much of it was used.
    ///
    /// # Errors
    /// What the peer did wrong, or said that we did. An alert for it may wait to be sent.
    pub(in crate::driver) fn take_in(&mut self, mut cipher: &[u8], room: &mut impl Room) -> Result<(), String> {
        while !cipher.is_empty() {
            // Takes some kilobytes at most, and less where a record ends.
            self.tls.read_tls(&mut cipher).map_err(|error| fault_of(&error))?;
            self.tls.process_new_packets().map_err(|error| explain(&error))?;
            self.drain(room)?;
        }
        Ok(())
    }

    /// Tells the peer that nothing follows, as far as the kernel takes it at once.
    pub(in crate::driver) fn say_goodbye(&mut self, socket: &impl AsFd) {
        self.tls.send_close_notify();
        // The connection ends whether the peer hears of it or not.
        let _ = self.send(socket);
    }

    fn drain(&mut self, room: &mut impl Room) -> Result<(), String> {
        loop {
            match self.tls.reader().read(room.space()) {
                // The peer has said goodbye; the socket's own end follows.
                Ok(0) => return Ok(()),
                Ok(n) => room.filled(n),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(fault_of(&error)),
            }
        }
    }
}

/// Where plaintext goes.
pub(in crate::driver) trait Room {
    /// Space for some bytes; never empty.
    fn space(&mut self) -> &mut [u8];
    /// So many bytes of the space were used.
    fn filled(&mut self, n: usize);
}

/// A socket as rustls wants to write to it.
struct Out<'a> {
    socket: BorrowedFd<'a>,
}

impl io::Write for Out<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.write_vectored(&[IoSlice::new(bytes)])
    }

    fn write_vectored(&mut self, pieces: &[IoSlice<'_>]) -> io::Result<usize> {
        let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
        Ok(sendmsg(self.socket, pieces, &mut SendAncillaryBuffer::default(), flags)?)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// rustls hands its own errors through as those of io.
fn fault_of(error: &io::Error) -> String {
    let own = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
    own.map_or_else(|| format!("TLS: {error}"), explain)
}
