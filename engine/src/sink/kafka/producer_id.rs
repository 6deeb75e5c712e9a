//! The producer id of one shard and connector (KIP-98): asked for once, and again when its epochs are used up.
//!
//! Without a transactional id every answer is a fresh id, so the next epoch of an id is not asked for but begun (KIP-360);
//! that is each partition's own business.

use kafka::ErrorCode;
use kafka::message::init_producer_id::Producer;

use crate::clock::Mono;
use crate::ticket::FailReason;

/// Pause before a question that was refused for a passing reason is asked again.
const AGAIN_MS: u64 = 200;

/// Pause before a denied question is asked again: somebody may have granted the right.
const DENIED_AGAIN_MS: u64 = 15_000;

/// What is known.
#[derive(Debug)]
enum State {
    /// Ask, from then on.
    Wanted(Mono),
    /// Asked, not answered.
    Asked,
    Known(Producer),
}

/// The producer id and the way to it.
#[derive(Debug)]
pub(super) struct ProducerId {
    state: State,
    /// Why there is none, and what that means for a batch.
    denied: Option<(String, FailReason)>,
}

impl ProducerId {
    pub(super) fn new() -> Self {
        Self { state: State::Wanted(Mono::default()), denied: None }
    }

    /// The id to begin with, at the epoch to begin with.
    #[inline]
    pub(super) fn known(&self) -> Option<Producer> {
        match self.state {
            State::Known(producer) => Some(producer),
            State::Wanted(_) | State::Asked => None,
        }
    }

    /// Why brokers give none, and what becomes of batches that need one.
    pub(super) fn denied(&self) -> Option<(&str, FailReason)> {
        self.denied.as_ref().map(|(why, reason)| (why.as_str(), *reason))
    }

    /// When to ask.
    pub(super) fn due_at(&self) -> Option<Mono> {
        match self.state {
            State::Wanted(at) => Some(at),
            State::Asked | State::Known(_) => None,
        }
    }

    pub(super) fn on_asked(&mut self) {
        self.state = State::Asked;
    }

    /// The question will not be answered.
    pub(super) fn on_lost(&mut self) {
        if matches!(self.state, State::Asked) {
            self.state = State::Wanted(Mono::default());
        }
    }

    /// An answer. Returns a line for the log if it is news that there will be none.
    pub(super) fn on_answer(&mut self, now: Mono, answer: Result<Producer, ErrorCode>) -> Option<String> {
        match answer {
            Ok(producer) => {
                self.state = State::Known(producer);
                self.denied = None;
                None
            }
            Err(code) if code.fatal() => self.deny(now, format!("{code}: {}", code.why()), FailReason::Unauthorized),
            Err(_) => {
                self.state = State::Wanted(now.plus_ms(AGAIN_MS));
                None
            }
        }
    }

    /// There will be no id.
    pub(super) fn deny(&mut self, now: Mono, why: String, reason: FailReason) -> Option<String> {
        self.state = State::Wanted(now.plus_ms(DENIED_AGAIN_MS));
        let line = format!("stopped, because no producer id is given for idempotent writing: {why}");
        let news = self.denied.is_none();
        self.denied = Some((line.clone(), reason));
        news.then_some(line)
    }

    /// A partition is forgotten that was written under this identity. Should it be written again, its numbers begin anew, and
    /// must not look like the old ones: the broker would take new records for repeats.
    pub(super) fn retire(&mut self, used: Producer) {
        let State::Known(known) = &mut self.state else { return };
        if known.id != used.id {
            return;
        }
        match used.epoch.checked_add(1) {
            Some(next) => known.epoch = known.epoch.max(next),
            None => self.state = State::Wanted(Mono::default()),
        }
    }

    /// The epochs of `id` are used up.
    pub(super) fn used_up(&mut self, id: i64) {
        if self.known().is_some_and(|producer| producer.id == id) {
            self.state = State::Wanted(Mono::default());
        }
    }
}
