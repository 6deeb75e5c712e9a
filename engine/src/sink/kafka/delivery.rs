//! From answers to outcomes: what a broker said, or did not say, about each batch of a request.

use kafka::ErrorCode;
use kafka::error_code::ForProduce;
use kafka::message::produce::{self, PartitionResult};
use kafka::record_batch::HEADER_LEN;

use super::partition::Settled;
use super::{Cargo, Place, Produce, Shipment};
use crate::broker::Slot;
use crate::buffer::Batch;
use crate::clock::Mono;
use crate::plants::{Plant, is_planted};
use crate::shard::control::Level;
use crate::shard::io::{Io, Request};
use crate::sink::Answered;
use crate::ticket::{FailReason, Outcome};

/// How often a batch that arrives damaged is sent again before its records are suspected.
const BRIEF_TRIES: u32 = 3;

impl Produce {
    /// A broker has answered a request.
    pub(super) fn on_produced(
        &mut self,
        now: Mono,
        slot: Slot,
        version: i16,
        body: &[u8],
        mut request: Request,
        io: &mut impl Io,
    ) {
        let response = match produce::decode_response(version, body) {
            Ok(response) => response,
            Err(error) => {
                self.cluster.fail(slot, error.to_string(), io);
                return self.on_lost(request);
            }
        };
        if response.throttle_time_ms > 0
            && let Some(link) = self.cluster.link_mut(slot)
        {
            link.hush(now, response.throttle_time_ms);
        }
        // Brokers mostly answer in the order of the request.
        let mut in_order = response.partitions();
        for batch in request.batches.drain(..) {
            let Some(place) = self.place_of(&batch) else { continue };
            let topic = self.cluster.topic(place.topic).map_or("", |topic| topic.name.as_str());
            let own = |r: &PartitionResult<'_>| r.partition == place.partition as i32 && r.topic == topic;
            let result = in_order.next().filter(own).or_else(|| response.partitions().find(own));
            match result {
                Some(result) => self.on_result(now, place, batch, &result),
                None => self.on_no_answer(place, batch),
            }
        }
        self.recycle(request);
    }

    /// A request that is not answered has left: that is all that was asked for.
    pub(super) fn on_sent(&mut self, now: Mono, mut request: Request) {
        for batch in request.batches.drain(..) {
            if let Some(place) = self.place_of(&batch) {
                let at = self.land(place, batch);
                self.stored(now, place, at, -1);
            }
        }
        self.recycle(request);
    }

    /// A request whose link is gone: whether anything of it was stored is open.
    pub(super) fn on_lost(&mut self, mut request: Request) {
        for batch in request.batches.drain(..) {
            if let Some(place) = self.place_of(&batch) {
                self.on_no_answer(place, batch);
            }
        }
        self.recycle(request);
    }

    fn on_no_answer(&mut self, place: Place, batch: Box<Batch>) {
        let at = self.land(place, batch);
        if is_planted(Plant::DropRecord) {
            return self.stored(Mono::default(), place, at, -1);
        }
        self.partition_mut(place).again(at, true);
    }

    fn on_result(&mut self, now: Mono, place: Place, batch: Box<Batch>, result: &PartitionResult<'_>) {
        let at = self.land(place, batch);
        let code = result.error_code;
        if code.is_ok() {
            return self.stored(now, place, at, result.base_offset);
        }
        if code.refresh_metadata() {
            self.cluster.mark_stale();
        }
        if let Some(leader) = result.current_leader
            && !self.partition_mut(place).landed(at).is_outlived
        {
            self.cluster.hear_of_leader(now, place.topic, place.partition, (leader.id, leader.epoch));
        }
        match code.for_produce() {
            ForProduce::Stored | ForProduce::AlreadyStored => self.stored(now, place, at, -1),
            // Refused before it was written; any other error may also come from waiting for the replicas.
            ForProduce::Retry => self.again(place, at, code, code != ErrorCode::NOT_ENOUGH_REPLICAS),
            ForProduce::RetryBriefly if self.partition_mut(place).damaged(at) < BRIEF_TRIES => {
                self.again(place, at, code, false);
            }
            ForProduce::SequenceLost if self.is_numbered(place, at) => {
                self.partition_mut(place).number_refused(at);
            }
            ForProduce::TooLarge => self.split(place, at, result, FailReason::TooLarge),
            ForProduce::RetryBriefly | ForProduce::BadRecords => self.split(place, at, result, FailReason::Invalid),
            ForProduce::SequenceLost | ForProduce::Refused | ForProduce::Stop => {
                self.fail(place, at, result, reason_of(code));
            }
        }
    }

    fn is_numbered(&mut self, place: Place, at: usize) -> bool {
        self.partition_mut(place).landed(at).numbered().is_some()
    }

