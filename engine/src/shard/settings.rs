//! The configuration as a shard uses it: compiled, bounded by the plan, and its own copy.

use kafka::compression::Compression;
use kafka::record_batch::HEADER_LEN;

use super::ShardId;
use super::budget::Budget;
use super::control::{SlotState, Snapshot};
use crate::config::{
    self, BufferMode, Config, ConnectorKind, Deliver, KeyHash, Mqtt, OnFailedV3, OnSyncTimeout, Overflow,
    PartitionStrategy, Qos0OnFull, QueryMode,
};
use crate::hash::Keyed;
use crate::plan::Plan;
use crate::rule::TemplateError;
use crate::session::deliveries::QueueLimits;
use crate::sink::accumulator::{Accumulator, BatchLimits};
use crate::sink::ceiling::Ceiling;
use crate::sink::live_topics::LiveTopics;
use crate::sink::mapping::Mapping;
use crate::sink::packing::{PACK_HERE_BYTES, Packing};
use crate::sink::partitioning::{Partitioner, Random};
use crate::sink::route::Route;
use crate::sink::{Sink, WriterCounts};

/// Longest time for which client sockets are left alone after a busy round, nanoseconds.
pub(super) const ROUND_WAIT_NS_MAX: u64 = 10_000_000;

/// What every shard knows of the configuration.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Name of this node, for events.
    pub node: String,
    /// Shards of this process.
    pub shards: u16,
    /// Memory budget of one shard, bytes.
    pub memory_bytes: usize,
    /// Bytes of idle batch buffers a shard keeps.
    pub pool_bytes: usize,
    /// Limits of the protocol machines.
    pub mqtt: mqtt::connection::Limits,
    /// QoS 2 PUBLISHes of an MQTT 5 session that may wait for PUBREL. Not below the receive maximum: a client that keeps
    /// within what CONNACK grants it is never closed.
    pub qos2_max: usize,
    /// What becomes of a QoS 0 PUBLISH that does not fit.
    pub qos0_on_full: Qos0OnFull,
    /// Bytes that open tickets of a 3.1.1 client may hold before it is not read on.
    pub open_bytes_v3_max: usize,
    /// How long sessions outlive their connections.
    pub session_expiry: SessionExpiry,
    /// Limits of subscriptions and deliveries.
    pub subscribers: SubscriberSettings,
    /// The sinks, in configuration order.
    pub sinks: Vec<SinkSettings>,
    /// Sizes that no configuration may have, for tests.
    pub sizes: Option<Sizes>,
}

/// Sizes below what a configuration may have: a test has no time to fill the others. They hold whatever is configured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sizes {
    /// Memory budget of one shard, bytes.
    pub memory_bytes: usize,
    /// Bytes at which a batch is sealed.
    pub target_bytes: usize,
    /// Bytes of small batches that a buffer on disk hands over for merging.
    pub merge_bytes: usize,
    /// Bytes that may wait for one partition; `None`: as configured.
    pub partition_bytes: Option<usize>,
    /// Length at which a file of a buffer is finished; `None`: as configured.
    pub segment_bytes: Option<u64>,
}

/// How long sessions outlive their connections, seconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SessionExpiry {
    /// At most, whatever a client asks for. Below `u32::MAX`, which would be for ever.
    pub max_s: u32,
    /// Where an MQTT 3.1.1 client wants its session kept; not above `max_s`.
    pub v3_s: u32,
}

impl SessionExpiry {
    fn new(mqtt: &Mqtt) -> Self {
        let seconds = |ms: u64| u32::try_from(ms / 1_000).unwrap_or(u32::MAX - 1);
        let max_s = seconds(mqtt.session_expiry_max_ms);
        Self { max_s, v3_s: seconds(mqtt.session_expiry_default_ms).min(max_s) }
    }
}

/// What is merged travels in batches of about the usual target.
const MERGE_BYTES: usize = 128 << 10;

/// Batches of a partition that may be with the disk: one is written while the next fills.
const UNWRITTEN_MAX: u32 = 2;

/// Limits of subscriptions and deliveries.
#[derive(Debug, Clone, Copy)]
pub struct SubscriberSettings {
    /// Subscriptions of one session.
    pub subscriptions_max: usize,
    /// What may wait for one client.
    pub queue: QueueLimits,
    /// Memory of one shard for filters, wills and publications that wait for outcomes or clients, bytes.
    pub memory_bytes: usize,
    /// Publications that may be on their way from one shard to another.
    pub parcel_credits: u32,
    /// Messages of filters that a shard may not have confirmed.
    pub notice_credits: u32,
}

