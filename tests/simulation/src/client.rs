//! A client: publishes within its window, answers what asks for an answer, comes back after every end, and says so loudly when
//! the server does not keep to the protocol.

use std::collections::{BTreeSet, VecDeque};

use crate::inbox::{Inbox, RECEIVE_MAXIMUM};
use crate::ledger::Ledger;
use crate::message::{Message, MessageId};
use crate::plan::{ClientPlan, Plan};
use crate::wire::{self, Connect, Will};

/// A publication without its last acknowledgement.
#[derive(Debug, Clone, Copy)]
struct Open {
    message: Message,
    packet_id: u16,
    /// PUBREC came.
    received: bool,
    /// Written to the present connection.
    here: bool,
    /// Written to an earlier connection too.
    again: bool,
}

/// Where the client stands with its connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum State {
    /// None, until then.
    Away(u64),
    /// CONNECT is sent.
    Greeting,
    /// Let in.
    In,
    /// It has sent rubbish and waits to be closed.
    Doomed,
}

/// One client over all its connections.
#[derive(Debug)]
pub(crate) struct Client {
    /// Its number.
    pub(crate) index: usize,
    /// Where it stands.
    pub(crate) state: State,
    /// Its socket.
    pub(crate) socket: Option<usize>,
    /// It does not read until then.
    pub(crate) deaf_until: u64,
    /// Waits for an answer before it can go on.
    pub(crate) waits: bool,
    open: VecDeque<Open>,
    next_packet_id: u16,
    /// Identifiers of publications it gave up, as long as the session lives.
    burnt: BTreeSet<u16>,
    received: Vec<u8>,
    /// Since which message, in the order of sending.
    subscribed: Option<u32>,
    subscribe_id: Option<u16>,
    pings: u32,
    /// When it last wrote, nanoseconds.
    pub(crate) wrote: u64,
    inbox: Inbox,
    /// The will of its connection, if it is to be published when that ends.
    will: Option<Message>,
    aliases: [Option<usize>; 4],
    /// What a taken over or refused connection was told, for the trace.
    pub(crate) goodbye: Option<u8>,
}

/// What came of reading.
#[derive(Debug, Default)]
pub(crate) struct Heard {
    /// Something was read that lets it go on.
    pub(crate) progress: bool,
    /// It was let in, and found its session or not.
    pub(crate) let_in: Option<bool>,
}

/// A will that its server is to put off.
#[derive(Debug, Clone, Copy)]
pub(crate) struct PutOff {
    /// The will.
    pub(crate) will: Message,
    /// It is published after so long, if its client is not back by then, nanoseconds.
    pub(crate) delay_ns: u64,
}

impl Client {
    /// A client that has yet to connect.
    pub(crate) fn new(index: usize, plan: &Plan) -> Self {
        let own = &plan.clients[index];
        Self {
            index,
            state: State::Away(0),
            socket: None,
            deaf_until: 0,
            waits: false,
            open: VecDeque::new(),
            next_packet_id: 0,
            burnt: BTreeSet::new(),
            received: Vec::new(),
            subscribed: None,
            subscribe_id: None,
            pings: 0,
            wrote: 0,
            inbox: Inbox::new(&own.name, own.v5, plan.clients.len(), plan.topics.len()),
            will: None,
            aliases: [None; 4],
            goodbye: None,
        }
    }

