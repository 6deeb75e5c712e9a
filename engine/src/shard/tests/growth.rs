//! A topic that grows: which records go where, and when.

use super::rig::{Rig, publish, settings, sink};
use crate::config::{BufferMode, PartitionStrategy};
use crate::log::DiskOp;
use crate::log::journal::{JournalId, JournalOp, JournalStart, rig::found};
use crate::shard::SinkSettings;
use crate::sink::Writer;
use crate::sink::script::Script;
use crate::ticket::Outcome;

const STORED: Outcome = Outcome::Stored { base_offset: 0 };

/// A rig with a record on its way to the only partition of a topic that has grown to eight since.
fn grown(strategy: PartitionStrategy) -> (Rig, crate::shard::io::ConnKey, String) {
    let sink = SinkSettings { partition_strategy: strategy, ..sink() };
    let mut rig = Rig::with_writer(settings(vec![sink]), Writer::Script(Script::new(Some(1))));
    let moves = |client: &String| kafka::partitioner::partition_for_key(client.as_bytes(), 8) != 0;
    let client = (0..).map(|n| format!("device-{n}")).find(moves).expect("one of many");
    let conn = rig.connect(&client, 4);
    rig.feed(conn, &publish(4, 1, 1, "t", b"before"));
    rig.after_ms(20);
    assert_eq!(script(&mut rig).open.len(), 1);
    script(&mut rig).partitions = Some(8);
    script(&mut rig).changed = true;
    rig.feed(conn, &publish(4, 1, 2, "t", b"after"));
    rig.after_ms(20);
    (rig, conn, client)
}

fn script(rig: &mut Rig) -> &mut Script {
    let Writer::Script(script) = &mut rig.shard.writers[0] else { panic!("a script") };
    script
}

#[test]
fn keys_move_when_all_that_was_placed_before_has_its_outcome() {
    let (mut rig, conn, client) = grown(PartitionStrategy::KeyDispatch);
    assert_eq!(script(&mut rig).open.len(), 1, "the second waits for the first");
    script(&mut rig).answer(0, STORED);
    (0..5).for_each(|_| _ = rig.after_ms(10));
    let batch = &script(&mut rig).open[0];
    assert_eq!(batch.part.partition, kafka::partitioner::partition_for_key(client.as_bytes(), 8));
    script(&mut rig).answer(0, STORED);
    (0..5).for_each(|_| _ = rig.after_ms(10));
    assert_eq!(rig.sent(conn), [0x40, 2, 0, 1, 0x40, 2, 0, 2]);
}

#[test]
fn a_partition_without_an_answer_does_not_keep_them_for_good() {
    let (mut rig, _, _) = grown(PartitionStrategy::KeyDispatch);
    rig.after_ms(29_000);
    assert_eq!(script(&mut rig).open.len(), 1);
    (0..5).for_each(|_| _ = rig.after_ms(500));
    assert_eq!(script(&mut rig).open.len(), 2);
}

#[test]
fn records_without_a_place_of_their_own_do_not_wait() {
    let (mut rig, _, _) = grown(PartitionStrategy::Random);
    assert_eq!(script(&mut rig).open.len(), 2);
}

/// A shard that starts on a buffer, of a topic that had one partition then and has eight now; the partition of the batch that goes to
/// the disk next, if any does within the time.
fn appended_after(ms: u64, start: JournalStart) -> Option<u32> {
    let disk = SinkSettings { buffer: BufferMode::Disk, partition_strategy: PartitionStrategy::KeyDispatch, ..sink() };
    let mut rig = Rig::with_writer(settings(vec![disk]), Writer::Script(Script::new(Some(8))));
    rig.shard = rig.shard.with_journals(vec![JournalStart { topic_partitions: 1, ..start }]);
    let moves = |client: &String| kafka::partitioner::partition_for_key(client.as_bytes(), 8) != 0;
    let client = (0..).map(|n| format!("device-{n}")).find(moves).expect("one of many");
    let conn = rig.connect(&client, 4);
    rig.feed(conn, &publish(4, 1, 1, "t", b"new"));
    (0..ms / 10).for_each(|_| _ = rig.after_ms(10));
    rig.world.disk.iter().find_map(|op| match op {
        DiskOp::Journal(JournalOp::Append { batches, .. }) => batches.first().map(|batch| batch.part.partition),
        _ => None,
    })
}

#[test]
fn keys_wait_for_what_an_earlier_start_has_left_on_disk_but_not_for_good() {
    assert_eq!(
        appended_after(20_000, found(0, JournalId(7), 3)),
        None,
        "what was placed by the old number lies on disk"
    );
    assert!(appended_after(31_000, found(0, JournalId(7), 3)).is_some_and(|partition| partition != 0));
    let nothing = JournalStart::empty(0, JournalId(7), 2);
    assert!(appended_after(100, nothing).is_some_and(|partition| partition != 0), "nothing is waited for");
}
