//! A writer, its links and a cluster, in one thread with a clock of its own.
//!
//! Links are queues: what is given to a link reaches its broker after a while, in order; answers come back after a while,
//! in order. A link that breaks loses what has not reached the broker and the answers that have not come back. Some of what
//! had reached the broker may be handled later nevertheless, as a broker does with what it has read.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap, VecDeque};

use super::cluster::Cluster;
use crate::buffer::{Batch, PartKey};
use crate::clock::{Mono, Now};
use crate::config::{Document, Loaded, Machine, Sources};
use crate::log::DiskOp;
use crate::metrics::Health;
use crate::shard::ShardId;
use crate::shard::control::ControlMsg;
use crate::shard::io::{BrokerAddr, CloseReason, ConnKey, Input, Io, LinkKey, LoginQuestion, Recv, Request};
use crate::shard::mesh::{MeshMsg, Moved};
use crate::sink::kafka::Produce;
use crate::sink::packing::{PACK_HERE_BYTES, Packer, Packing};
use crate::ticket::Outcome;

/// What will happen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Event {
    Dialled(usize),
    /// The oldest request that has not reached the broker does.
    Reached(usize),
    /// The oldest answer comes back.
    Answered(usize),
    Broken(usize),
    /// A request of a link that is gone is handled all the same.
    Zombie(usize),
    Wake,
}

struct Line {
    key: LinkKey,
    broker: usize,
    up: bool,
    down: bool,
    /// Not answered, oldest first; the first `reached` have been handled.
    requests: VecDeque<Request>,
    reached: usize,
    answers: VecDeque<Vec<u8>>,
    /// When the last event of each direction happens: later ones follow.
    reach_at: u64,
    answer_at: u64,
}

/// The world of one writer.
pub(super) struct World {
    pub(super) cluster: Cluster,
    lines: Vec<Line>,
    events: BinaryHeap<Reverse<(u64, u64, Event)>>,
    zombies: Vec<Option<(usize, Vec<u8>)>>,
    count: u64,
    now: u64,
    /// Brokers that take no connections and answer nothing.
    pub(super) dead: Vec<bool>,
    /// Brokers that read nothing: requests wait.
    pub(super) stalled: Vec<bool>,
    /// Brokers that do what they are asked and never say so.
    pub(super) mute: Vec<bool>,
    /// Chance in a thousand that a link breaks when something happens on it.
    pub(super) breaks: u32,
    /// Batches on their way, by partition: how many, and on which link.
    flying: BTreeMap<PartKey, (u32, LinkKey)>,
    pub(super) inflight_max: u32,
    pub(super) widest_flight: u32,
    pub(super) dials: u32,
}

impl World {
    fn at(&mut self, time: u64, event: Event) {
        self.count += 1;
        self.events.push(Reverse((time, self.count, event)));
    }

    fn delay(&mut self) -> u64 {
        100_000 + u64::from(self.cluster.random.below(2_000_000))
    }

    fn line(&mut self, key: LinkKey) -> Option<usize> {
        self.lines.iter().position(|line| line.key == key && !line.down)
    }

    /// Links that stand or are being dialled, and have not been given up.
    pub(super) fn links(&self) -> usize {
        let broken = |index: usize| self.events.iter().any(|Reverse((_, _, event))| *event == Event::Broken(index));
        self.lines.iter().enumerate().filter(|(index, line)| !line.down && !broken(*index)).count()
    }

    fn lift_off(&mut self, key: LinkKey, request: &Request) {
        for batch in &request.batches {
            let inflight_max = self.inflight_max;
            let (flying, link) = self.flying.entry(batch.part).or_insert((0, key));
            assert!(*flying == 0 || *link == key, "two links carry one partition");
            *link = key;
            *flying += 1;
            assert!(*flying <= inflight_max, "more batches of a partition are on their way than allowed");
            self.widest_flight = self.widest_flight.max(*flying);
        }
    }

    fn touch_down(&mut self, request: &Request) {
        for batch in &request.batches {
            self.flying.get_mut(&batch.part).expect("it left").0 -= 1;
        }
    }
}

