//! The rows, from -1 to the newest code of Kafka 4.1.
//!
//! | word | retriable | refresh metadata | fatal |
//! |---|---|---|---|
//! | `Last` | | | |
//! | `Again` | yes | | |
//! | `Stale` | yes | yes | |
//! | `Moved` | | yes | |
//! | `Fatal` | | | yes |

use super::{ErrorCode, ForProduce, Row};

macro_rules! rows {
    ($($code:literal $name:ident $word:ident $for_produce:ident $why:literal)*) => {
        /// The row of `code` is at `code + 1`.
        pub(super) static TABLE: &[Row] = &[$(Row {
            code: $code,
            name: stringify!($name),
            retriable: Word::$word.retriable(),
            refresh_metadata: Word::$word.refresh_metadata(),
            fatal: Word::$word.fatal(),
            for_produce: ForProduce::$for_produce,
            why: $why,
        },)*];
        impl ErrorCode {
            $(#[doc = $why] pub const $name: Self = Self($code);)*
        }
    };
}

/// The flags of a row in one word; the module head has the key.
#[derive(Clone, Copy)]
enum Word {
    Last,
    Again,
    Stale,
    Moved,
    Fatal,
}

impl Word {
    const fn retriable(self) -> bool {
        matches!(self, Self::Again | Self::Stale)
    }

    const fn refresh_metadata(self) -> bool {
        matches!(self, Self::Stale | Self::Moved)
    }

    const fn fatal(self) -> bool {
        matches!(self, Self::Fatal)
    }
}

#[rustfmt::skip]
rows! {
    -1 UNKNOWN_SERVER_ERROR Last Retry "The broker failed inside; its log has the reason, and trying again may help."
    0 NONE Last Stored "There is no error."
    1 OFFSET_OUT_OF_RANGE Last Refused "The offset asked for is before the first or after the last that the partition keeps."
    2 CORRUPT_MESSAGE Again RetryBriefly "The batch arrived damaged, or a record without a key met a compacted topic."
    3 UNKNOWN_TOPIC_OR_PARTITION Stale Retry "The broker does not have this partition: it moved, was deleted, or was never created."
    4 INVALID_FETCH_SIZE Last Refused "The fetch size asked for is not allowed."
    5 LEADER_NOT_AVAILABLE Stale Retry "The partition is electing a leader; it comes back when the election is over."
    6 NOT_LEADER_OR_FOLLOWER Stale Retry "The partition is led by another broker now; fresh metadata names it."
    7 REQUEST_TIMED_OUT Again Retry "The replicas did not confirm in time; the batch may be stored nevertheless."
    8 BROKER_NOT_AVAILABLE Last Retry "The broker asked for is not there."
    9 REPLICA_NOT_AVAILABLE Stale Retry "The replica asked for is not there yet."
    10 MESSAGE_TOO_LARGE Last TooLarge "The batch exceeds max.message.bytes of the topic; lower max_batch_bytes or raise the topic's limit."
    11 STALE_CONTROLLER_EPOCH Last Refused "Another controller has taken over among the brokers."
    12 OFFSET_METADATA_TOO_LARGE Last Refused "The text stored beside a committed offset is too long."
    13 NETWORK_EXCEPTION Stale Retry "The connection broke before the answer came."
    14 COORDINATOR_LOAD_IN_PROGRESS Again Retry "The coordinator is still reading its log; it will be ready soon."
    15 COORDINATOR_NOT_AVAILABLE Again Retry "No coordinator is ready; with a new cluster its internal topic may be missing replicas."
    16 NOT_COORDINATOR Again Retry "The group or producer is looked after by another broker now; ask for it again."
    17 INVALID_TOPIC_EXCEPTION Last Refused "The topic name is not allowed: 1 to 249 letters, digits, dots, dashes and underscores, or an internal topic."
    18 RECORD_LIST_TOO_LARGE Last TooLarge "The batch exceeds the topic's segment size; lower max_batch_bytes."
    19 NOT_ENOUGH_REPLICAS Again Retry "Fewer replicas are in sync than min.insync.replicas asks for; nothing is stored until some come back."
    20 NOT_ENOUGH_REPLICAS_AFTER_APPEND Again Retry "Replicas dropped out of sync while the batch was stored; it is confirmed once they are back."
    21 INVALID_REQUIRED_ACKS Fatal Stop "The broker does not accept this value of acks."
    22 ILLEGAL_GENERATION Last Refused "The consumer group has moved on to another generation; join it again."
    23 INCONSISTENT_GROUP_PROTOCOL Last Refused "The members of the group have no assignment protocol in common."
    24 INVALID_GROUP_ID Last Refused "The group's name is not allowed."
    25 UNKNOWN_MEMBER_ID Last Refused "The coordinator has forgotten this member; join the group again."
    26 INVALID_SESSION_TIMEOUT Last Refused "The session timeout lies outside what the broker allows for groups."
    27 REBALANCE_IN_PROGRESS Last Refused "The group is sharing out its partitions anew; join it again."
    28 INVALID_COMMIT_OFFSET_SIZE Last Refused "A commit carries more than the broker stores."
    29 TOPIC_AUTHORIZATION_FAILED Last Refused "The user may not use this topic; an ACL for Write (or Read) on it is missing."
    30 GROUP_AUTHORIZATION_FAILED Last Refused "The user may not use this consumer group; an ACL for Read on it is missing."
    31 CLUSTER_AUTHORIZATION_FAILED Fatal Stop "The user lacks a right on the cluster; before Kafka 2.8 an idempotent producer needs IdempotentWrite."
    32 INVALID_TIMESTAMP Last BadRecords "A timestamp is too far from the broker's clock (message.timestamp.before or after.max.ms)."
    33 UNSUPPORTED_SASL_MECHANISM Fatal Stop "The broker does not offer this SASL mechanism on this listener."
    34 ILLEGAL_SASL_STATE Fatal Stop "The broker did not expect this step of authentication; the listener may not use SASL."
    35 UNSUPPORTED_VERSION Fatal Stop "The broker does not speak this version of the request."
    36 TOPIC_ALREADY_EXISTS Last Refused "A topic of this name is there already."
    37 INVALID_PARTITIONS Last Refused "The number of partitions is not allowed."
    38 INVALID_REPLICATION_FACTOR Last Refused "More replicas are asked for than there are brokers, or none."
    39 INVALID_REPLICA_ASSIGNMENT Last Refused "The replicas cannot be placed as asked."
    40 INVALID_CONFIG Last Refused "A topic or broker setting has a value that is not allowed."
    41 NOT_CONTROLLER Again Retry "Another broker is the controller now."
    42 INVALID_REQUEST Fatal Stop "The broker cannot make sense of the request; its log says which field."
    43 UNSUPPORTED_FOR_MESSAGE_FORMAT Last Refused "The topic keeps an old message format; set message.format.version to 0.11 or later."
    44 POLICY_VIOLATION Last Refused "A policy of the cluster forbids it."
    45 OUT_OF_ORDER_SEQUENCE_NUMBER Last SequenceLost "The broker misses batches between the last it has from this producer and this one."
    46 DUPLICATE_SEQUENCE_NUMBER Last AlreadyStored "The broker has had this batch before."
    47 INVALID_PRODUCER_EPOCH Last SequenceLost "The producer's epoch is older than what the partition has seen."
    48 INVALID_TXN_STATE Last Refused "The transaction is not in a state that allows this."
    49 INVALID_PRODUCER_ID_MAPPING Last SequenceLost "The producer id does not belong to this transactional id any more."
    50 INVALID_TRANSACTION_TIMEOUT Last Refused "The transaction timeout is longer than the broker allows."
    51 CONCURRENT_TRANSACTIONS Last Refused "Another operation on the same transaction is still running."
    52 TRANSACTION_COORDINATOR_FENCED Last Refused "Another coordinator has taken over the transaction."
    53 TRANSACTIONAL_ID_AUTHORIZATION_FAILED Fatal Stop "The user may not use this transactional id."
    54 SECURITY_DISABLED Last Refused "The broker runs without an authorizer."
    55 OPERATION_NOT_ATTEMPTED Last Refused "An earlier part of the same request failed, so this one was not tried."
    56 KAFKA_STORAGE_ERROR Stale Retry "The broker cannot write to the disk of this partition; another replica takes over."
    57 LOG_DIR_NOT_FOUND Last Refused "The broker has no such log directory."
    58 SASL_AUTHENTICATION_FAILED Fatal Stop "User name, password or token were not accepted."
    59 UNKNOWN_PRODUCER_ID Last SequenceLost "The broker has forgotten the producer: its records expired, or it was idle too long."
    60 REASSIGNMENT_IN_PROGRESS Last Refused "The partition is being moved."
    61 DELEGATION_TOKEN_AUTH_DISABLED Last Refused "The broker has delegation tokens switched off."
    62 DELEGATION_TOKEN_NOT_FOUND Last Refused "The broker does not know this delegation token."
    63 DELEGATION_TOKEN_OWNER_MISMATCH Last Refused "The delegation token belongs to somebody else."
    64 DELEGATION_TOKEN_REQUEST_NOT_ALLOWED Last Refused "Delegation tokens cannot be asked for over this kind of connection."
    65 DELEGATION_TOKEN_AUTHORIZATION_FAILED Last Refused "The user may not use this delegation token."
    66 DELEGATION_TOKEN_EXPIRED Last Refused "The delegation token has expired."
    67 INVALID_PRINCIPAL_TYPE Last Refused "The broker does not know this type of principal."
    68 NON_EMPTY_GROUP Last Refused "The group still has members."
    69 GROUP_ID_NOT_FOUND Last Refused "There is no group of this name."
    70 FETCH_SESSION_ID_NOT_FOUND Again Retry "The broker dropped the fetch session; the next fetch opens another."
    71 INVALID_FETCH_SESSION_EPOCH Again Retry "The fetch session lost count; the next fetch opens another."
    72 LISTENER_NOT_FOUND Stale Retry "The leader has no listener of the name that the bootstrap broker uses."
    73 TOPIC_DELETION_DISABLED Last Refused "The broker has deletion of topics switched off."
    74 FENCED_LEADER_EPOCH Stale Retry "The leader epoch we know is older than the broker's."
    75 UNKNOWN_LEADER_EPOCH Stale Retry "The leader epoch we know is newer than the broker's; it is catching up."
    76 UNSUPPORTED_COMPRESSION_TYPE Fatal Stop "The broker does not know this compression; zstd needs Kafka 2.1."
    77 STALE_BROKER_EPOCH Last Refused "The broker has registered anew since."
    78 OFFSET_NOT_AVAILABLE Again Retry "A new leader does not know its end offset yet."
    79 MEMBER_ID_REQUIRED Last Refused "The coordinator has given a member id; join again with it."
    80 PREFERRED_LEADER_NOT_AVAILABLE Stale Retry "The preferred leader is not there."
    81 GROUP_MAX_SIZE_REACHED Last Refused "The group has as many members as the broker allows."
    82 FENCED_INSTANCE_ID Last Refused "Another consumer uses the same group instance id."
    83 ELIGIBLE_LEADERS_NOT_AVAILABLE Stale Retry "No replica that may lead is there."
    84 ELECTION_NOT_NEEDED Stale Retry "The partition has the leader it should have."
    85 NO_REASSIGNMENT_IN_PROGRESS Last Refused "The partition is not being moved."
    86 GROUP_SUBSCRIBED_TO_TOPIC Last Refused "The group reads this topic at the moment."
    87 INVALID_RECORD Last BadRecords "A record breaks a rule of the topic, such as a missing key where it is compacted."
    88 UNSTABLE_OFFSET_COMMIT Again Retry "Commits of an open transaction hide the offset."
    89 THROTTLING_QUOTA_EXCEEDED Again Retry "A quota of the cluster is used up for now."
    90 PRODUCER_FENCED Last SequenceLost "A newer producer has taken over this transactional id or producer id."
    91 RESOURCE_NOT_FOUND Last Refused "What the request names does not exist."
    92 DUPLICATE_RESOURCE Last Refused "The request names the same thing twice."
    93 UNACCEPTABLE_CREDENTIAL Last Refused "The credential does not satisfy the broker's rules."
    94 INCONSISTENT_VOTER_SET Last Refused "Sender or receiver is not one of the controllers that vote."
    95 INVALID_UPDATE_VERSION Last Refused "The version of an update is not the expected one."
    96 FEATURE_UPDATE_FAILED Last Refused "The cluster could not change its feature levels."
    97 PRINCIPAL_DESERIALIZATION_FAILURE Last Refused "The controller could not read the user that a broker forwarded."
    98 SNAPSHOT_NOT_FOUND Last Refused "The snapshot asked for does not exist."
    99 POSITION_OUT_OF_RANGE Last Refused "The position lies outside the snapshot."
    100 UNKNOWN_TOPIC_ID Stale Retry "The broker does not know this topic id: the topic was deleted or made anew."
    101 DUPLICATE_BROKER_REGISTRATION Last Refused "Another broker uses this id."
    102 BROKER_ID_NOT_REGISTERED Last Refused "No broker with this id has registered."
    103 INCONSISTENT_TOPIC_ID Stale Retry "The topic was deleted and made anew under the same name."
    104 INCONSISTENT_CLUSTER_ID Last Refused "The brokers reached belong to another cluster."
    105 TRANSACTIONAL_ID_NOT_FOUND Last Refused "There is no such transactional id."
    106 FETCH_SESSION_TOPIC_ID_ERROR Again Retry "The fetch session mixed topic ids and names; the next fetch opens another."
    107 INELIGIBLE_REPLICA Last Refused "A replica named may not be in sync."
    108 NEW_LEADER_ELECTED Moved Retry "The partition has a new leader."
    109 OFFSET_MOVED_TO_TIERED_STORAGE Last Refused "The offset is kept in remote storage."
    110 FENCED_MEMBER_EPOCH Last Refused "The coordinator has shut this member out; leave and join again."
    111 UNRELEASED_INSTANCE_ID Last Refused "Another member still uses this group instance id."
    112 UNSUPPORTED_ASSIGNOR Last Refused "The group does not support this way of assigning partitions."
    113 STALE_MEMBER_EPOCH Last Refused "The member's epoch is old; the next heartbeat brings a new one."
    114 MISMATCHED_ENDPOINT_TYPE Last Refused "The request went to a controller instead of a broker, or the other way round."
    115 UNSUPPORTED_ENDPOINT_TYPE Last Refused "The broker does not serve this kind of endpoint yet."
    116 UNKNOWN_CONTROLLER_ID Last Refused "There is no controller with this id."
    117 UNKNOWN_SUBSCRIPTION_ID Last Refused "The telemetry subscription is out of date."
    118 TELEMETRY_TOO_LARGE Last Refused "The telemetry sent is larger than the broker takes."
    119 INVALID_REGISTRATION Last Refused "The controller does not accept the broker's registration."
    120 TRANSACTION_ABORTABLE Last Refused "The transaction failed and can only be aborted."
    121 INVALID_RECORD_STATE Last Refused "A shared record cannot be acknowledged in its state."
    122 SHARE_SESSION_NOT_FOUND Again Retry "The broker dropped the share session."
    123 INVALID_SHARE_SESSION_EPOCH Again Retry "The share session lost count."
    124 FENCED_STATE_EPOCH Last Refused "The share group's state has a newer epoch."
    125 INVALID_VOTER_KEY Last Refused "The controller's key is not the one that votes."
    126 DUPLICATE_VOTER Last Refused "The controller votes already."
    127 VOTER_NOT_FOUND Last Refused "The controller does not vote."
    128 INVALID_REGULAR_EXPRESSION Last Refused "The regular expression is not valid."
    129 REBOOTSTRAP_REQUIRED Moved Retry "All we know about the cluster is out of date; start again from the bootstrap addresses."
    130 STREAMS_INVALID_TOPOLOGY Last Refused "The streams topology is not valid."
    131 STREAMS_INVALID_TOPOLOGY_EPOCH Last Refused "The epoch of the streams topology is not valid."
    132 STREAMS_TOPOLOGY_FENCED Last Refused "The streams topology is older than the group's."
    133 SHARE_SESSION_LIMIT_REACHED Again Retry "The broker has as many share sessions as it allows."
}
