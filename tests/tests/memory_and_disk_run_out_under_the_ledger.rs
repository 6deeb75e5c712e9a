//! Kafka takes nothing for longer than memory lasts, or the disk of a buffer is full: what was acknowledged is in Kafka in the end, once and
//! in order.
//!
//! Setup: a broker, a node with a sink on each of two topics and little room, clients of every kind in a process that no fault touches, which
//! writes down what it sends before it sends it. Action: the broker stands still until more waits than there is room for, and goes on.
//! Expectation: the ledger finds nothing lost, doubled, out of order, changed or in the wrong place; who has no room takes nothing, and
//! sends nobody away for it.
//!
//! How single clients see this, and what becomes of QoS 0, is in `memory_stays_bounded_while_kafka_is_away.rs`,
//! `memory_ends_and_nobody_is_killed.rs` and `buffers_keep_what_kafka_does_not_take.rs`.

use aqueduct_tests::support::chaos::{Chaos, Verdict};
use serde_json::Value;

const MIB: u64 = 1 << 20;
/// What the node may have, in MB; the least it takes.
const MEMORY: &str = "node.memory_limit=64MB";
const MEMORY_BYTES: u64 = 64 * MIB;
/// How late an answer may be that was on its way when the broker was stopped; a fraction of how long it stands still.
const LATE_MS: u64 = 2_000;

/// Clients that have so much open together, if they are let: sixty-four windows.
fn load<'a>(window: &'a str, payload_bytes: &'a str, rate: &'a str) -> [&'a str; 8] {
    ["--clients", "64", "--window", window, "--payload-bytes", payload_bytes, "--rate", rate]
}

/// What the harness tells of a fault.
#[track_caller]
fn fault<'a>(verdict: &'a Verdict, name: &str) -> &'a Value {
    let faults = verdict.json["faults"].as_array().expect("faults");
    let named = faults.iter().find(|fault| fault["fault"].as_str().is_some_and(|fault| fault.starts_with(name)));
    named.unwrap_or_else(|| panic!("no {name}\n{}", verdict.said()))
}

#[track_caller]
fn number(of: &Value, name: &str) -> u64 {
    of[name].as_u64().unwrap_or_else(|| panic!("no {name} in {of}"))
}

/// From its beginning to its end nothing was acknowledged, and nobody had to go.
#[track_caller]
fn everybody_waited(verdict: &Verdict, during: &str) {
    let fault = fault(verdict, during);
    let lasted_ms = number(fault, "until_ms") - number(fault, "from_ms");
    assert!(number(fault, "silence_ms") + LATE_MS >= lasted_ms, "{}", verdict.said());
    assert_eq!(verdict.count("disconnects_unprovoked"), 0, "{}", verdict.said());
    assert_eq!(verdict.count("acked"), verdict.count("sent"), "{}", verdict.said());
}

/// While the broker stood still clients had more open than so many bytes: what exceeds them was not read, and waited in sockets.
#[track_caller]
fn more_was_open_than(bytes: u64, payload_bytes: u64, verdict: &Verdict) {
    let open_bytes = number(fault(verdict, "broker-pause"), "waiting") * payload_bytes;
    assert!(open_bytes > bytes, "{open_bytes} bytes were open, of {bytes}\n{}", verdict.said());
}

/// Row T04: the broker is away for longer than memory lasts. The node stops reading within its memory and a tenth.
#[test]
fn clients_wait_when_memory_is_full() {
    let load = load("128", "16384", "1200");
    let plan = Chaos::plan("broker-pause=1@3+10").with(&["--set", MEMORY]).with(&load).calm(3);
    let Some(verdict) = plan.acquitted() else { return };
    everybody_waited(&verdict, "broker-pause");
    more_was_open_than(MEMORY_BYTES * 3 / 2, 16_384, &verdict);
    let peak_bytes = verdict.count("rss_peak_bytes");
    assert!(peak_bytes < MEMORY_BYTES * 11 / 10, "{peak_bytes} bytes resident\n{}", verdict.said());
}

