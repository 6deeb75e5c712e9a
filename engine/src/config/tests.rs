//! Whole configurations: what they become, and what is said of those that are wrong.
//!
//! The messages stand in `tests/problems.md`, mistake by mistake, exactly as a user sees them.

use super::*;

mod layers;
mod mutations;
mod problems;
mod security;

const MACHINE: Machine = Machine { memory_bytes: 10 * unit::GB, cores: 4, descriptors: 65_536 };

/// A configuration that lacks nothing but a listener, to which a test adds what it is about.
const BASE: &str = "[connectors.k]\n[sinks.s]\nconnector = \"k\"\ntopic = \"t\"\nsource_topics = [\"#\"]\n";

fn load(text: &str) -> Result<Loaded, Problems> {
    Loaded::load(&Sources::file(Document::new("aqueduct.toml", text)), &MACHINE)
}

/// `BASE` followed by `text`, which must be in order.
fn config(text: &str) -> Config {
    loaded(Sources::file(Document::new("aqueduct.toml", &format!("{BASE}{text}")))).config
}

fn loaded(sources: Sources) -> Loaded {
    match Loaded::load(&sources, &MACHINE) {
        Ok(loaded) => loaded,
        Err(problems) => panic!("{}", rendered(problems.iter())),
    }
}

/// What a user sees, without colours.
fn rendered<'a>(problems: impl Iterator<Item = &'a Problem>) -> String {
    let theme = miette::GraphicalTheme::unicode_nocolor();
    let handler = miette::GraphicalReportHandler::new_themed(theme).with_width(120);
    let mut out = String::new();
    for problem in problems {
        handler.render_report(&mut out, problem).unwrap();
    }
    out.lines().map(|line| format!("{}\n", line.trim_end())).collect()
}

#[test]
fn the_embedded_default_is_mqtt_into_a_local_log() {
    let config = loaded(Sources::embedded()).config;
    assert_eq!(config.listeners[0].bind, "127.0.0.1:1883".parse().unwrap());
    let [Connector { name, kind: ConnectorKind::Embedded(embedded), .. }] = config.connectors.as_slice() else {
        panic!("{:?}", config.connectors)
    };
    assert_eq!((name.as_str(), embedded.partitions), ("main", 4));
    assert_eq!(embedded.bind, "127.0.0.1:9092".parse().unwrap());
    let [sink] = config.sinks.as_slice() else { panic!("{:?}", config.sinks) };
    assert_eq!((sink.connector, sink.topic.as_str(), sink.value.as_str()), (0, "mqtt", "${.}"));
    assert_eq!(sink.source_topics, ["#"]);
    assert_eq!(config.node.memory_limit_bytes, 7 * unit::GB, "70 % of the machine's");
}

/// Every line of the sample that shows an option is one: switched on, the file still reads.
#[test]
fn every_option_the_sample_shows_is_one() {
    let shown = sample();
    let is_key = |text: &str| text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b"._".contains(&b));
    let is_option = |line: &str| {
        let option = line.strip_prefix("# ").and_then(|rest| rest.split_once(" = "));
        option.is_some_and(|(key, _)| is_key(key))
    };
    let object = |line: &str| line.starts_with("# [");
    // The example values of these name things that are not there.
    let absent = ["token = ", "file = \"/var", "dead_letter", "compression_level", "tls.", "authentication."];
    let on: String = shown
        .lines()
        .map(|line| match line.strip_prefix("# ") {
            Some(rest) if object(line) || is_option(line) && !absent.iter().any(|a| rest.starts_with(a)) => rest,
            _ => line,
        })
        .map(|line| format!("{line}\n"))
        .collect();
    assert!(on.lines().filter(|line| line.contains(" = ")).count() > 70, "{on}");
    let with_all = loaded(Sources::file(Document::new("sample", &on)));
    let plain = loaded(Sources::embedded());
    assert_eq!(with_all.config.mqtt, plain.config.mqtt);
    assert_eq!(with_all.config.node, plain.config.node);
    assert_eq!(with_all.config.sinks[0].overflow, plain.config.sinks[0].overflow);
}

