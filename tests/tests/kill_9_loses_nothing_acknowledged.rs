//! kill -9 at any instant loses nothing that was acknowledged, and the proof of that can fail.
//!
//! Setup: the bench harness starts a node, with its own log or with a real Kafka behind it, and loads it with workload `a`:
//! 50 clients with 100 PUBLISHes open each. A second process of the harness sends them, and writes down what it is about to
//! send and what was acknowledged. Action: that process kills the node at a random instant with at least 1,000 PUBLISHes
//! open; the node is started again on its data. Expectation, ten times in a row: what was acknowledged is there, once, whole
//! and in its client's order.
//!
//! The control is the same binary with the bug `ack-early` planted by a variable, and must be convicted. Bugs can be planted
//! wherever debug assertions are on, as they are here; a release build holds none, so there the control is left out.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::OnceLock;

use aqueduct_tests::support::{build, node, peer};
use serde_json::Value;

/// Kills of a node that keeps its promise.
const CYCLES: usize = 10;
/// Kills of the liar; one would do where it is loaded as heavily as this.
const CONTROL_CYCLES: usize = 3;
/// Exit code of the harness where Java or Maven is missing.
const MISSING: i32 = 77;

#[test]
fn with_the_embedded_log() {
    check("embedded");
}

#[test]
fn with_real_kafka() {
    check("kafka");
}

fn check(connector: &str) {
    let honest = kill(connector, node::binary(), CYCLES, &[], None);
    if honest.status.code() == Some(MISSING) {
        return peer::skip("AQUEDUCT_REQUIRE_KAFKA", &said(&honest));
    }
    let survived = cycles(&honest, CYCLES);
    assert!(honest.status.success(), "{}", said(&honest));
    for cycle in &survived {
        for fault in ["lost", "duplicated", "reordered", "corrupt"] {
            assert_eq!(cycle[fault], 0, "{fault}: {cycle}");
        }
        assert!(cycle["open_at_kill"].as_u64() >= Some(1_000), "{cycle}");
    }
    // Whoever acknowledges nothing loses nothing.
    assert!(sum(&survived, "acknowledged") > 10_000, "{}", said(&honest));

    if cfg!(debug_assertions) {
        // Not AQUEDUCT_BIN, which may be a release build.
        let liar = build::binary("aqueduct");
        let control = kill(connector, &liar, CONTROL_CYCLES, &["--expect-loss"], Some("ack-early"));
        let lost = sum(&cycles(&control, CONTROL_CYCLES), "lost");
        assert!(control.status.success() && lost > 0, "the liar was not convicted\n{}", said(&control));
    }
}

fn kill(connector: &str, binary: &Path, cycles: usize, more: &[&str], plant: Option<&str>) -> Output {
    static HARNESS: OnceLock<PathBuf> = OnceLock::new();
    let mut command = Command::new(HARNESS.get_or_init(|| build::binary("aqueduct-bench")));
    command.args(["kill", "--json", "--connector", connector, "--cycles", &cycles.to_string(), "--binary"]);
    command.arg(binary).args(more).env_remove("AQUEDUCT_PLANT");
    if let Some(plant) = plant {
        command.env("AQUEDUCT_PLANT", plant);
    }
    command.output().expect("the harness starts")
}

/// One line of JSON a cycle.
fn cycles(output: &Output, expected: usize) -> Vec<Value> {
    let lines = String::from_utf8_lossy(&output.stdout);
    let cycles: Vec<Value> = lines.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
    assert_eq!(cycles.len(), expected, "cycles with a verdict\n{}", said(output));
    cycles
}

fn sum(cycles: &[Value], field: &str) -> u64 {
    cycles.iter().filter_map(|cycle| cycle[field].as_u64()).sum()
}

fn said(output: &Output) -> String {
    let [said, errors] = [&output.stdout, &output.stderr].map(|stream| String::from_utf8_lossy(stream));
    format!("{}\n{said}\n{errors}", output.status)
}
