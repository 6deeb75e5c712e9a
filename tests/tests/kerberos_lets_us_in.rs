//! Kerberos (SASL GSSAPI) against a real Apache Kafka and a real KDC: a keytab is all it takes, logins and tickets are renewed under
//! load without a message lost, and what is wrong is named and can be put right while the node runs.
//!
//! Setup: one broker whose listener takes tickets, a KDC with a realm of its own, and a build of the node with the feature `gssapi`.
//! Action: nodes with keytabs, right and wrong; the KDC ends and comes back. Expectation: acknowledged messages lie in Kafka, each
//! once; a refusal stands in `/readyz` with its remedy, and is over when its cause is.

use std::fs;
use std::path::Path;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use aqueduct_tests::support::flow::publish_until;
use aqueduct_tests::support::http;
use aqueduct_tests::support::kafka::Kafka;
use aqueduct_tests::support::mqtt::{Client, Version};
use aqueduct_tests::support::node::{Node, Plan, command_of, gssapi_binary};
use aqueduct_tests::support::peer;
use aqueduct_tests::support::scratch::Scratch;
use aqueduct_tests::support::wait;

/// How long a login lasts.
const SETTINGS: &str = "listener.name.gssapi.gssapi.connections.max.reauth.ms=6000";

/// A cluster, and the node's program.
type World = (Kafka, &'static Path);

fn world() -> Option<World> {
    let program = gssapi_binary()?;
    match Kafka::start_kerberos(SETTINGS) {
        Ok(kafka) => Some((kafka, program)),
        Err(remedy) => {
            peer::skip("AQUEDUCT_REQUIRE_KAFKA", &remedy);
            None
        }
    }
}

/// The cluster of the tests that leave it as it is.
fn shared() -> Option<&'static World> {
    static SHARED: OnceLock<Option<World>> = OnceLock::new();
    SHARED.get_or_init(world).as_ref()
}

fn identity(principal: &str, keytab: &str) -> String {
    format!("authentication = {{ mechanism = \"gssapi\", principal = \"{principal}\", keytab_file = \"{keytab}\" }}\n")
}

fn plan((kafka, program): &World, topic: &str, connector: &str) -> Plan {
    let connector = format!("{connector}reconnect_delay = \"300ms\"\n");
    let plan = Plan::kafka(kafka.listener("GSSAPI"), topic).connector(&connector).sink("value = \"${payload}\"");
    plan.binary(program).environment("KRB5_CONFIG", kafka.listener("KRB5_CONFIG"))
}

fn logins(node: &Node, outcome: &str) -> f64 {
    node.metrics().sum("aqueduct_kafka_logins_total", &[&format!("outcome=\"{outcome}\"")])
}

