//! The node is killed, drained, cut off its power, told a wrong time, or refused by the kernel, and what it acknowledged is
//! there.
//!
//! Setup: as in `brokers_fail.rs`. Action: something happens to the node or its machine. Expectation: the ledger's, with one
//! allowance: when the node's sessions are gone, what a client sends again is stored again.

use std::os::unix::process::ExitStatusExt;

use aqueduct_tests::support::chaos::Chaos;
use aqueduct_tests::support::kafka;
use aqueduct_tests::support::mqtt::{Client, Version};
use aqueduct_tests::support::node::Plan;
use aqueduct_tests::support::tracer::{Tracer, end_shard};

/// Row T11 of the fault table: the power fails under load, with the embedded log; what was not synced is gone. Everything
/// acknowledged is read back after the restart, as the longest valid prefix of each partition.
#[test]
fn a_power_cut_loses_nothing_acknowledged() {
    let cuts = "power-cut@2+0.1,power-cut@4+0.1,power-cut@6+0.1,power-cut@8+0.1";
    let Some(verdict) = Chaos::plan(cuts).embedded().acquitted() else { return };
    assert_eq!(verdict.count("restarts"), 4, "{}", verdict.said());
}

/// Row T11 of the fault table for a buffer on disk: Kafka is away, and the power fails again and again. What was acknowledged from the
/// buffer, before a cut or by a node that was started without Kafka, is in Kafka when it is back.
#[test]
fn a_power_cut_loses_nothing_from_a_buffer() {
    let plan = "broker-pause=1@2+8,power-cut@3+0.1,power-cut@5+0.1,power-cut@7+0.1";
    let Some(verdict) = Chaos::plan(plan).on_disk().acquitted() else { return };
    assert_eq!(verdict.count("restarts"), 3, "{}", verdict.said());
}

/// Row T10 of the fault table: every sync of the buffer's files fails for three seconds. Nothing is acknowledged meanwhile, no file is
/// synced again as if nothing had been, and the same batches go to a new one.
#[test]
fn a_sync_that_fails_is_no_acknowledgement() {
    let Some(verdict) = Chaos::plan("sync-error@2+3").on_disk().acquitted() else { return };
    let silence_ms = verdict.json["faults"][0]["silence_ms"].as_u64();
    assert!(silence_ms.is_some_and(|ms| ms > 2_000), "{}", verdict.said());
    let synced = |name: &str| verdict.json["failed_syncs"][name].as_u64();
    assert!(synced("files") > Some(1) && synced("again") == Some(0), "{}", verdict.said());
    assert!(verdict.json["own"]["buffer_failures"].as_u64() > Some(0), "it is counted\n{}", verdict.said());
    assert_eq!(verdict.count("disconnects"), 0, "{}", verdict.said());
}

/// Row T13 of the fault table: kill -9 loses nothing acknowledged, and SIGTERM under load ends within `shutdown_timeout`, with
/// exit code 0, after telling MQTT 5 clients why (0x8B).
#[test]
fn a_kill_and_a_drain_lose_nothing_acknowledged() {
    let Some(verdict) = Chaos::plan("kill@2+0.3,term@5+0.1").acquitted() else { return };
    let ended = &verdict.json["terminations"][0];
    assert_eq!(ended["exit_code"], 0, "{}", verdict.said());
    assert!(ended["drain_ms"].as_u64().is_some_and(|ms| ms < 30_000), "{}", verdict.said());
    assert_eq!(verdict.json["farewells"]["139"], 8, "every MQTT 5 client\n{}", verdict.said());
    assert_eq!(verdict.count("disconnects_unprovoked"), 0, "{}", verdict.said());
}

/// Row T15 of the fault table: the wall clock jumps an hour and a day ahead and back. Keep-alives, sessions and timers go by
/// another clock: no client is disconnected.
#[test]
fn a_wall_clock_that_jumps_disconnects_nobody() {
    let jumps = "clock=+3600@2+1,clock=-3600@4+1,clock=+86400@6+1,clock=-86400@8+1";
    let Some(verdict) = Chaos::plan(jumps).embedded().acquitted() else { return };
    assert_eq!(verdict.count("disconnects"), 0, "{}", verdict.said());
}

/// Row T23 of the fault table: io_uring refuses every call while the node runs, for any of the reasons it has. The node does not need it
/// any more then.
#[test]
fn io_uring_that_refuses_later_harms_nothing() {
    const CLIENTS: usize = 8;
    let node = Plan::embedded().node("shards = 2\npin = false").start();
    for (nth, error) in (1..).zip(["ENOMEM", "EBUSY", "EAGAIN", "EINTR"]) {
        let Some(tracer) = Tracer::attach(&node, None, "io_uring_enter", error) else { return };
        for number in 0..CLIENTS {
            // Enough clients that each shard is home to some.
            let mut client = Client::connect(node.mqtt(), Version::V5, &format!("{error}-{number}"));
            client.publish_acked("t", b"x", 1);
        }
        tracer.detach();
        assert_eq!(kafka::read(&node.bootstrap(), "mqtt").len(), nth * CLIENTS, "what was acknowledged beside {error}");
    }
}

/// Row T23 of the fault table, with Kafka and the ledger as judge: a shard fails under load, and the node is started again as its supervisor
/// would. What was acknowledged is there.
#[test]
fn the_end_of_one_shard_loses_nothing_acknowledged() {
    let Some(verdict) = Chaos::plan("shard-end@2+0.3,shard-end@5+0.3").acquitted() else { return };
    assert_eq!(verdict.count("restarts"), 2, "{}", verdict.said());
}

/// Row T23 of the fault table: one shard fails (its wait for events is refused). The whole node ends, so that whoever
/// supervises it starts it again; half a node would keep its clients and serve them nothing.
#[test]
fn the_end_of_one_shard_is_the_end_of_the_node() {
    let mut node = Plan::embedded().node("shards = 2\npin = false").start();
    let Some(ended) = end_shard(&mut node, "shard-2") else { return };
    assert!(ended.signal() == Some(rustix::process::Signal::ABORT.as_raw()), "{ended}");
}
