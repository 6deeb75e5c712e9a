//! The configuration changes while the node runs: somebody edits the file and has it read again, at any time.
//!
//! The world does what the control thread does, with the same roster, and its orders reach each shard when they like.

use std::collections::VecDeque;

use ::kafka::compression::Compression;
use aqueduct::config::{Config, Overflow, PartitionStrategy, QueryMode, RequiredAcks, Sink};
use aqueduct::log::journal::JournalStart;
use aqueduct::plan::Plan as EnginePlan;
use aqueduct::shard::control::{Command, Preparation, SlotState, Snapshot, Step};
use aqueduct::shard::roster::Roster;

use super::rounds::Service;
use super::{Event, World, trace};
use crate::plan::{Destination, Plan, SECOND};
use crate::random::Random;

const MS: u64 = 1_000_000;

/// How long shards may take to make ready, before it is taken back.
const PREPARED_WITHIN_NS: u64 = 2_000 * MS;

/// Where changes stand.
#[derive(Debug)]
pub(super) struct Changes {
    /// The file, with all its sinks.
    file: Config,
    /// Whether the second sink stands in it.
    second: bool,
    /// Whether it has a connector of its own.
    apart: bool,
    plan: EnginePlan,
    roster: Roster,
    stage: Stage,
    /// Slots that were left, and by which shards.
    left: Vec<(u16, Vec<usize>)>,
    /// What shards said of sinks while a change was under way: none is forgotten while it may come back.
    said_meanwhile: Vec<(usize, Step)>,
    /// Orders on their way, by shard.
    mail: Vec<VecDeque<(u64, Command)>>,
    random: Random,
    /// Most between two looks at the file: a sink that left is forgotten only where there is time for it.
    pause_ns: u64,
    wakes: u64,
    /// By sink: whether it has ever been told to displace its oldest records.
    displaced: Vec<bool>,
    /// How often a sink was told to do anything else than wait when it is full.
    pub(super) gave_way: usize,
    /// How many were made.
    pub(super) made: u64,
}

#[derive(Debug)]
enum Stage {
    Rest,
    Preparing { snapshot: Snapshot, waits_for: Vec<usize>, until: u64 },
    Applying { snapshot: Snapshot, waits_for: Vec<usize> },
}

impl Changes {
    pub(super) fn new(config: &Config, plan: &EnginePlan, seed: u64) -> Self {
        let mut random = Random::new(seed ^ 0xc4a9_6e55);
        Self {
            pause_ns: random.one_of(&[50 * MS, 300 * MS, 300 * MS, 2_000 * MS]),
            file: config.clone(),
            second: true,
            apart: false,
            plan: plan.clone(),
            roster: Roster::new(config),
            stage: Stage::Rest,
            left: Vec::new(),
            said_meanwhile: Vec::new(),
            mail: Vec::new(),
            random,
            wakes: u64::MAX,
            displaced: config.sinks.iter().map(displaces).collect(),
            gave_way: config.sinks.iter().filter(|sink| gives_way(sink)).count(),
            made: 0,
        }
    }

    /// A node starts by the file: with all its sinks, which keeps the ledger's numbers of them.
    pub(super) fn start(&mut self, shards: u16) -> &Config {
        (self.second, self.apart) = (true, false);
        self.plan.shards = shards;
        self.roster = Roster::new(&self.file);
        self.stage = Stage::Rest;
        self.left.clear();
        self.said_meanwhile.clear();
        self.mail = (0..shards).map(|_| VecDeque::new()).collect();
        &self.file
    }

    /// Whether records of this sink may have been displaced at some time.
    pub(super) fn has_displaced(&self, sink: usize) -> bool {
        self.displaced.get(sink).copied().unwrap_or_default()
    }

    fn is_at_rest(&self) -> bool {
        matches!(self.stage, Stage::Rest) && self.mail.iter().all(VecDeque::is_empty)
    }

    /// The file as it is read.
    fn wanted(&self) -> Config {
        let mut config = self.file.clone();
        if !self.second {
            config.sinks.remove(SECOND);
            for grave in config.sinks.iter_mut().filter_map(|sink| sink.dead_letter.as_mut()) {
                *grave -= 1;
            }
        } else if self.apart {
            let mut apart = config.connectors[0].clone();
            apart.name = "d".to_owned();
            config.connectors.push(apart);
            config.sinks[SECOND].connector = 1;
        }
        config
    }

    /// Whether no sink is leaving.
    fn has_settled(&self) -> bool {
        (0..self.roster.names().len()).all(|slot| self.roster.state(slot as u16) != SlotState::Leaving)
    }

