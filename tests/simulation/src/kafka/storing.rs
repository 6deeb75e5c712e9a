//! From a Produce to its answer: `KafkaApis.handleProduceRequest`, `ReplicaManager.appendRecords`, `UnifiedLog.append` and
//! `DelayedProduce` of Kafka 4.1, in their order.
//!
//! ```text
//! known here? ─ led here? ─ enough in sync? ─ size ─ timestamps, records ─ producer state ─ append ─ wait for replicas
//! ```
//!
//! What is stored already is recognised after size and timestamps: a broker that takes smaller batches since refuses what
//! it has. And it is answered like new, when all replicas in sync have it.

use aqueduct::clock::Mono;

use super::batch::{self, Batch, Records};
use super::faults::{self, code};
use super::held::{Token, Waits};
use super::produce::{Answer, Fate, Request, Result};
use super::producers::{Rules, Verdict};
use super::{Cluster, HOST, Handled, PORT, Released, Reply, Told};

/// Kafka looks for old producers every ten minutes; a second here is as good and meets more.
const EXPIRY_CHECK_NS: u64 = 1_000_000_000;

impl Cluster {
    #[expect(clippy::too_many_arguments, reason = "what a request is, and what becomes of it")]
    pub(super) fn store<'b>(
        &mut self,
        now: Mono,
        broker: usize,
        head: &[u8],
        cuts: &[u32],
        mut batches: impl Iterator<Item = &'b [u8]>,
        fate: Fate,
        late_ns: u64,
        out: &mut Vec<u8>,
    ) -> Handled {
        self.counts.produces += 1;
        let mut request = Request::begin(head, cuts);
        let terms = request.terms;
        assert!(terms.version <= self.plan.produce_version, "Produce {} was not announced", terms.version);
        let mut answer = self.spare_answers.pop().unwrap_or_default();
        (answer.version, answer.correlation, answer.acks) = (terms.version, terms.correlation, terms.acks);
        (answer.fate, answer.late_ns) = (fate, late_ns);
        let throttled = self.random.chance(self.faults.throttle);
        answer.throttle_ms =
            if throttled { self.random.below(u64::from(self.faults.throttle_ms_max) + 1) as i32 } else { 0 };
        answer.shuffled = self.random.chance(self.faults.shuffle);
        while let Some((name, partition, bytes)) = request.next(&mut batches) {
            assert!(terms.version >= 7 || !batch::is_zstd(bytes), "zstd to a broker that is too old for it");
            self.counts.batches += 1;
            let topic = self.topics.iter().position(|topic| topic.plan.name.as_bytes() == name);
            let topic =
                topic.unwrap_or_else(|| panic!("Produce to {}, which nobody named", String::from_utf8_lossy(name)));
            let result = self.store_batch(now, broker, topic, partition, bytes, &mut answer);
            answer.results.push(result);
        }
        let open = answer.open();
        if open > 0 {
            let until = now.plus_ms(terms.timeout_ms as u64);
            return Handled::Waits(Waits::Replicas { answer, open, until });
        }
        Handled::Done(self.finish(now, answer, out))
    }

    /// Registers a request with the partitions it waits for.
    pub(super) fn await_replicas(&mut self, broker: usize, token: Token) {
        let Some(held) = self.waiting.get_mut(token) else { return };
        let Waits::Replicas { answer, .. } = &held.waits else { return };
        for result in answer.results.iter().filter(|result| result.required >= 0) {
            self.partitions[result.id as usize].wait(broker, result.required, token);
        }
    }

    fn store_batch(
        &mut self,
        now: Mono,
        broker: usize,
        topic: usize,
        partition: i32,
        bytes: &[u8],
        answer: &mut Answer,
    ) -> Result {
        let clock_ms = self.wall_ms + self.plan.clocks_ms.get(broker).copied().unwrap_or_default();
        let (earliest_ms, latest_ms) =
            (clock_ms - self.plan.timestamp_before_max_ms, clock_ms + self.plan.timestamp_after_max_ms);
        let place = answer.results.len() as u32;
        let is_poison = |value: &[u8]| !self.topics[topic].plan.takes_poison && (self.plan.is_poison)(value);
        let (mut untimely, before) = (false, answer.at_fault.len());
        let (batch, plain) = batch::check(bytes, |record| {
            let in_time = (earliest_ms..=latest_ms).contains(&record.timestamp_ms);
            if !in_time || record.value.is_some_and(is_poison) {
                untimely |= !in_time;
                answer.at_fault.push((place, record.index as i32));
            }
        });
        let at_fault = answer.at_fault.len() > before;
        let malformed = match (at_fault, untimely) {
            (false, _) => code::NONE,
            (true, true) => code::INVALID_TIMESTAMP,
            (true, false) => code::INVALID_RECORD,
        };
        let mut result = Result {
            topic: topic as u16,
            partition,
            error: 0,
            base_offset: -1,
            required: -1,
            id: u32::MAX,
            leader: None,
        };
        result.error = match self.judge(now, broker, answer.acks, bytes.len(), &batch, malformed, &mut result) {
            Ok(verdict) => self.append(now, broker, answer.acks, &batch, &plain, verdict, &mut result),
            Err(error) => error,
        };
        if faults::is_final(result.error, batch.producer_id >= 0) {
            let at_fault = answer.at_fault.iter().skip(before).map(|&(_, index)| index);
            self.note_refusal(topic, result.error, &plain, &at_fault.collect::<Vec<_>>());
        }
        let told = matches!(result.error, code::INVALID_TIMESTAMP | code::INVALID_RECORD);
        if at_fault && (!told || self.random.chance(self.faults.silent_errors)) {
            answer.at_fault.truncate(before);
        }
        self.counts.errors[(result.error + 1) as usize] += 1;
        result
    }

    /// Notes whose records an answer condemns. A batch that is refused because of its records is sent again in parts, so that
    /// only those at fault are; without a word of which, one that is alone.
    fn note_refusal(&mut self, topic: usize, error: i16, plain: &[u8], at_fault: &[i32]) {
        let records = Records::of(plain);
        let is_alone = records.clone().count() == 1;
        let condemns = |index: i32| match faults::IN_PARTS.contains(&error) {
            true => is_alone || at_fault.contains(&index),
            false => true,
        };
        let condemned = records.filter(|record| condemns(record.index as i32));
        self.refused.extend(condemned.filter_map(|record| Some((topic, record.value?.to_vec()))));
    }

    /// Everything that is decided before the log is touched.
    #[expect(clippy::too_many_arguments, reason = "what a broker looks at")]
    fn judge(
        &mut self,
        now: Mono,
        broker: usize,
        acks: i16,
        bytes: usize,
        batch: &Batch,
        malformed: i16,
        result: &mut Result,
    ) -> std::result::Result<Verdict, i16> {
        let (topic, partition) = (usize::from(result.topic), result.partition);
        let seen = self.brokers[broker].topics[topic].filter(|seen| (0..seen.partitions as i32).contains(&partition));
        let Some(seen) = seen else { return Err(code::UNKNOWN_TOPIC_OR_PARTITION) };
        let id = self.topics[topic].lives[usize::from(seen.life)].partitions[partition as usize];
        let named = std::mem::replace(&mut self.partitions[id as usize].stamp, self.counts.requests);
        assert_ne!(named, self.counts.requests, "a Produce names a partition twice");
        result.id = id;
        let led = self.brokers[broker].leds[id as usize];
        if led.leader != Some(broker) {
            result.leader = Some((led.leader.map_or(-1, |leader| leader as i32), led.epoch));
            return Err(code::NOT_LEADER_OR_FOLLOWER);
        }
        self.forget_producers(now, broker, id);
        let rules = Rules { strict: self.plan.strangers_begin_at_0, remembered: self.plan.remembered_batches };
        let verdict = self.partitions[id as usize].producers(broker).judge(batch, rules);
        let stored = matches!(verdict, Verdict::Stored(_));
        if let Some(error) = self.injected(stored, id, batch) {
            return Err(error);
        }
        if acks == -1 && (led.isr.count_ones() as usize) < self.insync_min(id) {
            return Err(code::NOT_ENOUGH_REPLICAS);
        }
        let too_large = bytes > self.topics[topic].batch_bytes_max;
        if too_large || malformed != code::NONE {
            if stored {
                self.counts.refused_though_stored += 1;
                self.mislead(id, batch);
            }
            return Err(if too_large { code::MESSAGE_TOO_LARGE } else { malformed });
        }
        match verdict {
            Verdict::Refused(error) => {
                // A former leader misses what the new one has, and says so to a producer that is in order.
                if self.controller.leds[id as usize].leader != Some(broker) {
                    self.mislead(id, batch);
                }
                Err(error)
            }
            taken => {
                self.note_beginning(id, broker, batch, taken);
                Ok(taken)
            }
        }
    }

    /// A topic made anew takes the middle of an epoch for its beginning.
    fn note_beginning(&mut self, id: u32, broker: usize, batch: &Batch, verdict: Verdict) {
        let partition = &mut self.partitions[id as usize];
        let is_amid = partition.place.life > 0 && batch.base_sequence > 0 && verdict == Verdict::Append;
        if is_amid && partition.expects(broker, batch.producer_id, batch.producer_epoch).is_none() {
            partition.began_amid.insert((batch.producer_id, batch.producer_epoch));
        }
    }

    fn forget_producers(&mut self, now: Mono, broker: usize, id: u32) {
        let partition = &mut self.partitions[id as usize];
        let mut forgotten = Vec::new();
        if self.random.chance(self.faults.amnesia) {
            forgotten.extend(partition.producers(broker).forget());
        }
        if let Some(expiry_ms) = self.plan.producer_expiry_ms
            && now.since(partition.expired_at) > EXPIRY_CHECK_NS
        {
            partition.expired_at = now;
            forgotten.extend(partition.producers(broker).expire(self.wall_ms, expiry_ms));
        }
        self.counts.amnesias += u64::from(!forgotten.is_empty());
        partition.forgotten.extend(forgotten);
    }

    /// The producer of a batch is told what makes it number anew what is stored already.
    fn mislead(&mut self, id: u32, batch: &Batch) {
        self.partitions[id as usize].misled.insert((batch.producer_id, batch.producer_epoch));
    }

    /// An error without a reason.
    fn injected(&mut self, stored: bool, id: u32, batch: &Batch) -> Option<i16> {
        let error = if self.random.chance(self.faults.refuse_passing) {
            self.random.one_of(&faults::PASSING)
        } else if self.random.chance(self.faults.refuse_any) {
            self.random.below(faults::CODE_MAX as u64 + 2) as i16 - 1
        } else {
            return None;
        };
        // "Stored before" is never said of what is not; and what is stored is not refused for its form or number.
        let untrue = error == code::NONE || error == 46 || stored && faults::RENUMBERED.contains(&error);
        if untrue {
            return None;
        }
        if faults::FORGETFUL.contains(&error) {
            self.mislead(id, batch);
        }
        Some(error)
    }

    /// Appends, or finds what lies there. Returns the error, if one is said all the same.
    #[expect(clippy::too_many_arguments, reason = "what a broker stores")]
    fn append(
        &mut self,
        now: Mono,
        broker: usize,
        acks: i16,
        batch: &Batch,
        bytes: &[u8],
        verdict: Verdict,
        result: &mut Result,
    ) -> i16 {
        let id = result.id;
        let partition = &mut self.partitions[id as usize];
        let end = if let Verdict::Stored(offset) = verdict {
            self.counts.dedupes += 1;
            result.base_offset = offset;
            partition.end_of(broker, offset)
        } else {
            result.base_offset = partition.append(now, broker, *batch, bytes);
            self.counts.appended += 1;
            self.counts.records += u64::from(batch.records);
            self.counts.stale_appends += u64::from(self.controller.leds[id as usize].leader != Some(broker));
            self.replicate(now, broker, id);
            result.base_offset + i64::from(batch.records)
        };
        if self.random.chance(self.faults.after_append) {
            self.counts.after_append += 1;
            return self.random.one_of(&faults::AFTER_APPEND);
        }
        if acks == -1 {
            if self.partitions[id as usize].high(broker) < end {
                result.required = end;
            } else {
                return self.committed_as(broker, id);
            }
        }
        code::NONE
    }

    /// How a batch is answered that is committed.
    fn committed_as(&self, broker: usize, id: u32) -> i16 {
        let isr = self.brokers[broker].leds[id as usize].isr;
        let enough = isr.count_ones() as usize >= self.insync_min(id);
        if enough { code::NONE } else { code::NOT_ENOUGH_REPLICAS_AFTER_APPEND }
    }

    /// Replicas that must be in sync: `min.insync.replicas`, and no more than there are.
    pub(super) fn insync_min(&self, id: u32) -> usize {
        let partition = &self.partitions[id as usize];
        self.topics[usize::from(partition.place.topic)].plan.insync_min.min(partition.replicas.len())
    }

    /// Moves the high watermark of a leader, and answers what has waited for it.
    pub(super) fn advance(&mut self, now: Mono, broker: usize, id: u32) {
        let isr = self.brokers[broker].leds[id as usize].isr;
        if (isr.count_ones() as usize) < self.insync_min(id) && !self.plan.commits_below_min {
            return;
        }
        let mut fresh = std::mem::take(&mut self.scratch.fresh);
        let mut woken = std::mem::take(&mut self.scratch.woken);
        self.partitions[id as usize].advance(broker, isr, &mut fresh, &mut woken);
        self.counts.committed += fresh.len() as u64;
        self.committed.extend(fresh.drain(..).map(|batch| (id, batch)));
        let error = self.committed_as(broker, id);
        for token in woken.drain(..) {
            self.decide(now, token, id, error);
        }
        (self.scratch.fresh, self.scratch.woken) = (fresh, woken);
    }

    /// One partition that a request waits for is decided.
    pub(super) fn decide(&mut self, now: Mono, token: Token, id: u32, error: i16) {
        let Some(held) = self.waiting.get_mut(token) else { return };
        let Waits::Replicas { answer, open, .. } = &mut held.waits else { return };
        let waits = |result: &&mut Result| result.id == id && result.required >= 0;
        let Some(result) = answer.results.iter_mut().find(waits) else { return };
        (result.required, result.error) = (-1, error);
        *open -= 1;
        let decided = *open == 0;
        if error != code::NONE {
            self.counts.errors[(error + 1) as usize] += 1;
        }
        if decided {
            self.release(now, token);
        }
    }

    /// Requests that have waited long enough are answered as timed out; what they stored stays stored.
    pub(super) fn give_up(&mut self, now: Mono) {
        let brokers = &self.brokers;
        for token in self.waiting.expired(now, |broker| !brokers[broker].is_up()) {
            let Some(held) = self.waiting.get_mut(token) else { continue };
            let Waits::Replicas { answer, open, .. } = &mut held.waits else { continue };
            *open = 0;
            for result in answer.results.iter_mut().filter(|result| result.required >= 0) {
                (result.required, result.error) = (-1, code::REQUEST_TIMED_OUT);
                self.counts.errors[code::REQUEST_TIMED_OUT as usize + 1] += 1;
            }
            self.counts.timeouts += 1;
            self.release(now, token);
        }
    }

    fn release(&mut self, now: Mono, token: Token) {
        let Some(held) = self.waiting.take(token) else { return };
        self.waiting.end(token);
        let Waits::Replicas { answer, .. } = held.waits else { return };
        let mut frame = self.spare_frames.pop().unwrap_or_default();
        let reply = self.finish(now, answer, &mut frame);
        let told = self.told();
        self.released.push(Released { token, reply, frame, told });
    }

    /// In which life of its topic each batch of an answer was stored, or refused.
    fn lives_of(&self, answer: &Answer) -> Vec<(u16, u16)> {
        if self.counts.renewed == 0 {
            return Vec::new();
        }
        let life = |id: u32| self.partitions.get(id as usize).map_or(0, |partition| partition.place.life);
        answer.results.iter().map(|result| (result.topic, life(result.id))).collect()
    }

    fn finish(&mut self, now: Mono, mut answer: Answer, out: &mut Vec<u8>) -> Reply {
        self.told = Told { stored: answer.stored(), lives: self.lives_of(&answer) };
        let reply = match (answer.acks, answer.failed()) {
            // Nobody could be told, so the connection is closed.
            (0, true) => Reply::Close { handled: true },
            (0, false) if answer.fate != Fate::Closed => Reply::Unanswered,
            _ => {
                if answer.fate == Fate::Sent {
                    let topics = &self.topics;
                    answer.write(|topic| topics[usize::from(topic)].plan.name.as_bytes(), HOST, PORT, out);
                }
                self.end(now, answer.fate, answer.late_ns, out)
            }
        };
        answer.results.clear();
        answer.at_fault.clear();
        self.spare_answers.push(answer);
        reply
    }
}
