//! A shard between its clients and a sink that takes everything, or a Kafka that cannot be reached.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::LazyLock;

use aqueduct::clock::{Mono, Now};
use aqueduct::config::{Config, Document, Loaded, Machine as Facts, Sources};
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

use super::clients::{Line, SLOTS, Said};
use super::{ANSWERS, AWAY, BREAKS, DRIPS};
use crate::trail;

/// A shard at rest has nothing to do now; whoever is not at rest after so many rounds never will be.
const ROUNDS_MAX: usize = 20_000;
/// Longer than any session may last.
const FOR_GOOD_MS: u64 = 8 * 24 * 3_600_000;

static TAKES_ALL: LazyLock<(Config, Settings)> = LazyLock::new(|| load("type = \"discard\""));
static IS_AWAY: LazyLock<(Config, Settings)> =
    LazyLock::new(|| load("type = \"kafka\"\nbootstrap_hosts = [\"127.0.0.1:9\"]"));

fn load(connector: &str) -> (Config, Settings) {
    let text = format!(
        "[connectors.c]\n{connector}\n[sinks.s]\nconnector = \"c\"\nsource_topics = [\"#\"]\ntopic = \"t\"\nvalue = \"${{.}}\"\n"
    );
    let machine = Facts { memory_bytes: 1 << 30, cores: 1, descriptors: 10_000 };
    let loaded = Loaded::load(&Sources::file(Document::new("fuzz.toml", &text)), &machine).expect("valid");
    let plan = Plan::new(&loaded.config, &machine).expect("a plan");
    let settings = Settings::new(&loaded.config, &plan).expect("valid templates");
    (loaded.config, settings)
}

/// The shard and what lies beyond its border.
pub(super) struct Node {
    shard: Shard,
    world: World,
    said: Said,
    now: Now,
}

impl Node {
    pub(super) fn new(choices: u8) -> Self {
        let (config, settings) = if choices & AWAY == 0 { &*TAKES_ALL } else { &*IS_AWAY };
        let writer = if choices & AWAY == 0 {
            Writer::Discard(Discard::new(1))
        } else {
            Writer::Kafka(Box::new(Produce::new(ShardId(0), 1, 0, config, [0; 32]).expect("a Kafka connector")))
        };
        let now = Now { mono: Mono::from_ms(1_000), wall_ms: 1_763_700_000_000 };
        let shard = Shard::new(ShardId(0), settings.clone(), vec![writer], 1, now.mono);
        Self { shard, world: World { choices, ..World::default() }, said: Said::default(), now }
    }

    /// A client sends a packet, on a new connection if its last has ended.
    pub(super) fn packet(&mut self, slot: usize, bytes: &[u8]) {
        let is_connect = bytes[0] >> 4 == 1;
        if self.world.choices & BREAKS != 0 && is_connect && self.world.lines[slot].is_open {
            self.input(Input::Closed(self.world.key(slot)));
            assert!(!self.world.lines[slot].is_open, "a connection that is gone is let go");
        }
        if !self.world.lines[slot].is_open {
            self.world.lines[slot].reopen();
            let peer = SocketAddr::from((Ipv4Addr::LOCALHOST, 50_000));
            self.input(Input::Accepted(self.world.key(slot), ListenerId(0), peer));
        }
        self.world.lines[slot].say(bytes, &mut self.said);
        self.input(Input::Readable(self.world.key(slot)));
        self.rest();
    }

    /// Time passes; all timers that have come due in it are late.
    pub(super) fn pass_ms(&mut self, ms: u64) {
        self.now.mono = self.now.mono.plus_ms(ms);
        self.now.wall_ms += ms as i64;
        self.rest();
    }

    /// The clients go, and all that was kept for them expires.
    pub(super) fn end(&mut self) {
        for slot in 0..SLOTS {
            if self.world.lines[slot].is_open {
                self.world.lines[slot].is_over = true;
                self.input(Input::Readable(self.world.key(slot)));
            }
        }
        // Whoever waits for Kafka is not read.
        self.rest();
        self.pass_ms(FOR_GOOD_MS);
        self.pass_ms(FOR_GOOD_MS);
        if self.world.choices & AWAY == 0 {
            assert!(self.world.lines.iter().all(|line| !line.is_open), "who has gone is let go");
            self.shard.audit_empty();
        }
    }

