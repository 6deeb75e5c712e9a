//! Plays a script on a stage and writes down what its clients hear.

use super::audience::Audience;
use super::heard::{End, Heard};
use super::{Act, Received, Role, Script, Stage, TOO_LARGE_LEN};
use crate::message::{Message, MessageId};
use crate::wire::{self, Connect};

/// Deliveries at QoS 1 and 2 that a client takes at once.
const RECEIVE_MAXIMUM: u16 = 10;

/// A publication without its last acknowledgement.
#[derive(Debug, Clone, Copy)]
struct Open {
    message: Message,
    packet_id: u16,
    /// PUBREC came.
    received: bool,
    /// PUBREL was sent on this connection.
    released: bool,
    /// Answers to PUBLISH that have not come.
    due: u32,
}

/// A connection.
#[derive(Debug, Default)]
struct Line {
    conn: usize,
    received: Vec<u8>,
    heard: Heard,
    /// SUBACKs, UNSUBACKs and PINGRESPs that have not come.
    answers_due: u32,
    /// QoS 2 deliveries whose PUBREL has not come.
    holding: Vec<u16>,
    aliases: [bool; super::TOPICS.len()],
    /// The server's DISCONNECT.
    reason: Option<u8>,
}

/// A client over its connections.
#[derive(Debug)]
struct Client {
    role: Role,
    line: Option<Line>,
    connections: u32,
    packet_id: u16,
    seq: u32,
    open: Vec<Open>,
    audience: Audience,
    /// CONNACK said so.
    present: bool,
    /// Its session outlives the present connection.
    keeps: bool,
    holds_releases: bool,
    is_mute: bool,
}

impl Client {
    fn new(role: Role) -> Self {
        Self {
            role,
            line: None,
            connections: 0,
            packet_id: 0,
            seq: 0,
            open: Vec::new(),
            audience: Audience::default(),
            present: false,
            keeps: false,
            holds_releases: false,
            is_mute: false,
        }
    }

    fn next_id(&mut self) -> u16 {
        self.packet_id += 1;
        self.packet_id
    }

    /// PUBACK, PUBREC or PUBCOMP; `None` if it was not due.
    fn acknowledged(&mut self, first: u8, id: u16, reason: u8, out: &mut Vec<u8>) -> Option<()> {
        let heard = &mut self.line.as_mut()?.heard;
        let qos = if first == 0x40 { 1 } else { 2 };
        let at = self.open.iter().position(|open| open.packet_id == id && open.message.qos == qos)?;
        let open = &mut self.open[at];
        match first {
            0x50 => {
                heard.pubrec.push((id, reason));
                open.due = open.due.checked_sub(1)?;
                open.received = true;
                if reason >= 0x80 {
                    self.open.remove(at);
                } else if !self.holds_releases {
                    open.released = true;
                    wire::put_id(out, 0x62, id);
                }
            }
            0x40 => {
                heard.puback.push((id, reason));
                self.open.remove(at);
            }
            _ if !open.released => return None,
            _ => {
                heard.pubcomp.push((id, reason));
                self.open.remove(at);
            }
        }
        Some(())
    }

    /// What is due to it and has not come, if anything.
    fn lacks(&self) -> Option<String> {
        let line = self.line.as_ref()?;
        if line.heard.connack.is_none() {
            return Some("its CONNACK".to_string());
        }
        if let Some(open) = self.open.iter().find(|open| open.due > 0 || open.released) {
            return Some(format!("an answer to {}", open.packet_id));
        }
        if line.answers_due > 0 || !line.holding.is_empty() {
            return Some(format!("{} answers and {} PUBRELs", line.answers_due, line.holding.len()));
        }
        (self.audience.due > 0).then(|| format!("{} deliveries", self.audience.due))
    }
}

struct Player<'a, S> {
    script: &'a Script,
    stage: &'a mut S,
    clients: Vec<Client>,
    lines: Vec<String>,
    out: Vec<u8>,
}

/// Plays a script to its end, at which every client that is connected says goodbye; the outcome but for the records.
///
/// # Errors
/// What a client waited for in vain, or did not expect.
pub fn play(script: &Script, stage: &mut impl Stage) -> Result<Vec<String>, String> {
    let clients = script.roles.iter().map(|&role| Client::new(role)).collect();
    let mut player = Player { script, stage, clients, lines: Vec::new(), out: Vec::new() };
    for (at, (client, act)) in script.acts.iter().enumerate() {
        player.act(*client, act).map_err(|why| format!("act {at}, {act:?} of c{client}: {why}"))?;
    }
    player.end().map_err(|why| format!("the end: {why}"))?;
    // By client and connection; those who end together have no order.
    player.lines.sort_by(|a, b| a.split(' ').next().cmp(&b.split(' ').next()));
    Ok(player.lines)
}

