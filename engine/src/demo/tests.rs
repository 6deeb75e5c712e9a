//! The devices against a server that decodes what they send.

use std::collections::BTreeMap;
use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, Sender, channel};

use mqtt::frame::{Split, split};
use mqtt::{ConnAck, Packet, ReasonCode, Version, decode, encode_puback};

use super::*;

/// What a device did.
#[derive(Debug, PartialEq, Eq)]
enum Deed {
    Connected,
    Published { topic: String, payload: String, qos: u8 },
    SaidGoodbye,
}

/// A server that takes every client in, and tells the test by client id what each does.
struct Server {
    at: SocketAddr,
    deeds: Receiver<(String, Deed)>,
}

impl Server {
    /// `acks` is how many publications of a connection are acknowledged before the server closes it; `None` = it never
    /// acknowledges and never closes.
    fn start(acks: Option<usize>) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let at = listener.local_addr().unwrap();
        let (tell, deeds) = channel();
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let (stream, tell) = (stream.unwrap(), tell.clone());
                std::thread::spawn(move || serve(stream, acks, &tell));
            }
        });
        Self { at, deeds }
    }

    fn next(&self) -> (String, Deed) {
        self.deeds.recv_timeout(Duration::from_secs(10)).expect("a device does something")
    }

    /// Nothing is done for a while.
    fn is_quiet(&self) -> bool {
        self.deeds.recv_timeout(Duration::from_millis(300)).is_err()
    }
}

fn serve(mut stream: TcpStream, acks: Option<usize>, tell: &Sender<(String, Deed)>) {
    let (mut received, mut buffer, mut id, mut acked) = (Vec::new(), [0; 4096], String::new(), 0);
    while let Ok(n @ 1..) = stream.read(&mut buffer) {
        received.extend_from_slice(&buffer[..n]);
        while let Ok(Split::Whole(frame)) = split(&received, u32::MAX) {
            let (len, mut answer) = (frame.len, Vec::new());
            let deed = match decode(Version::V5, frame).unwrap() {
                Packet::Connect(connect) => {
                    id = connect.client_id.to_owned();
                    let reason = ReasonCode::Success;
                    ConnAck { session_present: false, reason, properties: Default::default() }
                        .encode(Version::V5, &mut answer);
                    Deed::Connected
                }
                Packet::Publish(publish) => {
                    if acks.is_some() {
                        encode_puback(Version::V5, publish.packet_id, ReasonCode::Success, None, &mut answer);
                        acked += 1;
                    }
                    let payload = String::from_utf8(publish.payload.to_vec()).unwrap();
                    Deed::Published { topic: publish.topic.to_owned(), payload, qos: publish.qos.bits() }
                }
                Packet::Disconnect(_) => Deed::SaidGoodbye,
                other => panic!("{other:?}"),
            };
            let _ = stream.write_all(&answer);
            let _ = tell.send((id.clone(), deed));
            received.drain(..len);
            if acks == Some(acked) {
                return;
            }
        }
    }
}

fn stop(demo: Demo) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    runtime.block_on(demo.stop());
}

#[test]
fn every_device_publishes_its_own_readings_in_order_and_says_goodbye() {
    let server = Server::start(Some(usize::MAX));
    let demo = start(server.at, &DemoOptions { devices: 5, interval_ms: 20 }).unwrap();
    let mut next_seq: BTreeMap<String, u64> = BTreeMap::new();
    while next_seq.len() < 5 || next_seq.values().any(|&seq| seq < 3) {
        let (id, deed) = server.next();
        let Deed::Published { topic, payload, qos } = deed else { continue };
        let reading: serde_json::Value = serde_json::from_str(&payload).unwrap();
        let (device, site) = (reading["device"].as_str().unwrap(), reading["site"].as_str().unwrap());
        assert_eq!((&*id, qos), (&*format!("demo-{device}"), 1));
        assert_eq!(topic, format!("demo/{site}/{device}/telemetry"));
        assert!((15.0..=30.0).contains(&reading["temperature"].as_f64().unwrap()), "{payload}");
        let expected = next_seq.entry(id).or_default();
        assert_eq!(reading["seq"], *expected);
        *expected += 1;
    }
    stop(demo);
    let mut goodbyes = 0;
    while goodbyes < 5 {
        goodbyes += usize::from(server.next().1 == Deed::SaidGoodbye);
    }
    assert!(server.is_quiet());
}

#[test]
fn a_server_that_does_not_acknowledge_is_not_flooded() {
    let server = Server::start(None);
    let demo = start(server.at, &DemoOptions { devices: 1, interval_ms: 5 }).unwrap();
    assert_eq!(server.next().1, Deed::Connected);
    for _ in 0..4 {
        assert!(matches!(server.next().1, Deed::Published { .. }));
    }
    assert!(server.is_quiet());
    stop(demo);
    assert_eq!(server.next().1, Deed::SaidGoodbye);
}

#[test]
fn a_device_that_lost_its_server_goes_on_where_it_was() {
    let server = Server::start(Some(2));
    let demo = start(server.at, &DemoOptions { devices: 1, interval_ms: 50 }).unwrap();
    let (mut connections, mut seqs) = (0, Vec::new());
    while seqs.len() < 4 {
        match server.next().1 {
            Deed::Connected => connections += 1,
            Deed::Published { payload, .. } => {
                seqs.push(serde_json::from_str::<serde_json::Value>(&payload).unwrap()["seq"].as_u64().unwrap());
            }
            Deed::SaidGoodbye => panic!("it was not told to stop"),
        }
    }
    assert_eq!((connections, seqs), (2, vec![0, 1, 2, 3]));
    stop(demo);
}

#[test]
fn devices_that_never_got_in_stop_too() {
    // Port 1 on loopback refuses at once.
    let demo = start(SocketAddr::from(([127, 0, 0, 1], 1)), &DemoOptions { devices: 3, interval_ms: 1000 }).unwrap();
    std::thread::sleep(Duration::from_millis(50));
    let began = std::time::Instant::now();
    stop(demo);
    assert!(began.elapsed() < GOODBYE, "nothing had to be waited for");
}
