//! What one connection has heard, in the order that means something.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use super::{CLIENTS_MAX, TOPICS};

/// How a connection ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    /// By the server, or after a DISCONNECT; MQTT 5: the server's reason.
    Closed(Option<u8>),
    /// The client has cut it.
    Cut,
}

/// Number, quality of service, and whether it was said to be sent again.
pub(super) type Delivery = (u32, u8, bool);

/// By lane.
#[derive(Debug, Default)]
pub(super) struct Heard {
    /// Session present, and code.
    pub(super) connack: Option<(bool, u8)>,
    /// Packet identifiers and reason codes.
    pub(super) puback: Vec<(u16, u8)>,
    pub(super) pubrec: Vec<(u16, u8)>,
    pub(super) pubcomp: Vec<(u16, u8)>,
    pub(super) suback: Vec<(u16, u8)>,
    pub(super) unsuback: Vec<u16>,
    pub(super) pongs: u32,
    /// By publisher and topic.
    pub(super) deliveries: BTreeMap<(u16, usize), Vec<Delivery>>,
}

impl Heard {
    /// Appends its lines.
    pub(super) fn put(&self, name: &str, end: End, lines: &mut Vec<String>) {
        if let Some((present, code)) = self.connack {
            let present = if present { "session present" } else { "new session" };
            lines.push(format!("{name} connack {code:02x} {present}"));
        }
        let lanes =
            [("puback", &self.puback), ("pubrec", &self.pubrec), ("pubcomp", &self.pubcomp), ("suback", &self.suback)];
        for (lane, answers) in lanes {
            put_list(name, lane, answers.iter().map(|(id, code)| format!("{id}:{code:02x}")), lines);
        }
        put_list(name, "unsuback", self.unsuback.iter().map(u16::to_string), lines);
        if self.pongs > 0 {
            lines.push(format!("{name} pingresp {}", self.pongs));
        }
        for (&(publisher, topic), told) in &self.deliveries {
            let what = format!("from c{} {}", usize::from(publisher) % CLIENTS_MAX, TOPICS[topic]);
            let told = told.iter().map(|(seq, qos, dup)| format!("{seq}q{qos}{}", if *dup { "d" } else { "" }));
            put_list(name, &what, told, lines);
        }
        lines.push(match end {
            End::Closed(Some(reason)) => format!("{name} disconnect {reason:02x} closed"),
            End::Closed(None) => format!("{name} closed"),
            End::Cut => format!("{name} cut"),
        });
    }
}

fn put_list(name: &str, what: &str, items: impl Iterator<Item = String>, lines: &mut Vec<String>) {
    let mut line = format!("{name} {what}");
    let before = line.len();
    for item in items {
        let _ = write!(line, " {item}");
    }
    if line.len() > before {
        lines.push(line);
    }
}
