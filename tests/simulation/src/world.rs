//! The world of one seed: an agenda, and what happens at each of its times.
//!
//! Time passes only between events. A shard is driven as the driver drives it: what has come in since its last round is handed
//! to it, fact by fact, then the round ends and says when it wants to be woken.

mod acts;
mod agenda;
mod brokers;
mod changes;
mod disks;
mod displaced;
mod heal;
mod rounds;
mod scripted;
mod wills;

use std::collections::VecDeque;

use aqueduct::clock::{Mono, Now};
use aqueduct::config::{Config, Document, Loaded, Machine, Overflow, Sources};
use aqueduct::plan::Plan as EnginePlan;
use aqueduct::shard::io::{CloseReason, ConnKey};
use aqueduct::shard::{Settings, Shard, ShardId, Sizes};

use crate::client::Client;
use crate::given_up::GivenUp;
use crate::kafka::Cluster;
use crate::ledger::Ledger;
use crate::net::Net;
use crate::plan::{Buffer, Destination, Faults, Plan, SINKS_MAX};
use crate::ports::{Parcel, Ports};
use crate::random::Random;

use agenda::{Agenda, Next, Sleeper};
use brokers::{Held, Zombie};
use changes::Changes;
use disks::Disks;
pub use disks::{read_log, sweep};
use displaced::Displaced;
pub use rounds::Mix;
use rounds::Service;
pub use scripted::simulate;
use wills::Wills;

/// The wall clock when a world begins, milliseconds since 1970.
const BEGINS_MS: i64 = 1_700_000_000_000;

/// Events for each input of a shard; in a world with more nothing goes on before it heals.
const EVENTS_PER_STEP_MAX: u64 = 20;

/// What will happen, but for those who wake.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Event {
    /// A dial of a shard's link ends.
    Dialled(u32, u32, u32),
    /// The next request of a link reaches its broker.
    Reached(u32, u32, u32),
    /// An answer leaves its broker.
    Left(u32, u32, u32),
    /// An answer has come back.
    Done(u32, u32, u32),
    /// A request of a link that is gone is handled all the same.
    Zombie,
    /// The node starts again.
    Start,
    /// Somebody looks at the configuration.
    Change,
    /// Orders reach a shard.
    Mail(u32),
}

/// One shard with what has come in for it.
struct Node {
    shard: Shard,
    ports: Ports,
    /// Client sockets are part of the present wait.
    hears_clients: bool,
    accepts: Vec<usize>,
    readable: Vec<usize>,
    writable: Vec<usize>,
    gone: Vec<usize>,
    services: VecDeque<Service>,
    /// Deliveries that gave way to newer ones, when it was last asked.
    deliveries_dropped: u64,
    /// Reported to be drained, with what it dropped.
    drained: Option<(u64, u64)>,
}

impl Node {
    /// The slots for sinks, vacant ones among them.
    fn slots(&self) -> std::ops::Range<u16> {
        0..self.shard.slots().len() as u16
    }
}

/// Everything.
pub(crate) struct World {
    plan: Plan,
    config: Config,
    engine: EnginePlan,
    settings: Settings,
    faults: Faults,
    now: u64,
    wall_offset_ms: i64,
    agenda: Agenda<Event>,
    random: Random,
    /// How long clients stay away whose wills wait for them.
    absences: Random,
    net: Net,
    nodes: Vec<Node>,
    /// `from * shards + to`: arrival and parcel.
    mesh: Vec<VecDeque<(u64, Parcel)>>,
    clients: Vec<Client>,
    wills: Wills,
    ledger: Ledger,
    cluster: Option<Cluster>,
    zombies: VecDeque<Zombie>,
    held: Held,
    disks: Option<Disks>,
    displaced: Option<Displaced>,
    changes: Option<Changes>,
    /// Possible duplicates that ended nodes had counted.
    admitted: u64,
    /// Records that ended nodes had displaced, and counted, or could not read.
    given_up: GivenUp,
    /// Dead letters of ended nodes, by the sink they were meant for: until they are safe elsewhere, and positions on disk say so, a
    /// crash brings them back.
    buried: Vec<u64>,
    /// How often the power was cut under a buffer.
    pub(crate) power_cuts: u64,
    /// How often a slice of a buffer was copied forward, in lives that have ended.
    copies: u64,
    /// The node is down until it starts again.
    down: bool,
    healing: bool,
    /// Nobody connects any more.
    closing: bool,
    /// Inputs so far.
    pub(crate) mix: Mix,
    trace: bool,
    /// Bytes on their way from a client; kept for its capacity.
    scratch: Vec<u8>,
    frame: Vec<u8>,
}

