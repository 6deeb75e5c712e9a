//! The metric table: one row each, from which fields, export and the reference page follow.

use super::Health;

/// How a value behaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Only grows.
    Counter,
    /// Goes up and down.
    Gauge,
}

impl SinkCounters {
    /// Sets the gauges of health: this is how one shard sees the sink.
    pub fn set_health(&mut self, health: &Health) {
        self.health_connected = u64::from(matches!(health, Health::Connected));
        self.health_connecting = u64::from(matches!(health, Health::Connecting(_)));
        self.health_disconnected = u64::from(matches!(health, Health::Disconnected(_)));
        self.health_stopped = u64::from(matches!(health, Health::Stopped(_)));
    }

    /// Records that came to an end, whichever.
    pub fn ended(&self) -> u64 {
        self.success
            + self.failed
            + self.dropped_queue_full
            + self.dropped_rejected
            + self.dropped_expired
            + self.dropped_shutdown
    }
}

/// One exported series of a family.
#[derive(Debug, Clone, Copy)]
pub struct Row {
    /// Prometheus name; rows of one family share it and differ in their label.
    pub name: &'static str,
    /// A fixed label of this row, or none.
    pub label: Option<(&'static str, &'static str)>,
    /// How it behaves.
    pub kind: Kind,
    /// What it counts and in what unit.
    pub help: &'static str,
}