impl Io for World {
    fn dial(&mut self, to: &BrokerAddr) -> LinkKey {
        self.dials += 1;
        let index = self.lines.len();
        let key = LinkKey { index: index as u32, generation: 0 };
        let broker = usize::from(to.port - 9000);
        self.lines.push(Line {
            key,
            broker,
            up: false,
            down: false,
            requests: VecDeque::new(),
            reached: 0,
            answers: VecDeque::new(),
            reach_at: 0,
            answer_at: 0,
        });
        let at = self.now + self.delay();
        self.at(at, Event::Dialled(index));
        key
    }

    fn request(&mut self, link: LinkKey, request: Request) {
        self.lift_off(link, &request);
        let index = self.line(link).expect("requests go to links that are not down");
        let at = (self.now + self.delay()).max(self.lines[index].reach_at);
        self.lines[index].reach_at = at;
        self.lines[index].requests.push_back(request);
        self.at(at, Event::Reached(index));
    }

    fn drop_link(&mut self, link: LinkKey) {
        if let Some(index) = self.line(link) {
            let now = self.now;
            self.at(now, Event::Broken(index));
        }
    }

    fn recv(&mut self, _: ConnKey, _: &mut [u8]) -> Recv {
        unreachable!("a writer has no clients")
    }
    fn send(&mut self, _: ConnKey, _: &[u8]) -> usize {
        unreachable!("a writer has no clients")
    }
    fn close(&mut self, _: ConnKey, _: CloseReason) {}
    fn move_conn(&mut self, _: ConnKey, _: ShardId, _: Box<Moved>) {}
    fn find_answer(&mut self, _: LinkKey, _: LoginQuestion) {
        unreachable!("nobody logs in here")
    }
    fn mesh(&mut self, _: ShardId, _: MeshMsg) {}
    fn disk(&mut self, _: DiskOp) {}
    fn control(&mut self, _: ControlMsg) {}
}

/// A batch's values and what came of them.
#[derive(Debug, Clone)]
pub(super) struct Sent {
    pub(super) part: PartKey,
    pub(super) values: Vec<Vec<u8>>,
    pub(super) outcome: Option<Outcome>,
    pub(super) refused: Vec<crate::ticket::Refused>,
    pub(super) too_large: bool,
}

/// A writer in its world.
pub(super) struct Rig {
    pub(super) writer: Produce,
    pub(super) world: World,
    /// By number, which stands in `charge_bytes` of the batch.
    pub(super) sent: Vec<Sent>,
    pub(super) notes: Vec<String>,
    /// The shard that fills the batches packs the large ones.
    packer: Packer,
    packing: Packing,
    /// Its batches are filled by an async sink.
    pub(super) promised: bool,
    woken_at: u64,
}

/// Settings of a sink `s` on topic `t`, with more lines for connector and sink.
pub(super) fn config(connector: &str, sink: &str) -> crate::config::Config {
    let text = format!(
        "[connectors.k]\ntype = \"kafka\"\nbootstrap_hosts = [\"127.0.0.1:9000\", \"127.0.0.1:9001\"]\n{connector}\n\
         [sinks.s]\nconnector = \"k\"\nsource_topics = [\"#\"]\ntopic = \"t\"\n{sink}\n"
    );
    let machine = Machine { memory_bytes: 1 << 30, cores: 1, descriptors: 1024 };
    let loaded = Loaded::load(&Sources::file(Document::new("test.toml", &text)), &machine);
    loaded.unwrap_or_else(|problems| panic!("{problems}")).config
}

impl Rig {
    /// Shard 0 of 1 before a cluster of `brokers`.
    pub(super) fn new(seed: u64, brokers: usize, config: &crate::config::Config) -> Self {
        let writer = Produce::new(ShardId(0), 1, 0, config, [0; 32]).expect("a Kafka connector");
        let world = World {
            cluster: Cluster::new(seed, brokers),
            lines: Vec::new(),
            events: BinaryHeap::new(),
            zombies: Vec::new(),
            count: 0,
            now: 1_000_000_000,
            dead: vec![false; brokers],
            stalled: vec![false; brokers],
            mute: vec![false; brokers],
            breaks: 0,
            flying: BTreeMap::new(),
            inflight_max: config.sinks[0].inflight_batches_max,
            widest_flight: 0,
            dials: 0,
        };
        let packing = Packing { codec: config.sinks[0].compression, level: None };
        let (sent, notes, packer) = (Vec::new(), Vec::new(), Packer::default());
        let promised = config.sinks[0].query_mode == crate::config::QueryMode::Async;
        Self { writer, world, sent, notes, packer, packing, promised, woken_at: u64::MAX }
    }

