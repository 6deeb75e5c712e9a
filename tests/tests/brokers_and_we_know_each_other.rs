//! TLS and SASL against a real Apache Kafka: who may come in comes in, who may not is told why, and a login that ends is renewed
//! without a message lost.
//!
//! Setup: one broker with a listener for each way in. Action: a node for each, right and wrong. Expectation: acknowledged messages
//! lie in Kafka; a refusal stands in `/readyz` with its remedy, is counted, and does not hammer the broker.

use std::collections::VecDeque;
use std::sync::OnceLock;
use std::thread;
use std::time::{Duration, Instant};

use aqueduct_tests::support::chaos::is_long_wanted;
use aqueduct_tests::support::flow::publish_until;
use aqueduct_tests::support::http;
use aqueduct_tests::support::kafka::Kafka;
use aqueduct_tests::support::mqtt::{Client, Packet, Version};
use aqueduct_tests::support::node::{Node, Plan, command};
use aqueduct_tests::support::peer;
use aqueduct_tests::support::sockets::{Sockets, port_of};
use aqueduct_tests::support::token::TokenEndpoint;
use aqueduct_tests::support::wait;

/// How long a login lasts on the plain SASL listener, by mechanism.
const SETTINGS: &str = "listener.name.sasl.scram-sha-512.connections.max.reauth.ms=10000;\
                        listener.name.sasl.oauthbearer.connections.max.reauth.ms=600000;\
                        listener.name.sasltls.oauthbearer.connections.max.reauth.ms=600000";

fn kafka() -> Option<&'static Kafka> {
    static SHARED: OnceLock<Result<Kafka, String>> = OnceLock::new();
    match SHARED.get_or_init(|| Kafka::start_secure(SETTINGS)) {
        Ok(kafka) => Some(kafka),
        Err(remedy) => {
            peer::skip("AQUEDUCT_REQUIRE_KAFKA", remedy);
            None
        }
    }
}

fn user(mechanism: &str, password: &str) -> String {
    format!("authentication = {{ mechanism = \"{mechanism}\", username = \"alice\", password = \"{password}\" }}\n")
}

fn tls(kafka: &Kafka, more: &str) -> String {
    format!("tls = {{ enable = true, cacertfile = \"{}\"{more} }}\n", kafka.file("tls/ca.pem"))
}

fn pair(kafka: &Kafka, key: &str) -> String {
    format!(", certfile = \"{}\", keyfile = \"{}\"", kafka.file("tls/client.pem"), kafka.file(key))
}

fn token(endpoint: &TokenEndpoint, secret: &str) -> String {
    format!(
        "authentication = {{ mechanism = \"oauthbearer\", token_endpoint = \"{}\", client_id = \"device\", \
         client_secret = \"{secret}\", scope = \"kafka\", extensions = {{ logicalCluster = \"lkc-1\" }} }}\n",
        endpoint.url()
    )
}

fn start(listener: &str, topic: &str, connector: &str) -> Node {
    let connector = format!("{connector}reconnect_delay = \"300ms\"\n");
    Plan::kafka(listener, topic).connector(&connector).sink("value = \"${payload}\"").start()
}

