//! What is acknowledged with acks = all is stored, once and in order, whatever goes wrong: a producer with Kafka's rules, one
//! batch of a partition under way, against a thousand clusters.

use ::kafka::message::produce::Acks;
use aqueduct::clock::Mono;

use super::rig::{Batch, Rig, WALL_MS, plan};
use crate::kafka::faults::code;
use crate::kafka::{ClusterPlan, Counts, Faults, Reply, Token};
use crate::random::Random;

const SECOND_NS: u64 = 1_000_000_000;

/// What a producer knows of one partition. Batch `n` has sequence `n` and `n` as its value.
#[derive(Debug, Clone, Default)]
struct Lane {
    /// The first batch that is not acknowledged.
    next: i32,
    waits: Option<(Token, Mono)>,
}

struct World {
    rig: Rig,
    random: Random,
    lanes: Vec<Lane>,
}

impl World {
    fn new(seed: u64) -> Self {
        let mut random = Random::new(seed);
        let brokers = random.between(1, 4) as usize;
        let partitions = random.between(1, 3) as u32;
        let mut plan = ClusterPlan {
            session_ns: random.between(SECOND_NS / 10, SECOND_NS),
            lag_ns: random.between(SECOND_NS / 5, 2 * SECOND_NS),
            news_ns: (100_000, random.between(1, 300) * 1_000_000),
            commits_below_min: random.chance(200_000),
            ..plan(brokers, partitions, 1)
        };
        plan.topics[0].replicas = random.between(1, brokers as u64) as usize;
        plan.topics[0].insync_min = random.between(1, 3) as usize;
        let rig = Rig::seeded(plan, seed);
        Self { rig, random, lanes: vec![Lane::default(); partitions as usize] }
    }

    fn swarm(&mut self) -> Faults {
        let random = &mut self.random;
        let mut some = |most: u64| if random.chance(500_000) { random.below(most) as u32 } else { 0 };
        Faults {
            close_before: some(100_000),
            close_after: some(100_000),
            never_answered: some(50_000),
            late: some(300_000),
            late_ns_max: SECOND_NS,
            shuffle: some(1_000_000),
            refuse_passing: some(200_000),
            after_append: some(200_000),
            leader_move: some(200_000),
            kill: some(20_000),
            dead_ns_max: 3 * SECOND_NS,
            freeze: some(20_000),
            frozen_ns_max: 3 * SECOND_NS,
            stall: some(50_000),
            stalled_ns_max: 3 * SECOND_NS,
            shrink: some(1_000_000),
            slow_news: some(500_000),
            news_ns_max: SECOND_NS,
            grow: 0,
            ..Faults::default()
        }
    }

    /// One step of one partition: what waits is looked at, or the next batch is sent to somebody who may lead.
    fn step(&mut self) {
        let partition = self.random.below(self.lanes.len() as u64) as usize;
        let next = self.lanes[partition].next;
        let batch =
            Batch { producer: (9, 0), sequence: next, values: vec![next.to_be_bytes().to_vec()], time_ms: WALL_MS };
        let batches = [(partition as i32, batch.seal())];
        if let Some((token, since)) = self.lanes[partition].waits {
            if let Some(released) = self.rig.released(token) {
                self.lanes[partition].waits = None;
                if matches!(released.reply, Reply::At(_)) {
                    self.hear(partition, &released.frame);
                }
            } else if self.rig.now.since(since) > 2 * SECOND_NS {
                // Given up; the broker may carry it out all the same.
                self.lanes[partition].waits = None;
            }
        } else if let Some(broker) = self.guess(partition) {
            match self.rig.send(broker, Acks::AllIsr, 400, &batches) {
                Reply::At(_) => {
                    let frame = std::mem::take(&mut self.rig.out);
                    self.hear(partition, &frame);
                    self.rig.out = frame;
                }
                Reply::Held(token) => self.lanes[partition].waits = Some((token, self.rig.now)),
                Reply::Never | Reply::Close { .. } => {}
                Reply::Unanswered => panic!("acks are asked for"),
            }
        }
        let pause_ns = self.random.below(8_000_000);
        self.rig.run_until(self.rig.now + pause_ns);
    }

