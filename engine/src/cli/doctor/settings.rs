//! What a topic allows, against what a sink wants of it: acknowledgements and sizes.

use kafka::message::metadata::Topic;

use super::Finding;
use super::broker::{Broker, Failed};
use crate::config::{RequiredAcks, Sink, unit};

const MIN_INSYNC: &str = "min.insync.replicas";
const MESSAGE_BYTES_MAX: &str = "max.message.bytes";

/// The settings of a topic that matter to a sink; `None` where the broker does not tell.
#[derive(Debug)]
pub(super) struct TopicSettings {
    pub(super) name: String,
    min_insync: Option<usize>,
    message_bytes_max: Option<u64>,
}

impl TopicSettings {
    /// Those of `topics`.
    pub(super) fn ask(broker: &mut Broker, topics: &[&str]) -> Result<Vec<Self>, Failed> {
        let answered = broker.settings(topics, &[MIN_INSYNC, MESSAGE_BYTES_MAX])?;
        if let Some(refused) = answered.iter().find(|topic| !topic.error.is_ok()) {
            return Err(format!("topic {}: {}: {}", refused.name, refused.error, refused.error.why()));
        }
        let of = |topic: kafka::message::describe_configs::Topic| {
            let value = |key: &str| topic.settings.iter().find(|(known, _)| known == key)?.1.clone();
            Self {
                min_insync: value(MIN_INSYNC).and_then(|text| text.parse().ok()),
                message_bytes_max: value(MESSAGE_BYTES_MAX).and_then(|text| text.parse().ok()),
                name: topic.name,
            }
        };
        Ok(answered.into_iter().map(of).collect())
    }

    /// What does not fit together; or that all does.
    pub(super) fn against(&self, subject: &str, topic: &Topic, sink: &Sink) -> Vec<Finding> {
        [self.acks(subject, topic, sink), self.sizes(subject, sink)].into_iter().flatten().collect()
    }

    fn acks(&self, subject: &str, topic: &Topic, sink: &Sink) -> Option<Finding> {
        let (name, min_insync) = (&self.name, self.min_insync?);
        let replicas = topic.partitions.iter().map(|partition| partition.replicas.len()).min().unwrap_or(0);
        let found = format!("topic {name}: {MIN_INSYNC} = {min_insync} of {replicas} replicas");
        if sink.required_acks != RequiredAcks::AllIsr {
            return Some(Finding::good(subject, found));
        }
        Some(if min_insync > replicas {
            let why = "a write that waits for more replicas than there are is always refused";
            Finding::failure(subject, found, why, format!("set {MIN_INSYNC} to {replicas} or less, or add replicas"))
        } else if min_insync == replicas && replicas > 1 {
            let why = "one broker down, and nothing can be written";
            Finding::warning(subject, found, why, format!("set {MIN_INSYNC} to {}", replicas - 1))
        } else if min_insync < 2 && replicas > 1 {
            let why = "with one replica in sync, what is acknowledged is on one disk only";
            Finding::warning(subject, found, why, format!("set {MIN_INSYNC} to 2"))
        } else {
            Finding::good(subject, found)
        })
    }

