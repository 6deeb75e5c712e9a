//! The whole path in one shard without a kernel: read, parse, route, append, settle, acknowledge. ns per message, to be
//! held against the budget in the performance notes.

use aqueduct_benches::{Rig, publish};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};

fn shard_path(c: &mut Criterion) {
    let mut group = c.benchmark_group("shard_path");
    for (name, clients, per_client, qos, payload) in [
        ("qos1_256B_100_a_read", 50, 100u16, 1, 256),
        ("qos0_256B_100_a_read", 50, 100, 0, 256),
        ("qos1_1KiB_10_a_read", 100, 10, 1, 1024),
        ("qos1_256B_2_a_read", 50, 2, 1, 256),
    ] {
        let mut rig = Rig::new(clients);
        let mut block: Vec<u8> =
            (1..=per_client).flat_map(|id| publish(qos, id, "fleet/7/device/telemetry", payload)).collect();
        rig.round(&mut block);
        group.throughput(Throughput::Elements(u64::from(clients) * u64::from(per_client)));
        group.bench_function(name, |b| b.iter(|| rig.round(&mut block)));
        assert!(qos == 0 || rig.world.sent_bytes > 0, "acknowledgements were sent");
    }
    group.finish();
}

criterion_group!(benches, shard_path);
criterion_main!(benches);
