//! A world in which nobody lives but the clients of a script.

use std::panic::{AssertUnwindSafe, catch_unwind};

use super::World;
use crate::net::Holder;
use crate::plan::{Destination, Faults, Plan};
use crate::random::Random;
use crate::script::{self, Received, Records, Script, Stage};

/// A client waits so long for something that will not come, simulated nanoseconds.
const PATIENCE_NS: u64 = 100_000_000_000;

/// Plays a script in a simulated world without faults of brokers or disks; its outcome, line by line.
///
/// With `noise` what clients send comes in pieces, shards are woken late or for nothing, what passes between them takes its time, and links
/// to brokers break: the outcome is the same.
///
/// # Errors
/// What a client waited for in vain; a violation.
pub fn simulate(
    script: &Script,
    destination: Destination,
    shards: u16,
    noise: Option<u64>,
) -> Result<Vec<String>, String> {
    let plan = Plan::scripted(destination, shards, noise.map_or_else(Faults::default, drawn), noise.unwrap_or(0));
    let played = catch_unwind(AssertUnwindSafe(|| {
        let mut world = World::new(plan, false);
        let mut lines = script::play(script, &mut world)?;
        world.come_to_rest();
        lines.extend(world.records().lines(script));
        Ok(lines)
    }));
    played.unwrap_or_else(|panic| Err(crate::words_of(&*panic)))
}

/// What changes when things happen, and nothing else. Sends are not cut short: the server does not wait until there is room for
/// its last words to a client that it closes, so whether they are heard would be a matter of chance.
fn drawn(seed: u64) -> Faults {
    let mut random = Random::new(seed);
    let mut of = |strengths: &[u32]| if random.below(2) == 0 { 0 } else { random.one_of(strengths) };
    Faults {
        short_recv: of(&[20_000, 300_000]),
        stale_key: of(&[5_000, 50_000]),
        spurious: of(&[5_000, 50_000]),
        lost_wakeup: of(&[10_000, 300_000]),
        link_break: of(&[5_000, 50_000]),
        dial_refused: of(&[10_000, 200_000]),
        mesh_delay_ns: u64::from(of(&[100_000, 5_000_000])),
        timer_late_ns: u64::from(of(&[1_000_000, 50_000_000])),
        link_delay_ns: u64::from(of(&[1_000_000, 20_000_000])),
        ..Faults::default()
    }
}

impl World {
    fn records(&self) -> Records {
        let mut records = Records::default();
        self.for_each_record(|sink, partition, record| {
            records.note(sink, partition, record.key, record.value.unwrap_or_default());
        });
        if let Some(disks) = &self.disks {
            disks.for_each_record(|sink, partition, key, value| records.note(sink, partition, key, value));
        }
        records
    }
}

impl Stage for World {
    fn open(&mut self) -> usize {
        let socket = self.net.open(Holder::Script);
        self.offer(socket);
        socket
    }

    fn send(&mut self, conn: usize, bytes: &[u8]) {
        self.net.get(conn).to_shard.extend_from_slice(bytes);
        self.tell(conn);
    }

    fn finish(&mut self, conn: usize) {
        self.net.get(conn).finished = true;
        self.tell(conn);
    }

    fn receive(&mut self, conn: usize, into: &mut Vec<u8>) -> Received {
        let end = self.now + PATIENCE_NS;
        loop {
            let bytes = self.take_sent(conn);
            if !bytes.is_empty() {
                into.extend(bytes);
                return Received::Bytes;
            }
            if self.net.get(conn).closed {
                return Received::Closed;
            }
            if self.now > end || !self.step() {
                return Received::Nothing;
            }
        }
    }

    fn forget(&mut self, conn: usize) {
        self.net.get(conn).holder = Holder::Nobody;
        self.net.tidy(conn);
    }
}