/// Prints a line of the trace, if there is one.
macro_rules! trace {
    ($world:expr, $($text:tt)*) => {
        if $world.trace {
            println!("{:>12.6} {}", $world.now as f64 / 1e9, format_args!($($text)*));
        }
    };
}
pub(crate) use trace;

impl World {
    /// The world of a plan, before anything has happened.
    ///
    /// # Panics
    /// If the plan's configuration is none.
    pub(crate) fn new(plan: Plan, trace: bool) -> Self {
        let mut random = Random::new(plan.seed ^ 0x5eed);
        let (config, settings, engine) = configured(&plan);
        let changes = plan.changes.then(|| Changes::new(&config, &engine, plan.seed));
        let cluster = (plan.destination == Destination::Kafka).then(|| brokers::cluster(&plan, &mut random));
        let has_disk = plan.destination == Destination::Embedded || plan.buffer != Buffer::Memory;
        let disks = has_disk.then(|| Disks::new(&plan, &mut random));
        let mut world = Self {
            clients: (0..plan.clients.len()).map(|index| Client::new(index, &plan)).collect(),
            wills: Wills::new(plan.clients.len()),
            absences: Random::new(plan.seed ^ 0x0a8a_11ed),
            ledger: Ledger::new(&plan),
            faults: plan.faults.clone(),
            config,
            engine,
            settings,
            now: 1_000_000_000,
            wall_offset_ms: 0,
            agenda: Agenda::new(plan.clients.len()),
            net: Net::default(),
            nodes: Vec::new(),
            mesh: Vec::new(),
            cluster,
            zombies: VecDeque::new(),
            held: Held::new(),
            disks,
            displaced: Displaced::of(&plan),
            changes,
            admitted: 0,
            given_up: GivenUp::default(),
            buried: vec![0; SINKS_MAX],
            power_cuts: 0,
            copies: 0,
            down: false,
            healing: false,
            closing: false,
            mix: Mix::default(),
            trace,
            scratch: Vec::new(),
            frame: Vec::new(),
            random,
            plan,
        };
        world.start();
        for client in 0..world.clients.len() {
            let at = world.now + world.random.below(20_000_000);
            world.wake_client(client, at);
        }
        world.look_at_changes();
        world
    }

    /// Lets things happen until the shards have had `steps` inputs, or get hardly any: on a disk that is full all clients wait.
    pub(crate) fn run(&mut self, steps: u64) {
        let mut events: u64 = 0;
        while self.mix.steps() < steps && events < EVENTS_PER_STEP_MAX * steps + 1_000_000 && self.step() {
            events += 1;
        }
    }

    /// The next event; false if there is none.
    fn step(&mut self) -> bool {
        let Some((at, next)) = self.agenda.pop() else { return false };
        self.now = self.now.max(at);
        let event = match next {
            Next::Event(event) => event,
            Next::Wake(who) => {
                match who {
                    Sleeper::Client(client) => self.act(client),
                    Sleeper::Shard(shard) => self.round(shard),
                    Sleeper::Cluster => self.on_cluster(),
                    Sleeper::Disks => self.on_disks(),
                }
                return true;
            }
        };
        match event {
            Event::Dialled(shard, index, generation) => self.on_dialled(shard as usize, link(index, generation)),
            Event::Reached(shard, index, generation) => self.on_reached(shard as usize, link(index, generation)),
            Event::Left(shard, index, generation) => self.on_left(shard as usize, link(index, generation)),
            Event::Done(shard, index, generation) => self.on_done(shard as usize, link(index, generation)),
            Event::Zombie => self.on_zombie(),
            Event::Start => self.start(),
            Event::Change => self.on_change(at),
            Event::Mail(shard) => self.on_mail(shard as usize),
        }
        true
    }