    /// A batch is back from the driver.
    fn land(&mut self, place: Place, batch: Box<Batch>) -> usize {
        let at = self.partition_mut(place).land(batch);
        // Out of its place for a moment, so that writer and shipment can be used side by side.
        let partition = std::mem::take(self.partition_mut(place));
        self.each_share(partition.landed(at), |writer, sink, home, records| {
            let at = writer.inflight_index(sink, home);
            writer.inflight[at] -= u64::from(records);
        });
        *self.partition_mut(place) = partition;
        self.list(place);
        at
    }

    fn stored(&mut self, now: Mono, place: Place, at: usize, base_offset: i64) {
        if let Some(topic) = self.topics.get_mut(usize::from(place.topic)) {
            topic.trouble = None;
            topic.ceiling.stored();
        }
        if let Some(shipment) = self.partition_mut(place).stored(now, at) {
            self.watch_offsets(now, place, &shipment, base_offset);
            self.complete(shipment, Outcome::Stored { base_offset });
        }
    }

    fn again(&mut self, place: Place, at: usize, code: ErrorCode, doubtful: bool) {
        let partition = self.partition_mut(place);
        partition.refused(at);
        partition.again(at, doubtful);
        self.set_trouble(place, code);
    }

    fn fail(&mut self, place: Place, at: usize, result: &PartitionResult<'_>, reason: FailReason) {
        let Some(shipment) = self.partition_mut(place).failed(at) else { return };
        self.say_failed(place, shipment.records, result);
        self.set_trouble(place, result.error_code);
        self.complete(shipment, Outcome::Failed(reason));
    }

    /// A batch was not taken as a whole: its parts are sent in its place.
    fn split(&mut self, place: Place, at: usize, result: &PartitionResult<'_>, reason: FailReason) {
        let flight = self.partition_mut(place).landed(at);
        if flight.records == 1 || is_planted(Plant::FailBatch) && reason == FailReason::Invalid {
            return self.fail(place, at, result, reason);
        }
        let Some(mut shipment) = self.partition_mut(place).take_out(at) else { return };
        if reason == FailReason::TooLarge {
            self.note_size(place, &mut shipment);
        }
        let parts = match std::mem::replace(&mut shipment.cargo, Cargo::Batch) {
            Cargo::Merged(mut sources) => {
                let parts = sources.drain(..).map(Shipment::alone).collect();
                self.carriers.give_list(sources);
                parts
            }
            Cargo::Batch => {
                let Some(mut batch) = shipment.batch.take() else { return };
                let unpacked = self.packer.unpack(&mut batch);
                debug_assert!(unpacked.is_ok(), "what we compressed comes back: {unpacked:?}");
                let split = self.splits.begin(batch);
                self.cut(place, split, 0, shipment.records, result, reason)
            }
            Cargo::Piece { split, first } => self.cut(place, split, first, shipment.records, result, reason),
        };
        if let Some(carrier) = shipment.batch.take() {
            self.carriers.give(carrier);
        }
        self.partition_mut(place).put_in(at, &shipment, parts);
    }

    /// What comes after a batch that was too large is to be smaller: merged batches here, others at the shard that fills them.
    /// Bytes count before compression, as they do where batches are filled.
    fn note_size(&mut self, place: Place, shipment: &mut Shipment) {
        let Some(batch) = shipment.batch.as_deref_mut() else { return };
        let plain_bytes = match &shipment.cargo {
            Cargo::Batch => {
                batch.too_large = true;
                batch.plain_bytes()
            }
            Cargo::Merged(sources) => HEADER_LEN + sources.iter().map(|source| source.queued_bytes).sum::<usize>(),
            Cargo::Piece { .. } => return,
        };
        if let Some(topic) = self.topics.get_mut(usize::from(place.topic)) {
            topic.ceiling.refused(plain_bytes);
        }
    }

    /// Cuts `n` records from `first` on: around those the broker names, or in halves.
    fn cut(
        &mut self,
        place: Place,
        split: u32,
        first: u32,
        n: u32,
        result: &PartitionResult<'_>,
        reason: FailReason,
    ) -> Vec<Shipment> {
        let mut bad: Vec<u32> = match reason {
            FailReason::Invalid => result.record_errors.filter_map(|e| u32::try_from(e.batch_index).ok()).collect(),
            _ => Vec::new(),
        };
        bad.retain(|&index| index < n);
        bad.sort_unstable();
        bad.dedup();
        if bad.is_empty() {
            let half = n / 2;
            return [(first, half), (first + half, n - half)]
                .into_iter()
                .filter_map(|(first, n)| self.piece(split, first, n))
                .collect();
        }
        self.say_failed(place, bad.len() as u32, result);
        let mut parts = Vec::new();
        let mut from = 0;
        for index in bad.into_iter().chain([n]) {
            if index > from {
                parts.extend(self.piece(split, first + from, index - from));
            }
            if index < n {
                self.end_piece(split, first + index, 1, Outcome::Failed(reason));
            }
            from = index + 1;
        }
        parts
    }

