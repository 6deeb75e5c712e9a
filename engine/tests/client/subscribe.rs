//! `aqueduct sub`.

use crate::peer::{Conversation, Peer};

/// Takes `SUBSCRIBE t/#` at QoS 2 and grants it.
fn granted(client: &mut Conversation) {
    client.accept();
    client.expect(b"\x82\x09\x00\x01\x00\x00\x03t/#\x02");
    client.send(&[0x90, 4, 0, 1, 0, 2]);
}

#[test]
fn messages_of_every_qos_are_printed_and_acknowledged() {
    let peer = Peer::start(|client| {
        granted(client);
        client.send(b"\x30\x08\x00\x03t/1\x00m0");
        client.send(b"\x32\x0a\x00\x03t/2\x00\x07\x00m1");
        client.expect(&[0x40, 2, 0, 7]);
        // QoS 2, and again before its release.
        client.send(b"\x34\x0a\x00\x03t/3\x00\x08\x00m2");
        client.expect(&[0x50, 2, 0, 8]);
        client.send(b"\x3c\x0a\x00\x03t/3\x00\x08\x00m2");
        client.expect(&[0x50, 2, 0, 8]);
        client.send(&[0x62, 2, 0, 8]);
        client.expect(&[0x70, 2, 0, 8]);
        client.send(b"\x30\x08\x00\x03t/4\x00m3");
        client.goodbye();
    });
    let ended = peer.run("sub", &["-t", "t/#", "-q", "2", "-C", "4", "-v"], b"");
    ended.check(0, "t/1 m0\nt/2 m1\nt/3 m2\nt/4 m3\n", &[]);
}

#[test]
fn what_comes_after_the_count_is_not_acknowledged() {
    let peer = Peer::start(|client| {
        granted(client);
        client.send(b"\x32\x0a\x00\x03t/2\x00\x07\x00m1\x32\x0a\x00\x03t/2\x00\x08\x00m2");
        client.expect(&[0x40, 2, 0, 7]);
        client.goodbye();
    });
    peer.run("sub", &["-t", "t/#", "-q", "2", "-C", "1"], b"").check(0, "m1\n", &[]);
}

#[test]
fn several_filters_go_in_one_packet() {
    let peer = Peer::start(|client| {
        client.accept();
        client.expect(b"\x82\x0b\x00\x01\x00\x00\x01a\x00\x00\x01b\x00");
        client.send(&[0x90, 5, 0, 1, 0, 0, 0]);
        client.send(b"\x30\x04\x00\x01a\x00");
        client.goodbye();
    });
    peer.run("sub", &["-t", "a", "-t", "b", "-C", "1"], b"").check(0, "\n", &[]);
}

#[test]
fn a_refused_filter_is_named() {
    let peer = Peer::start(|client| {
        client.accept();
        client.packet();
        client.send(&[0x90, 5, 0, 1, 0, 0, 0x87]);
    });
    let ended = peer.run("sub", &["-t", "a", "-t", "b"], b"");
    ended.check(1, "", &["the server refused the subscription b: Not authorized (0x87)"]);
}

#[test]
fn less_than_was_asked_for_is_said() {
    let peer = Peer::start(|client| {
        client.accept();
        client.packet();
        client.send(&[0x90, 4, 0, 1, 0, 0]);
        client.send(b"\x30\x04\x00\x01a\x00");
        client.goodbye();
    });
    peer.run("sub", &["-t", "a", "-q", "1", "-C", "1"], b"").check(0, "\n", &["a is delivered with QoS 0 at most"]);
}

#[test]
fn time_is_up() {
    let check = |arguments: &[&str], messages: &'static [u8], code: i32, out: &str, err: &[&str]| {
        let peer = Peer::start(move |client| {
            granted(client);
            client.send(messages);
            client.goodbye();
        });
        let always = ["-t", "t/#", "-q", "2", "-W", "1"];
        peer.run("sub", &[&always, arguments].concat(), b"").check(code, out, err);
    };
    let one = b"\x30\x08\x00\x03t/1\x00m0";
    check(&[], b"", 1, "", &["gave up after 1 s: no message came"]);
    check(&[], one, 0, "m0\n", &[]);
    check(&["-C", "2"], one, 1, "m0\n", &["gave up after 1 s: 1 of 2 messages came"]);
}

#[test]
fn a_reader_that_has_seen_enough_ends_it() {
    let peer = Peer::start(|client| {
        granted(client);
        // Until the pipe is known to be broken.
        while client.try_send(b"\x30\x08\x00\x03t/1\x00m0") {
            client.pause(1);
        }
    });
    let program = env!("CARGO_BIN_EXE_aqueduct");
    let line = format!("{program} sub -p {} -t t/# -q 2 | head -n 1; exit ${{PIPESTATUS[0]}}", peer.port);
    let output = std::process::Command::new("bash").args(["-c", &line]).output().unwrap();
    assert_eq!((output.status.code(), &*output.stdout), (Some(0), &b"m0\n"[..]), "{output:?}");
    peer.join();
}
