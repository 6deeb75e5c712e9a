//! One Kafka cluster as one shard reaches it: links to the brokers that lead this shard's partitions, one more link for
//! questions, and the answers to those questions.
//!
//! ```text
//! control ── bootstrap hosts in turn, then known brokers ── Metadata, InitProducerId
//! brokers ── id → address → lanes 0..connections_per_broker ── Produce
//! ```
//!
//! Questions have a link of their own because a broker answers the requests of a connection one after the other: behind a
//! Produce that waits for replicas, news of the leader that replaces them would come too late.
//!
//! Left out: records and their fate (`sink::kafka`), sockets (the driver).

pub mod link;
pub mod metadata;

use std::collections::VecDeque;

use kafka::ErrorCode;
use kafka::message::init_producer_id::{self, Producer};
use kafka::message::{ApiKey, metadata as metadata_api};

use crate::clock::Mono;
use crate::shard::ShardId;
use crate::shard::control::Level;
use crate::shard::io::{BrokerAddr, Input, Io, LinkKey, Request};
use crate::shard::placement::owner_of;

use link::{Asked, Heard, Link, Patience};
use metadata::{Change, Refresh, Topic};

/// Log lines kept for the shard; more in one round would be suppressed anyway.
const NOTES_MAX: usize = 16;

/// How to reach a cluster.
#[derive(Debug, Clone)]
pub struct ClusterSettings {
    /// The shard that reaches it.
    pub shard: ShardId,
    /// Shards of this process.
    pub shards: u16,
    /// Name of the connector, for log lines.
    pub name: String,
    /// Name by which brokers know us.
    pub client_id: String,
    /// Brokers to ask first; not empty.
    pub bootstrap: Vec<BrokerAddr>,
    /// How long things may take.
    pub patience: Patience,
    /// Links of this shard to each broker.
    pub lanes: u16,
    /// Whether asking for a topic may create it.
    pub create_topics: bool,
    /// Least time between two questions about topics, milliseconds.
    pub refresh_min_ms: u64,
    /// Most time between two questions about topics, milliseconds.
    pub refresh_max_ms: u64,
    /// Names of the topics written to; elsewhere a topic is an index here.
    pub topics: Vec<String>,
}

/// A link to a broker that stores records: which broker, which of its lanes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Slot {
    /// Index among the brokers.
    pub broker: u16,
    /// Which of the links to it.
    pub lane: u16,
}

/// What an input meant.
#[derive(Debug)]
pub enum Event<'a> {
    /// Nothing for a sink.
    None,
    /// Answer to a Produce.
    Produced {
        /// The link it came on.
        slot: Slot,
        /// The version of the request.
        version: i16,
        /// For the decoder.
        body: &'a [u8],
        /// The request, with its batches.
        request: Request,
    },
    /// A Produce without an answer has left.
    Sent(Request),
    /// A link is gone, and what was sent on it has no answer.
    Lost(Vec<Request>),
    /// What is known of the topics may have changed.
    Learned(Learned),
    /// Answer to the question for a producer id.
    ProducerId(Result<Producer, ErrorCode>),
    /// The question for a producer id will not be answered.
    ProducerIdLost,
}

/// What an answer about topics changed.
#[derive(Debug, Default)]
pub struct Learned {
    /// A topic is known now, or has another number of partitions.
    pub counts: bool,
    /// Topics that were made anew under their old names.
    pub recreated: Vec<u16>,
}

#[derive(Debug)]
struct Broker {
    id: i32,
    addr: BrokerAddr,
    lanes: Vec<Lane>,
}

#[derive(Debug)]
struct Lane {
    link: Link,
    /// It carries a partition that this shard owns.
    wanted: bool,
}

/// One cluster.
#[derive(Debug)]
pub struct Cluster {
    settings: ClusterSettings,
    control: Link,
    /// Which of the addresses to ask is tried next: the bootstrap hosts, then the known brokers.
    turn: usize,
    brokers: Vec<Broker>,
    topics: Vec<Topic>,
    refresh: Refresh,
    /// Why the last link ended, for people.
    last_error: Option<String>,
    notes: VecDeque<(Level, String)>,
}

/// A link by place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    Control,
    Lane(Slot),
}