#[test]
fn every_way_in_is_open_to_those_who_may() {
    let Some(kafka) = kafka() else { return };
    let endpoint = TokenEndpoint::start(600);
    let over_tls = |authentication: String| format!("{authentication}{}", tls(kafka, ""));
    let encrypted = format!("{}, password = \"key-secret\"", pair(kafka, "tls/client-encrypted.key"));
    let ways = [
        ("TLS", tls(kafka, "")),
        ("TLS", tls(kafka, ", versions = [\"tlsv1.2\"], reuse_sessions = false")),
        ("TLS", "tls = { enable = true, verify = \"verify_none\" }\n".to_owned()),
        ("MTLS", tls(kafka, &pair(kafka, "tls/client.key"))),
        ("MTLS", tls(kafka, &encrypted)),
        ("SASL", user("plain", "alice-secret")),
        ("SASL", user("scram_sha_256", "alice-secret")),
        ("SASL", user("scram_sha_512", "alice-secret")),
        ("SASL", token(&endpoint, "token-secret")),
        ("SASL_TLS", over_tls(user("plain", "alice-secret"))),
        ("SASL_TLS", over_tls(user("scram_sha_256", "alice-secret"))),
        ("SASL_TLS", over_tls(user("scram_sha_512", "alice-secret"))),
        ("SASL_TLS", over_tls(token(&endpoint, "token-secret"))),
    ];
    kafka.create_topic("ways", 2);
    for (i, (listener, connector)) in ways.iter().enumerate() {
        let node = start(kafka.listener(listener), "ways", connector);
        Client::connect(node.mqtt(), Version::V5, "c").publish_acked("t", connector.as_bytes(), 1);
        assert_eq!(kafka.read_count("ways", i + 1).len(), i + 1, "{connector}");
        let logins = node.metrics().sum("aqueduct_kafka_logins_total", &["outcome=\"succeeded\""]);
        assert_eq!(logins > 0.0, listener.starts_with("SASL"), "{connector}: {logins}");
        let days = node.metrics().sum("aqueduct_tls_certificate_days_left", &["certificate=\"broker\""]);
        assert_eq!(days > 3_000.0, listener.contains("TLS"), "{connector}: {days}");
    }
    // RFC 6749, section 4.4.2.
    assert_eq!(endpoint.last_form(), "grant_type=client_credentials&scope=kafka");
}

/// The node takes clients, acknowledges nothing, and says this of the connector; then it has tried only so often.
#[track_caller]
fn refused(listener: &str, connector: &str, reason: &str) {
    let node = start(listener, "refused", connector);
    let began = Instant::now();
    let mut client = Client::connect(node.mqtt(), Version::V5, "c");
    client.publish("t", b"waits", 1);
    says_of_the_connector(&node, reason);
    client.expect_silence(Duration::from_millis(300));
    let failed = node.metrics().sum("aqueduct_kafka_logins_total", &["outcome=\"failed\""]);
    let at_most = 2.0 + began.elapsed().as_secs_f64() / 0.3;
    assert_eq!(failed > 0.0, reason.contains("authentication with"), "{connector}: {failed}");
    assert!(failed <= at_most, "{connector}: {failed} tries in {:?}", began.elapsed());
}

/// It is not connected, and soon `/readyz` says why.
#[track_caller]
fn says_of_the_connector(node: &Node, reason: &str) {
    wait::until(&format!("{reason} in /readyz"), 10, || {
        let (_, ready) = http::get(node.ports().http, "/readyz")?;
        let ready: serde_json::Value = serde_json::from_str(&ready).expect("JSON");
        let main = &ready["connectors"]["main"];
        assert_ne!(main["health"], "connected", "{reason}");
        main["reason"].as_str().is_some_and(|said| said.contains(reason)).then_some(())
    });
}

#[test]
fn who_may_not_come_in_is_told_why() {
    let Some(kafka) = kafka() else { return };
    let endpoint = TokenEndpoint::start(600);
    let other = format!("tls = {{ enable = true, cacertfile = \"{}\" }}\n", kafka.file("tls/other-ca.pem"));
    refused(kafka.listener("TLS"), &other, "is not signed by a trusted authority; set tls.cacertfile");
    let named = tls(kafka, ", server_name_indication = \"elsewhere.test\"");
    refused(kafka.listener("TLS"), &named, "not for elsewhere.test");
    refused(kafka.listener("MTLS"), &tls(kafka, ""), "set tls.certfile and tls.keyfile");
    refused(kafka.listener("TLS"), "", "the broker answers in TLS; set tls.enable = true");
    refused(kafka.bootstrap(), &tls(kafka, ""), "TLS");
    let plain = "authentication with PLAIN was refused: Authentication failed: Invalid username or password; check \
                 authentication.mechanism, username and password";
    refused(kafka.listener("SASL"), &user("plain", "wrong"), plain);
    refused(kafka.listener("SASL"), &user("scram_sha_256", "wrong"), "authentication with SCRAM-SHA-256 was refused");
    let both = format!("{}{}", user("scram_sha_512", "wrong"), tls(kafka, ""));
    refused(kafka.listener("SASL_TLS"), &both, "authentication with SCRAM-SHA-512 was refused");
    refused(kafka.listener("SASL"), &token(&endpoint, "wrong"), "401 Unauthorized (invalid_client)");
    refused(kafka.listener("SASL"), "", "closed by the broker; if it wants to know who we are, set authentication");
    refused(kafka.bootstrap(), &user("plain", "alice-secret"), "authentication with PLAIN");
}

