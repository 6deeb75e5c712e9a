//! Which APIs there are, in which versions; the header of a request; who answers it.
//!
//! ```text
//! request   i16 api key | i16 version | i32 correlation id | string client id | tags (flexible versions)
//! response  i32 correlation id | tags (flexible versions, but never ApiVersions)
//! ```
//!
//! A version range ends where a later version would promise what we do not have: topic ids (Metadata 10, Fetch 13),
//! KIP-848 (OffsetCommit 9), tiered storage (ListOffsets 7).

use std::net::SocketAddr;
use std::sync::Arc;

use bytes::BufMut;
use kafka::Error;
use kafka::primitive::ReadKafka;
use kafka_protocol::messages::api_versions_response::ApiVersion;
use kafka_protocol::messages::{ApiKey, ApiVersionsResponse};
use kafka_protocol::protocol::Encodable;
use tokio::sync::OwnedSemaphorePermit;
use wire::Reader;

use super::{State, code};

/// An API with the first and the last version that is answered.
pub(super) struct Api {
    pub(super) key: ApiKey,
    pub(super) min: i16,
    pub(super) max: i16,
}

const fn api(key: ApiKey, min: i16, max: i16) -> Api {
    Api { key, min, max }
}

/// What ApiVersions tells.
pub(super) const APIS: &[Api] = &[
    api(ApiKey::Produce, 3, 9),
    api(ApiKey::Fetch, 4, 12),
    api(ApiKey::ListOffsets, 1, 6),
    api(ApiKey::Metadata, 0, 9),
    api(ApiKey::OffsetCommit, 2, 8),
    api(ApiKey::OffsetFetch, 1, 8),
    api(ApiKey::FindCoordinator, 0, 6),
    api(ApiKey::JoinGroup, 0, 9),
    api(ApiKey::Heartbeat, 0, 4),
    api(ApiKey::LeaveGroup, 0, 5),
    api(ApiKey::SyncGroup, 0, 5),
    api(ApiKey::DescribeGroups, 0, 5),
    api(ApiKey::ListGroups, 0, 5),
    api(ApiKey::ApiVersions, 0, 4),
    api(ApiKey::InitProducerId, 0, 4),
    api(ApiKey::OffsetForLeaderEpoch, 2, 4),
    api(ApiKey::DeleteGroups, 0, 2),
    api(ApiKey::DescribeCluster, 0, 1),
];

/// One request and where it came from.
pub(super) struct Call<'a> {
    pub(super) state: &'a Arc<State>,
    pub(super) key: ApiKey,
    pub(super) version: i16,
    pub(super) correlation: i32,
    /// Whether strings, arrays and tags have the form of KIP-482.
    pub(super) flexible: bool,
    pub(super) client_id: &'a str,
    /// The client's address.
    pub(super) peer: SocketAddr,
    /// The address under which the client reached us, so the one it will reach us under again.
    pub(super) local: SocketAddr,
    /// What follows the header.
    pub(super) body: Reader<'a>,
}

/// An answer on its way.
pub(super) struct Answer {
    /// Its bytes, length field first.
    pub(super) frame: Vec<u8>,
    /// What a long answer occupies of the memory for answers, until it is sent.
    pub(super) room: Option<OwnedSemaphorePermit>,
}

impl From<Vec<u8>> for Answer {
    fn from(frame: Vec<u8>) -> Self {
        Self { frame, room: None }
    }
}

