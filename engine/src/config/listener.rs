//! `[listeners.NAME]`: where MQTT clients connect.

use std::net::SocketAddr;

use super::kind::Flag;
use super::kind::choice::{Choice, words};
use super::kind::network::Address;
use super::kind::number::Count;
use super::option::{Group, Section, options, or, required};

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
        /// Clients connected at once; one more is closed. 0 is as many as descriptors and memory allow.
        "max_connections" => connections_max: u32 = Count::within(0, 10_000_000), or("0");
        /// Admits clients without credentials. Written out, because an address others can reach needs it said.
        "allow_anonymous" => allow_anonymous: bool = Flag, or("false");
    }
}
