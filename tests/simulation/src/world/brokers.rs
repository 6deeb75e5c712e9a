//! Links to brokers: what is on its way there and back, and what a broker still does after its link is gone.
//!
//! A broker reads one request of a connection, and the next when the answer has left.

use std::collections::VecDeque;

use aqueduct::buffer::Batch;
use aqueduct::clock::Mono;
use aqueduct::shard::io::{LinkKey, Request};

use super::agenda::Sleeper;
use super::rounds::Service;
use super::{Event, World, trace};
use crate::copies::Stamp;
use crate::kafka::{
    Cluster, ClusterPlan, Committed, Connect, Expected, Faults, Place, Record, Records, Released, Reply, Token, Told,
    TopicPlan, plain,
};
use crate::ledger::{Counts, Disorder};
use crate::message::{MessageId, is_poison};
use crate::plan::{Plan, topic_index};
use crate::random::Random;
use crate::sequences::{Numbers, ahead};

const MS: u64 = 1_000_000;

/// A request that reached its broker, and whose link is gone.
#[derive(Debug)]
pub(super) struct Zombie {
    broker: usize,
    head: Vec<u8>,
    cuts: Vec<u32>,
    batches: Vec<Vec<u8>>,
}

/// Most batches of a partition that an outage takes.
const LOST_BATCHES_MAX: u32 = 8;

/// The first Produce after that of 0.11.
const FIVE_REMEMBERED_FROM: i16 = 4;

/// The cluster of a plan, with its faults.
pub(super) fn cluster(plan: &Plan, random: &mut Random) -> Cluster {
    let r = random;
    let replicas = usize::from(plan.brokers).min(3);
    let topic = |(at, name): (usize, String)| TopicPlan {
        name,
        takes_poison: at == plan.sinks && plan.dead_letters,
        partitions: plan.partitions,
        replicas,
        insync_min: if replicas == 3 { 2 } else { 1 },
    };
    let produce_version = r.one_of(&[3, 7, 8, 9, 10, 12, 12]);
    let cluster = ClusterPlan {
        brokers: usize::from(plan.brokers),
        topics: plan.kafka_topics().into_iter().enumerate().map(topic).collect(),
        produce_version,
        remembered_batches: if produce_version < FIVE_REMEMBERED_FROM { 1 } else { 5 },
        // Brokers of one age; the oldest do not say what topics take.
        configs_version: (produce_version / 3 - 1).clamp(0, 4),
        batch_bytes_max: (plan.batch_bytes.0 + 2_000) as u32,
        session_ns: r.one_of(&[300 * MS, 2_000 * MS]),
        lag_ns: r.one_of(&[200 * MS, 2_000 * MS]),
        shrinks: plan.additions.shrinks,
        clocks_ms: plan.additions.clocks_ms.clone(),
        is_poison,
        ..ClusterPlan::default()
    };
    let mut machine = Cluster::new(cluster, r.split());
    machine.set_faults(faults(plan, r));
    machine
}

fn faults(plan: &Plan, r: &mut Random) -> Faults {
    let strength = plan.kafka_trouble;
    let mut of = |per_million: u32| {
        let on = strength > 0 && r.below(2) == 0;
        if on { per_million * [0, 1, 4, 16][strength as usize] } else { 0 }
    };
    // With these brokers forget producers, or say so, which excuses nearly everything.
    let forgetful = of(1) > 0 && of(1) > 0 && of(1) > 0;
    let rare = |per_million: u32| if forgetful { per_million * strength } else { 0 };
    Faults {
        close_before: of(500),
        close_after: of(500),
        never_answered: of(200),
        late: of(2_000),
        late_ns_max: 400 * MS,
        throttle: of(1_000),
        throttle_ms_max: 200,
        shuffle: of(20_000),
        refuse_passing: of(3_000),
        refuse_any: rare(500),
        after_append: of(2_000),
        amnesia: rare(200),
        silent_errors: of(20_000),
        versions_error: of(5_000),
        topic_error: of(5_000),
        leaderless: of(5_000),
        producer_id_error: of(10_000),
        leader_move: of(5_000),
        kill: of(500),
        dead_ns_max: 800 * MS,
        freeze: of(500),
        frozen_ns_max: 800 * MS,
        stall: of(1_000),
        stalled_ns_max: 500 * MS,
        shrink: of(1_000),
        resize: of(200),
        batch_bytes_min: (plan.batch_bytes.0 / 2) as u32,
        grow: of(100),
        partitions_max: plan.partitions_max(),
        slow_news: of(500),
        news_ns_max: 500 * MS,
        delete: plan.additions.delete,
        deleted_ns_max: plan.additions.deleted_ns_max,
        outage: plan.additions.outage,
        lost_batches_max: LOST_BATCHES_MAX,
    }
}

