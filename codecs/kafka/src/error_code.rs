//! Kafka's error codes: what each means to us, in one table.
//!
//! A broker answers with a number. The row says whether Kafka calls it retriable, whether our picture of the cluster is
//! stale, whether nothing will work until somebody acts, what it means for a batch that was sent, and one sentence for
//! the person who reads the log.
//!
//! Left out: the order in which open batches of a partition must be tried again. That needs to know them (the engine's
//! dispatch); the verdict here is about the single answer.

mod table;

use std::fmt;
use table::TABLE;

/// A code as received. Codes without a row are carried as they are and count as final.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ErrorCode(i16);

/// What an answer means for the batch it is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ForProduce {
    /// The batch is stored as `acks` asks for; the answer has its offset.
    Stored,
    /// The batch was stored by an earlier try; its offset is not known any more.
    AlreadyStored,
    /// Send the same bytes with the same sequence again, after a pause, to the partition's leader of then. The first try
    /// may have been stored: with idempotence the broker finds out, without it a duplicate is possible.
    Retry,
    /// As `Retry`, but only a few times: if it keeps coming back, some record of the batch is the reason.
    RetryBriefly,
    /// The broker's idea of our sequence is another one. If an earlier batch of the partition is still open, it failed
    /// and this one only follows: send both again, in order. Otherwise whether this batch was stored is unknown for
    /// good: begin a new epoch and send it again, as a possible duplicate.
    SequenceLost,
    /// Nothing was stored: the batch is larger than the topic or the segment allows. Halves may fit; a single record
    /// that does not is for the dead letters.
    TooLarge,
    /// Nothing was stored because of single records; the answer may name them. The others deserve another batch.
    BadRecords,
    /// Nothing was stored, and the same batch will never be.
    Refused,
    /// Nothing was stored, and nothing will be until the configuration or the broker's changes.
    Stop,
}

/// One row of the table.
#[derive(Debug, Clone, Copy)]
pub struct Row {
    /// The number on the wire.
    pub code: i16,
    /// Kafka's name for it.
    pub name: &'static str,
    /// Whether Kafka's protocol calls it retriable.
    pub retriable: bool,
    /// Whether it says that our metadata is out of date.
    pub refresh_metadata: bool,
    /// Whether only a person can help: credentials, rights, configuration, versions.
    pub fatal: bool,
    /// What it means in a Produce response.
    pub for_produce: ForProduce,
    /// Why it happens and what to do, in one sentence.
    pub why: &'static str,
}

/// What stands for codes that no row knows.
const UNKNOWN: Row = Row {
    code: i16::MIN,
    name: "UNKNOWN_CODE",
    retriable: false,
    refresh_metadata: false,
    fatal: false,
    for_produce: ForProduce::Refused,
    why: "This error code is newer than this program; the broker's log and documentation explain it.",
};

impl ErrorCode {
    /// The number on the wire.
    pub const fn code(self) -> i16 {
        self.0
    }

    /// Whether this is no error.
    pub const fn is_ok(self) -> bool {
        self.0 == 0
    }

    /// What is known about it.
    pub fn row(self) -> &'static Row {
        // The rows run from -1 without a gap, which a test checks.
        usize::try_from(i32::from(self.0) + 1).ok().and_then(|at| TABLE.get(at)).unwrap_or(&UNKNOWN)
    }

    /// Kafka's name for it.
    pub fn name(self) -> &'static str {
        self.row().name
    }

    /// What it means for a batch that was sent.
    pub fn for_produce(self) -> ForProduce {
        self.row().for_produce
    }

    /// Whether Kafka's protocol calls it retriable.
    pub fn retriable(self) -> bool {
        self.row().retriable
    }

    /// Whether it says that our metadata is out of date.
    pub fn refresh_metadata(self) -> bool {
        self.row().refresh_metadata
    }

    /// Whether only a person can help.
    pub fn fatal(self) -> bool {
        self.row().fatal
    }

    /// Why it happens and what to do, in one sentence.
    pub fn why(self) -> &'static str {
        self.row().why
    }
}

impl From<i16> for ErrorCode {
    fn from(code: i16) -> Self {
        Self(code)
    }
}

impl fmt::Display for ErrorCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.name(), self.0)
    }
}

impl fmt::Debug for ErrorCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use kafka_protocol::ResponseError;

    /// `UnknownTopicOrPartition` → `UNKNOWN_TOPIC_OR_PARTITION`; Java's names differ from this only by a suffix.
    fn kafka_name(error: ResponseError) -> String {
        let mut name = String::new();
        for c in format!("{error:?}").trim_end_matches("Exception").chars() {
            if c.is_ascii_uppercase() && !name.is_empty() {
                name.push('_');
            }
            name.push(c.to_ascii_uppercase());
        }
        name
    }

    #[test]
    fn the_rows_are_kafkas() {
        for code in -1..=133 {
            let ours = ErrorCode::from(code);
            assert_eq!(ours.row().code, code, "the rows run without a gap");
            let Some(theirs) = ResponseError::try_from_code(code) else { continue };
            assert_eq!(ours.retriable(), theirs.is_retriable(), "{ours}");
            assert_eq!(ours.name().trim_end_matches("_EXCEPTION"), kafka_name(theirs));
        }
        assert_eq!(TABLE.len(), 135);
    }

    #[test]
    fn every_number_has_an_answer() {
        for code in i16::MIN..=i16::MAX {
            let error = ErrorCode::from(code);
            assert_eq!(error.code(), code);
            assert!(error.why().ends_with('.'));
            assert_eq!(error.name() == "UNKNOWN_CODE", !(-1..=133).contains(&code));
        }
        assert_eq!(ErrorCode::from(999).to_string(), "UNKNOWN_CODE (999)");
    }

    #[test]
    fn the_flags_do_not_contradict_each_other() {
        for row in TABLE {
            let name = row.name;
            assert!(!(row.retriable && row.fatal), "{name}");
            assert!(!row.refresh_metadata || matches!(row.for_produce, ForProduce::Retry), "{name}");
            assert_eq!(row.for_produce == ForProduce::Stop, row.fatal, "{name}");
            if row.retriable {
                assert!(matches!(row.for_produce, ForProduce::Retry | ForProduce::RetryBriefly), "{name}");
            }
            assert!(row.why.len() > 15 && row.why.is_ascii(), "{name}");
        }
    }

    #[test]
    fn what_a_producer_meets() {
        let check = |code, verdict| assert_eq!(ErrorCode::from(code).for_produce(), verdict, "{code}");
        check(0, ForProduce::Stored);
        check(46, ForProduce::AlreadyStored);
        check(6, ForProduce::Retry);
        check(19, ForProduce::Retry);
        check(45, ForProduce::SequenceLost);
        check(59, ForProduce::SequenceLost);
        check(10, ForProduce::TooLarge);
        check(32, ForProduce::BadRecords);
        check(87, ForProduce::BadRecords);
        check(29, ForProduce::Refused);
        check(35, ForProduce::Stop);
        check(1000, ForProduce::Refused);
    }
}
