//! Options of a Kafka connector reach the sockets and the requests they are about.
//!
//! Setup: a listener in Kafka's place that counts, reads and says nothing, or a real Kafka. Action: a node with the option.
//! Expectation: what the listener sees, what the kernel says of the connection, what Kafka has made.

use std::collections::BTreeSet;
use std::fs;
use std::io::{ErrorKind, Read};
use std::net::{TcpListener, TcpStream};
use std::os::fd::{OwnedFd, RawFd};
use std::time::{Duration, Instant};

use aqueduct_tests::support::hosts::Hosts;
use aqueduct_tests::support::http;
use aqueduct_tests::support::kafka::Kafka;
use aqueduct_tests::support::mqtt::{Client, Version};
use aqueduct_tests::support::node::{self, Node, Plan};
use aqueduct_tests::support::sockets::{Sockets, port_of};
use aqueduct_tests::support::{peer, port, wait};
use rustix::net::sockopt::{
    socket_keepalive, socket_recv_buffer_size, socket_send_buffer_size, tcp_keepcnt, tcp_keepidle, tcp_keepintvl,
    tcp_nodelay,
};
use rustix::process::{PidfdFlags, PidfdGetfdFlags, pidfd_getfd, pidfd_open};

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

/// The node's end of the connection that `link` is our end of.
fn their_end(node: &Node, link: &TcpStream) -> OwnedFd {
    let peer = link.peer_addr().expect("it stands");
    let process = pidfd_open(node.pid(), PidfdFlags::empty()).expect("it runs");
    let entries = fs::read_dir(format!("/proc/{}/fd", node.pid().as_raw_nonzero())).expect("it runs");
    let numbers = entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<RawFd>().ok());
    let copies = numbers.filter_map(|number| pidfd_getfd(&process, number, PidfdGetfdFlags::empty()).ok());
    let is_it = |copy: &OwnedFd| {
        let name = rustix::net::getsockname(copy).ok().and_then(|name| std::net::SocketAddr::try_from(name).ok());
        let other = rustix::net::getpeername(copy).ok().flatten();
        other.is_some() && name == Some(peer)
    };
    copies.into_iter().find(is_it).expect("a socket of the node")
}

/// As the kernel has them: it doubles what is asked for.
#[test]
fn sockets_are_as_they_are_configured() {
    for (options, nodelay, send, receive) in [
        ("socket = { sndbuf = \"64KB\", recbuf = \"48KB\" }", true, 128 << 10, 96 << 10),
        ("socket = { sndbuf = \"32KB\", recbuf = \"80KB\", nodelay = false }", false, 64 << 10, 160 << 10),
    ] {
        let listener = listener();
        let node = node_before(&listener, options);
        let (link, _) = listener.accept().expect("a link");
        let socket = their_end(&node, &link);
        assert_eq!(tcp_nodelay(&socket).expect("a TCP socket"), nodelay, "{options}");
        assert_eq!(socket_send_buffer_size(&socket).expect("a socket"), send, "{options}");
        assert_eq!(socket_recv_buffer_size(&socket).expect("a socket"), receive, "{options}");
        assert!(!socket_keepalive(&socket).expect("a socket"), "probes have to be asked for");
    }
    let listener = listener();
    let node = node_before(&listener, "socket.keepalive = \"121,32,7\"");
    let (link, _) = listener.accept().expect("a link");
    let socket = their_end(&node, &link);
    assert!(socket_keepalive(&socket).expect("a socket"));
    let seconds = [tcp_keepidle(&socket), tcp_keepintvl(&socket)].map(|time| time.expect("a TCP socket").as_secs());
    assert_eq!((seconds, tcp_keepcnt(&socket).expect("a TCP socket")), ([121, 32], 7), "idle, interval, probes");
}

/// One link for questions, and for records one to the broker, as many as are asked for, or one for each of the four partitions: so many
/// sockets the kernel has, and they stay.
#[test]
fn so_many_links_lead_to_a_broker() {
    let Some(kafka) = Kafka::shared() else { return };
    let port = port_of(kafka.bootstrap());
    for (topic, option, links) in [
        ("links-one", "", 2),
        ("links-per-broker", "connection_strategy = \"per_broker\"", 2),
        ("links-two", "connections_per_broker = 2", 3),
        ("links-per-partition", "connection_strategy = \"per_partition\"", 5),
    ] {
        kafka.create_topic(topic, 4);
        let node =
            Plan::kafka(kafka.bootstrap(), topic).connector(option).sink("partition_strategy = \"random\"").start();
        let mut client = Client::connect(node.mqtt(), Version::V5, "c");
        let mut publish = || (0..80).for_each(|_| client.publish_acked("t", b"x", 1));
        publish();
        let before = wait::until(&format!("{links} links with {option}"), 10, || {
            let found = Sockets::of(&node).to(port);
            (found.len() >= links).then_some(found)
        });
        publish();
        assert_eq!((before.len(), Sockets::of(&node).to(port)), (links, before), "{option}");
        let written: BTreeSet<i32> = kafka.read(topic).iter().map(|record| record.partition).collect();
        assert_eq!(written.len(), 4, "every partition was written");
    }
}

