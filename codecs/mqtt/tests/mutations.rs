//! Bytes from strangers never panic, and an accepted packet is sound.
//!
//! Setup: valid packets of every type, mutated; and streams of them through a connection. Action: frame, decode, encode,
//! and every verb of the connection. Expectation: no panic; what was accepted is encoded to bytes that are accepted and
//! mean the same; a connection's counters stay within what was announced.

mod support;

use mqtt::connection::{Accepted, Limits, ServerConnection};
use mqtt::{Packet, QoS, Version, frame, topic};
use support::{Random, connect, corpus, mutate};

const ROUNDS: usize = 400_000;

/// What holds for every packet that was accepted.
fn sound(version: Version, packet: &Packet<'_>) {
    // A CONNECT is of its own version.
    let version = if let Packet::Connect(connect) = packet { connect.version } else { version };
    let mut out = Vec::new();
    packet.encode(version, &mut out);
    let Ok(frame::Split::Whole(whole)) = frame::split(&out, u32::MAX) else { panic!("{packet:?} gives {out:02X?}") };
    assert_eq!(whole.len, out.len());
    assert_eq!(mqtt::decode(version, whole).as_ref(), Ok(packet), "{out:02X?}");
    match packet {
        Packet::Publish(publish) => {
            assert!(topic::valid_name(publish.topic) || publish.properties.topic_alias != 0);
            assert_eq!(publish.packet_id == 0, publish.qos == QoS::AtMostOnce);
            assert!(
                publish.properties.user_properties().all(|(name, value)| !name.contains('\0') && !value.contains('\0'))
            );
        }
        Packet::Subscribe(subscribe) => {
            assert!(subscribe.packet_id != 0 && subscribe.subscriptions().count() > 0);
            assert!(subscribe.subscriptions().all(|s| topic::valid_filter(s.filter).is_ok()));
        }
        Packet::Unsubscribe(unsubscribe) => assert!(unsubscribe.filters().count() > 0),
        _ => {}
    }
}

#[test]
fn mutated_packets_are_refused_or_sound() {
    for version in [Version::V3_1, Version::V3_1_1, Version::V5] {
        let corpus = corpus(version);
        let mut random = Random(0x1234_5678_9abc_def1);
        let mut accepted = 0;
        for i in 0..ROUNDS {
            let mut bytes = corpus[i % corpus.len()].clone();
            mutate(&mut random, &mut bytes);
            let Ok(frame::Split::Whole(whole)) = frame::split(&bytes, 1 << 20) else { continue };
            if let Ok(packet) = mqtt::decode(version, whole) {
                sound(version, &packet);
                accepted += 1;
            }
        }
        assert!(accepted > ROUNDS / 50, "only {accepted} of {ROUNDS} were accepted");
    }
}

#[test]
fn noise_is_refused_or_sound() {
    let mut random = Random(42);
    for _ in 0..ROUNDS {
        let len = random.below(24) + 2;
        let mut bytes: Vec<u8> = (0..len).map(|_| random.word() as u8).collect();
        bytes[1] = (len - 2) as u8;
        let Ok(frame::Split::Whole(whole)) = frame::split(&bytes, 1 << 20) else { panic!() };
        for version in [Version::V3_1_1, Version::V5] {
            if let Ok(packet) = mqtt::decode(version, whole) {
                sound(version, &packet);
            }
        }
    }
}

/// Plays one conversation of mutated packets to its end.
fn converse(version: Version, corpus: &[Vec<u8>], random: &mut Random, limits: &Limits) {
    let mut connection = ServerConnection::new(0, limits);
    let mut out = Vec::new();
    let mut now_ms = 0;
    let first = connect(version, "");
    for step in 0..40 {
        let mut bytes = if step == 0 { first.clone() } else { corpus[random.below(corpus.len())].clone() };
        if random.below(4) == 0 {
            mutate(random, &mut bytes);
        }
        now_ms += random.word() % 5_000;
        let result = match frame::split(&bytes, limits.packet_bytes_max) {
            Ok(frame::Split::Whole(frame)) => connection.handle_frame(frame),
            Ok(frame::Split::Need(_)) => continue,
            Err(error) => Err(error),
        };
        match result {
            Ok(Packet::Connect(_)) => connection.accept(now_ms, &Accepted::default(), &mut out),
            Ok(Packet::Publish(publish)) => {
                let name = connection.topic(&publish);
                assert!(
                    topic::valid_name(name) && topic::within(name, limits.topic_bytes_max, limits.topic_levels_max)
                );
                connection.received(now_ms);
            }
            Ok(_) => connection.received(now_ms),
            Err(error) => {
                assert!(error.reason.is_failure() && !error.clause.is_empty() && !error.what.is_empty());
                connection.fail(&error, &mut out);
                assert!(connection.is_closing());
            }
        }
        assert!(!version.is_v5() || connection.inbound_open() <= u32::from(limits.receive_maximum));
        if random.below(3) == 0 && connection.inbound_open() > 0 {
            connection.inbound_done(1);
        }
        if let Some(error) = connection.handle_timeout(now_ms) {
            connection.fail(&error, &mut out);
        }
        if connection.is_closing() {
            break;
        }
    }
    // Whatever was written is a series of whole packets of the version.
    let mut rest = &out[..];
    while !rest.is_empty() {
        let Ok(frame::Split::Whole(frame)) = frame::split(rest, u32::MAX) else { panic!("{out:02X?}") };
        let spoken = connection.version().unwrap_or(version);
        assert!(mqtt::decode(spoken, frame).is_ok() || connection.version().is_none(), "{out:02X?}");
        rest = &rest[frame.len..];
    }
}

#[test]
fn conversations_end_in_order() {
    let limits = Limits { receive_maximum: 3, topic_alias_maximum: 7, ..Limits::default() };
    for version in [Version::V3_1, Version::V3_1_1, Version::V5] {
        let corpus: Vec<_> = corpus(version).into_iter().filter(|packet| packet[0] >> 4 != 1).collect();
        let mut random = Random(7);
        for _ in 0..20_000 {
            converse(version, &corpus, &mut random, &limits);
        }
    }
}
