//! Row T14 of docs/explanation/faults.md: memory is short, by a control group of 256 MiB, and more is published than that while
//! Kafka is away. The node's own budgets act first: clients wait, the kernel kills nobody, and nothing that was taken is lost.
//!
//! Setup: a cluster of its own, a node that was told nothing about memory and finds the group's limit by itself. Action: SIGSTOP
//! to the broker; clients at QoS 0 that publish three times the group's memory as fast as they are let, clients at QoS 1 with
//! full windows, clients that leave half a packet behind and come back, for twenty seconds or, with `AQUEDUCT_LONG=1`, ten
//! minutes; SIGCONT. Expectation: no process of the group was killed, every message is in Kafka, those at QoS 1 in order.

use std::io::Write;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use aqueduct_tests::support::cgroup::MemoryGroup;
use aqueduct_tests::support::chaos::is_long_wanted;
use aqueduct_tests::support::kafka::Kafka;
use aqueduct_tests::support::mqtt::{Client, Version, publish_head};
use aqueduct_tests::support::node::Plan;
use aqueduct_tests::support::over::Over;
use aqueduct_tests::support::{peer, wait};

const GROUP_MIB: u64 = 256;
/// Together three times the group's memory.
const FLOODERS: u64 = 8;
const FLOODS: u64 = 3 * (GROUP_MIB << 20) / (FLOODERS * FLOOD_BYTES as u64);
const FLOOD_BYTES: usize = 32 << 10;
/// Clients at QoS 1, each with a window of messages.
const CAREFUL: u32 = 64;
const WINDOW: u32 = 200;
/// Clients that stop in the middle of a large packet.
const CHURNERS: usize = 8;
const LARGE_BYTES: usize = 900 << 10;

#[test]
fn budgets_act_before_the_kernel_does() {
    let Some(group) = MemoryGroup::of_mib(GROUP_MIB) else { return };
    let kafka = match Kafka::start(1, "") {
        Ok(kafka) => kafka,
        Err(remedy) => return peer::skip("AQUEDUCT_REQUIRE_KAFKA", &remedy),
    };
    kafka.create_topic("flood", 4);
    kafka.create_topic("careful", 4);
    let careful = "[sinks.careful]\nconnector = \"main\"\nsource_topics = [\"careful/#\"]\ntopic = \"careful\"\nvalue = \"${payload}\"";
    let node = Plan::kafka(kafka.bootstrap(), "flood")
        .only_sink("source_topics = [\"flood/#\"]\ntopic = \"flood\"\nvalue = \"${payload}\"\nkey = \"${id}\"")
        .node("shards = 2\npin = false")
        .section(careful)
        .inside(&group)
        .start();
    // Both topics are known before Kafka goes.
    let mut first = Client::connect(node.mqtt(), Version::V3_1_1, "first");
    first.publish_acked("flood/t", b"first", 1);
    first.publish_acked("careful/t", b"0 0", 1);
    let frozen = kafka.freeze(1);
    let over = AtomicBool::new(false);
    thread::scope(|scope| {
        let ending = Over::when_dropped(&over);
        for flooder in 0..FLOODERS {
            let stream = Client::connect(node.mqtt(), Version::V3_1_1, &format!("flood-{flooder}")).into_stream();
            scope.spawn(move || flood(stream));
        }
        let careful: Vec<Client> = (1..=CAREFUL).map(|client| publish_window(node.mqtt(), client)).collect();
        let churners: Vec<_> = (0..CHURNERS)
            .map(|churner| {
                scope.spawn({
                    let (over, to) = (&over, node.mqtt());
                    move || churn(to, churner, over)
                })
            })
            .collect();
        let patience = if is_long_wanted() { 600 } else { 20 };
        thread::sleep(Duration::from_secs(patience));
        let taken = node.metrics().sink("matched_total");
        let bytes = taken * FLOOD_BYTES as f64;
        println!("{taken} messages taken, {} MiB resident at the most", node.peak_bytes() >> 20);
        assert!(bytes > 20e6 && bytes < (GROUP_MIB << 20) as f64, "{taken} messages");
        drop(ending);
        churners.into_iter().for_each(|churner| churner.join().expect("it ends"));
        drop(frozen);
        careful.into_iter().for_each(await_window);
    });
    let all = (FLOODS * FLOODERS) as i64 + 1;
    wait::until("every message is in Kafka", 120, || (kafka.count("flood") >= all).then_some(()));
    assert_eq!(kafka.count("flood"), all);
    check_careful(&kafka);
    assert_eq!(group.kills(), 0, "killed by the kernel");
    let (matched, parts) = node.metrics().accounts();
    assert_eq!(matched, parts);
    drop(node);
}

/// Publishes its share as fast as the node takes it.
fn flood(mut stream: std::net::TcpStream) {
    let mut packet = publish_head(Version::V3_1_1, "flood/t", 0, 0, FLOOD_BYTES);
    packet.resize(packet.len() + FLOOD_BYTES, b'x');
    for _ in 0..FLOODS {
        stream.write_all(&packet).expect("the connection stands");
    }
}

/// A window of messages that nobody acknowledges yet.
fn publish_window(to: SocketAddr, client: u32) -> Client {
    let mut mqtt = Client::connect(to, Version::V5, &format!("careful-{client}"));
    for number in 0..WINDOW {
        let mut payload = format!("{client} {number} ").into_bytes();
        payload.resize(1 << 10, b'.');
        // What the node does not read waits in the socket.
        mqtt.publish("careful/t", &payload, 1);
    }
    mqtt
}

fn await_window(mut client: Client) {
    for _ in 0..WINDOW {
        let packet = wait::until("an acknowledgement", 90, || client.packet_within(Duration::from_secs(10)));
        assert!(format!("{packet:?}").contains("reason: 0"), "{packet:?}");
    }
}

/// Sends most of a large packet, waits, and is gone; again and again.
fn churn(to: SocketAddr, churner: usize, over: &AtomicBool) {
    let mut packet = publish_head(Version::V3_1_1, "flood/never", 0, 0, LARGE_BYTES);
    packet.resize(packet.len() + LARGE_BYTES * 9 / 10, b'y');
    while !over.load(Ordering::Relaxed) {
        let stream = Client::connect(to, Version::V3_1_1, &format!("churn-{churner}")).into_stream();
        // The node may not read it at all, which is its right.
        stream.set_write_timeout(Some(Duration::from_millis(500))).expect("a TCP option");
        let _ = (&stream).write_all(&packet);
        thread::sleep(Duration::from_millis(200));
    }
}

/// Every message at QoS 1 is there, once and in its client's order.
fn check_careful(kafka: &Kafka) {
    let records = kafka.read_count("careful", (CAREFUL * WINDOW) as usize + 1);
    let mut next = vec![0; CAREFUL as usize + 1];
    for record in records {
        let value = record.value.unwrap_or_default();
        let text = String::from_utf8_lossy(&value);
        let mut words = text.split(' ').map(|word| word.parse::<u32>());
        let (Some(Ok(client)), Some(Ok(number))) = (words.next(), words.next()) else { panic!("a stranger's: {text}") };
        let next = &mut next[client as usize];
        assert_eq!(number, *next, "client {client}");
        *next += 1;
    }
    assert!(next[1..].iter().all(|&next| next == WINDOW), "{next:?}");
}