impl SubscriberSettings {
    fn new(mqtt: &Mqtt, plan: &Plan) -> Self {
        let count = |n: u32| usize::try_from(n).unwrap_or(usize::MAX);
        Self {
            subscriptions_max: count(mqtt.subscriptions_max),
            queue: QueueLimits {
                messages_max: count(mqtt.queue_messages_max),
                bytes_max: usize::try_from(mqtt.queue_bytes_max).unwrap_or(usize::MAX),
            },
            memory_bytes: plan.memory.session_bytes,
            parcel_credits: plan.mesh.parcel_credits,
            notice_credits: plan.mesh.notice_credits,
        }
    }
}

/// What every shard knows of one sink.
#[derive(Debug, Clone)]
pub struct SinkSettings {
    /// Its name.
    pub name: String,
    /// Whether it is there.
    pub state: SlotState,
    /// Index of its connector among the writers.
    pub connector: usize,
    /// The Kafka topic it writes.
    pub topic: String,
    /// Most topics that messages name and that are live at once.
    pub live_topics_max: usize,
    /// Index of the sink that takes what can never be written.
    pub dead_letter: Option<u16>,
    /// Filters and templates.
    pub route: Route,
    /// Batch sizes and times.
    pub limits: BatchLimits,
    /// How batches are compressed.
    pub packing: Packing,
    /// Batches of this size and larger are compressed where they are filled, smaller ones by the owner.
    pub pack_from_bytes: usize,
    /// How partitions are chosen.
    pub partition_strategy: PartitionStrategy,
    /// The hash that strategies use.
    pub key_hash: KeyHash,
    /// What an acknowledgement says.
    pub query_mode: QueryMode,
    /// After how long a ticket is late, milliseconds.
    pub sync_timeout_ms: u64,
    /// What then happens to its client.
    pub on_sync_timeout: OnSyncTimeout,
    /// When subscribers see a publication.
    pub deliver: Deliver,
    /// What a 3.1.1 client gets for a record that will never be written.
    pub on_failed_v3: OnFailedV3,
    /// What gives way when a partition's buffer is full.
    pub overflow: Overflow,
    /// Where records wait for Kafka.
    pub buffer: BufferMode,
    /// Bytes after which a file of the buffer is finished.
    pub segment_bytes: u64,
    /// Batches of a partition that Kafka has not answered.
    pub inflight_max: u32,
    /// Bytes of small batches that a buffer on disk hands over beyond `inflight_max`, for the owner to merge.
    pub merge_bytes: usize,
    /// Bytes that may wait for one partition while more memory is in use than the watermark; `None`: as many as ever.
    pub overload_bytes_max: Option<usize>,
}

/// A template of a sink that cannot be compiled.
#[derive(Debug, thiserror::Error)]
#[error("sinks.{sink}.{option}: {error}")]
pub struct BadTemplate {
    /// Name of the sink.
    pub sink: String,
    /// The option that holds the template.
    pub option: &'static str,
    /// What is wrong with it.
    pub error: TemplateError,
}

impl Settings {
    /// Compiles `config` within the limits of `plan`.
    ///
    /// # Errors
    /// The first template that is none.
    pub fn new(config: &Config, plan: &Plan) -> Result<Self, BadTemplate> {
        Ok(Self {
            node: config.node.name.clone(),
            shards: plan.shards,
            memory_bytes: plan.memory.batch_bytes,
            pool_bytes: plan.memory.pool_bytes,
            mqtt: mqtt_limits(&config.mqtt),
            qos2_max: usize::from(config.mqtt.qos2_max.max(config.mqtt.receive_maximum)),
            qos0_on_full: config.mqtt.qos0_on_full,
            open_bytes_v3_max: plan.open_bytes_v3_max,
            session_expiry: SessionExpiry::new(&config.mqtt),
            subscribers: SubscriberSettings::new(&config.mqtt, plan),
            sinks: config.sinks.iter().map(|sink| SinkSettings::new(sink, config, plan)).collect::<Result<_, _>>()?,
            sizes: None,
        })
    }

    /// The settings of a shard that works by `snapshot`.
    ///
    /// # Errors
    /// The first template that is none.
    pub fn of(snapshot: &Snapshot, sizes: Option<Sizes>) -> Result<Self, BadTemplate> {
        let mut settings = Self::new(&snapshot.config, &snapshot.plan)?;
        for (sink, &state) in settings.sinks.iter_mut().zip(&snapshot.slots) {
            sink.state = state;
            if state != SlotState::Active {
                sink.route.close();
            }
        }
        Ok(match sizes {
            Some(sizes) => settings.fit(sizes),
            None => settings,
        })
    }