#[test]
fn defaults_follow_from_other_options() {
    let sink = config("query_mode = \"async\"\n").sinks.remove(0);
    assert_eq!((sink.overflow, sink.deliver), (Overflow::DropOldest, Deliver::AtOnce));
    let sink = config("").sinks.remove(0);
    assert_eq!((sink.overflow, sink.deliver, sink.idempotence), (Overflow::Backpressure, Deliver::AfterKafka, true));
    assert!(!config("required_acks = \"none\"\n").sinks[0].idempotence);
    let ConnectorKind::Kafka(kafka) = config("[node]\nname = \"n1\"\n").connectors.remove(0).kind else { panic!() };
    assert_eq!(kafka.client_id, "aqueduct-n1");
}

#[test]
fn levels_of_compression_are_those_of_the_codec() {
    let codec = |text: &str| {
        let sink = config(text).sinks.remove(0);
        (sink.compression.name(), sink.compression_level)
    };
    assert_eq!(codec(""), ("none", None));
    assert_eq!(codec("compression = \"no_compression\"\n"), ("none", None));
    for (name, levels) in [("gzip", [1, 9]), ("zstd", [-7, 22])] {
        for level in levels {
            let text = format!("compression = \"{name}\"\ncompression_level = {level}\n");
            assert_eq!(codec(&text), (name, Some(level)));
        }
        for level in [levels[0] - 1, levels[1] + 1] {
            let text = format!("{BASE}compression = \"{name}\"\ncompression_level = {level}\n");
            assert!(load(&text).is_err(), "{name} {level}");
        }
    }
}

#[test]
fn a_size_that_was_not_chosen_gives_way_to_one_that_was() {
    let sink = config("max_batch_bytes = \"64KB\"\n").sinks.remove(0);
    assert_eq!((sink.batch_target_bytes, sink.batch_bytes_max), (64 << 10, 64 << 10));
    let sink = config("batch_target_bytes = \"2MB\"\n").sinks.remove(0);
    assert_eq!((sink.batch_target_bytes, sink.batch_bytes_max), (2 << 20, 2 << 20));
}

#[test]
fn an_ack_timeout_that_was_not_chosen_gives_way_to_the_request_timeout() {
    let text = BASE.replace("[connectors.k]\n", "[connectors.k]\nrequest_timeout = \"4s\"\n");
    let config = load(&text).map_err(|problems| rendered(problems.iter())).unwrap().config;
    assert_eq!(config.sinks[0].ack_timeout_ms, 2_000);
}

#[test]
fn what_is_not_enabled_is_left_out_and_references_follow() {
    let text = "[connectors.a]\nenable = false\n[connectors.b]\n\
                [sinks.x]\nenable = false\nconnector = \"a\"\ntopic = \"x\"\n\
                [sinks.y]\nconnector = \"b\"\ntopic = \"y\"\nsource_topics = [\"#\"]\n";
    let config = load(text).map_err(|problems| rendered(problems.iter())).unwrap().config;
    assert_eq!(config.connectors.len(), 1);
    let sinks: Vec<_> = config.sinks.iter().map(|s| (s.name.as_str(), s.connector)).collect();
    assert_eq!(sinks, [("y", 0)]);
}

#[test]
fn secrets_are_read_and_never_shown() {
    let path = std::env::temp_dir().join(format!("aqueduct-secret-{}", std::process::id()));
    std::fs::write(&path, "hush-hush\n").unwrap();
    let text = format!("{BASE}[http]\ntoken = {{ file = \"{}\" }}\n", path.display());
    let loaded = load(&text).map_err(|problems| rendered(problems.iter()));
    std::fs::remove_file(&path).unwrap();
    let loaded = loaded.unwrap();
    assert_eq!(loaded.config.http.token.as_ref().map(Secret::expose), Some("hush-hush"));
    assert!(!format!("{:?} {:?}", loaded.config, loaded.effective).contains("hush"));
    let shown = loaded.effective.iter().find(|effective| effective.path == "http.token").unwrap();
    assert_eq!(shown.value, "(secret)");
}

#[test]
fn every_profile_can_be_read_and_used() {
    for name in Profile::names() {
        let profile = Profile::find(name).map_err(|problems| rendered(problems.iter())).unwrap();
        assert!(profile.choices.len() >= 4, "{name} sets something");
        let mut sources = Sources::embedded();
        sources.profile = Some(profile);
        assert!(loaded(sources).warnings.is_empty(), "{name}");
    }
    let balanced = Profile::find("balanced").unwrap();
    assert!(balanced.choices.iter().all(|choice| choice.is_default), "balanced explains the defaults");
}
