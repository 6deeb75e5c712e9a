//! A connection that its client has left without a word: what the server says on it from then on.
//!
//! The client has lost its network, so no acknowledgement on it counts any more. What is looked for is how the server ends it.

use std::io::{ErrorKind, Read};
use std::net::TcpStream;

use crate::mqtt_wire;

/// DISCONNECT, as the kind of a packet.
const DISCONNECT: u8 = 14;

/// The connection.
pub(super) struct Left {
    socket: TcpStream,
    unread: Vec<u8>,
}

/// How the server has ended it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Ended {
    /// Of DISCONNECT, which only MQTT 5 has a server say.
    pub(super) reason: Option<u8>,
}

impl Left {
    /// Leaves a socket that does not block, of which `unread` was read and holds no whole packet.
    pub(super) fn new(socket: TcpStream, unread: Vec<u8>) -> Self {
        Self { socket, unread }
    }

    /// Reads what has come; how it ended, if it has.
    pub(super) fn step(&mut self, scratch: &mut [u8]) -> Option<Ended> {
        loop {
            match self.socket.read(scratch) {
                Ok(0) => return Some(Ended { reason: reason(&self.unread) }),
                Ok(count) => self.unread.extend_from_slice(&scratch[..count]),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return None,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                // Its end may come with RST: it had not read all that we had sent.
                Err(_) => return Some(Ended { reason: reason(&self.unread) }),
            }
        }
    }
}

/// The reason of the DISCONNECT that packets end with, if they do.
fn reason(mut bytes: &[u8]) -> Option<u8> {
    while let Ok(Some((packet, length))) = mqtt_wire::packet(bytes) {
        if packet.kind() == DISCONNECT {
            return Some(packet.body.first().copied().unwrap_or(0));
        }
        bytes = &bytes[length..];
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reason_is_found_behind_other_packets() {
        // PUBACK of packet 1, then DISCONNECT with reason and no properties.
        assert_eq!(reason(&[0x40, 2, 0, 1, 0xe0, 2, 0x8e, 0]), Some(0x8e));
        assert_eq!(reason(&[0x40, 2, 0, 1, 0xe0]), None);
        assert_eq!(reason(&[0xe0, 0]), Some(0));
    }
}