#[test]
fn a_connector_that_is_not_enabled_is_not_dialled() {
    for enable in [true, false] {
        let listener = listener();
        let address = listener.local_addr().expect("bound");
        let off = format!("[connectors.off]\nenable = {enable}\nbootstrap_hosts = \"{address}\"");
        let node = Plan::embedded().section(&off).start();
        listener.set_nonblocking(true).expect("a TCP option");
        let end = Instant::now() + Duration::from_secs(2);
        let dialled = || {
            (0..).take_while(|_| Instant::now() < end).any(|_| {
                std::thread::sleep(Duration::from_millis(20));
                listener.accept().is_ok()
            })
        };
        assert_eq!(dialled(), enable);
        drop(node);
    }
}

/// The first host of a list is dead, and the list is written as one text; over IPv6 as well.
#[test]
fn any_bootstrap_host_will_do() {
    for host in ["127.0.0.1", "[::1]"] {
        let Ok(listener) = TcpListener::bind(format!("{host}:0")) else { continue };
        let hosts = format!("127.0.0.1:{},{}", port::free(), listener.local_addr().expect("bound"));
        let _node = Plan::kafka(&hosts, "t").connector("client_id = \"second\"").start();
        let (mut link, _) = listener.accept().expect("a link");
        let mut request = [0; 256];
        let n = link.read(&mut request).expect("the first request");
        assert!(request[..n].windows(6).any(|bytes| bytes == b"second"), "{host}");
    }
    let Some(kafka) = Kafka::shared() else { return };
    kafka.create_topic("behind-the-second", 1);
    let hosts = format!("127.0.0.1:{},{}", port::free(), kafka.bootstrap());
    let node = Plan::kafka(&hosts, "behind-the-second").start();
    Client::connect(node.mqtt(), Version::V5, "c").publish_acked("t", b"x", 1);
    assert_eq!(kafka.read("behind-the-second").len(), 1);
}

/// The name of a bootstrap host means another address now: the next link goes there.
#[test]
fn a_name_is_resolved_again_at_every_dial() {
    let Some(hosts) = Hosts::new() else { return };
    let before = TcpListener::bind("127.0.0.2:0").expect("a free port");
    let port = before.local_addr().expect("bound").port();
    let after = TcpListener::bind(("127.0.0.3", port)).expect("the same port of another address");
    hosts.say("kafka.test", "127.0.0.2");
    let _node = Plan::kafka(&format!("kafka.test:{port}"), "t")
        .connector("reconnect_delay = \"100ms\"\nclient_id = \"by-name\"")
        .binary(&hosts.seen_by(node::binary()))
        .start();
    let (mut link, _) = before.accept().expect("a link");
    let mut request = [0; 256];
    let n = link.read(&mut request).expect("the first request");
    assert!(request[..n].windows(7).any(|bytes| bytes == b"by-name"), "{:02x?}", &request[..n]);
    hosts.say("kafka.test", "127.0.0.3");
    drop(link);
    for listener in [&before, &after] {
        listener.set_nonblocking(true).expect("a TCP option");
    }
    wait::until("a link to the new address", 10, || after.accept().ok());
    assert!(before.accept().is_err(), "nobody dials the old one any more");
}

/// What is out of reach is looked at for a while before it is called that, and only then in the log.
#[test]
fn a_start_without_kafka_is_told_after_the_timeout() {
    let dead = format!("127.0.0.1:{}", port::free());
    let begin = Instant::now();
    let node = Plan::kafka(&dead, "t").connector("start_timeout = \"3s\"").start();
    let state = |of: &str| -> (String, String) {
        let (_, body) = http::get(node.ports().http, "/readyz").expect("an answer");
        let ready: serde_json::Value = serde_json::from_str(&body).expect("JSON");
        let health = &ready[of]["main"];
        let text = |key: &str| health[key].as_str().unwrap_or_default().to_owned();
        (text("health"), text("reason"))
    };
    let (early, _) = state("connectors");
    if begin.elapsed() < Duration::from_millis(2_500) {
        assert_eq!(early, "connecting");
        assert!(!node.said().contains("start_timeout"), "{}", node.said());
    }
    wait::until("disconnected", 20, || (state("connectors").0 == "disconnected").then_some(()));
    for of in ["connectors", "sinks"] {
        let (health, reason) = state(of);
        assert!(health == "disconnected" && reason.contains("start_timeout (3 s)"), "{of}: {health} {reason}");
    }
    assert_eq!(node.said().matches("start_timeout").count(), 1, "{}", node.said());
}

/// A broker is frozen: its sockets stand, and nothing is published.
#[test]
fn a_dead_broker_is_noticed_without_traffic() {
    let kafka = match Kafka::start(1, "") {
        Ok(kafka) => kafka,
        Err(remedy) => return peer::skip("AQUEDUCT_REQUIRE_KAFKA", &remedy),
    };
    kafka.create_topic("quiet", 1);
    let interval = "health_check_interval = \"1s\"";
    let node = Plan::kafka(kafka.bootstrap(), "quiet")
        .connector(&format!("{interval}\nmetadata_request_timeout = \"3s\""))
        .sink(interval)
        .start();
    Client::connect(node.mqtt(), Version::V5, "c").publish_acked("t", b"x", 1);
    let connected = || node.metrics().sum("aqueduct_sink_health", &["state=\"connected\""]) == 1.0;
    std::thread::sleep(Duration::from_secs(3));
    assert!(connected(), "probes are answered");
    let frozen = kafka.freeze(1);
    wait::until("the broker is missed", 30, || (!connected()).then_some(()));
    drop(frozen);
    wait::until("it is found again", 30, || connected().then_some(()));
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
    let listed = peer::run(kafka.tool("topics").arg("--list"));
    listed.lines().map(str::to_owned).collect()
}
