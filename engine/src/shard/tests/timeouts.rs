//! Keep-alive: who is closed for silence, and that watching for it costs one entry a client.

use super::rig::{Rig, publish_unheard, settings, sink};

#[test]
fn a_client_stands_in_the_wheel_once() {
    let mut rig = Rig::new(settings(Vec::new()));
    let conn = rig.connect("c", 4);
    // Past the time limit of CONNECT, which was the first reason to look.
    for _ in 0..20 {
        rig.after_ms(1_000);
        assert_eq!(rig.shard.wheel.len(), 1);
        rig.feed(conn, &[0xc0, 0]);
    }
    assert_eq!(rig.shard.counters.timeouts, 0);
    rig.after_ms(60_000);
    rig.after_ms(31_000);
    assert_eq!(rig.shard.counters.timeouts, 1, "one and a half times its keep-alive of 60 s");
}

#[test]
fn a_client_that_never_reads_its_acks_is_closed_for_its_silence() {
    let mut rig = Rig::new(settings(vec![sink()]));
    let conn = rig.connect("c", 4);
    publish_unheard(&mut rig, conn);
    for _ in 0..8 {
        rig.after_ms(10_000);
        assert_eq!(rig.shard.counters.timeouts, 0, "one and a half times its keep-alive have not passed");
    }
    rig.after_ms(11_000);
    assert_eq!(rig.shard.counters.timeouts, 1);
    rig.round();
    assert_eq!(rig.shard.counters.connections, 0);
    assert_eq!(rig.shard.counters.backpressure_paused, 0);
}
