//! Topics that messages name.

use super::rig::{Rig, publish, settings, sink};
use crate::config::PartitionStrategy;
use crate::rule::{Columns, Template};
use crate::shard::SinkSettings;
use crate::shard::io::ConnKey;
use crate::sink::Writer;
use crate::sink::script::Script;
use crate::ticket::Outcome;

const STORED: Outcome = Outcome::Stored { base_offset: 0 };

fn script(rig: &mut Rig) -> &mut Script {
    let Writer::Script(script) = &mut rig.shard.writers[0] else { panic!("a script") };
    script
}

/// A sink with the topic `t-<payload.site>`, at most two of them live.
fn live(dead_letter: Option<u16>) -> Vec<SinkSettings> {
    let mut first = SinkSettings { live_topics_max: 2, dead_letter, ..sink() };
    first.route.topic = Some(Template::compile("t-${payload.site}", Columns::Publish).unwrap());
    let second = SinkSettings { route: super::rig::sink_with("never", "null").route, ..sink() };
    vec![first, second]
}

fn rig(dead_letter: Option<u16>) -> Rig {
    Rig::with_writer(settings(live(dead_letter)), Writer::Script(Script::new(Some(3))))
}

fn say(rig: &mut Rig, conn: ConnKey, id: u16, payload: &str) {
    rig.feed(conn, &publish(5, 1, id, "t", payload.as_bytes()));
    rig.round();
}

/// Topics of the batches that have no outcome.
fn open(rig: &mut Rig) -> Vec<String> {
    script(rig).open.iter().map(|batch| batch.topic_name.clone()).collect()
}

fn audit(rig: &mut Rig) {
    let outside_bytes = script(rig).batches().map(|b| b.charge_bytes).sum();
    rig.shard.audit(outside_bytes);
}