impl Cluster {
    /// A cluster nobody has been asked about.
    pub fn new(settings: ClusterSettings) -> Self {
        Self {
            control: Link::default(),
            turn: 0,
            brokers: Vec::new(),
            topics: settings.topics.iter().cloned().map(Topic::new).collect(),
            refresh: Refresh::new(settings.refresh_min_ms, settings.refresh_max_ms),
            last_error: None,
            notes: VecDeque::new(),
            settings,
        }
    }

    /// Takes in what belongs to a link of this cluster; gives back what does not.
    pub fn on_input<'a>(&mut self, now: Mono, input: Input<'a>, io: &mut impl Io) -> Result<Event<'a>, Input<'a>> {
        let key = match &input {
            Input::LinkUp(link) => *link,
            Input::Response { link, .. } | Input::Sent { link, .. } | Input::LinkDown { link, .. } => *link,
            _ => return Err(input),
        };
        let Some(place) = self.place_of(key) else { return Err(input) };
        Ok(match input {
            Input::LinkUp(_) => {
                let (client_id, patience) = (self.settings.client_id.clone(), self.settings.patience);
                self.link_mut(place).on_up(now, &client_id, &patience, io);
                Event::None
            }
            Input::Response { body, request, .. } => self.on_response(now, place, body, request, io),
            Input::Sent { request, .. } => {
                self.link_mut(place).on_sent(now, request.correlation);
                Event::Sent(request)
            }
            Input::LinkDown { unanswered, why, .. } => self.on_down(now, place, unanswered, why),
            other => return Err(other),
        })
    }

    /// Dials, asks, and gives up what is silent.
    pub fn step(&mut self, now: Mono, io: &mut impl Io) {
        let patience = self.settings.patience;
        if self.control.dial_at().is_some_and(|at| at <= now)
            && let Some(to) = self.address()
        {
            self.control.dial(now, &to, &patience, io);
        }
        if self.control.is_ready() && self.refresh.due_at().is_some_and(|at| at <= now) {
            self.ask_metadata(now, io);
        }
        let mut silent = self.control.close_if_silent(now, &patience, io).then(|| "a broker".to_string());
        for broker in &mut self.brokers {
            for lane in &mut broker.lanes {
                if lane.wanted && lane.link.dial_at().is_some_and(|at| at <= now) {
                    lane.link.dial(now, &broker.addr, &patience, io);
                }
                if lane.link.close_if_silent(now, &patience, io) {
                    silent = Some(format!("broker {} at {}:{}", broker.id, broker.addr.host, broker.addr.port));
                }
            }
        }
        if let Some(who) = silent {
            self.note(
                Level::Warn,
                format!("{who} does not answer: its connection is closed, what is open is sent again"),
            );
        }
    }

    /// When to be called again at the latest.
    pub fn deadline(&self, now: Mono) -> Option<Mono> {
        let patience = &self.settings.patience;
        let question = self.refresh.due_at().filter(|_| self.control.is_ready());
        let mut deadline =
            [question, self.control.dial_at(), self.control.silent_at(patience)].into_iter().flatten().min();
        for lane in self.brokers.iter().flat_map(|broker| &broker.lanes) {
            let dial = lane.link.dial_at().filter(|_| lane.wanted);
            let own = [dial, lane.link.silent_at(patience), lane.link.quiet_ends(now)];
            deadline = own.into_iter().chain([deadline]).flatten().min();
        }
        deadline
    }

    /// Asks for a producer id, if there is somebody to ask now.
    ///
    /// # Errors
    /// The broker has no such API: which versions it speaks.
    pub fn ask_producer_id(&mut self, now: Mono, io: &mut impl Io) -> Result<bool, String> {
        self.control.speaks(ApiKey::InitProducerId)?;
        let Some(begun) = self.control.begin(now, ApiKey::InitProducerId, Asked::ProducerId, true) else {
            return Ok(false);
        };
        let mut head = Vec::new();
        init_producer_id::encode_request(begun.version, begun.correlation, &self.settings.client_id, &mut head);
        io.request(begun.key, question(begun.correlation, head));
        Ok(true)
    }

    /// What is known of the topics is out of date.
    pub fn mark_stale(&mut self) {
        self.refresh.mark_stale();
    }

    /// A topic by index.
    #[inline]
    pub fn topic(&self, topic: u16) -> Option<&Topic> {
        self.topics.get(usize::from(topic))
    }

    /// The link to the leader of a partition; its broker may be out of reach.
    #[inline]
    pub fn slot(&self, topic: u16, partition: u32) -> Option<Slot> {
        let broker = self.topic(topic)?.leader(partition)?;
        // Consecutive partitions of this shard go over consecutive lanes.
        let turn = partition / u32::from(self.settings.shards) + u32::from(topic);
        Some(Slot { broker, lane: (turn % u32::from(self.settings.lanes)) as u16 })
    }

    /// The link in a slot.
    #[inline]
    pub fn lane(&self, slot: Slot) -> Option<&Link> {
        Some(&self.brokers.get(usize::from(slot.broker))?.lanes.get(usize::from(slot.lane))?.link)
    }

    /// The link in a slot.
    #[inline]
    pub fn lane_mut(&mut self, slot: Slot) -> Option<&mut Link> {
        Some(&mut self.brokers.get_mut(usize::from(slot.broker))?.lanes.get_mut(usize::from(slot.lane))?.link)
    }

    /// A broker says that another one leads the partition now (KIP-951).
    pub fn hear_of_leader(&mut self, topic: u16, partition: u32, broker_id: i32, epoch: i32) {
        let Some(broker) = self.broker_index(broker_id) else { return };
        let Some(known) = self.topics.get_mut(usize::from(topic)) else { return };
        if known.hear_of_leader(partition, broker, epoch) {
            self.mark_wanted();
        }
    }

    /// Gives up a link whose broker does not speak Kafka as we know it.
    pub fn fail(&mut self, slot: Slot, why: String, io: &mut impl Io) {
        self.note(Level::Error, format!("broker {}: {why}", self.broker_name(slot)));
        if let Some(link) = self.lane_mut(slot) {
            link.close(io);
        }
    }

    /// Name by which brokers know us.
    pub fn client_id(&self) -> &str {
        &self.settings.client_id
    }

    /// Whether somebody answers questions.
    pub fn is_reached(&self) -> bool {
        self.control.is_ready()
    }

    /// What keeps the partitions of `topic` that this shard owns from being written, or `None`.
    pub fn trouble(&self, topic: u16) -> Option<String> {
        let known = self.topic(topic)?;
        if let Some(error) = known.trouble {
            return Some(format!("topic {}: {error}: {}", known.name, error.why()));
        }
        if known.partitions().is_none() {
            let why = self.last_error.clone().unwrap_or_else(|| "no answer yet".to_string());
            return Some(format!("topic {} is not known yet: {why}", known.name));
        }
        if !known.is_led() {
            return Some(format!("a partition of topic {} has no leader", known.name));
        }
        let mut wanted = self.brokers.iter().flat_map(|b| b.lanes.iter().map(move |lane| (b, lane)));
        let (broker, _) = wanted.find(|(_, lane)| lane.wanted && !lane.link.is_ready())?;
        let why = self.last_error.clone().unwrap_or_else(|| "connecting".to_string());
        Some(format!("broker {} at {}:{}: {why}", broker.id, broker.addr.host, broker.addr.port))
    }

    /// The next line for the log.
    pub fn pop_note(&mut self) -> Option<(Level, String)> {
        self.notes.pop_front()
    }

    /// Adds a line for the log.
    pub fn note(&mut self, level: Level, text: String) {
        if self.notes.len() < NOTES_MAX {
            self.notes.push_back((level, format!("connector {}: {text}", self.settings.name)));
        }
    }

    fn ask_metadata(&mut self, now: Mono, io: &mut impl Io) {
        let Some(begun) = self.control.begin(now, ApiKey::Metadata, Asked::Metadata, true) else { return };
        let names: Vec<&str> = self.settings.topics.iter().map(String::as_str).collect();
        let create = self.settings.create_topics;
        let mut head = Vec::new();
        let client_id = &self.settings.client_id;
        metadata_api::encode_request(begun.version, begun.correlation, client_id, Some(&names), create, &mut head);
        io.request(begun.key, question(begun.correlation, head));
        self.refresh.on_asked(now);
    }

    /// The addresses to ask: after the bootstrap hosts, which may all have been replaced, the brokers they told of.
    fn addresses(&self) -> impl Iterator<Item = &BrokerAddr> {
        let bootstrap = &self.settings.bootstrap;
        bootstrap.iter().chain(self.brokers.iter().map(|broker| &broker.addr).filter(|addr| !bootstrap.contains(addr)))
    }

    /// The address whose turn it is.
    fn address(&self) -> Option<BrokerAddr> {
        let count = self.addresses().count();
        self.addresses().nth(self.turn % count.max(1)).cloned()
    }

    fn on_response<'a>(
        &mut self,
        now: Mono,
        place: Place,
        body: &'a [u8],
        request: Request,
        io: &mut impl Io,
    ) -> Event<'a> {
        let heard = self.link_mut(place).on_response(now, request.correlation, body, io);
        let (asked, version, body) = match heard {
            Ok(Heard::Handshake) => return Event::None,
            Ok(Heard::Ready) => {
                self.on_ready(place);
                return Event::None;
            }
            Ok(Heard::Answer { asked, version, body }) => (asked, version, body),
            Err(why) => {
                self.give_up(place, &why, io);
                return Event::Lost(vec![request]);
            }
        };
        match (asked, place) {
            (Asked::Produce, Place::Lane(slot)) => Event::Produced { slot, version, body, request },
            (Asked::Metadata, _) => match metadata_api::decode_response(version, body) {
                Ok(told) => Event::Learned(self.learn(&told)),
                Err(error) => {
                    self.give_up(place, &error.to_string(), io);
                    Event::None
                }
            },
            (Asked::ProducerId, _) => match init_producer_id::decode_response(version, body) {
                Ok(response) => Event::ProducerId(response.producer),
                Err(error) => {
                    self.give_up(place, &error.to_string(), io);
                    Event::ProducerIdLost
                }
            },
            (Asked::Versions | Asked::Produce, _) => Event::None,
        }
    }

    fn on_ready(&mut self, place: Place) {
        if place == Place::Control && self.last_error.take().is_some() {
            self.note(Level::Info, "a broker answers".to_string());
        }
    }

    fn on_down(&mut self, now: Mono, place: Place, unanswered: Vec<Request>, why: String) -> Event<'static> {
        let was_ready = self.link_mut(place).is_ready();
        self.link_mut(place).on_down();
        // Brokers close what is idle for ten minutes; that is no news.
        let idle = was_ready && unanswered.is_empty();
        let address = match place {
            Place::Control => self.address().map(|to| format!("{}:{}", to.host, to.port)).unwrap_or_default(),
            Place::Lane(slot) => self.broker_name(slot),
        };
        if !idle && self.last_error.is_none() {
            self.note(Level::Warn, format!("broker {address}: {why}"));
        }
        match place {
            Place::Control => {
                if !idle {
                    self.last_error = Some(format!("{address}: {why}"));
                    self.try_next_host(now);
                }
                self.refresh.on_lost();
                Event::ProducerIdLost
            }
            Place::Lane(_) => {
                if !idle {
                    self.last_error = Some(format!("{address}: {why}"));
                }
                self.refresh.mark_stale();
                Event::Lost(unanswered)
            }
        }
    }

    /// Another host is tried at once; a pause follows when all have had their turn.
    fn try_next_host(&mut self, now: Mono) {
        self.turn += 1;
        if self.turn < self.addresses().count() {
            self.control.rest_no_more();
        } else {
            self.turn = 0;
            self.control.rest_until(now.plus_ms(self.settings.patience.reconnect_delay_ms));
        }
    }

    fn give_up(&mut self, place: Place, why: &str, io: &mut impl Io) {
        self.last_error = Some(why.to_string());
        self.note(Level::Error, format!("an answer that is not understood: {why}"));
        self.link_mut(place).close(io);
    }

    fn learn(&mut self, told: &metadata_api::Metadata) -> Learned {
        self.refresh.on_answer();
        for broker in &told.brokers {
            self.learn_broker(broker);
        }
        let mut learned = Learned::default();
        for topic in &told.topics {
            let Some(at) = self.settings.topics.iter().position(|name| *name == topic.name) else { continue };
            self.learn_topic(at, topic, &mut learned);
        }
        self.mark_wanted();
        if self.topics.iter().any(|topic| topic.trouble.is_some() || !topic.is_led()) {
            self.refresh.mark_stale();
        }
        learned
    }

    fn learn_topic(&mut self, at: usize, told: &metadata_api::Topic, learned: &mut Learned) {
        let brokers = &self.brokers;
        let index = |id: i32| brokers.iter().position(|broker| broker.id == id).map(|i| i as u16);
        let known = &mut self.topics[at];
        let trouble_before = known.trouble;
        let Change { count, recreated } = known.learn(told, index);
        learned.counts |= count;
        if recreated {
            learned.recreated.push(at as u16);
        }
        let (name, trouble, partitions) = (known.name.clone(), known.trouble, known.partitions().unwrap_or(0));
        if recreated {
            self.note(Level::Warn, format!("topic {name} was deleted and made anew"));
        } else if count && self.settings.shard == ShardId(0) {
            self.note(Level::Info, format!("topic {name} has {partitions} partitions"));
        }
        if let Some(error) = trouble
            && trouble_before != trouble
        {
            self.note(Level::Warn, format!("topic {name}: {error}: {} It is asked for again and again.", error.why()));
        }
    }

    fn learn_broker(&mut self, told: &metadata_api::Broker) {
        let Some(connector) = self.settings.bootstrap.first().map(|addr| addr.connector) else { return };
        let room = self.brokers.len() < usize::from(u16::MAX);
        match self.brokers.iter_mut().find(|broker| broker.id == told.id) {
            // A new address counts from the next dial on.
            Some(known) if known.addr.host != told.host || known.addr.port != told.port => {
                known.addr = BrokerAddr { connector, host: told.host.clone(), port: told.port };
                known.lanes.iter_mut().for_each(|lane| lane.link.rest_no_more());
            }
            Some(_) => {}
            None if room => {
                let lanes = (0..self.settings.lanes).map(|_| Lane { link: Link::default(), wanted: false }).collect();
                let addr = BrokerAddr { connector, host: told.host.clone(), port: told.port };
                self.brokers.push(Broker { id: told.id, addr, lanes });
            }
            None => {}
        }
    }

    /// Finds the links that partitions of this shard need.
    fn mark_wanted(&mut self) {
        for lane in self.brokers.iter_mut().flat_map(|broker| &mut broker.lanes) {
            lane.wanted = false;
        }
        for topic in 0..self.topics.len() as u16 {
            let count = self.topic(topic).and_then(Topic::partitions).unwrap_or(0);
            for partition in (0..count).filter(|&p| owner_of(p, self.settings.shards) == self.settings.shard) {
                let Some(slot) = self.slot(topic, partition) else { continue };
                self.brokers[usize::from(slot.broker)].lanes[usize::from(slot.lane)].wanted = true;
            }
        }
    }

    fn broker_index(&self, id: i32) -> Option<u16> {
        self.brokers.iter().position(|broker| broker.id == id).map(|at| at as u16)
    }

    fn broker_name(&self, slot: Slot) -> String {
        let Some(broker) = self.brokers.get(usize::from(slot.broker)) else { return String::new() };
        format!("{} at {}:{}", broker.id, broker.addr.host, broker.addr.port)
    }

    fn place_of(&self, key: LinkKey) -> Option<Place> {
        if self.control.is(key) {
            return Some(Place::Control);
        }
        self.brokers.iter().enumerate().find_map(|(b, broker)| {
            let lane = broker.lanes.iter().position(|lane| lane.link.is(key))?;
            Some(Place::Lane(Slot { broker: b as u16, lane: lane as u16 }))
        })
    }

    fn link_mut(&mut self, place: Place) -> &mut Link {
        match place {
            Place::Control => &mut self.control,
            Place::Lane(slot) => &mut self.brokers[usize::from(slot.broker)].lanes[usize::from(slot.lane)].link,
        }
    }
}

fn question(correlation: i32, head: Vec<u8>) -> Request {
    Request { correlation, head, cuts: Vec::new(), batches: Vec::new(), answered: true }
}
