//! Metadata (API 3): the brokers of a cluster, and who leads which partition.
//!
//! ```text
//! request   topics (null = all): v10 uuid, name; bool create missing ones;
//!           v8 bool tell our rights on the cluster (until v10) and on the topics
//! response  v3 i32 throttle; brokers: i32 id, host, i32 port, rack; cluster id; i32 controller;
//!           topics: i16 error, name, v10 uuid, bool internal,
//!             partitions: i16 error, i32 index, i32 leader, v7 i32 leader epoch,
//!               i32 replicas…, i32 in sync…, v5 i32 offline…
//!             v8 i32 rights;
//!           v8 (until v10) i32 rights
//! ```
//!
//! | version | Kafka | change |
//! |---|---|---|
//! | 4 | 0.11 | whether to create missing topics |
//! | 5 | 1.0 | offline replicas |
//! | 6 | 2.0 | throttled responses are sent at once |
//! | 7 | 2.1 | leader epoch |
//! | 8 | 2.3 | rights (asked for by probes only) |
//! | 9 | 2.4 | flexible |
//! | 10, 12 | 2.8, 3.1 | topic ids; asking by id |
//! | 11 | 2.8 | rights on the cluster are gone |
//! | 13 | 4.0 | an error for the whole response (KIP-1102): not spoken here |

use super::{ApiKey, begin_request, end_frame};
use crate::primitive::{ReadKafka, WriteKafka};
use crate::{Error, ErrorCode};
use wire::{Reader, Writer};

/// A broker's picture of the cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Metadata {
    /// How long the broker asks us to stay quiet, in ms.
    pub throttle_time_ms: i32,
    /// The cluster's id: another one means another cluster under the same addresses.
    pub cluster_id: Option<String>,
    /// The broker to send topic creations to, -1 if none is known.
    pub controller_id: i32,
    /// The brokers that are up, with the addresses of the listener that was asked.
    pub brokers: Vec<Broker>,
    /// The topics asked for.
    pub topics: Vec<Topic>,
}

/// A broker that is up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Broker {
    /// Its id.
    pub id: i32,
    /// Name or address.
    pub host: String,
    /// Port.
    pub port: u16,
    /// Where it stands, if the cluster says so.
    pub rack: Option<String>,
}

/// A topic that was asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Topic {
    /// Its name.
    pub name: String,
    /// Its id, zero before version 10: another one under the same name means that the topic was made anew.
    pub id: [u8; 16],
    /// Why there are no partitions, where there are none.
    pub error: ErrorCode,
    /// Whether it is one of Kafka's own.
    pub is_internal: bool,
    /// In the broker's order.
    pub partitions: Vec<Partition>,
    /// What we may do with it, a bit for each of Kafka's operations; `None` if that was not asked, or before version 8.
    pub rights: Option<i32>,
}

impl Topic {
    /// Whether we may write it, if the broker said.
    pub fn may_write(&self) -> Option<bool> {
        self.rights.map(|rights| rights & 1 << WRITE != 0)
    }
}

/// Kafka's number of the operation (`AclOperation`).
const WRITE: i32 = 4;
/// What stands for rights that were not asked for.
const NOT_ASKED: i32 = i32::MIN;

/// A partition and where it lives.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Partition {
    /// Index within the topic.
    pub index: i32,
    /// Broker id of the leader, -1 while there is none.
    pub leader: i32,
    /// Its epoch, -1 before version 7; an older one than known is stale news.
    pub leader_epoch: i32,
    /// LEADER_NOT_AVAILABLE and the like; the leader may be right beside an error about replicas.
    pub error: ErrorCode,
    /// Broker ids of all replicas.
    pub replicas: Vec<i32>,
    /// Broker ids of the replicas in sync.
    pub in_sync: Vec<i32>,
}

/// Writes a whole request frame for the `topics` named, or for all; `out` is cleared first. No topics (`Some(&[])`) asks
/// for the brokers alone.
pub fn encode_request(
    version: i16,
    correlation_id: i32,
    client_id: &str,
    topics: Option<&[&str]>,
    allow_auto_topic_creation: bool,
    out: &mut Vec<u8>,
) {
    encode(version, correlation_id, client_id, topics, allow_auto_topic_creation, false, out);
}

/// The same for `topics` and our rights on them, where `version` has those.
pub fn encode_request_for_rights(
    version: i16,
    correlation_id: i32,
    client_id: &str,
    topics: &[&str],
    out: &mut Vec<u8>,
) {
    encode(version, correlation_id, client_id, Some(topics), false, true, out);
}

