//! Whom brokers know as producers: they forget an id that has written nothing for `producer.id.expiration.ms`.
//!
//! ```text
//! DescribeProducers 0   topics (name, partitions)   -> throttle, topics (name, partitions (index, error, words, producers (...)))
//! ```
//!
//! Of Kafka's newer kind, as in [`super::logins`]. Every broker that has a partition answers for itself.

use miette::{Result, bail};

use super::admin::{Admin, until};
use super::logins::{NO_TAGS, length, put, skip_text};
use crate::ledger::link::Link;

const DESCRIBE: (i16, i16) = (61, 0);
/// Longer than a busy machine pauses.
pub(super) const BROKER_SETTINGS: &str = "producer.id.expiration.ms=8000;producer.id.expiration.check.interval.ms=300";

impl Admin {
    /// Waits until no broker knows any producer of a topic, whose partitions lie on all of them.
    pub(super) fn await_oblivion(&self, topic: &str, partitions: i32) -> Result<()> {
        let is_unknown = |link: Result<Link>| -> Result<bool> {
            let mut link = link?;
            for partition in 0..partitions {
                if knows_producers(&mut link, topic, partition)? {
                    return Ok(false);
                }
            }
            Ok(true)
        };
        let all = || self.links().all(|link| is_unknown(link).unwrap_or(false));
        until(all, &format!("every broker to forget who wrote to topic {topic}"))
    }
}

fn knows_producers(link: &mut Link, topic: &str, partition: i32) -> Result<bool> {
    let mut body = vec![NO_TAGS, length(1)];
    put(&mut body, topic.as_bytes());
    body.push(length(1));
    body.extend_from_slice(&partition.to_be_bytes());
    body.extend_from_slice(&[NO_TAGS; 2]);
    let mut answer = link.ask(DESCRIBE, &body)?;
    answer.skip(1 + 4 + 1)?;
    skip_text(&mut answer)?;
    answer.skip(1)?;
    let (index, error) = (answer.int()?, answer.short()?);
    skip_text(&mut answer)?;
    if (index, error) != (partition, 0) {
        bail!("asking for producers of {topic}/{partition}: error {error} of {index}");
    }
    Ok(answer.skip(1)? != [length(0)])
}
