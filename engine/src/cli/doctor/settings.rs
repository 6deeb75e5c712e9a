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
