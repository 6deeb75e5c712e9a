//! One shard of the engine in this thread, without a kernel: clients are bytes that lie ready, brokers answer when they are
//! told to, and time passes when the test says so. For promises that are about the shard alone, such as what it allocates.
//!
//! Left out: other shards, disks, and anything that goes wrong with a connection; the simulation and the tests with sockets
//! have those.

mod broker;
mod clients;

use aqueduct::clock::{Mono, Now};
use aqueduct::config::{Document, Loaded, Machine as Facts, Sources};
use aqueduct::log::DiskOp;
use aqueduct::plan::Plan;
use aqueduct::shard::control::ControlMsg;
use aqueduct::shard::io::{
    BrokerAddr, CloseReason, ConnKey, Input, Io, LinkKey, ListenerId, LoginQuestion, Machine, Recv, Request, ShardId,
};
use aqueduct::shard::mesh::{MeshMsg, Moved};
use aqueduct::shard::{Settings, Shard};
use aqueduct::sink::Writer;
use aqueduct::sink::discard::Discard;
use aqueduct::sink::kafka::Produce;

use crate::support::mqtt::{Connect, Publication, Version};
use broker::Brokers;
use clients::Clients;

/// Partitions of every topic.
pub const PARTITIONS: u32 = 4;

/// What the shard's records go to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum To {
    /// Nowhere; they count as stored at once.
    Discard,
    /// A Kafka cluster of so many brokers. Partition `p` is led by broker `p mod brokers`.
    Kafka(u32),
}

/// Everything beyond the shard's border.
#[derive(Debug, Default)]
pub struct World {
    /// The MQTT clients.
    pub clients: Clients,
    /// The Kafka brokers.
    pub brokers: Brokers,
}

impl Io for World {
    fn recv(&mut self, conn: ConnKey, into: &mut [u8]) -> Recv {
        self.clients.recv(conn, into)
    }
    fn send(&mut self, conn: ConnKey, bytes: &[u8]) -> usize {
        self.clients.send(conn, bytes)
    }
    fn close(&mut self, conn: ConnKey, why: CloseReason) {
        panic!("client {} was closed: {why:?}", conn.index);
    }
    fn move_conn(&mut self, _: ConnKey, _: ShardId, _: Box<Moved>) {
        unreachable!("there is one shard")
    }
    fn dial(&mut self, to: &BrokerAddr) -> LinkKey {
        self.brokers.dial(to)
    }
    fn request(&mut self, link: LinkKey, request: Request) {
        self.brokers.request(link, request);
    }
    fn drop_link(&mut self, link: LinkKey) {
        panic!("link {} was dropped", link.index);
    }
    fn find_answer(&mut self, _: LinkKey, _: LoginQuestion) {
        unreachable!("nobody logs in here")
    }
    fn mesh(&mut self, _: ShardId, _: MeshMsg) {
        unreachable!("there is one shard")
    }
    fn disk(&mut self, _: DiskOp) {
        unreachable!("nothing is written to disk")
    }
    fn control(&mut self, _: ControlMsg) {}
}

/// A shard and its world.
#[derive(Debug)]
pub struct Node {
    shard: Shard,
    /// The other side of its border.
    pub world: World,
    now: Now,
    /// Every call of the shard is made through this; a test may measure there.
    pub around: fn(&mut dyn FnMut()),
}

impl Node {
    /// A shard with one sink for everything, the payload as value. `sink` is more lines of that sink's configuration.
    ///
    /// # Panics
    /// If that is no valid configuration.
    pub fn new(to: To, sink: &str) -> Self {
        let connector = match to {
            To::Discard => "type = \"discard\"",
            To::Kafka(_) => "type = \"kafka\"\nbootstrap_hosts = [\"127.0.0.1:9000\"]",
        };
        let text = format!(
            "[mqtt]\nmax_packet_size = \"4MB\"\n[connectors.c]\n{connector}\n\
             [sinks.s]\nconnector = \"c\"\nsource_topics = [\"#\"]\ntopic = \"t\"\nvalue = \"${{payload}}\"\n{sink}\n"
        );
        let machine = Facts { memory_bytes: 1 << 30, cores: 1, descriptors: 10_000 };
        let loaded = Loaded::load(&Sources::file(Document::new("test.toml", &text)), &machine).expect("valid");
        let plan = Plan::new(&loaded.config, &machine).expect("a plan");
        let settings = Settings::new(&loaded.config, &plan).expect("valid templates");
        let (writer, brokers) = match to {
            To::Discard => (Writer::Discard(Discard::new(PARTITIONS)), 0),
            To::Kafka(brokers) => {
                let produce = Produce::new(ShardId(0), 1, 0, &loaded.config, [0; 32]).expect("a Kafka connector");
                (Writer::Kafka(Box::new(produce)), brokers)
            }
        };
        let now = Now { mono: Mono::from_ms(1_000), wall_ms: 1_763_700_000_000 };
        let shard = Shard::new(ShardId(0), settings, vec![writer], 1, now.mono);
        let world = World { clients: Clients::default(), brokers: Brokers::new(brokers) };
        let mut node = Self { shard, world, now, around: |call| call() };
        // Links come up, and the topic's leaders become known.
        for _ in 0..50 {
            node.pass_ms(20);
            node.answer();
        }
        node
    }

    /// A client of MQTT 3.1.1 that is let in.
    ///
    /// # Panics
    /// If it is not.
    pub fn connect(&mut self, client_id: &str) -> ConnKey {
        let conn = self.world.clients.add();
        let peer = "127.0.0.1:50000".parse().expect("an address");
        self.input(Input::Accepted(conn, ListenerId(0), peer));
        self.world.clients.give(conn, Connect::new(Version::V3_1_1, client_id).encode());
        self.readable(conn);
        self.pass_ms(1);
        assert!(self.world.clients.is_let_in(conn), "{client_id} is let in");
        conn
    }

    /// The client has bytes to read; see [`Clients::give`] and [`Clients::again`].
    pub fn readable(&mut self, conn: ConnKey) {
        self.input(Input::Readable(conn));
    }

    /// The client publishes.
    pub fn publish(&mut self, conn: ConnKey, packets: Vec<u8>) {
        self.world.clients.give(conn, packets);
        self.readable(conn);
    }

    /// Ends a round, then time passes.
    pub fn pass_ms(&mut self, ms: u64) {
        let Self { shard, world, now, around } = self;
        around(&mut || {
            shard.end_round(*now, world);
        });
        self.now.mono = self.now.mono.plus_ms(ms);
        self.now.wall_ms += ms as i64;
    }

    /// Every broker that is not stalled answers what it was asked.
    pub fn answer(&mut self) {
        while let Some(link) = self.world.brokers.next_dialled() {
            self.input(Input::LinkUp(link));
        }
        while let Some((link, request, body)) = self.world.brokers.next_answer() {
            self.input(Input::Response { link, body: &body, request });
        }
    }

    fn input(&mut self, input: Input<'_>) {
        let Self { shard, world, now, around } = self;
        let mut input = Some(input);
        around(&mut || {
            if let Some(input) = input.take() {
                shard.on(*now, input, world);
            }
        });
    }
}

/// PUBLISH packets of MQTT 3.1.1 with the packet ids `ids`; at QoS 0 these only count.
pub fn publishes(qos: u8, ids: std::ops::RangeInclusive<u16>, topic: &str, payload: &[u8]) -> Vec<u8> {
    ids.flat_map(|id| {
        let publication = Publication { topic, payload, qos, id, ..Default::default() };
        publication.encode(Version::V3_1_1)
    })
    .collect()
}
