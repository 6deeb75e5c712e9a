//! Row T06 of docs/explanation/faults.md: the disk of one broker of three takes 1 MB a second. Partitions that it does not hold keep nine
//! tenths of their rate.
//!
//! Setup: three brokers, each of which keeps its data on a disk of its own; topics without replicas, whose leaders would wait for whoever
//! is slow; clients, each bound to a partition by its key, on a schedule that brings each broker more than twice as much as a slow disk
//! will take. Action: the disk of one is limited for eight seconds. Expectation: clients whose partition lies on it get their
//! acknowledgements at its pace, the others at theirs; in the end everything is there, once, in order.

use aqueduct_tests::support::chaos::Chaos;

/// Messages a second. Whichever partitions a broker leads, at least ten of the clients belong to it: 2.2 MB a second.
const PACE: u32 = 1_300;

#[test]
fn other_partitions_keep_their_rate() {
    let alone = ["--replicas", "1", "--broker-set", "min.insync.replicas=1"];
    let load = ["--clients", "48", "--window", "256", "--payload-bytes", "8192", "--qos", "1"];
    let chaos = Chaos::plan("slow-disk=2@5+8").three_brokers().with(&alone).with(&load);
    let Some(verdict) = chaos.with(&["--rate", &PACE.to_string()]).acquitted() else { return };
    let fault = &verdict.json["faults"][0];
    let rates = [&verdict.json["rate_before"], &fault["others_rate"], &fault["struck_rate"]].map(|rate| rate.as_f64());
    let [Some(before), Some(others), Some(struck)] = rates else { panic!("no rates\n{}", verdict.said()) };
    println!("{before:.0} a second before; others kept {others:.2} of it, those behind the disk {struck:.2}");
    assert!(struck < 0.7, "the disk was slow\n{}", verdict.said());
    // What a start held up and was made up for says nothing of their pace.
    let made_up = (before / f64::from(PACE)).max(1.0);
    assert!(others * made_up >= 0.9, "the others are not\n{}", verdict.said());
}
