//! Options of a Kafka connector reach the sockets and the requests they are about.
//!
//! Setup: a listener in Kafka's place that counts, reads and says nothing, or a real Kafka. Action: a node with the option.
//! Expectation: what the listener sees, what the kernel says of the connection, what Kafka has made.

use std::fs;
use std::io::{ErrorKind, Read};
use std::net::{TcpListener, TcpStream};
use std::time::{Duration, Instant};

use aqueduct_tests::support::kafka::Kafka;
use aqueduct_tests::support::mqtt::{Client, Version};
use aqueduct_tests::support::node::{Node, Plan};
use aqueduct_tests::support::wait;

/// A node whose Kafka is this listener.
fn node_before(listener: &TcpListener, connector: &str) -> Node {
    let address = listener.local_addr().expect("bound").to_string();
    Plan::kafka(&address, "t").connector(connector).start()
}

fn listener() -> TcpListener {
    TcpListener::bind("127.0.0.1:0").expect("a free port")
}

#[test]
fn brokers_hear_the_client_id() {
    let listener = listener();
    let _node = node_before(&listener, "client_id = \"meter-me\"");
    let (mut link, _) = listener.accept().expect("a link");
    let mut request = [0; 256];
    let n = link.read(&mut request).expect("the first request");
    assert!(request[..n].windows(8).any(|bytes| bytes == b"meter-me"), "{:02x?}", &request[..n]);
}

#[test]
fn a_silent_broker_is_given_up_after_the_connect_timeout_and_dialled_again_after_the_delay() {
    let listener = listener();
    let _node = node_before(&listener, "connect_timeout = \"700ms\"\nreconnect_delay = \"100ms\"");
    let (mut first, _) = listener.accept().expect("a link");
    let begin = Instant::now();
    first.set_read_timeout(Some(Duration::from_secs(10))).expect("a TCP option");
    let mut all = Vec::new();
    if let Err(error) = first.read_to_end(&mut all) {
        assert_eq!(error.kind(), ErrorKind::ConnectionReset, "it was not given up: {error}");
    }
    assert!((400..5_000).contains(&begin.elapsed().as_millis()), "{:?}", begin.elapsed());
    listener.accept().expect("the next link");
}

#[test]
fn the_reconnect_delay_paces_the_dials() {
    let dials = |delay: &str| {
        let listener = listener();
        let _node = node_before(&listener, &format!("reconnect_delay = \"{delay}\""));
        listener.set_nonblocking(true).expect("a TCP option");
        let end = Instant::now() + Duration::from_secs(2);
        let mut dials = 0;
        while Instant::now() < end {
            match listener.accept() {
                Ok((link, _)) => {
                    dials += 1;
                    drop(link);
                }
                Err(_) => std::thread::sleep(Duration::from_millis(5)),
            }
        }
        dials
    };
    let (often, seldom) = (dials("100ms"), dials("1500ms"));
    assert!((8..=25).contains(&often), "ten a second: {often} in two");
    assert!((1..=3).contains(&seldom), "{seldom} in two seconds");
}

#[test]
fn a_silent_connection_is_probed_where_that_is_wanted() {
    for (option, probed) in [("socket.keepalive = \"120,30,5\"", true), ("socket.keepalive = \"none\"", false)] {
        let listener = listener();
        let _node = node_before(&listener, &format!("{option}\nconnect_timeout = \"20s\""));
        let (mut link, peer) = listener.accept().expect("a link");
        read_some(&mut link);
        // Once what was sent is acknowledged, the only timer left is that of the probes: `tr` is 02.
        let timer = wait::until("an idle connection", 10, || {
            let timer = timer_of(peer.port());
            (timer != "01" && timer != "04").then_some(timer)
        });
        assert_eq!(timer == "02", probed, "{option}: timer {timer}");
    }
}

fn read_some(link: &mut TcpStream) {
    let n = link.read(&mut [0; 256]).expect("the first request");
    assert!(n > 0);
}

/// The kernel's timer of the connection from this port of the loopback interface: `sl local rem st tx:rx tr:when …`.
fn timer_of(port: u16) -> String {
    let local = format!("0100007F:{port:04X}");
    let table = fs::read_to_string("/proc/net/tcp").expect("the kernel's table");
    let line = table.lines().find(|line| line.split_whitespace().nth(1) == Some(local.as_str()));
    let timer = line.and_then(|line| line.split_whitespace().nth(5)).expect("the connection stands");
    timer.split(':').next().expect("a timer").to_owned()
}

#[test]
fn a_topic_is_made_only_if_that_is_allowed() {
    let Some(kafka) = Kafka::shared() else { return };
    let not_asked = Plan::kafka(kafka.bootstrap(), "not-made").start();
    let node = Plan::kafka(kafka.bootstrap(), "made").connector("allow_auto_topic_creation = true").start();
    Client::connect(node.mqtt(), Version::V5, "c").publish_acked("t", b"into a new topic", 1);
    assert_eq!(kafka.read("made").len(), 1);
    let mut held = Client::connect(not_asked.mqtt(), Version::V5, "c");
    held.publish("t", b"waits", 1);
    held.expect_silence(Duration::from_secs(1));
    let topics = topics(kafka);
    let is_there = |name: &str| topics.iter().any(|topic| topic == name);
    assert!(is_there("made") && !is_there("not-made"), "{topics:?}");
}

fn topics(kafka: &Kafka) -> Vec<String> {
    let listed = aqueduct_tests::support::peer::run(kafka.tool("topics").arg("--list"));
    listed.lines().map(str::to_owned).collect()
}
