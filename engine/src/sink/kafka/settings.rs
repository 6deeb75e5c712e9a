//! What the configuration says about writing to Kafka, as one shard uses it.

use kafka::message::produce::Acks;

use crate::broker::link::Patience;
use crate::broker::login::Credentials;
use crate::broker::{ClusterSettings, ClusterTerms, Division, Probes};
use crate::config::{
    Config, ConnectionStrategy, Connector, ConnectorKind, KafkaConnector, QueryMode, RequiredAcks, Sink,
};
use crate::shard::ShardId;
use crate::shard::io::BrokerAddr;
use crate::sink::packing::Packing;

/// How the batches of one sink are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Terms {
    /// Index of its topic among those of the connector; none where messages name it.
    pub(super) topic: Option<u16>,
    pub(super) acks: Acks,
    pub(super) ack_timeout_ms: i32,
    pub(super) idempotent: bool,
    /// No merged batch grows beyond this.
    pub(super) batch_bytes_max: usize,
    /// Unanswered batches of a partition.
    pub(super) inflight_max: u32,
    pub(super) packing: Packing,
    /// How many refusals of a batch are answered by sending it again.
    pub(super) retries_max: u32,
    /// How old a batch may get before it is given up, nanoseconds.
    pub(super) age_ns_max: u64,
    /// Its publishers are told as soon as a record is buffered, so what waits here was promised.
    pub(super) promised: bool,
}

impl Terms {
    /// What must be equal for batches to travel in one request.
    pub(super) fn manner(&self) -> Manner {
        Manner { acks: self.acks as i16, ack_timeout_ms: self.ack_timeout_ms, idempotent: self.idempotent }
    }
}

/// What a request says of its batches, and whether they are numbered. A partition changes from one to another with nothing on
/// its way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Manner {
    pub(super) acks: i16,
    pub(super) ack_timeout_ms: i32,
    pub(super) idempotent: bool,
}

/// The sinks of one connector, by their slots.
#[derive(Debug, Clone)]
pub(super) struct SinkTerms {
    /// `None` for those of other connectors.
    pub(super) terms: Vec<Option<Terms>>,
    /// Names of the topics that the configuration names.
    pub(super) topics: Vec<String>,
    /// How long Kafka may be silent before the sink is no longer `connected`, nanoseconds.
    pub(super) patience_ns: Vec<u64>,
    /// Most time between two questions about topics, milliseconds.
    pub(super) refresh_max_ms: u64,
}

impl SinkTerms {
    /// The sinks of `config` that write to this connector and that `is_there`.
    pub(super) fn new(connector: usize, config: &Config, is_there: impl Fn(usize) -> bool) -> Self {
        let mut topics: Vec<String> = Vec::new();
        let mut terms = Vec::with_capacity(config.sinks.len());
        for (at, sink) in config.sinks.iter().enumerate() {
            if sink.connector != connector || !is_there(at) {
                terms.push(None);
                continue;
            }
            if sink.is_topic_live() {
                terms.push(Some(terms_of(sink, None)));
                continue;
            }
            let topic = topics.iter().position(|name| *name == sink.topic).unwrap_or_else(|| {
                topics.push(sink.topic.clone());
                topics.len() - 1
            });
            terms.push(Some(terms_of(sink, Some(topic as u16))));
        }
        share_limits(&mut terms);
        let own = config.sinks.iter().zip(&terms).filter(|(_, terms)| terms.is_some());
        let refresh_max_ms = own.map(|(sink, _)| sink.partition_count_refresh_interval_ms).min().unwrap_or(60_000);
        let patience_ns = config.sinks.iter().map(|sink| sink.sync_timeout_ms.saturating_mul(1_000_000)).collect();
        Self { terms, topics, patience_ns, refresh_max_ms }
    }
}

/// One Kafka connector at one shard.
#[derive(Debug, Clone)]
pub(super) struct Settings {
    pub(super) cluster: ClusterSettings,
    /// By sink; `None` for those of other connectors.
    pub(super) terms: Vec<Option<Terms>>,
    /// By sink: how long Kafka may be silent before the sink is no longer `connected`, nanoseconds.
    pub(super) patience_ns: Vec<u64>,
    /// Most bytes of merged copies.
    pub(super) carrier_bytes_max: usize,
}

/// Part of a shard's memory that copies of merged batches may take, as a divisor: it comes out of what the plan leaves
/// spare.
const CARRIER_DIVISOR: u64 = 32;

