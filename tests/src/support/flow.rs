//! Publishers that go on until they have sent what they have, or until a time; everything they send is acknowledged.

use std::ops::Range;
use std::thread;
use std::time::{Duration, Instant};

use super::mqtt::{Client, Version};
use super::node::Node;

/// Client `client-N`, for each N below `clients`, publishes `payload(N, number)` to `t` for each number of `range`: a hundred at a
/// time, all acknowledged before the next hundred. The clients do so side by side.
///
/// # Panics
/// If one is not acknowledged.
pub fn publish_range(node: &Node, clients: u32, range: Range<u32>, payload: impl Fn(u32, u32) -> Vec<u8> + Sync) {
    let publish = |client: u32| {
        let mut mqtt = Client::connect(node.mqtt(), Version::V5, &format!("client-{client}"));
        let payloads: Vec<Vec<u8>> = range.clone().map(|number| payload(client, number)).collect();
        for hundred in payloads.chunks(100) {
            mqtt.publish_all_acked("t", hundred.iter().map(Vec::as_slice), 1);
        }
    };
    thread::scope(|scope| {
        for client in 0..clients {
            let publish = &publish;
            scope.spawn(move || publish(client));
        }
    });
}

/// Publishes to `t` until `end`, each message acknowledged before the next; how many.
///
/// # Panics
/// If one is not acknowledged.
pub fn publish_until(node: &Node, end: Instant) -> usize {
    let mut client = Client::connect(node.mqtt(), Version::V5, "steady");
    let mut count = 0;
    while Instant::now() < end {
        client.publish_acked("t", format!("{count}").as_bytes(), 1);
        count += 1;
        thread::sleep(Duration::from_millis(5));
    }
    count
}
