//! What a newcomer gets wrong, and what they are told.

use std::net::TcpListener;

use crate::peer::{Conversation, Peer, run};

/// Both programs come in by the same way.
fn check(script: fn(&mut Conversation), expected: &[&str]) {
    Peer::start(script).run("pub", &["-t", "t", "-n", "-q", "1"], b"").check(1, "", expected);
    Peer::start(script).run("sub", &["-t", "t"], b"").check(1, "", expected);
}

#[test]
fn nobody_listens() {
    // Port 1 on loopback refuses at once.
    let ended = run(&["pub", "-t", "t", "-n", "-p", "1"], b"");
    ended.check(1, "", &["no connection to 127.0.0.1:1: nothing listens there", "1883"]);
}

#[test]
fn a_host_without_an_address() {
    let ended = run(&["sub", "-t", "t", "-h", "nowhere.invalid"], b"");
    ended.check(1, "", &["nowhere.invalid cannot be resolved", "-h"]);
}

#[test]
fn not_an_mqtt_server() {
    check(|client| client.send(b"HTTP/1.1 400 Bad Request\r\n\r\n"), &["does not speak MQTT", "1883"]);
    check(|client| drop(client.packet()), &["closed the connection instead of answering CONNECT", "1883"]);
}

#[test]
fn a_server_that_never_answers() {
    let silent = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let port = silent.local_addr().unwrap().port().to_string();
    let ended = run(&["pub", "-t", "t", "-n", "-p", &port, "-W", "1"], b"");
    ended.check(1, "", &["gave up after 1 s: the server has not answered CONNECT"]);
}

#[test]
fn refused() {
    check(
        |client| {
            client.packet();
            // Bad user name or password, with a reason string.
            client.send(b"\x20\x09\x00\x86\x06\x1f\x00\x03who");
        },
        &["refused the connection: Bad User Name or Password (0x86): who", "-u", "-P"],
    );
}

#[test]
fn ended_by_the_server() {
    check(
        |client| {
            client.accept();
            client.packet();
            client.send(&[0xe0, 1, 0x8b]);
        },
        &["the server ended the connection: Server shutting down (0x8B)"],
    );
    check(
        |client| {
            client.accept();
            client.packet();
        },
        &["closed the connection without a reason"],
    );
}

#[test]
fn a_publication_that_is_refused() {
    let peer = Peer::start(|client| {
        client.accept();
        client.packet();
        client.packet();
        client.send(b"\x40\x03\x00\x01\x00\x40\x0b\x00\x02\x97\x07\x1f\x00\x04full");
        client.goodbye();
    });
    let ended = peer.run("pub", &["-t", "t", "-l", "-q", "1"], b"1\n2\n");
    ended.check(1, "", &["the server refused 1 of 2 messages: Quota exceeded (0x97): full"]);
}

#[test]
fn what_is_not_acknowledged_is_counted() {
    let peer = Peer::start(|client| {
        client.accept();
        client.packet();
        client.packet();
        client.send(&[0x40, 2, 0, 1]);
    });
    let ended = peer.run("pub", &["-t", "t", "-l", "-q", "1"], b"1\n2\n");
    ended.check(1, "", &["1 of 2 messages not acknowledged", "closed the connection"]);
}

#[test]
fn a_message_that_the_server_does_not_take() {
    let too_long = |client: &mut Conversation| {
        client.packet();
        // Maximum packet size 20.
        client.send(&[0x20, 8, 0, 0, 5, 0x27, 0, 0, 0, 20]);
    };
    let ended = Peer::start(too_long).run("pub", &["-t", "t", "-m", "0123456789abcdefgh"], b"");
    ended.check(1, "", &["the packet has 24 bytes, and the server takes at most 20"]);
    let qos_0 = |client: &mut Conversation| {
        client.packet();
        client.send(&[0x20, 5, 0, 0, 2, 0x24, 0]);
    };
    let ended = Peer::start(qos_0).run("pub", &["-t", "t", "-n", "-q", "1"], b"");
    ended.check(1, "", &["the server takes QoS 0 at most", "-q"]);
}

#[test]
fn a_wrong_command_line() {
    let check = |arguments: &[&str], expected: &str| {
        run(arguments, b"").check(2, "", &[expected]);
    };
    check(&["pub", "-t", "t"], "--message");
    check(&["pub", "-t", "t", "-m", "x", "-n"], "cannot be used with");
    check(&["pub", "-t", "t/+", "-n"], "holds no + or #");
    check(&["pub", "-t", "t", "-n", "-q", "3"], "0, 1 and 2 there are");
    check(&["pub", "-t", "t", "-n", "-V", "6"], "5, 3.1.1 and 3.1 there are");
    check(&["pub", "-t", "t", "-n", "-P", "x", "-V", "3.1.1"], "a password needs a user name");
    check(&["pub", "-t", "t", "-f", "/nowhere/at/all"], "/nowhere/at/all cannot be read");
    check(&["sub", "-t", "t/#/x"], "# is not the last level of its filter");
    check(&["sub", "-t", "t", "-c"], "--id");
}

#[test]
fn help_is_a_word_because_h_is_the_host() {
    for command in ["pub", "sub"] {
        let ended = run(&[command, "--help"], b"");
        assert!(ended.code == 0 && ended.out.contains("-h, --host <HOST>"), "{}", ended.out);
    }
}
