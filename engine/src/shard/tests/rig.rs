//! One or more shards with discarding writers, clients that are byte queues, and a clock that is set by hand.

use std::collections::{BTreeSet, HashMap, HashSet, VecDeque};
use std::net::SocketAddr;

use crate::clock::{Mono, Now};
use crate::config::{Document, Loaded, Machine, Sources};
use crate::log::DiskOp;
use crate::plan::Plan;
use crate::shard::control::ControlMsg;
use crate::shard::io::{
    BrokerAddr, CloseReason, ConnKey, Input, Io, LinkKey, ListenerId, LoginQuestion, Machine as _, Recv, Request,
    ShardId, Wait,
};
use crate::shard::mesh::{MeshMsg, Moved};
use crate::shard::{Settings, Shard, SinkSettings};
use crate::sink::Writer;
use crate::sink::discard::Discard;

/// What the shard did to the world.
#[derive(Default)]
pub(super) struct World {
    pub(super) inbox: HashMap<ConnKey, VecDeque<u8>>,
    pub(super) outbox: HashMap<ConnKey, Vec<u8>>,
    pub(super) closed: Vec<(ConnKey, CloseReason)>,
    pub(super) moved: Vec<(ConnKey, ShardId, Box<Moved>)>,
    pub(super) mesh: VecDeque<(ShardId, MeshMsg)>,
    pub(super) control: Vec<ControlMsg>,
    pub(super) disk: Vec<DiskOp>,
    /// Longest read, to split packets anywhere.
    pub(super) recv_max: usize,
    /// How many bytes clients take before they block.
    pub(super) send_room: usize,
    /// Clients that take nothing.
    pub(super) stuck: HashSet<ConnKey>,
    /// Clients that finished sending.
    pub(super) finished: BTreeSet<ConnKey>,
    /// Clients that took less than they were given, to be told when they can take more.
    pub(super) blocked: BTreeSet<ConnKey>,
    /// Keys that were closed or moved: nobody may use them.
    dead: BTreeSet<ConnKey>,
}

impl Io for World {
    fn recv(&mut self, conn: ConnKey, into: &mut [u8]) -> Recv {
        assert!(!self.dead.contains(&conn), "a dead key is not read");
        let inbox = self.inbox.entry(conn).or_default();
        if inbox.is_empty() && self.finished.contains(&conn) {
            return Recv::Eof;
        }
        assert!(!into.is_empty(), "a read has room");
        let n = inbox.len().min(into.len()).min(self.recv_max);
        if n == 0 {
            return Recv::Empty;
        }
        for (slot, byte) in into.iter_mut().zip(inbox.drain(..n)) {
            *slot = byte;
        }
        Recv::Got { n, more: !inbox.is_empty() }
    }
    fn send(&mut self, conn: ConnKey, bytes: &[u8]) -> usize {
        assert!(!self.dead.contains(&conn), "nothing is sent to a dead key");
        let n = if self.stuck.contains(&conn) { 0 } else { bytes.len().min(self.send_room) };
        if n < bytes.len() {
            self.blocked.insert(conn);
        }
        self.send_room -= n;
        self.outbox.entry(conn).or_default().extend_from_slice(&bytes[..n]);
        n
    }
    fn close(&mut self, conn: ConnKey, why: CloseReason) {
        assert!(self.dead.insert(conn), "a connection ends once");
        self.closed.push((conn, why));
    }
    fn move_conn(&mut self, conn: ConnKey, to: ShardId, state: Box<Moved>) {
        assert!(self.dead.insert(conn), "a connection ends once");
        self.moved.push((conn, to, state));
    }
    fn dial(&mut self, _: &BrokerAddr) -> LinkKey {
        unreachable!("discarding writers have no brokers")
    }
    fn request(&mut self, _: LinkKey, _: Request) {}
    fn drop_link(&mut self, _: LinkKey) {}
    fn find_answer(&mut self, _: LinkKey, _: LoginQuestion) {
        unreachable!("nobody logs in here")
    }
    fn mesh(&mut self, to: ShardId, message: MeshMsg) {
        self.mesh.push_back((to, message));
    }
    fn disk(&mut self, op: DiskOp) {
        self.disk.push(op);
    }
    fn control(&mut self, message: ControlMsg) {
        self.control.push(message);
    }
}

const CONFIG: &str = r##"
[connectors.c]
type = "discard"
[sinks.s]
connector = "c"
source_topics = ["#"]
topic = "t"
value = "${payload}"
linger = "0ms"
[mqtt]
max_packet_size = "2MB"
"##;

/// A sink `#` with the payload as value and no linger, synchronous, into a discarding connector.
pub(super) fn sink() -> SinkSettings {
    sink_with("#", "null")
}

/// As [`sink`], with another filter and answer to a missing value.
pub(super) fn sink_with(filter: &str, missing_value: &str) -> SinkSettings {
    let sinks = format!("source_topics = [\"{filter}\"]\nmissing_value = \"{missing_value}\"");
    configured(&CONFIG.replace("source_topics = [\"#\"]", &sinks)).sinks.remove(0)
}

/// Settings of one shard with these sinks and 16 MiB.
pub(super) fn settings(sinks: Vec<SinkSettings>) -> Settings {
    Settings { sinks, ..configured(CONFIG) }
}

