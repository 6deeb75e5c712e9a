//! What is only known at the end: what is missing, and what is there too often.

use std::collections::{BTreeMap, BTreeSet};

use super::{Entry, Ledger, Rules, SINKS, origin_of, takes};
use crate::copies::{Stamp, beyond, under_one_number};
use crate::given_up::GivenUp;
use crate::kafka::Cluster;
use crate::message::{Message, MessageId};
use crate::plan::Plan;

/// How often a message was found, by sink.
#[derive(Debug, Clone, Copy, Default)]
struct Found {
    copies: [u16; SINKS],
    /// Whether among the dead letters, by the sink that it was meant for.
    buried: [bool; SINKS],
}

/// How often each message was found.
#[derive(Debug)]
pub(crate) struct Counts(Vec<Vec<Found>>);

impl Counts {
    /// It was found in the log of a sink; a dead letter names its `origin`.
    pub(crate) fn count(&mut self, sink: usize, id: MessageId, origin: Option<&[u8]>) {
        let found = &mut self.0[usize::from(id.client)][id.seq as usize];
        found.copies[sink] += 1;
        if let Some(origin) = origin {
            found.buried[origin_of(origin)] = true;
        }
    }
}

impl Ledger {
    /// The end, where no sink gave anything up: wills that were due are stored, at QoS 1 and 2, unless Kafka does not take them.
    ///
    /// # Panics
    /// If one is not there.
    pub(crate) fn judge_wills(&self, plan: &Plan) {
        let is_hopeless = |will: &Message| will.poison || will.len == plan.kinds.large_len;
        for will in self.due_wills.iter().filter(|will| will.qos > 0 && !is_hopeless(will)) {
            let entry = &self.entries[usize::from(will.id.client)][will.id.seq as usize];
            for sink in (0..self.sinks).filter(|&sink| takes(sink, &plan.topics[will.topic])) {
                let is_there = entry.has(sink) || entry.refused[sink].is_some() || self.deleted.held(will.id, sink);
                assert!(
                    is_there,
                    "VIOLATION the will {:?} was due and is not stored for sink {sink}: {entry:?}",
                    will.id
                );
            }
        }
    }

    /// The end: `possible_duplicates` is what the engine itself has counted.
    ///
    /// # Panics
    /// If records were made more often than was asked for and admitted.
    pub(crate) fn judge(&self, plan: &Plan, possible_duplicates: u64, cluster: Option<&Cluster>) {
        if !self.rules.once {
            return;
        }
        let is_excused = |stamp: &Stamp| cluster.is_some_and(|c| c.is_excused(stamp.place, stamp.producer));
        let (mut extra, mut first) = (0, None);
        for (client, entries) in self.entries.iter().enumerate() {
            for (seq, entry) in entries.iter().enumerate() {
                let message = plan.kinds.message(MessageId { client: client as u16, seq: seq as u32 });
                for (sink, copies) in entry.stored.into_iter().enumerate() {
                    let copies = copies + self.deleted.records(message.id, sink);
                    if copies <= 1 {
                        continue;
                    }
                    let may = self.records_max(plan, &message, entry, sink);
                    if copies <= may {
                        continue;
                    }
                    let stamps = self.copies.of(message.id, sink, entry.first[sink]);
                    // MQTT 3.1.1 is told no by the end of its connection, and sends again what may be there.
                    let asked = if plan.clients[client].v5 { may } else { may.max(entry.sent * self.sinks as u16) };
                    self.judge_copies(message.id, (may, asked), &stamps, cluster);
                    if !stamps.iter().any(is_excused) {
                        extra += beyond(&stamps, usize::from(may)) as u64;
                        first.get_or_insert((message, entry));
                    }
                }
            }
        }
        assert!(
            extra <= possible_duplicates,
            "VIOLATION {extra} records too many, {possible_duplicates} possible duplicates admitted; the first is {first:?}"
        );
    }

    /// Whether an acknowledgement promised that a message is stored in the end. What lay in memory alone is gone with its life.
    fn is_kept(&self, entry: &Entry, sink: usize) -> bool {
        let Rules { ack_is_kept, ack_is_kept_alive, .. } = self.rules;
        // What was open when a node was killed may be acknowledged by what that had still written.
        let is_alive = entry.acked_life > self.life && entry.forgotten == 0 || entry.durable[sink];
        ack_is_kept || ack_is_kept_alive && is_alive
    }

    /// Whether the writers had a reason for each copy beyond those that the message may have.
    fn judge_copies(&self, id: MessageId, (may, asked): (u16, u16), copies: &[Stamp], cluster: Option<&Cluster>) {
        let forgotten = |stamp: &Stamp| cluster.is_some_and(|c| c.has_forgotten(stamp.place, stamp.producer));
        let under_one = under_one_number(copies, forgotten);
        assert!(
            under_one <= usize::from(asked),
            "VIOLATION {id:?} may have {asked} records, and {under_one} lie under one producer id and epoch: {copies:?}"
        );
        let known = self.copies.known(copies);
        assert!(
            known <= usize::from(may),
            "VIOLATION {id:?} may have {may} records, and was sent again after the word that {known} are stored: {copies:?}"
        );
    }