    /// The leader in the view of some broker.
    fn guess(&mut self, partition: usize) -> Option<usize> {
        let broker = self.random.below(self.rig.cluster.brokers.len() as u64) as usize;
        self.rig.cluster.brokers[broker].leds[partition].leader
    }

    fn hear(&mut self, partition: usize, frame: &[u8]) {
        // Correlation ids are not in order here: the body alone.
        let response = ::kafka::message::produce::decode_response(12, &frame[5..]).expect("a response");
        let result = response.partitions().next().expect("an answer");
        let error = result.error_code.code();
        // A former leader that does not know better misses what the new one has.
        let misled =
            error == code::OUT_OF_ORDER_SEQUENCE_NUMBER && !self.rig.cluster.partitions[partition].misled.is_empty();
        assert!(misled || ![45, 47, 59].contains(&error), "producer state was lost: {error}");
        if error == code::NONE {
            self.lanes[partition].next += 1;
        }
    }

    /// All that was acknowledged lies in the logs, once, in order; at most one more lies behind it.
    fn check(&mut self) {
        self.rig.cluster.heal(self.rig.time());
        for _ in 0..200 {
            if self.rig.cluster.is_whole() {
                break;
            }
            self.rig.run_ms(100);
        }
        assert!(self.rig.cluster.is_whole(), "it heals within 20 s");
        for (lane, values) in self.lanes.iter().zip(self.rig.values()) {
            let found: Vec<i32> = values.iter().map(|v| i32::from_be_bytes(v[..].try_into().expect("four"))).collect();
            let all: Vec<i32> = (0..found.len() as i32).collect();
            assert_eq!(found, all, "once and in order");
            assert!((lane.next..=lane.next + 1).contains(&(found.len() as i32)), "{} of {}", found.len(), lane.next);
        }
    }
}

fn run(seed: u64, steps: usize) -> Counts {
    let mut world = World::new(seed);
    for at in 0..steps {
        if at % 250 == 0 {
            let faults = world.swarm();
            world.rig.faults(faults);
        }
        world.step();
    }
    world.check();
    world.rig.cluster.counts().clone()
}

#[test]
fn acknowledged_batches_are_never_lost_nor_doubled() {
    let mut all = Counts::default();
    for seed in 0..1000 {
        let counts = std::panic::catch_unwind(|| run(seed, 1000));
        let counts = counts.unwrap_or_else(|_| panic!("seed {seed}"));
        for (sum, n) in all.errors.iter_mut().zip(counts.errors) {
            *sum += n;
        }
        all.appended += counts.appended;
        all.truncated += counts.truncated;
        all.dedupes += counts.dedupes;
        all.stale_appends += counts.stale_appends;
        all.timeouts += counts.timeouts;
        all.leaderless += counts.leaderless;
        all.kills += counts.kills;
        all.freezes += counts.freezes;
        all.shrinks += counts.shrinks;
        all.expands += counts.expands;
    }
    // The mix reaches what it is meant to reach.
    for (what, n) in [
        ("truncated", all.truncated),
        ("dedupes", all.dedupes),
        ("appends by former leaders", all.stale_appends),
        ("timeouts", all.timeouts),
        ("without a leader", all.leaderless),
        ("out of sync", all.shrinks),
        ("back in sync", all.expands),
        ("too few in sync", all.errors_of(code::NOT_ENOUGH_REPLICAS)),
        ("led by another", all.errors_of(code::NOT_LEADER_OR_FOLLOWER)),
    ] {
        assert!(n > 100, "{what}: {n} in 1,000 seeds");
    }
}

#[test]
fn a_seed_replays() {
    for seed in [3, 14, 159] {
        assert_eq!(run(seed, 500), run(seed, 500));
    }
}
