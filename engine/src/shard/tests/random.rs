//! Seeded random worlds: correct clients of both versions, splits anywhere, blocked sockets, outcomes in any order and of any
//! kind, takeovers, two shards. What a client is told must be true, and once the world heals everything must end.

mod device;

use std::collections::VecDeque;

use super::rig::{Rig, settings, sink_with};
use crate::config::{OnFailedV3, OnSyncTimeout, Overflow, PartitionStrategy, Qos0OnFull, QueryMode};
use crate::shard::control::Command;
use crate::shard::io::{CloseReason, Input, Machine as _, ShardId};
use crate::shard::mesh::MeshMsg;
use crate::shard::placement::owner_of;
use crate::shard::{Settings, SinkSettings};
use crate::sink::Writer;
use crate::sink::accumulator::BatchLimits;
use crate::sink::partitioning::Random;
use crate::sink::script::Script;
use crate::ticket::{FailReason, Outcome, Refused};
use device::{Device, Heard, OPEN_MAX};
use kafka::record_batch::{HEADER_LEN, Records};

const TOPICS: [&str; 3] = ["a/x", "b/y", "c"];

/// What is true of one message.
#[derive(Debug, Clone, Default)]
struct Message {
    device: usize,
    topic: usize,
    qos: u8,
    /// Per sink: records seen by the writer, and whether one was stored.
    written: [u16; 3],
    stored: [bool; 3],
    acked: bool,
    /// A second record is allowed.
    again: bool,
}

struct Net {
    rigs: Vec<Rig>,
    sinks: Vec<SinkSettings>,
    filters: Vec<&'static str>,
    devices: Vec<Device>,
    messages: Vec<Message>,
    transit: VecDeque<(usize, ShardId, MeshMsg)>,
    random: Random,
    /// Batches of each writer that were looked at.
    seen: Vec<usize>,
    /// The newest message of a device in a partition of a sink.
    newest: std::collections::HashMap<(usize, u16, u32), u32>,
    in_order: bool,
    inputs: u64,
    /// No record ends without being written.
    /// By sink: a batch was too old, and what waited behind it went with it unwritten.
    gave_up: Vec<bool>,
    all_written: bool,
}

fn pick<T: Copy>(random: &mut Random, of: &[T]) -> T {
    of[random.below(of.len() as u32) as usize]
}

fn random_sink(random: &mut Random, filter: &str) -> SinkSettings {
    let query_mode = pick(random, &[QueryMode::Sync, QueryMode::Sync, QueryMode::Async]);
    let strategies = [
        PartitionStrategy::KeyDispatch,
        PartitionStrategy::ClientId,
        PartitionStrategy::Topic,
        PartitionStrategy::Sticky,
        PartitionStrategy::Random,
    ];
    let bytes_max = pick(random, &[4 << 10, 32 << 10, 256 << 10]);
    let limits = BatchLimits {
        bytes_max,
        target_bytes: pick(random, &[1 << 10, 16 << 10, bytes_max]),
        linger_ns: pick(random, &[0, 5_000_000, 300_000_000]),
        inflight_max: 1 + random.below(5),
        partition_bytes_max: pick(random, &[8 << 10, 100 << 10, 1 << 30]),
        partition_adopted_bytes_max: 1 << 30,
        ahead_bytes: pick(random, &[0, 20 << 10, 1 << 30]),
    };
    SinkSettings {
        limits,
        query_mode,
        partition_strategy: pick(random, &strategies),
        overflow: pick(
            random,
            &[Overflow::Backpressure, Overflow::Backpressure, Overflow::DropOldest, Overflow::Reject],
        ),
        on_failed_v3: pick(random, &[OnFailedV3::Close, OnFailedV3::Ack]),
        on_sync_timeout: pick(random, &[OnSyncTimeout::Wait, OnSyncTimeout::Reject, OnSyncTimeout::Close]),
        ..sink_with(filter, "null")
    }
}