    /// How many records a message may make for a sink: at QoS 2 a resend makes no second one, unless the receiver has forgotten the
    /// first, or has said no to it; where another sink failed that is a no. And what was found in a buffer on disk is sent again.
    fn records_max(&self, plan: &Plan, message: &Message, entry: &Entry, sink: usize) -> u16 {
        let once = message.qos == 2 && !plan.rejects_late && plan.sinks == 1;
        let may = if once { 1 + entry.forgotten } else { entry.sent };
        match self.dead == Some(sink) {
            // Each record that fails may make one there.
            true => may * self.sinks as u16 + entry.replayed.iter().sum::<u16>(),
            false => may + entry.replayed[sink],
        }
    }

    /// What waits in a partition's buffer on disk, oldest first, after records have given way there: nothing younger is gone. Of
    /// each client only what it has sent once, in this life of the node, says something about order.
    ///
    /// # Panics
    /// If something is.
    pub(crate) fn judge_backlog(&self, plan: &Plan, sink: usize, topic_name: &str, waiting: &[MessageId]) {
        let entry = |id: &MessageId| &self.entries[usize::from(id.client)][id.seq as usize];
        let is_plain = |entry: &Entry| entry.sent == 1 && !entry.is_will && entry.replayed[sink] == 0;
        let mut fronts: BTreeMap<u16, u32> = BTreeMap::new();
        for id in waiting.iter().filter(|id| is_plain(entry(id))) {
            fronts.entry(id.client).or_insert(id.seq);
        }
        let waiting: BTreeSet<&MessageId> = waiting.iter().collect();
        for (client, front) in fronts {
            for seq in front + 1..self.entries[usize::from(client)].len() as u32 {
                let id = MessageId { client, seq };
                let (own, message) = (entry(&id), plan.kinds.message(id));
                let is_here = takes(sink, &plan.topics[message.topic])
                    && (topic_name.is_empty() || topic_name.ends_with(&message.qos.to_string()));
                let is_judged = is_here && own.acked && is_plain(own) && own.acked_life > self.life;
                let is_known = waiting.contains(&id)
                    || own.has(sink)
                    || own.refused[sink].is_some()
                    || own.asked[sink] > self.life
                    || self.deleted.held(id, sink);
                assert!(
                    !is_judged || is_known,
                    "VIOLATION {id:?} is gone from the buffer of sink {sink}, where {front} of the same client waits: {own:?}"
                );
            }
        }
    }

    /// Room to count every message in every log.
    pub(crate) fn counts(&self) -> Counts {
        Counts(self.entries.iter().map(|entries| vec![Found::default(); entries.len()]).collect())
    }

    /// The end, against a second reading of the logs. `given_up`: records that were displaced, or that the disk does not give
    /// back; those that brokers refused are known here one by one.
    ///
    /// # Panics
    /// If something acknowledged is not there.
    pub(crate) fn judge_logs(&self, plan: &Plan, read: &Counts, given_up: &GivenUp) {
        let mut missing = [0; SINKS];
        let gives_up = plan.live || plan.additions.patience.is_some();
        for (client, entries) in self.entries.iter().enumerate() {
            for (seq, entry) in entries.iter().enumerate() {
                let id = MessageId { client: client as u16, seq: seq as u32 };
                let Found { copies: found, buried } = read.0[client][seq];
                let all = (0..SINKS).all(|sink| match self.rules.ends_tell {
                    true => found[sink] == entry.stored[sink],
                    // What a killed node had written and not heard of may be there too.
                    false => found[sink] >= entry.stored[sink] && found[sink] <= entry.sent,
                });
                assert!(
                    all && (!self.rules.ends_tell || buried == entry.buried),
                    "VIOLATION {id:?} is {found:?} times in the logs: {entry:?}"
                );
                if !entry.acked {
                    continue;
                }
                let topic = &plan.topics[plan.kinds.message(id).topic];
                // In async an acknowledgement comes before Kafka's word, which may be no.
                let by_its_grave = self.dead.is_some_and(|dead| entry.refused[dead].is_some());
                let is_refused =
                    |sink: usize| (entry.refused[sink].is_some() || by_its_grave) && !self.rules.ack_is_stored;
                let is_gone = |sink: usize| self.deleted.held(id, sink);
                let is_there = |sink: usize| {
                    found[sink] > 0 || buried[sink] || entry.waived[sink] || is_refused(sink) || is_gone(sink)
                };
                let is_kept = |sink: usize| self.is_kept(entry, sink);
                let lost = (0..self.sinks).filter(|&sink| takes(sink, topic) && is_kept(sink) && !is_there(sink));
                let was_asked = lost.clone().any(|sink| entry.asked[sink] > self.life) && !gives_up;
                assert!(!was_asked, "VIOLATION {id:?} was acknowledged and sent, and is not in a log: {entry:?}");
                let is_whole = lost.clone().next().is_none();
                lost.for_each(|sink| missing[sink] += 1);
                let excused = !self.rules.ack_is_stored && given_up.excuses(&missing);
                assert!(
                    is_whole || excused,
                    "VIOLATION {id:?} was acknowledged and is not in a log, {missing:?} like it, {given_up:?}: {entry:?}"
                );
            }
        }
    }
}