    fn at(&mut self, time: u64, event: Event) {
        self.agenda.plan(time, event);
    }

    fn wake_client(&mut self, client: usize, at: u64) {
        self.agenda.wake(Sleeper::Client(client), at);
    }

    fn wake_shard(&mut self, shard: usize, at: u64) {
        assert!(shard < self.nodes.len(), "there is a shard {shard}");
        self.agenda.wake(Sleeper::Shard(shard), at);
    }

    fn clock(&self) -> Now {
        let wall_ms = BEGINS_MS + (self.now / 1_000_000) as i64 + self.wall_offset_ms;
        Now { mono: Mono(self.now), wall_ms }
    }

    /// What brokers go by: clocks of their own do not jump with the node's.
    fn brokers_clock(&self) -> Now {
        let mut now = self.clock();
        if !self.plan.additions.clocks_ms.is_empty() {
            now.wall_ms -= self.wall_offset_ms;
        }
        now
    }

    /// Starts the node: empty shards, on what the disk holds.
    fn start(&mut self) {
        trace!(self, "the node starts");
        self.down = false;
        let now = self.clock();
        self.change_shards();
        self.read_file();
        if let Some(disks) = &mut self.disks {
            disks.open(now, self.plan.shards);
        }
        for shard in 0..self.plan.shards {
            let id = ShardId(shard);
            let writers = disks::writers(&self.config, id, self.plan.shards, self.disks.as_ref());
            let seed = self.random.next_u64();
            let starts = self.disks.as_mut().map(|disks| disks.starts(id)).unwrap_or_default();
            let machine = Shard::new(id, self.settings.clone(), writers, seed, Mono(self.now));
            let machine = machine.with_journals(starts);
            let short = (self.faults.short_recv, self.faults.short_send);
            let ports = Ports::new(short, inflight_max(&self.config));
            self.nodes.push(Node {
                shard: machine,
                ports,
                hears_clients: true,
                accepts: Vec::new(),
                readable: Vec::new(),
                writable: Vec::new(),
                gone: Vec::new(),
                services: VecDeque::new(),
                deliveries_dropped: 0,
                drained: None,
            });
            self.wake_shard(usize::from(shard), self.now);
        }
        if self.cluster.is_some() {
            self.look_at_cluster();
        }
    }

    /// A node starts by the file as it was left.
    fn read_file(&mut self) {
        let shards = self.plan.shards;
        let Some(changes) = &mut self.changes else { return };
        self.config = changes.start(shards).clone();
        let mut engine = self.engine.clone();
        engine.shards = shards;
        self.settings = Settings::new(&self.config, &engine).expect("templates").fit(sizes(&self.plan));
        self.ledger.waive(1, false);
    }

    /// A node may be started with another number of shards: what lies in its buffers does not care.
    fn change_shards(&mut self) {
        let first = self.mesh.is_empty();
        if self.plan.buffer != Buffer::Memory && !first && self.random.below(2) == 0 {
            self.plan.shards = self.random.between(1, 4) as u16;
            self.settings.shards = self.plan.shards;
        }
        let shards = usize::from(self.plan.shards);
        self.mesh = (0..shards * shards).map(|_| VecDeque::new()).collect();
    }