impl Net {
    fn new(seed: u64) -> Self {
        let mut random = Random::new(seed);
        let shards = 1 + random.below(2) as u16;
        let mut filters = vec!["#"];
        if random.below(2) == 0 {
            filters.extend(["a/#", "+/y"].iter().take(1 + random.below(2) as usize));
        }
        let sinks: Vec<SinkSettings> = filters.iter().map(|f| random_sink(&mut random, f)).collect();
        let mut of_shard = Settings { shards, ..settings(sinks.clone()) };
        of_shard.memory_bytes = pick(&mut random, &[768 << 10, 2 << 20, 16 << 20]);
        of_shard.mqtt.receive_maximum = OPEN_MAX as u16;
        of_shard.mqtt.topic_alias_maximum = 3;
        of_shard.mqtt.packet_bytes_max = 64 << 10;
        of_shard.qos2_max = 50;
        of_shard.open_bytes_v3_max = pick(&mut random, &[2_000, 256 << 10]);
        of_shard.qos0_on_full = pick(&mut random, &[Qos0OnFull::Drop, Qos0OnFull::Backpressure]);
        let known = (random.below(3) > 0).then_some(4);
        let rig = |id| Rig::at(ShardId(id), of_shard.clone(), Writer::Script(Script::new(known)));
        let devices = (0..8)
            .map(|n| {
                let expiry = pick(&mut random, &[0, 5, u32::MAX]);
                Device::new(format!("device-{n}"), random.below(2) == 0, random.below(3) == 0, expiry)
            })
            .collect();
        Self {
            // A resend may go to another partition where that is not fixed, and be seen there before the first.
            in_order: sinks.iter().all(|s| {
                let moves = matches!(s.partition_strategy, PartitionStrategy::Sticky | PartitionStrategy::Random);
                s.overflow == Overflow::Backpressure && !moves
            }),
            all_written: sinks
                .iter()
                .all(|s| s.overflow == Overflow::Backpressure && s.on_sync_timeout == OnSyncTimeout::Wait),
            gave_up: vec![false; sinks.len()],
            inputs: 0,
            rigs: (0..shards).map(rig).collect(),
            seen: vec![0; usize::from(shards)],
            sinks,
            filters,
            devices,
            messages: Vec::new(),
            transit: VecDeque::new(),
            random,
            newest: Default::default(),
        }
    }

    fn below(&mut self, n: u32) -> u32 {
        self.random.below(n)
    }

    fn step(&mut self) {
        let device = self.below(self.devices.len() as u32) as usize;
        let shard = self.below(self.rigs.len() as u32) as usize;
        match self.below(100) {
            0..=34 => self.publish(device),
            35..=54 => {
                let part = pick(&mut self.random, &[1, 5, 100, 5_000, 1 << 20]);
                self.deliver(device, part);
            }
            55..=64 => self.answer_some(shard, false),
            65..=69 => self.pass_mesh(),
            70..=84 => {
                let ms = pick(&mut self.random, &[0, 0, 1, 6, 6, 100]);
                self.round(shard, ms);
            }
            85..=87 => self.connect_somewhere(device),
            88 => self.part(device),
            89..=90 if self.devices[device].wire.iter().any(|w| w.pings < 3) => self.ping(device),
            89..=90 => {}
            91..=93 => self.unblock(shard),
            94 => self.rigs[shard].world.send_room = pick(&mut self.random, &[0, 1, 7, 100, usize::MAX, usize::MAX]),
            95 => {
                self.rigs[shard].world.recv_max =
                    pick(&mut self.random, &[1, 3, 100, 4096, 4097, usize::MAX, usize::MAX])
            }
            96 => self.input(shard, Input::Command(Command::Scrape { token: 1 })),
            97 => self.script(shard, |s| {
                s.partitions = s.partitions.or(Some(4));
                s.changed = true;
            }),
            98 => self.resend(device),
            _ => self.round(shard, 3_000),
        }
    }

    fn ping(&mut self, device: usize) {
        self.devices[device].ping();
    }

    fn script<R>(&mut self, shard: usize, act: impl FnOnce(&mut Script) -> R) -> R {
        let Writer::Script(script) = &mut self.rigs[shard].shard.writers[0] else { panic!("a script") };
        act(script)
    }

    fn publish(&mut self, device: usize) {
        for _ in 0..=self.below(5) {
            if !self.devices[device].can_publish() {
                return;
            }
            let lens = [5, 5, 100, 100, 1_000, 3_000, 4_060 + self.random.below(50) as usize, 40_000];
            let len = pick(&mut self.random, &lens);
            let qos = self.below(3) as u8;
            let topic = self.below(3) as usize;
            let alias = self.below(4) as u16;
            let message = self.messages.len() as u32;
            self.messages.push(Message { device, topic, qos, again: qos < 2, ..Message::default() });
            self.devices[device].publish(message, qos, TOPICS[topic], len, alias);
        }
    }

    fn resend(&mut self, device: usize) {
        let open = self.devices[device].open.len() as u32;
        if open > 0 && self.devices[device].can_publish() {
            let nth = self.below(open) as usize;
            self.devices[device].resend(nth);
        }
    }

