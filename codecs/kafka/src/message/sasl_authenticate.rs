//! SaslAuthenticate (API 36): one message of a SASL exchange there, and the answer back (KIP-152).
//!
//! ```text
//! request   bytes
//! response  i16 error, error message or null, bytes, v1 i64 session lifetime in ms
//! ```
//!
//! | version | Kafka | change |
//! |---|---|---|
//! | 0 | 1.0 | |
//! | 1 | 2.2 | how long the session may last before we have to authenticate again (KIP-368) |
//! | 2 | 2.5 | flexible |

use super::{ApiKey, begin_request, end_frame};
use crate::primitive::{ReadKafka, WriteKafka};
use crate::{Error, ErrorCode};
use wire::{Reader, Writer};

/// A broker's answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Response<'a> {
    /// Whether the exchange goes on.
    pub error: ErrorCode,
    /// The broker's own words, if the exchange does not go on.
    pub words: Option<&'a str>,
    /// The next message of the exchange.
    pub bytes: &'a [u8],
    /// How long the session lasts once the exchange has succeeded, ms; 0 for ever.
    pub session_lifetime_ms: i64,
}

/// Writes a whole request frame; `out` is cleared first.
pub fn encode_request(version: i16, correlation_id: i32, client_id: &str, bytes: &[u8], out: &mut Vec<u8>) {
    let flexible = ApiKey::SaslAuthenticate.is_flexible(version);
    begin_request(out, ApiKey::SaslAuthenticate, version, correlation_id, client_id);
    out.put_count(bytes.len(), flexible);
    out.put_bytes(bytes);
    out.put_no_tags(flexible);
    end_frame(out, 0);
}

/// Reads the body of a response to a request of `version`.
pub fn decode_response(version: i16, body: &[u8]) -> Result<Response<'_>, Error> {
    let flexible = ApiKey::SaslAuthenticate.is_flexible(version);
    let r = &mut Reader::new(body);
    let error = ErrorCode::from(r.i16()?);
    let words = r.nullable_string(flexible)?;
    let count = r.count(flexible, 1)?;
    let bytes = r.take(count)?;
    let session_lifetime_ms = if version >= 1 { r.i64()? } else { 0 };
    r.skip_tagged(flexible)?;
    match r.is_empty() {
        true => Ok(Response { error, words, bytes, session_lifetime_ms }),
        false => Err(Error::Malformed("SaslAuthenticate response: bytes after its end")),
    }
}
