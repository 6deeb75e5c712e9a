//! The truth about every message: how often it was sent, what its publisher was told, and how often it was stored.
//!
//! The verdict is drawn as things happen: a success that is told before the record is stored, a record nobody sent, an order
//! that is not the publisher's, are violations at that step. What is only known at the end is judged there.

mod verdict;

pub(crate) use verdict::Counts;

use crate::copies::{BatchId, Copies, Stamp};
use crate::deleted::Deleted;
use crate::kafka::{Place, Record};
use crate::message::{Message, MessageId};
use crate::plan::{Buffer, Plan, SINKS_MAX as SINKS, TOPICS_MAX, topic_index};

/// MQTT 5: implementation specific error; here that Kafka does not take a record.
const BY_KAFKA: u8 = 0x83;
/// MQTT 5: not authorized.
const NOT_AUTHORIZED: u8 = 0x87;

/// What is true of one message.
#[derive(Debug, Clone, Copy, Default)]
struct Entry {
    /// Times it was written to a socket.
    sent: u16,
    /// How much had been sent before.
    since: u32,
    /// Its publisher was told of success, or at QoS 2 of reception.
    acked: bool,
    /// In which life of the node that was last, counted from 1.
    acked_life: u32,
    /// Its publisher was told of a failure.
    nacked: bool,
    /// In which life of the node a broker first refused it for good, by sink.
    refused: [Option<u32>; SINKS],
    /// Its publisher's session was lost while it was open, or the node was killed: QoS 2 may make another record.
    forgotten: u16,
    /// Records, by sink.
    stored: [u16; SINKS],
    /// The batch of the first of them.
    first: [BatchId; SINKS],
    /// Whether it lies among the dead letters, by the sink that it was meant for.
    buried: [bool; SINKS],
    /// Whether it is durable in a buffer on disk, by sink.
    durable: [bool; SINKS],
    /// The last life of the node that asked a broker to store it, counted from 1, by sink.
    asked: [u32; SINKS],
    /// How often an earlier start had left it in a buffer on disk, by sink.
    replayed: [u16; SINKS],
    /// Clients that have received it, a bit each.
    heard: u16,
    /// It is published when its client is gone, later than what that has published, or never.
    is_will: bool,
    /// Its client was back before it was to be published.
    is_void: bool,
    /// Sinks that may have been there or not when it was sent last.
    waived: [bool; SINKS],
    /// The same of any time it was sent.
    ever_waived: [bool; SINKS],
}

impl Entry {
    /// Whether it is stored for a sink, or among the dead letters for that sink.
    fn has(&self, sink: usize) -> bool {
        self.waived[sink] || self.stored[sink] > 0 || self.buried[sink]
    }
}

/// Everything about one seed's messages.
#[derive(Debug)]
pub(crate) struct Ledger {
    entries: Vec<Vec<Entry>>,
    /// By client, topic and partition: the newest first copy, plus one, and its batch.
    newest: Vec<(u32, BatchId)>,
    partitions: usize,
    sinks: usize,
    /// The sink of the dead letters, if there is one.
    dead: Option<usize>,
    /// Messages acknowledged.
    pub(crate) acked: u64,
    /// Records stored.
    pub(crate) stored: u64,
    /// Records that were stored out of order, and that an earlier life was not refused. The cluster may have an excuse.
    pub(crate) disorder: Vec<Disorder>,
    /// Under which numbers it is all stored.
    pub(crate) copies: Copies,
    /// What of it is gone with its topic.
    deleted: Deleted,
    rules: Rules,
    /// How much was written to sockets.
    sends: u32,
    /// Wills that are to be published by this life of the node.
    due_wills: Vec<Message>,
    /// How often the node was killed.
    life: u32,
    /// Sinks that are not there, or not at every shard.
    waived: [bool; SINKS],
}

/// A record that was stored out of order.
#[derive(Debug)]
pub(crate) struct Disorder {
    /// The batch with a newer one, that was stored before.
    pub(crate) newer: Stamp,
    /// Its own.
    pub(crate) stamp: Stamp,
    /// An earlier start had left it in a buffer on disk.
    pub(crate) came_back: bool,
    /// What to say of it.
    pub(crate) text: String,
}