    fn deliver(&mut self, device: usize, bytes: usize) {
        let Some(wire) = &mut self.devices[device].wire else { return };
        let n = bytes.min(wire.to_shard.len());
        if n == 0 {
            return;
        }
        let part: Vec<u8> = wire.to_shard.drain(..n).collect();
        let (shard, key) = wire.at;
        self.rigs[shard].world.inbox.entry(key).or_default().extend(part);
        self.input(shard, Input::Readable(key));
    }

    fn connect_somewhere(&mut self, device: usize) {
        let again = self.below(4) == 0;
        if self.devices[device].wire.is_some() && !again {
            return;
        }
        let shard = self.below(self.rigs.len() as u32) as usize;
        let key = self.rigs[shard].accept();
        self.devices[device].connect((shard, key));
        self.after(shard);
    }

    /// A client leaves in one of several ways.
    fn part(&mut self, device: usize) {
        let Some(wire) = self.devices[device].wire.take() else { return };
        let (shard, key) = wire.at;
        match self.below(3) {
            0 => self.input(shard, Input::Closed(key)),
            1 => {
                self.rigs[shard].world.finished.insert(key);
                self.input(shard, Input::Readable(key));
            }
            _ => {
                let rest: Vec<u8> = wire.to_shard.into_iter().chain([0xe0, 0]).collect();
                self.rigs[shard].world.inbox.entry(key).or_default().extend(rest);
                self.input(shard, Input::Readable(key));
            }
        }
    }

    fn unblock(&mut self, shard: usize) {
        self.rigs[shard].world.send_room = usize::MAX;
        while let Some(key) = self.rigs[shard].world.blocked.pop_first() {
            self.input(shard, Input::Writable(key));
        }
    }

    fn answer_some(&mut self, shard: usize, heal: bool) {
        let open = self.script(shard, |s| s.open.len());
        let times = if heal { open } else { open.min(1 + self.random.below(3) as usize) };
        for _ in 0..times {
            let left = self.script(shard, |s| s.open.len()) as u32;
            let nth = self.below(left) as usize;
            self.answer_one(shard, nth, heal);
        }
    }

    fn answer_one(&mut self, shard: usize, nth: usize, heal: bool) {
        const WHY: [FailReason; 5] = [
            FailReason::TooLarge,
            FailReason::Unauthorized,
            FailReason::Invalid,
            FailReason::Expired,
            FailReason::Disk,
        ];
        let why = pick(&mut self.random, &WHY);
        // What goes with a batch that is too old was never written, and comes behind later ones when its client sends it again.
        let why = if self.in_order && why == FailReason::Expired { FailReason::Disk } else { why };
        let kind = if heal { 99 } else { self.below(20) };
        let (first, n) = (self.random.next_u64() as u32, self.random.next_u64() as u32);
        let (outcome, sink, stored, all) = self.script(shard, |s| {
            let batch = &mut s.open[nth];
            if kind == 0 {
                let first = first % batch.records;
                batch.refused.push(Refused { first, n: 1 + n % (batch.records - first), why });
            }
            let refused = |i: u32| batch.refused.iter().any(|r| (r.first..r.first + r.n).contains(&i));
            let mut stored = messages_of(&batch.bytes, batch.records);
            let mut i = 0;
            stored.retain(|_| {
                i += 1;
                !refused(i - 1)
            });
            let outcome = if kind < 3 && kind > 0 { Outcome::Failed(why) } else { Outcome::Stored { base_offset: 0 } };
            (outcome, usize::from(batch.part.sink), stored, messages_of(&batch.bytes, batch.records))
        });
        if kind < 3 {
            all.into_iter().for_each(|m| self.messages[m as usize].again = true);
        }
        self.gave_up[sink] |= outcome == Outcome::Failed(FailReason::Expired);
        if matches!(outcome, Outcome::Stored { .. }) {
            stored.into_iter().for_each(|m| self.messages[m as usize].stored[sink] = true);
        }
        self.seen[shard] -= 1;
        self.script(shard, |s| s.answer(nth, outcome));
    }

    fn pass_mesh(&mut self) {
        if let Some((to, from, message)) = self.transit.pop_front() {
            self.input(to, Input::Mesh(from, message));
        }
    }

