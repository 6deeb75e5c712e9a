//! Sessions: what a client's state with us is, apart from its socket.

pub mod qos2;
pub mod table;
pub mod tickets;

use crate::clock::Mono;
use crate::shard::io::ConnKey;

use qos2::ReceivedIds;
use tickets::AckLane;

/// The state of one client with us. Lives on the client's home shard.
#[derive(Debug)]
pub struct Session {
    /// Client identifier, given or assigned.
    pub client_id: Box<str>,
    /// User name of the latest CONNECT.
    pub username: Option<Box<str>>,
    /// The connection that serves it now.
    pub conn: Option<ConnKey>,
    /// QoS 1 PUBLISHes that wait for their PUBACK; restarted with every connection.
    pub puback: AckLane,
    /// QoS 2 PUBLISHes that wait for their PUBREC; lives as long as the session.
    pub pubrec: AckLane,
    /// QoS 2 identifiers between PUBLISH and PUBREL.
    pub received: ReceivedIds,
    /// Whether the shard looks at it for late tickets.
    pub listed: bool,
    /// How long it outlives its connection, milliseconds; 0: it does not, `None`: for ever.
    pub expiry_ms: Option<u64>,
    /// When it ends, while it has no connection.
    pub expires: Option<Mono>,
}

impl Session {
    /// Bytes of records that its open tickets wait for.
    #[inline]
    pub fn open_bytes(&self) -> usize {
        self.puback.open_bytes() + self.pubrec.open_bytes()
    }
}