/// The sink of this name.
fn origin_of(name: &[u8]) -> usize {
    let sink = (0..SINKS).find(|sink| name == format!("s{sink}").as_bytes());
    sink.unwrap_or_else(|| panic!("VIOLATION a dead letter of {}", String::from_utf8_lossy(name)))
}

/// What the configuration promises.
#[derive(Debug, Clone, Copy)]
struct Rules {
    /// An acknowledgement means that it is stored.
    ack_is_stored: bool,
    /// An acknowledgement means that it is stored, or durable in a buffer on disk.
    ack_is_durable: bool,
    /// An acknowledgement means that it will be stored, whatever happens to the node.
    ack_is_kept: bool,
    /// An acknowledgement means that it will be stored unless the node is killed before it is, or is durable in a buffer on disk.
    ack_is_kept_alive: bool,
    /// What is durable in a buffer is counted, and what brokers were asked to store.
    minds_buffers: bool,
    /// Records of a publisher keep their order in a partition.
    ordered: bool,
    /// Nothing is stored more often than it was sent.
    once: bool,
    /// What is stored is known at once.
    ends_tell: bool,
    /// A delivery means that it is stored.
    delivered_is_stored: bool,
    /// Nobody is told of a fault of a record that no broker has found.
    brokers_find_faults: bool,
}

impl Ledger {
    /// An empty ledger.
    pub(crate) fn new(plan: &Plan) -> Self {
        let partitions = plan.partitions_max() as usize;
        let kafka = plan.destination == crate::plan::Destination::Kafka;
        let certain = plan.acks_all;
        Self {
            entries: vec![Vec::new(); plan.clients.len()],
            newest: vec![(0, BatchId::default()); plan.clients.len() * TOPICS_MAX * partitions],
            partitions,
            sinks: plan.sinks,
            dead: plan.dead_letters.then_some(plan.sinks),
            acked: 0,
            stored: 0,
            disorder: Vec::new(),
            copies: Copies::default(),
            deleted: Deleted::new(TOPICS_MAX),
            sends: 0,
            due_wills: Vec::new(),
            life: 0,
            waived: [false; SINKS],
            rules: Rules {
                ack_is_stored: certain && plan.sync,
                ack_is_durable: certain && !plan.sync && plan.buffer == Buffer::Disk,
                ack_is_kept: certain && (plan.sync || plan.buffer == Buffer::Disk),
                ack_is_kept_alive: certain,
                minds_buffers: certain && !plan.sync && plan.buffer != Buffer::Memory,
                ordered: (!kafka || plan.idempotent || plan.inflight_max == 1) && certain,
                once: !kafka || plan.idempotent,
                ends_tell: kafka,
                delivered_is_stored: certain && plan.sync && plan.deliver_after,
                brokers_find_faults: kafka && !plan.rejects_late && !plan.live && !plan.additions.gives_up(),
            },
        }
    }

    /// Gives a client its next message number.
    pub(crate) fn next(&mut self, client: usize) -> MessageId {
        let entries = &mut self.entries[client];
        entries.push(Entry::default());
        MessageId { client: client as u16, seq: entries.len() as u32 - 1 }
    }

    /// It is about to be written to a socket.
    pub(crate) fn sent(&mut self, message: &Message) {
        let (waived, sends) = (self.waived, self.sends);
        self.sends += 1;
        let entry = self.entry(message.id);
        entry.sent += 1;
        if entry.sent == 1 {
            entry.since = sends;
        }
        // At QoS 2 what is sent again is what was taken before, and goes nowhere else.
        let keeps = message.qos == 2;
        for (sink, waived) in waived.into_iter().enumerate() {
            entry.ever_waived[sink] |= waived;
            entry.waived[sink] = if keeps { entry.ever_waived[sink] } else { waived };
        }
    }

    /// A sink goes, or is there again at every shard. What nobody has acknowledged when it goes may come too late for it.
    pub(crate) fn waive(&mut self, sink: usize, waived: bool) {
        self.waived[sink] = waived;
        if waived {
            let entries = self.entries.iter_mut().flatten();
            entries.filter(|entry| !entry.acked).for_each(|entry| {
                (entry.waived[sink], entry.ever_waived[sink]) = (true, true);
            });
        }
    }

    /// How much was written to sockets so far.
    pub(crate) fn sends(&self) -> u32 {
        self.sends
    }

