//! A canary: secrets that are a text nobody else writes, in every place that takes one, and failures of every kind. The text is
//! found nowhere: not in logs (at level debug), `/metrics`, `/readyz`, `config show`, `check`, `doctor` or a dry run.
//!
//! Setup: brokers that are not there, do not speak TLS or say nonsense, and an authorization server that refuses. Real refusals of
//! Kafka are in `brokers_and_we_know_each_other`, whose broker says no more of a password than these.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::path::Path;
use std::time::Duration;

use aqueduct_tests::support::http;
use aqueduct_tests::support::node::{Plan, command};
use aqueduct_tests::support::peer;
use aqueduct_tests::support::token::TokenEndpoint;

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
    assert!(!said.contains(CANARY), "{what} tells the secret:\n{said}");
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
        let plan = Plan::kafka(&broker, "t").connector(&format!("{way}{quick}")).section("[log]\nlevel = \"debug\"\n");
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
