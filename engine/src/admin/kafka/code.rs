//! The error codes this listener answers with. Kafka's protocol guide lists them all.

pub(super) const NONE: i16 = 0;
pub(super) const UNKNOWN_SERVER_ERROR: i16 = -1;
pub(super) const OFFSET_OUT_OF_RANGE: i16 = 1;
pub(super) const UNKNOWN_TOPIC_OR_PARTITION: i16 = 3;
pub(super) const INVALID_TOPIC: i16 = 17;
pub(super) const CLUSTER_AUTHORIZATION_FAILED: i16 = 31;
pub(super) const UNSUPPORTED_VERSION: i16 = 35;
pub(super) const INVALID_REQUEST: i16 = 42;
pub(super) const TRANSACTIONAL_ID_AUTHORIZATION_FAILED: i16 = 53;
pub(super) const KAFKA_STORAGE_ERROR: i16 = 56;
pub(super) const FETCH_SESSION_ID_NOT_FOUND: i16 = 70;
pub(super) const INVALID_FETCH_SESSION_EPOCH: i16 = 71;
pub(super) const UNKNOWN_LEADER_EPOCH: i16 = 76;