fn encode(
    version: i16,
    correlation_id: i32,
    client_id: &str,
    topics: Option<&[&str]>,
    allow_auto_topic_creation: bool,
    rights: bool,
    out: &mut Vec<u8>,
) {
    let flexible = ApiKey::Metadata.is_flexible(version);
    begin_request(out, ApiKey::Metadata, version, correlation_id, client_id);
    match topics {
        None if flexible => out.put_uvarint(0),
        None => out.put_i32(-1),
        Some(topics) => out.put_count(topics.len(), flexible),
    }
    for topic in topics.unwrap_or_default() {
        if version >= 10 {
            // Asked by name, not by id.
            out.put_bytes(&[0; 16]);
        }
        out.put_string(topic, flexible);
        out.put_no_tags(flexible);
    }
    out.put_u8(u8::from(allow_auto_topic_creation));
    if (8..=10).contains(&version) {
        out.put_u8(0);
    }
    if version >= 8 {
        out.put_u8(u8::from(rights));
    }
    out.put_no_tags(flexible);
    end_frame(out, 0);
}

/// Reads the body of a response to a request of `version`.
pub fn decode_response(version: i16, body: &[u8]) -> Result<Metadata, Error> {
    let flexible = ApiKey::Metadata.is_flexible(version);
    let r = &mut Reader::new(body);
    let metadata = Metadata {
        throttle_time_ms: r.i32()?,
        brokers: list(r, flexible, 10, |r| broker(r, flexible))?,
        cluster_id: r.nullable_string(flexible)?.map(str::to_owned),
        controller_id: r.i32()?,
        topics: list(r, flexible, 6, |r| topic(r, version))?,
    };
    if (8..=10).contains(&version) {
        r.i32()?;
    }
    r.skip_tagged(flexible)?;
    if r.is_empty() { Ok(metadata) } else { Err(Error::Malformed("metadata response: bytes after its end")) }
}

fn broker(r: &mut Reader<'_>, flexible: bool) -> Result<Broker, Error> {
    let broker = Broker {
        id: r.i32()?,
        host: r.string(flexible)?.to_owned(),
        port: u16::try_from(r.i32()?).map_err(|_| Error::Malformed("metadata response: port"))?,
        rack: r.nullable_string(flexible)?.map(str::to_owned),
    };
    r.skip_tagged(flexible)?;
    Ok(broker)
}

fn topic(r: &mut Reader<'_>, version: i16) -> Result<Topic, Error> {
    let flexible = ApiKey::Metadata.is_flexible(version);
    let mut topic = Topic {
        error: ErrorCode::from(r.i16()?),
        // From version 12 the name is null for an unknown id; we ask by name.
        name: r.nullable_string(flexible)?.unwrap_or_default().to_owned(),
        id: if version >= 10 { r.uuid()? } else { [0; 16] },
        is_internal: r.boolean()?,
        partitions: list(r, flexible, 13, |r| partition(r, version))?,
        rights: None,
    };
    if version >= 8 {
        topic.rights = Some(r.i32()?).filter(|&rights| rights != NOT_ASKED);
    }
    r.skip_tagged(flexible)?;
    Ok(topic)
}

fn partition(r: &mut Reader<'_>, version: i16) -> Result<Partition, Error> {
    let flexible = ApiKey::Metadata.is_flexible(version);
    let broker_ids = |r: &mut Reader<'_>| list(r, flexible, 4, |r| Ok(r.i32()?));
    let partition = Partition {
        error: ErrorCode::from(r.i16()?),
        index: r.i32()?,
        leader: r.i32()?,
        leader_epoch: if version >= 7 { r.i32()? } else { -1 },
        replicas: broker_ids(r)?,
        in_sync: broker_ids(r)?,
    };
    if version >= 5 {
        broker_ids(r)?;
    }
    r.skip_tagged(flexible)?;
    Ok(partition)
}

/// An array whose items take at least `item_bytes_min` each, so that its count cannot ask for more memory than a small
/// multiple of the frame.
fn list<'a, T>(
    r: &mut Reader<'a>,
    flexible: bool,
    item_bytes_min: usize,
    mut item: impl FnMut(&mut Reader<'a>) -> Result<T, Error>,
) -> Result<Vec<T>, Error> {
    let count = r.count(flexible, item_bytes_min)?;
    let mut items = Vec::with_capacity(count);
    for _ in 0..count {
        items.push(item(r)?);
    }
    Ok(items)
}
