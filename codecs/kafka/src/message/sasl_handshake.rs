//! SaslHandshake (API 17): which mechanism an authentication uses.
//!
//! ```text
//! request   mechanism
//! response  i16 error, mechanisms the listener offers
//! ```
//!
//! | version | Kafka | change |
//! |---|---|---|
//! | 0 | 0.10 | what follows are bare SASL tokens: not spoken here |
//! | 1 | 1.0 | what follows are SaslAuthenticate requests (KIP-152) |

use super::{ApiKey, begin_request, end_frame};
use crate::primitive::{ReadKafka, WriteKafka};
use crate::{Error, ErrorCode};
use wire::Reader;

/// A broker's answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Response {
    /// UNSUPPORTED_SASL_MECHANISM where the listener does not offer it.
    pub error: ErrorCode,
    /// What the listener offers.
    pub mechanisms: Vec<String>,
}

/// Writes a whole request frame; `out` is cleared first.
pub fn encode_request(version: i16, correlation_id: i32, client_id: &str, mechanism: &str, out: &mut Vec<u8>) {
    begin_request(out, ApiKey::SaslHandshake, version, correlation_id, client_id);
    out.put_string(mechanism, false);
    end_frame(out, 0);
}

/// Reads the body of a response.
pub fn decode_response(body: &[u8]) -> Result<Response, Error> {
    let r = &mut Reader::new(body);
    let error = ErrorCode::from(r.i16()?);
    let count = r.count(false, 2)?;
    let mut mechanisms = Vec::with_capacity(count);
    for _ in 0..count {
        mechanisms.push(r.string(false)?.to_owned());
    }
    match r.is_empty() {
        true => Ok(Response { error, mechanisms }),
        false => Err(Error::Malformed("SaslHandshake response: bytes after its end")),
    }
}
