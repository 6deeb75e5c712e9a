//! Row T21 of docs/explanation/faults.md: certificates are changed, or end, while messages flow. Connections that stand go on; new ones
//! use what is valid then; what is not valid is never trusted.
//!
//! Setup: a broker of its own that wants to see certificates, a client that publishes all the time. Action: our certificate is replaced, then
//! by rubbish; the broker's by one that has expired; the connections are given up; the broker's is replaced by a good one. Expectation: no
//! connection is dropped because of a file; towards the expired certificate nothing is acknowledged; then everything is, once.

use std::collections::BTreeSet;
use std::fs;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use aqueduct_tests::support::chaos::Chaos;
use aqueduct_tests::support::http;
use aqueduct_tests::support::kafka::Kafka;
use aqueduct_tests::support::mqtt::{Client, Packet, Version};
use aqueduct_tests::support::node::{Node, Plan};
use aqueduct_tests::support::over::Over;
use aqueduct_tests::support::scratch::Scratch;
use aqueduct_tests::support::sockets::{Sockets, port_of};
use aqueduct_tests::support::{peer, wait};

#[test]
fn and_connections_that_stand_go_on() {
    let kafka = match Kafka::start_secure("") {
        Ok(kafka) => kafka,
        Err(remedy) => return peer::skip("AQUEDUCT_REQUIRE_KAFKA", &remedy),
    };
    kafka.certificate("next", "alice", ["2020-01-01", "2100-01-01"]);
    kafka.certificate("expired", "localhost", ["2020-01-01", "2020-02-01"]);
    kafka.create_topic("steady", 1);
    let scratch = Scratch::new("certificates");
    let own = |name: &str| scratch.file(name).display().to_string();
    let take = |name: &str| {
        for kind in ["key", "pem"] {
            fs::copy(kafka.file(&format!("tls/{name}.{kind}")), own(&format!("own.{kind}"))).expect("a copy");
        }
    };
    take("client");
    let tls = format!(
        "tls = {{ enable = true, cacertfile = \"{}\", certfile = \"{}\", keyfile = \"{}\" }}",
        kafka.file("tls/ca.pem"),
        own("own.pem"),
        own("own.key")
    );
    let node = Plan::kafka(kafka.listener("MTLS"), "steady")
        .connector(&tls)
        .connector("request_timeout = \"10s\"\nreconnect_delay = \"300ms\"\nmetadata_request_timeout = \"5s\"")
        .sink("value = \"${payload}\"\nack_timeout = \"1s\"")
        .start();
    let (over, acked) = (AtomicBool::new(false), AtomicUsize::new(0));
    let sent = thread::scope(|scope| {
        let publisher = scope.spawn(|| publish(&node, &over, &acked));
        let ending = Over::when_dropped(&over);
        flows(&acked);
        let standing = links(&node, &kafka);
        assert!(!standing.is_empty());
        let ours_before = days(&node, "client");

        take("next");
        says(&node, "TLS files have changed; new connections use them");
        assert!(days(&node, "client") > ours_before + 3_650.0, "the new one ends in 2100");
        fs::write(own("own.pem"), "rubbish").expect("it is writable");
        says(&node, "cannot be used, the old ones go on");
        flows(&acked);
        assert_eq!(links(&node, &kafka), standing, "no connection is dropped because a file changes");

        show(&kafka, "expired");
        flows(&acked);
        assert_eq!(links(&node, &kafka), standing, "nor because a certificate ends");
        assert!(days(&node, "broker") > 0.0, "that of the connections that stand");

        // The broker is silent until the links are given up; the next ones see the certificate that has expired.
        let frozen = kafka.freeze(1);
        wait::until("the links are given up", 60, || links(&node, &kafka).is_disjoint(&standing).then_some(()));
        drop(frozen);
        wait::until("the connector says why", 20, || reason(&node).contains("expired").then_some(()));
        assert!(days(&node, "broker") < 0.0, "{}", days(&node, "broker"));
        let before = acked.load(Ordering::Relaxed);
        thread::sleep(Duration::from_secs(3));
        assert_eq!(acked.load(Ordering::Relaxed), before, "nothing is trusted to it");
        assert!(reason(&node).contains("expired"), "{}", reason(&node));

        show(&kafka, "server");
        flows(&acked);
        // A handshake that had begun before may have been the last to tell of the other one; its link dials again.
        wait::until("the certificate is seen", 20, || (days(&node, "broker") > 3_000.0).then_some(()));
        drop(ending);
        publisher.join().expect("its connection stands")
    });
    assert_eq!(kafka.read_count("steady", sent).len(), sent, "each once");
}