    fn round(&mut self, shard: usize, ms: u64) {
        let now = self.rigs.iter().map(|r| r.now.mono).max().expect("a shard").plus_ms(ms);
        for rig in &mut self.rigs {
            rig.now.wall_ms += now.since(rig.now.mono) as i64 / 1_000_000;
            rig.now.mono = now;
        }
        let wait = self.rigs[shard].round();
        let rig = &self.rigs[shard];
        rig.shard.audit_wait(rig.now, &wait);
        self.after(shard);
    }

    fn input(&mut self, shard: usize, input: Input<'_>) {
        let rig = &mut self.rigs[shard];
        rig.shard.on(rig.now, input, &mut rig.world);
        self.after(shard);
    }

    /// Carries what the shard did to the rest of the world, and checks.
    fn after(&mut self, shard: usize) {
        let from = ShardId(shard as u16);
        while let Some((to, message)) = self.rigs[shard].world.mesh.pop_front() {
            self.transit.push_back((usize::from(to.0), from, message));
        }
        self.look_at_batches(shard);
        self.listen(shard);
        // Recounting costs more than what it recounts.
        self.inputs += 1;
        if self.inputs.is_multiple_of(4) {
            self.audit();
        }
        let world = &mut self.rigs[shard].world;
        for (key, why) in std::mem::take(&mut world.closed) {
            assert_ne!(why, CloseReason::Protocol, "the clients keep to the protocol");
            for device in &mut self.devices {
                device.wire.take_if(|w| w.at == (shard, key));
            }
        }
        for (key, to, state) in std::mem::take(&mut self.rigs[shard].world.moved) {
            let inbox = self.rigs[shard].world.inbox.remove(&key).unwrap_or_default();
            let finished = self.rigs[shard].world.finished.contains(&key);
            let rig = &mut self.rigs[usize::from(to.0)];
            let there = rig.next_key();
            rig.world.inbox.insert(there, inbox);
            if finished {
                rig.world.finished.insert(there);
            }
            let wires = self.devices.iter_mut().filter_map(|d| d.wire.as_mut());
            wires.filter(|w| w.at == (shard, key)).for_each(|w| w.at = (usize::from(to.0), there));
            self.input(usize::from(to.0), Input::Arrived(there, state));
        }
    }

    fn listen(&mut self, shard: usize) {
        for index in 0..self.devices.len() {
            let Some(key) = self.devices[index].wire.as_ref().filter(|w| w.at.0 == shard).map(|w| w.at.1) else {
                continue;
            };
            let bytes = self.rigs[shard].sent(key);
            self.devices[index].hear(&bytes);
            for heard in std::mem::take(&mut self.devices[index].heard) {
                match heard {
                    Heard::Stored(message) => self.check_ack(index, message),
                    Heard::Refused(message) | Heard::Lost(message) => self.messages[message as usize].again = true,
                }
            }
        }
    }

    /// A success was said: every synchronous sink must have stored the message.
    fn check_ack(&mut self, device: usize, message: u32) {
        let truth = &mut self.messages[message as usize];
        truth.acked = true;
        for (index, sink) in self.sinks.iter().enumerate() {
            let takes = mqtt::topic::matches(self.filters[index], TOPICS[truth.topic]);
            let lenient = !self.devices[device].is_v5 && self.sinks.iter().any(|s| s.on_failed_v3 == OnFailedV3::Ack);
            if takes && sink.is_sync() && !lenient {
                assert!(
                    truth.stored[index],
                    "message {message} was acknowledged before sink {index} had it: {truth:?}"
                );
            }
        }
    }

    fn look_at_batches(&mut self, shard: usize) {
        let Writer::Script(script) = &self.rigs[shard].shard.writers[0] else { panic!("a script") };
        let seen = std::mem::replace(&mut self.seen[shard], script.open.len());
        for batch in &script.open[seen..] {
            assert_eq!(usize::from(owner_of(batch.part.partition, self.rigs.len() as u16).0), shard, "the owner's");
            for message in messages_of(&batch.bytes, batch.records) {
                let truth = &mut self.messages[message as usize];
                let sink = usize::from(batch.part.sink);
                truth.written[sink] += 1;
                let once = self.all_written && !truth.again;
                assert!(!once || truth.written[sink] == 1, "QoS 2 message {message} twice: {truth:?}");
                if truth.written[sink] > 1 || !self.in_order {
                    continue;
                }
                let newest = self.newest.entry((truth.device, batch.part.sink, batch.part.partition)).or_default();
                assert!(*newest <= message, "message {message} after {newest}: {truth:?}");
                *newest = message;
            }
        }
    }

