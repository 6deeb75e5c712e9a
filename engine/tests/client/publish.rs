//! `aqueduct pub`.

use std::io::Write as _;
use std::process::{Command, Stdio};

use crate::peer::Peer;

#[test]
fn the_letters_mean_what_they_mean_to_mosquitto_pub() {
    // -c -i -k -u -P in CONNECT of 3.1.1: flags are user name, password, and no clean session.
    let connect = b"\x10\x1c\x00\x04MQTT\x04\xc0\x00\x07\x00\x03dev\x00\x02me\x00\x07-secret";
    let peer = Peer::start(|client| {
        client.expect(connect);
        client.send(&[0x20, 2, 0, 0]);
        // -q 2 -r -t -m
        client.expect(b"\x35\x09\x00\x03t/1\x00\x01-5");
        client.send(&[0x50, 2, 0, 1]);
        client.expect(&[0x62, 2, 0, 1]);
        client.send(&[0x70, 2, 0, 1]);
        client.goodbye();
    });
    let arguments = ["-h", "localhost", "-V", "mqttv311", "-c", "-i", "dev", "-k", "7", "-u", "me", "-P", "-secret"];
    let message = ["-q", "2", "-r", "-t", "t/1", "-m", "-5"];
    peer.run("pub", &[&arguments[..], &message].concat(), b"").check(0, "", &[]);
}

#[test]
fn long_names_and_mqtt_5() {
    let peer = Peer::start(|client| {
        let connect = client.packet();
        assert_eq!(&connect[2..10], b"\x00\x04MQTT\x05\x02", "a clean start");
        assert!(connect.ends_with(b"\x00\x03dev"));
        client.send(crate::peer::CONNACK);
        client.expect(b"\x32\x08\x00\x01t\x00\x01\x00hi");
        client.send(&[0x40, 2, 0, 1]);
        client.goodbye();
    });
    let arguments = ["--host", "127.0.0.1", "--client-id", "dev", "--topic", "t", "--message", "hi", "--qos", "1"];
    peer.run("pub", &arguments, b"").check(0, "", &[]);
}

#[test]
fn qos_0_ends_when_it_is_written() {
    let peer = Peer::start(|client| {
        client.accept();
        client.expect(b"\x30\x04\x00\x01t\x00");
        client.goodbye();
    });
    peer.run("pub", &["-t", "t", "-n"], b"").check(0, "", &[]);
}

#[test]
fn it_waits_for_the_acknowledgement_and_shows_it() {
    let peer = Peer::start(|client| {
        client.accept();
        client.packet();
        client.pause(300);
        client.send(&[0x40, 2, 0, 1]);
        client.goodbye();
    });
    let ended = peer.run("pub", &["-t", "t", "-m", "hi", "-q", "1", "-d", "-i", "dev"], b"");
    let lines: Vec<&str> = ended.err.lines().collect();
    let expected = [
        "-> CONNECT as dev, a new session, keep alive 60 s",
        "<- CONNACK Success",
        "-> PUBLISH packet 1 QoS 1, 2 bytes to t",
        "<- PUBACK packet 1 Success",
        "-> DISCONNECT Success",
    ];
    assert_eq!(lines, expected);
    assert_eq!(ended.code, 0);
}

#[test]
fn somebody_who_waits_is_told_for_what() {
    let peer = Peer::start(|client| {
        client.accept();
        client.packet();
        client.pause(3_300);
        client.send(&[0x40, 2, 0, 1]);
        client.goodbye();
    });
    peer.run("pub", &["-t", "t", "-m", "hi", "-q", "1"], b"").check(0, "", &["1 message not acknowledged yet"]);
}

#[test]
fn each_line_is_a_message_and_the_window_is_the_servers() {
    let peer = Peer::start(|client| {
        assert_eq!(client.packet()[0], 0x10);
        // Receive maximum 2.
        client.send(&[0x20, 6, 0, 0, 3, 0x21, 0, 2]);
        client.expect(b"\x32\x09\x00\x01t\x00\x01\x00one");
        client.expect(b"\x32\x06\x00\x01t\x00\x02\x00");
        client.pause(200);
        client.send(&[0x40, 2, 0, 2]);
        client.expect(b"\x32\x0b\x00\x01t\x00\x02\x00three");
        client.send(&[0x40, 2, 0, 2, 0x40, 2, 0, 1]);
        client.goodbye();
    });
    // The last line does not end.
    peer.run("pub", &["-t", "t", "-q", "1", "-l"], b"one\n\nthree").check(0, "", &[]);
}

#[test]
fn lines_are_published_as_they_come_and_the_server_is_answered_meanwhile() {
    let peer = Peer::start(|client| {
        client.accept();
        client.expect(b"\x30\x07\x00\x01t\x00one");
        // Nothing is typed for longer than the keep alive.
        client.expect(&[0xc0, 0]);
        client.send(&[0xd0, 0]);
        client.expect(b"\x30\x07\x00\x01t\x00two");
        client.goodbye();
    });
    let port = peer.port.to_string();
    let mut command = Command::new(env!("CARGO_BIN_EXE_aqueduct"));
    command.args(["pub", "-p", &port, "-t", "t", "-l", "-k", "1"]).stdin(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(b"one\n").unwrap();
    std::thread::sleep(std::time::Duration::from_millis(1_500));
    stdin.write_all(b"two\n").unwrap();
    drop(stdin);
    assert!(child.wait().unwrap().success());
    peer.join();
}

#[test]
fn many_lines_go_to_a_server_that_reads_late() {
    const LINES: usize = 20_000;
    let peer = Peer::start(|client| {
        client.accept();
        client.pause(300);
        for _ in 0..LINES {
            assert_eq!(client.packet().len(), 2 + 1 + 4 + 1000);
        }
        client.goodbye();
    });
    let lines = format!("{}\n", "x".repeat(1000)).repeat(LINES);
    peer.run("pub", &["-t", "t", "-l"], lines.as_bytes()).check(0, "", &[]);
}

#[test]
fn a_file_and_the_whole_of_stdin_are_one_message_each() {
    let path = std::env::temp_dir().join(format!("aqueduct-pub-{}", std::process::id()));
    std::fs::write(&path, b"a\nb\n").unwrap();
    let script = |client: &mut crate::peer::Conversation| {
        client.accept();
        client.expect(b"\x30\x08\x00\x01t\x00a\nb\n");
        client.goodbye();
    };
    Peer::start(script).run("pub", &["-t", "t", "-f", path.to_str().unwrap()], b"").check(0, "", &[]);
    Peer::start(script).run("pub", &["-t", "t", "-s"], b"a\nb\n").check(0, "", &[]);
    std::fs::remove_file(&path).unwrap();
}