/// With three brokers and the ledger as judge: our files hold rubbish for three seconds, and then another certificate; the broker that is
/// killed afterwards and those that lead in its place see it.
#[test]
fn and_the_ledger_misses_nothing() {
    let plan = Chaos::plan("certificates@4+3,broker-kill=1@8+2").three_brokers().calm(4);
    let Some(verdict) = plan.acquitted() else { return };
    assert_eq!(verdict.count("disconnects"), 0, "{}", verdict.said());
    let renewal = |name: &str| verdict.json["renewal"][name].as_u64().unwrap_or_else(|| panic!("{}", verdict.said()));
    assert!(renewal("standing") >= 3, "{}", verdict.said());
    assert_eq!(renewal("dropped"), 0, "{}", verdict.said());
    assert!((98..=100).contains(&renewal("days_left")), "that of the new one\n{}", verdict.said());
}

/// With the ledger as judge: one of three brokers, without replicas, comes back with a certificate that has ended. Clients whose partition
/// it leads get no acknowledgement until it shows a valid one, and get them all then; the others go on.
#[test]
fn and_the_ledger_finds_nothing_at_a_broker_whose_certificate_has_ended() {
    let alone = ["--replicas", "1", "--broker-set", "min.insync.replicas=1", "--clients", "48", "--rate", "1000"];
    let plan = Chaos::plan("certificate-ends=2@4+5").three_brokers().with(&alone).calm(4);
    let Some(verdict) = plan.acquitted() else { return };
    let fault = &verdict.json["faults"][0];
    let kept = |name: &str| fault[name].as_f64().unwrap_or_else(|| panic!("no {name}\n{}", verdict.said()));
    // The last of its acknowledgements may come before the fault counts as healed.
    assert!(kept("struck_rate") < 0.2 && kept("others_rate") > 0.5, "{}", verdict.said());
    assert_eq!((verdict.count("disconnects"), verdict.count("restarts")), (0, 0), "{}", verdict.said());
    assert_eq!(verdict.count("acked"), verdict.count("sent"), "{}", verdict.said());
}

/// New connections to the broker are shown this certificate, when this returns: it is told at once, and does so a little later.
fn show(kafka: &Kafka, name: &str) {
    let location = kafka.file(&format!("tls/{name}.both.pem"));
    let set = format!("listener.name.mtls.ssl.keystore.location={location},listener.name.mtls.ssl.keystore.type=PEM");
    peer::run(kafka.tool("configs").args([
        "--alter",
        "--entity-type",
        "brokers",
        "--entity-name",
        "1",
        "--add-config",
        &set,
    ]));
    let own = fs::read_to_string(kafka.file(&format!("tls/{name}.pem"))).expect("a certificate");
    wait::until("the broker shows that certificate", 30, || shown(kafka).contains(own.trim_end()).then_some(()));
}

/// What a stranger sees of the broker's certificate.
fn shown(kafka: &Kafka) -> String {
    let stranger = Command::new("openssl")
        .args(["s_client", "-connect", kafka.listener("MTLS")])
        .stdin(Stdio::null())
        .output()
        .expect("openssl is there");
    String::from_utf8_lossy(&stranger.stdout).into_owned()
}

/// Publishes one message after the other; how many. Messages wait as long as it takes.
fn publish(node: &Node, over: &AtomicBool, acked: &AtomicUsize) -> usize {
    let mut client = Client::connect(node.mqtt(), Version::V5, "steady");
    let mut count = 0;
    while !over.load(Ordering::Relaxed) {
        let id = client.publish("t", format!("{count}").as_bytes(), 1);
        let answer = wait::until("an acknowledgement", 60, || client.packet_within(Duration::from_secs(1)));
        assert_eq!(answer, Packet::PubAck { id, reason: 0 });
        count += 1;
        acked.store(count, Ordering::Relaxed);
        thread::sleep(Duration::from_millis(5));
    }
    count
}

/// Waits for a number of acknowledgements.
fn flows(acked: &AtomicUsize) {
    let before = acked.load(Ordering::Relaxed);
    wait::until("messages are acknowledged", 30, || (acked.load(Ordering::Relaxed) > before + 20).then_some(()));
}

/// The node's ends of its connections to the broker.
fn links(node: &Node, kafka: &Kafka) -> BTreeSet<u16> {
    Sockets::of(node).to(port_of(kafka.listener("MTLS")))
}

fn days(node: &Node, of: &str) -> f64 {
    node.metrics().sum("aqueduct_tls_certificate_days_left", &[&format!("certificate=\"{of}\"")])
}

fn says(node: &Node, text: &str) {
    wait::until(text, 10, || node.said().contains(text).then_some(()));
}

/// Why the connector is not connected.
fn reason(node: &Node) -> String {
    let (_, ready) = http::get(node.ports().http, "/readyz").expect("it answers");
    let ready: serde_json::Value = serde_json::from_str(&ready).expect("JSON");
    ready["connectors"]["main"]["reason"].as_str().unwrap_or_default().to_owned()
}