    fn sizes(&self, subject: &str, sink: &Sink) -> Option<Finding> {
        let (name, allowed, ours) = (&self.name, self.message_bytes_max?, u64::from(sink.batch_bytes_max));
        let found = format!(
            "topic {name}: {MESSAGE_BYTES_MAX} = {allowed}, max_batch_bytes of sink {} is {}",
            sink.name,
            unit::show_size(ours)
        );
        Some(if ours > allowed {
            let why = "a batch that is too large is refused, split and sent again";
            let fix = format!("lower max_batch_bytes to {allowed} bytes or less, or raise {MESSAGE_BYTES_MAX}");
            Finding::warning(subject, found, why, fix)
        } else {
            Finding::good(subject, found)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::doctor::State;
    use crate::config::{Document, Loaded, Machine, Sources};
    use kafka::ErrorCode;
    use kafka::message::metadata::Partition;

    fn sink(options: &str) -> Sink {
        let base = "[connectors.k]\n[sinks.s]\nconnector = \"k\"\ntopic = \"t\"\nsource_topics = [\"#\"]\n";
        let file = Document::new("a test", &format!("{base}{options}"));
        Loaded::load(&Sources::file(file), &Machine::probe()).expect("a good file").config.sinks.remove(0)
    }

    fn topic(replicas: i32) -> Topic {
        let partition = |index, replicas| Partition {
            error: ErrorCode::NONE,
            index,
            leader: 0,
            leader_epoch: 0,
            replicas: (0..replicas).collect(),
            in_sync: (0..replicas).collect(),
        };
        // The partition with the fewest replicas counts.
        let partitions = vec![partition(0, 5), partition(1, replicas)];
        Topic { name: "t".into(), id: [0; 16], error: ErrorCode::NONE, is_internal: false, partitions, rights: None }
    }

    /// What comes of `min.insync.replicas` with so many replicas.
    fn acks(min_insync: usize, replicas: i32, options: &str) -> (State, String) {
        let settings = TopicSettings { name: "t".into(), min_insync: Some(min_insync), message_bytes_max: None };
        let [finding] = &settings.against("c", &topic(replicas), &sink(options))[..] else { panic!("one finding") };
        assert_eq!(finding.found, format!("topic t: min.insync.replicas = {min_insync} of {replicas} replicas"));
        (finding.state, finding.fix.clone())
    }

    #[test]
    fn more_in_sync_than_there_are_is_never_met() {
        let fix = "set min.insync.replicas to 2 or less, or add replicas".to_string();
        assert_eq!(acks(3, 2, ""), (State::Failure, fix));
        assert_eq!(acks(2, 1, "").0, State::Failure);
    }

    #[test]
    fn all_of_them_in_sync_is_a_warning() {
        assert_eq!(acks(3, 3, ""), (State::Warning, "set min.insync.replicas to 2".into()));
        assert_eq!(acks(2, 2, ""), (State::Warning, "set min.insync.replicas to 1".into()));
        assert_eq!(acks(1, 1, "").0, State::Good, "of one there is no other choice, and the line of replicas warns");
    }

    #[test]
    fn one_in_sync_of_several_is_a_warning() {
        assert_eq!(acks(1, 3, ""), (State::Warning, "set min.insync.replicas to 2".into()));
        assert_eq!(acks(2, 3, ""), (State::Good, String::new()));
    }

    /// Kafka minds `min.insync.replicas` where all in sync have to confirm, and nowhere else.
    #[test]
    fn whoever_waits_for_fewer_is_not_compared() {
        for acknowledged in ["leader_only", "none"] {
            let options = format!("required_acks = \"{acknowledged}\"\nidempotence = false");
            assert_eq!(acks(3, 2, &options).0, State::Good, "{acknowledged}");
        }
    }

    #[test]
    fn a_batch_larger_than_the_topic_takes_is_a_warning() {
        let sizes = |allowed| {
            let settings = TopicSettings { name: "t".into(), min_insync: None, message_bytes_max: Some(allowed) };
            let findings = settings.against("c", &topic(3), &sink("max_batch_bytes = \"64KB\""));
            let [finding] = &findings[..] else { panic!("one finding") };
            (finding.state, finding.fix.clone())
        };
        let fix = "lower max_batch_bytes to 65535 bytes or less, or raise max.message.bytes".to_string();
        assert_eq!(sizes(65_535), (State::Warning, fix));
        assert_eq!(sizes(65_536), (State::Good, String::new()));
    }

    #[test]
    fn what_a_broker_does_not_tell_is_not_compared() {
        let settings = TopicSettings { name: "t".into(), min_insync: None, message_bytes_max: None };
        assert!(settings.against("c", &topic(3), &sink("")).is_empty());
    }
}
