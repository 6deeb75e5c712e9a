//! One Kafka cluster as one shard reaches it: links to the brokers that lead this shard's partitions, one more link for
//! questions, and the answers to those questions.
//!
//! ```text
//! control ── bootstrap hosts in turn, then known brokers ── Metadata, DescribeConfigs, InitProducerId
//! brokers ── id → address → links, some for all partitions or one for each ── Produce
//! ```
//!
//! Questions have a link of their own because a broker answers the requests of a connection one after the other: behind a
//! Produce that waits for replicas, news of the leader that replaces them would come too late. Only what the leader itself knows of
//! a topic is asked on its own link (`witness`).
//!
//! Left out: records and their fate (`sink::kafka`), sockets (the driver).

mod authentication;
mod change;
mod health;
mod learned;
mod limits;
pub mod link;
pub mod login;
pub mod metadata;
mod settings;
mod start;
mod table;
mod witness;

pub use authentication::Logins;
pub use learned::{Learned, Question};
pub use settings::{ClusterSettings, ClusterTerms, Division, Probes};
pub use table::Slot;

use std::collections::{BTreeMap, VecDeque};

use kafka::ErrorCode;
use kafka::message::init_producer_id::{self, Producer};
use kafka::message::{ApiKey, metadata as metadata_api};
use kafka::sasl::scram::Nonces;

use crate::clock::{self, Mono};
use crate::shard::control::Level;
use crate::shard::io::{BrokerAddr, Input, Io, LinkKey, Request};
use crate::shard::placement::base_of;

use limits::LimitQuestions;
use link::{Asked, Heard, Link, LinkFault};
use login::{Credentials, Login};
use metadata::{Refresh, Topic};
use start::Start;
use table::{Brokers, LinkNumbers};

/// Log lines kept for the shard; more in one round would be suppressed anyway.
const NOTES_MAX: usize = 16;

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

/// One cluster.
#[derive(Debug)]
pub struct Cluster {
    settings: ClusterSettings,
    login: Login,
    logins: Logins,
    control: Link,
    /// Which of the addresses to ask is tried next: the bootstrap hosts, then the known brokers.
    turn: usize,
    brokers: Brokers,
    topics: Vec<Topic>,
    link_numbers: LinkNumbers,
    /// Their places by name.
    names: BTreeMap<Box<str>, u16>,
    refresh: Refresh,
    limits: LimitQuestions,
    /// A topic takes larger or smaller batches than before, or nobody knows any more.
    limits_changed: bool,
    start: Start,
    /// Why the last link ended, for people.
    last_error: Option<String>,
    notes: VecDeque<(Level, String)>,
    /// Whether it was said that a broker is too old for a codec.
    said_too_old: bool,
}

/// A link by place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    Control,
    Broker(Slot),
}

impl ClusterSettings {
    /// The nonces of this shard and cluster; no other has the same numbers.
    fn nonces(&self) -> Nonces {
        let connector = self.bootstrap.first().map_or(0, |addr| addr.connector);
        Nonces::new(self.nonce_key, u64::from(self.shard.0) << 48 | u64::from(connector) << 32)
    }
}

impl Cluster {
    /// A cluster nobody has been asked about.
    pub fn new(settings: ClusterSettings) -> Self {
        Self {
            login: Login::new(settings.terms.credentials.clone(), settings.nonces()),
            logins: Logins::default(),
            control: Link::default(),
            turn: 0,
            brokers: Brokers::default(),
            topics: settings.topics.iter().cloned().map(Topic::fixed).collect(),
            link_numbers: LinkNumbers::default(),
            names: (0..).zip(&settings.topics).map(|(at, name)| (name.as_str().into(), at)).collect(),
            refresh: Refresh::new(settings.terms.refresh_min_ms, settings.terms.refresh_max_ms),
            limits: LimitQuestions::new(settings.terms.refresh_max_ms),
            limits_changed: false,
            start: Start::new(settings.start_timeout_ms),
            last_error: None,
            notes: VecDeque::new(),
            said_too_old: false,
            settings,
        }
    }

