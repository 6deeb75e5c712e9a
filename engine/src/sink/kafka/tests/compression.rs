//! Batches that travel compressed, and those that may not.

use super::rig::{Rig, config};
use super::{check, connected, digits, value};
use crate::ticket::{FailReason, Outcome};

#[test]
fn compressed_batches_arrive_and_are_cut_if_they_are_too_large() {
    for codec in ["gzip", "snappy", "lz4", "zstd"] {
        let mut rig = connected("", &format!("compression = \"{codec}\""));
        // Packed where it was filled, packed by the owner, and too small to shrink.
        rig.submit(0, 0, (0..50).map(|i| digits(i, 1_000)).collect());
        rig.submit(0, 1, (50..55).map(|i| value(i, 1_000)).collect());
        rig.submit(0, 2, vec![value(55, 9)]);
        rig.run_ms(1_000);
        check(&rig, 0, true);
        assert!(rig.world.cluster.packed >= 2, "{codec}: {}", rig.world.cluster.packed);
        let before = rig.world.cluster.packed;
        rig.world.cluster.batch_bytes_max = 10_000;
        rig.submit(0, 0, (100..150).map(|i| digits(i, 1_000)).collect());
        rig.submit(0, 0, vec![digits(150, 30_000)]);
        rig.submit(0, 0, vec![value(151, 30_000)]);
        rig.run_ms(10_000);
        check(&rig, 0, true);
        assert!(rig.sent[3].too_large && rig.world.cluster.too_large > 2, "{codec}");
        assert_eq!(rig.sent[4].outcome, Some(Outcome::Failed(FailReason::TooLarge)), "{codec}");
        assert!(matches!(rig.sent[5].outcome, Some(Outcome::Stored { .. })), "{codec}: it shrinks to nothing");
        assert!(codec == "snappy" || rig.world.cluster.packed > before + 3, "{codec}: pieces are packed too");
        assert_eq!(rig.world.cluster.topics["t"].logs[0].values.len(), 101);
    }
}

#[test]
fn a_broker_too_old_for_zstd_gets_batches_uncompressed() {
    let mut rig = Rig::new(1, 2, &config("", "compression = \"zstd\""));
    rig.world.cluster.create("t", 4);
    rig.world.cluster.produce_version = 7;
    let burst = |rig: &mut Rig, first: u64| {
        rig.submit(0, 0, (first..first + 50).map(|i| digits(i, 1_000)).collect());
        rig.submit(0, 1, (first + 50..first + 55).map(|i| value(i, 1_000)).collect());
    };
    burst(&mut rig, 0);
    rig.run_ms(1_000);
    let packed = rig.world.cluster.packed;
    assert_eq!((packed, rig.writer.counts(0).uncompressed), (2, 0));
    // What has been sent to brokers of today finds older ones when its links are there again.
    rig.world.mute = vec![true; 2];
    burst(&mut rig, 100);
    rig.run_ms(100);
    rig.world.mute = vec![false; 2];
    rig.world.cluster.produce_version = 6;
    (0..2).for_each(|broker| rig.cut_off(broker));
    burst(&mut rig, 200);
    rig.run_ms(5_000);
    check(&rig, 0, true);
    assert_eq!(rig.world.cluster.packed, packed + 2, "those that were sent before, and none after");
    assert_eq!(rig.world.cluster.topics["t"].logs[0].values.len(), 150, "each once, under its own number");
    assert!(rig.writer.counts(0).uncompressed >= 2, "{}", rig.writer.counts(0).uncompressed);
    assert_eq!(rig.notes.iter().filter(|note| note.contains("older than Kafka 2.1")).count(), 1, "{:?}", rig.notes);
}
