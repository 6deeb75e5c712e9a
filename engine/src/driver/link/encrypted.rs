//! A link's bytes through TLS: handshake, requests out, responses in.

use std::collections::VecDeque;
use std::os::fd::OwnedFd;

use rustix::io::Errno;
use rustix::net::{self, RecvFlags};

use super::{Frames, Outbox, READ_PER_ROUND, ReadEnd, reason};
use crate::driver::tls::{Sent, Session};
use crate::shard::io::Request;

/// A link that is being flushed.
pub(super) struct Way<'a> {
    pub(super) fd: &'a OwnedFd,
    pub(super) tls: &'a mut Session,
    pub(super) outbox: &'a mut Outbox,
    pub(super) awaiting: &'a mut VecDeque<Request>,
}

impl Way<'_> {
    /// Encrypts and sends until the kernel takes no more; true if it is full. A request without an answer is `sent` when the
    /// kernel has its last byte: until then it waits in `sealed`.
    pub(super) fn flush(
        &mut self,
        mut blocked: bool,
        sealed: &mut Vec<Request>,
        sent: &mut impl FnMut(Request),
    ) -> Result<bool, String> {
        while !blocked {
            match self.tls.send(self.fd) {
                Ok(Sent::All) => sealed.drain(..).for_each(&mut *sent),
                Ok(Sent::Blocked) => blocked = true,
                Err(errno) => return Err(reason(&errno.into())),
            }
            if blocked || self.outbox.is_empty() {
                break;
            }
            let (taken, _) = self.outbox.offer(|pieces| self.tls.write(pieces));
            let awaiting = &mut self.awaiting;
            self.outbox.advance(taken?, |r| if r.answered { awaiting.push_back(r) } else { sealed.push(r) });
        }
        Ok(blocked)
    }
}

/// Takes the handshake as far as the socket allows; true once it is over. What the broker has sent beyond it is in `frames`.
pub(super) fn shake(fd: &OwnedFd, tls: &mut Session, frames: &mut Frames, scratch: &mut [u8]) -> Result<bool, String> {
    loop {
        let sent = tls.send(fd).map_err(|errno| reason(&errno.into()))?;
        if !tls.is_handshaking() {
            return Ok(true);
        }
        if sent == Sent::Blocked {
            return Ok(false);
        }
        match net::recv(fd, &mut *scratch, RecvFlags::DONTWAIT) {
            Ok((0, _)) => {
                let why = "closed by the broker during the TLS handshake; does it speak TLS on this port?";
                return Err(why.to_string());
            }
            Ok((n, _)) => {
                let taken = tls.take_in(scratch.get(..n).unwrap_or_default(), frames);
                if taken.is_err() {
                    // The broker is told why, if it still listens.
                    let _ = tls.send(fd);
                }
                taken?;
            }
            Err(Errno::AGAIN) => return Ok(false),
            Err(Errno::INTR) => {}
            Err(errno) => return Err(format!("during the TLS handshake: {}", reason(&errno.into()))),
        }
    }
}

/// Reads and decrypts until the socket is drained or the round's share is used up. `ended`: the broker has shut down its side.
pub(super) fn read(fd: &OwnedFd, tls: &mut Session, ended: bool, frames: &mut Frames, scratch: &mut [u8]) -> ReadEnd {
    let mut share = READ_PER_ROUND;
    while share > 0 {
        match net::recv(fd, &mut *scratch, RecvFlags::DONTWAIT) {
            Ok((0, _)) => return ReadEnd::Ended("closed by the broker".to_string()),
            Ok((n, _)) => {
                if let Err(why) = tls.take_in(scratch.get(..n).unwrap_or_default(), frames) {
                    return ReadEnd::Ended(why);
                }
                share = share.saturating_sub(n);
                if n < scratch.len() && !ended {
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