macro_rules! table {
    ($(#[$doc:meta])* $set:ident { $($field:ident: $kind:ident $name:literal $({$key:literal = $value:literal})? $help:literal;)* }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
        pub struct $set {
            $(#[doc = $help] pub $field: u64,)*
        }

        impl $set {
            /// The rows, in the order of [`Self::values`].
            pub const ROWS: &[Row] = &[$(Row {
                name: $name,
                label: table!(@label $($key $value)?),
                kind: Kind::$kind,
                help: $help,
            },)*];

            /// The values, in the order of [`Self::ROWS`].
            pub fn values(&self) -> [u64; Self::ROWS.len()] {
                [$(self.$field,)*]
            }

            /// Adds another shard's values, row by row.
            pub fn add(&mut self, other: &Self) {
                $(self.$field += other.$field;)*
            }
        }
    };
    (@label) => { None };
    (@label $key:literal $value:literal) => { Some(($key, $value)) };
}

table! {
    /// What a shard counts for itself.
    ShardCounters {
        connections: Gauge "aqueduct_connections" "MQTT connections open now.";
        connections_accepted: Counter "aqueduct_connections_accepted_total" "MQTT connections accepted.";
        accepts_failed: Counter "aqueduct_accepts_failed_total" "Connections that could not be accepted, for want of file descriptors as a rule.";
        accepts_paced: Counter "aqueduct_accepts_paced_total" "Times that connections were left in the kernel's queue because mqtt.connect_rate was used up.";
        connections_refused: Counter "aqueduct_connections_refused_total" "Connections closed at once because the listener or the node had as many as it may.";
        connections_moved: Counter "aqueduct_connections_moved_total" "Connections handed to the shard that is their client's home.";
        clients_refused: Counter "aqueduct_clients_refused_total" "Alarms about MQTT 3.1.1 clients that were closed three times within a minute, each time for a message that is never stored; the log says which and why.";
        sessions: Gauge "aqueduct_sessions" "Sessions held, connected or not.";
        subscriptions: Gauge "aqueduct_subscriptions" "Subscriptions held.";
        received_packets: Counter "aqueduct_packets_received_total" "MQTT packets received.";
        received_bytes: Counter "aqueduct_bytes_received_total" "Bytes received from clients.";
        sent_bytes: Counter "aqueduct_bytes_sent_total" "Bytes sent to clients.";
        received_publishes_qos0: Counter "aqueduct_publishes_received_total" {"qos" = "0"} "PUBLISH packets received, by quality of service.";
        received_publishes_qos1: Counter "aqueduct_publishes_received_total" {"qos" = "1"} "PUBLISH packets received, by quality of service.";
        received_publishes_qos2: Counter "aqueduct_publishes_received_total" {"qos" = "2"} "PUBLISH packets received, by quality of service.";
        unmatched_publishes: Counter "aqueduct_publishes_unmatched_total" "PUBLISH packets that no enabled sink and no subscriber matched.";
        protocol_errors: Counter "aqueduct_protocol_errors_total" "Connections closed because the client broke the protocol.";
        timeouts: Counter "aqueduct_timeouts_total" "Connections closed by keep-alive or connect timeout.";
        takeovers: Counter "aqueduct_takeovers_total" "Connections closed because the same client id connected again.";
        backpressure_pauses: Counter "aqueduct_backpressure_pauses_total" "Times a connection's reading stopped because a PUBLISH did not fit.";
        backpressure_paused: Gauge "aqueduct_backpressure_paused" "Connections whose reading is stopped now.";
        memory_bytes: Gauge "aqueduct_memory_charged_bytes" "Bytes charged to the memory budget.";
        memory_budget_bytes: Gauge "aqueduct_memory_budget_bytes" "The memory budget.";
        deliveries: Counter "aqueduct_deliveries_total" "Publications sent to subscribers.";
        deliveries_dropped_queue_full: Counter "aqueduct_deliveries_dropped_total" {"reason" = "queue_full"} "Publications that a subscriber did not get, by reason.";
        deliveries_dropped_expired: Counter "aqueduct_deliveries_dropped_total" {"reason" = "expired"} "Publications that a subscriber did not get, by reason.";
        deliveries_dropped_too_large: Counter "aqueduct_deliveries_dropped_total" {"reason" = "too_large"} "Publications that a subscriber did not get, by reason.";
        deliveries_dropped_offline: Counter "aqueduct_deliveries_dropped_total" {"reason" = "offline"} "Publications that a subscriber did not get, by reason.";
        rounds: Counter "aqueduct_rounds_total" "Rounds of the shard.";
        busy_ns: Counter "aqueduct_busy_nanoseconds_total" "Time spent in rounds, not waiting; the busy share is its rate.";
        reads: Counter "aqueduct_reads_total" "Reads from client sockets.";
        sends: Counter "aqueduct_sends_total" "Sends to client sockets.";
        logins_succeeded: Counter "aqueduct_kafka_logins_total" {"outcome" = "succeeded"} "Authentications to brokers (SASL), those before a session's end included, by outcome.";
        logins_failed: Counter "aqueduct_kafka_logins_total" {"outcome" = "failed"} "Authentications to brokers (SASL), those before a session's end included, by outcome.";
        notes_suppressed: Counter "aqueduct_log_lines_suppressed_total" "Log lines left out by the rate limit.";
    }
}

table! {
    /// What is counted for the embedded log of the whole node.
    LogCounters {
        damaged: Counter "aqueduct_log_damaged_total" "Stretches of the embedded log that were found damaged, at start and while reading; consumers are not shown them.";
        damaged_bytes: Counter "aqueduct_log_damaged_bytes_total" "Bytes of those stretches.";
    }
}

table! {
    /// What is counted for the configuration of the whole node.
    ConfigCounters {
        reloads_changed: Counter "aqueduct_config_reloads_total" {"outcome" = "changed"} "Reloads that were asked for, by outcome: the configuration changed, nothing had changed, or what was read was refused whole.";
        reloads_unchanged: Counter "aqueduct_config_reloads_total" {"outcome" = "unchanged"} "Reloads that were asked for, by outcome: the configuration changed, nothing had changed, or what was read was refused whole.";
        reloads_refused: Counter "aqueduct_config_reloads_total" {"outcome" = "refused"} "Reloads that were asked for, by outcome: the configuration changed, nothing had changed, or what was read was refused whole.";
        last_reload_successful: Gauge "aqueduct_config_last_reload_successful" "1, or 0 where the last reload was refused: the file says something else than what is in force, and the next start may fail.";
        changed_s: Gauge "aqueduct_config_changed_timestamp_seconds" "When the configuration in force became so: the start or the last reload that changed it, in seconds since 1970-01-01 UTC.";
    }
}

table! {
    /// What a shard counts for one sink. At every snapshot, and exactly at rest,
    /// `matched = success + failed + dropped_* + queuing + inflight`.
    SinkCounters {
        matched: Counter "aqueduct_sink_matched_total" "Records made for the sink.";
        success: Counter "aqueduct_sink_success_total" "Records written at the sink's required_acks.";
        failed: Counter "aqueduct_sink_failed_total" "Records that the sink will never write. In sync their clients got no success, unless a dead-letter sink has taken them; in async they had been acknowledged before.";
        dropped_queue_full: Counter "aqueduct_sink_dropped_total" {"reason" = "queue_full"} "Records discarded, by reason.";
        dropped_rejected: Counter "aqueduct_sink_dropped_total" {"reason" = "rejected"} "Records discarded, by reason.";
        dropped_expired: Counter "aqueduct_sink_dropped_total" {"reason" = "expired"} "Records discarded, by reason.";
        dropped_shutdown: Counter "aqueduct_sink_dropped_total" {"reason" = "shutdown"} "Records discarded, by reason.";
        health_connected: Gauge "aqueduct_sink_health" {"state" = "connected"} "Shards that see the sink in this state; /readyz tells why.";
        health_connecting: Gauge "aqueduct_sink_health" {"state" = "connecting"} "Shards that see the sink in this state; /readyz tells why.";
        health_disconnected: Gauge "aqueduct_sink_health" {"state" = "disconnected"} "Shards that see the sink in this state; /readyz tells why.";
        health_stopped: Gauge "aqueduct_sink_health" {"state" = "stopped"} "Shards that see the sink in this state; /readyz tells why.";
        queuing: Gauge "aqueduct_sink_queuing" "Records open, handed over, or queued at the owner; counted by the shard that received them.";
        queuing_bytes: Gauge "aqueduct_sink_queuing_bytes" "Bytes of those records.";
        inflight: Gauge "aqueduct_sink_inflight" "Records in requests that the broker has not answered.";
        retried: Counter "aqueduct_sink_retried_total" "Records sent again.";
        live_topics: Gauge "aqueduct_sink_live_topics" "Topics that messages have named and that are kept for the next one; each shard counts its own.";
        live_topics_evicted: Counter "aqueduct_sink_live_topics_evicted_total" "Topics that gave up their place to another at live_topics_max.";
        late: Counter "aqueduct_sink_late_total" "Tickets that waited longer than sync_timeout.";
        late_success: Counter "aqueduct_sink_late_success_total" "Records written after sync_timeout.";
        dead_lettered: Counter "aqueduct_sink_dead_lettered_total" "Records that can never be written, handed to the sink of dead_letter; they count as failed here.";
        too_large: Counter "aqueduct_sink_too_large_total" "Records larger than max.message.bytes of their topic, refused before they were sent; they count as failed.";
        headers_ignored: Counter "aqueduct_sink_headers_ignored_total" "Records whose `headers` found what cannot be headers, and that went without.";
        possible_duplicate: Counter "aqueduct_sink_possible_duplicate_total" "Records whose fate was open when they were sent again under a new producer epoch, or when they were given up.";
        acked_loss: Counter "aqueduct_sink_kafka_acked_loss_total" "Offsets that Kafka had acknowledged and gave out again: records it has lost.";
        batches: Counter "aqueduct_sink_batches_total" "Batches that got an outcome.";
        batch_bytes: Counter "aqueduct_sink_batch_bytes_total" "Bytes of those batches; with batches it gives the batch fill.";
        requests: Counter "aqueduct_sink_requests_total" "Produce requests sent.";
        sent_bytes: Counter "aqueduct_sink_sent_bytes_total" "Bytes of batches sent to Kafka, after compression; repeats count again.";
        uncompressed: Counter "aqueduct_sink_uncompressed_total" "Batches sent without compression because their broker is too old for the codec.";
        stored_records: Gauge "aqueduct_sink_buffer_disk_records" "Records in the buffer on disk that Kafka does not have.";
        stored_bytes: Gauge "aqueduct_sink_buffer_disk_bytes" "Bytes of those records.";
        stored_segments: Gauge "aqueduct_sink_buffer_segments" "Files of the buffer on disk.";
        stored_segment_bytes: Gauge "aqueduct_sink_buffer_segment_bytes" "Bytes of those files: at most twice those of the records, and a few files more.";
        stored_copied_bytes: Counter "aqueduct_sink_buffer_copied_bytes_total" "Bytes of records that were copied out of files of the buffer of which little was needed, so that these could go.";
        stored_syncs: Counter "aqueduct_sink_buffer_syncs_total" "Groups of batches made durable, each by one sync.";
        stored_sync_ns: Counter "aqueduct_sink_buffer_sync_nanoseconds_total" "Time those syncs took; with their number it gives the latency of the disk.";
        stored_failures: Counter "aqueduct_sink_buffer_failures_total" "Writes to the buffer that the disk refused; they are tried again.";
        stored_damaged: Counter "aqueduct_sink_buffer_damaged_total" "Stretches of the buffer on disk that were found damaged and set aside.";
        stored_replayed: Counter "aqueduct_sink_buffer_replayed_total" "Records that an earlier run had left in the buffer on disk.";
    }
}