/// `type = "confluent"` is TLS, believes the system's authorities, and logs in with PLAIN: an address, a key and its secret are all that
/// has to be said. Of `type = "kafka"` each of them has to be asked for.
#[test]
fn confluent_takes_an_address_a_key_and_a_secret() {
    let Some(kafka) = kafka() else { return };
    kafka.create_topic("confluent", 1);
    let plan = |authorities: &str| {
        Plan::kafka(kafka.listener("SASL_TLS"), "confluent")
            .set("connectors.main.type", "confluent")
            .connector("authentication = { username = \"alice\", password = \"alice-secret\" }")
            .environment("SSL_CERT_FILE", &kafka.file(authorities))
            .sink("value = \"${payload}\"")
    };
    let node = plan("tls/ca.pem").start();
    Client::connect(node.mqtt(), Version::V5, "c").publish_acked("t", b"by a key", 1);
    assert_eq!(kafka.read_count("confluent", 1)[0].value.as_deref(), Some(&b"by a key"[..]));
    let node = plan("tls/other-ca.pem").start();
    says_of_the_connector(&node, "is not signed by a trusted authority");
    refused(kafka.listener("SASL_TLS"), &user("plain", "alice-secret"), "set tls.enable = true");
}

/// KIP-368: the broker lets a login last 10 s. Each link logs in again before, and nothing is sent twice.
#[test]
fn a_login_is_renewed_before_it_ends() {
    let Some(kafka) = kafka() else { return };
    kafka.create_topic("renewed", 1);
    let node = start(kafka.listener("SASL"), "renewed", &user("scram_sha_512", "alice-secret"));
    let count = publish_until(&node, Instant::now() + Duration::from_secs(20));
    let metrics = node.metrics();
    let logins = |outcome: &str| metrics.sum("aqueduct_kafka_logins_total", &[outcome]);
    // Two links, each at the start and after some 8.5 and 17 s.
    assert!(logins("outcome=\"succeeded\"") >= 6.0, "{}", logins("outcome=\"succeeded\""));
    assert_eq!((logins("outcome=\"failed\""), metrics.sink("retried_total")), (0.0, 0.0));
    assert!(!node.said().contains("closed by the broker"), "{}", node.said());
    kafka.read_count("renewed", count);
}

/// Clients of [`publish_windows_until`], and how many messages each of them has open.
const CLIENTS: usize = 4;
const WINDOW: usize = 16;

/// Clients publish side by side until `end`, each with a full window open all the time; how many messages each of them sent.
fn publish_windows_until(node: &Node, end: Instant) -> Vec<usize> {
    let publish = |client: usize| {
        let mut mqtt = Client::connect(node.mqtt(), Version::V5, &format!("client-{client}"));
        let (mut open, mut count) = (VecDeque::new(), 0);
        while Instant::now() < end || !open.is_empty() {
            while open.len() < WINDOW && Instant::now() < end {
                open.push_back(mqtt.publish("t", format!("{client} {count}").as_bytes(), 1));
                count += 1;
            }
            if let Some(id) = open.pop_front() {
                mqtt.expect(&Packet::PubAck { id, reason: 0 });
            }
        }
        count
    };
    thread::scope(|scope| {
        let publish = &publish;
        let threads: Vec<_> = (0..CLIENTS).map(|client| scope.spawn(move || publish(client))).collect();
        threads.into_iter().map(|thread| thread.join().expect("all is acknowledged")).collect()
    })
}

