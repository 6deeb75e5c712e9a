//! ApiVersions (API 18): what a broker speaks, the first question on every link.
//!
//! ```text
//! request   nothing; v3: name and version of the software that asks
//! response  i16 error, ranges: i16 API, i16 oldest, i16 newest version; v1 i32 throttle
//! ```
//!
//! | version | Kafka | change |
//! |---|---|---|
//! | 0 | 0.10 | |
//! | 1 | 0.11 | throttle |
//! | 2 | 2.0 | throttled responses are sent at once |
//! | 3 | 2.4 | flexible; software name and version (KIP-511) |
//!
//! A broker that does not know the version asked for answers UNSUPPORTED_VERSION in the form of version 0, whatever was
//! asked: we ask for 3 first and then for 0.

use super::{ApiKey, begin_request, end_frame};
use crate::primitive::{ReadKafka, WriteKafka};
use crate::{Error, ErrorCode};
use wire::Reader;

/// The versions of one API that a broker speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ApiRange {
    /// The key on the wire; many are none of [`ApiKey`]'s.
    pub key: i16,
    /// The oldest version.
    pub version_min: i16,
    /// The newest version.
    pub version_max: i16,
}

/// A broker's answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Response {
    /// UNSUPPORTED_VERSION where the question has to be asked again at version 0.
    pub error: ErrorCode,
    /// What the broker speaks; may be empty beside an error.
    pub ranges: Vec<ApiRange>,
    /// How long the broker asks us to stay quiet, in ms.
    pub throttle_time_ms: i32,
}

/// Writes a whole request frame; `out` is cleared first. The broker refuses software names and versions with anything but
/// letters, digits, dots and dashes.
pub fn encode_request(
    version: i16,
    correlation_id: i32,
    client_id: &str,
    software: &str,
    software_version: &str,
    out: &mut Vec<u8>,
) {
    begin_request(out, ApiKey::ApiVersions, version, correlation_id, client_id);
    if version >= 3 {
        out.put_string(software, true);
        out.put_string(software_version, true);
        out.put_no_tags(true);
    }
    end_frame(out, 0);
}

/// Reads the body of a response to a request of `version`.
pub fn decode_response(version: i16, body: &[u8]) -> Result<Response, Error> {
    let r = &mut Reader::new(body);
    let error = ErrorCode::from(r.i16()?);
    let version = if error == ErrorCode::UNSUPPORTED_VERSION { 0 } else { version };
    let flexible = ApiKey::ApiVersions.is_flexible(version);
    let count = r.count(flexible, 6)?;
    let mut ranges = Vec::with_capacity(count);
    for _ in 0..count {
        ranges.push(ApiRange { key: r.i16()?, version_min: r.i16()?, version_max: r.i16()? });
        r.skip_tagged(flexible)?;
    }
    let throttle_time_ms = if version >= 1 { r.i32()? } else { 0 };
    // The features that follow in version 3 (KIP-584) are for controllers.
    r.skip_tagged(flexible)?;
    if r.is_empty() {
        Ok(Response { error, ranges, throttle_time_ms })
    } else {
        Err(Error::Malformed("ApiVersions response: bytes after its end"))
    }
}