    /// With these sizes.
    #[must_use]
    pub fn fit(mut self, sizes: Sizes) -> Self {
        self.memory_bytes = sizes.memory_bytes;
        for sink in &mut self.sinks {
            sink.limits.target_bytes = sizes.target_bytes.min(sink.limits.bytes_max);
            sink.merge_bytes = sizes.merge_bytes;
            if let Some(bytes) = sizes.partition_bytes {
                (sink.limits.partition_bytes_max, sink.limits.partition_adopted_bytes_max) = (bytes, bytes);
            }
            sink.segment_bytes = sizes.segment_bytes.unwrap_or(sink.segment_bytes);
        }
        self.sizes = Some(sizes);
        self
    }
}

fn mqtt_limits(mqtt: &Mqtt) -> mqtt::connection::Limits {
    mqtt::connection::Limits {
        connect_timeout_ms: mqtt.connect_timeout_ms,
        packet_bytes_max: mqtt.packet_bytes_max,
        receive_maximum: mqtt.receive_maximum,
        topic_alias_maximum: mqtt.topic_alias_maximum,
        keepalive_max_s: u16::try_from(mqtt.keepalive_max_ms / 1_000).unwrap_or(u16::MAX),
        topic_bytes_max: mqtt.topic_bytes_max,
        topic_levels_max: mqtt.topic_levels_max,
        qos_max: mqtt::QoS::ExactlyOnce,
        retain_available: false,
        wildcard_subscription_available: true,
        subscription_id_available: true,
        shared_subscription_available: false,
    }
}

/// What one shard may keep for one partition: all of `per_partition_limit` where clients live with the owner of their partition
/// ([`placement`](super::placement)), else its share.
fn partition_bytes_max(sink: &config::Sink, shards: u16) -> usize {
    let key_is_client = matches!(sink.key.as_str(), "${.clientid}" | "${clientid}");
    let at_owner = match sink.partition_strategy {
        PartitionStrategy::ClientId => sink.key_hash == KeyHash::Murmur2,
        PartitionStrategy::KeyDispatch => sink.key_hash == KeyHash::Murmur2 && key_is_client,
        PartitionStrategy::Sticky => true,
        PartitionStrategy::Random | PartitionStrategy::Topic => false,
    };
    let keepers = if at_owner && !sink.is_topic_live() { 1 } else { u64::from(shards.max(1)) };
    let share = usize::try_from(sink.per_partition_limit_bytes / keepers).unwrap_or(usize::MAX);
    share.max(sink.batch_bytes_max as usize)
}

impl SinkSettings {
    fn new(sink: &config::Sink, config: &Config, plan: &Plan) -> Result<Self, BadTemplate> {
        // The local log takes every batch as it is: its owner merges none, and so has no reason to see them plain.
        let local = matches!(config.connectors.get(sink.connector).map(|c| &c.kind), Some(ConnectorKind::Embedded(_)));
        let bad = |(option, error)| BadTemplate { sink: sink.name.clone(), option, error };
        Ok(Self {
            name: sink.name.clone(),
            state: SlotState::Active,
            connector: sink.connector,
            topic: sink.topic.clone(),
            live_topics_max: sink.live_topics_max as usize,
            dead_letter: sink.dead_letter.map(|sink| sink as u16),
            route: Route::new(sink).map_err(bad)?,
            limits: BatchLimits {
                bytes_max: sink.batch_bytes_max as usize,
                // A batch below the minimum waits for its linger, and so does one below the target.
                target_bytes: sink.batch_target_bytes.max(sink.batch_bytes_min) as usize,
                linger_ns: sink.linger_us * 1_000,
                inflight_max: match sink.buffer_mode {
                    BufferMode::Disk => UNWRITTEN_MAX,
                    BufferMode::Memory | BufferMode::Hybrid => sink.inflight_batches_max,
                },
                partition_bytes_max: partition_bytes_max(sink, plan.shards),
                partition_adopted_bytes_max: usize::try_from(sink.per_partition_limit_bytes).unwrap_or(usize::MAX),
                ahead_bytes: plan.memory.ahead_bytes,
            },
            packing: Packing { codec: sink.compression, level: sink.compression_level },
            pack_from_bytes: if local { 0 } else { PACK_HERE_BYTES },
            partition_strategy: sink.partition_strategy,
            key_hash: sink.key_hash,
            query_mode: sink.query_mode,
            sync_timeout_ms: sink.sync_timeout_ms,
            on_sync_timeout: sink.on_sync_timeout,
            deliver: sink.deliver,
            on_failed_v3: sink.on_failed_v3,
            overflow: sink.overflow,
            buffer: sink.buffer_mode,
            segment_bytes: sink.buffer_segment_bytes,
            inflight_max: sink.inflight_batches_max,
            merge_bytes: MERGE_BYTES,
            overload_bytes_max: (sink.memory_overload_protection && sink.buffer_mode == BufferMode::Memory)
                .then(|| sink.inflight_batches_max as usize * sink.batch_bytes_max as usize),
        })
    }