impl World {
    /// Carries out what a shard asked of its links.
    pub(super) fn carry_out_links(&mut self, shard: usize) {
        let addresses = std::mem::take(&mut self.nodes[shard].ports.addresses);
        for (key, address) in std::mem::take(&mut self.nodes[shard].ports.dialled).into_iter().zip(addresses) {
            let broker = self.cluster.as_ref().and_then(|cluster| cluster.broker_at(&address.host, address.port));
            if let Some(link) = self.nodes[shard].ports.link(key) {
                link.broker = broker;
            }
            let at = self.now + self.delay();
            self.at_link(at, Event::Dialled, shard, key);
        }
        for (key, request) in std::mem::take(&mut self.nodes[shard].ports.unanswered) {
            self.send_unanswered(shard, key, request);
        }
        self.check_numbers(shard);
        let mut requested = std::mem::take(&mut self.nodes[shard].ports.requested);
        for key in requested.drain(..) {
            self.on_requested(shard, key);
        }
        self.nodes[shard].ports.requested = requested;
        for (key, request) in std::mem::take(&mut self.nodes[shard].ports.strays) {
            self.serve(shard, Service::Stray(key, request));
        }
        for key in std::mem::take(&mut self.nodes[shard].ports.dropped) {
            self.break_link(shard, key, "dropped");
        }
    }

    /// A partition is written by one shard at a time. A batch that is given while no other of its partition is away goes on where the log stands, or repeats what lies there:
    /// a number that is left out would stop the partition for good.
    fn check_numbers(&mut self, shard: usize) {
        for (topic, partition, numbers) in std::mem::take(&mut self.nodes[shard].ports.alone) {
            let others = self.nodes.iter().enumerate().filter(|(other, _)| *other != shard);
            let away: u32 = others.map(|(_, node)| node.ports.away(topic, partition)).sum();
            assert!(
                away == 0,
                "VIOLATION {away} batches of t{topic}-{partition} are away at other shards than {shard}"
            );
            let Numbers { producer_id, epoch, first, .. } = numbers;
            let Some(cluster) = &self.cluster else { return };
            let place = Place { topic, life: cluster.life(usize::from(topic)), partition };
            if producer_id < 0 || !self.plan.acks_all || cluster.is_excused(place, (producer_id, epoch)) {
                continue;
            }
            if cluster.was_written_before(place, (producer_id, epoch)) {
                continue;
            }
            let gap = match cluster.expects(place, producer_id, epoch) {
                None => continue,
                Some(Expected::Anything) => first != 0,
                Some(Expected::Sequence(next)) => ahead(first, next),
            };
            assert!(!gap, "VIOLATION {place:?}: {numbers:?} leaves a gap");
        }
    }

    fn delay(&mut self) -> u64 {
        self.random.between(5_000, self.faults.link_delay_ns.max(5_000))
    }

    pub(super) fn serve(&mut self, shard: usize, service: Service) {
        self.nodes[shard].services.push_back(service);
        let at = self.now + self.random.below(50_000);
        self.wake_shard(shard, at);
    }

    /// A request is given to a link that has not reached its broker: it arrives after those before it.
    fn on_requested(&mut self, shard: usize, key: LinkKey) {
        if self.random.chance(self.faults.link_break) {
            return self.break_link(shard, key, "reset by peer");
        }
        let delay = self.delay();
        let now = self.now;
        let Some(link) = self.nodes[shard].ports.link(key) else { return };
        if !link.up {
            return;
        }
        link.there = link.there.max(now + delay);
        let at = link.there;
        if self.ledger.minds_buffers() {
            let batches = link.requests.back().into_iter().flat_map(|request| &request.batches);
            for batch in batches {
                for record in Records::of(&plain(&batch.bytes)) {
                    self.ledger.asked(usize::from(batch.part.sink), record.value.unwrap_or_default());
                }
            }
        }
        self.at_link(at, Event::Reached, shard, key);
    }

