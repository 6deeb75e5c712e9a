//! `memory_overload_protection`: what a shard does when it hears that more memory is in use than the watermark.

use super::rig::{Rig, publish, settings, sink};
use crate::config::QueryMode;
use crate::shard::SinkSettings;
use crate::shard::control::Command;
use crate::shard::io::{Input, Machine as _};
use crate::sink::accumulator::BatchLimits;

/// A sink whose batches of 1 KB wait for half a second, protected from 2 KB a partition on.
fn protected(query_mode: QueryMode) -> Rig {
    let limits = BatchLimits { linger_ns: 500_000_000, bytes_max: 1_000, target_bytes: 1 << 20, ..sink().limits };
    // Nothing leaves.
    let limits = BatchLimits { inflight_max: 0, ..limits };
    Rig::new(settings(vec![SinkSettings { limits, query_mode, overload_bytes_max: Some(2_000), ..sink() }]))
}

fn overloaded(rig: &mut Rig, is_so: bool) {
    rig.shard.on(rig.now, Input::Command(Command::Overloaded(is_so)), &mut rig.world);
    rig.round();
}

fn ten_publishes() -> Vec<u8> {
    (1..=10).flat_map(|id| publish(4, 1, id, "t", &[b'x'; 400])).collect()
}

#[test]
fn in_async_the_oldest_go_until_few_are_left() {
    let mut rig = protected(QueryMode::Async);
    let conn = rig.connect("c", 4);
    rig.feed(conn, &ten_publishes());
    rig.round();
    assert_eq!(rig.shard.sink_counters[0].dropped_queue_full, 0);
    overloaded(&mut rig, true);
    let dropped = rig.shard.sink_counters[0].dropped_queue_full;
    assert!((4..10).contains(&dropped), "{dropped} of 10 were dropped");
    let waiting: usize = (0..4).map(|partition| rig.shard.sinks[0].accumulator.waiting_bytes(partition)).sum();
    assert!((1..=2_000).contains(&waiting), "{waiting} bytes wait");
    assert_eq!(rig.shard.counters.backpressure_paused, 0);
}

#[test]
fn in_sync_publishers_wait_and_nothing_goes() {
    let mut rig = protected(QueryMode::Sync);
    let conn = rig.connect("c", 4);
    overloaded(&mut rig, true);
    rig.feed(conn, &ten_publishes());
    rig.round();
    assert_eq!(rig.shard.counters.backpressure_paused, 1);
    let matched = rig.shard.sink_counters[0].matched;
    assert!((1..10).contains(&matched), "{matched} of 10 have been taken");
    overloaded(&mut rig, false);
    assert_eq!((rig.shard.sink_counters[0].matched, rig.shard.counters.backpressure_paused), (10, 0));
    assert_eq!(rig.shard.sink_counters[0].dropped_queue_full, 0);
}