    fn audit(&self) {
        let mut outside = vec![0; self.rigs.len()];
        for rig in &self.rigs {
            let Writer::Script(script) = &rig.shard.writers[0] else { panic!("a script") };
            script.batches().for_each(|b| outside[usize::from(b.home.0)] += b.charge_bytes);
        }
        for (_, _, message) in &self.transit {
            if let MeshMsg::HandOver(batch) | MeshMsg::Return(batch, _) = message {
                outside[usize::from(batch.home.0)] += batch.charge_bytes;
            }
        }
        self.rigs.iter().zip(outside).for_each(|(rig, bytes)| rig.shard.audit(bytes));
    }

    /// Everything works again and nobody publishes anything new: soon all is answered.
    fn heal(&mut self) {
        for shard in 0..self.rigs.len() {
            self.rigs[shard].world.recv_max = usize::MAX;
            // What a burst of resends exceeds once it would exceed for ever.
            let sinks = &mut self.rigs[shard].shard.settings.sinks;
            sinks.iter_mut().for_each(|s| s.overflow = Overflow::Backpressure);
            self.script(shard, |s| {
                s.partitions = s.partitions.or(Some(4));
                s.changed = true;
            });
        }
        for turn in 0.. {
            for device in 0..self.devices.len() {
                if self.devices[device].wire.is_none() {
                    self.connect_somewhere(device);
                }
                self.deliver(device, usize::MAX);
            }
            while !self.transit.is_empty() {
                self.pass_mesh();
            }
            for shard in 0..self.rigs.len() {
                self.unblock(shard);
                self.answer_some(shard, true);
                self.round(shard, 5);
            }
            let idle = self.rigs.iter().all(|r| r.shard.budget.used_bytes() == 0 && r.shard.lists.held.is_empty());
            if idle && self.transit.is_empty() && self.devices.iter().all(Device::is_done) {
                break;
            }
            let open = self.devices.iter().filter(|d| !d.is_done());
            assert!(
                turn < 1_000,
                "not healed: {:?}, {:?}",
                open.map(|d| &d.name).collect::<Vec<_>>(),
                self.rigs[0].shard.lists
            );
        }
    }

    fn check_end(&mut self) {
        for (shard, rig) in self.rigs.iter().enumerate() {
            assert_eq!(rig.shard.counters.protocol_errors, 0);
            for counters in &rig.shard.sink_counters {
                assert_eq!(counters.ended(), counters.matched, "shard {shard}: all has come to an end");
            }
        }
        for (number, truth) in self.messages.iter().enumerate().filter(|(_, m)| m.acked) {
            for (index, sink) in self.sinks.iter().enumerate() {
                let takes = mqtt::topic::matches(self.filters[index], TOPICS[truth.topic]);
                // With `on_failed_v3 = "ack"` a yes may mean no.
                let may_be_no = self.gave_up[index] && sink.on_failed_v3 == OnFailedV3::Ack;
                if takes && sink.overflow == Overflow::Backpressure && truth.qos > 0 && !may_be_no {
                    assert!(truth.written[index] > 0, "message {number} was accepted and never written: {truth:?}");
                }
            }
        }
        for device in 0..self.devices.len() {
            self.part(device);
        }
        for shard in 0..self.rigs.len() {
            self.round(shard, 0);
            self.input(shard, Input::Command(Command::Drain));
            self.round(shard, 0);
            assert!(self.rigs[shard].is_drained(), "nothing is open, so the drain ends at once");
        }
    }
}

/// The numbers that [`Device`] wrote into the values of a batch.
fn messages_of(bytes: &[u8], records: u32) -> Vec<u32> {
    let number = |value: Option<&[u8]>| {
        let digits = std::str::from_utf8(value?.get(1..9)?).ok()?;
        u32::from_str_radix(digits, 16).ok()
    };
    let records = Records::new(records, &bytes[HEADER_LEN..]);
    records.map(|r| number(r.expect("a record").value).expect("a number")).collect()
}

fn run(seed: u64) {
    let mut net = Net::new(seed);
    for _ in 0..1_500 {
        net.step();
    }
    net.heal();
    net.check_end();
}

#[test]
fn what_clients_are_told_is_true_and_everything_ends() {
    if let Ok(seed) = std::env::var("AQUEDUCT_SEED") {
        return run(seed.parse().expect("a number"));
    }
    for seed in 0..200 {
        if let Err(panic) = std::panic::catch_unwind(|| run(seed)) {
            eprintln!("AQUEDUCT_SEED={seed} replays this");
            std::panic::resume_unwind(panic);
        }
    }
}