    /// Somebody edits the file.
    fn edit(&mut self, plan: &Plan) {
        let r = &mut self.random;
        for sink in &mut self.file.sinks {
            match r.below(12) {
                0 => sink.linger_us = r.one_of(&[0, 1_000, 5_000]),
                1 => {
                    sink.batch_bytes_max = r.one_of(&[1_024, 4_096, 16 << 10]);
                    sink.batch_target_bytes = sink.batch_target_bytes.min(sink.batch_bytes_max);
                }
                2 => {
                    let codecs = [
                        Compression::None,
                        Compression::Gzip,
                        Compression::Snappy,
                        Compression::Lz4,
                        Compression::Zstd,
                    ];
                    sink.compression = r.one_of(&codecs);
                }
                3 if plan.changes_inflight() => sink.inflight_batches_max = r.between(1, 5) as u32,
                4 => sink.ack_timeout_ms = r.one_of(&[100, 500]),
                5 if !plan.acks_all => sink.required_acks = r.one_of(&[RequiredAcks::LeaderOnly, RequiredAcks::None]),
                6 if plan.acks_all && !plan.idempotent && plan.destination == Destination::Kafka => {
                    sink.idempotence = r.below(2) == 0;
                }
                7 if !plan.sync => sink.query_mode = r.one_of(&[QueryMode::Sync, QueryMode::Async]),
                8 if plan.refuses_overflow() => {
                    sink.overflow = r.one_of(&[Overflow::Backpressure, Overflow::DropOldest, Overflow::Reject]);
                }
                9 => sink.per_partition_limit_bytes = r.one_of(&[64 << 10, 1 << 20]),
                10 => {
                    let strategies = [
                        PartitionStrategy::KeyDispatch,
                        PartitionStrategy::Sticky,
                        PartitionStrategy::Random,
                        PartitionStrategy::ClientId,
                        PartitionStrategy::Topic,
                    ];
                    sink.partition_strategy = r.one_of(&strategies);
                }
                11 => {
                    (sink.live_topics_max, sink.buffer_segment_bytes) =
                        (r.between(1, 3) as u32, r.one_of(&[64 << 10, 1 << 20]))
                }
                _ => {}
            }
        }
        if plan.sinks > SECOND && r.below(3) == 0 {
            self.second = !self.second;
            // What it had goes one way, so that its records keep their order.
            if self.second && plan.destination == Destination::Kafka && self.has_settled() {
                self.apart = self.random.below(2) == 0;
            }
        }
    }
}

fn gives_way(sink: &Sink) -> bool {
    sink.overflow != Overflow::Backpressure
}

fn displaces(sink: &Sink) -> bool {
    sink.overflow == Overflow::DropOldest
}

impl World {
    /// Has the world look at its changes some time soon.
    pub(super) fn look_at_changes(&mut self) {
        let Some(changes) = &mut self.changes else { return };
        let at = self.now + changes.random.between(10_000, changes.pause_ns);
        if at < changes.wakes {
            changes.wakes = at;
            self.at(at, Event::Change);
        }
    }

    /// Begins a change, or takes one back that takes too long.
    pub(super) fn on_change(&mut self, at: u64) {
        if self.changes.as_ref().is_none_or(|changes| changes.wakes != at) {
            return;
        }
        let (now, healing) = (self.now, self.healing);
        let Some(changes) = &mut self.changes else { return };
        changes.wakes = u64::MAX;
        match &changes.stage {
            Stage::Rest if !self.down && !healing => self.begin_change(),
            Stage::Preparing { until, .. } if *until <= now => self.withdraw_change(),
            _ => {}
        }
        self.look_at_changes();
    }

    fn begin_change(&mut self) {
        let Some(changes) = &mut self.changes else { return };
        changes.edit(&self.plan);
        let wanted = changes.wanted();
        let snapshot = match changes.roster.next(&wanted, &changes.plan) {
            Ok(snapshot) => snapshot,
            Err(why) => {
                trace!(self, "a change is refused: {why}");
                let Some(changes) = &mut self.changes else { return };
                changes.second = true;
                return;
            }
        };
        trace!(self, "change {}: {:?}", snapshot.number, snapshot.slots);
        let waits_for = (0..self.nodes.len()).collect();
        let prepare = snapshot.clone();
        if let Some(changes) = &mut self.changes {
            changes.stage = Stage::Preparing { snapshot, waits_for, until: self.now + PREPARED_WITHIN_NS };
        }
        let mut starts = self.open_buffers(&prepare);
        self.order_each(|shard| {
            let starts = std::mem::take(&mut starts[shard]);
            Command::Prepare(Box::new(Preparation { snapshot: prepare.clone(), starts, nonce_key: [0; 32] }))
        });
    }

    /// Connectors end once their last sink has left.
    fn close_connectors(&mut self) {
        let Some(changes) = &mut self.changes else { return };
        for connector in changes.roster.close_connectors() {
            trace!(self, "connector {connector} is gone");
            self.order_all(|| Command::CloseConnector { connector });
        }
    }

    /// The journals of the sinks that come, by shard.
    fn open_buffers(&mut self, snapshot: &Snapshot) -> Vec<Vec<JournalStart>> {
        let mut starts = vec![Vec::new(); self.nodes.len()];
        let Some(disks) = &mut self.disks else { return starts };
        for &sink in &snapshot.fresh {
            let found = disks.open_one(sink, self.plan.shards);
            starts.iter_mut().zip(found).for_each(|(all, one)| all.push(one));
        }
        starts
    }

    fn close_buffer(&mut self, sink: u16, is_gone: bool) {
        if let Some(disks) = &mut self.disks {
            disks.close_one(sink, is_gone);
        }
    }

