//! A canary: secrets that are a text nobody else writes, in every place that takes one, and failures of every kind. The text is
//! found nowhere: not in logs (at the most talkative level), `/metrics`, `/readyz`, `config show`, `check`, `doctor`, a dry run, what the
//! control socket answers, or a panic with its backtrace.
//!
//! Setup: brokers that are not there, do not speak TLS or say nonsense, and an authorization server that refuses; and an Apache Kafka
//! to which passwords are really proven, right ones and wrong ones.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::path::Path;
use std::time::Duration;

use aqueduct_tests::support::http;
use aqueduct_tests::support::kafka::Kafka;
use aqueduct_tests::support::mqtt::{Client, Version};
use aqueduct_tests::support::node::{Plan, command};
use aqueduct_tests::support::token::TokenEndpoint;
use aqueduct_tests::support::tracer::end_shard;
use aqueduct_tests::support::{peer, wait};

const CANARY: &str = "tweet-Xq7Zp3";

/// A broker that answers everything with nonsense.
fn nonsense() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("bound").to_string();
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let _ = stream.set_read_timeout(Some(Duration::from_millis(200)));
            let _ = stream.read(&mut [0; 1024]);
            let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n");
        }
    });
    address
}

#[track_caller]
fn silent(what: &str, said: &str) {
    is_silent(what, said, CANARY);
}

/// The secret stands nowhere: not as text, nor as bytes in the ways that bytes are printed.
#[track_caller]
fn is_silent(what: &str, said: &str, secret: &str) {
    let joined =
        |form: fn(&u8) -> String, between: &str| secret.as_bytes().iter().map(form).collect::<Vec<_>>().join(between);
    let decimal = joined(|byte| byte.to_string(), ", ");
    let hex = |between: &str| joined(|byte| format!("{byte:02x}"), between);
    let lower = said.to_ascii_lowercase();
    let bytes = [decimal, hex(""), hex(" "), hex(", ")];
    assert!(!said.contains(secret), "{what} tells the secret:\n{said}");
    for form in bytes {
        assert!(!lower.contains(&form), "{what} tells the secret as {form}:\n{said}");
    }
}

/// What a command says on both streams.
fn said(folder: &Path, arguments: &[&str]) -> String {
    let output = peer::finish(&mut command(folder, arguments), b"");
    [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).concat()
}

#[test]
fn whatever_fails() {
    let endpoint = TokenEndpoint::start(60);
    let key = concat!(env!("CARGO_MANIFEST_DIR"), "/../engine/tests/driver/certificates/client-encrypted.key");
    let certificate = concat!(env!("CARGO_MANIFEST_DIR"), "/../engine/tests/driver/certificates/client.pem");
    let user = |mechanism: &str| {
        format!("authentication = {{ mechanism = \"{mechanism}\", username = \"u\", password = \"{CANARY}\" }}\n")
    };
    let ways = [
        user("plain"),
        user("scram_sha_512"),
        format!("{}tls = {{ enable = true }}\n", user("plain")),
        format!(
            "authentication = {{ mechanism = \"oauthbearer\", token_endpoint = \"{}\", client_id = \"c\", \
             client_secret = \"{CANARY}\" }}\n",
            endpoint.url()
        ),
        // The wrong password of a key: the configuration is refused.
        format!(
            "tls = {{ enable = true, certfile = \"{certificate}\", keyfile = \"{key}\", password = \"{CANARY}\" }}\n"
        ),
        // Options in the wrong place or shape, which the messages quote.
        format!("authentication = {{ mechanism = \"scram_sha_512\", password = [\"{CANARY}\"] }}\n"),
        format!("authentication = {{ mechanism = \"gssapi\", password = \"{CANARY}\" }}\n"),
        format!("authentication = {{ mechanism = \"plain\", password = \"{CANARY}\", = }}\n"),
    ];
    for (i, way) in ways.iter().enumerate() {
        let broker = nonsense();
        let quick = "connect_timeout = \"500ms\"\nreconnect_delay = \"100ms\"\n";
        let plan = Plan::kafka(&broker, "t").connector(&format!("{way}{quick}")).section("[log]\nlevel = \"trace\"\n");
        let config = plan.write();
        let folder = config.parent().expect("a folder").to_owned();
        let path = config.display().to_string();
        for arguments in [
            &["check", "--connect", "--config", &path][..],
            &["config", "show", "--config", &path],
            &["doctor", "--json", "--config", &path],
            &["run", "--dry-run", "--config", &path],
        ] {
            silent(&format!("{arguments:?} of {way}"), &said(&folder, arguments));
        }
        if i >= 4 {
            continue;
        }
        let node = plan.start();
        std::thread::sleep(Duration::from_millis(600));
        for page in ["/metrics", "/readyz"] {
            let (_, text) = http::get(node.ports().http, page).expect("the node answers");
            silent(page, &text);
        }
        silent("the log", &node.said());
    }
}

