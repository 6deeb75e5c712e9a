//! Fifty sinks of which one matches cost no more per message than that one alone.
//!
//! The whole path in one shard without a kernel, on both sides in turn, judged by the least CPU time of each side: what else runs
//! on the machine only ever adds.

use aqueduct_benches::{Rig, publish};
use rustix::time::{ClockId, clock_gettime};

const CLIENTS: u32 = 50;
const PAIRS: usize = 30;
const ROUNDS: usize = 40;

#[test]
fn of_fifty_one_matches() {
    // A hundred messages a read, as workload `a` brings them, and two.
    for per_client in [100, 2] {
        let mut block: Vec<u8> =
            (1..=per_client).flat_map(|id| publish(1, id, "fleet/7/device/telemetry", 256)).collect();
        let (mut alone, mut among) = (Rig::new(CLIENTS), Rig::among(CLIENTS, 49));
        let pairs = (0..PAIRS).map(|_| (cpu_ns(&mut alone, &mut block), cpu_ns(&mut among, &mut block)));
        let (alone_ns, among_ns) =
            pairs.fold((u64::MAX, u64::MAX), |least, pair| (least.0.min(pair.0), least.1.min(pair.1)));
        let ratio = among_ns as f64 / alone_ns as f64;
        println!("{per_client} a read: {ratio:.3} times one sink's CPU time");
        assert!(ratio <= 1.10, "{per_client} a read: {alone_ns} ns with one sink, {among_ns} ns with fifty");
        assert!(alone.world.sent_bytes > 0 && alone.world.sent_bytes == among.world.sent_bytes, "all are acknowledged");
    }
}

/// CPU time of some rounds.
fn cpu_ns(rig: &mut Rig, block: &mut Vec<u8>) -> u64 {
    let now_ns = || {
        let now = clock_gettime(ClockId::ThreadCPUTime);
        now.tv_sec as u64 * 1_000_000_000 + now.tv_nsec as u64
    };
    let start = now_ns();
    (0..ROUNDS).for_each(|_| rig.round(block));
    now_ns() - start
}
