//! Every option of connectors and sinks has a test that shows its effect, not only that it is read.
//!
//! Setup: the reference page, which is generated from the options, and the list below. Expectation: the list names each option of the
//! page and no other, and each test it names exists. Whoever adds an option adds the test that feels it.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

/// Files that many rows name.
const TOWARDS_KAFKA: &str = "tests/tests/options_towards_kafka_are_felt.rs";
const FELT: &str = "tests/tests/options_are_felt.rs";
const RECORDS: &str = "tests/tests/records_carry_what_is_configured.rs";
const HOLDS: &str = "tests/tests/kafka_holds_what_was_published.rs";
const TRUST: &str = "tests/tests/brokers_and_we_know_each_other.rs";
const BUFFERS: &str = "tests/tests/buffers_keep_what_kafka_does_not_take.rs";
const WATERMARK: &str = "tests/tests/memory_above_the_watermark_is_given_back.rs";
const WRITER: &str = "engine/src/sink/kafka/tests.rs";
const GIVEN_UP: &str = "engine/src/sink/kafka/tests/given_up.rs";
const HEALTH: &str = "engine/src/sink/kafka/tests/health.rs";
const EMBEDDED: &str = "tests/tests/kafka_tools_read_the_embedded_log.rs";
const KERBEROS: &str = "tests/tests/kerberos_lets_us_in.rs";
const LINKS: &str = "engine/src/sink/kafka/tests/links.rs";
const TLS: &str = "engine/tests/driver/tls.rs";
const LOGIN: &str = "engine/src/broker/login.rs";
const SECURITY: &str = "engine/src/config/tests/security.rs";
const PARTITIONING: &str = "engine/src/sink/partitioning.rs";

