//! `[sinks.NAME]`: what becomes a Kafka record, how it is routed, and when a publisher hears of it.

use std::path::PathBuf;

use kafka::compression::Compression;

use super::kind::choice::{Choice, Words, words};
use super::kind::number::{Count, Level, Micros, Millis, Size};
use super::kind::pairs::HeaderPairs;
use super::kind::text::{File, Filters, Reference, TemplateText, Text, TopicName};
use super::kind::{Flag, Optional};
use super::option::{Group, Section, absent, derived, options, or, required};
use super::reader::Reader;
use super::unit::{DAY, HOUR, KB, MB, MILLISECOND, SECOND, TB};
use crate::rule::Columns;

/// A sink's templates see what a PUBLISH has.
const TEMPLATE: TemplateText = TemplateText { columns: Columns::Publish, alone: false };

/// A template that is one placeholder.
const PLACEHOLDER: TemplateText = TemplateText { columns: Columns::Publish, alone: true };

pub(crate) static SECTION: Section = Section {
    name: "sinks",
    named: true,
    about: Sink::ABOUT,
    groups: &[Group { only: None, about: Sink::ABOUT, rows: Sink::ROWS }],
};

words! {
    /// What a record's value is where its template finds nothing.
    pub enum MissingValue {
        /// A null value: a tombstone.
        Null = "null",
        /// An empty value.
        Empty = "empty",
        /// There is no record.
        Drop = "drop",
    }
}

words! {
    /// The shape of a record's value.
    pub enum Envelope {
        /// What the template `value` makes.
        None = "none",
        /// As the Kafka plugin of EMQX 3 writes messages.
        Emqx3 = "emqx3",
        /// As RobustMQ's Kafka connector writes messages.
        RobustMq = "robustmq",
    }
}

words! {
    /// How the payload stands in a record's value.
    pub enum PayloadEncoding {
        /// As it was published.
        Plain = "plain",
        /// In base64.
        Base64 = "base64",
    }
}

words! {
    /// What the value of a record's header is made of.
    pub enum HeaderEncoding {
        /// Texts as they are; of a source, what is no text is left out.
        None = "none",
        /// JSON.
        Json = "json",
    }
}

words! {
    /// How a record gets its partition.
    pub enum PartitionStrategy {
        /// By a hash of its key; an empty or null key falls to `Sticky`.
        KeyDispatch = "key_dispatch",
        /// One partition per shard until its batch is sealed.
        Sticky = "sticky",
        /// A fresh choice for each run of messages that one read brings from one session.
        Random = "random",
        /// By a hash of the client id.
        ClientId = "clientid",
        /// By a hash of the MQTT topic.
        Topic = "topic",
    }
}

words! {
    /// The hash of `key_dispatch`, `clientid` and `topic`.
    pub enum KeyHash {
        /// As the Java client hashes.
        Murmur2 = "murmur2",
        /// As librdkafka's `consistent` partitioners hash.
        Crc32 = "crc32",
        /// As Sarama hashes.
        Fnv1a = "fnv1a",
    }
}

words! {
    /// Whose word Kafka waits for.
    pub enum RequiredAcks {
        /// Every in-sync replica.
        AllIsr = "all_isr",
        /// The leader of the partition.
        LeaderOnly = "leader_only",
        /// Nobody: the outcome is the hand-over of the request to the kernel.
        None = "none",
    }
}

words! {
    /// What a publisher's acknowledgement says.
    pub enum QueryMode {
        /// Kafka has the record.
        Sync = "sync",
        /// The buffer has the record.
        Async = "async",
    }
}

words! {
    /// What happens to a publisher whose record has no outcome in time.
    pub enum OnSyncTimeout {
        /// It waits on.
        Wait = "wait",
        /// MQTT 5: its acknowledgement says no (0x83). MQTT 3.1.1: it is closed.
        Reject = "reject",
        /// It is closed; MQTT 5: with DISCONNECT 0x89.
        Close = "close",
    }
}

words! {
    /// When subscribers see a publication.
    pub enum Deliver {
        /// After its outcomes; a refused one never.
        AfterKafka = "after_kafka",
        /// At once.
        AtOnce = "at_once",
    }
}

words! {
    /// What an MQTT 3.1.1 publisher gets for a record that can never be written: its PUBACK has no way to say no.
    pub enum OnFailedV3 {
        /// The connection is closed.
        Close = "close",
        /// An acknowledgement; the record is counted as failed.
        Ack = "ack",
    }
}

