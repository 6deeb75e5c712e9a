//! Every message, in `problems.md`: the mistake, then what a user sees. `AQUEDUCT_BLESS=1` writes the page anew.

use super::*;

/// A mistake, and the text with it; `BASE` stands before texts that begin with a key of a sink.
const MISTAKES: &[(&str, &str)] = &[
    ("an unknown option", "max_inflght = 5\n"),
    ("an unknown option like none", "[node]\ncolour = \"blue\"\n"),
    ("an unknown option in an inline table", "buffer = { mod = \"memory\" }\n"),
    ("an unknown section", "[conectors.k]\n"),
    ("a wrong type", "max_inflight = \"5\"\n"),
    ("a size without a unit", "max_batch_bytes = 900000\n"),
    ("a size that is none", "max_batch_bytes = \"896 KiB\"\n"),
    ("a duration without a unit", "linger = 5\n"),
    ("a number out of range", "[mqtt]\nreceive_maximum = 70000\n"),
    ("a word that is not offered", "query_mode = \"synch\"\n"),
    ("a word for a later version", "[listeners.tls]\nkind = \"tls\"\nbind = \"127.0.0.1:8883\"\n"),
    ("an impossible template", "key = \"device-${clientd}\"\n"),
    ("a template that never ends", "key = \"t-${clientid\"\n"),
    ("headers from more than one placeholder", "headers = \"x${payload.h}\"\n"),
    ("a header without a value", "ext_headers = [{ key = \"a\", value = \"1\" }, { key = \"b\" }]\n"),
    ("a header from nowhere", "ext_headers = [{ key = \"a\", value = \"${clientd}\" }]\n"),
    ("a topic from what cannot be", "[sinks.x]\nconnector = \"k\"\ntopic = \"t-${clientd}\"\n"),
    ("a topic that no message can name", "[sinks.x]\nconnector = \"k\"\ntopic = \"t/${clientid}\"\n"),
    (
        "a topic from messages in the local log",
        "[connectors.log]\ntype = \"embedded\"\nbind = \"127.0.0.1:9192\"\n\
         [sinks.x]\nconnector = \"log\"\ntopic = \"t-${clientid}\"\n",
    ),
    ("an impossible Kafka topic", "[sinks.x]\nconnector = \"k\"\ntopic = \"plant 3/temperature\"\n"),
    ("an impossible filter", "[sinks.x]\nconnector = \"k\"\ntopic = \"t\"\nsource_topics = [\"ok/#\", \"a/#/b\"]\n"),
    ("a bind that is no address", "[listeners.tcp]\nbind = \"example.org:1883\"\n"),
    ("a listener for strangers", "[listeners.tcp]\nbind = \"0.0.0.0:1883\"\n"),
    ("a listener for nobody", "[listeners.tcp]\nbind = \"127.0.0.1:1883\"\nallow_anonymous = false\n"),
    ("a data directory that cannot be written", "[node]\ndata_dir = \"/proc/version/aqueduct\"\n"),
    ("a host that is none", "[connectors.x]\nbootstrap_hosts = [\"a:9092\", \"http://b\"]\n"),
    ("a reference to nothing", "[sinks.x]\nconnector = \"kk\"\ntopic = \"t\"\n"),
    ("a missing option", "[sinks.x]\nconnector = \"k\"\n"),
    ("an option of another type", "[connectors.log]\ntype = \"embedded\"\nbootstrap_hosts = \"kafka:9092\"\n"),
    ("more batches than order bears", "max_inflight = 6\n"),
    ("sizes that contradict each other", "max_batch_bytes = \"64KB\"\nbatch_target_bytes = \"128KB\"\n"),
    ("a level the codec does not have", "compression = \"gzip\"\ncompression_level = 12\n"),
    ("a level for a codec without levels", "compression = \"lz4\"\ncompression_level = 3\n"),
    ("a level far out of range", "compression = \"zstd\"\ncompression_level = 23\n"),
    ("a request given up before its answer is due", "ack_timeout = \"30s\"\n"),
    (
        "a sink on a connector that is off",
        "[connectors.off]\nenable = false\n[sinks.x]\nconnector = \"off\"\ntopic = \"t\"\n",
    ),
    (
        "two sockets on one port",
        "[connectors.log]\ntype = \"embedded\"\n[listeners.tcp]\nbind = \"0.0.0.0:9092\"\nallow_anonymous = true\n",
    ),
    ("a name with a blank", "[listeners.\"front door\"]\nbind = \"127.0.0.1:1883\"\n"),
    ("broken TOML", "linger = 5ms\n"),
    ("a secret that is not there", "[http]\ntoken = { env = \"AQUEDUCT_NO_SUCH_VARIABLE\" }\n"),
    ("several mistakes", "linger = 5\n[node]\nname = \"a b\"\n[mqt]\n"),
    ("fewer acknowledgements", "required_acks = \"leader_only\"\n"),
    ("no idempotence", "idempotence = false\n"),
    ("a delivery that cannot wait", "query_mode = \"async\"\ndeliver = \"after_kafka\"\n"),
    ("no dead letter sink", "query_mode = \"sync\"\n"),
    ("a dead letter that turns in a circle", "dead_letter = \"s\"\n"),
    (
        "a dead letter that goes on and on",
        "dead_letter = \"a\"\n[sinks.a]\nconnector = \"k\"\ntopic = \"a\"\ndead_letter = \"b\"\n\
         [sinks.b]\nconnector = \"k\"\ntopic = \"b\"\n",
    ),
    ("a dead letter anywhere", "dead_letter = \"a\"\n[sinks.a]\nconnector = \"k\"\ntopic = \"a-${clientid}\"\n"),
    ("a dead letter for nobody", "dead_letter = \"a\"\n[sinks.a]\nconnector = \"k\"\ntopic = \"a\"\nenable = false\n"),
    (
        "a user without a password",
        "[connectors.x]\nauthentication = { mechanism = \"plain\", username = \"u\" }\ntls.enable = true\n",
    ),
    (
        "an option of another mechanism",
        "[connectors.x]\nauthentication = { mechanism = \"gssapi\", password = \"not shown\" }\n",
    ),
    ("a mechanism that is none", "[connectors.x]\nauthentication = \"scram\"\n"),
    (
        "a password for everybody on the way",
        "[connectors.x]\nauthentication = { mechanism = \"plain\", username = \"u\", password = \"not shown\" }\n",
    ),
    ("a broker that proves nothing", "[connectors.x]\ntls = { enable = true, verify = \"verify_none\" }\n"),
    (
        "versions of TLS that are dropped",
        "[connectors.x]\ntls = { enable = true, versions = [\"tlsv1.3\", \"tlsv1.1\"] }\n",
    ),
    ("versions of TLS that are not safe", "[connectors.x]\ntls = { enable = true, versions = [\"tlsv1.1\"] }\n"),
    ("a cipher suite that is none", "[connectors.x]\ntls = { enable = true, ciphers = [\"AES256-SHA\"] }\n"),
    (
        "cipher suites of other versions",
        "[connectors.x]\ntls = { enable = true, versions = \"tlsv1.3\", ciphers = \"ECDHE-RSA-AES256-GCM-SHA384\" }\n",
    ),
    ("half of a key pair", "[connectors.x]\ntls = { enable = true, certfile = \"client.pem\" }\n"),
    (
        "a token endpoint that is none",
        "[connectors.x]\nauthentication = { mechanism = \"oauthbearer\", token_endpoint = \"login.test\", client_id = \"c\", \
         client_secret = \"not shown\" }\n",
    ),
    ("HTTP for strangers", "[http]\nbind = \"0.0.0.0:18083\"\n"),
    ("nothing to do", "enable = false\n"),
];