/// Tokens that last seconds are fetched again and again under load, and every link logs in again with each of them: none of them breaks,
/// and what is published meanwhile is stored once, in order.
fn tokens_are_refreshed(topic: &str, lifetime_s: u64, run: Duration, refreshes: u32) {
    let Some(kafka) = kafka() else { return };
    kafka.create_topic(topic, 1);
    let endpoint = TokenEndpoint::start(lifetime_s);
    let listener = kafka.listener("SASL");
    let connector = token(&endpoint, "token-secret") + "reconnect_delay = \"300ms\"\n";
    // What waits for its batch keeps the windows open, and the rate at a thousand or so a second.
    let sink = "value = \"${payload}\"\nlinger = \"50ms\"";
    let node = Plan::kafka(listener, topic).connector(&connector).sink(sink).start();
    Client::connect(node.mqtt(), Version::V5, "first").publish_acked("t", b"first", 1);
    let links = || Sockets::of(&node).to(port_of(listener));
    let before = links();
    assert_eq!(before.len(), 2, "one for records, one for questions");

    let counts = publish_windows_until(&node, Instant::now() + run);
    let all: usize = counts.iter().sum();
    assert_eq!(links(), before, "the links are those of the start\n{}", node.said());
    assert!(!node.said().contains("closed by the broker"), "{}", node.said());
    assert!(endpoint.issued() > refreshes, "{} tokens", endpoint.issued());
    let metrics = node.metrics();
    let logins = |outcome: &str| metrics.sum("aqueduct_kafka_logins_total", &[outcome]);
    let succeeded = logins("outcome=\"succeeded\"");
    println!("{all} messages, {} tokens, {succeeded} logins over {} links", endpoint.issued(), before.len());
    let at_least = before.len() as f64 * f64::from(refreshes);
    assert!(succeeded >= at_least, "{succeeded} logins of at least {at_least}");
    assert_eq!((logins("outcome=\"failed\""), metrics.sink("retried_total")), (0.0, 0.0));
    let mut due = vec![0; CLIENTS];
    for record in kafka.read_count(topic, all + 1).into_iter().skip(1) {
        let value = String::from_utf8(record.value.expect("a value")).expect("text");
        let (client, number) = value.split_once(' ').expect("a client and a number");
        let next: &mut usize = &mut due[client.parse::<usize>().expect("a client")];
        assert_eq!(number.parse(), Ok(*next), "the next of client {client}");
        *next += 1;
    }
    assert_eq!(due, counts);
}

#[test]
fn tokens_are_refreshed_before_they_end() {
    // The next one is there after 12 s, and the links have until 16 s: time enough on a machine that is busy with other things.
    tokens_are_refreshed("tokens", 16, Duration::from_secs(27), 2);
}

#[test]
fn tokens_of_half_a_minute_are_refreshed_for_five_minutes() {
    if is_long_wanted() {
        tokens_are_refreshed("long-tokens", 30, Duration::from_secs(300), 5);
    }
}

/// The endpoint is away for a while, and then the tokens have ended: clients wait, and are acknowledged when it is back.
#[test]
fn without_a_token_messages_wait() {
    let Some(kafka) = kafka() else { return };
    kafka.create_topic("tokenless", 1);
    let endpoint = TokenEndpoint::start(600);
    endpoint.set_down(true);
    let node = start(kafka.listener("SASL"), "tokenless", &token(&endpoint, "token-secret"));
    let mut client = Client::connect(node.mqtt(), Version::V5, "c");
    let id = client.publish("t", b"waits", 1);
    client.expect_silence(Duration::from_millis(500));
    endpoint.set_down(false);
    let answer = client.packet_within(Duration::from_secs(10));
    assert!(format!("{answer:?}").contains(&format!("id: {id}")), "{answer:?}");
    kafka.read_count("tokenless", 1);
}

