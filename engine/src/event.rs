//! What a rule or a direct route sees of one PUBLISH. A view: it borrows the receive buffer and the session.

use mqtt::{QoS, Version};

/// One PUBLISH as routes, templates and rules see it. Valid for one call.
#[derive(Debug, Clone, Copy)]
pub struct Event<'a> {
    /// Unique in the cluster; see [`EventIds`].
    pub id: u128,
    /// Client identifier of the publisher.
    pub client_id: &'a str,
    /// User name of the CONNECT, if it had one.
    pub username: Option<&'a str>,
    /// Address of the publisher as `ip:port`.
    pub peer: &'a str,
    /// Topic name, aliases resolved.
    pub topic: &'a str,
    /// Application message, byte for byte.
    pub payload: &'a [u8],
    /// Quality of service it was published with.
    pub qos: QoS,
    /// RETAIN flag of the packet.
    pub retain: bool,
    /// DUP flag of the packet; information only, nothing is ever skipped for it.
    pub dup: bool,
    /// Packet identifier, 0 at QoS 0.
    pub packet_id: u16,
    /// Protocol the publisher speaks.
    pub version: Version,
    /// MQTT 5 properties; empty for 3.1.1.
    pub properties: &'a mqtt::PublishProperties<'a>,
    /// Wall clock at arrival, milliseconds since 1970-01-01 UTC.
    pub received_ms: i64,
    /// Name of this node.
    pub node: &'a str,
}

/// Numbers the events of one shard so that no two in a cluster are the same, without asking anybody:
/// `arrival, ms: 48 bits | node: 32 | shard: 16 | count: 32`. A restart begins the count anew, later.
#[derive(Debug, Clone)]
pub struct EventIds {
    origin: u64,
    count: u32,
}

impl EventIds {
    /// For one shard of the node with this name.
    pub fn new(node: &str, shard: u16) -> Self {
        let node = u64::from(crc32fast::hash(node.as_bytes()));
        Self { origin: node << 16 | u64::from(shard), count: 0 }
    }

    /// The next identifier, for an event that arrived at `received_ms`.
    #[inline]
    pub fn next(&mut self, received_ms: i64) -> u128 {
        self.count = self.count.wrapping_add(1);
        // The upper bits of the time fall off the top.
        (received_ms as u128) << 80 | u128::from(self.origin) << 32 | u128::from(self.count)
    }
}
