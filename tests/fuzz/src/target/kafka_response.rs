//! The body of a broker's response, of every API and version that we speak.
//!
//! ```text
//! api u8 | version u8 | body
//! ```
//!
//! Promises: no panic; what is read does not ask for more memory than a small multiple of the body, whatever counts the body names;
//! the answers of a Produce are walked twice with the same result.

use kafka::message::{
    ApiKey, api_versions, describe_configs, init_producer_id, metadata, produce, sasl_authenticate, sasl_handshake,
};

use crate::trail;

/// By the first byte of an input. New ones go to the end, or the corpus means something else.
pub const APIS: [ApiKey; 7] = [
    ApiKey::Produce,
    ApiKey::Metadata,
    ApiKey::ApiVersions,
    ApiKey::InitProducerId,
    ApiKey::SaslHandshake,
    ApiKey::SaslAuthenticate,
    ApiKey::DescribeConfigs,
];

/// Reads the body.
pub(super) fn run(bytes: &[u8]) {
    let [api, version, body @ ..] = bytes else { return };
    let api = APIS[usize::from(*api) % APIS.len()].api();
    let versions = (api.version_max - api.version_min + 1) as u8;
    let version = api.version_min + i16::from(version % versions);
    let outcome = match api.key {
        ApiKey::Produce => produced(version, body),
        ApiKey::Metadata => learned(version, body),
        ApiKey::ApiVersions => api_versions::decode_response(version, body).map(|response| {
            assert!(response.ranges.len() <= body.len() / 6);
            response.ranges.len()
        }),
        ApiKey::InitProducerId => init_producer_id::decode_response(version, body).map(|response| {
            assert!(response.producer.is_err() || response.producer.is_ok_and(|p| p.id >= 0 && p.epoch >= 0));
            usize::from(response.producer.is_ok())
        }),
        ApiKey::SaslHandshake => sasl_handshake::decode_response(body).map(|response| {
            assert!(response.mechanisms.len() <= body.len() / 2);
            response.mechanisms.len()
        }),
        ApiKey::SaslAuthenticate => {
            sasl_authenticate::decode_response(version, body).map(|response| response.bytes.len())
        }
        ApiKey::DescribeConfigs => describe_configs::decode_response(version, body).map(|topics| {
            assert!(topics.iter().map(|topic| topic.settings.len()).sum::<usize>() <= body.len());
            topics.len()
        }),
    };
    let variant = (api.key as u64) << 8 | version as u64;
    match outcome {
        Ok(items) => trail::mark(30, variant << 8 | items.min(9) as u64),
        Err(error) => {
            trail::mark(31, variant);
            trail::mark_text(32, &error.to_string());
        }
    }
}

fn produced(version: i16, body: &[u8]) -> Result<usize, kafka::Error> {
    let response = produce::decode_response(version, body)?;
    let walk = || {
        response.partitions().map(|result| {
            let errors: Vec<_> = result.record_errors.collect();
            trail::mark_text(33, &result.error_code.to_string());
            trail::mark_size(34, errors.len());
            (result.topic.to_owned(), result.partition, result.base_offset, errors.len(), result.current_leader)
        })
    };
    let answers: Vec<_> = walk().collect();
    assert!(answers.len() <= body.len() / 22);
    assert!(walk().eq(answers.iter().cloned()));
    Ok(answers.len())
}

fn learned(version: i16, body: &[u8]) -> Result<usize, kafka::Error> {
    let cluster = metadata::decode_response(version, body)?;
    let partitions = || cluster.topics.iter().flat_map(|topic| &topic.partitions);
    let replicas: usize = partitions().map(|partition| partition.replicas.len() + partition.in_sync.len()).sum();
    let texts: usize = cluster.topics.iter().map(|topic| topic.name.len()).sum();
    assert!(4 * replicas + 13 * partitions().count() + texts <= body.len());
    assert!(cluster.brokers.len() <= body.len());
    trail::mark_size(35, replicas);
    Ok(partitions().count())
}