/// Section, option, and the test that feels it: file and name.
const TESTS: &[(&str, &str, &str, &str)] = &[
    ("connectors", "enable", TOWARDS_KAFKA, "a_connector_that_is_not_enabled_is_not_dialled"),
    ("connectors", "bootstrap_hosts", TOWARDS_KAFKA, "any_bootstrap_host_will_do"),
    ("connectors", "bootstrap_hosts", TOWARDS_KAFKA, "a_name_is_resolved_again_at_every_dial"),
    ("connectors", "client_id", TOWARDS_KAFKA, "brokers_hear_the_client_id"),
    ("connectors", "allow_auto_topic_creation", TOWARDS_KAFKA, "a_topic_is_made_only_if_that_is_allowed"),
    (
        "connectors",
        "connect_timeout",
        TOWARDS_KAFKA,
        "a_silent_broker_is_given_up_after_the_connect_timeout_and_dialled_again_after_the_delay",
    ),
    ("connectors", "start_timeout", TOWARDS_KAFKA, "a_start_without_kafka_is_told_after_the_timeout"),
    ("connectors", "health_check_interval", HEALTH, "a_broker_that_dies_in_silence_is_noticed_at_the_interval"),
    ("connectors", "request_timeout", WRITER, "a_silent_link_is_given_up_and_its_batches_are_sent_again"),
    ("connectors", "reconnect_delay", TOWARDS_KAFKA, "the_reconnect_delay_paces_the_dials"),
    ("connectors", "metadata_request_timeout", HEALTH, "a_broker_that_dies_in_silence_is_noticed_at_the_interval"),
    (
        "connectors",
        "min_metadata_refresh_interval",
        WRITER,
        "a_topic_that_does_not_exist_is_asked_for_no_more_often_than_said",
    ),
    ("connectors", "authentication.principal", KERBEROS, "what_is_wrong_is_named"),
    ("connectors", "authentication.keytab_file", KERBEROS, "a_keytab_that_is_put_right_is_used"),
    ("connectors", "authentication.service_name", KERBEROS, "what_is_wrong_is_named"),
    ("connectors", "connection_strategy", TOWARDS_KAFKA, "so_many_links_lead_to_a_broker"),
    ("connectors", "connection_strategy", LINKS, "each_partition_has_a_link_of_its_own_if_that_is_wanted"),
    ("connectors", "connections_per_broker", TOWARDS_KAFKA, "so_many_links_lead_to_a_broker"),
    ("connectors", "connections_per_broker", LINKS, "partitions_are_divided_over_the_links_of_a_broker"),
    ("connectors", "socket.nodelay", TOWARDS_KAFKA, "sockets_are_as_they_are_configured"),
    ("connectors", "socket.sndbuf", TOWARDS_KAFKA, "sockets_are_as_they_are_configured"),
    ("connectors", "socket.recbuf", TOWARDS_KAFKA, "sockets_are_as_they_are_configured"),
    ("connectors", "socket.keepalive", TOWARDS_KAFKA, "sockets_are_as_they_are_configured"),
    ("connectors", "authentication.mechanism", TRUST, "every_way_in_is_open_to_those_who_may"),
    ("connectors", "authentication.username", TRUST, "every_way_in_is_open_to_those_who_may"),
    ("connectors", "authentication.password", TRUST, "every_way_in_is_open_to_those_who_may"),
    ("connectors", "authentication.token_endpoint", TRUST, "every_way_in_is_open_to_those_who_may"),
    ("connectors", "authentication.client_id", TRUST, "every_way_in_is_open_to_those_who_may"),
    ("connectors", "authentication.client_secret", TRUST, "every_way_in_is_open_to_those_who_may"),
    ("connectors", "authentication.scope", TRUST, "every_way_in_is_open_to_those_who_may"),
    ("connectors", "authentication.extensions", LOGIN, "extensions_are_shown_beside_the_token"),
    ("connectors", "tls.enable", TLS, "a_server_has_to_prove_who_it_is"),
    ("connectors", "tls.cacertfile", TLS, "a_server_has_to_prove_who_it_is"),
    ("connectors", "tls.verify", TLS, "a_server_has_to_prove_who_it_is"),
    ("connectors", "tls.certfile", TLS, "a_server_may_want_to_know_who_we_are"),
    ("connectors", "tls.keyfile", TLS, "a_server_may_want_to_know_who_we_are"),
    ("connectors", "tls.password", TLS, "a_server_may_want_to_know_who_we_are"),
    ("connectors", "tls.depth", TLS, "a_chain_may_be_so_long"),
    ("connectors", "tls.reuse_sessions", TLS, "sessions_are_taken_up_again_if_that_is_wanted"),
    ("connectors", "tls.server_name_indication", TLS, "a_name_is_told_to_the_server_unless_that_is_off"),
    ("connectors", "tls.versions", TLS, "both_versions_carry_requests_and_answers"),
    ("connectors", "tls.ciphers", TLS, "suites_are_those_that_were_asked_for"),
    ("connectors", "bind", EMBEDDED, "kcat_lists_consumes_and_queries"),
    ("connectors", "partitions", FELT, "the_embedded_log_keeps_so_much_in_files_of_such_a_size"),
    ("connectors", "retention_time", FELT, "the_embedded_log_keeps_so_much_in_files_of_such_a_size"),
    ("connectors", "retention_bytes", FELT, "the_embedded_log_keeps_so_much_in_files_of_such_a_size"),
    ("connectors", "segment_bytes", FELT, "the_embedded_log_keeps_so_much_in_files_of_such_a_size"),
    ("sinks", "connector", "tests/tests/connectors_come_and_go.rs", "every_way_in_comes_and_goes_and_the_others_go_on"),
    ("sinks", "enable", RECORDS, "kafka_reads_every_compression"),
    ("sinks", "source_topics", "tests/tests/acks_keep_their_promises.rs", "only_where_nothing_takes_it_says_so"),
    ("sinks", "topic", RECORDS, "messages_name_their_topic"),
    ("sinks", "live_topics_max", RECORDS, "messages_name_their_topic"),
    ("sinks", "key", HOLDS, "keys_values_and_timestamps_follow_their_templates"),
    ("sinks", "value", HOLDS, "keys_values_and_timestamps_follow_their_templates"),
    ("sinks", "timestamp", HOLDS, "keys_values_and_timestamps_follow_their_templates"),
    ("sinks", "missing_value", FELT, "what_is_missing_is_null_empty_or_no_record"),
    ("sinks", "envelope", RECORDS, "envelopes_are_what_consumers_of_other_systems_expect"),
    ("sinks", "payload_encoding", RECORDS, "headers_keys_and_values_say_what_was_published"),
    ("sinks", "headers", RECORDS, "headers_keys_and_values_say_what_was_published"),
    ("sinks", "ext_headers", RECORDS, "headers_keys_and_values_say_what_was_published"),
    ("sinks", "header_value_encoding", RECORDS, "headers_keys_and_values_say_what_was_published"),
    ("sinks", "partition_strategy", HOLDS, "partition_strategies"),
    ("sinks", "partition_strategy", PARTITIONING, "random_is_uniform_and_avoids_what_does_not_answer"),
    ("sinks", "partition_strategy", PARTITIONING, "sticky_prefers_owned_partitions_and_short_queues"),
    ("sinks", "key_hash", FELT, "the_hash_decides_the_partition"),
    ("sinks", "partition_count_refresh_interval", WRITER, "partitions_that_are_added_are_found"),
    ("sinks", "required_acks", WRITER, "kafka_is_told_whose_word_is_waited_for_and_how_long"),
    ("sinks", "ack_timeout", WRITER, "kafka_is_told_whose_word_is_waited_for_and_how_long"),
    ("sinks", "idempotence", WRITER, "batches_are_numbered_unless_that_is_off"),
    ("sinks", "query_mode", "tests/tests/drain_ends_in_time.rs", "with_kafka_away"),
    ("sinks", "sync_timeout", FELT, "a_late_outcome_is_waited_for_refused_or_the_end"),
    ("sinks", "on_sync_timeout", FELT, "a_late_outcome_is_waited_for_refused_or_the_end"),
    ("sinks", "deliver", "engine/src/shard/tests/deliver.rs", "at_once_is_at_once"),
    ("sinks", "on_failed_v3", RECORDS, "old_clients_are_closed_or_acknowledged"),
    ("sinks", "dead_letter", RECORDS, "poison_goes_to_the_dead_letters_and_holds_up_nobody"),
    ("sinks", "max_batch_bytes", FELT, "a_batch_holds_so_many_bytes_and_a_partition_so_many"),
    ("sinks", "batch_target_bytes", FELT, "a_batch_waits_for_its_linger_unless_it_is_large"),
    ("sinks", "min_batch_bytes", FELT, "a_batch_waits_for_its_linger_unless_it_is_large"),
    ("sinks", "linger", FELT, "a_batch_waits_for_its_linger_unless_it_is_large"),
    ("sinks", "compression", RECORDS, "kafka_reads_every_compression"),
    ("sinks", "compression_level", RECORDS, "kafka_reads_every_compression"),
    ("sinks", "max_inflight", WRITER, "large_batches_fill_the_window_and_no_more"),
    ("sinks", "max_retries", GIVEN_UP, "a_batch_that_was_refused_too_often_takes_the_tail_with_it"),
    ("sinks", "max_batch_age", GIVEN_UP, "a_batch_that_is_too_old_takes_the_tail_with_it"),
    ("sinks", "health_check_interval", TOWARDS_KAFKA, "a_dead_broker_is_noticed_without_traffic"),
    ("sinks", "buffer.mode", BUFFERS, "what_lies_on_disk_outlives_the_node"),
    ("sinks", "buffer.dir", BUFFERS, "a_full_disk_stops_acknowledgements_and_nothing_else"),
    ("sinks", "buffer.segment_bytes", BUFFERS, "what_lies_on_disk_outlives_the_node"),
    ("sinks", "buffer.per_partition_limit", FELT, "a_batch_holds_so_many_bytes_and_a_partition_so_many"),
    ("sinks", "buffer.overflow", FELT, "a_batch_holds_so_many_bytes_and_a_partition_so_many"),
    ("sinks", "buffer.overflow", BUFFERS, "a_full_buffer_in_memory_drops_its_oldest"),
    (
        "sinks",
        "buffer.memory_overload_protection",
        "engine/src/shard/tests/overload.rs",
        "in_async_the_oldest_go_until_few_are_left",
    ),
    ("sinks", "buffer.memory_overload_protection", WATERMARK, "the_oldest_records_are_given_up_and_counted"),
    ("sinks", "buffer.memory_overload_protection", WATERMARK, "publishers_wait_while_somebody_else_has_the_memory"),
];