    /// A part of a batch as a shipment of its own.
    fn piece(&mut self, split: u32, first: u32, n: u32) -> Option<Shipment> {
        let carrier = self.carriers.take(self.splits.batch(split));
        match Shipment::piece(split, self.splits.batch(split), first, n, carrier) {
            Ok(shipment) => Some(shipment),
            Err(error) => {
                debug_assert!(false, "a batch of ours reads as it was written: {error}");
                self.end_piece(split, first, n, Outcome::Failed(FailReason::Invalid));
                None
            }
        }
    }

    /// The last word on a shipment: the batches behind it go home.
    pub(super) fn complete(&mut self, shipment: Shipment, outcome: Outcome) {
        if shipment.in_doubt && matches!(outcome, Outcome::Failed(_)) {
            // It may be stored, and whoever hears that it is not publishes it again.
            self.count_possible_duplicates(&shipment);
        }
        let Some(batch) = shipment.batch else { return };
        match shipment.cargo {
            Cargo::Batch => self.answered.push_back(Answered { batch, outcome }),
            Cargo::Merged(mut sources) => {
                let mut before = 0;
                for source in sources.drain(..) {
                    let records = source.records;
                    let outcome = moved(outcome, before);
                    before += i64::from(records);
                    self.answered.push_back(Answered { batch: source, outcome });
                }
                self.carriers.give_list(sources);
                self.carriers.give(batch);
            }
            Cargo::Piece { split, first } => {
                self.carriers.give(batch);
                self.end_piece(split, first, shipment.records, outcome);
            }
        }
    }

    fn end_piece(&mut self, split: u32, first: u32, n: u32, outcome: Outcome) {
        self.answered.extend(self.splits.end(split, first, n, outcome));
    }

    /// Ends the failure of a partition: what failed stands at the front of its queue again.
    pub(super) fn settle(&mut self, now: Mono, place: Place) {
        let mut partition = std::mem::take(self.partition_mut(place));
        let backoff_ms_max = self.backoff_ms_max;
        let mut doubtful = 0;
        let settled = partition.settle(now, backoff_ms_max, |shipment| {
            doubtful += u64::from(shipment.records);
            self.count_possible_duplicates(shipment);
        });
        *self.partition_mut(place) = partition;
        self.after_settling(place, &settled, doubtful);
    }

    /// Follows up on what the end of a failure came to; `doubtful` records go on under another number.
    pub(super) fn after_settling(&mut self, place: Place, settled: &Settled, doubtful: u64) {
        if let Some(id) = settled.id_used_up {
            self.producer_id.used_up(id);
        }
        if settled.epoch_lost {
            let topic = self.topic_name(place);
            let text = format!(
                "topic {topic} partition {}: numbered anew; {doubtful} records may be stored twice",
                place.partition
            );
            self.cluster.note(Level::Warn, text);
        }
    }

    pub(super) fn count_possible_duplicates(&mut self, shipment: &Shipment) {
        self.each_share(shipment, |writer, sink, _, records| {
            writer.counts[usize::from(sink)].possible_duplicate += u64::from(records);
        });
    }

    fn say_failed(&mut self, place: Place, records: u32, result: &PartitionResult<'_>) {
        let topic = self.topic_name(place);
        let code = result.error_code;
        let words = result.error_message.map(|text| format!(" ({text})")).unwrap_or_default();
        self.cluster.note(
            Level::Warn,
            format!(
                "topic {topic} partition {}: {records} records refused, {code}{words}: {}",
                place.partition,
                code.why()
            ),
        );
    }

    fn set_trouble(&mut self, place: Place, code: ErrorCode) {
        let Some(topic) = self.topics.get_mut(usize::from(place.topic)) else { return };
        topic.trouble = Some(format!("partition {}: {code}: {}", place.partition, code.why()));
    }

    pub(super) fn topic_name(&self, place: Place) -> String {
        self.cluster.topic(place.topic).map(|topic| topic.name.clone()).unwrap_or_default()
    }
}

/// The outcome of records that lie `by` records behind the first.
fn moved(outcome: Outcome, by: i64) -> Outcome {
    match outcome {
        Outcome::Stored { base_offset } if base_offset >= 0 => Outcome::Stored { base_offset: base_offset + by },
        other => other,
    }
}

/// What a refusal means to the client.
fn reason_of(code: ErrorCode) -> FailReason {
    match code {
        ErrorCode::TOPIC_AUTHORIZATION_FAILED
        | ErrorCode::CLUSTER_AUTHORIZATION_FAILED
        | ErrorCode::TRANSACTIONAL_ID_AUTHORIZATION_FAILED
        | ErrorCode::SASL_AUTHENTICATION_FAILED => FailReason::Unauthorized,
        _ => FailReason::Invalid,
    }
}
