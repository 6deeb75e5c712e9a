//! A client that keeps to the protocol, and says so loudly when the server does not.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::super::rig::packet;
use crate::shard::io::ConnKey;

/// Publications with QoS > 0 that a device has open at most: the receive maximum of the tests.
pub(super) const OPEN_MAX: usize = 20;

/// A publication that is not acknowledged to the end.
#[derive(Debug, Clone, Copy)]
pub(super) struct Out {
    pub(super) message: u32,
    pub(super) qos: u8,
    pub(super) id: u16,
    topic: &'static str,
    payload_len: usize,
    /// PUBREC came; PUBREL is on its way.
    released: bool,
}

/// One TCP connection of a device.
#[derive(Debug)]
pub(super) struct Wire {
    /// Shard and key.
    pub(super) at: (usize, ConnKey),
    /// Bytes on their way to the shard.
    pub(super) to_shard: VecDeque<u8>,
    from_shard: Vec<u8>,
    connected: bool,
    /// Identifiers that wait for their PUBACK, in the order of their last PUBLISH.
    pubacks: VecDeque<u16>,
    /// Identifiers whose PUBLISH or PUBREL was sent here, with the number of answers each may get.
    asked: BTreeMap<(u8, u16), u32>,
    /// Identifiers that were sent twice here: one PUBACK may answer both.
    resent: BTreeSet<u16>,
    pub(super) pings: u32,
    aliases: [Option<&'static str>; 3],
}

/// What a device learnt, for the truth.
#[derive(Debug, Clone, Copy)]
pub(super) enum Heard {
    /// PUBACK or PUBREC with success.
    Stored(u32),
    /// With a failure: the message is given up.
    Refused(u32),
    /// The session is gone: QoS 2 may make a second record of these.
    Lost(u32),
}

/// One client over all its connections.
#[derive(Debug)]
pub(super) struct Device {
    pub(super) name: String,
    pub(super) is_v5: bool,
    clean: bool,
    expiry_s: u32,
    pub(super) wire: Option<Wire>,
    pub(super) open: Vec<Out>,
    next_id: u16,
    pub(super) heard: Vec<Heard>,
}

impl Device {
    pub(super) fn new(name: String, is_v5: bool, clean: bool, expiry_s: u32) -> Self {
        Self { name, is_v5, clean, expiry_s, wire: None, open: Vec::new(), next_id: 0, heard: Vec::new() }
    }

    pub(super) fn is_done(&self) -> bool {
        self.open.is_empty() && self.wire.as_ref().is_some_and(|w| w.pings == 0 && w.to_shard.is_empty() && w.connected)
    }

    /// Begins a connection; what an earlier one still had to say is lost.
    pub(super) fn connect(&mut self, at: (usize, ConnKey)) {
        let mut body = vec![0, 4, b'M', b'Q', b'T', b'T', if self.is_v5 { 5 } else { 4 }];
        body.extend([u8::from(self.clean) << 1, 0, 60]);
        if self.is_v5 {
            body.extend([5, 0x11]);
            body.extend(self.expiry_s.to_be_bytes());
        }
        body.extend((self.name.len() as u16).to_be_bytes());
        body.extend(self.name.as_bytes());
        self.wire = Some(Wire {
            at,
            to_shard: packet(0x10, &body).into(),
            from_shard: Vec::new(),
            connected: false,
            pubacks: VecDeque::new(),
            asked: BTreeMap::new(),
            resent: BTreeSet::new(),
            pings: 0,
            aliases: [None; 3],
        });
    }

    pub(super) fn can_publish(&self) -> bool {
        self.open.len() < OPEN_MAX && self.wire.as_ref().is_some_and(|w| w.connected)
    }

    /// Sends a new message. `alias`: 0 for none.
    pub(super) fn publish(&mut self, message: u32, qos: u8, topic: &'static str, payload_len: usize, alias: u16) {
        let mut id = 0;
        if qos > 0 {
            loop {
                self.next_id = self.next_id % 300 + 1;
                let wire = self.wire.as_ref().expect("a connection");
                let asked = |kind| wire.asked.get(&(kind, self.next_id)).is_some_and(|&n| n > 0);
                let waits = wire.pubacks.contains(&self.next_id) || asked(0x50) || asked(0x70);
                if !waits && self.open.iter().all(|o| o.id != self.next_id) {
                    break;
                }
            }
            id = self.next_id;
        }
        let out = Out { message, qos, id, topic, payload_len, released: false };
        self.put_publish(&out, false, alias);
        if qos > 0 {
            self.open.push(out);
        }
    }

    /// MQTT 3.1.1 lets a client resend on the same connection.
    pub(super) fn resend(&mut self, nth: usize) {
        let out = self.open[nth];
        if !self.is_v5 && !out.released {
            self.put_publish(&out, true, 0);
        }
    }

    pub(super) fn ping(&mut self) {
        let wire = self.wire.as_mut().expect("a connection");
        wire.to_shard.extend([0xc0, 0]);
        wire.pings += 1;
    }

