//! How large a batch each topic takes: when brokers are asked for `max.message.bytes`, and what they said.
//!
//! ```text
//! topic becomes known ── asked for at once
//! every interval      ── all are asked for again, so that a limit that was raised does not refuse for long
//! link for questions is gone ── nothing is known any more, until a broker has said it again
//! ```
//!
//! A broker that does not know the question, denies it, or stays silent leaves the limit unknown: then Kafka itself finds what is
//! too large. Left out: what is done with a limit (the sink).

use kafka::ErrorCode;
use kafka::message::{ApiKey, describe_configs};

use super::link::Asked;
use super::metadata::Topic;
use super::{Cluster, question};
use crate::clock::Mono;
use crate::shard::control::Level;
use crate::shard::io::Io;

/// The setting that is asked for.
const MESSAGE_BYTES_MAX: &str = "max.message.bytes";

/// What is known of one topic's limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Limit {
    /// It was not asked for.
    #[default]
    Unasked,
    /// It was asked for, and nobody tells.
    Unknown,
    /// The most bytes of a batch, its header included.
    Bytes(usize),
}

impl Limit {
    /// What a broker says of a topic.
    pub(super) fn told(topic: &describe_configs::Topic) -> Self {
        if topic.error != ErrorCode::NONE {
            return Self::Unknown;
        }
        let value =
            topic.settings.iter().find(|(key, _)| key == MESSAGE_BYTES_MAX).and_then(|(_, value)| value.as_ref());
        value.and_then(|text| text.parse().ok()).map_or(Self::Unknown, Self::Bytes)
    }

    /// The most bytes of a batch, where that is known.
    #[inline]
    pub(super) fn bytes(self) -> Option<usize> {
        match self {
            Self::Bytes(bytes) => Some(bytes),
            Self::Unasked | Self::Unknown => None,
        }
    }
}

/// When to ask for limits, and about which topics.
#[derive(Debug)]
pub(super) struct LimitQuestions {
    /// Most time between two questions about all topics.
    interval_ms: u64,
    /// There is a topic whose limit was never asked for.
    fresh: bool,
    /// When all are asked for again; `None` until the first question.
    all_at: Option<Mono>,
    /// No question before.
    rests_until: Mono,
    /// A question is open.
    open: bool,
}

impl LimitQuestions {
    /// Nothing to ask for yet.
    pub(super) fn new(interval_ms: u64) -> Self {
        Self { interval_ms, fresh: false, all_at: None, rests_until: Mono::default(), open: false }
    }

    /// Asks for all at least every `interval_ms` from the next question on.
    pub(super) fn configure(&mut self, interval_ms: u64) {
        self.interval_ms = interval_ms;
    }

    /// There is a topic whose limit was never asked for.
    pub(super) fn mark_fresh(&mut self) {
        self.fresh = true;
    }

    /// When to ask next, unless a question is open or there is nothing to ask for.
    pub(super) fn due_at(&self) -> Option<Mono> {
        if self.open {
            return None;
        }
        let at = if self.fresh { Some(self.rests_until) } else { self.all_at };
        at.map(|at| at.max(self.rests_until))
    }

    /// Whether all topics are due, or only those that were never asked for.
    pub(super) fn are_all_due(&self, now: Mono) -> bool {
        self.all_at.is_none_or(|at| at <= now)
    }

    /// A question about all topics, or some, was asked.
    pub(super) fn on_asked(&mut self, now: Mono, all: bool) {
        (self.open, self.fresh) = (true, false);
        if all {
            self.all_at = Some(now.plus_ms(self.interval_ms));
        }
    }

    /// It was answered.
    pub(super) fn on_answer(&mut self) {
        self.open = false;
    }

    /// There is nobody who understands the question: the next one comes an interval later.
    pub(super) fn rest(&mut self, now: Mono) {
        self.open = false;
        self.rests_until = now.plus_ms(self.interval_ms);
    }

    /// The link for questions is gone, and what was told on it is forgotten. Where a question was open it may have been the reason,
    /// so the next one is not asked at once.
    pub(super) fn on_lost(&mut self, now: Mono, any: bool) {
        if self.open {
            self.rest(now);
        }
        (self.fresh, self.all_at) = (any, None);
    }
}

impl Cluster {
    /// Whether a topic takes larger or smaller batches than at the last call, or nobody knows any more.
    pub fn take_limits_changed(&mut self) -> bool {
        std::mem::take(&mut self.limits_changed)
    }