    /// Takes in what belongs to a link of this cluster; gives back what does not.
    pub fn on_input<'a>(&mut self, now: Mono, input: Input<'a>, io: &mut impl Io) -> Result<Event<'a>, Input<'a>> {
        let key = match &input {
            Input::LinkUp(link) => *link,
            Input::LoginAnswer { link, .. } => *link,
            Input::Response { link, .. } | Input::Sent { link, .. } | Input::LinkDown { link, .. } => *link,
            _ => return Err(input),
        };
        let Some(place) = self.place_of(key) else { return Err(input) };
        Ok(match input {
            Input::LinkUp(_) => {
                let (client_id, login) = (self.settings.terms.client_id.clone(), self.login.exchange());
                self.at(place).on_up(now, &client_id, login, io);
                Event::None
            }
            Input::LoginAnswer { answer, .. } => {
                self.on_answer(now, place, answer, io);
                Event::None
            }
            Input::Response { body, request, .. } => self.on_response(now, place, body, request, io),
            Input::Sent { request, .. } => {
                self.at(place).on_sent(request.correlation);
                Event::Sent(request)
            }
            Input::LinkDown { unanswered, why, .. } => self.on_down(now, place, unanswered, why),
            other => return Err(other),
        })
    }

    /// Dials, asks, and gives up what is silent.
    pub fn step(&mut self, now: Mono, io: &mut impl Io) {
        let patience = self.settings.terms.patience;
        let may_dial = self.login.lacks().is_none();
        self.log_in_again(now, io);
        if may_dial
            && self.control.dial_at().is_some_and(|at| at <= now)
            && let Some(to) = self.address()
        {
            self.control.dial(now, &to, &patience, io);
        }
        if self.control.takes_questions() && self.refresh.due_at().is_some_and(|at| at <= now) {
            self.ask_metadata(now, io);
        }
        if self.control.takes_questions() && self.limits.due_at().is_some_and(|at| at <= now) {
            self.ask_limits(now, io);
        }
        self.probe(now, io);
        self.watch_start(now);
        let mut library_silent = false;
        let library_owes = self.control.awaits_answer();
        let mut silent = self.control.close_if_silent(now, &patience, io).then(|| "a broker".to_string());
        library_silent |= library_owes && silent.is_some();
        for broker in self.brokers.iter_mut() {
            let mut silence = false;
            for link in &mut broker.links {
                if may_dial && link.wanted && link.dial_at().is_some_and(|at| at <= now) {
                    link.dial(now, &broker.addr, &patience, io);
                }
                let library_owes = link.awaits_answer();
                let is_silent = link.close_if_silent(now, &patience, io);
                silence |= is_silent;
                library_silent |= library_owes && is_silent;
            }
            if silence {
                silent = Some(broker.name());
            }
        }
        if library_silent {
            self.on_library_silent();
        } else if let Some(who) = silent {
            self.last_error = Some(format!("{who} does not answer"));
            self.note(
                Level::Warn,
                format!("{who} does not answer: its connection is closed, what is open is sent again"),
            );
        }
    }

    /// When to be called again at the latest.
    pub fn deadline(&self, now: Mono) -> Option<Mono> {
        let patience = &self.settings.terms.patience;
        // A token that comes is an input, which needs no deadline.
        let may_dial = self.login.lacks().is_none();
        let questions = clock::earliest([self.refresh.due_at(), self.limits.due_at()]);
        let question = questions.filter(|_| self.control.takes_questions());
        let dial = self.control.dial_at().filter(|_| may_dial);
        let probes = self.settings.terms.probes;
        let probe = self.control.probe_at(probes.control_ms);
        let control =
            [question, dial, probe, self.control.silent_at(patience), self.control.login_at(), self.start.ends_at()];
        let mut deadline = clock::earliest(control);
        for (_, link) in self.brokers.links() {
            let dial = link.dial_at().filter(|_| link.wanted && may_dial);
            let probe = link.probe_at(probes.links_ms).filter(|_| link.wanted);
            let own = [dial, probe, link.silent_at(patience), link.quiet_ends(now), link.login_at(), deadline];
            deadline = clock::earliest(own);
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
        init_producer_id::encode_request(begun.version, begun.correlation, &self.settings.terms.client_id, &mut head);
        io.request(begun.key, question(begun.correlation, head));
        Ok(true)
    }

    /// What is known of the topics is out of date.
    pub fn mark_stale(&mut self) {
        self.refresh.mark_stale();
    }

    /// What is known of the topics may be wrong: they are asked about as soon as there is somebody to ask.
    pub fn ask_at_once(&mut self) {
        self.refresh.ask_at_once();
    }

    /// Whether a question about topics is open.
    pub fn is_asking(&self) -> bool {
        self.refresh.is_open()
    }

    /// The place of a topic by name.
    pub fn find(&self, name: &str) -> Option<u16> {
        self.names.get(name).copied()
    }

    /// Takes up a topic that messages name, and asks for it at once. `None` if there is no place left.
    pub fn add_topic(&mut self, name: &str) -> Option<u16> {
        self.put_topic(Topic::live(name.to_string(), base_of(name, self.settings.shards)))
    }

    /// Takes up a topic that the configuration names, or has it named by the configuration too.
    pub fn fix_topic(&mut self, name: &str) -> Option<u16> {
        let Some(at) = self.find(name) else { return self.put_topic(Topic::fixed(name.to_string())) };
        self.set_fixed(at, true);
        Some(at)
    }

    /// Whether the configuration names a topic.
    pub fn set_fixed(&mut self, topic: u16, fixed: bool) {
        if let Some(known) = self.topics.get_mut(usize::from(topic)) {
            known.set_fixed(fixed);
            self.find_links(usize::from(topic));
        }
    }

    /// A message names a topic that is known.
    pub fn name_by_message(&mut self, topic: u16) {
        let shards = self.settings.shards;
        let Some(known) = self.topics.get_mut(usize::from(topic)).filter(|known| !known.is_live()) else { return };
        let base = base_of(&known.name, shards);
        known.name_by_message(base);
        self.find_links(usize::from(topic));
    }

    /// Whether batches of a partition may come to this shard to be written.
    pub fn is_owned(&self, topic: u16, partition: u32) -> bool {
        let (shard, shards) = (self.settings.shard, self.settings.shards);
        self.topic(topic).is_some_and(|topic| topic.is_owned(partition, shard, shards))
    }

    fn put_topic(&mut self, topic: Topic) -> Option<u16> {
        let name = topic.name.clone();
        let at = match self.topics.iter().position(Topic::is_vacant) {
            Some(at) => {
                self.topics[at] = topic;
                at
            }
            None => {
                self.topics.push(topic);
                self.topics.len() - 1
            }
        };
        let at = u16::try_from(at).ok()?;
        self.names.insert(name.into_boxed_str(), at);
        self.refresh.mark_fresh();
        Some(at)
    }

    /// Forgets a topic that messages named.
    pub fn remove_topic(&mut self, topic: u16) {
        if let Some(known) = self.topics.get_mut(usize::from(topic)) {
            self.names.remove(known.name.as_str());
            known.give_links(&mut self.link_numbers);
            *known = Topic::vacant();
        }
    }

    /// When the next topic turns out not to exist.
    pub fn gives_up_at(&self, now: Mono) -> Option<Mono> {
        self.topics.iter().filter_map(Topic::gives_up_at).filter(|&at| at > now).min()
    }

    /// A topic by index.
    #[inline]
    pub fn topic(&self, topic: u16) -> Option<&Topic> {
        self.topics.get(usize::from(topic))
    }

    /// The link to the leader of a partition; its broker may be out of reach.
    #[inline]
    pub fn slot(&self, topic: u16, partition: u32) -> Option<Slot> {
        let known = self.topic(topic)?;
        let broker = known.leader(partition)?;
        let link = match self.settings.links {
            Division::PerBroker(links) => {
                // Consecutive partitions of this shard go over consecutive links.
                let turn = partition / u32::from(self.settings.shards) + u32::from(topic);
                (turn % u32::from(links)) as u16
            }
            Division::PerPartition => known.link(partition)?,
        };
        Some(Slot { broker, link })
    }

    /// The link in a slot.
    #[inline]
    pub fn link(&self, slot: Slot) -> Option<&Link> {
        self.brokers.link(slot)
    }

    /// The link in a slot.
    #[inline]
    pub fn link_mut(&mut self, slot: Slot) -> Option<&mut Link> {
        self.brokers.link_mut(slot)
    }

    /// A broker says that another one leads the partition now (KIP-951).
    pub fn hear_of_leader(&mut self, now: Mono, topic: u16, partition: u32, (broker_id, epoch): (i32, i32)) {
        let Some(broker) = self.brokers.index(broker_id) else { return };
        let Some(known) = self.topics.get_mut(usize::from(topic)) else { return };
        if known.hear_of_leader(now, partition, broker, epoch) {
            self.mark_wanted();
        }
    }

    /// Gives up a link whose broker does not speak Kafka as we know it.
    pub fn fail(&mut self, slot: Slot, why: String, io: &mut impl Io) {
        self.note(Level::Error, format!("{}: {why}", self.name_of(Place::Broker(slot))));
        if let Some(link) = self.link_mut(slot) {
            link.close(io);
        }
    }

    /// Name by which brokers know us.
    pub fn client_id(&self) -> &str {
        &self.settings.terms.client_id
    }

    /// Whether somebody answers questions.
    pub fn is_reached(&self) -> bool {
        self.control.is_ready()
    }

    /// Whether questions can be put now.
    pub fn takes_questions(&self) -> bool {
        self.control.takes_questions()
    }

    /// Says that a broker is too old for a codec; once for all brokers.
    pub fn say_once_too_old_for(&mut self, slot: Slot, codec: &str, since: &str) {
        if !std::mem::replace(&mut self.said_too_old, true) {
            let name = self.name_of(Place::Broker(slot));
            let text = format!("{name} is older than Kafka {since}, which {codec} needs: it gets batches uncompressed");
            self.note(Level::Warn, text);
        }
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
        let names: Vec<&str> = self.names.keys().map(|name| &**name).collect();
        let create = self.settings.terms.create_topics;
        let mut head = Vec::new();
        let client_id = &self.settings.terms.client_id;
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
        let correlation = request.correlation;
        let heard = self.at(place).on_response(now, correlation, body, io);
        let (asked, version, body) = match heard {
            Ok(Heard::Handshake) => return Event::None,
            Ok(Heard::Ready(welcome)) => {
                self.on_welcome(welcome);
                return Event::None;
            }
            Ok(Heard::Answer { asked, version, body }) => (asked, version, body),
            Err(LinkFault::Login(fault)) => {
                self.on_refused(place, &fault, io);
                return Event::Lost(vec![request]);
            }
            Err(LinkFault::Answer(why)) => {
                self.give_up(place, &why, io);
                return Event::Lost(vec![request]);
            }
        };
        match (asked, place) {
            (Asked::Produce, Place::Broker(slot)) => Event::Produced { slot, version, body, request },
            (Asked::Metadata, _) => match metadata_api::decode_response(version, body) {
                Ok(told) => Event::Learned(self.learn(now, (place, correlation), &told)),
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
            (Asked::Limits, _) => {
                self.learn_limits(now, version, body);
                Event::None
            }
            (Asked::Handshake | Asked::Produce | Asked::Probe, _) => Event::None,
        }
    }

    /// What went wrong is over when every link that is needed is there again.
    fn forget_error(&mut self) {
        let well = self.control.is_ready() && self.brokers.links().all(|(_, link)| link.is_ready() || !link.wanted);
        if well && self.last_error.take().is_some() {
            self.note(Level::Info, "connected again".to_string());
        }
    }

    fn on_down(&mut self, now: Mono, place: Place, unanswered: Vec<Request>, why: String) -> Event<'static> {
        let why = self.with_hint(why);
        let link = self.at(place);
        // Brokers close what is idle for ten minutes, which is no news, and what we closed ourselves has been told of.
        let ended_well = link.is_ready() && unanswered.is_empty();
        let news = !ended_well && !link.is_closing();
        link.on_down();
        if news {
            let text = format!("{}: {why}", self.name_of(place));
            if self.last_error.replace(text.clone()).is_none() {
                self.note(Level::Warn, text);
            }
        }
        match place {
            Place::Control => {
                if !ended_well {
                    self.try_next_host(now);
                }
                self.refresh.on_lost();
                self.forget_limits(now);
                Event::ProducerIdLost
            }
            Place::Broker(_) => {
                self.refresh.mark_stale();
                Event::Lost(unanswered)
            }
        }
    }

    /// A listener that wants a login closes the connection at the first question, without a word.
    fn with_hint(&self, why: String) -> String {
        let strangers =
            matches!(self.settings.terms.credentials, Credentials::None) && self.brokers.iter().next().is_none();
        match strangers && self.control.is_ready() && why == "closed by the broker" {
            true => why + "; if it wants to know who we are, set authentication of the connector",
            false => why,
        }
    }

    /// Another host is tried at once; a pause follows when all have had their turn.
    fn try_next_host(&mut self, now: Mono) {
        self.turn += 1;
        if self.turn < self.addresses().count() {
            self.control.rest_no_more();
        } else {
            self.turn = 0;
            self.control.rest_until(now.plus_ms(self.settings.terms.patience.reconnect_delay_ms));
        }
    }

    fn give_up(&mut self, place: Place, why: &str, io: &mut impl Io) {
        self.last_error = Some(why.to_string());
        self.note(Level::Error, format!("an answer that is not understood: {why}"));
        self.at(place).close(io);
    }

    /// Other partitions of a topic may be this shard's.
    fn find_links(&mut self, topic: usize) {
        if self.settings.links == Division::PerPartition {
            number_links(&mut self.topics[topic], &self.settings, &mut self.link_numbers);
        }
        self.mark_wanted();
    }

    /// Finds the links that partitions of this shard need.
    fn mark_wanted(&mut self) {
        self.brokers.iter_mut().flat_map(|broker| &mut broker.links).for_each(|link| link.wanted = false);
        for topic in 0..self.topics.len() as u16 {
            let count = self.topic(topic).and_then(Topic::partitions).unwrap_or(0);
            for partition in 0..count {
                if !self.is_owned(topic, partition) {
                    continue;
                }
                if let Some(slot) = self.slot(topic, partition)
                    && let Some(link) = self.brokers.link_or_new(slot)
                {
                    link.wanted = true;
                }
            }
        }
    }

    fn name_of(&self, place: Place) -> String {
        match place {
            Place::Control => self.address().map(|to| format!("{}:{}", to.host, to.port)),
            Place::Broker(slot) => self.brokers.get(slot.broker).map(|broker| broker.name()),
        }
        .unwrap_or_default()
    }

    fn place_of(&self, key: LinkKey) -> Option<Place> {
        if self.control.is(key) {
            return Some(Place::Control);
        }
        self.brokers.slot_of(key).map(Place::Broker)
    }

    fn at(&mut self, place: Place) -> &mut Link {
        match place {
            Place::Control => &mut self.control,
            Place::Broker(slot) => self.brokers.link_mut(slot).expect("a place is made of a slot that was found"),
        }
    }
}

/// Gives each partition of this shard that has none a link of its own.
fn number_links(topic: &mut Topic, settings: &ClusterSettings, numbers: &mut LinkNumbers) {
    let (shard, shards) = (settings.shard, settings.shards);
    let ours: Vec<bool> =
        (0..topic.partitions().unwrap_or(0)).map(|partition| topic.is_owned(partition, shard, shards)).collect();
    topic.number_links(numbers, |partition| ours.get(partition as usize).copied().unwrap_or(false));
}

fn question(correlation: i32, head: Vec<u8>) -> Request {
    Request { correlation, head, cuts: Vec::new(), batches: Vec::new(), answered: true }
}
