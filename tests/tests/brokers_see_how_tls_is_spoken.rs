//! The options of TLS towards a real Apache Kafka, by what the broker sees and by what it refuses.
//!
//! Setup: one broker that writes down every handshake, with a listener for TLS 1.2 and one cipher suite, and one for TLS 1.3. Action: a
//! node for each value of an option. Expectation: the broker sees what was asked for; where both sides cannot agree, `/readyz` says so
//! and nothing is acknowledged.

use std::process::Command;
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use aqueduct_tests::support::kafka::Kafka;
use aqueduct_tests::support::mqtt::{Client, Version};
use aqueduct_tests::support::node::{Node, Plan};
use aqueduct_tests::support::{http, peer, wait};

const SUITE: &str = "TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384";

/// The old listener, and the new one. Connections that carry nothing end soon.
const SETTINGS: &str = "listener.name.tls.ssl.enabled.protocols=TLSv1.2;\
                        listener.name.tls.ssl.cipher.suites=TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384;\
                        listener.name.mtls.ssl.enabled.protocols=TLSv1.3;connections.max.idle.ms=3000";

/// Ends what Java writes down of each handshake that comes to something.
const SPOKEN: &str = "Negotiated protocol version: ";

/// What a client says of the host it wants, as Java writes it.
const NAME: &str = "type=host_name (0), value=";

/// One node at a time, so that what the broker says is about that.
fn kafka() -> Option<(&'static Kafka, MutexGuard<'static, ()>)> {
    static SHARED: OnceLock<Result<Kafka, String>> = OnceLock::new();
    static ALONE: Mutex<()> = Mutex::new(());
    let alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    match SHARED.get_or_init(|| Kafka::start_telling_of_tls(SETTINGS)) {
        Ok(kafka) => Some((kafka, alone)),
        Err(remedy) => {
            peer::skip("AQUEDUCT_REQUIRE_KAFKA", remedy);
            None
        }
    }
}

fn start(kafka: &Kafka, bootstrap: &str, options: &str) -> Node {
    let [authority, own, key] = ["ca.pem", "client.pem", "client.key"].map(|file| kafka.file(&format!("tls/{file}")));
    let pair = format!("cacertfile = \"{authority}\", certfile = \"{own}\", keyfile = \"{key}\"");
    let tls = format!("tls = {{ enable = true, {pair}{options} }}\n");
    let connector = format!("{tls}reconnect_delay = \"300ms\"\nconnections_per_broker = 1\n");
    Plan::kafka(bootstrap, "seen").connector(&connector).sink("value = \"${payload}\"").start()
}

/// A node with these options of `tls` has a message acknowledged; what the broker said of it meanwhile.
#[track_caller]
fn heard(kafka: &Kafka, bootstrap: &str, options: &str) -> String {
    let before = kafka.broker_said().len();
    let node = start(kafka, bootstrap, options);
    Client::connect(node.mqtt(), Version::V5, "c").publish_acked("t", options.as_bytes(), 1);
    drop(node);
    kafka.broker_said().split_off(before)
}

/// A node with these options acknowledges nothing, and says why.
#[track_caller]
fn refused(kafka: &Kafka, bootstrap: &str, options: &str, reason: &str) {
    let node = start(kafka, bootstrap, options);
    let mut client = Client::connect(node.mqtt(), Version::V5, "c");
    client.publish("t", b"waits", 1);
    wait::until(&format!("{reason} in /readyz"), 10, || {
        let (_, ready) = http::get(node.ports().http, "/readyz")?;
        ready.contains(reason).then_some(())
    });
    client.expect_silence(Duration::from_millis(300));
}

#[test]
fn versions_and_suites_are_those_that_were_asked_for() {
    let Some((kafka, _alone)) = kafka() else { return };
    kafka.create_topic("seen", 1);
    let (old, new) = (kafka.listener("TLS"), kafka.listener("MTLS"));
    let suites = |list: &str| format!(", ciphers = [{list}]");
    for (listener, options, version) in [
        (old, String::new(), "TLSv1.2"),
        (old, ", versions = [\"tlsv1.2\"]".to_owned(), "TLSv1.2"),
        (old, suites(&format!("\"{SUITE}\"")), "TLSv1.2"),
        (old, suites("\"ECDHE-RSA-AES256-GCM-SHA384\""), "TLSv1.2"),
        (new, String::new(), "TLSv1.3"),
        (new, ", versions = [\"tlsv1.3\"]".to_owned(), "TLSv1.3"),
        (new, suites("\"TLS_CHACHA20_POLY1305_SHA256\""), "TLSv1.3"),
    ] {
        let said = heard(kafka, listener, &options);
        assert!(said.contains(&format!("{SPOKEN}{version}")), "{options}: {said}");
        let chosen = if options.contains("CHACHA20") { "TLS_CHACHA20_POLY1305_SHA256" } else { SUITE };
        let own = version == "TLSv1.2" || options.contains("ciphers");
        assert!(!own || said.contains(&format!("\"cipher suite\"        : \"{chosen}")), "{options}: {said}");
    }
    let neither = "tls.versions or tls.ciphers share nothing with its own";
    refused(kafka, old, ", versions = [\"tlsv1.3\"]", neither);
    refused(kafka, new, ", versions = [\"tlsv1.2\"]", neither);
    refused(kafka, old, &suites("\"ECDHE-RSA-AES128-GCM-SHA256\""), neither);
}

