//! Connectors come and go while the node runs: another cluster, another way in, and nobody who has nothing to do with it notices.
//!
//! Setup: a real broker with a listener for each way in, a node of two shards that writes to the open one under load. Action: connectors
//! with sinks are added, removed and added again by `aqueduct reload`. Expectation: what is published for them lies in Kafka; with the
//! last sink their connections end, and no token is asked for any more; what cannot be reached or read is refused, and leaves nothing.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use aqueduct_tests::support::flow::publish_until;
use aqueduct_tests::support::http;
use aqueduct_tests::support::kafka::Kafka;
use aqueduct_tests::support::mqtt::{Client, Version};
use aqueduct_tests::support::node::{Node, Plan};
use aqueduct_tests::support::over::Over;
use aqueduct_tests::support::sockets::{Sockets, port_of};
use aqueduct_tests::support::token::TokenEndpoint;
use aqueduct_tests::support::{peer, wait};

const NOTHING: &str = "# no other connector";

fn kafka() -> Option<&'static Kafka> {
    static SHARED: OnceLock<Result<Kafka, String>> = OnceLock::new();
    match SHARED.get_or_init(|| Kafka::start_secure("")) {
        Ok(kafka) => Some(kafka),
        Err(remedy) => {
            peer::skip("AQUEDUCT_REQUIRE_KAFKA", remedy);
            None
        }
    }
}

fn start(kafka: &Kafka, topic: &str) -> Node {
    kafka.create_topic(topic, 2);
    let sink = format!("source_topics = [\"t/#\"]\ntopic = \"{topic}\"\nvalue = \"${{payload}}\"");
    Plan::kafka(kafka.bootstrap(), topic).node("shards = 2\npin = false").only_sink(&sink).section(NOTHING).start()
}

/// A connector by this listener, and a sink that writes what is published under `far/`.
fn far(listener: &str, topic: &str, options: &str) -> String {
    format!(
        "[connectors.far]\nbootstrap_hosts = \"{listener}\"\nreconnect_delay = \"300ms\"\n{options}\n\
         [sinks.far]\nconnector = \"far\"\nsource_topics = [\"far/#\"]\ntopic = \"{topic}\"\nvalue = \"${{payload}}\"\n"
    )
}

fn user(mechanism: &str) -> String {
    format!("authentication = {{ mechanism = \"{mechanism}\", username = \"alice\", password = \"alice-secret\" }}\n")
}

/// How many connections the node has to a listener of the broker.
fn links(node: &Node, to: &str) -> usize {
    Sockets::of(node).to(port_of(to)).len()
}

/// The connectors that the node speaks of.
fn connectors(node: &Node) -> Vec<String> {
    let (_, ready) = http::get(node.ports().http, "/readyz").expect("it answers");
    let ready: serde_json::Value = serde_json::from_str(&ready).expect("JSON");
    ready["connectors"].as_object().expect("connectors").keys().cloned().collect()
}