    /// Asks how large batches topics take: all of them now and then, in between those that are new.
    pub(super) fn ask_limits(&mut self, now: Mono, io: &mut impl Io) {
        let all = self.limits.are_all_due(now);
        let is_asked = |topic: &&mut Topic| topic.partitions().is_some() && (all || topic.limit == Limit::Unasked);
        let topics: Vec<&mut Topic> = self.topics.iter_mut().filter(is_asked).collect();
        let begun = self.control.begin(now, ApiKey::DescribeConfigs, Asked::Limits, true);
        let Some(begun) = begun else { return self.limits.rest(now) };
        let names: Vec<&str> = topics.iter().map(|topic| topic.name.as_str()).collect();
        let mut head = Vec::new();
        let (client_id, keys) = (&self.settings.terms.client_id, [MESSAGE_BYTES_MAX]);
        describe_configs::encode_request(begun.version, begun.correlation, client_id, &names, &keys, &mut head);
        for topic in topics.into_iter().filter(|topic| topic.limit == Limit::Unasked) {
            topic.limit = Limit::Unknown;
        }
        io.request(begun.key, question(begun.correlation, head));
        self.limits.on_asked(now, all);
    }

    pub(super) fn learn_limits(&mut self, now: Mono, version: i16, body: &[u8]) {
        self.limits.on_answer();
        let told = match describe_configs::decode_response(version, body) {
            Ok(told) => told,
            Err(error) => {
                // Nothing depends on it: Kafka finds what is too large.
                self.limits.rest(now);
                return self
                    .note(Level::Warn, format!("an answer about settings of topics is not understood: {error}"));
            }
        };
        for told in &told {
            let Some(known) = self.names.get(told.name.as_str()).and_then(|&at| self.topics.get_mut(usize::from(at)))
            else {
                continue;
            };
            let before = std::mem::replace(&mut known.limit, Limit::told(told));
            self.limits_changed |= before.bytes() != known.limit.bytes();
        }
    }

    /// What was told on the link for questions holds no longer.
    pub(super) fn forget_limits(&mut self, now: Mono) {
        let known = |topic: &&mut Topic| topic.partitions().is_some();
        let mut any = false;
        for topic in self.topics.iter_mut().filter(known) {
            let before = std::mem::take(&mut topic.limit);
            self.limits_changed |= before.bytes().is_some();
            any = true;
        }
        self.limits.on_lost(now, any);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: u64) -> Mono {
        Mono::default().plus_ms(ms)
    }

    #[test]
    fn a_new_topic_is_asked_for_at_once_and_all_of_them_every_interval() {
        let mut questions = LimitQuestions::new(60_000);
        assert_eq!(questions.due_at(), None, "nothing is known to ask for");
        questions.mark_fresh();
        assert!(questions.due_at().is_some_and(|due| due <= at(5)) && questions.are_all_due(at(5)));
        questions.on_asked(at(5), true);
        assert_eq!(questions.due_at(), None, "a question is open");
        questions.on_answer();
        assert_eq!(questions.due_at(), Some(at(60_005)));
        questions.mark_fresh();
        assert!(
            questions.due_at().is_some_and(|due| due <= at(10)) && !questions.are_all_due(at(10)),
            "only the new one"
        );
        questions.on_asked(at(10), false);
        questions.on_answer();
        assert_eq!(questions.due_at(), Some(at(60_005)), "that puts the others not off");
    }

    #[test]
    fn who_breaks_the_link_over_it_is_not_asked_again_at_once() {
        let mut questions = LimitQuestions::new(60_000);
        questions.mark_fresh();
        questions.on_lost(at(1), true);
        assert!(questions.due_at().is_some_and(|due| due <= at(1)), "nothing was asked");
        questions.on_asked(at(2), true);
        questions.on_lost(at(3), true);
        assert_eq!(questions.due_at(), Some(at(60_003)));
    }

    #[test]
    fn what_is_no_number_or_not_told_is_unknown() {
        let topic = |error, value: Option<&str>| describe_configs::Topic {
            name: "t".to_string(),
            error,
            settings: vec![(MESSAGE_BYTES_MAX.to_string(), value.map(str::to_string))],
        };
        assert_eq!(Limit::told(&topic(ErrorCode::NONE, Some("10000"))).bytes(), Some(10_000));
        assert_eq!(Limit::told(&topic(ErrorCode::NONE, Some("-1"))), Limit::Unknown);
        assert_eq!(Limit::told(&topic(ErrorCode::NONE, None)), Limit::Unknown);
        assert_eq!(Limit::told(&topic(ErrorCode::TOPIC_AUTHORIZATION_FAILED, Some("1"))), Limit::Unknown);
    }
}
