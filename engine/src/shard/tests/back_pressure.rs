//! A PUBLISH that does not fit is held with its connection, and nothing before it waits.

use super::rig::{Rig, publish, publish_unheard, settings, sink};
use crate::shard::SinkSettings;
use crate::sink::accumulator::BatchLimits;

#[test]
fn a_full_budget_holds_the_publish_and_answers_the_pings_before_it() {
    let lingering = SinkSettings {
        limits: BatchLimits { linger_ns: 1_000_000_000, target_bytes: 4 << 20, bytes_max: 4 << 20, ..sink().limits },
        ..sink()
    };
    let mut small = settings(vec![lingering]);
    small.memory_bytes = 1 << 20;
    let mut rig = Rig::new(small);
    let conn = rig.connect("c", 4);
    let mut bytes = Vec::new();
    for id in 1..=2000u16 {
        bytes.extend(publish(4, 1, id, "t", &[0; 1000]));
        if id == 3 {
            bytes.extend([0xc0, 0]);
        }
    }
    rig.feed(conn, &bytes);
    (0..20).for_each(|_| {
        rig.round();
    });
    assert_eq!(rig.sent(conn), [0xd0, 0], "the ping is answered while the publishes wait");
    assert_eq!(rig.shard.counters.backpressure_paused, 1);
    assert!(rig.shard.budget.used_bytes() <= 1 << 20);
    let placed = rig.shard.sink_counters[0].matched;
    assert!(placed > 3 && placed < 2000, "{placed}");

    let mut answered = 0;
    for _ in 0..50 {
        rig.after_ms(1_000);
        rig.round();
        answered += rig.sent(conn).chunks(4).filter(|c| c[0] == 0x40).count();
    }
    assert_eq!(answered, 2000, "and once batches leave, every publish is placed and answered");
    assert_eq!(rig.shard.counters.backpressure_paused, 0);
    assert_eq!(rig.shard.budget.used_bytes(), 0);
}

#[test]
fn a_client_that_does_not_read_its_acks_is_not_read_either() {
    let mut rig = Rig::new(settings(vec![sink()]));
    let conn = rig.connect("c", 4);
    publish_unheard(&mut rig, conn);
    let matched = rig.shard.sink_counters[0].matched;
    assert!(matched < 40_000, "{matched}");
    rig.world.send_room = usize::MAX;
    rig.shard.on_writable(conn);
    for _ in 0..50 {
        rig.round();
    }
    assert_eq!(rig.shard.sink_counters[0].success, 40_000);
    assert_eq!(rig.sent(conn).len(), 4 * 40_000);
}

#[test]
fn a_held_connection_is_read_for_a_packet_from_the_reserve_before_its_keep_alive_ends() {
    let lingering = BatchLimits { linger_ns: u64::MAX / 2, target_bytes: 4 << 20, bytes_max: 4 << 20, ..sink().limits };
    let mut small = settings(vec![SinkSettings { limits: lingering, ..sink() }]);
    // Room for one batch of 896 KiB and the reserve, and not for the smallest batch beside it.
    small.memory_bytes = 968_000;
    let mut rig = Rig::new(small);
    let hog = rig.connect("hog", 4);
    let hogging: Vec<u8> = (1..=1000).flat_map(|id| publish(4, 1, id, "t", &[0; 1000])).collect();
    rig.feed(hog, &hogging);
    (0..20).for_each(|_| {
        rig.round();
    });
    let partition = |client: &str| kafka::partitioner::partition_for_key(client.as_bytes(), 4);
    let elsewhere = (0..).map(|n| format!("device-{n}")).find(|c| partition(c) != partition("hog"));
    let device = rig.connect(&elsewhere.expect("one of many"), 4);
    // Its partition has no batch yet, and the budget no room for one.
    rig.feed(device, &[publish(4, 1, 1, "t", b"x"), vec![0xc0, 0]].concat());
    rig.after_ms(9_900);
    assert_eq!(rig.sent(device), [0u8; 0], "held, and its turn has not come: a quarter of 60 s, at most 10 s");
    assert_eq!(rig.shard.counters.backpressure_paused, 2);
    let matched = rig.shard.sink_counters[0].matched;
    rig.after_ms(200);
    assert!(rig.shard.sink_counters[0].matched > matched, "the reserve takes its PUBLISH");
    rig.after_ms(10_100);
    rig.round();
    assert_eq!(rig.sent(device), [0xd0, 0], "and, a turn later, its ping is answered");
}
