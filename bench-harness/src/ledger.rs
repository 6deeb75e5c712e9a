//! The ledger: what was sent and answered, and what Kafka holds of it.
//!
//! Truth comes before the deed: a message is written down as sent before its bytes reach a socket, and as acknowledged after
//! the answer was read, by a process that no fault touches. Afterwards every partition is read from its beginning, and every
//! record has to be one of the messages, whole, where it belongs. `message` is what travels, `book` what was written down,
//! `batch`, `fetch` and `link` read Kafka's bytes by themselves (because a client library hides producer ids and sequences),
//! `judge` compares. Nothing here comes from `codecs/`.
//!
//! It leaves out compressed batches, transactions and topics with retention: a run is shorter than any of them matters.

pub mod batch;
pub mod book;
pub mod fetch;
pub mod judge;
pub(crate) mod link;
pub mod message;
pub mod verdict;

use miette::{Result, WrapErr};

use self::book::Book;
use self::fetch::KafkaReader;
use self::judge::{Judge, Window};
use self::message::Routes;
use self::verdict::Findings;

/// Reads the topics of `routes` back and judges them by the book. `windows` are the faults there were, to be named beside
/// bad messages.
pub fn audit(bootstrap: &str, routes: &Routes, book: &Book, windows: &[Window]) -> Result<Findings> {
    let mut judge = Judge::new(book, windows);
    for (route, topic) in (0_u8..).zip(routes.kafka_topics()) {
        let mut reader = KafkaReader::connect(bootstrap)?;
        reader
            .read_topic(topic, &mut |record| judge.record(route, &record))
            .wrap_err_with(|| format!("reading back topic {topic}"))?;
    }
    Ok(judge.findings())
}
