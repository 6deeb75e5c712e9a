//! Row T12 of docs/explanation/faults.md: what lies in a buffer on disk is damaged while the node is down. It starts all the same, sends
//! everything else in order, and says to the record what it has lost.
//!
//! Setup: a node with a buffer on disk, real Kafka that hangs, 50,000 acknowledged messages in files of 1 MB. Action: kill -9; in
//! one entry a bit flips, in another a sector is torn, in the newest file, which has no footer yet, an entry's length is changed.
//! Expectation: missing in Kafka are the records of those three entries and no others; their bytes lie in `quarantine`; counters and
//! log say so.
//!
//! With clients of every kind and the ledger the same is shown of three entries of each of two buffers.
//!
//! The files are read here by their description in `engine/src/log/journal/entry.rs`, not by its code.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use aqueduct_tests::support::chaos::Chaos;
use aqueduct_tests::support::flow::publish_range;
use aqueduct_tests::support::kafka::Kafka;
use aqueduct_tests::support::node::{Node, Plan};
use aqueduct_tests::support::{peer, wait};
use serde_json::Value;

const CLIENTS: u32 = 4;
const EACH: u32 = 12_500;
/// Bytes before the records of an entry.
const ENVELOPE_LEN: usize = 61;
const SECTOR: usize = 512;

/// A message: client and number.
type Message = (u32, u32);

#[test]
fn and_is_told_to_the_record() {
    let kafka = match Kafka::start(1, "") {
        Ok(kafka) => kafka,
        Err(remedy) => return peer::skip("AQUEDUCT_REQUIRE_KAFKA", &remedy),
    };
    kafka.create_topic("damaged", 4);
    let mut node = Plan::kafka(kafka.bootstrap(), "damaged")
        .sink("value = \"${payload}\"\nquery_mode = \"async\"\nbuffer.mode = \"disk\"\nbuffer.segment_bytes = \"1MB\"")
        .start();
    publish_range(&node, CLIENTS, 0..1, payload);
    kafka.read_count("damaged", CLIENTS as usize);
    let frozen = kafka.freeze(1);
    publish_range(&node, CLIENTS, 1..EACH, payload);
    node.kill();
    let files = files(&node);
    assert!(files.len() > 4, "{} files", files.len());
    let newest = files.len() - 1;
    let flipped = damage(&files[1], |entry| entry[ENVELOPE_LEN + 100] ^= 0x10);
    let torn = damage(&files[2], |entry| entry[SECTOR..2 * SECTOR].fill(0));
    let cut = damage(&files[newest], |entry| entry[9] ^= 1);
    let lost: BTreeSet<Message> =
        [&flipped, &torn, &cut].into_iter().flat_map(|entry| entry.messages.clone()).collect();
    assert!(lost.len() > 3, "{lost:?}");
    node.start_again();
    drop(frozen);
    wait::until("the buffer is sent", 60, || (node.metrics().sink("buffer_disk_records") == 0.0).then_some(()));
    let all = (0..CLIENTS).flat_map(|client| (0..EACH).map(move |number| (client, number)));
    let found = found_in_order(&kafka);
    let missing: BTreeSet<Message> = all.filter(|message| !found.contains(message)).collect();
    assert_eq!(missing, lost, "the records of what was damaged, and no others");
    let metrics = node.metrics();
    assert_eq!(metrics.sink("buffer_damaged_total"), 3.0, "an alarm can be set on it");
    // What a footer lists is known to the record; what was found by the scan of a file without one is known by its bytes.
    let failed = (flipped.messages.len() + torn.messages.len()) as f64;
    assert_eq!(metrics.sink("failed_total"), failed);
    let (matched, parts) = metrics.accounts();
    assert_eq!(matched, parts);
    // Not each of them: the log says the same only so often.
    assert!(node.said().matches("are damaged").count() >= 2, "{}", node.said());
    let kept: BTreeSet<Vec<u8>> = fs::read_dir(buffer(&node).join("quarantine"))
        .expect("there is something")
        .map(|file| fs::read(file.expect("a file").path()).expect("it is readable"))
        .collect();
    let damaged: BTreeSet<Vec<u8>> = [flipped, torn, cut].into_iter().map(|entry| entry.bytes).collect();
    assert_eq!(kept, damaged, "to be looked at by people");
    assert!(node.terminate().success());
}

