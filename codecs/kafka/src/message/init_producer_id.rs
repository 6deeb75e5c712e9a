//! InitProducerId (API 22): the producer id under which a broker recognises batches it has had (KIP-98).
//!
//! ```text
//! request   transactional id (null), i32 transaction timeout; v3 i64 producer id, i16 epoch
//! response  i32 throttle, i16 error, i64 producer id, i16 epoch
//! ```
//!
//! | version | Kafka | change |
//! |---|---|---|
//! | 0 | 0.11 | |
//! | 1 | 2.0 | throttled responses are sent at once |
//! | 2 | 2.4 | flexible |
//! | 3 | 2.5 | an id to continue with (KIP-360) |
//! | 4 | 2.7 | PRODUCER_FENCED possible |
//!
//! Any broker answers. Without a transactional id every answer is a fresh id at epoch 0: the next epoch of an id is the
//! producer's own to begin, and a new id is only needed when the epochs have run out.

use super::{ApiKey, begin_request, end_frame};
use crate::primitive::{ReadKafka, WriteKafka};
use crate::{Error, ErrorCode};
use wire::{Reader, Writer};

/// Who we are to the brokers, for the headers of our batches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Producer {
    /// The id, not negative.
    pub id: i64,
    /// Its epoch, not negative.
    pub epoch: i16,
}

/// A broker's answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Response {
    /// The id, or why there is none. A broker that has just started answers COORDINATOR_LOAD_IN_PROGRESS until it has
    /// ids to give; the -1 it sends along would switch idempotence off unnoticed, so it is not handed on.
    pub producer: Result<Producer, ErrorCode>,
    /// How long the broker asks us to stay quiet, in ms.
    pub throttle_time_ms: i32,
}

/// Writes a whole request frame for a producer that is idempotent but not transactional; `out` is cleared first.
pub fn encode_request(version: i16, correlation_id: i32, client_id: &str, out: &mut Vec<u8>) {
    let flexible = ApiKey::InitProducerId.is_flexible(version);
    begin_request(out, ApiKey::InitProducerId, version, correlation_id, client_id);
    out.put_nullable_string(None, flexible);
    // The timeout has no meaning without a transaction; the broker ignores it.
    out.put_i32(i32::MAX);
    if version >= 3 {
        out.put_i64(-1);
        out.put_i16(-1);
    }
    out.put_no_tags(flexible);
    end_frame(out, 0);
}

/// Reads the body of a response to a request of `version`.
pub fn decode_response(version: i16, body: &[u8]) -> Result<Response, Error> {
    let r = &mut Reader::new(body);
    let throttle_time_ms = r.i32()?;
    let error = ErrorCode::from(r.i16()?);
    let producer = Producer { id: r.i64()?, epoch: r.i16()? };
    r.skip_tagged(ApiKey::InitProducerId.is_flexible(version))?;
    if !r.is_empty() {
        return Err(Error::Malformed("InitProducerId response: bytes after its end"));
    }
    if error.is_ok() && (producer.id < 0 || producer.epoch < 0) {
        return Err(Error::Malformed("InitProducerId response: no error and no producer id"));
    }
    Ok(Response { producer: if error.is_ok() { Ok(producer) } else { Err(error) }, throttle_time_ms })
}
