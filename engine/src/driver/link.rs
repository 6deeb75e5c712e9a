//! One link: the life of a socket to a broker, from the dial to its end.
//!
//! Requests leave in the order they were given, gathered into as few `sendmsg` as the kernel takes; batches are sent from
//! where they lie. Responses come back in the same order, each preceded by its length in four bytes, big-endian:
//!
//! ```text
//! | length: i32 | correlation: i32 | rest of the response |
//!               '------------- length bytes -------------'
//! ```
//!
//! The driver knows no more of Kafka than this. With TLS the handshake belongs to the dial; after it, requests are encrypted on
//! their way to the kernel and responses decrypted into the same frames. SASL is the shard's.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;

use rustix::io::Errno;
use rustix::net::{self, RecvFlags, SendAncillaryBuffer, SendFlags};

use super::dial::{self, SocketOptions};
use super::tls::Session;
use crate::clock::Mono;
use crate::shard::io::Request;

pub(super) use frames::Frames;
pub(super) use outbox::Outbox;

mod encrypted;
mod frames;
mod outbox;

/// Bytes read from one link in one round; what is left is read in the next.
const READ_PER_ROUND: usize = 1024 * 1024;
/// Ciphertext received at once: four records of TLS.
const SCRATCH_BYTES: usize = 64 * 1024;

#[derive(Debug)]
pub(super) enum State {
    /// The control thread looks the name up.
    Resolving,
    /// One address is being tried, others may follow.
    Connecting { fd: OwnedFd, trying: SocketAddr, others: VecDeque<SocketAddr>, until: Mono },
    /// Connected; the TLS handshake is under way.
    Shaking { fd: OwnedFd, tls: Session },
    /// Connected, and encrypted if it is to be.
    Up { fd: OwnedFd, tls: Option<Session> },
    /// Closed; the shard has not been told yet.
    Down { why: String },
}

/// A socket to a broker with its requests.
#[derive(Debug)]
pub(super) struct Link {
    pub state: State,
    pub options: SocketOptions,
    /// The host that is dialled, which TLS may ask to prove itself.
    pub host: String,
    /// When dialling must have succeeded.
    pub dial_until: Mono,
    pub outbox: Outbox,
    /// Sent, not answered; oldest first.
    awaiting: VecDeque<Request>,
    /// Encrypted, expecting no answer, and not yet with the kernel as far as we know.
    sealed: Vec<Request>,
    /// Taken out while responses are delivered from it.
    pub frames: Frames,
    /// The kernel's send buffer was full at the last send.
    blocked: bool,
    /// The broker has shut down its side: its end is still to be read, and no further edge announces it.
    pub ended: bool,
}

/// How a step of dialling went.
#[derive(Debug)]
pub(super) enum Dialled {
    /// A socket is connecting and must be registered.
    Trying,
    /// No address is left.
    Failed(String),
}

/// What a read left behind.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum ReadEnd {
    /// Nothing more for now.
    Drained,
    /// The round's share is used up.
    More,
    /// The socket has ended, for this reason.
    Ended(String),
}

impl Link {
    pub(super) fn new(host: &str, options: SocketOptions, now: Mono) -> Self {
        Self {
            state: State::Resolving,
            host: host.to_string(),
            dial_until: now.plus_ms(options.connect_timeout_ms),
            options,
            outbox: Outbox::default(),
            awaiting: VecDeque::new(),
            sealed: Vec::new(),
            frames: Frames::default(),
            blocked: false,
            ended: false,
        }
    }

    /// Tries the addresses in turn until one begins to connect. Each gets its share of the time that is left, so that a
    /// silent first address leaves some for the second.
    pub(super) fn dial(&mut self, mut addresses: VecDeque<SocketAddr>, now: Mono, mut last_error: String) -> Dialled {
        while let Some(address) = addresses.pop_front() {
            let left = self.dial_until.since(now);
            if left == 0 {
                return Dialled::Failed(format!("{address}: connect timed out"));
            }
            match dial::connect(address, &self.options) {
                Ok(fd) => {
                    let until = now + left / (addresses.len() as u64 + 1);
                    self.state = State::Connecting { fd, trying: address, others: addresses, until };
                    return Dialled::Trying;
                }
                Err(e) => last_error = format!("{address}: {}", reason(&e)),
            }
        }
        Dialled::Failed(last_error)
    }

    /// Queues a request.
    pub(super) fn queue(&mut self, request: Request) {
        self.outbox.push(request);
    }

    /// The socket may take bytes again.
    pub(super) fn unblock(&mut self) -> bool {
        std::mem::take(&mut self.blocked)
    }