#[test]
fn a_probe_takes_every_step_by_name() {
    let Some(kafka) = kafka() else { return };
    kafka.create_topic("probed", 1);
    kafka.create_topic("denied", 1);
    kafka.create_topic("hidden", 1);
    // Where there is a rule, what it does not allow is denied.
    let allow = |operation: &'static str, topic: &'static str| {
        let rule = ["--add", "--allow-principal", "User:alice", "--operation", operation, "--topic", topic, "--force"];
        peer::run(kafka.tool("acls").args(rule));
    };
    allow("Describe", "denied");
    allow("AlterConfigs", "hidden");
    let probe = |topic: &str, connector: &str| {
        let plan = Plan::kafka(kafka.listener("SASL_TLS"), topic).connector(connector);
        let config = plan.write();
        let arguments = ["check", "--connect", "--config", &config.display().to_string()];
        let output = peer::finish(&mut command(config.parent().expect("a folder"), &arguments), b"");
        (String::from_utf8_lossy(&output.stdout).into_owned(), output.status.code())
    };
    let right = format!("{}{}", user("scram_sha_512", "alice-secret"), tls(kafka, ""));
    let (said, code) = probe("probed", &right);
    assert_eq!(code, Some(0), "{said}");
    let host = kafka.listener("SASL_TLS");
    for step in [
        &format!("connect {host}: a port that answers ("),
        &format!("TLS with {host}: TLSv1_3, TLS13_AES_256_GCM_SHA384 ("),
        &format!("agree on versions with {host}: a broker that speaks our versions ("),
        &format!("log in to {host}: SCRAM-SHA-512 ("),
        "metadata: 1 brokers (",
        "topic probed: we may write it",
        "topic probed: min.insync.replicas = 1 of 1 replicas",
        "topic probed: max.message.bytes = 1048588, max_batch_bytes of sink main is 896KB",
        "producer id: granted (",
    ] {
        assert!(said.contains(step), "{step} in\n{said}");
    }
    let fails = |topic: &str, connector: &str, step: &str, remedy: &str| {
        let (said, code) = probe(topic, connector);
        assert_eq!(code, Some(1), "{said}");
        let step = format!("FAIL  connector main     {step}");
        let mut lines = said.lines().skip_while(|line| !line.starts_with(&step)).skip(1);
        // Each failure tells why that matters, and then what to do.
        assert!(lines.next().is_some_and(|line| line.starts_with("      why: ")), "{step} in\n{said}");
        assert_eq!(lines.next(), Some(&*format!("      fix: {remedy}")), "{step} in\n{said}");
    };
    let grant = |operation: &str, topic: &str| {
        format!(
            "kafka-acls.sh --add --allow-principal User:NAME --operation {operation} --topic {topic}, with the name that \
             the brokers know this client by"
        )
    };
    fails("denied", &right, "topic denied: we may not write it", &grant("Write", "denied"));
    fails("hidden", &right, "topic hidden: we may not even describe it", &grant("Describe", "hidden"));
    let wrong = format!("{}{}", user("scram_sha_512", "wrong"), tls(kafka, ""));
    let remedy = "check authentication.mechanism, username and password of the connector, and the user at the broker";
    let log_in = format!("log in to {host}: authentication with SCRAM-SHA-512");
    fails("probed", &wrong, &log_in, remedy);
    let stranger = format!(
        "{}tls = {{ enable = true, cacertfile = \"{}\" }}\n",
        user("plain", "alice-secret"),
        kafka.file("tls/other-ca.pem")
    );
    let encrypt = format!("TLS with {host}: TLS: the broker's certificate");
    fails("probed", &stranger, &encrypt, "correct tls of the connector");
}