#[test]
fn each_site_has_its_topic_and_the_idle_one_gives_way() {
    let mut rig = rig(None);
    let conn = rig.connect("c", 5);
    say(&mut rig, conn, 1, r#"{"site":"a"}"#);
    say(&mut rig, conn, 2, r#"{"site":"b"}"#);
    say(&mut rig, conn, 3, r#"{"site":"a"}"#);
    assert_eq!(open(&mut rig), ["t-a", "t-b", "t-a"]);
    let parts: Vec<_> = script(&mut rig).open.iter().map(|batch| (batch.part.partition, batch.slot)).collect();
    assert_eq!(parts[0], parts[2], "one key, one partition");
    assert_ne!(parts[0].1, parts[1].1, "another topic has slots of its own");
    // A third one waits until one of the two has nothing open.
    say(&mut rig, conn, 4, r#"{"site":"c"}"#);
    assert_eq!((open(&mut rig).len(), rig.shard.counters.backpressure_paused), (3, 1));
    audit(&mut rig);
    script(&mut rig).answer(1, STORED);
    rig.round();
    rig.round();
    assert_eq!(open(&mut rig), ["t-a", "t-a", "t-c"]);
    let live = rig.shard.sinks[0].live.as_ref().unwrap();
    assert_eq!((live.len(), live.evicted), (2, 1));
    (0..3).for_each(|_| script(&mut rig).answer(0, STORED));
    rig.round();
    let acks: Vec<u8> = rig.sent(conn).chunks(4).map(|ack| ack[3]).collect();
    assert_eq!(acks, [1, 2, 3, 4]);
    audit(&mut rig);
    assert_eq!(rig.shard.charged_bytes().0, 0);
}

#[test]
fn a_name_that_cannot_be_is_refused() {
    let mut rig = rig(None);
    let conn = rig.connect("c", 5);
    for (id, payload) in (1..).zip([r#"{"site":"a b"}"#, r#"{"other":1}"#, "no JSON", r#"{"site":null}"#]) {
        say(&mut rig, conn, id, payload);
        let sent = rig.sent(conn);
        assert_eq!((sent[0], sent[3], sent[4]), (0x40, id as u8, 0x83), "{payload}");
    }
    assert!(open(&mut rig).is_empty());
    let counters = rig.shard.sink_counters[0];
    assert_eq!((counters.matched, counters.failed, counters.dead_lettered), (4, 4, 0));
}

#[test]
fn or_it_goes_to_the_dead_letters() {
    let mut rig = rig(Some(1));
    let conn = rig.connect("c", 5);
    say(&mut rig, conn, 1, r#"{"site":"a b"}"#);
    assert!(rig.sent(conn).is_empty(), "not before it is stored");
    let batch = &script(&mut rig).open[0];
    assert_eq!((batch.part.sink, batch.records, batch.topic_name.as_str()), (1, 1, ""));
    let bytes = String::from_utf8_lossy(&batch.bytes).into_owned();
    assert!(
        bytes.contains("aqueduct.topic") && bytes.contains("t-a b") && !bytes.contains("aqueduct.partition"),
        "{bytes}"
    );
    script(&mut rig).answer(0, STORED);
    rig.round();
    assert_eq!(rig.sent(conn), [0x40, 2, 0, 1]);
    audit(&mut rig);
}

/// Answers whatever waits, until nothing comes after it.
fn store_all(rig: &mut Rig) {
    for _ in 0..100 {
        rig.round();
        while !script(rig).open.is_empty() {
            script(rig).answer(0, STORED);
        }
    }
}

/// Three records that can never be written share one dead-letter sink, which chooses at random, and little memory.
#[test]
fn several_sinks_may_share_the_dead_letters_and_the_last_of_the_memory() {
    let grave = SinkSettings { partition_strategy: PartitionStrategy::Random, ..live(None).swap_remove(1) };
    let mut sinks: Vec<_> = (0..3).map(|_| live(Some(3)).swap_remove(0)).collect();
    sinks.push(grave);
    let mut small = settings(sinks);
    small.memory_bytes = 40_000;
    small.pool_bytes = 0;
    let mut rig = Rig::with_writer(small, Writer::Script(Script::new(Some(3))));
    let conn = rig.connect("c", 5);
    let mut answered = Vec::new();
    for id in 1..=100u16 {
        let payload = format!(r#"{{"site":"a b","fill":"{}"}}"#, "x".repeat(usize::from(id * 37 % 1_500)));
        say(&mut rig, conn, id, &payload);
        audit(&mut rig);
        if id % 20 == 0 {
            store_all(&mut rig);
        }
        answered.extend(rig.sent(conn).chunks(4).map(|ack| ack[3]));
    }
    store_all(&mut rig);
    answered.extend(rig.sent(conn).chunks(4).map(|ack| ack[3]));
    assert_eq!(answered, (1..=100).collect::<Vec<u8>>());
    assert!(rig.shard.counters.backpressure_pauses > 0, "memory was short");
    assert_eq!(rig.shard.sink_counters[3].matched, 300);
    audit(&mut rig);
    assert_eq!(rig.shard.charged_bytes().0, 0);
}

#[test]
fn keys_of_a_topic_that_grows_move_when_what_was_placed_before_has_its_outcome() {
    let mut rig = Rig::with_writer(settings(live(None)), Writer::Script(Script::new(Some(1))));
    let moves = |client: &String| kafka::partitioner::partition_for_key(client.as_bytes(), 8) != 0;
    let client = (0..).map(|n| format!("device-{n}")).find(moves).expect("one of many");
    let conn = rig.connect(&client, 5);
    say(&mut rig, conn, 1, r#"{"site":"a"}"#);
    script(&mut rig).partitions = Some(8);
    script(&mut rig).changed = true;
    say(&mut rig, conn, 2, r#"{"site":"a"}"#);
    (0..5).for_each(|_| _ = rig.after_ms(1_000));
    assert_eq!(open(&mut rig), ["t-a"], "the second waits for the first");
    script(&mut rig).answer(0, STORED);
    (0..5).for_each(|_| _ = rig.after_ms(10));
    let batch = &script(&mut rig).open[0];
    assert_eq!(batch.part.partition, kafka::partitioner::partition_for_key(client.as_bytes(), 8));
    script(&mut rig).answer(0, STORED);
    // One that gets no answer does not keep its keys for good.
    say(&mut rig, conn, 3, r#"{"site":"a"}"#);
    script(&mut rig).partitions = Some(9);
    script(&mut rig).changed = true;
    say(&mut rig, conn, 4, r#"{"site":"a"}"#);
    rig.after_ms(29_000);
    assert_eq!(open(&mut rig).len(), 1);
    (0..5).for_each(|_| _ = rig.after_ms(500));
    assert_eq!(open(&mut rig).len(), 2);
}