    fn withdraw_change(&mut self) {
        let Some(changes) = &mut self.changes else { return };
        let Stage::Preparing { snapshot, .. } = std::mem::replace(&mut changes.stage, Stage::Rest) else { return };
        let number = snapshot.number;
        // What came anew stays away.
        changes.second &= snapshot.fresh.is_empty();
        let fresh = snapshot.fresh.clone();
        changes.roster.withdrawn(snapshot);
        trace!(self, "change {number} is taken back");
        self.order_all(|| Command::Withdraw { number });
        fresh.into_iter().for_each(|sink| self.close_buffer(sink, false));
        self.hear_meanwhile();
    }

    /// A shard has done a step.
    pub(super) fn on_step(&mut self, shard: usize, step: Step) {
        let Some(changes) = &mut self.changes else { return };
        let shards = self.nodes.len();
        match (step, &mut changes.stage) {
            (Step::Prepared(number), Stage::Preparing { snapshot, waits_for, .. }) if snapshot.number == number => {
                waits_for.retain(|waited| *waited != shard);
                if waits_for.is_empty() {
                    self.apply_change();
                }
            }
            (Step::Applied(number), Stage::Applying { snapshot, waits_for }) if snapshot.number == number => {
                waits_for.retain(|waited| *waited != shard);
                if waits_for.is_empty() {
                    self.end_change();
                }
            }
            (Step::Left { .. }, Stage::Preparing { .. } | Stage::Applying { .. }) => {
                changes.said_meanwhile.push((shard, step));
            }
            (Step::Left { number, sink }, Stage::Rest) if number == changes.roster.applied_number() => {
                if !changes.left.iter().any(|(slot, _)| *slot == sink) {
                    changes.left.push((sink, Vec::new()));
                }
                let Some((_, said)) = changes.left.iter_mut().find(|(slot, _)| *slot == sink) else { return };
                assert!(
                    !said.contains(&shard),
                    "VIOLATION shard {shard} says twice that it has nothing left of a sink"
                );
                said.push(shard);
                if said.len() == shards && changes.roster.left(sink) {
                    trace!(self, "the sink in slot {sink} is gone");
                    self.order_all(|| Command::Forget { sink });
                    self.close_buffer(sink, true);
                    self.close_connectors();
                }
            }
            _ => {}
        }
    }

    fn apply_change(&mut self) {
        let Some(changes) = &mut self.changes else { return };
        let Stage::Preparing { snapshot, .. } = std::mem::replace(&mut changes.stage, Stage::Rest) else { return };
        let number = snapshot.number;
        changes.stage = Stage::Applying { snapshot, waits_for: (0..self.nodes.len()).collect() };
        changes.displaced.iter_mut().zip(&changes.file.sinks).for_each(|(ever, sink)| *ever |= displaces(sink));
        changes.gave_way += changes.file.sinks.iter().filter(|sink| gives_way(sink)).count();
        if !changes.second {
            self.ledger.waive(SECOND, true);
        }
        self.order_all(|| Command::Apply { number });
    }

    fn end_change(&mut self) {
        let Some(changes) = &mut self.changes else { return };
        let Stage::Applying { snapshot, .. } = std::mem::replace(&mut changes.stage, Stage::Rest) else { return };
        changes.roster.applied(snapshot);
        changes.left.clear();
        changes.made += 1;
        if changes.second {
            self.ledger.waive(SECOND, false);
        }
        trace!(self, "the change is made");
        self.close_connectors();
        self.hear_meanwhile();
    }

    /// Takes in what shards said while a change was under way.
    fn hear_meanwhile(&mut self) {
        let Some(changes) = &mut self.changes else { return };
        for (shard, step) in std::mem::take(&mut changes.said_meanwhile) {
            self.on_step(shard, step);
        }
    }

    /// Sends every shard an order, each of which arrives in its time.
    fn order_all(&mut self, order: impl Fn() -> Command) {
        self.order_each(|_| order());
    }

    fn order_each(&mut self, mut order: impl FnMut(usize) -> Command) {
        for shard in 0..self.nodes.len() {
            let Some(changes) = &mut self.changes else { return };
            let newest = changes.mail[shard].back().map_or(0, |(at, _)| *at);
            let at = newest.max(self.now + changes.random.below(5 * MS));
            changes.mail[shard].push_back((at, order(shard)));
            self.at(at, Event::Mail(shard as u32));
        }
    }

    /// Orders reach a shard.
    pub(super) fn on_mail(&mut self, shard: usize) {
        let now = self.now;
        while let Some(changes) = &mut self.changes
            && let Some(mail) = changes.mail.get_mut(shard)
            && mail.front().is_some_and(|(at, _)| *at <= now)
            && let Some((_, command)) = mail.pop_front()
        {
            let Some(node) = self.nodes.get_mut(shard) else { return };
            node.services.push_back(Service::Command(command));
            self.wake_shard(shard, now);
        }
    }

    /// Whether no change is under way.
    pub(super) fn is_unchanging(&self) -> bool {
        self.changes.as_ref().is_none_or(Changes::is_at_rest)
    }
}
