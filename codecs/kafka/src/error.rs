//! What can be wrong with bytes that a broker sent or a disk kept. A broker's own verdicts are [`crate::error_code`].

use std::fmt;

/// Why bytes were refused. None of these is our caller's fault: the link (or the segment) they came from is damaged,
/// foreign, or newer than we are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Error {
    /// The input ends before the value does.
    Truncated,
    /// A value its place does not allow; the text names it.
    Malformed(&'static str),
    /// A record batch of another format: 0 and 1 are message sets from before Kafka 0.11.
    Magic(i8),
    /// The checksum of a record batch differs from its bytes.
    Crc {
        /// As the header says.
        stored: u32,
        /// As the bytes say.
        computed: u32,
    },
    /// A compression id Kafka has not assigned (or not yet, to us): 5 to 7.
    UnknownCompression(u8),
    /// Compressed bytes that their codec does not accept.
    Compression(&'static str),
    /// More than the limit the caller or the protocol sets, which stops a bomb as well as a mistake.
    Limit {
        /// What is too large.
        what: &'static str,
        /// The most that is allowed, in bytes.
        max: usize,
    },
    /// A response that answers no open request, or another one than the oldest.
    Correlation {
        /// The id of the oldest open request, if one is open.
        expected: Option<i32>,
        /// The id the broker sent.
        got: i32,
    },
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Truncated => f.write_str("the bytes end before the value does"),
            Self::Malformed(what) => write!(f, "malformed {what}"),
            Self::Magic(magic) => write!(f, "record batch format {magic}; only 2 (Kafka 0.11 and later) is readable"),
            Self::Crc { stored, computed } => {
                write!(f, "the record batch says CRC-32C {stored:08x}, its bytes give {computed:08x}")
            }
            Self::UnknownCompression(id) => write!(f, "compression id {id} is unknown"),
            Self::Compression(codec) => write!(f, "the bytes are not valid {codec}"),
            Self::Limit { what, max } => write!(f, "{what} is larger than {max} bytes"),
            Self::Correlation { expected: Some(expected), got } => {
                write!(f, "response {got} arrived while request {expected} was the oldest open one")
            }
            Self::Correlation { expected: None, got } => write!(f, "response {got} answers no open request"),
        }
    }
}

impl std::error::Error for Error {}

impl From<wire::Truncated> for Error {
    fn from(_: wire::Truncated) -> Self {
        Self::Truncated
    }
}