    /// acks 0: the kernel has taken the request, and that is all its sender hears.
    fn send_unanswered(&mut self, shard: usize, key: LinkKey, request: Request) {
        let at = self.now + self.delay();
        let Some(link) = self.nodes[shard].ports.link(key) else { return };
        match link.broker.filter(|_| link.up && link.down.is_none()) {
            Some(broker) => {
                link.there = link.there.max(at);
                let at = link.there;
                self.zombies.push_back(Zombie::of(broker, &request));
                self.at(at, Event::Zombie);
                self.serve(shard, Service::Sent(key, request));
            }
            None => link.requests.push_back(request),
        }
    }

    pub(super) fn on_dialled(&mut self, shard: usize, key: LinkKey) {
        let refused = self.random.chance(self.faults.dial_refused);
        let Some(node) = self.nodes.get_mut(shard) else { return };
        let Some(link) = node.ports.link(key).filter(|link| !link.up && link.down.is_none()) else { return };
        let (Some(broker), Some(cluster)) = (link.broker, &mut self.cluster) else {
            return self.break_link(shard, key, "nobody has this address");
        };
        match if refused { Connect::Refused } else { cluster.connect(broker) } {
            Connect::Up => {
                link.up = true;
                self.serve(shard, Service::LinkUp(key));
            }
            Connect::Refused => self.break_link(shard, key, "connection refused"),
            // The driver gives up after connect_timeout.
            Connect::Silent => {
                self.break_link(shard, key, "connect timed out");
            }
        }
    }

    pub(super) fn on_reached(&mut self, shard: usize, key: LinkKey) {
        let Some(link) = self.nodes.get_mut(shard).and_then(|node| node.ports.link(key)) else { return };
        if link.down.is_none() {
            link.arrived += 1;
            self.work(shard, key);
        }
    }

    /// The broker takes up the next request of a connection, if it is free.
    fn work(&mut self, shard: usize, key: LinkKey) {
        let now = self.brokers_clock();
        let mut frame = std::mem::take(&mut self.frame);
        let Some(link) = self.nodes[shard].ports.link(key) else { return };
        let (Some(broker), Some(cluster)) = (link.broker, &mut self.cluster) else { return };
        if link.busy || link.taken >= link.arrived {
            self.frame = frame;
            return;
        }
        let Some(request) = link.requests.get(link.taken) else { return };
        let batches = request.batches.iter().map(|batch| &batch.bytes[..]);
        if self.trace && !request.batches.is_empty() {
            let sent = request.batches.iter().map(|batch| sent(batch)).collect::<Vec<_>>().join("; ");
            println!("{:>12.6} shard {shard} -> broker {broker}: {sent}", self.now as f64 / 1e9);
        }
        let reply = cluster.receive(now, broker, &request.head, &request.cuts, batches, &mut frame);
        let told = cluster.told();
        link.taken += 1;
        link.busy = true;
        self.take_committed();
        trace!(self, "  {reply:?}");
        self.reply(shard, key, reply, (frame, told));
        self.look_at_cluster();
    }

    fn reply(&mut self, shard: usize, key: LinkKey, reply: Reply, answer: (Vec<u8>, Told)) {
        match reply {
            Reply::At(Mono(at)) => {
                self.at_link(at, Event::Left, shard, key);
                let back = at + self.delay();
                let Some(link) = self.nodes[shard].ports.link(key) else { return };
                link.back = link.back.max(back);
                let back = link.back;
                link.answers_coming.push_back(answer);
                self.at_link(back, Event::Done, shard, key);
            }
            Reply::Close { .. } => self.break_link(shard, key, "closed by the broker"),
            Reply::Held(token) => {
                self.frame = answer.0;
                self.held.insert(token, (shard, key));
            }
            Reply::Never | Reply::Unanswered => self.frame = answer.0,
        }
    }

    /// An answer has come back.
    pub(super) fn on_done(&mut self, shard: usize, key: LinkKey) {
        let Some(link) = self.nodes.get_mut(shard).and_then(|node| node.ports.link(key)) else { return };
        if link.down.is_some() {
            return;
        }
        let Some(answer) = link.answers_coming.pop_front() else { return };
        link.answers.push_back(answer);
        self.serve(shard, Service::Answer(key));
    }