/// Value of `connectors.type`, and the test that feels it: file and name.
const TYPES: &[(&str, &str, &str)] = &[
    ("kafka", HOLDS, "keys_values_and_timestamps_follow_their_templates"),
    ("confluent", SECURITY, "confluent_presets_tls_and_plain"),
    ("confluent", TRUST, "confluent_takes_an_address_a_key_and_a_secret"),
    ("embedded", EMBEDDED, "kcat_lists_consumes_and_queries"),
    ("embedded", FELT, "what_is_discarded_is_counted_and_kept_nowhere"),
    ("discard", FELT, "what_is_discarded_is_counted_and_kept_nowhere"),
];

/// Its values have rows of their own.
const TYPE: (&str, &str) = ("connectors", "type");

/// For people: nothing reads them.
const WITHOUT_EFFECT: [(&str, &str); 2] = [("connectors", "description"), ("sinks", "description")];

fn read(path: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(path);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Section and key of every option that the page shows for connectors and sinks.
fn options(page: &str) -> BTreeSet<(String, String)> {
    let mut found = BTreeSet::new();
    let mut section = String::new();
    for line in page.lines() {
        if let Some(title) = line.strip_prefix("## `[").or_else(|| line.strip_prefix("### `[")) {
            section = title.split(['.', ']']).next().unwrap_or_default().to_owned();
        }
        let key = line.strip_prefix("| `").and_then(|row| row.split_once('`')).map(|(key, _)| key);
        if let Some(key) = key.filter(|_| ["connectors", "sinks"].contains(&section.as_str())) {
            found.insert((section.clone(), key.to_owned()));
        }
    }
    found
}

#[test]
fn each_has_its_test() {
    let options = options(&read("docs/reference/configuration.md"));
    assert!(options.len() > 70, "the page reads otherwise now: {options:?}");
    let listed = TESTS.iter().map(|(section, option, ..)| (*section, *option)).chain([TYPE]).chain(WITHOUT_EFFECT);
    let listed: BTreeSet<(String, String)> = listed.map(|(s, o)| (s.to_owned(), o.to_owned())).collect();
    let unfelt: Vec<_> = options.difference(&listed).collect();
    assert!(unfelt.is_empty(), "write a test that shows what these do, and name it in this file: {unfelt:?}");
    let gone: Vec<_> = listed.difference(&options).collect();
    assert!(gone.is_empty(), "there are no such options: {gone:?}");
    for (section, option, file, test) in TESTS {
        assert_there(file, test, &format!("{section}.{option}"));
    }
}

#[test]
fn each_type_of_connector_has_its_test() {
    let page = read("docs/reference/configuration.md");
    let (_, connectors) = page.split_once("## `[connectors.").expect("the section of connectors");
    let row = connectors.lines().find(|line| line.starts_with("| `type` |")).expect("the option");
    // Quoted words of the second column.
    let kinds = row.split('|').nth(2).expect("a column").split('"').skip(1).step_by(2);
    let listed: BTreeSet<&str> = TYPES.iter().map(|(kind, ..)| *kind).collect();
    assert_eq!(kinds.collect::<BTreeSet<_>>(), listed, "each type needs a test in this file");
    for (kind, file, test) in TYPES {
        assert_there(file, test, &format!("connectors.type = {kind}"));
    }
}

#[track_caller]
fn assert_there(file: &str, test: &str, what: &str) {
    assert!(read(file).contains(&format!("fn {test}(")), "{what}: there is no test {test} in {file}");
}
