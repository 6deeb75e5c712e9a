//! Row T06 of docs/explanation/faults.md: the disk of one broker of three takes 1 MB a second. Partitions that it does not hold keep nine
//! tenths of their rate.
//!
//! Setup: three brokers, each of which keeps its data on a disk of its own; topics without replicas, whose leaders would wait for whoever
//! is slow; clients, each bound to a partition by its key, on a schedule that brings each broker more than twice as much as a slow disk
//! will take. Action: the disk of one is limited for eight seconds. Expectation: clients whose partition lies on it get their
//! acknowledgements at its pace, the others at theirs; in the end everything is there, once, in order.

use aqueduct_tests::support::chaos::Chaos;

#[test]
fn other_partitions_keep_their_rate() {
    let alone = ["--replicas", "1", "--broker-set", "min.insync.replicas=1"];
    // Whichever partitions a broker leads, at least eleven of the clients belong to it: 2.2 MB a second.
    let load = ["--clients", "48", "--window", "256", "--payload-bytes", "8192", "--qos", "1", "--rate", "1200"];
    let chaos = Chaos::plan("slow-disk=2@5+8").three_brokers().with(&alone).with(&load);
    let Some(verdict) = chaos.acquitted() else { return };
    let rate = |whose: &str| verdict.json["faults"][0][whose].as_f64();
    println!("others kept {:.2?} of their rate, its own {:.2?}", rate("others_rate"), rate("struck_rate"));
    assert!(rate("struck_rate").is_some_and(|rate| rate < 0.7), "the disk was slow\n{}", verdict.said());
    assert!(rate("others_rate").is_some_and(|rate| rate >= 0.9), "the others are not\n{}", verdict.said());
}