impl<S: Stage> Player<'_, S> {
    fn act(&mut self, client: usize, act: &Act) -> Result<(), String> {
        match *act {
            Act::Connect { clean, expiry_s } => self.connect(client, clean, expiry_s),
            Act::Publish { qos, topic, len, count } => {
                (0..count).for_each(|_| self.publish(client, qos, topic, len));
                self.flush(client)
            }
            Act::Resend => self.resend(client),
            Act::Repeat => self.repeat(client),
            Act::HoldReleases(holds) => self.hold_releases(client, holds),
            Act::Mute(is_mute) => {
                self.clients[client].is_mute = is_mute;
                Ok(())
            }
            Act::Subscribe { filter, qos } => self.subscribe(client, filter, Some(qos)),
            Act::Unsubscribe { filter } => self.subscribe(client, filter, None),
            Act::Ping => self.ping(client),
            Act::Settle => self.settle_all(),
            Act::Rubbish(kind) => {
                wire::put_rubbish(&mut self.out, self.clients[client].role.v5, kind);
                self.flush(client)?;
                self.gone(client, false)
            }
            Act::Gone => self.gone(client, false),
            Act::Disconnect => {
                self.out.extend([0xe0, 0]);
                self.flush(client)?;
                self.gone(client, false)
            }
            Act::Cut => {
                let line = self.clients[client].line.as_ref().ok_or("no connection")?;
                self.stage.finish(line.conn);
                self.gone(client, true)
            }
        }
    }

    /// Everybody hears what is due, then that there was nothing else, and leaves.
    fn end(&mut self) -> Result<(), String> {
        self.settle_all()?;
        for client in 0..self.clients.len() {
            if self.clients[client].line.is_some() {
                self.ping(client)?;
                self.settle(client)?;
                self.act(client, &Act::Disconnect)?;
            }
        }
        Ok(())
    }

    fn flush(&mut self, client: usize) -> Result<(), String> {
        let line = self.clients[client].line.as_ref().ok_or("no connection")?;
        if !self.out.is_empty() {
            self.stage.send(line.conn, &self.out);
            self.out.clear();
        }
        Ok(())
    }

    fn connect(&mut self, client: usize, clean: bool, expiry_s: u32) -> Result<(), String> {
        let old = self.clients[client].line.take();
        let name = self.script.client_id(client);
        let state = &mut self.clients[client];
        let v5 = state.role.v5;
        let receive_maximum = RECEIVE_MAXIMUM;
        let connect = Connect { v5, clean, expiry_s, keepalive_s: 600, receive_maximum, client_id: &name, will: None };
        wire::put_connect(&mut self.out, &connect);
        let conn = self.stage.open();
        state.line = Some(Line { conn, ..Line::default() });
        state.connections += 1;
        state.keeps = if v5 { expiry_s > 0 } else { !clean };
        state.open.iter_mut().for_each(|open| (open.due, open.released) = (0, false));
        self.flush(client)?;
        if let Some(old) = old {
            let number = self.clients[client].connections - 1;
            self.end_line(client, number, old, false)?;
            self.clients[client].audience.left();
        }
        while self.clients[client].line.as_ref().is_some_and(|line| line.heard.connack.is_none()) {
            self.hear(client)?;
        }
        Ok(())
    }

    fn publish(&mut self, client: usize, qos: u8, topic: usize, len: usize) {
        let publisher = self.script.publisher(client);
        let state = &mut self.clients[client];
        let id = MessageId { client: publisher, seq: state.seq };
        state.seq += 1;
        let message = Message { id, qos, topic, len, poison: false };
        let packet_id = if qos > 0 { state.next_id() } else { 0 };
        self.put(client, message, packet_id, false);
        if qos > 0 {
            let open = Open { message, packet_id, received: false, released: false, due: 1 };
            self.clients[client].open.push(open);
        }
        self.tell_audience(&message);
    }

    fn tell_audience(&mut self, message: &Message) {
        // What is refused is not delivered.
        if message.len < TOO_LARGE_LEN {
            let topic = self.script.topic(message.topic);
            self.clients.iter_mut().for_each(|client| client.audience.published(&topic, message.qos));
        }
    }

    fn put(&mut self, client: usize, message: Message, packet_id: u16, dup: bool) {
        let topic = self.script.topic(message.topic);
        let Role { v5, aliases } = self.clients[client].role;
        let (mut text, mut alias) = (topic.as_str(), 0);
        if let (true, Some(line)) = (v5 && aliases, &mut self.clients[client].line) {
            alias = message.topic as u16 + 1;
            if std::mem::replace(&mut line.aliases[message.topic], true) {
                text = "";
            }
        }
        let (v5, qos, len) = (v5, message.qos, message.len);
        wire::put_publish(&mut self.out, v5, qos, dup, packet_id, (text, alias), len, |out| message.put(out));
    }

    fn resend(&mut self, client: usize) -> Result<(), String> {
        if !self.clients[client].present {
            // What was received is stored; its PUBREL would find nothing.
            self.clients[client].open.retain(|open| !open.received);
        }
        for at in 0..self.clients[client].open.len() {
            let open = self.clients[client].open[at];
            let present = self.clients[client].present;
            if open.received {
                self.clients[client].open[at].released = true;
                wire::put_id(&mut self.out, 0x62, open.packet_id);
                continue;
            }
            self.put(client, open.message, open.packet_id, true);
            let again = &mut self.clients[client].open[at];
            (again.due, again.received) = (1, false);
            // [MQTT-4.3.3-10]: a session that lives knows it.
            if open.message.qos == 1 || !present {
                self.tell_audience(&open.message);
            }
        }
        self.flush(client)
    }

    fn repeat(&mut self, client: usize) -> Result<(), String> {
        for at in 0..self.clients[client].open.len() {
            let open = self.clients[client].open[at];
            if open.received && !open.released {
                self.put(client, open.message, open.packet_id, true);
                self.clients[client].open[at].due += 1;
            }
        }
        self.flush(client)
    }

    fn hold_releases(&mut self, client: usize, holds: bool) -> Result<(), String> {
        let state = &mut self.clients[client];
        state.holds_releases = holds;
        if !holds {
            for open in state.open.iter_mut().filter(|open| open.received && !open.released) {
                open.released = true;
                wire::put_id(&mut self.out, 0x62, open.packet_id);
            }
        }
        self.flush(client)
    }

    /// Subscribes, or without a quality of service unsubscribes.
    fn subscribe(&mut self, client: usize, filter: &str, qos: Option<u8>) -> Result<(), String> {
        let filter = self.script.filter(filter);
        let state = &mut self.clients[client];
        let (v5, id) = (state.role.v5, state.next_id());
        match qos {
            Some(qos) => wire::put_subscribe(&mut self.out, v5, id, &filter, qos),
            None => wire::put_unsubscribe(&mut self.out, v5, id, &filter),
        }
        state.line.as_mut().ok_or("no connection")?.answers_due += 1;
        self.flush(client)?;
        self.settle(client)?;
        let audience = &mut self.clients[client].audience;
        match qos {
            Some(qos) => audience.subscribe(filter, qos),
            None => audience.unsubscribe(&filter),
        }
        Ok(())
    }

    fn ping(&mut self, client: usize) -> Result<(), String> {
        self.out.extend([0xc0, 0]);
        self.clients[client].line.as_mut().ok_or("no connection")?.answers_due += 1;
        self.flush(client)
    }

    fn settle_all(&mut self) -> Result<(), String> {
        (0..self.clients.len()).try_for_each(|client| self.settle(client))
    }

    fn settle(&mut self, client: usize) -> Result<(), String> {
        while self.clients[client].lacks().is_some() {
            self.hear(client)?;
        }
        Ok(())
    }

    /// Waits for bytes, and takes in whole packets.
    fn hear(&mut self, client: usize) -> Result<(), String> {
        let line = self.clients[client].line.as_mut().ok_or("no connection")?;
        let received = self.stage.receive(line.conn, &mut line.received);
        self.take_received(client)?;
        if received == Received::Bytes {
            return Ok(());
        }
        let lacks = self.clients[client].lacks().unwrap_or_else(|| "nothing".to_string());
        let why = if received == Received::Closed { "was closed" } else { "waited in vain" };
        Err(format!("c{client} {why} and lacks {lacks}"))
    }

    fn take_received(&mut self, client: usize) -> Result<(), String> {
        let Some(line) = &mut self.clients[client].line else { return Ok(()) };
        let received = std::mem::take(&mut line.received);
        let mut at = 0;
        while let Some((first, body, len)) = wire::next_packet(&received[at..]) {
            self.packet(client, first, body).map_err(|why| format!("c{client}: {why}"))?;
            at += len;
        }
        if let Some(line) = &mut self.clients[client].line {
            line.received = received[at..].to_vec();
        }
        self.flush(client)
    }

    /// Waits for the end of a connection and writes down what it heard. A cut one listens no more.
    fn gone(&mut self, client: usize, cut: bool) -> Result<(), String> {
        let line = self.clients[client].line.take().ok_or("no connection")?;
        let number = self.clients[client].connections;
        self.end_line(client, number, line, cut)?;
        let state = &mut self.clients[client];
        state.audience.left();
        if !cut && !state.role.v5 {
            // MQTT 3.1.1: it was closed for what can never be stored, and sends it no more.
            state.open.retain(|open| open.message.len < TOO_LARGE_LEN);
        }
        Ok(())
    }

    fn end_line(&mut self, client: usize, number: u32, mut line: Line, cut: bool) -> Result<(), String> {
        loop {
            match self.stage.receive(line.conn, &mut line.received) {
                Received::Bytes => {}
                Received::Closed => break,
                Received::Nothing => return Err(format!("c{client} is not closed")),
            }
        }
        self.stage.forget(line.conn);
        let name = format!("c{client}/{number}");
        let received = std::mem::take(&mut line.received);
        let mut at = 0;
        while let Some((first, body, len)) = wire::next_packet(&received[at..]).filter(|_| !cut) {
            match first {
                0xe0 => line.reason = Some(body.first().copied().unwrap_or(0)),
                _ => self.lines.push(format!("{name} last {first:02x} {body:02x?}")),
            }
            at += len;
        }
        let end = if cut { End::Cut } else { End::Closed(line.reason) };
        line.heard.put(&name, end, &mut self.lines);
        Ok(())
    }

    fn packet(&mut self, client: usize, first: u8, body: &[u8]) -> Result<(), String> {
        let odd = || format!("an unexpected packet {first:02x} {body:02x?}");
        let state = &mut self.clients[client];
        let line = state.line.as_mut().ok_or("no connection")?;
        let id = body.first_chunk().map_or(0, |&id| u16::from_be_bytes(id));
        let reason = body.get(2).copied().unwrap_or(0);
        match first {
            0x20 => {
                let &[flags, code, ..] = body else { return Err(odd()) };
                state.present = flags == 1;
                line.heard.connack = Some((state.present, code));
                state.audience.connected(state.present, state.keeps);
            }
            0x40 | 0x50 | 0x70 => state.acknowledged(first, id, reason, &mut self.out).ok_or_else(odd)?,
            0x62 => {
                line.holding.retain(|&held| held != id);
                wire::put_id(&mut self.out, 0x70, id);
            }
            0x90 | 0xb0 => {
                line.answers_due = line.answers_due.checked_sub(1).ok_or_else(odd)?;
                match first {
                    0x90 => line.heard.suback.push((id, *body.last().ok_or_else(odd)?)),
                    _ => line.heard.unsuback.push(id),
                }
            }
            0xd0 => {
                line.answers_due = line.answers_due.checked_sub(1).ok_or_else(odd)?;
                line.heard.pongs += 1;
            }
            0xe0 => line.reason = Some(body.first().copied().unwrap_or(0)),
            0x30..=0x3f => return self.delivery(client, first, body),
            _ => return Err(odd()),
        }
        Ok(())
    }

    fn delivery(&mut self, client: usize, first: u8, body: &[u8]) -> Result<(), String> {
        let state = &mut self.clients[client];
        let line = state.line.as_mut().ok_or("no connection")?;
        let delivery = wire::read_publish(state.role.v5, first, body).ok_or("a PUBLISH that is none")?;
        let id = MessageId::read(delivery.payload)?;
        let topic = (0..super::TOPICS.len()).find(|&topic| self.script.topic(topic) == delivery.topic);
        let topic = topic.ok_or_else(|| format!("{id:?} came as {}", delivery.topic))?;
        line.heard.deliveries.entry((id.client, topic)).or_default().push((id.seq, delivery.qos, delivery.dup));
        // One too many is seen in the outcome.
        state.audience.due = state.audience.due.saturating_sub(1);
        match delivery.qos {
            0 => {}
            _ if state.is_mute => state.audience.unanswered += 1,
            1 => wire::put_id(&mut self.out, 0x40, delivery.id),
            _ => {
                line.holding.push(delivery.id);
                wire::put_id(&mut self.out, 0x50, delivery.id);
            }
        }
        Ok(())
    }
}