/// What `/readyz` says of the connector that is not well, once it says `reason`.
#[track_caller]
fn says(node: &Node, reason: &str) -> String {
    let mut last = String::new();
    let deadline = Instant::now() + Duration::from_secs(15);
    while Instant::now() < deadline {
        let (_, ready) = http::get(node.ports().http, "/readyz").expect("the node answers");
        let ready: serde_json::Value = serde_json::from_str(&ready).expect("JSON");
        last = ready["connectors"]["main"]["reason"].as_str().unwrap_or_default().to_owned();
        if last.contains(reason) {
            return last;
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    panic!("{reason} is not in: {last}\n{}", node.said());
}

/// What a keytab holds, in hexadecimal digits.
fn keys(keytab: &str) -> Vec<String> {
    let listed = peer::run(std::process::Command::new("klist").args(["-k", "-K", keytab]));
    let keys: Vec<String> =
        listed.split("(0x").skip(1).filter_map(|rest| Some(rest.split_once(')')?.0.to_owned())).collect();
    assert!(!keys.is_empty(), "{listed}");
    keys
}

/// The broker lets a login last 6 s, and the KDC a ticket 20 s. Both are renewed while messages flow; the default cache of whoever
/// runs the node is left alone, and no key is told.
#[test]
fn logins_and_tickets_are_renewed_under_load() {
    let Some(world) = shared() else { return };
    let kafka = &world.0;
    kafka.create_topic("renewed", 1);
    let keytab = kafka.file("kerberos/brief.keytab");
    let scratch = Scratch::new("ccache");
    let cache = scratch.file("default");
    let node = plan(world, "renewed", &identity("brief@TEST.AQUEDUCT", &keytab))
        .environment("KRB5CCNAME", &format!("FILE:{}", cache.display()))
        .section("[log]\nlevel = \"debug\"\n")
        .start();
    let count = publish_until(&node, Instant::now() + Duration::from_secs(25));
    // Two links, each at the start and every 5.1 s.
    assert!(logins(&node, "succeeded") >= 10.0, "{}", logins(&node, "succeeded"));
    assert_eq!((logins(&node, "failed"), node.metrics().sink("retried_total")), (0.0, 0.0), "{}", node.said());
    assert!(!node.said().contains("closed by the broker"), "{}", node.said());
    kafka.read_count("renewed", count);
    // The KDC has been asked again and again: a ticket of the first seconds is not valid any more.
    let log = fs::read_to_string(kafka.file("kerberos/kdc.log")).expect("the KDC's log");
    let asked = log.lines().filter(|line| line.contains("AS_REQ") && line.contains("ISSUE") && line.contains("brief@"));
    assert!(asked.count() >= 2, "{log}");
    assert!(!cache.exists(), "the default cache was written");
    let (_, metrics) = http::get(node.ports().http, "/metrics").expect("the node answers");
    for key in keys(&keytab) {
        assert!(!node.said().contains(&key) && !metrics.contains(&key), "a key was told");
    }
}

/// A connector that comes while the node runs has its tickets at once, and TLS around them.
#[test]
fn a_connector_comes_with_tickets_over_tls() {
    let Some((kafka, program)) = shared() else { return };
    kafka.create_topic("near", 1);
    kafka.create_topic("encrypted", 1);
    let nothing = "# no other connector";
    let plan = Plan::kafka(kafka.bootstrap(), "near").section(nothing).binary(program);
    let node = plan.environment("KRB5_CONFIG", kafka.listener("KRB5_CONFIG")).start();
    let far = format!(
        "[connectors.far]\nbootstrap_hosts = \"{}\"\n{}tls = {{ enable = true, cacertfile = \"{}\" }}\n\
         [sinks.far]\nconnector = \"far\"\nsource_topics = [\"far/#\"]\ntopic = \"encrypted\"\n",
        kafka.listener("GSSAPI_TLS"),
        identity("alice@TEST.AQUEDUCT", &kafka.file("kerberos/alice.keytab")),
        kafka.file("tls/ca.pem")
    );
    node.configure(nothing, &far);
    assert_eq!(node.changed(), "connectors.far: added\nsinks.far: added\n");
    Client::connect(node.mqtt(), Version::V5, "c").publish_acked("far/t", b"x", 1);
    kafka.read_count("encrypted", 1);
    assert!(logins(&node, "succeeded") >= 2.0);
    let days = node.metrics().sum("aqueduct_tls_certificate_days_left", &["certificate=\"broker\""]);
    assert!(days > 3_000.0, "{days}");
}

/// Nothing is acknowledged while the node may not come in; what was published is, once it may.
#[test]
fn a_keytab_that_is_put_right_is_used() {
    let Some(world) = shared() else { return };
    let kafka = &world.0;
    kafka.create_topic("stale", 1);
    let scratch = Scratch::new("keytab");
    let keytab = scratch.file("node.keytab");
    fs::copy(kafka.file("kerberos/stale.keytab"), &keytab).expect("a keytab");
    let node = plan(world, "stale", &identity("alice@TEST.AQUEDUCT", &keytab.display().to_string())).start();
    let mut client = Client::connect(node.mqtt(), Version::V5, "c");
    let id = client.publish("t", b"waits", 1);
    let said = says(&node, "the KDC does not take the key of alice@TEST.AQUEDUCT");
    assert!(said.contains("export the keytab again"), "{said}");
    client.expect_silence(Duration::from_millis(300));
    assert!(logins(&node, "failed") > 0.0);
    for key in keys(&keytab.display().to_string()) {
        assert!(!node.said().contains(&key), "a key was told");
    }
    fs::copy(kafka.file("kerberos/alice.keytab"), &keytab).expect("a keytab");
    let answer = client.packet_within(Duration::from_secs(10));
    assert!(format!("{answer:?}").contains(&format!("id: {id}")), "{answer:?}");
    kafka.read_count("stale", 1);
    wait::until("the log says that all is well", 5, || node.said().contains("connected again").then_some(()));
}

#[test]
fn what_is_wrong_is_named() {
    let Some(world) = shared() else { return };
    let kafka = &world.0;
    let alice = kafka.file("kerberos/alice.keytab");
    let wrong = |connector: &str, reason: &str| {
        let node = plan(world, "refused", connector).start();
        let mut client = Client::connect(node.mqtt(), Version::V5, "c");
        client.publish("t", b"waits", 1);
        says(&node, &format!("authentication with GSSAPI: {reason}"));
        client.expect_silence(Duration::from_millis(100));
    };
    wrong(&identity("alice@TEST.AQUEDUCT", "/not/there"), "the keytab /not/there cannot be read (No such file");
    let brief = identity("alice@TEST.AQUEDUCT", &kafka.file("kerberos/brief.keytab"));
    wrong(&brief, &format!("the keytab {} holds no key of alice@TEST", kafka.file("kerberos/brief.keytab")));
    wrong(&identity("alice@ELSEWHERE", &alice), &format!("the keytab {alice} holds no key of alice@ELSEWHERE"));
    let other = identity("alice@TEST.AQUEDUCT", &alice).replace(" }", ", service_name = \"other\" }");
    wrong(&other, "the KDC knows no service other at localhost (Server other/localhost@TEST.AQUEDUCT not found");
    // Whoever comes without a ticket is told what to set.
    let node = plan(world, "refused", "").start();
    says(&node, "set authentication of the connector");
}

/// The KDC is away at the start, and again when tickets have to be renewed: messages wait, and are stored once when it is back.
#[test]
fn without_a_kdc_messages_wait() {
    let Some(world) = world() else { return };
    let kafka = &world.0;
    kafka.create_topic("waits", 1);
    kafka.kdc("stop");
    let keytab = kafka.file("kerberos/brief.keytab");
    let node = plan(&world, "waits", &identity("brief@TEST.AQUEDUCT", &keytab)).start();
    let mut client = Client::connect(node.mqtt(), Version::V5, "c");
    let id = client.publish("t", b"first", 1);
    let said = says(&node, "no KDC can be reached (Cannot contact any KDC for realm 'TEST.AQUEDUCT')");
    assert!(said.contains("check kdc of the realm in krb5.conf"), "{said}");
    client.expect_silence(Duration::from_millis(300));
    kafka.kdc("start");
    let answer = client.packet_within(Duration::from_secs(10));
    assert!(format!("{answer:?}").contains(&format!("id: {id}")), "{answer:?}");
    // Tickets outlive the KDC for a while, and logins with them.
    kafka.kdc("stop");
    let count = publish_until(&node, Instant::now() + Duration::from_secs(6));
    // Until they are half over: then there is nothing to log in again with, and the broker ends the login.
    let mut steady = Client::connect(node.mqtt(), Version::V5, "later");
    let mut open = steady.publish("t", b"last", 1);
    let mut more = 0;
    let deadline = Instant::now() + Duration::from_secs(40);
    while steady.packet_within(Duration::from_secs(3)).is_some() {
        assert!(Instant::now() < deadline, "the logins outlived the tickets:\n{}", node.said());
        more += 1;
        std::thread::sleep(Duration::from_millis(200));
        open = steady.publish("t", b"last", 1);
    }
    says(&node, "no KDC can be reached");
    kafka.kdc("start");
    let answer = steady.packet_within(Duration::from_secs(15));
    assert!(format!("{answer:?}").contains(&format!("id: {open}")), "{answer:?}");
    kafka.read_count("waits", 1 + count + more + 1);
}

#[test]
fn a_probe_takes_every_step_by_name() {
    let Some(world) = shared() else { return };
    let (kafka, program) = world;
    kafka.create_topic("probed", 1);
    let probe = |connector: &str| {
        let plan = plan(world, "probed", connector);
        let config = plan.write();
        let arguments = ["check", "--connect", "--config", &config.display().to_string()];
        let mut command = command_of(program, config.parent().expect("a folder"), &arguments);
        let output = peer::finish(command.env("KRB5_CONFIG", kafka.listener("KRB5_CONFIG")), b"");
        (String::from_utf8_lossy(&output.stdout).into_owned(), output.status.code())
    };
    let alice = kafka.file("kerberos/alice.keytab");
    let right = identity("alice@TEST.AQUEDUCT", &alice);
    let (said, code) = probe(&right);
    assert_eq!(code, Some(0), "{said}");
    let host = kafka.listener("GSSAPI");
    for step in
        ["ticket of alice@TEST.AQUEDUCT: granted (", &format!("log in to {host}: GSSAPI ("), "metadata: 1 brokers ("]
    {
        assert!(said.contains(step), "{step} in\n{said}");
    }
    let (said, code) = probe(&identity("nobody@TEST.AQUEDUCT", &alice));
    assert_eq!(code, Some(1), "{said}");
    let step =
        format!("FAIL  connector main     ticket of nobody@TEST.AQUEDUCT: the keytab {alice} holds no key of nobody");
    assert!(said.contains(&step), "{said}");
    let (said, code) = probe(&right.replace(" }", ", service_name = \"other\" }"));
    assert_eq!(code, Some(1), "{said}");
    let step = format!("FAIL  connector main     log in to {host}: the KDC knows no service other at localhost");
    assert!(said.contains(&step), "{said}");
}
