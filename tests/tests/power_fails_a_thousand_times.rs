//! The power fails a thousand times, and what was acknowledged from a buffer on disk is in Kafka in the end.
//!
//! Setup: real Kafka, a node whose sinks acknowledge from buffers on disk (ext4 on an image of its own), sixteen clients in a process
//! that no fault touches, which write down what they send before they send it. Action: about once a second the file system is shut down
//! without its journal, the node is killed, the file system is mounted again and the node started; eight seconds of each twelve Kafka
//! hangs, so that buffers grow over several cuts, are read back and are emptied. Expectation: the ledger finds every acknowledged
//! message, whole, under its key, and each client's in its order; every start succeeded.
//!
//! It takes twenty minutes, as root, with `AQUEDUCT_LONG=1`; `the_node_fails` cuts the power a few times in seconds.

use aqueduct_tests::support::chaos::{Chaos, is_long_wanted};

const CUTS: u64 = 1_000;

#[test]
fn a_thousand_power_cuts_lose_nothing_acknowledged() {
    if !is_long_wanted() {
        return;
    }
    let Some(verdict) = Chaos::plan(&plan()).on_disk().acquitted() else { return };
    assert_eq!(verdict.count("restarts"), CUTS, "{}", verdict.said());
}

/// Cuts come from 0.8 s to 1.2 s after one another, so that they fall into starts, into the reading of what is there, into full and into
/// empty buffers.
fn plan() -> String {
    let (mut at_ms, mut chance, mut faults) = (3_000, 1_u64, Vec::new());
    for _ in 0..CUTS {
        chance = chance.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        at_ms += 800 + (chance >> 33) % 400;
        faults.push(format!("power-cut@{:.3}+0.05", at_ms as f64 / 1000.0));
    }
    faults.extend((2..at_ms / 1000).step_by(12).map(|at| format!("broker-pause=1@{at}+8")));
    faults.join(",")
}