/// A shard panics while it tells a broker who it is, and all that Rust can say of that is said.
#[test]
fn in_a_panic() {
    let kafka = match Kafka::start_secure("") {
        Ok(kafka) => kafka,
        Err(remedy) => return peer::skip("AQUEDUCT_REQUIRE_KAFKA", &remedy),
    };
    kafka.create_topic("panic", 1);
    // In the first the password is right, and the second never gets an answer that it understands.
    for (broker, secret) in [(kafka.listener("SASL"), RIGHT), (nonsense().as_str(), CANARY)] {
        let connector = format!(
            "authentication = {{ mechanism = \"plain\", username = \"alice\", password = \"{secret}\" }}\n\
             reconnect_delay = \"100ms\""
        );
        let plan = Plan::kafka(broker, "panic").connector(&connector).section("[log]\nlevel = \"trace\"\n");
        let mut node = plan.node("shards = 1\npin = false").environment("RUST_BACKTRACE", "full").start();
        let mut client = Client::connect(node.mqtt(), Version::V5, "c");
        match secret == RIGHT {
            true => client.publish_acked("t", b"x", 1),
            false => drop(client.publish("t", b"waits", 1)),
        }
        let Some(ended) = end_shard(&mut node, "shard-1") else { return };
        assert!(!ended.success(), "{ended}");
        let said = node.said();
        assert!(said.contains("panicked at") && said.contains("stack backtrace"), "{said}");
        is_silent("a panic", &said, secret);
    }
}

/// The password of the user alice of a secured Kafka.
const RIGHT: &str = "alice-secret";

/// Passwords are proven to an Apache Kafka, and others that it refuses; the configuration is reloaded with another password, and with
/// a mistake beside it.
#[test]
fn whatever_a_real_broker_is_told() {
    let kafka = match Kafka::start_secure("") {
        Ok(kafka) => kafka,
        Err(remedy) => return peer::skip("AQUEDUCT_REQUIRE_KAFKA", &remedy),
    };
    kafka.create_topic("secret", 1);
    for mechanism in ["plain", "scram_sha_256", "scram_sha_512"] {
        for (password, outcome) in [(RIGHT, "succeeded"), (CANARY, "failed")] {
            let connector = format!(
                "authentication = {{ mechanism = \"{mechanism}\", username = \"alice\", password = \"{password}\" }}\n\
                 reconnect_delay = \"200ms\""
            );
            let plan = Plan::kafka(kafka.listener("SASL"), "secret").connector(&connector);
            let node = plan.section("[log]\nlevel = \"trace\"\n").start();
            let mut client = Client::connect(node.mqtt(), Version::V5, "c");
            match password == RIGHT {
                true => client.publish_acked("t", b"x", 1),
                false => drop(client.publish("t", b"waits", 1)),
            }
            let outcome = format!("outcome=\"{outcome}\"");
            let logins = || node.metrics().sum("aqueduct_kafka_logins_total", &[&outcome]);
            wait::until(&format!("a login with {mechanism} that {outcome}"), 20, || (logins() > 0.0).then_some(()));
            // The other password, and then a third with a mistake beside it.
            let other = if password == RIGHT { CANARY } else { RIGHT };
            node.configure(&format!("\"{password}\""), &format!("\"{other}\""));
            let changed = node.reload();
            node.configure("reconnect_delay = \"200ms\"", "reconnect_delay = \"never\"");
            let refused = node.reload();
            assert_eq!((changed.status.code(), refused.status.code()), (Some(0), Some(2)), "{changed:?} {refused:?}");
            let mut all = node.said();
            for page in ["/metrics", "/readyz"] {
                all += &http::get(node.ports().http, page).expect("the node answers").1;
            }
            for output in [changed, refused] {
                all += &String::from_utf8_lossy(&[output.stdout, output.stderr].concat());
            }
            [RIGHT, CANARY].iter().for_each(|secret| is_silent(mechanism, &all, secret));
        }
    }
}

/// A client secret that is right, and the token that it brings and that a broker takes.
#[test]
fn a_token_that_is_taken() {
    const SECRET: &str = "token-secret";
    let kafka = match Kafka::start_secure("") {
        Ok(kafka) => kafka,
        Err(remedy) => return peer::skip("AQUEDUCT_REQUIRE_KAFKA", &remedy),
    };
    kafka.create_topic("token", 1);
    let endpoint = TokenEndpoint::start(60);
    let connector = format!(
        "authentication = {{ mechanism = \"oauthbearer\", token_endpoint = \"{}\", client_id = \"device\", \
         client_secret = \"{SECRET}\", scope = \"kafka\" }}",
        endpoint.url()
    );
    let plan = Plan::kafka(kafka.listener("SASL"), "token").connector(&connector);
    let plan = plan.section("[log]\nlevel = \"trace\"\n");
    let config = plan.write();
    let mut all =
        said(config.parent().expect("a folder"), &["check", "--connect", "--config", &config.display().to_string()]);
    let node = plan.start();
    Client::connect(node.mqtt(), Version::V5, "c").publish_acked("t", b"x", 1);
    for page in ["/metrics", "/readyz"] {
        all += &http::get(node.ports().http, page).expect("the node answers").1;
    }
    all += &node.said();
    let tokens = endpoint.tokens();
    assert!(tokens.len() >= 2, "one for the probe and one for the node");
    tokens.iter().map(String::as_str).chain([SECRET]).for_each(|secret| is_silent("oauthbearer", &all, secret));
}
