//! A topic that grows: which records go where, and when.

use super::rig::{Rig, publish, settings, sink};
use crate::config::PartitionStrategy;
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