    fn put_publish(&mut self, out: &Out, dup: bool, alias: u16) {
        let wire = self.wire.as_mut().expect("a connection");
        let mut topic = out.topic;
        let mut properties = vec![0];
        if self.is_v5 && alias > 0 {
            properties = vec![3, 0x23, 0, alias as u8];
            let known = &mut wire.aliases[usize::from(alias) - 1];
            if *known == Some(topic) {
                topic = "";
            } else {
                *known = Some(topic);
            }
        }
        let mut body = Vec::new();
        body.extend((topic.len() as u16).to_be_bytes());
        body.extend(topic.as_bytes());
        if out.qos > 0 {
            body.extend(out.id.to_be_bytes());
        }
        if self.is_v5 {
            body.extend(properties);
        }
        body.extend(format!("<{:08x}>", out.message).bytes());
        body.extend(std::iter::repeat_n(b'x', out.payload_len));
        wire.to_shard.extend(packet(0x30 | out.qos << 1 | u8::from(dup) << 3, &body));
        if out.qos == 1 {
            if wire.pubacks.contains(&out.id) {
                wire.resent.insert(out.id);
            }
            wire.pubacks.push_back(out.id);
        } else if out.qos == 2 {
            *wire.asked.entry((0x50, out.id)).or_default() += 1;
        }
    }

    /// Bytes from the server.
    pub(super) fn hear(&mut self, bytes: &[u8]) {
        let Some(wire) = &mut self.wire else { return };
        wire.from_shard.extend(bytes);
        let all = std::mem::take(&mut wire.from_shard);
        let mut rest = &all[..];
        while rest.len() >= 2 {
            assert!(rest[1] < 0x80, "answers are short: {rest:02x?}");
            let len = 2 + usize::from(rest[1]);
            if rest.len() < len {
                break;
            }
            self.hear_packet(rest[0], &rest[2..len]);
            rest = &rest[len..];
        }
        if let Some(wire) = &mut self.wire {
            wire.from_shard = rest.to_vec();
        }
    }

    fn hear_packet(&mut self, first: u8, body: &[u8]) {
        let id = || u16::from_be_bytes([body[0], body[1]]);
        let failed = body.get(2).is_some_and(|&reason| reason >= 0x80);
        let name = self.name.clone();
        match first {
            0x20 => self.hear_connack(body[0] == 1, body[1]),
            0x40 => {
                let wire = self.wire.as_mut().expect("a connection");
                // The ack of a resend may answer for the PUBLISH before it too.
                while let Some(first) = wire.pubacks.pop_front().filter(|&first| first != id()) {
                    assert!(wire.resent.contains(&first), "{name}: PUBACK of {}, and {first} was before", id());
                }
                self.done(id(), 1, failed);
            }
            0x50 => {
                self.answered(0x50, id());
                let Some(out) = self.open.iter_mut().find(|o| o.id == id() && o.qos == 2) else {
                    panic!("{name}: a PUBREC for nothing: {body:02x?}")
                };
                if failed {
                    assert!(!out.released, "{name}: refused after it was stored");
                    return self.done(id(), 2, true);
                }
                out.released = true;
                let message = out.message;
                self.heard.push(Heard::Stored(message));
                self.release(id());
            }
            0x70 => {
                self.answered(0x70, id());
                self.open.retain(|o| o.id != id() || !o.released);
            }
            0xd0 => {
                let wire = self.wire.as_mut().expect("a connection");
                assert!(wire.pings > 0, "{name}: a PINGRESP for nothing");
                wire.pings -= 1;
            }
            0xe0 => assert!(matches!(body[0], 0x8e | 0x8b | 0x89 | 0x8d), "{name}: disconnected: {body:02x?}"),
            other => panic!("{name}: unexpected packet {other:02x}"),
        }
    }

    fn answered(&mut self, kind: u8, id: u16) {
        let wire = self.wire.as_mut().expect("a connection");
        let left = wire.asked.get_mut(&(kind, id)).filter(|n| **n > 0);
        *left.unwrap_or_else(|| panic!("{}: {kind:02x} of {id} was not asked for here", self.name)) -= 1;
    }

    fn release(&mut self, id: u16) {
        let wire = self.wire.as_mut().expect("a connection");
        *wire.asked.entry((0x70, id)).or_default() += 1;
        wire.to_shard.extend(packet(0x62, &id.to_be_bytes()));
    }

    fn done(&mut self, id: u16, qos: u8, failed: bool) {
        let Some(nth) = self.open.iter().position(|o| o.id == id && o.qos == qos) else {
            return assert!(!self.is_v5, "{}: {id} is not open", self.name);
        };
        let message = self.open.remove(nth).message;
        self.heard.push(if failed { Heard::Refused(message) } else { Heard::Stored(message) });
    }

    fn hear_connack(&mut self, present: bool, reason: u8) {
        assert_eq!(reason, 0, "{}: let in", self.name);
        let wire = self.wire.as_mut().expect("a connection");
        assert!(!wire.connected, "one CONNACK");
        wire.connected = true;
        if !present {
            self.open.retain(|o| !o.released);
            self.heard.extend(self.open.iter().map(|o| Heard::Lost(o.message)));
        }
        // [MQTT-4.4.0-1], [MQTT-4.6.0-1]
        for out in self.open.clone() {
            if out.released { self.release(out.id) } else { self.put_publish(&out, true, 0) }
        }
    }
}