#[test]
fn every_way_in_comes_and_goes_and_the_others_go_on() {
    let Some(kafka) = kafka() else { return };
    let node = start(kafka, "near");
    let endpoint = TokenEndpoint::start(4);
    let authority = format!("tls = {{ enable = true, cacertfile = \"{}\" }}\n", kafka.file("tls/ca.pem"));
    let token = format!(
        "authentication = {{ mechanism = \"oauthbearer\", token_endpoint = \"{}\", client_id = \"device\", client_secret = \
         \"token-secret\", scope = \"kafka\" }}\n",
        endpoint.url()
    );
    let ways = [
        ("SASL", user("plain")),
        ("TLS", authority.clone()),
        ("SASL_TLS", format!("{}{authority}", user("scram_sha_512"))),
        ("SASL", token),
    ];
    let over = AtomicBool::new(false);
    let count = thread::scope(|scope| {
        let load = scope.spawn(|| publish_while(&node, &over));
        let ending = Over::when_dropped(&over);
        let mut logins = 0.0;
        for (round, (listener, options)) in ways.iter().enumerate() {
            let (to, topic) = (kafka.listener(listener), format!("far-{round}"));
            kafka.create_topic(&topic, 2);
            let more = far(to, &topic, options);
            node.configure(NOTHING, &more);
            assert_eq!(node.changed(), "connectors.far: added\nsinks.far: added\n", "{options}");
            assert_eq!(connectors(&node), ["main", "far"]);
            let mut client = Client::connect(node.mqtt(), Version::V5, "far");
            (0..20).for_each(|number| client.publish_acked("far/t", format!("{number}").as_bytes(), 1));
            assert_eq!(kafka.read_count(&topic, 20).len(), 20, "{options}");
            assert!(links(&node, to) > 0);
            node.configure(&more, NOTHING);
            assert_eq!(node.changed(), "connectors.far: removed\nsinks.far: removed\n");
            wait::until("its connections end", 10, || (links(&node, to) == 0).then_some(()));
            assert_eq!(connectors(&node), ["main"]);
            let now = node.metrics().sum("aqueduct_kafka_logins_total", &["outcome=\"succeeded\""]);
            assert!(now > logins || *listener == "TLS", "{options}: logins so far are counted: {logins}, {now}");
            logins = now;
        }
        let issued = endpoint.issued();
        thread::sleep(Duration::from_secs(5));
        assert_eq!((issued > 0, endpoint.issued()), (true, issued), "nobody wants tokens any more");
        drop(ending);
        load.join().expect("no client was closed or refused")
    });
    kafka.read_count("near", count);
}

/// Publishes one message after the other, each acknowledged before the next; how many.
fn publish_while(node: &Node, over: &AtomicBool) -> usize {
    let mut count = 0;
    while !over.load(Ordering::Relaxed) {
        count += publish_until(node, Instant::now() + Duration::from_millis(500));
    }
    count
}

#[test]
fn what_cannot_be_reached_or_read_is_refused_and_leaves_nothing() {
    let Some(kafka) = kafka() else { return };
    let node = start(kafka, "near-alone");
    kafka.create_topic("far-late", 1);
    let (nobody, listener) = ("127.0.0.1:9", kafka.listener("SASL"));
    let unreachable = far(nobody, "far-late", "");
    node.configure(NOTHING, &unreachable);
    let said = node.refused();
    assert!(
        said.contains("the topic of sinks.far is not known after 10 s") && said.contains("onnection refused"),
        "{said}"
    );
    assert_eq!(connectors(&node), ["main"]);
    assert!(node.refused().contains("the topic of sinks.far is not known"), "and once more");
    node.configure(&unreachable, "# nobody");
    node.configure("value = \"${payload}\"", "value = \"${payload}\"\nlinger = \"7ms\"");
    assert_eq!(node.changed(), "sinks.main.linger: \"5ms\" → \"7ms\"\n", "what was refused is in nobody's way");
    node.configure("# nobody", &unreachable);
    let warned = node.said().matches("connector far").count();
    let unread = far(listener, "far-late", "tls = { enable = true, cacertfile = \"/not/there.pem\" }");
    node.configure(&unreachable, &unread);
    let said = node.refused();
    assert!(said.contains("connectors.far.tls") && said.contains("/not/there.pem"), "{said}");
    thread::sleep(Duration::from_secs(1));
    assert_eq!(node.said().matches("connector far").count(), warned, "nobody dials any more");
    let right = far(listener, "far-late", &user("plain"));
    node.configure(&unread, &right);
    assert_eq!(node.changed(), "connectors.far: added\nsinks.far: added\n");
    Client::connect(node.mqtt(), Version::V5, "far").publish_acked("far/t", b"now", 1);
    kafka.read_count("far-late", 1);
}

