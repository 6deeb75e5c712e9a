//! A message costs no allocation once the path is warm: what was needed is kept and used again.
//!
//! Setup: a shard in memory, with clients as in the canonical workloads. Action: the same traffic again and again, stored by
//! nobody or by a Kafka cluster of two brokers. Expectation: after some turns the shard allocates nothing at all, be it for
//! reading, routing, batching, sending, answering or acknowledging.

use std::cell::Cell;

use aqueduct_tests::in_memory::{Node, To, publishes};

/// A canonical workload as one turn of it looks to a shard.
struct Workload {
    clients: u32,
    /// Messages of each client in a turn.
    messages: u16,
    qos: u8,
    payload_bytes: usize,
}

const A: Workload = Workload { clients: 50, messages: 100, qos: 1, payload_bytes: 256 };
const B: Workload = Workload { qos: 0, ..A };
const C: Workload = Workload { clients: 1000, messages: 10, qos: 1, payload_bytes: 1024 };
/// Twenty messages a millisecond, in rounds of five.
const D: Workload = Workload { messages: 2, ..A };

/// Until everything that is kept has its size.
const WARM_UP_TURNS: usize = 30;
const TURNS: usize = 30;

thread_local! {
    static ALLOCATIONS: Cell<u64> = const { Cell::new(0) };
}

fn counted(call: &mut dyn FnMut()) {
    let found = allocation_counter::measure(call);
    ALLOCATIONS.set(ALLOCATIONS.get() + found.count_total);
}

#[track_caller]
fn check(workload: &Workload, to: To) {
    check_with(workload, to, "");
}

/// With more lines in the sink's configuration.
#[track_caller]
fn check_with(workload: &Workload, to: To, sink: &str) {
    let mut node = Node::new(to, sink);
    let conns: Vec<_> = (0..workload.clients).map(|i| node.connect(&format!("client-{i}"))).collect();
    let payload = vec![b'x'; workload.payload_bytes];
    let block = publishes(workload.qos, 1..=workload.messages, "fleet/7/device/telemetry", &payload);
    for &conn in &conns {
        node.publish(conn, block.clone());
    }
    node.around = counted;
    for turn in 0..WARM_UP_TURNS + TURNS {
        if turn == WARM_UP_TURNS {
            assert!(ALLOCATIONS.get() > 0, "allocations are counted");
            ALLOCATIONS.set(0);
        }
        finish_turn(&mut node, workload, to);
        for &conn in &conns {
            node.world.clients.again(conn);
            node.readable(conn);
        }
    }
    let messages = u64::from(workload.clients) * u64::from(workload.messages) * TURNS as u64;
    assert_eq!(ALLOCATIONS.get(), 0, "allocations for {messages} messages");
}

/// Until every message of the turn is stored, and acknowledged if it asks for that.
#[track_caller]
fn finish_turn(node: &mut Node, workload: &Workload, to: To) {
    let messages = workload.clients as usize * usize::from(workload.messages);
    for _ in 0..100 {
        node.pass_ms(5);
        node.answer();
        let acked = workload.qos == 0 || node.world.clients.acked_count() == messages;
        let stored = to == To::Discard || node.world.brokers.records >= messages as u64;
        if acked && stored {
            node.world.clients.forget_acks();
            node.world.brokers.records = 0;
            return;
        }
    }
    panic!("{} of {messages} acknowledged", node.world.clients.acked_count());
}

#[test]
fn a_into_nothing() {
    check(&A, To::Discard);
}

#[test]
fn b_into_nothing() {
    check(&B, To::Discard);
}

#[test]
fn c_into_nothing() {
    check(&C, To::Discard);
}

#[test]
fn d_into_nothing() {
    check(&D, To::Discard);
}

#[test]
fn a_into_kafka() {
    check(&A, To::Kafka(2));
}

#[test]
fn b_into_kafka() {
    check(&B, To::Kafka(2));
}

#[test]
fn c_into_kafka() {
    check(&C, To::Kafka(2));
}

/// Large batches are packed where they are filled, small ones, of many clients that say little, by the owner.
#[test]
fn compressed_into_kafka() {
    for codec in ["gzip", "snappy", "lz4", "zstd"] {
        for workload in [&A, &D] {
            check_with(workload, To::Kafka(2), &format!("compression = \"{codec}\""));
        }
    }
}

/// Extra headers from templates that need no JSON.
#[test]
fn headers_into_kafka() {
    let sink = "headers = \"${pub_props.User-Property}\"\n\
                ext_headers = [{ key = \"client\", value = \"${clientid}\" }, { key = \"at\", value = \"${topic} ${qos}\" }]";
    check_with(&A, To::Kafka(2), sink);
}

#[test]
fn d_into_kafka() {
    check(&D, To::Kafka(2));
}
