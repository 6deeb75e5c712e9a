//! Whole configurations: what they become, and what is said of those that are wrong.

use super::*;

const MACHINE: Machine = Machine { memory_bytes: 10 * unit::GB, cores: 4, descriptors: 65_536 };

fn load(text: &str) -> Result<Loaded, Problems> {
    Loaded::load(&Sources::file(Document::new("aqueduct.toml", text)), &MACHINE)
}

/// What a user sees, without colours.
fn rendered(problems: &Problems) -> String {
    let theme = miette::GraphicalTheme::unicode_nocolor();
    let handler = miette::GraphicalReportHandler::new_themed(theme).with_width(100);
    let mut out = String::new();
    for problem in problems.iter() {
        handler.render_report(&mut out, problem).unwrap();
    }
    out
}

#[test]
fn the_embedded_default_is_mqtt_into_a_local_log() {
    let config = Loaded::load(&Sources::embedded(), &MACHINE).map_err(|p| rendered(&p)).unwrap().config;
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

#[test]
fn an_unknown_key_is_pointed_at_with_a_suggestion() {
    let problems = load("[mqtt]\nreceive_maxium = 10\n").unwrap_err();
    assert_eq!(
        rendered(&problems),
        "  × [mqtt] has no option `receive_maxium`
   ╭─[aqueduct.toml:2:1]
 1 │ [mqtt]
 2 │ receive_maxium = 10
   · ───────┬──────
   ·        ╰── unknown option
   ╰────
  help: did you mean `receive_maximum`?
"
    );
}