/// What a connector that has left was given is sent; a connector of its name may come meanwhile, by another way.
#[test]
fn a_connector_goes_when_its_last_record_has_been_sent() {
    let Some(kafka) = kafka() else { return };
    let node = start(kafka, "near-slow");
    kafka.create_topic("far-slow", 1);
    let slow = format!("{}linger = \"2s\"\n", far(kafka.listener("SASL"), "far-slow", &user("plain")));
    node.configure(NOTHING, &slow);
    node.changed();
    let mut client = Client::connect(node.mqtt(), Version::V5, "far");
    let first = client.publish("far/t", b"first", 1);
    let other = far(kafka.listener("SASL"), "far-slow", &user("scram_sha_256"));
    node.configure(&slow, NOTHING);
    node.changed();
    node.configure(NOTHING, &other);
    assert_eq!(node.changed(), "connectors.far: added\nsinks.far: added\n");
    client.publish("far/t", b"second", 1);
    let acked = client.packet_within(Duration::from_secs(10));
    assert!(format!("{acked:?}").contains(&format!("id: {first}")), "{acked:?}");
    let values: Vec<Vec<u8>> = kafka.read_count("far-slow", 2).into_iter().filter_map(|record| record.value).collect();
    assert!(values.contains(&b"first".to_vec()) && values.contains(&b"second".to_vec()), "{values:?}");
    assert_eq!(node.metrics().sum("aqueduct_sink_success_total", &["sink=\"far\""]), 2.0, "under one name");
}

/// Who we are, how brokers prove themselves and how long things may take changes with the next connection; those that stand stay.
#[test]
fn other_credentials_and_timeouts_take_effect_with_the_next_connection() {
    // Of its own, because it is killed.
    let kafka = match Kafka::start_secure("") {
        Ok(kafka) => kafka,
        Err(remedy) => return peer::skip("AQUEDUCT_REQUIRE_KAFKA", &remedy),
    };
    kafka.create_topic("renamed", 2);
    let to = kafka.listener("SASL_TLS");
    let tls =
        |file: &str, more: &str| format!("tls = {{ enable = true, cacertfile = \"{}\"{more} }}\n", kafka.file(file));
    let good = format!("{}{}", user("plain"), tls("tls/ca.pem", ""));
    let plan = Plan::kafka(to, "renamed").node("shards = 2\npin = false");
    let node = plan
        .connector(&format!("reconnect_delay = \"200ms\"\n{good}"))
        .sink("value = \"${payload}\"\nbuffer.mode = \"disk\"")
        .start();
    let publish = |number: usize| {
        Client::connect(node.mqtt(), Version::V5, "c").publish_acked("t", format!("{number}").as_bytes(), 1);
        kafka.read_count("renamed", number);
    };
    publish(1);
    let before = Sockets::of(&node).to(port_of(to));
    // A password that is wrong is of no account as long as nobody is asked for it.
    let wrong = good.replace("alice-secret", "no-longer-hers");
    node.configure(&good, &wrong);
    assert_eq!(node.changed(), "connectors.main.authentication.password: another secret\n");
    publish(2);
    assert_eq!(Sockets::of(&node).to(port_of(to)), before, "links stay");
    let scram = format!(
        "{}request_timeout = \"20s\"\nclient_id = \"other\"\nsocket.keepalive = \"30,5,3\"\n{}",
        user("scram_sha_256"),
        tls("tls/ca.pem", ", versions = [\"tlsv1.2\"]")
    );
    node.configure(&wrong, &scram);
    let said = node.changed();
    for option in ["authentication.mechanism", "request_timeout", "client_id", "socket.keepalive", "tls.versions"] {
        assert!(said.contains(&format!("connectors.main.{option}: ")), "{option}: {said}");
    }
    assert_eq!(Sockets::of(&node).to(port_of(to)), before, "links stay");
    let logins = || node.metrics().sum("aqueduct_kafka_logins_total", &["outcome=\"succeeded\""]);
    let first = logins();
    kafka.broker("kill", 1);
    kafka.broker("start", 1);
    wait::until("it is connected anew", 20, || (logins() > first).then_some(()));
    publish(3);
    assert!(Sockets::of(&node).to(port_of(to)).is_disjoint(&before));
    assert_eq!(node.metrics().sum("aqueduct_kafka_logins_total", &["outcome=\"failed\""]), 0.0);
    let distrusted = scram.replace("tls/ca.pem", "tls/missing.pem");
    node.configure(&scram, &distrusted);
    let said = node.refused();
    assert!(said.contains("tls/missing.pem") && said.contains("connectors.main.tls"), "{said}");
    publish(4);
}
