//! DescribeConfigs (API 32): settings of topics, as a broker applies them.
//!
//! ```text
//! request   resources: i8 kind (2 = topic), name, keys…; bool tell synonyms (; v3 bool tell documentation)
//! response  i32 throttle; resources: i16 error, error message or null, i8 kind, name,
//!             settings: key, value or null, bool read-only, i8 source, bool sensitive,
//!               synonyms: key, value or null, i8 source (; v3 i8 type, documentation or null)
//! ```
//!
//! | version | Kafka | change |
//! |---|---|---|
//! | 1 | 1.1 | source and synonyms |
//! | 2 | 2.0 | throttled responses are sent at once |
//! | 3 | 2.6 | type and documentation |
//! | 4 | 2.8 | flexible |

use super::{ApiKey, begin_request, end_frame};
use crate::primitive::{ReadKafka, WriteKafka};
use crate::{Error, ErrorCode};
use wire::{Reader, Writer};

/// The kind of resource that a topic is.
const TOPIC: i8 = 2;

/// A topic and its settings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Topic {
    /// Its name.
    pub name: String,
    /// Why there are no settings, where there are none.
    pub error: ErrorCode,
    /// Key and value, as text; no value where it is kept secret.
    pub settings: Vec<(String, Option<String>)>,
}

/// Writes a whole request frame that asks for the settings `keys` of `topics`; `out` is cleared first.
pub fn encode_request(
    version: i16,
    correlation_id: i32,
    client_id: &str,
    topics: &[&str],
    keys: &[&str],
    out: &mut Vec<u8>,
) {
    let flexible = ApiKey::DescribeConfigs.is_flexible(version);
    begin_request(out, ApiKey::DescribeConfigs, version, correlation_id, client_id);
    out.put_count(topics.len(), flexible);
    for topic in topics {
        out.put_i8(TOPIC);
        out.put_string(topic, flexible);
        out.put_count(keys.len(), flexible);
        keys.iter().for_each(|key| out.put_string(key, flexible));
        out.put_no_tags(flexible);
    }
    out.put_u8(0);
    if version >= 3 {
        out.put_u8(0);
    }
    out.put_no_tags(flexible);
    end_frame(out, 0);
}

/// Reads the body of a response to a request of `version`.
pub fn decode_response(version: i16, body: &[u8]) -> Result<Vec<Topic>, Error> {
    let flexible = ApiKey::DescribeConfigs.is_flexible(version);
    let r = &mut Reader::new(body);
    r.i32()?;
    let count = r.count(flexible, 8)?;
    let mut topics = Vec::with_capacity(count);
    for _ in 0..count {
        topics.push(topic(r, version)?);
    }
    r.skip_tagged(flexible)?;
    if r.is_empty() { Ok(topics) } else { Err(Error::Malformed("DescribeConfigs response: bytes after its end")) }
}

fn topic(r: &mut Reader<'_>, version: i16) -> Result<Topic, Error> {
    let flexible = ApiKey::DescribeConfigs.is_flexible(version);
    let error = ErrorCode::from(r.i16()?);
    r.nullable_string(flexible)?;
    r.i8()?;
    let name = r.string(flexible)?.to_owned();
    let count = r.count(flexible, 6)?;
    let mut settings = Vec::with_capacity(count);
    for _ in 0..count {
        let key = r.string(flexible)?.to_owned();
        let value = r.nullable_string(flexible)?.map(str::to_owned);
        r.boolean()?;
        r.i8()?;
        r.boolean()?;
        for _ in 0..r.count(flexible, 4)? {
            r.string(flexible)?;
            r.nullable_string(flexible)?;
            r.i8()?;
            r.skip_tagged(flexible)?;
        }
        if version >= 3 {
            r.i8()?;
            r.nullable_string(flexible)?;
        }
        r.skip_tagged(flexible)?;
        settings.push((key, value));
    }
    r.skip_tagged(flexible)?;
    Ok(Topic { name, error, settings })
}
