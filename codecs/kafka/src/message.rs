//! Requests and responses: one file per API, every version we speak in it, and this table of them.
//!
//! ```text
//! frame     i32 length of what follows; then a request or a response
//! request   i16 API key, i16 version, i32 correlation id, i16 + client id (, tags where flexible), body
//! response  i32 correlation id (, tags where flexible), body
//! ```
//!
//! "Flexible" (KIP-482) is decided by API and version. ApiVersions is the exception: its responses never have the tags
//! in front, because a client must read them before it knows what the broker speaks.

pub mod api_versions;
pub mod describe_configs;
pub mod init_producer_id;
pub mod metadata;
pub mod produce;
pub mod sasl_authenticate;
pub mod sasl_handshake;

use crate::primitive::WriteKafka;
use wire::Writer;

/// An API we speak, by its key on the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(i16)]
pub enum ApiKey {
    /// Records to partitions.
    Produce = 0,
    /// Brokers, topics, partitions and their leaders.
    Metadata = 3,
    /// Which SASL mechanism follows.
    SaslHandshake = 17,
    /// What the broker speaks.
    ApiVersions = 18,
    /// A producer id and epoch for idempotence.
    InitProducerId = 22,
    /// Settings of topics.
    DescribeConfigs = 32,
    /// One message of a SASL exchange.
    SaslAuthenticate = 36,
}

/// One row of the table: the versions we speak of one API.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Api {
    /// Which API.
    pub key: ApiKey,
    /// The oldest version we speak.
    pub version_min: i16,
    /// The newest version we speak.
    pub version_max: i16,
    /// The first flexible version.
    pub flexible_from: i16,
    /// The oldest Apache Kafka that has `version_min`, for the sentence that says a broker is too old.
    pub since: &'static str,
}

/// How many APIs we speak.
pub const API_COUNT: usize = 7;

/// Every API we speak, in the order of [`ApiKey`].
pub const APIS: [Api; API_COUNT] = [
    Api { key: ApiKey::Produce, version_min: 3, version_max: 12, flexible_from: 9, since: "0.11" },
    Api { key: ApiKey::Metadata, version_min: 4, version_max: 12, flexible_from: 9, since: "0.11" },
    Api { key: ApiKey::SaslHandshake, version_min: 1, version_max: 1, flexible_from: i16::MAX, since: "1.0" },
    Api { key: ApiKey::ApiVersions, version_min: 0, version_max: 3, flexible_from: 3, since: "0.10" },
    Api { key: ApiKey::InitProducerId, version_min: 0, version_max: 4, flexible_from: 2, since: "0.11" },
    Api { key: ApiKey::DescribeConfigs, version_min: 1, version_max: 4, flexible_from: 4, since: "1.1" },
    Api { key: ApiKey::SaslAuthenticate, version_min: 0, version_max: 2, flexible_from: 2, since: "1.0" },
];

impl ApiKey {
    /// Its row.
    pub const fn api(self) -> &'static Api {
        match self {
            Self::Produce => &APIS[0],
            Self::Metadata => &APIS[1],
            Self::SaslHandshake => &APIS[2],
            Self::ApiVersions => &APIS[3],
            Self::InitProducerId => &APIS[4],
            Self::DescribeConfigs => &APIS[5],
            Self::SaslAuthenticate => &APIS[6],
        }
    }

    /// As Kafka's protocol guide calls it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Produce => "Produce",
            Self::Metadata => "Metadata",
            Self::SaslHandshake => "SaslHandshake",
            Self::ApiVersions => "ApiVersions",
            Self::InitProducerId => "InitProducerId",
            Self::DescribeConfigs => "DescribeConfigs",
            Self::SaslAuthenticate => "SaslAuthenticate",
        }
    }

    /// Whether `version` of this API is flexible.
    pub const fn is_flexible(self, version: i16) -> bool {
        version >= self.api().flexible_from
    }

    /// Whether a response of this `version` has tagged fields after its correlation id.
    pub const fn has_response_tags(self, version: i16) -> bool {
        self.is_flexible(version) && !matches!(self, Self::ApiVersions)
    }
}

/// Starts a request frame: the length (patched by [`end_frame`]) and the header.
fn begin_request(out: &mut Vec<u8>, api: ApiKey, version: i16, correlation_id: i32, client_id: &str) {
    out.clear();
    out.put_i32(0);
    out.put_i16(api as i16);
    out.put_i16(version);
    out.put_i32(correlation_id);
    // The client id keeps its plain form even in a flexible header.
    out.put_string(client_id, false);
    out.put_no_tags(api.is_flexible(version));
}

/// Writes the frame's length: what is in `out`, less the length itself, plus `elsewhere` bytes that travel with it.
fn end_frame(out: &mut [u8], elsewhere: usize) {
    let len = out.len() + elsewhere;
    assert!(len <= i32::MAX as usize, "a request of {len} bytes was let through to the wire");
    if let Some(field) = out.first_chunk_mut() {
        *field = ((len - 4) as i32).to_be_bytes();
    }
}

#[cfg(test)]
mod tests;
