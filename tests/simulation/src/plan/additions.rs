//! Faults that worlds learned later, each drawn from a stream of its own: seeds that found something before still find it.

use super::ClientPlan;
use crate::random::Random;

const MS: u64 = 1_000_000;

/// What goes wrong beside [`Faults`](super::Faults) and the cluster's own faults. The default is nothing.
#[derive(Debug, Clone, Default)]
pub struct Additions {
    /// Chance of a million, for each period of the cluster, that a topic is deleted.
    pub delete: u32,
    /// How long a topic is gone at most, nanoseconds.
    pub deleted_ns_max: u64,
    /// A topic that had grown comes back as small as it was at first. What lies in partitions that are gone fails, so that nobody
    /// may have been told before that it is safe.
    pub shrinks: bool,
    /// Chance of a million, for each period of the cluster, that all brokers lose their power, and acknowledged records with it.
    pub outage: u32,
    /// How long the sinks that take messages wait for Kafka, where not for ever: so many seconds, and in sync so many refusals. In async
    /// what was refused too often is counted with all that failed, which would excuse other losses.
    pub patience: Option<(u64, u32)>,
    /// By broker: how far its clock is ahead, milliseconds. Empty: brokers and node have one clock.
    pub clocks_ms: Vec<i64>,
    /// How long a client stays away at most whose will waits for it, nanoseconds; 0: no longer than others.
    pub absence_ns_max: u64,
}

impl Additions {
    /// Those of a seed whose world has so many brokers. `sync`: acknowledgements wait for the outcome. `live`: messages name topics.
    pub(super) fn draw(seed: u64, brokers: u16, sync: bool, live: bool) -> Self {
        let mut additions = Self::default();
        additions.draw_deletions(&mut Random::new(seed ^ 0xde1e_7ed0), sync, live);
        additions.draw_outages(&mut Random::new(seed ^ 0x0b1a_c007));
        additions.draw_clocks(&mut Random::new(seed ^ 0x0c10_c404), brokers);
        additions
    }

    /// Whether records may fail that no broker has refused.
    pub fn gives_up(&self) -> bool {
        self.shrinks || self.patience.is_some()
    }

    fn draw_deletions(&mut self, r: &mut Random, sync: bool, live: bool) {
        if r.below(6) > 0 {
            return;
        }
        self.delete = r.one_of(&[1_000, 5_000, 20_000]);
        // A topic that messages name is given up after a minute.
        let longest = if live { 80_000 * MS } else { 3_000 * MS };
        self.deleted_ns_max = r.one_of(&[50 * MS, 500 * MS, 500 * MS, longest]);
        self.shrinks = sync && r.below(2) == 0;
    }

    fn draw_outages(&mut self, r: &mut Random) {
        if r.below(8) == 0 {
            self.outage = r.one_of(&[500, 2_000, 5_000]);
        }
    }

    /// Such sinks give up what no broker has refused, so that of what gives way to newer records it cannot be told whether that was the
    /// oldest.
    pub(super) fn draw_patience(&mut self, r: &mut Random) {
        if r.below(6) == 0 {
            self.patience = Some((r.one_of(&[1, 1, 2, 5]), r.one_of(&[0, 1, 3, 1_000])));
        }
    }

    /// Mostly seconds, as where nobody looks after clocks; rarely more than the hour that Kafka takes.
    fn draw_clocks(&mut self, r: &mut Random, brokers: u16) {
        if r.below(6) > 0 {
            return;
        }
        let mut clock = || {
            let most_ms = r.one_of(&[0, 30_000, 30_000, 7_200_000]);
            r.between(0, 2 * most_ms) as i64 - most_ms as i64
        };
        self.clocks_ms = (0..brokers).map(|_| clock()).collect();
    }

    /// Some clients have wills that wait for them, and stay away for longer.
    pub(super) fn draw_absences(&mut self, r: &mut Random, clients: &mut [ClientPlan]) {
        if r.below(6) > 0 {
            return;
        }
        self.absence_ns_max = r.one_of(&[2_000 * MS, 6_000 * MS]);
        for client in clients.iter_mut().filter(|client| client.v5) {
            let (delay_s, expiry_s) = (r.one_of(&[1, 1, 2, 3]), r.one_of(&[2, 3_600]));
            if r.below(2) == 0 {
                (client.clean, client.will_delay_s, client.expiry_s) = (false, Some(delay_s), expiry_s);
            }
        }
    }
}
