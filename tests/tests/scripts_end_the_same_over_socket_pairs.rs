//! The driver takes bytes in whatever pieces they come: a script has the outcome it has in a simulated world also where the real
//! driver serves it over socket pairs, piece by piece.
//!
//! Setup: shards of this process with the real driver, its disk writers and an embedded log; connections are the ends of socket pairs.
//! Action: every script; what a client sends is cut at random, and a piece leaves when the shards have read the one before it.
//! Expectation: every client hears what its like heard in the simulated world, and every partition holds the same records.

use std::collections::BTreeMap;
use std::io::Write;
use std::net::{Shutdown, SocketAddr};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use aqueduct::config::{Document, Loaded, Machine, Sources};
use aqueduct::driver::{
    Clock, ControlPort, Disk, Doorbell, Dropped, Executor, Mailbox, Order, Parts, Seats, ShardLoop, Shards,
    SocketOptions, bind, letters, weave,
};
use aqueduct::log::journal::Journals;
use aqueduct::log::{LogLimits, Opened, TopicSpec, open};
use aqueduct::plan::Plan as EnginePlan;
use aqueduct::shard::io::ListenerId;
use aqueduct::shard::{Settings, Shard, ShardId};
use aqueduct::sink::Writer;
use aqueduct::sink::embedded::Embedded;
use aqueduct_simulation::plan::{Destination, Faults, Plan};
use aqueduct_simulation::random::Random;
use aqueduct_simulation::read_log;
use aqueduct_simulation::script::{
    PARTITIONS, Received, Records, SINKS, Script, Stage, drawn, play, simulate, written,
};
use aqueduct_tests::support::scratch::Scratch;
use tokio::runtime::{Builder, Runtime};

/// Drawn scripts; over TCP more of them are played, several at once.
const DRAWN: u16 = 60;

/// A client waits so long for what does not come.
const PATIENCE: Duration = Duration::from_secs(20);

/// A piece is waited for no longer: a shard leaves alone whom it holds back, and whom it has closed.
const PIECE_READ_IN: Duration = Duration::from_millis(100);

#[test]
fn with_one_shard() {
    compare(1);
}

#[test]
fn with_two_shards() {
    compare(2);
}

fn compare(shards: u16) {
    let node = Node::start(shards);
    let scripts = written().into_iter().map(|written| written.script).chain((0..DRAWN).map(drawn));
    let scripts: Vec<Script> = scripts.filter(|script| !script.needs_kafka()).collect();
    let (mut outcomes, mut pieces) = (BTreeMap::new(), 0);
    for script in &scripts {
        let mut stage = Pairs::new(&node, u64::from(script.number));
        outcomes.insert(script.number, play(script, &mut stage));
        pieces += stage.pieces_read;
    }
    assert!(pieces > 300, "only {pieces} pieces were read one by one");
    let records = node.stop();
    let mut wrong = Vec::new();
    for script in &scripts {
        let expected = simulate(script, Destination::Kafka, 1, None);
        let mut outcome = outcomes.remove(&script.number).expect("every script was played");
        if let Ok(lines) = &mut outcome {
            lines.extend(records.lines(script));
        }
        if outcome != expected {
            wrong.push(format!("{}\n{outcome:#?}\ninstead of, simulated,\n{expected:#?}", script.text()));
        }
    }
    assert!(wrong.is_empty(), "{} of {} scripts differ:\n{}", wrong.len(), scripts.len(), wrong[0]);
}

/// The shards of a node in this process, without its listeners and its HTTP.
struct Node {
    shards: Shards,
    mailboxes: Vec<Arc<Mailbox>>,
    executors: Vec<Executor>,
    reader: JoinHandle<()>,
    opened: Opened,
    runtime: Runtime,
    _dir: Scratch,
}

impl Node {
    fn start(count: u16) -> Self {
        let shards = usize::from(count);
        let dir = Scratch::new("pairs");
        let text = Plan::scripted(Destination::Embedded, count, Faults::default(), 0).config;
        let machine = Machine { memory_bytes: 1 << 30, cores: shards, descriptors: 4_096 };
        let config =
            Loaded::load(&Sources::file(Document::new("pairs.toml", &text)), &machine).expect("it is read").config;
        let plan = EnginePlan::new(&config, &machine).expect("it fits");
        let settings = Settings::new(&config, &plan).expect("its templates are some");
        let limits = LogLimits { segment_bytes: 1 << 20, retention_bytes: 1 << 30, retention_ms: 86_400_000 };
        let topics = SINKS.map(|(topic, _)| TopicSpec { name: topic.to_string(), partitions: PARTITIONS, limits });
        let opened = open(dir.path(), &topics).expect("an empty log");

        let clock = Clock::start();
        let seats = Seats::of_listener(0, &Seats::of_node(1_000));
        // Nobody connects there: a shard's clients are those of a listener.
        let anywhere = SocketAddr::from(([127, 0, 0, 1], 0));
        let (listeners, _) = bind(ListenerId(0), "listeners.test.bind", anywhere, shards, &seats).expect("a free port");
        let bells: Vec<_> = (0..shards).map(|_| Arc::new(Doorbell::new().expect("an eventfd"))).collect();
        let mailboxes: Vec<_> = bells.iter().map(|bell| Arc::new(Mailbox::new(Arc::clone(bell)))).collect();
        let (to_control, from_shards) = letters();
        let mut executors = Vec::new();
        for (index, ((listener, mesh), bell)) in
            listeners.into_iter().zip(weave(&bells, plan.mesh.ring_slots)).zip(bells).enumerate()
        {
            let id = ShardId(index as u16);
            let catalogue = Some(Arc::clone(&opened.catalogue));
            let disk = Disk::start(id, catalogue, Journals::default(), Arc::clone(&bell)).expect("a disk writer");
            let parts = Parts {
                clock,
                listeners: vec![listener],
                connect_rate: 1_000,
                busy_poll_ns: 0,
                connectors: vec![SocketOptions::default()],
                mesh,
                bell,
                control: ControlPort::new(id, Arc::clone(&mailboxes[index]), to_control.clone()),
                disk: Some(disk),
            };
            let topics = config.sinks.iter().map(|sink| opened.catalogue.topic(&sink.topic).cloned()).collect();
            let writer = Writer::Embedded(Embedded::new(id, count, topics, &opened.logs));
            let settings = settings.clone();
            let task = move || async move {
                let machine = Shard::new(id, settings, vec![writer], 7, clock.mono());
                ShardLoop::new(machine, parts).expect("epoll sets").run().expect("the loop ends in peace");
            };
            executors.push(Executor::spawn("test-shard", None, task).expect("a thread"));
        }
        let shards = Shards::new(mailboxes.clone());
        let all = shards.clone();
        // No broker asks who we are.
        let (nobody, _) = tokio::sync::mpsc::unbounded_channel();
        let reader = std::thread::spawn(move || runtime().block_on(all.read_letters(from_shards, nobody)));
        Self { shards, mailboxes, executors, reader, opened, runtime: runtime(), _dir: dir }
    }