    /// A shard hears which batches of its request are stored, or in which lives the topics are that it asked about.
    pub(super) fn note_told(&mut self, shard: usize, key: LinkKey, request: &Request, told: &Told) {
        if request.batches.is_empty() && !told.lives.is_empty() {
            return self.nodes[shard].ports.hear_of_lives(key, told);
        }
        for (at, batch) in request.batches.iter().enumerate().filter(|(at, _)| told.stored >> at & 1 == 1) {
            let topic = topic_index(batch.part.sink, &batch.topic_name);
            let life = told.lives.get(at).map_or(0, |&(_, life)| life);
            let place = Place { topic, life, partition: batch.part.partition };
            let Numbers { producer_id, epoch, first, .. } = Numbers::of(&batch.bytes);
            self.ledger.copies.told(Stamp { place, producer: (producer_id, epoch), first });
        }
    }

    /// An answer has left the broker, which takes up the next request.
    pub(super) fn on_left(&mut self, shard: usize, key: LinkKey) {
        let Some(link) = self.nodes.get_mut(shard).and_then(|node| node.ports.link(key)) else { return };
        link.busy = false;
        if link.down.is_none() {
            self.work(shard, key);
        }
    }

    /// A link ends; what the broker has read it may still carry out.
    pub(super) fn break_link(&mut self, shard: usize, key: LinkKey, why: &str) {
        let Some(link) = self.nodes[shard].ports.link(key).filter(|link| link.down.is_none()) else { return };
        link.down = Some(why.to_string());
        let unread = (link.taken..link.arrived).filter_map(|at| link.requests.get(at));
        let zombies: Vec<Zombie> = match link.broker {
            Some(broker) if link.up => unread.map(|request| Zombie::of(broker, request)).collect(),
            _ => Vec::new(),
        };
        self.serve(shard, Service::LinkDown(key));
        for zombie in zombies {
            if self.random.below(2) == 0 {
                break;
            }
            let at = self.now + self.random.below(2 * self.faults.link_delay_ns + 1);
            self.zombies.push_back(zombie);
            self.at(at, Event::Zombie);
        }
    }

    /// The node is gone: some of what had arrived is carried out at once, nothing later.
    pub(super) fn abandon_link(&mut self, shard: usize, key: LinkKey) {
        let Some(link) = self.nodes[shard].ports.bury(key) else { return };
        let Some(broker) = link.broker.filter(|_| link.up) else { return };
        for request in link.requests.iter().take(link.arrived).skip(link.taken) {
            if self.random.below(2) == 0 {
                return;
            }
            self.carry_out_zombie(Zombie::of(broker, request));
        }
    }

    pub(super) fn end_zombies(&mut self) {
        while let Some(zombie) = self.zombies.pop_front() {
            self.carry_out_zombie(zombie);
        }
        self.held.clear();
    }

    pub(super) fn on_zombie(&mut self) {
        if let Some(zombie) = self.zombies.pop_front() {
            self.carry_out_zombie(zombie);
            self.look_at_cluster();
        }
    }

    fn carry_out_zombie(&mut self, zombie: Zombie) {
        let now = self.brokers_clock();
        let Some(cluster) = &mut self.cluster else { return };
        let batches = zombie.batches.iter().map(|batch| &batch[..]);
        let _ = cluster.receive(now, zombie.broker, &zombie.head, &zombie.cuts, batches, &mut Vec::new());
        self.take_committed();
    }

    /// The cluster does what is due.
    pub(super) fn on_cluster(&mut self) {
        let now = self.brokers_clock();
        let Some(cluster) = &mut self.cluster else { return };
        let mut released: Vec<Released> = Vec::new();
        cluster.tick(now, &mut released);
        self.take_committed();
        for Released { token, reply, frame, told } in released {
            if let Some((shard, key)) = self.held.remove(&token) {
                self.reply(shard, key, reply, (frame, told));
            }
        }
        self.look_at_cluster();
    }

    /// Breaks the links of brokers that died, and plans the next call.
    pub(super) fn look_at_cluster(&mut self) {
        let Some(cluster) = &mut self.cluster else { return };
        let next = cluster.next_event();
        let broken: VecDeque<usize> = cluster.broken().collect();
        for broker in broken {
            trace!(self, "broker {broker} dies");
            for shard in 0..self.nodes.len() {
                for key in self.nodes[shard].ports.link_keys() {
                    if self.nodes[shard].ports.link(key).is_some_and(|link| link.broker == Some(broker) && link.up) {
                        self.break_link(shard, key, "reset by peer");
                    }
                }
            }
        }
        if self.cluster.is_some()
            && let Some(Mono(next)) = next
        {
            self.agenda.wake(Sleeper::Cluster, next.max(self.now));
        }
    }

