//! `[listeners.NAME]`: where MQTT clients connect.

use std::net::SocketAddr;

use super::kind::Flag;
use super::kind::choice::{Choice, words};
use super::kind::network::{Address, parse_address};
use super::kind::number::Count;
use super::option::{Group, Section, derived, options, or, required};
use super::reader::Reader;

pub(crate) static SECTION: Section = Section {
    name: "listeners",
    named: true,
    about: Listener::ABOUT,
    groups: &[Group { only: None, about: Listener::ABOUT, rows: Listener::ROWS }],
};

words! {
    /// What a listener speaks below MQTT.
    pub enum ListenerKind {
        /// Plain TCP.
        Tcp = "tcp",
    } later ["tls", "ws", "wss"]
}

options! {
    /// Where MQTT clients connect; every shard listens on each.
    pub struct Listener {
        named name;
        /// What the listener speaks below MQTT.
        "kind" => kind: ListenerKind = Choice::of(), or("tcp");
        /// Address and port to listen on.
        "bind" => bind: SocketAddr = Address, required("127.0.0.1:1883");
        /// Clients connected at once; one more is closed. 0 is as many as descriptors and memory of the node allow.
        "max_connections" => connections_max: u32 = Count::within(0, 10_000_000), or("0");
        /// Whether clients without credentials are admitted. An address others can reach needs it said.
        "allow_anonymous" => allow_anonymous: bool = Flag,
            derived("true on a loopback address, else false", "true", |reader| is_loopback(reader).to_string());
    }
}

fn is_loopback(reader: &Reader<'_>) -> bool {
    let address = reader.text("bind").and_then(|text| parse_address(&text));
    // An address that cannot be read is reported as such, and not a second time for its reach.
    address.is_none_or(|address| address.ip().is_loopback())
}