    /// Messages at QoS 1 and 2 to these topics that were acknowledged, were first sent after so many, and that a client has not
    /// received.
    pub(crate) fn unheard(
        &self,
        plan: &Plan,
        client: usize,
        since: u32,
        is_wanted: impl Fn(&str) -> bool,
    ) -> Vec<MessageId> {
        let mut unheard = Vec::new();
        for (publisher, entries) in (0..).zip(&self.entries) {
            for (seq, entry) in (0..).zip(entries) {
                if !entry.acked || entry.since < since || entry.heard >> client & 1 == 1 {
                    continue;
                }
                let message = plan.kinds.message(MessageId { client: publisher, seq });
                if message.qos > 0 && is_wanted(&plan.topics[message.topic]) {
                    unheard.push(message.id);
                }
            }
        }
        unheard
    }

    /// It is a will.
    pub(crate) fn will(&mut self, id: MessageId) {
        self.entry(id).is_will = true;
    }

    /// The connection of a will has ended, of which its server does not fall silent.
    pub(crate) fn will_is_due(&mut self, will: Message) {
        self.due_wills.push(will);
    }

    /// The client of a will was back in time, or the node lost it: it is never published.
    ///
    /// # Panics
    /// If it was.
    pub(crate) fn will_is_void(&mut self, will: &Message) {
        let was_stored = (0..SINKS).any(|sink| self.deleted.records(will.id, sink) > 0);
        let entry = self.entry(will.id);
        let is_out = was_stored || entry.heard > 0 || entry.stored.iter().any(|&records| records > 0);
        assert!(!is_out, "VIOLATION the will {:?} is published, and its client was back in time: {entry:?}", will.id);
        entry.is_void = true;
    }

    /// Its publisher is told that it is safe.
    ///
    /// # Panics
    /// If it is not.
    pub(crate) fn acked(&mut self, message: &Message, topics: &[String]) {
        self.acked += 1;
        let Rules { ack_is_stored, ack_is_durable, .. } = self.rules;
        let (sinks, life) = (self.sinks, self.life + 1);
        let entry = self.entry(message.id);
        (entry.acked, entry.acked_life) = (true, life);
        let entry = *entry;
        for sink in (0..sinks).filter(|&sink| takes(sink, &topics[message.topic])) {
            let is_durable = entry.durable[sink] || entry.refused[sink].is_some();
            let has = || entry.has(sink) || self.deleted.held(message.id, sink);
            assert!(
                !ack_is_durable || is_durable || has(),
                "VIOLATION {:?} is acknowledged and not durable: {entry:?}",
                message.id
            );
            assert!(!ack_is_stored || has(), "VIOLATION {:?} is acknowledged and not stored: {entry:?}", message.id);
        }
    }

    /// Its publisher is told that it failed, or knows that it has to.
    pub(crate) fn nacked(&mut self, id: MessageId) {
        self.entry(id).nacked = true;
    }

    /// An MQTT 5 publisher is told for which reason it failed: the fault of a record, or of its topic, is for brokers to find.
    ///
    /// # Panics
    /// If none has.
    pub(crate) fn refused_by_node(&mut self, plan: &Plan, message: &Message, reason: u8) {
        self.nacked(message.id);
        if !self.rules.brokers_find_faults || !matches!(reason, BY_KAFKA | NOT_AUTHORIZED) {
            return;
        }
        let entry = *self.entry(message.id);
        let mut sinks = (0..self.sinks).filter(|&sink| takes(sink, &plan.topics[message.topic])).chain(self.dead);
        let is_refused = sinks.any(|sink| entry.refused[sink].is_some());
        assert!(
            is_refused,
            "VIOLATION {:?} is refused with reason {reason:#x}, and no broker refused it: {entry:?}",
            message.id
        );
    }

    /// A disk has not given something back for good: who is told of that cannot be known.
    pub(crate) fn disk_has_lost(&mut self) {
        self.rules.brokers_find_faults = false;
    }

    /// A broker has refused it for good, so that nobody has to store it; a buffer on disk may bring it back after a crash.
    pub(crate) fn refused(&mut self, sink: usize, value: &[u8]) {
        let Ok(id) = MessageId::read(value) else { return };
        let known = self.entries.get_mut(usize::from(id.client)).and_then(|entries| entries.get_mut(id.seq as usize));
        if let Some(entry) = known {
            entry.refused[sink].get_or_insert(self.life);
        }
    }