    /// kill -9: everything in memory is gone, every connection is reset.
    fn kill(&mut self) {
        trace!(self, "the node is killed");
        self.admitted += self.possible_duplicates();
        self.given_up.add(&self.records_given_up());
        for node in &self.nodes {
            for slot in node.slots().filter(|&slot| self.plan.sink_in(slot) < self.plan.sinks) {
                self.buried[self.plan.sink_in(slot)] += node.shard.buried(slot);
            }
        }
        self.wills.node_killed(self.now, &mut self.ledger);
        self.displaced.iter_mut().for_each(Displaced::node_killed);
        self.ledger.next_life();
        for shard in 0..self.nodes.len() {
            for (_, socket) in self.nodes[shard].ports.conn_keys().collect::<Vec<_>>() {
                self.end_socket(socket, CloseReason::Peer);
            }
            for socket in std::mem::take(&mut self.nodes[shard].accepts) {
                self.end_socket(socket, CloseReason::Peer);
            }
            for key in self.nodes[shard].ports.link_keys() {
                self.abandon_link(shard, key);
            }
        }
        for pair in 0..self.mesh.len() {
            for (_, parcel) in std::mem::take(&mut self.mesh[pair]) {
                if let Parcel::Conn(socket, _) = parcel {
                    self.end_socket(socket, CloseReason::Peer);
                }
            }
        }
        self.end_zombies();
        self.nodes.clear();
        self.agenda.forget_shards();
        self.copies = self.copies();
        if let Some(disks) = &mut self.disks {
            self.power_cuts += u64::from(disks.crash(&mut self.random));
        }
        self.clients.iter_mut().for_each(|client| client.node_killed(&mut self.ledger));
        self.down = true;
        let again = self.now + self.random.between(10_000_000, 300_000_000);
        self.at(again, Event::Start);
    }

    /// The shard's side of a socket is closed.
    fn end_socket(&mut self, socket: usize, why: CloseReason) {
        let state = self.net.get(socket);
        (state.closed, state.closed_at, state.place) = (true, self.now, None);
        let client = state.client();
        if let Some(client) = client {
            trace!(self, "{}: closed by the server, {why:?}", self.plan.clients[client].name);
            let at = self.now + self.random.between(20_000, 500_000);
            self.wake_client(client, at);
        } else {
            self.wills.ended(socket, self.now);
        }
        self.net.tidy(socket);
    }

    /// How often a slice of a buffer was copied forward.
    pub(crate) fn copies(&self) -> u64 {
        self.copies + self.disks.as_ref().map_or(0, Disks::copies)
    }

    /// What may be stored twice, as the shards have counted it.
    fn possible_duplicates(&self) -> u64 {
        let of = |node: &Node| node.slots().map(|slot| node.shard.written(slot).possible_duplicate).sum::<u64>();
        self.nodes.iter().map(of).sum()
    }

    /// Records that will never be stored although no broker refused them: displaced where that is the sink's rule, as many as
    /// were counted, what the disk did not give back, and what went to a topic that messages named and that brokers say nobody may
    /// write to, or that is none: for that they refuse no record. And what was too old to be sent.
    fn records_given_up(&self) -> GivenUp {
        let unread = self.disks.as_ref().map_or(0, Disks::unread_records);
        let mut given_up = GivenUp { unread, ..GivenUp::default() };
        for node in &self.nodes {
            for slot in node.slots() {
                let sink = self.plan.sink_in(slot);
                if sink < self.plan.sinks {
                    given_up.by_sink[sink] += self.given_up_in(node, slot);
                }
            }
        }
        given_up
    }

    /// The same of what is in a slot of a shard now, or was until it became vacant.
    fn given_up_in(&self, node: &Node, slot: u16) -> u64 {
        let sink = self.plan.sink_in(slot);
        let from_the_start = self.settings.sinks[sink].overflow == Overflow::DropOldest;
        let displaces = from_the_start || self.changes.as_ref().is_some_and(|changes| changes.has_displaced(sink));
        let named = self.plan.live && (self.plan.buffer != Buffer::Memory || !self.plan.sync);
        let displaced = if displaces { node.shard.displaced(slot) } else { 0 };
        // In sync nothing that failed was acknowledged: it excuses no loss, only that it comes back late after a crash.
        let retried = self.plan.sync && self.plan.additions.patience.is_some();
        let failed = if named || retried { node.shard.given_up(slot) } else { 0 };
        displaced + failed + node.shard.expired(slot)
    }