    /// Rounds until nothing is left to be done at this time.
    fn rest(&mut self) {
        for _ in 0..ROUNDS_MAX {
            let wait = self.shard.end_round(self.now, &mut self.world);
            self.shard.audit(0);
            self.shard.audit_deliveries();
            self.shard.audit_wait(self.now, &wait);
            let is_busy = self.links_fail() | self.sockets_drain() | self.clients_hear();
            if !is_busy && wait.deadline.is_none_or(|at| at > self.now.mono) {
                return;
            }
        }
        panic!("the shard does not come to rest");
    }

    /// Every link that was dialled is refused.
    fn links_fail(&mut self) -> bool {
        let dialled = std::mem::take(&mut self.world.dialled);
        for &link in &dialled {
            self.input(Input::LinkDown { link, unanswered: Vec::new(), why: "connection refused".to_owned() });
        }
        !dialled.is_empty()
    }

    fn sockets_drain(&mut self) -> bool {
        let mut any = false;
        for slot in 0..SLOTS {
            if std::mem::take(&mut self.world.lines[slot].is_full) && self.world.lines[slot].is_open {
                any = true;
                self.input(Input::Writable(self.world.key(slot)));
            }
        }
        any
    }

    fn clients_hear(&mut self) -> bool {
        let mut any = false;
        for slot in 0..SLOTS {
            let answers = self.world.lines[slot].hear(&mut self.said);
            if self.world.choices & ANSWERS == 0 || answers.is_empty() || !self.world.lines[slot].is_open {
                continue;
            }
            any = true;
            self.world.lines[slot].answer(&answers, &mut self.said);
            self.input(Input::Readable(self.world.key(slot)));
        }
        any
    }

    fn input(&mut self, input: Input<'_>) {
        self.shard.on(self.now, input, &mut self.world);
    }
}

/// Sockets and links.
#[derive(Debug, Default)]
struct World {
    choices: u8,
    lines: [Line; SLOTS],
    dials: u32,
    dialled: Vec<LinkKey>,
}

impl World {
    fn key(&self, slot: usize) -> ConnKey {
        ConnKey { index: slot as u32, generation: self.lines[slot].generation }
    }

    fn line(&mut self, conn: ConnKey) -> &mut Line {
        let line = &mut self.lines[conn.index as usize];
        assert!(line.is_open && line.generation == conn.generation, "{conn:?} has ended");
        line
    }
}

impl Io for World {
    fn recv(&mut self, conn: ConnKey, into: &mut [u8]) -> Recv {
        let most = if self.choices & DRIPS == 0 { into.len() } else { 1 };
        let line = self.line(conn);
        let n = line.outbox.len().min(most);
        if n == 0 {
            return if line.is_over { Recv::Eof } else { Recv::Empty };
        }
        into[..n].copy_from_slice(&line.outbox[..n]);
        line.outbox.drain(..n);
        Recv::Got { n, more: !line.outbox.is_empty() || line.is_over }
    }

    fn send(&mut self, conn: ConnKey, bytes: &[u8]) -> usize {
        let most = if self.choices & DRIPS == 0 { bytes.len() } else { 7 };
        let line = self.line(conn);
        let n = bytes.len().min(most);
        line.inbox.extend_from_slice(&bytes[..n]);
        line.is_full |= n < bytes.len();
        n
    }

    fn close(&mut self, conn: ConnKey, why: CloseReason) {
        trail::mark(24, why as u64);
        self.line(conn).is_open = false;
    }

    fn move_conn(&mut self, _: ConnKey, _: ShardId, _: Box<Moved>) {
        unreachable!("there is one shard")
    }

    fn dial(&mut self, _: &BrokerAddr) -> LinkKey {
        self.dials += 1;
        let link = LinkKey { index: self.dials, generation: 1 };
        self.dialled.push(link);
        link
    }

    fn request(&mut self, _: LinkKey, _: Request) {
        unreachable!("no link comes up")
    }

    fn drop_link(&mut self, _: LinkKey) {
        unreachable!("no link comes up")
    }

    fn find_answer(&mut self, _: LinkKey, _: LoginQuestion) {
        unreachable!("nobody logs in")
    }

    fn mesh(&mut self, _: ShardId, _: MeshMsg) {
        unreachable!("there is one shard")
    }

    fn disk(&mut self, _: DiskOp) {
        unreachable!("nothing is written to disk")
    }

    fn control(&mut self, _: ControlMsg) {}
}