    /// How the sink stands now.
    pub(super) fn health(&self, sink: u16) -> Health {
        self.writer.health(sink, self.now().mono)
    }

    /// How the connector stands now.
    pub(super) fn connector_health(&self) -> Health {
        self.writer.connector_health(self.now().mono)
    }

    pub(super) fn now(&self) -> Now {
        Now { mono: Mono(self.world.now), wall_ms: 0 }
    }

    /// Gives the writer a batch with these values.
    pub(super) fn submit(&mut self, sink: u16, partition: u32, values: Vec<Vec<u8>>) {
        self.submit_to("", sink, partition, values);
    }

    /// As [`submit`](Self::submit), for a topic that a message has named.
    pub(super) fn submit_to(&mut self, topic: &str, sink: u16, partition: u32, values: Vec<Vec<u8>>) {
        let part = PartKey { sink, partition };
        let mut bytes = Vec::new();
        kafka::record_batch::begin(&mut bytes);
        for (at, value) in (0..).zip(&values) {
            kafka::record_batch::append(
                &mut bytes,
                at,
                i64::from(at),
                Some(b"key"),
                Some(value),
                kafka::record_batch::RawHeaders::NONE,
            );
        }
        let mut batch = Box::new(Batch {
            queued_bytes: bytes.len() - kafka::record_batch::HEADER_LEN,
            bytes,
            runs: Vec::new(),
            records: values.len() as u32,
            refused: Vec::new(),
            too_large: false,
            packed: None,
            part,
            slot: partition,
            live: 0,
            topic_name: topic.to_string(),
            topic: 0,
            epoch: 0,
            home: ShardId(0),
            charge_bytes: self.sent.len(),
            base_timestamp_ms: 1_700_000_000_000,
            max_timestamp_ms: 1_700_000_000_000 + values.len() as i64 - 1,
            opened: Mono(self.world.now),
            told_when_durable: self.promised,
            journal: 0,
        });
        if batch.bytes.len() >= PACK_HERE_BYTES {
            self.packer.pack(&mut batch, self.packing);
        }
        self.sent.push(Sent { part, values, outcome: None, refused: Vec::new(), too_large: false });
        self.writer.submit(batch);
    }

    /// Ends a round and takes what came out of it.
    pub(super) fn round(&mut self) {
        let now = self.now();
        let deadline = self.writer.end_round(now, &mut self.world);
        if let Some(Mono(at)) = deadline
            && at < self.woken_at
        {
            self.woken_at = at.max(self.world.now + 1);
            self.world.at(self.woken_at, Event::Wake);
        }
        while let Some(answered) = self.writer.pop_answered() {
            let sent = &mut self.sent[answered.batch.charge_bytes];
            assert!(sent.outcome.is_none(), "a batch has one outcome");
            assert_eq!(sent.part, answered.batch.part);
            sent.outcome = Some(answered.outcome);
            sent.too_large = answered.batch.too_large;
            sent.refused = answered.batch.refused;
        }
        while let Some((_, text)) = self.writer.pop_note() {
            self.notes.push(text);
        }
    }

    /// Lets the world go on until `time` (ns), or until nothing happens any more.
    pub(super) fn run_until(&mut self, time: u64) {
        self.round();
        while let Some(&Reverse((at, _, _))) = self.world.events.peek()
            && at <= time
        {
            self.step();
        }
        self.world.now = self.world.now.max(time);
        self.round();
    }

    pub(super) fn run_ms(&mut self, ms: u64) {
        self.run_until(self.world.now + ms * 1_000_000);
    }

    /// Ends a round, then takes the next event.
    pub(super) fn step_after_round(&mut self) {
        self.round();
        self.step();
    }

    /// The next event.
    fn step(&mut self) {
        let Some(Reverse((at, _, event))) = self.world.events.pop() else { return };
        self.world.now = self.world.now.max(at);
        match event {
            Event::Dialled(index) => self.dialled(index),
            Event::Reached(index) => self.reached(index),
            Event::Answered(index) => self.answered(index),
            Event::Broken(index) => self.broken(index, "reset by peer"),
            Event::Zombie(index) => {
                if let Some((broker, bytes)) = self.world.zombies[index].take() {
                    self.world.cluster.handle(broker, &bytes);
                }
            }
            Event::Wake => {
                if at >= self.woken_at {
                    self.woken_at = u64::MAX;
                }
            }
        }
        self.round();
    }

