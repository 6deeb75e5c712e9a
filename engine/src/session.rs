//! Sessions: what a client's state with us is, apart from its socket.

pub mod deliveries;
pub mod filters;
pub mod publications;
pub mod qos2;
pub mod shelf;
pub mod subscription;
pub mod table;
pub mod tickets;

use mqtt::Version;

use crate::clock::Mono;
use crate::publication::Publication;
use crate::shard::io::ConnKey;

use deliveries::Deliveries;
use filters::FilterId;
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
    /// What it subscribes to.
    pub subscriptions: Vec<FilterId>,
    /// What its client is to be told.
    pub deliveries: Deliveries,
    /// Whether the shard has it on its list of sessions to send to.
    pub due: bool,
    /// The lane of its publications that wait for subscribers' turn, while there are any.
    pub lane: Option<u32>,
    /// What is published when its connection ends without a word.
    pub will: Option<Box<Will>>,
    /// When the will is published, while the connection is gone and the will is delayed.
    pub will_due: Option<Mono>,
    /// Whether the shard looks at it for late tickets.
    pub listed: bool,
    /// How long it outlives its connection, seconds; 0: it does not.
    pub expiry_s: u32,
    /// When it ends, while it has no connection.
    pub expires: Option<Mono>,
}

/// A publication that the server makes in the client's name [MQTT-3.1.2-8].
#[derive(Debug)]
pub struct Will {
    /// What is published.
    pub publication: Publication,
    /// How long after the end of the connection, milliseconds.
    pub delay_ms: u64,
    /// What the client spoke.
    pub version: Version,
    /// Its address.
    pub peer: Box<str>,
}

impl Session {
    /// A session that nothing is known of but its name; the lanes get these generations.
    pub fn new(client_id: &str, puback: u32, pubrec: u32) -> Self {
        Self {
            client_id: client_id.into(),
            username: None,
            conn: None,
            puback: AckLane::new(puback),
            pubrec: AckLane::new(pubrec),
            received: ReceivedIds::default(),
            subscriptions: Vec::new(),
            deliveries: Deliveries::default(),
            due: false,
            lane: None,
            will: None,
            will_due: None,
            listed: false,
            expiry_s: 0,
            expires: None,
        }
    }

    /// Bytes of records that its open tickets wait for.
    #[inline]
    pub fn open_bytes(&self) -> usize {
        self.puback.open_bytes() + self.pubrec.open_bytes()
    }
}