    /// The node is killed.
    pub(crate) fn next_life(&mut self) {
        self.due_wills.clear();
        self.life += 1;
    }

    /// Its publisher's session, or the node that kept it, is gone.
    pub(crate) fn forgotten(&mut self, id: MessageId) {
        let entry = self.entry(id);
        entry.forgotten = entry.forgotten.saturating_add(1);
    }

    /// A topic was deleted and is made anew: what it held is gone, and the order of its records begins anew.
    pub(crate) fn made_anew(&mut self, plan: &Plan, topic: usize) {
        self.deleted.made_anew(topic);
        let sink = plan.sink_of(topic);
        let is_dead = self.dead == Some(sink);
        for (client, entries) in (0..).zip(&mut self.entries) {
            let at = (usize::from(client) * TOPICS_MAX + topic) * self.partitions;
            self.newest[at..at + self.partitions].fill((0, BatchId::default()));
            for (seq, entry) in (0..).zip(entries).filter(|(_, entry)| entry.stored[sink] > 0) {
                let id = MessageId { client, seq };
                if plan.live && !is_dead && topic != named_topic(plan, sink, id) {
                    continue;
                }
                self.deleted.add(id, sink, std::mem::take(&mut entry.stored[sink]));
                if is_dead {
                    let buried = std::mem::take(&mut entry.buried);
                    (0..SINKS).filter(|&of| buried[of]).for_each(|of| self.deleted.bury(id, of));
                }
            }
        }
    }