    /// Tells the ledger what no broker can lose any more.
    pub(super) fn take_committed(&mut self) {
        let (plan, ledger, trace, now) = (&self.plan, &mut self.ledger, self.trace, self.now);
        let Some(cluster) = &mut self.cluster else { return };
        for topic in cluster.renewed() {
            if trace {
                println!("{:>12.6} topic t{topic} was made anew", now as f64 / 1e9);
            }
            ledger.made_anew(plan, topic);
        }
        cluster.lost(|batch| {
            if trace {
                println!("{:>12.6} lost: {}", now as f64 / 1e9, shown(batch));
            }
            ledger.lost(plan, batch.place, batch.records());
        });
        cluster.refused().for_each(|(topic, value)| ledger.refused(plan.sink_of(topic), &value));
        cluster.committed(|batch| {
            if trace {
                println!("{:>12.6} committed: {}", now as f64 / 1e9, shown(batch));
            }
            let stored = ledger.copies.begin(batch.into());
            for record in batch.records() {
                ledger.stored(plan, stored, &record);
            }
        });
        // What an earlier life had displaced, could not read, or was about to bury, may come back from a buffer on disk.
        let (given_up, buried) = (self.given_up, &self.buried);
        let had_left = |topic: u16| given_up.is_some() || buried[plan.sink_of(usize::from(topic))] > 0;
        for Disorder { newer, stamp, came_back, text } in ledger.disorder.drain(..) {
            let is_excused = |stamp: &Stamp| {
                cluster.is_excused(stamp.place, stamp.producer) || cluster.began_amid(stamp.place, stamp.producer)
            };
            let is_excused = is_excused(&stamp) || is_excused(&newer) || (came_back && had_left(stamp.place.topic));
            assert!(is_excused, "VIOLATION {text}");
        }
    }

    /// How often each message lies in the logs of the cluster.
    pub(super) fn count_cluster(&self, found: &mut Counts) {
        self.for_each_record(|topic, partition, record| match MessageId::read(record.value.unwrap_or_default()) {
            Ok(id) => found.count(self.plan.sink_of(topic), id, record.origin),
            Err(why) => panic!("VIOLATION t{topic}-{partition}: {why}"),
        });
    }

    /// Every record of the cluster, partition by partition: topic, partition and record.
    pub(super) fn for_each_record(&self, mut show: impl FnMut(usize, u32, &Record<'_>)) {
        let Some(cluster) = &self.cluster else { return };
        for topic in 0..self.plan.kafka_topics().len() {
            cluster.for_each_batch(topic, |batch| {
                for record in batch.records() {
                    show(topic, batch.place.partition, &record);
                }
            });
        }
    }
}

impl From<&Committed<'_>> for Stamp {
    fn from(batch: &Committed<'_>) -> Self {
        let &Committed { place, producer_id, producer_epoch, base_sequence: first, .. } = batch;
        Self { place, producer: (producer_id, producer_epoch), first }
    }
}

impl Zombie {
    fn of(broker: usize, request: &Request) -> Self {
        Self {
            broker,
            head: request.head.clone(),
            cuts: request.cuts.clone(),
            batches: request.batches.iter().map(|batch| batch.bytes.clone()).collect(),
        }
    }
}

/// A batch that reaches its broker, for the trace.
fn sent(batch: &Batch) -> String {
    let Numbers { producer_id, epoch, first, records } = Numbers::of(&batch.bytes);
    format!(
        "t{}-{} producer {producer_id}.{epoch} from {first}, {records} records",
        topic_index(batch.part.sink, &batch.topic_name),
        batch.part.partition
    )
}

/// A batch for the trace.
fn shown(batch: &Committed<'_>) -> String {
    let messages = batch.records().map(|record| match MessageId::read(record.value.unwrap_or_default()) {
        Ok(id) => format!("{}.{}", id.client, id.seq),
        Err(why) => why,
    });
    let Committed { place, base_offset, producer_id, producer_epoch, base_sequence, .. } = batch;
    format!(
        "t{}-{} offset {base_offset}, producer {producer_id}.{producer_epoch} from {base_sequence}: {}",
        place.topic,
        place.partition,
        messages.collect::<Vec<_>>().join(" ")
    )
}

/// Requests whose answers the cluster has not decided, and where they came from.
pub(super) type Held = std::collections::BTreeMap<Token, (usize, LinkKey)>;
