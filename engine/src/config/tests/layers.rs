//! Which layer wins, and what each may name.

use super::*;

fn sources(file: &str, environment: &[(&str, &str)], flags: &[Flag]) -> Sources {
    let mut sources = Sources::file(Document::new("aqueduct.toml", &format!("{BASE}{file}")));
    sources.profile = Some(Profile::find("latency").unwrap());
    sources.environment = environment.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect();
    sources.flags = flags.to_vec();
    sources
}

/// The linger in microseconds and its origin.
fn linger(sources: Sources) -> (u64, String) {
    let loaded = loaded(sources);
    let effective = loaded.effective.iter().find(|effective| effective.path == "sinks.s.linger").unwrap();
    (loaded.config.sinks[0].linger_us, effective.origin.to_string())
}

#[test]
fn flag_beats_variable_beats_file_beats_profile_beats_default() {
    let variable = [("AQUEDUCT__SINKS__S__LINGER", "3ms")];
    let flag = [Flag::set("sinks.s.linger=4ms")];
    let file = "linger = \"2ms\"\n";
    assert_eq!(linger(Sources { profile: None, ..sources("", &[], &[]) }), (5000, "default".to_string()));
    assert_eq!(linger(sources("", &[], &[])), (1000, "profile latency".to_string()));
    assert_eq!(linger(sources(file, &[], &[])), (2000, "aqueduct.toml:6".to_string()));
    assert_eq!(linger(sources(file, &variable, &[])), (3000, "environment AQUEDUCT__SINKS__S__LINGER".to_string()));
    assert_eq!(linger(sources(file, &variable, &flag)), (4000, "flag --set sinks.s.linger".to_string()));
}

#[test]
fn a_shorthand_sets_every_sink() {
    let file = "[sinks.other]\nconnector = \"k\"\ntopic = \"o\"\nsource_topics = [\"o\"]\n";
    let config = loaded(sources(file, &[], &[Flag::every_sink("--linger", "linger", "9ms")])).config;
    assert_eq!(config.sinks.iter().map(|sink| sink.linger_us).collect::<Vec<_>>(), [9000, 9000]);
}

#[test]
fn kafka_hosts_replace_the_embedded_log() {
    let mut sources = Sources::embedded();
    sources.flags = vec![Flag::kafka("--kafka", "a:1, b"), Flag::only_sink("--topic", "topic", "fleet")];
    let config = loaded(sources).config;
    let ConnectorKind::Kafka(kafka) = &config.connectors[0].kind else { panic!("{:?}", config.connectors) };
    let hosts: Vec<String> = kafka.bootstrap_hosts.iter().map(ToString::to_string).collect();
    assert_eq!(hosts, ["a:1", "b:9092"]);
    assert_eq!(config.sinks[0].topic, "fleet");
}

#[test]
fn a_variable_finds_names_with_dashes_and_dotted_keys() {
    let file = "[sinks.big-One]\nconnector = \"k\"\ntopic = \"o\"\nsource_topics = [\"o\"]\n";
    let variables = [("AQUEDUCT__SINKS__BIG_ONE__BUFFER__OVERFLOW", "reject"), ("AQUEDUCT__NODE__SHARDS", "3")];
    let config = loaded(sources(file, &variables, &[])).config;
    assert_eq!(config.sinks[1].overflow, Overflow::Reject);
    assert_eq!(config.node.shards, 3);
}

#[test]
fn a_whole_object_can_come_from_variables() {
    let variables = [
        ("AQUEDUCT__CONNECTORS__KAFKA__BOOTSTRAP_HOSTS", "kafka-1,kafka-2:9093"),
        ("AQUEDUCT__SINKS__FLEET__CONNECTOR", "kafka"),
        ("AQUEDUCT__SINKS__FLEET__SOURCE_TOPICS", "#"),
        ("AQUEDUCT__SINKS__FLEET__TOPIC", "fleet"),
    ];
    let mut sources = Sources::file(Document::new("empty", ""));
    sources.environment = variables.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect();
    let config = loaded(sources).config;
    assert_eq!((config.sinks[0].name.as_str(), config.sinks[0].source_topics.len()), ("fleet", 1));
}
