//! A shard with a discarding connector, and clients whose bytes lie ready in memory.

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

use crate::packets::connect;

/// A discarding connector with a sink for everything, and `others` for topics that nobody publishes to.
fn config(others: u32) -> String {
    let sink = |name: &str, filter: &str| {
        format!(
            "[sinks.{name}]\nconnector = \"c\"\nsource_topics = [\"{filter}\"]\ntopic = \"t\"\n\
             value = \"${{payload}}\"\nlinger = \"0ms\"\n"
        )
    };
    let others = (0..others).map(|i| sink(&format!("other-{i}"), &format!("others/{i}/+/#")));
    ["[connectors.c]\ntype = \"discard\"\n".to_owned(), sink("s", "#")].into_iter().chain(others).collect()
}

/// Gives each connection the same bytes once per turn and takes whatever is sent.
#[derive(Debug, Default)]
pub struct World {
    block: Vec<u8>,
    given: usize,
    /// Bytes the shard has sent.
    pub sent_bytes: usize,
}

impl Io for World {
    fn recv(&mut self, _: ConnKey, into: &mut [u8]) -> Recv {
        let rest = &self.block[self.given..];
        let n = rest.len().min(into.len());
        if n == 0 {
            return Recv::Empty;
        }
        into[..n].copy_from_slice(&rest[..n]);
        self.given += n;
        Recv::Got { n, more: n < rest.len() }
    }
    fn send(&mut self, _: ConnKey, bytes: &[u8]) -> usize {
        self.sent_bytes += bytes.len();
        bytes.len()
    }
    fn close(&mut self, _: ConnKey, _: CloseReason) {}
    fn move_conn(&mut self, _: ConnKey, _: ShardId, _: Box<Moved>) {}
    fn dial(&mut self, _: &BrokerAddr) -> LinkKey {
        LinkKey { index: 0, generation: 0 }
    }
    fn request(&mut self, _: LinkKey, _: Request) {}
    fn drop_link(&mut self, _: LinkKey) {}
    fn find_answer(&mut self, _: LinkKey, _: LoginQuestion) {
        unreachable!("nobody logs in here")
    }
    fn mesh(&mut self, _: ShardId, _: MeshMsg) {}
    fn disk(&mut self, _: DiskOp) {}
    fn control(&mut self, _: ControlMsg) {}
}

/// One shard and its world.
#[derive(Debug)]
pub struct Rig {
    shard: Shard,
    /// The other side of its border.
    pub world: World,
    now: Now,
    conns: Vec<ConnKey>,
}

impl Rig {
    /// A shard with `clients` connected clients and a sink for what they publish.
    pub fn new(clients: u32) -> Self {
        Self::among(clients, 0)
    }

    /// The same, where `others` sinks are for topics that nobody publishes to.
    pub fn among(clients: u32, others: u32) -> Self {
        let machine = Facts { memory_bytes: 1 << 30, cores: 1, descriptors: 10_000 };
        let loaded =
            Loaded::load(&Sources::file(Document::new("bench.toml", &config(others))), &machine).expect("valid");
        let plan = Plan::new(&loaded.config, &machine).expect("a plan");
        let settings = Settings::new(&loaded.config, &plan).expect("valid templates");
        let now = Now { mono: Mono::from_ms(1_000), wall_ms: 1_700_000_000_000 };
        let shard = Shard::new(ShardId(0), settings, vec![Writer::Discard(Discard::new(4))], 1, now.mono);
        let mut rig = Self { shard, world: World::default(), now, conns: Vec::new() };
        for index in 0..clients {
            let conn = ConnKey { index, generation: 1 };
            rig.conns.push(conn);
            let peer = "127.0.0.1:50000".parse().expect("an address");
            rig.shard.on(now, Input::Accepted(conn, ListenerId(0), peer), &mut rig.world);
            rig.give(conn, connect(&format!("client-{index}")));
        }
        rig
    }

    fn give(&mut self, conn: ConnKey, block: Vec<u8>) {
        self.world.block = block;
        self.world.given = 0;
        self.shard.on(self.now, Input::Readable(conn), &mut self.world);
        self.shard.end_round(self.now, &mut self.world);
    }

    /// Every client sends what lies in `block`, in one round.
    pub fn round(&mut self, block: &mut Vec<u8>) {
        std::mem::swap(&mut self.world.block, block);
        self.now.mono = self.now.mono.plus_ms(5);
        for &conn in &self.conns {
            self.world.given = 0;
            self.shard.on(self.now, Input::Readable(conn), &mut self.world);
        }
        self.shard.end_round(self.now, &mut self.world);
        std::mem::swap(&mut self.world.block, block);
    }
}
