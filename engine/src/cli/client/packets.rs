//! Packets on stderr, one line each: `-d`.

use std::fmt;

use mqtt::{Ack, Packet};

use crate::client::Way;

/// Prints a packet.
pub(super) fn show(way: Way, packet: &Packet<'_>) {
    let way = match way {
        Way::Sent => "->",
        Way::Received => "<-",
    };
    eprintln!("{way} {}", Line(packet));
}

struct Line<'a>(&'a Packet<'a>);

impl fmt::Display for Line<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", format!("{:?}", self.0.packet_type()).to_ascii_uppercase())?;
        match self.0 {
            Packet::Connect(connect) => {
                let keep = if connect.clean_start { "a new session" } else { "an old session if there is one" };
                write!(f, " as {}, {keep}, keep alive {} s", connect.client_id, connect.keep_alive_s)
            }
            Packet::ConnAck(answer) => {
                let session = if answer.session_present { ", with the old session" } else { "" };
                write!(f, " {}{session}", answer.reason)
            }
            Packet::Publish(publish) => {
                if publish.packet_id != 0 {
                    write!(f, " packet {}", publish.packet_id)?;
                }
                let (qos, bytes) = (publish.qos.bits(), publish.payload.len());
                let retain = if publish.retain { ", retained" } else { "" };
                let again = if publish.dup { ", again" } else { "" };
                write!(f, " QoS {qos}, {bytes} bytes to {}{retain}{again}", publish.topic)
            }
            Packet::PubAck(ack) | Packet::PubRec(ack) | Packet::PubRel(ack) | Packet::PubComp(ack) => line(ack, f),
            Packet::Subscribe(subscribe) => {
                write!(f, " packet {}", subscribe.packet_id)?;
                subscribe.subscriptions().try_for_each(|subscription| {
                    write!(f, ", {} QoS {}", subscription.filter, subscription.options.qos.bits())
                })
            }
            Packet::SubAck(ack) => {
                write!(f, " packet {}", ack.packet_id)?;
                ack.reasons.iter().try_for_each(|reason| match reason.value() {
                    qos @ 0..=2 => write!(f, ", QoS {qos}"),
                    _ => write!(f, ", {reason}"),
                })
            }
            Packet::Disconnect(goodbye) => {
                write!(f, " {}", goodbye.reason)?;
                text(goodbye.reason_string, f)
            }
            _ => Ok(()),
        }
    }
}

fn line(ack: &Ack<'_>, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    write!(f, " packet {} {}", ack.packet_id, ack.reason)?;
    text(ack.reason_string, f)
}

fn text(text: Option<&str>, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    text.map_or(Ok(()), |text| write!(f, ": {text}"))
}