    fn input(&mut self, input: Input<'_>) {
        let now = self.now();
        let left = self.writer.on_input(now, input, &mut self.world);
        assert!(left.is_none(), "every input belongs to the only writer: {left:?}");
    }

    fn dialled(&mut self, index: usize) {
        let line = &mut self.world.lines[index];
        if line.down {
            return;
        }
        if self.world.dead.get(line.broker).copied().unwrap_or(true) {
            return self.broken(index, "connection refused");
        }
        line.up = true;
        let key = line.key;
        self.input(Input::LinkUp(key));
    }

    fn reached(&mut self, index: usize) {
        let line = &mut self.world.lines[index];
        if line.down || line.reached >= line.requests.len() {
            return;
        }
        if self.world.stalled[line.broker] {
            let at = self.world.now + 50_000_000;
            line.reach_at = at;
            return self.world.at(at, Event::Reached(index));
        }
        if self.world.cluster.chance(self.world.breaks) {
            return self.broken(index, "reset by peer");
        }
        let line = &mut self.world.lines[index];
        let request = &line.requests[line.reached];
        let (bytes, answered, broker) = (wire(request), request.answered, line.broker);
        let answer = self.world.cluster.handle(broker, &bytes);
        if !answered {
            assert!(answer.is_none());
            let line = &mut self.world.lines[index];
            let request = line.requests.remove(line.reached).expect("it was just there");
            let key = line.key;
            self.world.touch_down(&request);
            return self.input(Input::Sent { link: key, request });
        }
        if self.world.mute[broker] {
            self.world.lines[index].reached += 1;
            return;
        }
        let at = (self.world.now + self.world.delay()).max(self.world.lines[index].answer_at);
        let line = &mut self.world.lines[index];
        line.reached += 1;
        line.answer_at = at;
        line.answers.push_back(answer.expect("an answer"));
        self.world.at(at, Event::Answered(index));
    }

    fn answered(&mut self, index: usize) {
        if self.world.lines[index].down {
            return;
        }
        if self.world.cluster.chance(self.world.breaks) {
            return self.broken(index, "reset by peer");
        }
        let line = &mut self.world.lines[index];
        let (Some(body), Some(request)) = (line.answers.pop_front(), line.requests.pop_front()) else { return };
        line.reached -= 1;
        let key = line.key;
        self.world.touch_down(&request);
        self.input(Input::Response { link: key, body: &body, request });
    }

    fn broken(&mut self, index: usize, why: &str) {
        let line = &mut self.world.lines[index];
        if line.down {
            return;
        }
        line.down = true;
        let (key, broker) = (line.key, line.broker);
        let unanswered: Vec<Request> = line.requests.drain(..).collect();
        let unread: Vec<Vec<u8>> = unanswered.iter().skip(line.reached).map(wire).collect();
        for bytes in unread {
            if !self.world.cluster.chance(300) {
                break;
            }
            let at = self.world.now + self.world.delay() * 3;
            self.world.zombies.push(Some((broker, bytes)));
            let index = self.world.zombies.len() - 1;
            self.world.at(at, Event::Zombie(index));
        }
        for request in &unanswered {
            self.world.touch_down(request);
        }
        self.input(Input::LinkDown { link: key, unanswered, why: why.to_string() });
    }

    /// Breaks every link to a broker.
    pub(super) fn cut_off(&mut self, broker: usize) {
        for index in 0..self.world.lines.len() {
            if self.world.lines[index].broker == broker && self.world.lines[index].up {
                self.broken(index, "reset by peer");
            }
        }
    }
}

/// A request as it is on the wire.
fn wire(request: &Request) -> Vec<u8> {
    let (mut bytes, mut from) = (Vec::new(), 0);
    for (&cut, batch) in request.cuts.iter().zip(&request.batches) {
        bytes.extend_from_slice(&request.head[from..cut as usize]);
        bytes.extend_from_slice(&batch.bytes);
        from = cut as usize;
    }
    bytes.extend_from_slice(&request.head[from..]);
    bytes
}