    /// Keeps what shards had counted before a slot became vacant, or was taken, and count no more.
    fn keep_counts(&mut self, given_up: &GivenUp, possible_duplicates: u64) {
        self.given_up.add(&given_up.beyond(&self.records_given_up()));
        self.admitted += possible_duplicates.saturating_sub(self.possible_duplicates());
    }

    /// Whether no sink has ever been told to give up what it takes, or to refuse it: then no other takes it either. And no topic came
    /// back with fewer partitions, for which what waited has failed.
    fn has_kept(&self) -> bool {
        let sinks = &self.settings.sinks[..self.plan.sinks];
        let from_the_start = sinks.iter().all(|sink| sink.overflow == Overflow::Backpressure);
        let ever_since = self.changes.as_ref().is_none_or(|changes| changes.gave_way == 0);
        let has_shrunk = self.cluster.as_ref().is_some_and(|cluster| cluster.counts().shrunk > 0);
        let is_patient = self.plan.additions.patience.is_none();
        from_the_start && ever_since && !self.plan.live && !has_shrunk && is_patient
    }

    /// How often topics were made anew.
    pub(crate) fn topics_renewed(&self) -> u64 {
        self.cluster.as_ref().map_or(0, |cluster| cluster.counts().renewed)
    }

    /// Records that all brokers lost though they were committed.
    pub(crate) fn losses(&self) -> u64 {
        self.cluster.as_ref().map_or(0, |cluster| cluster.counts().lost)
    }

    /// Offsets that the node takes for acknowledged and lost.
    pub(crate) fn losses_told(&self) -> u64 {
        let of = |node: &Node| node.slots().map(|slot| node.shard.written(slot).acked_loss).sum::<u64>();
        self.nodes.iter().map(of).sum()
    }

    /// A shard is to hear that a client's socket has bytes or has ended.
    fn tell(&mut self, socket: usize) {
        let state = self.net.get(socket);
        if state.told || state.closed {
            return;
        }
        let Some((shard, _)) = state.place else { return };
        state.told = true;
        let node = &mut self.nodes[shard];
        node.readable.push(socket);
        if node.hears_clients {
            let at = self.now + self.random.below(self.plan.wake_ns);
            self.wake_shard(shard, at);
        }
    }

    /// The key of a socket at the shard that has it now.
    fn key(&mut self, shard: usize, socket: usize) -> Option<ConnKey> {
        let (at, index) = self.net.get(socket).place?;
        if at == shard { self.nodes[shard].ports.key_of(index, socket) } else { None }
    }
}

/// Most batches of a partition that may be away, by sink.
fn inflight_max(config: &Config) -> Vec<u32> {
    config.sinks.iter().map(|sink| sink.inflight_batches_max).collect()
}

fn link(index: u32, generation: u32) -> aqueduct::shard::io::LinkKey {
    aqueduct::shard::io::LinkKey { index, generation }
}

/// The plan's configuration as the engine reads it, with the sizes that no configuration may have.
fn configured(plan: &Plan) -> (Config, Settings, EnginePlan) {
    let sources = Sources::file(Document::new("sim.toml", &plan.config));
    let machine = Machine { memory_bytes: 1 << 30, cores: usize::from(plan.shards), descriptors: 65_536 };
    let loaded = Loaded::load(&sources, &machine).unwrap_or_else(|e| panic!("{e:#?}\n{}", plan.config));
    let engine = EnginePlan::new(&loaded.config, &machine).unwrap_or_else(|e| panic!("{e:#?}\n{}", plan.config));
    let mut settings = Settings::new(&loaded.config, &engine).expect("templates").fit(sizes(plan));
    for sink in &mut settings.sinks {
        (sink.limits.bytes_max, sink.limits.target_bytes) = plan.batch_bytes;
    }
    (loaded.config, settings, engine)
}

/// The sizes of a plan that no configuration may have.
fn sizes(plan: &Plan) -> Sizes {
    Sizes {
        memory_bytes: plan.memory_bytes,
        target_bytes: plan.batch_bytes.1,
        merge_bytes: plan.merge_bytes,
        partition_bytes: plan.partition_bytes,
        segment_bytes: plan.segment_bytes,
    }
}