impl Words for Compression {
    const WORDS: &'static [(&'static str, Self)] = &[
        ("none", Self::None),
        ("gzip", Self::Gzip),
        ("snappy", Self::Snappy),
        ("lz4", Self::Lz4),
        ("zstd", Self::Zstd),
    ];
    const OLD: &'static [(&'static str, Self)] = &[("no_compression", Self::None)];

    fn word(self) -> &'static str {
        self.name()
    }
}

words! {
    /// Where records wait for Kafka.
    pub enum BufferMode {
        /// In memory.
        Memory = "memory",
        /// On disk; nothing is sent before it is durable there.
        Disk = "disk",
        /// In memory, and on disk what exceeds the sink's share of it.
        Hybrid = "hybrid",
    }
}

words! {
    /// What gives way when a buffer is full.
    pub enum Overflow {
        /// Publishers are not read until there is room.
        Backpressure = "backpressure",
        /// The oldest records are dropped and counted.
        DropOldest = "drop_oldest",
        /// The new record is refused.
        Reject = "reject",
    }
}

options! {
    /// What becomes a Kafka record, how it is routed, and when its publisher hears of it.
    pub struct Sink {
        named name;
        /// The connector it writes to.
        "connector" => connector: usize =
            Reference { to: "connector", among: |world| &world.connectors }, required("main"), live_in_memory;
        /// A sink that is not enabled takes no part.
        "enable" => enable: bool = Flag, or("true"), live;
        /// For people.
        "description" => description: Option<String> = Optional(Text), absent("temperatures of plant 3"), live;
        /// MQTT topic filters whose publications it takes.
        "source_topics" => source_topics: Vec<String> = Filters, absent("sensors/#"), live;
        /// The Kafka topic, or a template of it such as `t-${payload.site}`. A record whose template finds nothing, or no name that
        /// Kafka allows, can never be written, and neither can one whose topic brokers have not known for 60 s. A topic without
        /// placeholders is waited for.
        "topic" => topic: String = TopicName, required("mqtt"), live_in_memory;
        /// Most topics that a template keeps live, for each shard; the one idle for longest gives way to another.
        "live_topics_max" => live_topics_max: u32 = Count::within(1, 10_000), or("1000"), live;
        /// Template of the record's key; missing is null.
        "key" => key: String = TEMPLATE, or("${.clientid}"), live;
        /// Template of the record's value. `${.}` is the whole event as JSON, `${payload}` the bytes as published.
        "value" => value: String = TEMPLATE, or("${.}"), live;
        /// Template of the record's time, in milliseconds since 1970; missing is now.
        "timestamp" => timestamp: String = TEMPLATE, or("${.timestamp}"), live;
        /// What the value is where its template finds nothing.
        "missing_value" => missing_value: MissingValue = Choice::of(), or("null"), live;
        /// A fixed shape in the place of `value`, as consumers written for another system expect it. `emqx3`:
        /// `{client_id, username, topic, payload, qos, node, ts}`, `ts` in milliseconds. `robustmq`: `{topic, qos, retain, payload,
        /// client_id, username, timestamp, message_id, header, key, data, tags, crc_num}`, `timestamp` in seconds, payload and data in
        /// base64.
        "envelope" => envelope: Envelope = Choice::of(), or("none"), live;
        /// How the payload stands in the value: as it was published, or in base64, be it `${payload}` or a part of `${.}`. A path
        /// such as `${payload.a}` walks into the payload as it is.
        "payload_encoding" => payload_encoding: PayloadEncoding = Choice::of(),
            derived("\"base64\" with an `envelope`, else \"plain\"", "plain", encoding_by_envelope), live;
        /// One placeholder whose value becomes the record's headers: an object, a list of `{"key","value"}`, or text that is such
        /// JSON. User properties keep their order and may repeat.
        "headers" => headers: Option<String> = Optional(PLACEHOLDER), absent("${pub_props.User-Property}"), live;
        /// More headers, as a list of `{ key = …, value = … }` whose parts are templates. One whose key or value finds nothing is
        /// left out.
        "ext_headers" => ext_headers: Vec<(String, String)> = HeaderPairs,
            absent("{ key = \"client\", value = \"${clientid}\" }"), live;
        /// What headers are made of: texts as they are, other values of `headers` being left out, or JSON.
        "header_value_encoding" => header_value_encoding: HeaderEncoding = Choice::of(), or("none"), live;
        /// How a record gets its partition. `key_dispatch` keeps the records of one key in order.
        "partition_strategy" => partition_strategy: PartitionStrategy = Choice::of(), or("key_dispatch"), live;
        /// The hash of `key_dispatch`, `clientid` and `topic`; `murmur2` agrees with the Java client.
        "key_hash" => key_hash: KeyHash = Choice::of(), or("murmur2"), live;
        /// How often the number of partitions is asked for. Of the sinks of a connector the shortest counts.
        "partition_count_refresh_interval" => partition_count_refresh_interval_ms: u64 =
            Millis::within(SECOND, DAY), or("60s"), live;
        /// Whose word Kafka waits for: every in-sync replica, the leader, or nobody. Less than all can lose what was
        /// acknowledged.
        "required_acks" => required_acks: RequiredAcks = Choice::of(), or("all_isr"), live;
        /// Time Kafka has to collect the acknowledgements of its replicas; less than the connector's `request_timeout`.
        "ack_timeout" => ack_timeout_ms: u64 = Millis::within(100 * MILLISECOND, HOUR), or("10s"), live;
        /// Numbers batches so that Kafka drops repeats and keeps order through retries; off where not every replica
        /// is waited for.
        "idempotence" => idempotence: bool = Flag,
            derived("true; false unless `required_acks` is \"all_isr\"", "true", idempotence_unless_weak), live;
        /// What an acknowledgement says: Kafka has the record, or the buffer has it.
        "query_mode" => query_mode: QueryMode = Choice::of(), or("sync"), live;
        /// Time after which `on_sync_timeout` acts on a publisher without outcome.
        "sync_timeout" => sync_timeout_ms: u64 = Millis::within(10 * MILLISECOND, DAY), or("5s"), live;
        /// What then happens to the publisher; the record itself is never withdrawn.
        "on_sync_timeout" => on_sync_timeout: OnSyncTimeout = Choice::of(), or("wait"), live;
        /// When subscribers see a publication: after Kafka has it, or at once.
        "deliver" => deliver: Deliver = Choice::of(),
            derived("\"after_kafka\" in sync, \"at_once\" in async", "after_kafka", deliver_by_mode), live;
        /// What an MQTT 3.1.1 publisher gets for a record that can never be written: its PUBACK cannot say no. A client that is closed
        /// three times within a minute is told of in the log, and counted.
        "on_failed_v3" => on_failed_v3: OnFailedV3 = Choice::of(), or("close"), live;
        /// The sink that takes records which can never be written: too large, denied, invalid, or for a topic that is not there.
        /// They keep key, value and headers, and get headers that tell cause, sink, topic, partition and timestamp; their publisher
        /// is acknowledged once that sink has them. It has no `dead_letter` itself.
        "dead_letter" => dead_letter: Option<usize> =
            Optional(Reference { to: "sink", among: |world| &world.sinks }), absent("lost"), live;
        /// Most bytes of a batch before compression, as the Java client counts `max.request.size`; a larger record travels
        /// alone. The topic's `max.message.bytes` counts what is left after compression.
        "max_batch_bytes" => batch_bytes_max: u32 = Size::within(KB, 64 * MB), or("896KB"), live;
        /// Bytes, before compression, at which a batch is sealed while Kafka keeps up.
        "batch_target_bytes" => batch_target_bytes: u32 = Size::within(KB, 64 * MB), or("128KB"), live;
        /// Bytes below which a batch waits for its `linger` in any case; above `batch_target_bytes` it takes that one's place.
        "min_batch_bytes" => batch_bytes_min: u32 = Size::within(0, 64 * MB), or("0"), live;
        /// Longest a batch waits for more records; time in the kernel's socket buffers counts.
        "linger" => linger_us: u64 = Micros::within(0, 10 * SECOND), or("5ms"), live;
        /// How batches are compressed; one that does not shrink travels as it is. `zstd` needs Kafka 2.1. The old spelling
        /// `no_compression` is `none`.
        "compression" => compression: Compression = Choice::of(), or("none"), live;
        /// Level of `gzip` (1..9) or `zstd` (-7..22), 1 for both where it is not given; the other codecs have none.
        "compression_level" => compression_level: Option<i32> = Optional(Level::within(-7, 22)), absent("1"), live;
        /// Batches of a partition that may be unanswered; at most 5 with `idempotence`, and 1 while its leader is a Kafka before 1.0.
        /// Of sinks that write one topic over one connector the smallest counts, of their `max_batch_bytes` too.
        "max_inflight" => inflight_batches_max: u32 = Count::within(1, 1000), or("5"), live;
        /// How many refusals of a batch are answered by sending it again, before it is given up; 0: none. Of a sync sink what waits
        /// behind it in its partition is given up too, so that nothing is stored behind a gap. Links that are lost do not count.
        /// None: as many as it takes.
        "max_retries" => retries_max: Option<u32> = Optional(Count::within(0, 1_000_000)), absent("10"), live;
        /// How old a batch may get before it is given up in the same way; nothing is while it is on its way. An async sink gives up
        /// only what is itself too old, to within a tenth. None: as old as it takes.
        "max_batch_age" => batch_age_max_ms: Option<u64> = Optional(Millis::within(SECOND, 30 * DAY)), absent("10m"), live;
        /// Silence after which a broker that leads partitions of the topic is asked whether it is there, so that a dead one is noticed
        /// before the next record. Of the sinks of a connector the shortest counts.
        "health_check_interval" => health_check_interval_ms: u64 = Millis::within(100 * MILLISECOND, DAY), or("15s"), live;
        /// Where records wait for Kafka. With `disk` they are written and synced first, which in async is what an
        /// acknowledgement says; with `hybrid` what exceeds the sink's share of memory goes to disk, and what
        /// waits while more than half of the memory is used.
        "buffer.mode" => buffer_mode: BufferMode = Choice::of(), or("memory");
        /// Directory of the buffers on disk; each sink has one of its own below it. None: `buffer` in `node.data_dir`.
        "buffer.dir" => buffer_dir: Option<PathBuf> = Optional(File), absent("/var/lib/aqueduct/buffer");
        /// Bytes after which a file of the buffer is finished and the next begun. A file goes when everything in it has been
        /// sent.
        "buffer.segment_bytes" => buffer_segment_bytes: u64 = Size::within(64 * KB, 2048 * MB - KB), or("100MB"), live;
        /// Bytes that may wait for one partition. Where clients of all shards write to it (`random`, `topic`, a key that is not the
        /// client id, topics that messages name) each shard keeps at most its share of them, and `max_batch_bytes` in any case.
        "buffer.per_partition_limit" => per_partition_limit_bytes: u64 = Size::within(64 * KB, TB), or("2GB"), live;
        /// With a buffer in memory: above `node.memory_high_watermark` the oldest records are dropped down to `max_inflight` times
        /// `max_batch_bytes` for each partition in async, and publishers are not read in sync.
        "buffer.memory_overload_protection" => memory_overload_protection: bool = Flag, or("false"), live;
        /// What gives way when a buffer is full: publishers, the oldest records, or the new one. What lies on disk, and what fills
        /// behind it, gives way to `buffer.per_partition_limit` alone: where the disk or memory is full, publishers wait with
        /// `drop_oldest`, too, once nothing else of the sink waits in memory, and with `reject` where the buffer is on disk or hybrid.
        /// For a record that gave way in sync MQTT 3.1.1 clients are closed and send again all they have in flight, which the limit
        /// should hold with ease.
        "buffer.overflow" => overflow: Overflow = Choice::of(),
            derived(
                "\"backpressure\" in sync and on disk, \"drop_oldest\" in async in memory and hybrid",
                "backpressure",
                overflow_by_mode
            ), live;
    }
}

impl Sink {
    /// Whether messages name its topic.
    pub fn is_topic_live(&self) -> bool {
        self.topic.contains("${")
    }
}

fn encoding_by_envelope(reader: &Reader<'_>) -> String {
    let plain = reader.text("envelope").is_none_or(|envelope| envelope == "none");
    if plain { "plain" } else { "base64" }.to_string()
}

fn idempotence_unless_weak(reader: &Reader<'_>) -> String {
    (reader.text("required_acks").as_deref() == Some("all_isr")).to_string()
}

fn deliver_by_mode(reader: &Reader<'_>) -> String {
    if is_async(reader) { "at_once" } else { "after_kafka" }.to_string()
}

fn overflow_by_mode(reader: &Reader<'_>) -> String {
    let on_disk = reader.text("buffer.mode").as_deref() == Some("disk");
    if is_async(reader) && !on_disk { "drop_oldest" } else { "backpressure" }.to_string()
}

fn is_async(reader: &Reader<'_>) -> bool {
    reader.text("query_mode").as_deref() == Some("async")
}