    /// Bytes that shards have read from clients.
    fn received_bytes(&self) -> u64 {
        self.runtime.block_on(self.shards.scrape()).iter().map(|sample| sample.own.received_bytes).sum()
    }

    /// Drains, ends the threads, and reads what the log holds.
    fn stop(self) -> Records {
        let dropped = self.runtime.block_on(self.shards.drain(PATIENCE));
        assert_eq!(dropped, Dropped::default(), "everything was stored");
        self.runtime.block_on(self.shards.stop());
        self.executors.into_iter().for_each(|executor| executor.join().expect("no shard panicked"));
        self.reader.join().expect("no shard writes any more");
        let mut records = Records::default();
        for (sink, (topic, _)) in SINKS.into_iter().enumerate() {
            for partition in 0..PARTITIONS {
                let log =
                    self.opened.catalogue.topic(topic).and_then(|topic| topic.log(partition)).expect("a partition");
                read_log(&self.opened, log, |key, value| records.note(sink, partition, key, value));
            }
        }
        records
    }
}

fn runtime() -> Runtime {
    Builder::new_current_thread().enable_all().build().expect("a runtime")
}

/// Connections that are socket pairs, given to one shard after the other.
struct Pairs<'n> {
    node: &'n Node,
    random: Random,
    conns: Vec<Option<UnixStream>>,
    pieces_read: u64,
}

impl<'n> Pairs<'n> {
    fn new(node: &'n Node, seed: u64) -> Self {
        Self { node, random: Random::new(seed), conns: Vec::new(), pieces_read: 0 }
    }

    fn conn(&mut self, conn: usize) -> &mut UnixStream {
        self.conns[conn].as_mut().expect("a connection that was not forgotten")
    }

    /// Sends a piece, and waits until the shards have read that much more.
    fn send_piece(&mut self, conn: usize, piece: &[u8]) {
        let wanted = self.node.received_bytes() + piece.len() as u64;
        if self.conn(conn).write_all(piece).is_err() {
            return;
        }
        let until = Instant::now() + PIECE_READ_IN;
        while Instant::now() < until {
            if self.node.received_bytes() >= wanted {
                self.pieces_read += 1;
                return;
            }
        }
    }
}

impl Stage for Pairs<'_> {
    fn open(&mut self) -> usize {
        let (ours, theirs) = UnixStream::pair().expect("a socket pair");
        ours.set_read_timeout(Some(PATIENCE)).expect("a timeout");
        let shard = self.conns.len() % self.node.mailboxes.len();
        let peer = SocketAddr::from(([127, 0, 0, 1], 1));
        self.node.mailboxes[shard].put(Order::Admit { socket: theirs.into(), peer }).expect("room in the mailbox");
        self.conns.push(Some(ours));
        self.conns.len() - 1
    }

    fn send(&mut self, conn: usize, mut bytes: &[u8]) {
        for _ in 0..self.random.below(4) {
            if bytes.len() < 2 {
                break;
            }
            // Often within the first bytes, where lengths stand.
            let most = if self.random.below(2) == 0 { bytes.len().min(8) } else { bytes.len() } as u64 - 1;
            let (piece, rest) = bytes.split_at(self.random.between(1, most) as usize);
            self.send_piece(conn, piece);
            bytes = rest;
        }
        // Where the shard has closed, reading will tell.
        let _ = self.conn(conn).write_all(bytes);
    }

    fn finish(&mut self, conn: usize) {
        let _ = self.conn(conn).shutdown(Shutdown::Write);
    }

    fn receive(&mut self, conn: usize, into: &mut Vec<u8>) -> Received {
        let most = self.random.one_of(&[1, 3, 100, 16 << 10]);
        Received::read(self.conn(conn), most, into)
    }

    fn forget(&mut self, conn: usize) {
        self.conns[conn] = None;
    }
}