fn page() -> String {
    let mut page = String::from("# What a user sees of each mistake\n");
    for (mistake, text) in MISTAKES {
        let text = format!("{BASE}{text}");
        let said = match load(&text) {
            Ok(loaded) => rendered(loaded.warnings.iter().filter(|warning| is_about(mistake, warning))),
            Err(problems) => rendered(problems.iter()),
        };
        page.push_str(&format!("\n## {mistake}\n\n```text\n{said}```\n"));
    }
    page
}

/// `BASE` has no listener and no dead-letter sink, which only a page or two are about.
fn is_about(mistake: &str, warning: &Problem) -> bool {
    let listens = *mistake == *"nothing to do" || !warning.message().starts_with("there is no listener");
    let buries = mistake.contains("dead letter") || !warning.message().contains("dead_letter` is not set");
    listens && buries
}

#[test]
fn each_mistake_has_its_message() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/src/config/tests/problems.md");
    let page = page();
    if std::env::var_os("AQUEDUCT_BLESS").is_some() {
        std::fs::write(path, page).unwrap();
        return;
    }
    let expected = std::fs::read_to_string(path).unwrap();
    for (found, expected) in page.split("\n## ").zip(expected.split("\n## ")) {
        assert_eq!(found, expected, "if the new message is better, run the test with AQUEDUCT_BLESS=1");
    }
    assert_eq!(page.len(), expected.len());
}