    /// The receiving half of the sink for one shard.
    pub(super) fn build(&self, index: u16, shard: ShardId, shards: u16, random: &mut Random) -> Sink {
        let live = self.route.topic.is_some().then(|| {
            let keyed = Keyed::new(random.next_u64(), random.next_u64());
            Box::new(LiveTopics::new(self.live_topics_max, shards, keyed))
        });
        let mut accumulator = Accumulator::new(index, self.limits);
        accumulator.tell_when_durable(!self.is_sync());
        Sink {
            live,
            accumulator,
            promised_early: false,
            carried: WriterCounts::default(),
            partitioner: Partitioner::new(self.partition_strategy, self.key_hash, shard, shards, random.next_u64()),
            mapping: Mapping::default(),
            connector: self.connector,
            ceiling: Ceiling::new(self.limits.bytes_max),
            record_bytes_max: usize::MAX,
            journal: None,
        }
    }

    /// The most bytes of a record whose topic takes batches of at most `batch_bytes_max`. A compressed batch may be smaller than its
    /// records: there Kafka has the word.
    pub fn record_bytes_max(&self, batch_bytes_max: Option<usize>) -> usize {
        match batch_bytes_max {
            Some(bytes) if self.packing.codec == Compression::None => bytes.saturating_sub(HEADER_LEN),
            _ => usize::MAX,
        }
    }

    /// Whether acknowledgements wait for the outcome.
    #[inline]
    pub fn is_sync(&self) -> bool {
        self.query_mode == QueryMode::Sync
    }

    /// Whether acknowledgements wait for something: the outcome, or a disk.
    #[inline]
    pub fn withholds(&self) -> bool {
        self.is_sync() || self.buffer == BufferMode::Disk
    }

    /// Whether subscribers wait for the outcome; in `async` there is nobody who would be told of it.
    #[inline]
    pub fn delivers_after_kafka(&self) -> bool {
        self.is_sync() && self.deliver == Deliver::AfterKafka
    }
}

impl Settings {
    fn active(&self) -> impl Iterator<Item = &SinkSettings> {
        self.sinks.iter().filter(|sink| sink.state == SlotState::Active)
    }

    /// Bytes of a read round that fill a batch in each of a few partitions.
    pub(super) fn round_target_bytes(&self) -> usize {
        const PARTITIONS_EXPECTED: usize = 4;
        self.active().map(|s| s.limits.target_bytes).min().unwrap_or(0) * PARTITIONS_EXPECTED
    }

    /// The memory budget of one shard.
    pub(super) fn budget(&self) -> Budget {
        let budget = Budget::new(self.memory_bytes);
        match self.qos0_on_full {
            Qos0OnFull::Drop => budget.reading_on(),
            Qos0OnFull::Backpressure => budget,
        }
    }

    /// How long client sockets may be left alone after a busy round: the shortest linger, at most 10 ms, none without sinks.
    pub(super) fn round_wait_ns(&self) -> u64 {
        self.active().map(|s| s.limits.linger_ns).min().unwrap_or(0).min(ROUND_WAIT_NS_MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Document, Loaded, Machine, Sources};

    /// What one of four shards keeps for a partition of a sink with `options`, KiB.
    fn kept_kb(topic: &str, options: &str) -> usize {
        let text = format!(
            "[connectors.k]\ntype = \"kafka\"\nbootstrap_hosts = [\"127.0.0.1\"]\n[sinks.s]\nconnector = \"k\"\n\
             source_topics = [\"#\"]\nbuffer.per_partition_limit = \"1MB\"\n\
             topic = \"{topic}\"\n{options}\n"
        );
        let machine = Machine { memory_bytes: 1 << 30, cores: 4, descriptors: 1024 };
        let loaded = Loaded::load(&Sources::file(Document::new("test.toml", &text)), &machine);
        let config = loaded.unwrap_or_else(|problems| panic!("{problems}")).config;
        partition_bytes_max(&config.sinks[0], 4) >> 10
    }

    #[test]
    fn shards_that_write_to_the_same_partition_share_its_limit() {
        for alone in ["", "partition_strategy = \"sticky\"", "partition_strategy = \"clientid\""] {
            assert_eq!(kept_kb("t", alone), 1024, "{alone}");
        }
        let shared = [
            "partition_strategy = \"random\"",
            "partition_strategy = \"topic\"",
            "key = \"${payload.id}\"",
            "key_hash = \"crc32\"",
        ];
        for shared in shared {
            assert_eq!(kept_kb("t", &format!("{shared}\nmax_batch_bytes = \"64KB\"")), 256, "{shared}");
        }
        assert_eq!(
            kept_kb("t", "partition_strategy = \"random\"\nmax_batch_bytes = \"512KB\""),
            512,
            "a batch at the least"
        );
    }
}