/// The ledger misses messages of the damaged entries, and no others; what is left comes once and in order.
#[test]
fn and_the_ledger_misses_nothing_else() {
    let load = ["--payload-bytes", "1024", "--rate", "4000"];
    let plan =
        Chaos::plan("broker-pause=1@3+8,bit-rot@9+0.3").on_disk().of_sinks("buffer.segment_bytes=1MB").with(&load);
    let Some(verdict) = plan.calm(3).judged() else { return };
    let damage = |name: &str| verdict.json["damage"][name].as_u64().unwrap_or_else(|| panic!("{}", verdict.said()));
    assert_eq!((damage("entries"), damage("counted"), damage("elsewhere")), (6, 6, 0), "{}", verdict.said());
    // What was acknowledged before the damage is nowhere else.
    assert!((6..=damage("messages")).contains(&verdict.count("lost")), "{}", verdict.said());
    assert!(verdict.count("dup_across") <= verdict.count("replayed"), "{}", verdict.said());
    assert_eq!((&verdict.json["clean"], verdict.count("restarts")), (&Value::Bool(true), 1), "{}", verdict.said());
}

fn payload(client: u32, number: u32) -> Vec<u8> {
    let mut payload = format!("<{client} {number}>").into_bytes();
    payload.resize(120, b'.');
    payload
}

fn buffer(node: &Node) -> PathBuf {
    node.folder().join("data/buffer/main")
}

/// The files of entries, oldest first.
fn files(node: &Node) -> Vec<PathBuf> {
    let entries = |folder: &Path| -> Vec<PathBuf> {
        fs::read_dir(folder).expect("a folder").map(|entry| entry.expect("an entry").path()).collect()
    };
    let mut files: Vec<PathBuf> =
        entries(&buffer(node)).iter().filter(|path| path.is_dir()).flat_map(|dir| entries(dir)).collect();
    files.retain(|path| path.extension().is_some_and(|extension| extension == "journal"));
    files.sort();
    files
}

struct Entry {
    /// As it lies on disk now.
    bytes: Vec<u8>,
    messages: Vec<Message>,
}

/// Damages an entry in the middle of a file.
fn damage(path: &Path, harm: impl FnOnce(&mut [u8])) -> Entry {
    let mut file = fs::read(path).expect("it is there");
    let number_at = |file: &[u8], at: usize| u32::from_be_bytes(file[at..at + 4].try_into().expect("4 bytes")) as usize;
    let mut entries = Vec::new();
    let mut at = 0;
    while file[at..].starts_with(b"AQJ1") {
        let bytes = number_at(&file, at + 8);
        entries.push((at, bytes));
        at += bytes;
    }
    // One that a torn sector of its own fits in, with neighbours on both sides.
    let inner = &entries[1..entries.len() - 1];
    let (at, bytes) = *inner.iter().find(|(_, bytes)| *bytes > 3 * SECTOR).expect("an entry of some size");
    let records = number_at(&file, at + 24);
    let messages = messages(&file[at..at + bytes]);
    assert_eq!(messages.len(), records, "what the envelope says");
    harm(&mut file[at..at + bytes]);
    fs::write(path, &file).expect("it is writable");
    Entry { bytes: file[at..at + bytes].to_vec(), messages }
}

/// The messages whose payloads stand in these bytes.
fn messages(bytes: &[u8]) -> Vec<Message> {
    let text: String = bytes.iter().map(|&byte| char::from(byte)).collect();
    let message = |part: &str| {
        let (client, number) = part.split_once('>')?.0.split_once(' ')?;
        Some((client.parse().ok()?, number.parse().ok()?))
    };
    text.split('<').filter_map(message).collect()
}

/// What is in Kafka, each client's first copies in order.
fn found_in_order(kafka: &Kafka) -> BTreeSet<Message> {
    let mut found = BTreeSet::new();
    let mut newest: BTreeMap<u32, u32> = BTreeMap::new();
    for record in kafka.read("damaged") {
        let message = messages(&record.value.unwrap_or_default());
        let &[(client, number)] = &message[..] else { panic!("a stranger's: {message:?}") };
        if found.insert((client, number)) {
            let newest = newest.entry(client).or_default();
            assert!(number >= *newest, "client {client}: {number} after {newest}");
            *newest = number;
        }
    }
    found
}