    /// Sends what is queued until the kernel takes no more. `sent` gets each request that expects no answer and is out.
    pub(super) fn flush(&mut self, mut sent: impl FnMut(Request)) -> Result<(), String> {
        let State::Up { fd, tls } = &mut self.state else { return Ok(()) };
        if let Some(tls) = tls {
            let mut way = encrypted::Way { fd, tls, outbox: &mut self.outbox, awaiting: &mut self.awaiting };
            self.blocked |= way.flush(self.blocked, &mut self.sealed, &mut sent)?;
            return Ok(());
        }
        while !self.blocked && !self.outbox.is_empty() {
            let (result, offered) = self.outbox.offer(|pieces| {
                net::sendmsg(
                    &*fd,
                    pieces,
                    &mut SendAncillaryBuffer::default(),
                    SendFlags::DONTWAIT | SendFlags::NOSIGNAL,
                )
            });
            match result {
                Ok(taken) => {
                    self.blocked = taken < offered;
                    let awaiting = &mut self.awaiting;
                    self.outbox.advance(taken, |r| if r.answered { awaiting.push_back(r) } else { sent(r) });
                }
                Err(Errno::AGAIN) => self.blocked = true,
                Err(Errno::INTR) => {}
                Err(errno) => return Err(reason(&errno.into())),
            }
        }
        Ok(())
    }

    /// Reads into `frames` until the socket is drained or the round's share is used up. `scratch` is for ciphertext.
    pub(super) fn read(&mut self, frames: &mut Frames, scratch: &mut Scratch) -> ReadEnd {
        let State::Up { fd, tls } = &mut self.state else { return ReadEnd::Drained };
        if let Some(tls) = tls {
            return encrypted::read(fd, tls, self.ended, frames, scratch.bytes());
        }
        let mut share = READ_PER_ROUND;
        while share > 0 {
            let space = frames.space();
            let full = space.len();
            match net::recv(&*fd, space, RecvFlags::DONTWAIT) {
                Ok((0, _)) => return ReadEnd::Ended("closed by the broker".to_string()),
                Ok((n, _)) => {
                    frames.filled(n);
                    share = share.saturating_sub(n);
                    if n < full && !self.ended {
                        return ReadEnd::Drained;
                    }
                }
                Err(Errno::AGAIN) => return ReadEnd::Drained,
                Err(Errno::INTR) => {}
                Err(errno) => return ReadEnd::Ended(reason(&errno.into())),
            }
        }
        ReadEnd::More
    }

    /// The request a response answers: the oldest, and it must carry this correlation id.
    pub(super) fn answer(&mut self, correlation: i32) -> Result<Request, String> {
        match self.awaiting.pop_front() {
            Some(request) if request.correlation == correlation => Ok(request),
            Some(request) => {
                let expected = request.correlation;
                self.awaiting.push_front(request);
                Err(format!("the broker answered request {correlation}, but {expected} is next"))
            }
            None => Err(format!("the broker answered request {correlation}, which is not open")),
        }
    }

    /// Takes the TLS handshake as far as it goes; true once the link is up.
    pub(super) fn shake(&mut self, scratch: &mut Scratch) -> Result<bool, String> {
        let State::Shaking { fd, tls } = &mut self.state else { return Ok(false) };
        if !encrypted::shake(fd, tls, &mut self.frames, scratch.bytes())? {
            return Ok(false);
        }
        if let State::Shaking { fd, tls } = std::mem::replace(&mut self.state, State::Resolving) {
            self.state = State::Up { fd, tls: Some(tls) };
        }
        Ok(true)
    }

    /// Whether decrypting has left something to send: an alert, or new keys.
    pub(super) fn has_more_to_send(&self) -> bool {
        matches!(&self.state, State::Up { tls: Some(tls), .. } if tls.wants_send())
    }

    pub(super) fn is_up(&self) -> bool {
        matches!(self.state, State::Up { .. })
    }

    /// Closes the socket, if it still is open. The first reason counts.
    pub(super) fn go_down(&mut self, why: String) {
        if let State::Up { fd, tls: Some(tls) } = &mut self.state {
            tls.say_goodbye(fd);
        }
        if !matches!(self.state, State::Down { .. }) {
            self.state = State::Down { why };
        }
    }

    /// Everything without an answer, in the order it was given, and why.
    pub(super) fn into_remains(self) -> (Vec<Request>, String) {
        let mut unanswered: Vec<Request> = self.awaiting.into();
        unanswered.extend(self.sealed);
        self.outbox.drain_into(&mut unanswered);
        let why = match self.state {
            State::Down { why } => why,
            _ => "dropped".to_string(),
        };
        (unanswered, why)
    }
}

/// Where ciphertext is received; one for all links of a shard, made when the first of them needs it.
#[derive(Debug, Default)]
pub(super) struct Scratch(Vec<u8>);

impl Scratch {
    fn bytes(&mut self) -> &mut [u8] {
        if self.0.is_empty() {
            self.0.resize(SCRATCH_BYTES, 0);
        }
        &mut self.0
    }
}

/// An error in words that fit into a log line: without Rust's "(os error 111)".
pub(super) fn reason(error: &std::io::Error) -> String {
    let text = error.to_string();
    let end = text.find(" (os error").unwrap_or(text.len());
    text[..end].to_lowercase()
}