/// Settings of one shard by this file and 16 MiB.
pub(super) fn configured(text: &str) -> Settings {
    let sources = Sources::file(Document::new("test.toml", text));
    let machine = Machine { memory_bytes: 1 << 30, cores: 1, descriptors: 1024 };
    let loaded = Loaded::load(&sources, &machine).expect("a valid configuration");
    let plan = Plan::new(&loaded.config, &machine).expect("a plan");
    Settings { memory_bytes: 16 << 20, ..Settings::new(&loaded.config, &plan).expect("valid templates") }
}

/// One shard in its world.
pub(super) struct Rig {
    pub(super) shard: Shard,
    pub(super) world: World,
    pub(super) now: Now,
    next_conn: u32,
}

impl Rig {
    pub(super) fn new(settings: Settings) -> Self {
        Self::with_writer(settings, Writer::Discard(Discard::new(4)))
    }

    pub(super) fn with_writer(settings: Settings, writer: Writer) -> Self {
        Self::at(ShardId(0), settings, writer)
    }

    /// The shard `id` of several.
    pub(super) fn at(id: ShardId, settings: Settings, writer: Writer) -> Self {
        let now = Now { mono: Mono::from_ms(1_000), wall_ms: 1_700_000_000_000 };
        let shard = Shard::new(id, settings, vec![writer], 7, now.mono);
        let world = World { recv_max: usize::MAX, send_room: usize::MAX, ..World::default() };
        Self { shard, world, now, next_conn: 0 }
    }

    /// A connection that has said nothing yet.
    pub(super) fn accept(&mut self) -> ConnKey {
        let key = self.next_key();
        let peer: SocketAddr = "127.0.0.1:50000".parse().expect("an address");
        self.shard.on(self.now, Input::Accepted(key, ListenerId(0), peer), &mut self.world);
        key
    }

    /// A key for a connection of the driver.
    pub(super) fn next_key(&mut self) -> ConnKey {
        self.next_conn += 1;
        ConnKey { index: self.next_conn - 1, generation: 1 }
    }

    /// Whether the shard reported that nothing is open any more.
    pub(super) fn is_drained(&self) -> bool {
        self.world.control.iter().any(|m| matches!(m, ControlMsg::Drained { .. }))
    }

    /// A client that is let in.
    pub(super) fn connect(&mut self, client_id: &str, level: u8) -> ConnKey {
        let key = self.accept();
        self.feed(key, &connect(client_id, level));
        self.round();
        let sent = self.sent(key);
        assert!(sent.starts_with(&[0x20]) && sent[3] == 0, "CONNACK with success: {sent:02x?}");
        key
    }

    /// Bytes arrive from a client and the shard is told.
    pub(super) fn feed(&mut self, conn: ConnKey, bytes: &[u8]) {
        self.world.inbox.entry(conn).or_default().extend(bytes);
        self.shard.on(self.now, Input::Readable(conn), &mut self.world);
    }

    /// Ends a round.
    pub(super) fn round(&mut self) -> Wait {
        self.shard.end_round(self.now, &mut self.world)
    }

    /// Time passes, then a round ends.
    pub(super) fn after_ms(&mut self, ms: u64) -> Wait {
        self.now.mono = self.now.mono.plus_ms(ms);
        self.now.wall_ms += ms as i64;
        self.round()
    }

    /// Takes what was sent to a client.
    pub(super) fn sent(&mut self, conn: ConnKey) -> Vec<u8> {
        self.world.outbox.remove(&conn).unwrap_or_default()
    }
}

/// A 3.1.1 client publishes 40,000 messages and reads none of its acknowledgements, until it is held for that.
pub(super) fn publish_unheard(rig: &mut Rig, conn: ConnKey) {
    rig.world.send_room = 0;
    for n in 0..40 {
        let ids = n * 1000 + 1..=(n + 1) * 1000;
        let bytes: Vec<u8> = ids.flat_map(|id| publish(4, 1, id, "t", b"x")).collect();
        rig.feed(conn, &bytes);
        rig.round();
    }
    assert_eq!(rig.shard.counters.backpressure_paused, 1);
}

/// A CONNECT with clean start; keep-alive 60 s.
pub(super) fn connect(client_id: &str, level: u8) -> Vec<u8> {
    let mut body = vec![0, 4, b'M', b'Q', b'T', b'T', level, 0x02, 0, 60];
    if level == 5 {
        body.push(0);
    }
    body.extend((client_id.len() as u16).to_be_bytes());
    body.extend(client_id.as_bytes());
    packet(0x10, &body)
}

/// A PUBLISH of 3.1.1, or of 5 without properties.
pub(super) fn publish(level: u8, qos: u8, packet_id: u16, topic: &str, payload: &[u8]) -> Vec<u8> {
    let mut body = Vec::new();
    body.extend((topic.len() as u16).to_be_bytes());
    body.extend(topic.as_bytes());
    if qos > 0 {
        body.extend(packet_id.to_be_bytes());
    }
    if level == 5 {
        body.push(0);
    }
    body.extend(payload);
    packet(0x30 | qos << 1, &body)
}

pub(super) fn packet(first: u8, body: &[u8]) -> Vec<u8> {
    let mut out = vec![first];
    let mut len = body.len();
    loop {
        let byte = (len % 128) as u8;
        len /= 128;
        out.push(if len > 0 { byte | 0x80 } else { byte });
        if len == 0 {
            break;
        }
    }
    out.extend(body);
    out
}