/// Row T14: the node is started in a control group of 256 MiB, of which nobody tells it, and the broker is away until more is open than
/// that. The kernel kills nobody.
#[test]
fn clients_wait_before_a_memory_group_is_full() {
    let load = load("200", "32768", "1500");
    let plan = Chaos::plan("memory=256@1+17,kill@2+0.2,broker-pause=1@4+10").with(&load).calm(3);
    let Some(verdict) = plan.acquitted() else { return };
    // A kill that the plan does not name would be a crash.
    assert_eq!((verdict.count("restarts"), &verdict.json["crashes"]), (1, &Value::Array(Vec::new())));
    everybody_waited(&verdict, "broker-pause");
    more_was_open_than(256 * MIB, 32_768, &verdict);
    // It plans with 70 % of what the group has.
    let (peak_bytes, planned_bytes) = (verdict.count("rss_peak_bytes"), 256 * MIB * 7 / 10);
    assert!(peak_bytes < planned_bytes * 11 / 10, "{peak_bytes} bytes resident\n{}", verdict.said());
}

/// Row T09: the disk of a buffer, from which is acknowledged, is full, while the broker stands still. Nothing is acknowledged until there
/// is room, and then within 5 s.
#[test]
fn clients_wait_when_the_disk_is_full() {
    // Not much of a file may lie before them that already has its room.
    let plan = Chaos::plan("broker-pause=1@2+10,disk-full@4+5").on_disk().of_sinks("buffer.segment_bytes=1MB");
    let Some(verdict) = plan.with(&["--payload-bytes", "4096"]).calm(3).acquitted() else { return };
    let full = fault(&verdict, "disk-full");
    let lasted_ms = number(full, "until_ms") - number(full, "from_ms");
    let silence_ms = number(full, "silence_ms");
    assert!(silence_ms > 2_000, "the disk was not felt\n{}", verdict.said());
    assert!(silence_ms < lasted_ms + 5_000, "{}", verdict.said());
    assert!(number(&verdict.json["own"], "buffer_failures") > 0, "{}", verdict.said());
    assert_eq!(verdict.count("disconnects"), 0, "{}", verdict.said());
    assert_eq!(verdict.count("acked"), verdict.count("sent"), "{}", verdict.said());
}

/// Rows T04 and T13, hybrid in sync: what exceeds the share of memory lies on disk, which acknowledges nothing. When the broker goes on,
/// what lay in memory and what lay on disk come in the order of their clients.
#[test]
fn what_a_hybrid_buffer_spills_is_not_acknowledged() {
    let load = load("100", "16384", "1200");
    let plan = Chaos::plan("broker-pause=1@3+10").buffered("hybrid").with(&["--set", MEMORY]).with(&load).calm(3);
    let Some(verdict) = plan.acquitted() else { return };
    everybody_waited(&verdict, "broker-pause");
    assert!(number(&verdict.json["own"], "buffer_syncs") > 0, "nothing was spilled\n{}", verdict.said());
    let peak_bytes = verdict.count("rss_peak_bytes");
    assert!(peak_bytes < MEMORY_BYTES * 11 / 10, "{peak_bytes} bytes resident\n{}", verdict.said());
}

/// Row T13, a buffer on disk in sync: the node is killed while everything lies there and nothing of it is acknowledged. The next one sends
/// it, and clients send it again.
#[test]
fn what_lies_on_disk_in_sync_is_not_acknowledged_by_the_next_node() {
    let load = load("100", "4096", "1200");
    let plan = Chaos::plan("broker-pause=1@3+9,kill@8+0.3").buffered("disk").with(&load).calm(3);
    let Some(verdict) = plan.acquitted() else { return };
    everybody_waited(&verdict, "broker-pause");
    assert!(verdict.count("replayed") > 1_000, "nothing lay on disk\n{}", verdict.said());
}

/// Row T13, hybrid in sync: the node is killed while most lies on disk and the oldest in memory alone. The next one sends what lies there;
/// the rest comes when its clients send it again, so it may come behind that, and nothing else may.
#[test]
fn what_a_hybrid_buffer_holds_when_the_node_is_killed_is_not_lost() {
    let load = ["--clients", "32", "--window", "100", "--payload-bytes", "16384", "--rate", "600"];
    let plan = Chaos::plan("broker-pause=1@3+10,kill@9+0.3").buffered("hybrid").with(&["--set", MEMORY]).with(&load);
    let Some(verdict) = plan.with(&["--late-resends"]).calm(3).acquitted() else { return };
    everybody_waited(&verdict, "broker-pause");
    assert!(verdict.count("replayed") > 1_000, "nothing was spilled\n{}", verdict.said());
}