    /// Kafka had stored records, and has them no longer: they count as stored, and are not looked for. The order of their partition begins
    /// anew.
    pub(crate) fn lost<'r>(&mut self, plan: &Plan, place: Place, records: impl Iterator<Item = Record<'r>>) {
        let (topic, partition) = (usize::from(place.topic), place.partition as usize);
        let sink = plan.sink_of(topic);
        for client in 0..self.entries.len() {
            self.newest[(client * TOPICS_MAX + topic) * self.partitions + partition] = (0, BatchId::default());
        }
        if self.deleted.is_former(place) {
            return;
        }
        for record in records {
            let Ok(id) = MessageId::read(record.value.unwrap_or_default()) else { continue };
            self.entry(id).stored[sink] -= 1;
            self.deleted.add(id, sink, 1);
        }
    }

    /// A record is stored for good.
    ///
    /// # Panics
    /// If it should not be there, or not there.
    pub(crate) fn stored(&mut self, plan: &Plan, batch: BatchId, record: &Record<'_>) {
        let (key, value) = (record.key, record.value.unwrap_or_default());
        if self.entries.is_empty() {
            // A world that plays a script: what comes of it is judged against other worlds.
            return;
        }
        let stamp = *self.copies.stamp(batch);
        let (topic, partition) = (usize::from(stamp.place.topic), stamp.place.partition as usize);
        let sink = plan.sink_of(topic);
        let id = MessageId::read(value)
            .unwrap_or_else(|why| panic!("VIOLATION topic {topic}, partition {partition}: {why}"));
        let known = self.entries.get(usize::from(id.client)).is_some_and(|entries| entries.len() > id.seq as usize);
        assert!(known && self.entry(id).sent > 0, "VIOLATION {id:?} is stored and was never sent");
        let message = plan.kinds.message(id);
        assert!(value.len() == message.len, "VIOLATION {id:?} has {} bytes", value.len());
        let is_dead = self.dead == Some(sink);
        let named = !plan.live || is_dead || topic == named_topic(plan, sink, id);
        assert!(named, "VIOLATION {id:?} is in topic {topic}");
        let meant_for = if is_dead { record.origin.map(origin_of) } else { Some(sink) };
        let is_taken = meant_for.is_some_and(|sink| takes(sink, &plan.topics[message.topic]));
        assert!(is_taken, "VIOLATION {id:?} is in topic t{sink}, meant for sink {meant_for:?}");
        let name = plan.clients[usize::from(id.client)].name.as_bytes();
        assert!(key == Some(name), "VIOLATION {id:?} has the key {key:?}");
        self.stored += 1;
        let rules = self.rules;
        let gone = self.deleted.records(id, sink);
        let is_former = self.deleted.is_former(stamp.place);
        let entry = self.entry(id);
        assert!(!entry.is_void, "VIOLATION the will {id:?} is stored, and its client was back in time");
        if !is_former {
            entry.stored[sink] += 1;
            entry.buried[meant_for.unwrap_or(sink)] |= is_dead;
        }
        let copies = entry.stored[sink];
        match gone + copies + u16::from(is_former) {
            1 => entry.first[sink] = batch,
            _ => self.copies.again(id, sink, batch),
        }
        if is_former {
            self.deleted.add(id, sink, 1);
            if let (true, Some(of)) = (is_dead, meant_for) {
                self.deleted.bury(id, of);
            }
            return;
        }
        if copies == 1 && rules.ordered && !is_dead {
            let at = (usize::from(id.client) * TOPICS_MAX + topic) * self.partitions + partition;
            let (newest, newer) = self.newest[at];
            let Entry { sent, refused, replayed, is_will, .. } = self.entries[usize::from(id.client)][id.seq as usize];
            // It was stored before in a topic that is gone, by a life that did not live to note it.
            let is_repeated = gone > 0 && replayed[sink] > 0;
            let refused_before = refused[sink].is_some_and(|life| life < self.life);
            if id.seq >= newest {
                self.newest[at] = (id.seq + 1, batch);
            } else if sent == 1 && !is_will && !refused_before && !is_repeated {
                let text =
                    format!("{id:?} is stored after {} of the same publisher in partition {partition}", newest - 1);
                let newer = *self.copies.stamp(newer);
                self.disorder.push(Disorder { newer, stamp, came_back: replayed[sink] > 0, text });
            }
        }
    }

    /// Whether it counts what lies on disk, and who was asked to store what.
    pub(crate) fn minds_buffers(&self) -> bool {
        self.rules.minds_buffers
    }

    /// It is durable in the buffer of a sink.
    pub(crate) fn durable(&mut self, sink: usize, value: &[u8]) {
        if let Ok(id) = MessageId::read(value) {
            self.entry(id).durable[sink] = true;
        }
    }

    /// A broker is asked to store it: it is not displaced any more by this life of the node.
    pub(crate) fn asked(&mut self, sink: usize, value: &[u8]) {
        let life = self.life + 1;
        if let Ok(id) = MessageId::read(value) {
            self.entry(id).asked[sink] = life;
        }
    }

    /// An earlier start had left it in a buffer on disk: it may have been sent already, and is sent again.
    pub(crate) fn replayed(&mut self, sink: usize, value: &[u8]) {
        let id = MessageId::read(value).unwrap_or_else(|why| panic!("VIOLATION the buffer of sink {sink}: {why}"));
        self.entry(id).replayed[sink] += 1;
    }

    /// A subscriber has received it. Whether that is its first copy of what was sent once, in its publisher's turn.
    ///
    /// # Panics
    /// If nobody sent it, or it is not stored.
    pub(crate) fn delivered(&mut self, message: &Message, client: usize, topics: &[String]) -> bool {
        let check = self.rules.delivered_is_stored && message.qos > 0;
        let sinks = self.sinks;
        let known = self.entries[usize::from(message.id.client)].len() > message.id.seq as usize;
        assert!(known, "VIOLATION {:?} is delivered and was never sent", message.id);
        let entry = self.entry(message.id);
        assert!(!entry.is_void, "VIOLATION the will {:?} is delivered, and its client was back in time", message.id);
        let is_first = entry.heard >> client & 1 == 0 && entry.sent == 1 && !entry.is_will;
        entry.heard |= 1 << client;
        let entry = *entry;
        for sink in (0..sinks).filter(|&sink| takes(sink, &topics[message.topic])) {
            // It may have been taken when it was sent for the first time.
            let has = || entry.has(sink) || entry.ever_waived[sink] || self.deleted.held(message.id, sink);
            assert!(!check || has(), "VIOLATION {:?} is delivered and not stored", message.id);
        }
        is_first
    }

    fn entry(&mut self, id: MessageId) -> &mut Entry {
        &mut self.entries[usize::from(id.client)][id.seq as usize]
    }
}

/// The topic that a message names for a sink.
fn named_topic(plan: &Plan, sink: usize, id: MessageId) -> usize {
    usize::from(topic_index(sink as u16, &plan.kinds.message(id).qos.to_string()))
}

/// Whether a sink takes a topic: the first takes all, the second what lies below `b/`.
pub(crate) fn takes(sink: usize, topic: &str) -> bool {
    sink == 0 || topic.starts_with("b/")
}
