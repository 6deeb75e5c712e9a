//! Framing and decoding of PUBLISH packets that lie behind one another, as a read brings them.

use std::hint::black_box;

use aqueduct_benches::publish;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use mqtt::frame::{self, Split};
use mqtt::{Packet, Version};

const FRAMES: u16 = 200;

fn decode_all(block: &[u8]) -> usize {
    let mut rest = block;
    let mut payload_bytes = 0;
    while let Ok(Split::Whole(frame)) = frame::split(rest, 1 << 20) {
        if let Ok(Packet::Publish(publish)) = mqtt::decode(Version::V3_1_1, frame) {
            payload_bytes += publish.payload.len();
        }
        rest = &rest[frame.len..];
    }
    payload_bytes
}

fn mqtt_decode(c: &mut Criterion) {
    let mut group = c.benchmark_group("mqtt_decode");
    group.throughput(Throughput::Elements(u64::from(FRAMES)));
    for payload in [256, 1024] {
        let block: Vec<u8> = (1..=FRAMES).flat_map(|id| publish(1, id, "fleet/7/device/telemetry", payload)).collect();
        assert_eq!(decode_all(&block), usize::from(FRAMES) * payload);
        group.bench_function(format!("publish_{payload}B"), |b| b.iter(|| decode_all(black_box(&block))));
    }
    group.finish();
}

criterion_group!(benches, mqtt_decode);
criterion_main!(benches);