    fn plan<'p>(&self, plan: &'p Plan) -> &'p ClientPlan {
        &plan.clients[self.index]
    }

    /// Whether nothing of it is open.
    pub(crate) fn is_done(&self) -> bool {
        self.open.is_empty() && self.state == State::In && self.pings == 0
    }

    /// For the trace and for verdicts: what is open.
    pub(crate) fn open_text(&self) -> String {
        let open = self
            .open
            .iter()
            .take(5)
            .map(|o| format!("seq {} qos {} id {}", o.message.id.seq, o.message.qos, o.packet_id));
        format!("{:?}, {} open: {}", self.state, self.open.len(), open.collect::<Vec<_>>().join(", "))
    }

    /// Begins a connection: writes its CONNECT.
    pub(crate) fn connect(&mut self, plan: &Plan, ledger: &mut Ledger, socket: usize, out: &mut Vec<u8>) {
        let own = self.plan(plan);
        let mut payload = Vec::new();
        let will = own.will_delay_s.map(|delay_s| {
            let message = plan.kinds.message(ledger.next(self.index));
            message.put(&mut payload);
            ledger.sent(&message);
            ledger.will(message.id);
            (message, delay_s)
        });
        self.will = will.map(|(message, _)| message);
        let will = will.map(|(message, delay_s)| Will {
            qos: message.qos,
            topic: &plan.topics[message.topic],
            payload: &payload,
            delay_s,
        });
        let connect = Connect {
            v5: own.v5,
            clean: own.clean,
            expiry_s: own.expiry_s,
            keepalive_s: own.keepalive_s,
            receive_maximum: RECEIVE_MAXIMUM,
            client_id: &own.name,
            will,
        };
        wire::put_connect(out, &connect);
        self.socket = Some(socket);
        self.state = State::Greeting;
        self.received.clear();
        self.inbox.begin();
        self.pings = 0;
        self.aliases = [None; 4];
        self.subscribe_id = None;
        self.goodbye = None;
        self.open.iter_mut().for_each(|open| open.here = false);
    }

    /// Its server does not publish its will any more.
    pub(crate) fn forget_will(&mut self) {
        self.will = None;
    }

    /// Its connection is over. Returns its will, if that waits for it now.
    pub(crate) fn lose(&mut self, plan: &Plan, ledger: &mut Ledger, until: u64) -> Option<PutOff> {
        let own = self.plan(plan);
        let will = self.will.take().filter(|_| matches!(self.state, State::In | State::Doomed));
        let put_off = will.filter(|_| own.puts_off()).map(|will| PutOff { will, delay_ns: own.will_delay_ns() });
        if let (Some(will), None) = (will, put_off) {
            ledger.will_is_due(will);
        }
        self.state = State::Away(until);
        self.socket = None;
        self.deaf_until = 0;
        self.waits = false;
        put_off
    }

    /// The server has closed: an MQTT 3.1.1 client is told in no other way that a message can never be stored, and sends no such
    /// message again.
    pub(crate) fn closed(&mut self, plan: &Plan, ledger: &mut Ledger) {
        if !self.plan(plan).v5 {
            self.open.retain(|open| {
                let hopeless = open.message.poison || open.message.len == plan.kinds.large_len;
                if hopeless {
                    ledger.nacked(open.message.id);
                    // The server may still be busy with it, and takes a PUBLISH of that identifier for a repetition.
                    self.burnt.insert(open.packet_id);
                }
                !hopeless
            });
        }
    }

    /// The node it spoke to has lost all it knew.
    pub(crate) fn node_killed(&mut self, ledger: &mut Ledger) {
        self.will = None;
        self.open.iter().for_each(|open| ledger.forgotten(open.message.id));
    }

    /// How many more it may publish now.
    pub(crate) fn room(&self, plan: &Plan) -> usize {
        let own = self.plan(plan);
        if self.state != State::In || !own.publishes { 0 } else { own.window - self.open.len().min(own.window) }
    }

    /// Publishes its next message.
    pub(crate) fn publish(&mut self, plan: &Plan, ledger: &mut Ledger, out: &mut Vec<u8>) {
        let message = plan.kinds.message(ledger.next(self.index));
        let packet_id = if message.qos > 0 { self.packet_id() } else { 0 };
        let open = Open { message, packet_id, received: false, here: true, again: false };
        self.put(plan, ledger, &open, false, out);
        if message.qos > 0 {
            self.open.push_back(open);
        }
    }

    /// Messages at QoS 1 and 2 that it is to receive and has not: what was acknowledged since it subscribed, in a session that goes
    /// on.
    pub(crate) fn missing(&self, plan: &Plan, ledger: &Ledger) -> Vec<MessageId> {
        match (&self.plan(plan).filter, self.subscribed) {
            (Some((filter, 1..)), Some(since)) => {
                ledger.unheard(plan, self.index, since, |topic| matches(filter, topic))
            }
            _ => Vec::new(),
        }
    }

    /// PINGREQ.
    pub(crate) fn ping(&mut self, out: &mut Vec<u8>) {
        out.extend([0xc0, 0]);
        self.pings += 1;
    }

    /// Asks for what its plan says, if it has not yet.
    pub(crate) fn subscribe(&mut self, plan: &Plan, out: &mut Vec<u8>) {
        let own = self.plan(plan);
        if let (Some((filter, qos)), false, None) = (&own.filter, self.subscribed.is_some(), self.subscribe_id) {
            let id = self.packet_id();
            wire::put_subscribe(out, own.v5, id, filter, *qos);
            self.subscribe_id = Some(id);
        }
    }

    fn packet_id(&mut self) -> u16 {
        loop {
            self.next_packet_id = self.next_packet_id % 400 + 1;
            let id = self.next_packet_id;
            let open = self.open.iter().any(|open| open.packet_id == id) || self.subscribe_id == Some(id);
            if !open && !self.burnt.contains(&id) {
                return id;
            }
        }
    }

    fn put(&mut self, plan: &Plan, ledger: &mut Ledger, open: &Open, dup: bool, out: &mut Vec<u8>) {
        let own = self.plan(plan);
        let message = open.message;
        ledger.sent(&message);
        let mut topic = plan.topics[message.topic].as_str();
        let mut alias = 0;
        if own.aliases {
            alias = message.topic as u16 + 1;
            if self.aliases[message.topic].replace(message.topic).is_some() {
                topic = "";
            }
        }
        let (qos, id) = (message.qos, open.packet_id);
        wire::put_publish(out, own.v5, qos, dup, id, (topic, alias), message.len, |out| message.put(out));
    }

    /// Takes in what the server sent; answers go to `out`.
    ///
    /// # Panics
    /// If the server breaks the protocol or a promise.
    pub(crate) fn hear(&mut self, plan: &Plan, ledger: &mut Ledger, bytes: &mut Vec<u8>, out: &mut Vec<u8>) -> Heard {
        let mut heard = Heard::default();
        let mut received = std::mem::take(&mut self.received);
        if received.is_empty() {
            std::mem::swap(&mut received, bytes);
        } else {
            received.append(bytes);
        }
        bytes.clear();
        let mut at = 0;
        while let Some((first, body, len)) = wire::next_packet(&received[at..]) {
            self.packet(plan, ledger, first, body, out);
            heard.progress = true;
            if first == 0x20 && self.state == State::In {
                heard.let_in = Some(body[0] == 1);
            }
            at += len;
        }
        received.drain(..at);
        self.inbox.answered();
        if received.is_empty() {
            // The buffer goes back for its capacity.
            std::mem::swap(&mut received, bytes);
        }
        self.received = received;
        heard
    }

    fn packet(&mut self, plan: &Plan, ledger: &mut Ledger, first: u8, body: &[u8], out: &mut Vec<u8>) {
        let name = &self.plan(plan).name;
        let id = || u16::from_be_bytes([body[0], body[1]]);
        let reason = body.get(2).copied().unwrap_or_default();
        match first {
            0x20 => self.connack(plan, ledger, body, out),
            0x40 => self.puback(plan, ledger, id(), reason),
            0x50 => self.pubrec(plan, ledger, id(), reason, out),
            0x70 => {
                let at = self.open.iter().position(|o| o.packet_id == id() && o.message.qos == 2 && o.received);
                let at = at.unwrap_or_else(|| panic!("VIOLATION {name}: a PUBCOMP for nothing: {}", id()));
                self.open.remove(at);
            }
            0x62 => {
                self.inbox.release(id());
                wire::put_id(out, 0x70, id());
            }
            0x90 => {
                assert!(self.subscribe_id == Some(id()), "VIOLATION {name}: a SUBACK for nothing");
                self.subscribe_id = None;
                self.subscribed = body.last().is_some_and(|&code| code < 0x80).then_some(ledger.sends());
            }
            0xd0 => {
                assert!(self.pings > 0, "VIOLATION {name}: a PINGRESP for nothing");
                self.pings -= 1;
            }
            0xe0 => self.goodbye = body.first().copied(),
            publish if publish >> 4 == 3 => self.delivery(plan, ledger, publish, body, out),
            other => panic!("VIOLATION {name}: an unexpected packet {other:02x}"),
        }
    }

    fn connack(&mut self, plan: &Plan, ledger: &mut Ledger, body: &[u8], out: &mut Vec<u8>) {
        let own = self.plan(plan);
        assert!(self.state == State::Greeting, "VIOLATION {}: a second CONNACK", own.name);
        let present = body[0] == 1;
        if body[1] != 0 {
            self.goodbye = Some(body[1]);
            self.will = None;
            self.state = State::Doomed;
            return;
        }
        assert!(!(present && own.clean), "VIOLATION {}: a session after a clean start", own.name);
        self.state = State::In;
        if !present {
            self.subscribed = None;
            self.inbox.forget();
            self.burnt.clear();
            // What was received is stored; its PUBREL would find nothing.
            self.open.retain(|open| !open.received);
            self.open.iter().for_each(|open| ledger.forgotten(open.message.id));
        }
        // [MQTT-4.4.0-1], [MQTT-4.6.0-1]: in the order in which they were sent first.
        for at in 0..self.open.len() {
            (self.open[at].here, self.open[at].again) = (true, true);
            let open = self.open[at];
            if open.received {
                wire::put_id(out, 0x62, open.packet_id);
            } else {
                self.put(plan, ledger, &open, true, out);
            }
        }
    }

    fn puback(&mut self, plan: &Plan, ledger: &mut Ledger, id: u16, reason: u8) {
        let name = &self.plan(plan).name;
        // [MQTT-4.6.0-2]: in the order of the PUBLISHes.
        let at = self.open.iter().position(|open| open.message.qos == 1 && open.here);
        let at = at.unwrap_or_else(|| panic!("VIOLATION {name}: PUBACK {id}, and none is due"));
        let due = self.open[at].packet_id;
        assert!(due == id, "VIOLATION {name}: PUBACK {id}, and {due} is due");
        let message = self.open[at].message;
        self.open.remove(at);
        if reason >= 0x80 {
            ledger.refused_by_node(plan, &message, reason)
        } else {
            ledger.acked(&message, &plan.topics)
        }
    }

    fn pubrec(&mut self, plan: &Plan, ledger: &mut Ledger, id: u16, reason: u8, out: &mut Vec<u8>) {
        let name = &self.plan(plan).name;
        let due = |open: &&Open| open.message.qos == 2 && open.here && !open.received;
        let at = self.open.iter().position(|open| due(&open) && open.packet_id == id);
        let at = at.unwrap_or_else(|| panic!("VIOLATION {name}: PUBREC {id}, and none is due"));
        // [MQTT-4.6.0-3]: in the order of the PUBLISHes. What was sent on an earlier connection was received there, or not.
        let first = self.open.iter().find(|open| due(open) && !open.again).map_or(id, |open| open.packet_id);
        assert!(first == id || self.open[at].again, "VIOLATION {name}: PUBREC {id}, and {first} is due");
        let message = self.open[at].message;
        if reason >= 0x80 {
            self.open.remove(at);
            return ledger.refused_by_node(plan, &message, reason);
        }
        self.open[at].received = true;
        ledger.acked(&message, &plan.topics);
        wire::put_id(out, 0x62, id);
    }

    fn delivery(&mut self, plan: &Plan, ledger: &mut Ledger, first: u8, body: &[u8], out: &mut Vec<u8>) {
        let own = self.plan(plan);
        let name = &own.name;
        let delivery =
            wire::read_publish(own.v5, first, body).unwrap_or_else(|| panic!("VIOLATION {name}: {body:02x?}"));
        let id = MessageId::read(delivery.payload).unwrap_or_else(|why| panic!("VIOLATION {name} received {why}"));
        let message = plan.kinds.message(id);
        assert!(delivery.topic == plan.topics[message.topic], "VIOLATION {name}: {id:?} came as {}", delivery.topic);
        let is_wanted = own.filter.as_ref().is_some_and(|(filter, _)| matches(filter, delivery.topic));
        assert!(is_wanted, "VIOLATION {name} did not subscribe to {}", delivery.topic);
        let is_first = ledger.delivered(&message, self.index, &plan.topics);
        match delivery.qos {
            0 => {}
            1 => wire::put_id(out, 0x40, delivery.id),
            _ => wire::put_id(out, 0x50, delivery.id),
        }
        let is_new = self.inbox.take(&delivery);
        if is_new && is_first && message.qos > 0 {
            self.inbox.first_copy(id, message.topic, message.qos);
        }
    }
}

/// Whether a filter takes a topic.
fn matches(filter: &str, topic: &str) -> bool {
    match (filter.split_once('/'), topic.split_once('/')) {
        _ if filter == "#" => true,
        (Some((level, filter)), Some((own, topic))) => (level == "+" || level == own) && matches(filter, topic),
        (None, None) => filter == "+" || filter == topic,
        _ => false,
    }
}
