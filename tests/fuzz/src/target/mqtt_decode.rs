//! MQTT control packets: a stream of bytes, framed and decoded as one version.
//!
//! Promises: no panic; wherever the stream is split between two reads, the same packets come out of it; an accepted packet is sound,
//! encoded again it is accepted and equal, and another codec reads it the same way.

use mqtt::frame::{self, Split};
use mqtt::{Frame, Packet, QoS, Version, topic};

use super::second_opinion;
use crate::trail;

/// Above it a packet is refused by its length alone.
const PACKET_BYTES_MAX: u32 = 1 << 20;

/// Property identifiers with a value each, and other bytes that matter in 5.0.
pub(super) const PROPERTIES: &[&[u8]] = &[
    b"\x01\x01",
    b"\x02\0\0\0\x3c",
    b"\x03\0\x01t",
    b"\x08\0\x01r",
    b"\x09\0\x01\x09",
    b"\x0b\x05",
    b"\x11\0\0\x0e\x10",
    b"\x12\0\x01c",
    b"\x13\0\x3c",
    b"\x15\0\x01m",
    b"\x16\0\x02\x01\x02",
    b"\x17\0",
    b"\x18\0\0\0\x05",
    b"\x19\x01",
    b"\x1f\0\x01r",
    b"\x21\0\x0a",
    b"\x22\0\x10",
    b"\x23\0\x07",
    b"\x24\x01",
    b"\x26\0\x01k\0\x01v",
    b"\x27\0\0\x10\0",
    b"\0\x04MQTT\x05",
    b"\0\x08$share/g",
];

/// As MQTT 3.1.1, and each packet also as 3.1.
pub(super) fn v3(bytes: &[u8]) {
    for (wire, frame) in frames(bytes) {
        decode(Version::V3_1, frame);
        if let Some(packet) = decode(Version::V3_1_1, frame) {
            second_opinion::v3_1_1::agrees(wire, &packet);
        }
    }
}

/// As MQTT 5.0.
pub(super) fn v5(bytes: &[u8]) {
    for (wire, frame) in frames(bytes) {
        if let Some(packet) = decode(Version::V5, frame) {
            second_opinion::v5_0::agrees(wire, &packet);
        }
    }
}

/// The whole packets at the start of a stream, each with its bytes, and each of them asked for at every length at which a read may have ended.
fn frames(stream: &[u8]) -> impl Iterator<Item = (&[u8], Frame<'_>)> {
    let mut rest = stream;
    std::iter::from_fn(move || {
        let whole = frame::split(rest, PACKET_BYTES_MAX);
        let len = if let Ok(Split::Whole(frame)) = whole { frame.len } else { rest.len() };
        splits_agree(rest, len, &whole);
        let Ok(Split::Whole(frame)) = whole else { return None };
        let wire;
        (wire, rest) = rest.split_at(len);
        Some((wire, frame))
    })
}

/// What the first `n` of `len` bytes say must agree with what all of them say: more is needed, more than there is and no more than
/// there will be; and what is wrong is wrong from some length on.
fn splits_agree(bytes: &[u8], len: usize, all: &Result<Split<'_>, mqtt::Error>) {
    let mut failed = false;
    for n in 0..len {
        match (frame::split(&bytes[..n], PACKET_BYTES_MAX), all) {
            (Ok(Split::Need(need)), Ok(Split::Whole(_))) => assert!(n < need && need <= len, "{n} of {len}: {need}"),
            (Ok(Split::Need(need)), Ok(Split::Need(most))) => {
                assert!(n < need && need <= *most, "{n}: {need} of {most}")
            }
            (Ok(Split::Need(need)), Err(_)) => assert!(n < need && !failed, "{n}: {need} after an error"),
            (Err(early), Err(late)) => {
                assert_eq!(early, *late, "{n}");
                failed = true;
            }
            (early, late) => panic!("{n} of {len}: {early:?}, and {late:?} in the end"),
        }
    }
}

fn decode(version: Version, frame: Frame<'_>) -> Option<Packet<'_>> {
    match mqtt::decode(version, frame) {
        Ok(packet) => {
            trail::mark(1, u64::from(version.level()) << 8 | u64::from(frame.first));
            sound(version, &packet);
            Some(packet)
        }
        Err(error) => {
            assert!(error.reason.is_failure() && !error.clause.is_empty() && !error.what.is_empty());
            trail::mark_text(2, error.what);
            trail::mark(3, u64::from(frame.first) << 8 | u64::from(error.reason.value()));
            None
        }
    }
}

/// What holds for every packet that was accepted.
fn sound(version: Version, packet: &Packet<'_>) {
    // A CONNECT is of its own version.
    let version = if let Packet::Connect(connect) = packet { connect.version } else { version };
    let mut out = Vec::new();
    packet.encode(version, &mut out);
    let Ok(Split::Whole(again)) = frame::split(&out, u32::MAX) else { panic!("{packet:?} gives {out:02X?}") };
    assert_eq!(again.len, out.len());
    assert_eq!(mqtt::decode(version, again).as_ref(), Ok(packet), "{out:02X?}");
    match packet {
        Packet::Publish(publish) => {
            assert!(topic::valid_name(publish.topic) || publish.properties.topic_alias != 0);
            assert_eq!(publish.packet_id == 0, publish.qos == QoS::AtMostOnce);
            let users = publish.properties.user_properties();
            let count = users.inspect(|(name, value)| assert!(!name.contains('\0') && !value.contains('\0'))).count();
            trail::mark_size(4, count);
        }
        Packet::Subscribe(subscribe) => {
            assert!(subscribe.packet_id != 0 && subscribe.subscriptions().count() > 0);
            assert!(subscribe.subscriptions().all(|s| topic::valid_filter(s.filter).is_ok()));
            trail::mark_size(5, subscribe.subscriptions().count());
        }
        Packet::Unsubscribe(unsubscribe) => assert!(unsubscribe.filters().count() > 0),
        _ => {}
    }
}