impl Settings {
    /// The part of `config` that concerns the connector with this index. `None` if it reaches no Kafka cluster.
    pub(super) fn new(
        shard: ShardId,
        shards: u16,
        connector: usize,
        config: &Config,
        nonce_key: [u8; 32],
    ) -> Option<Self> {
        let own = config.connectors.get(connector)?;
        let ConnectorKind::Kafka(kafka) = &own.kind else { return None };
        let sinks = SinkTerms::new(connector, config, |_| true);
        let terms = cluster_terms(own, config, &sinks)?;
        let SinkTerms { terms: sink_terms, topics, patience_ns, .. } = sinks;
        let cluster = ClusterSettings {
            shard,
            shards,
            name: own.name.clone(),
            nonce_key,
            bootstrap: bootstrap(kafka, connector as u16),
            links: match kafka.connection_strategy {
                ConnectionStrategy::PerBroker => Division::PerBroker(kafka.connections_per_broker as u16),
                ConnectionStrategy::PerPartition => Division::PerPartition,
            },
            start_timeout_ms: kafka.start_timeout_ms,
            topics,
            terms,
        };
        let carrier_bytes_max = config.node.memory_limit_bytes / u64::from(shards.max(1)) / CARRIER_DIVISOR;
        let carrier_bytes_max = usize::try_from(carrier_bytes_max).unwrap_or(usize::MAX);
        Some(Self { cluster, terms: sink_terms, patience_ns, carrier_bytes_max })
    }
}

/// How the cluster of this connector is dealt with; `None` if it is none of Kafka.
pub(super) fn cluster_terms(own: &Connector, config: &Config, sinks: &SinkTerms) -> Option<ClusterTerms> {
    let ConnectorKind::Kafka(kafka) = &own.kind else { return None };
    let probed = config.sinks.iter().zip(&sinks.terms).filter(|(_, terms)| terms.is_some());
    let probe_links_ms = probed.map(|(sink, _)| sink.health_check_interval_ms).min();
    Some(ClusterTerms {
        client_id: kafka.client_id.clone(),
        credentials: own.security.as_ref().map_or(Credentials::None, |security| (&security.authentication).into()),
        patience: Patience {
            connect_timeout_ms: kafka.connect_timeout_ms,
            request_timeout_ms: kafka.request_timeout_ms,
            question_timeout_ms: kafka.metadata_request_timeout_ms,
            reconnect_delay_ms: kafka.reconnect_delay_ms,
        },
        create_topics: kafka.allow_auto_topic_creation,
        refresh_min_ms: kafka.min_metadata_refresh_interval_ms,
        refresh_max_ms: sinks.refresh_max_ms,
        probes: Probes {
            control_ms: kafka.health_check_interval_ms,
            links_ms: probe_links_ms.unwrap_or(kafka.health_check_interval_ms),
        },
    })
}

fn bootstrap(kafka: &KafkaConnector, connector: u16) -> Vec<BrokerAddr> {
    let addr = |host: &crate::config::HostPort| BrokerAddr { connector, host: host.host.clone(), port: host.port };
    kafka.bootstrap_hosts.iter().map(addr).collect()
}

fn terms_of(sink: &Sink, topic: Option<u16>) -> Terms {
    Terms {
        topic,
        acks: match sink.required_acks {
            RequiredAcks::AllIsr => Acks::AllIsr,
            RequiredAcks::LeaderOnly => Acks::LeaderOnly,
            RequiredAcks::None => Acks::None,
        },
        ack_timeout_ms: i32::try_from(sink.ack_timeout_ms).unwrap_or(i32::MAX),
        idempotent: sink.idempotence,
        batch_bytes_max: sink.batch_bytes_max as usize,
        inflight_max: sink.inflight_batches_max,
        packing: Packing { codec: sink.compression, level: sink.compression_level },
        retries_max: sink.retries_max.unwrap_or(u32::MAX),
        age_ns_max: sink.batch_age_max_ms.map_or(u64::MAX, |ms| ms.saturating_mul(1_000_000)),
        promised: sink.query_mode == QueryMode::Async,
    }
}

/// Sinks that write the same topic share its partitions, so the smaller limits of what may be on its way there hold for both. How
/// long a record may wait is each sink's own business.
fn share_limits(terms: &mut [Option<Terms>]) {
    for at in 0..terms.len() {
        let Some(own) = terms[at] else { continue };
        if own.topic.is_none() {
            continue;
        }
        let same = terms.iter().flatten().filter(|other| other.topic == own.topic);
        let inflight_max = same.clone().map(|other| other.inflight_max).min().unwrap_or(own.inflight_max);
        let batch_bytes_max = same.map(|other| other.batch_bytes_max).min().unwrap_or(own.batch_bytes_max);
        terms[at] = Some(Terms { inflight_max, batch_bytes_max, ..own });
    }
}