#[test]
fn a_name_is_told_unless_that_is_off() {
    let Some((kafka, _alone)) = kafka() else { return };
    kafka.create_topic("seen", 1);
    let port = kafka.listener("MTLS").rsplit_once(':').expect("a port").1;
    let by_name = format!("localhost:{port}");
    let said = heard(kafka, &by_name, "");
    assert!(said.contains(&format!("{NAME}localhost")), "{said}");
    let said = heard(kafka, &by_name, ", server_name_indication = \"disable\"");
    assert!(said.contains(SPOKEN) && !said.contains(NAME), "{said}");
    // RFC 6066, section 3: an address is no name.
    let said = heard(kafka, kafka.listener("MTLS"), "");
    assert!(said.contains(SPOKEN) && !said.contains(NAME), "{said}");
    // A name stands for every broker, whatever it is dialled by, and is what its certificate has to prove.
    let said = heard(kafka, kafka.listener("MTLS"), ", server_name_indication = \"localhost\"");
    let (told, all) = (said.matches(&format!("{NAME}localhost")).count(), said.matches(SPOKEN).count());
    assert!(told > 0 && told >= all, "{told} of {all}: {said}");
}

#[test]
fn a_ticket_is_shown_at_the_next_dial_unless_that_is_off() {
    let Some((kafka, _alone)) = kafka() else { return };
    kafka.create_topic("seen", 1);
    for listener in ["TLS", "MTLS"] {
        for reuse in [true, false] {
            let node = start(kafka, kafka.listener(listener), &format!(", reuse_sessions = {reuse}"));
            let mut client = Client::connect(node.mqtt(), Version::V5, "c");
            client.publish_acked("t", b"first", 1);
            let before = kafka.broker_said().len();
            // The broker ends connections that carry nothing.
            let said = wait::until("the node dials again", 30, || {
                std::thread::sleep(Duration::from_secs(4));
                client.publish_acked("t", b"again", 1);
                Some(kafka.broker_said().split_off(before)).filter(|said| said.contains(SPOKEN))
            });
            // RFC 5077, section 3.2; RFC 8446, section 4.2.11. Whether it takes it is the broker's to say.
            let shows_ticket = said.contains("\"ticket\" : {") || said.contains("pre_shared_key (41)\"");
            assert_eq!(shows_ticket, reuse, "{listener}, reuse {reuse}: {said}");
        }
    }
}

/// Two authorities between the broker's certificate and the one that is trusted.
const MAKE: &str = r#"
set -e
cd "$1"
sign() { # name issuer extensions subject
  openssl req -newkey rsa:2048 -nodes -subj "/CN=${4:-$1}" -keyout $1.key -out $1.csr 2>/dev/null
  openssl x509 -req -days 3650 -in $1.csr -CA $2.pem -CAkey $2.key -CAcreateserial -out $1.pem -extfile <(printf "$3") 2>/dev/null
}
sign first ca "basicConstraints=critical,CA:TRUE\nkeyUsage=critical,keyCertSign"
sign second first "basicConstraints=critical,CA:TRUE\nkeyUsage=critical,keyCertSign"
sign deep second "subjectAltName=DNS:localhost,IP:127.0.0.1" localhost
cat deep.key deep.pem second.pem first.pem >deep.both.pem
"#;

#[test]
fn a_chain_may_be_so_long() {
    let Some((kafka, _alone)) = kafka() else { return };
    kafka.create_topic("seen", 1);
    peer::run(Command::new("bash").args(["-c", MAKE, "make", &kafka.file("tls")]));
    let of_listener = "listener.name.sasltls.ssl.keystore";
    let set = format!("{of_listener}.location={},{of_listener}.type=PEM", kafka.file("tls/deep.both.pem"));
    let alter = ["--alter", "--entity-type", "brokers", "--entity-name", "1", "--add-config", &set];
    peer::run(kafka.tool("configs").args(alter));
    let login =
        ", depth = 2 }\nauthentication = { mechanism = \"plain\", username = \"alice\", password = \"alice-secret\"";
    wait::until("the broker shows the long chain", 30, || {
        let shown =
            Command::new("openssl").args(["s_client", "-showcerts", "-connect", kafka.listener("SASL_TLS")]).output();
        let shown = shown.expect("openssl is there").stdout;
        (String::from_utf8_lossy(&shown).matches("BEGIN CERTIFICATE").count() >= 3).then_some(())
    });
    heard(kafka, kafka.listener("SASL_TLS"), login);
    let too_deep = "2 certificates stand between the broker's own and a trusted one, tls.depth is 1";
    refused(kafka, kafka.listener("SASL_TLS"), &login.replace("depth = 2", "depth = 1"), too_deep);
}