/// Why a connection is closed instead of answered.
#[derive(Debug, thiserror::Error)]
pub enum Refusal {
    /// The request breaks the protocol.
    #[error("malformed request: {0}")]
    Malformed(#[from] Error),
    /// Not listed in ApiVersions.
    #[error("unsupported request: API key {key}, version {version}")]
    Unsupported {
        /// As the client wrote it.
        key: i16,
        /// Of that API.
        version: i16,
    },
    /// A producer that does not want answers cannot be told that its records are refused.
    #[error("records are published over MQTT")]
    Silent,
    /// Our own mistake: the answer has a field that its version does not.
    #[error("cannot encode the answer: {0}")]
    Encode(String),
}

impl From<wire::Truncated> for Refusal {
    fn from(error: wire::Truncated) -> Self {
        Self::Malformed(error.into())
    }
}

/// Answers one request, a frame without its length field.
pub(super) async fn answer(
    state: &Arc<State>,
    peer: SocketAddr,
    local: SocketAddr,
    frame: &[u8],
) -> Result<Answer, Refusal> {
    let mut r = Reader::new(frame);
    let (raw_key, version, correlation) = (r.i16()?, r.i16()?, r.i32()?);
    let unsupported = Refusal::Unsupported { key: raw_key, version };
    let Some(api) = APIS.iter().find(|api| api.key as i16 == raw_key) else { return Err(unsupported) };
    let key = api.key;
    if !(api.min..=api.max).contains(&version) {
        // How to read the rest is unknown; for this one API the protocol says what to answer all the same (KIP-511).
        return match key {
            ApiKey::ApiVersions => Ok(api_versions(correlation, 0, code::UNSUPPORTED_VERSION)?.into()),
            _ => Err(unsupported),
        };
    }
    let flexible = key.request_header_version(version) >= 2;
    let client_id = r.nullable_string(false)?.unwrap_or_default();
    r.skip_tagged(flexible)?;
    let mut call = Call { state, key, version, correlation, flexible, client_id, peer, local, body: r };
    let frame = match key {
        ApiKey::Fetch => return super::fetch::answer(&mut call).await,
        ApiKey::ListOffsets => super::list_offsets::answer(&mut call).await,
        ApiKey::ApiVersions => api_versions(correlation, version, code::NONE),
        ApiKey::Metadata => super::metadata::answer(&mut call),
        ApiKey::OffsetForLeaderEpoch => super::offset_for_leader_epoch::answer(&mut call),
        ApiKey::FindCoordinator => super::find_coordinator::answer(&mut call),
        ApiKey::JoinGroup => super::join_group::answer(&mut call).await,
        ApiKey::SyncGroup => super::sync_group::answer(&mut call).await,
        ApiKey::Heartbeat => super::heartbeat::answer(&mut call),
        ApiKey::LeaveGroup => super::leave_group::answer(&mut call),
        ApiKey::OffsetCommit => super::offset_commit::answer(&mut call).await,
        ApiKey::OffsetFetch => super::offset_fetch::answer(&mut call),
        ApiKey::ListGroups => super::list_groups::answer(&mut call),
        ApiKey::DescribeGroups => super::describe_groups::answer(&mut call),
        ApiKey::DeleteGroups => super::delete_groups::answer(&mut call).await,
        ApiKey::DescribeCluster => super::describe_cluster::answer(&mut call),
        ApiKey::Produce => super::produce::answer(&mut call),
        ApiKey::InitProducerId => super::produce::answer_init(&call),
        _ => Err(unsupported),
    };
    frame.map(Answer::from)
}

impl Call<'_> {
    /// The frame of an answer.
    pub(super) fn reply(&self, response: &impl Encodable) -> Result<Vec<u8>, Refusal> {
        encode(self.key, self.version, self.correlation, response)
    }
}

fn api_versions(correlation: i32, version: i16, error_code: i16) -> Result<Vec<u8>, Refusal> {
    let keys = APIS.iter().map(|api| {
        ApiVersion::default().with_api_key(api.key as i16).with_min_version(api.min).with_max_version(api.max)
    });
    let response = ApiVersionsResponse::default().with_error_code(error_code).with_api_keys(keys.collect());
    encode(ApiKey::ApiVersions, version, correlation, &response)
}

fn encode(key: ApiKey, version: i16, correlation: i32, response: &impl Encodable) -> Result<Vec<u8>, Refusal> {
    let failed = |error: &dyn std::fmt::Display| Refusal::Encode(format!("{key:?} version {version}: {error}"));
    let body_bytes = response.compute_size(version).map_err(|error| failed(&error))?;
    let mut frame = Vec::with_capacity(body_bytes + 9);
    frame.put_i32(0);
    frame.put_i32(correlation);
    if key.response_header_version(version) >= 1 {
        frame.put_u8(0);
    }
    response.encode(&mut frame, version).map_err(|error| failed(&error))?;
    let len = i32::try_from(frame.len() - 4).map_err(|error| failed(&error))?;
    frame[..4].copy_from_slice(&len.to_be_bytes());
    Ok(frame)
}
