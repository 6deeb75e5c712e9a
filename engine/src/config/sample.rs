//! The file `aqueduct init` writes: every option with its sentence and default, and the embedded default switched on.
//!
//! The same text is what `aqueduct run` uses without a file, so the two cannot differ.

use super::SECTIONS;
use super::option::{Row, Section};

const WIDTH: usize = 110;

const HEAD: &str = "\
# Aqueduct's configuration. Lines that begin with `# ` and a key show an option and its default.
#
# Sizes are written \"896KB\" (1KB is 1024 bytes), durations \"5s\", secrets { file = \"…\" } or { env = \"…\" }.
# `aqueduct check --config FILE` reads it without starting; `aqueduct config explain KEY` tells more of an option.
# As it stands this file is the default: MQTT on 127.0.0.1:1883 into a Kafka-compatible log on 127.0.0.1:9092.
";

/// An object of the sample and the options that are set in it.
struct Object {
    name: &'static str,
    only: Option<&'static str>,
    live: bool,
    set: &'static [(&'static str, &'static str)],
}

/// The objects of a named section.
fn objects(section: &Section) -> &'static [Object] {
    match section.name {
        "listeners" => &[Object { name: "tcp", only: None, live: true, set: &[("bind", "127.0.0.1:1883")] }],
        "connectors" => &[
            Object { name: "main", only: Some("embedded"), live: true, set: &[("type", "embedded")] },
            Object { name: "cluster", only: Some("kafka"), live: false, set: &[] },
        ],
        "sinks" => &[Object {
            name: "mqtt",
            only: None,
            live: true,
            set: &[("connector", "main"), ("source_topics", "#"), ("topic", "mqtt")],
        }],
        _ => &[],
    }
}

/// The whole file.
pub fn sample() -> String {
    let mut out = HEAD.to_string();
    for section in SECTIONS {
        out.push('\n');
        comment(&mut out, section.about.trim());
        if !section.named {
            out.push_str(&format!("[{}]\n", section.name));
            section.groups.iter().flat_map(|group| group.rows).for_each(|row| option(&mut out, row, None));
        }
        for object in objects(section) {
            out.push_str(&format!("{}[{}.{}]\n", if object.live { "" } else { "# " }, section.name, object.name));
            let groups = section.groups.iter().filter(|group| group.only.is_none() || group.only == object.only);
            for row in groups.flat_map(|group| group.rows) {
                let set = object.set.iter().find(|(key, _)| *key == row.key);
                option(&mut out, row, set.map(|(_, word)| *word));
            }
        }
    }
    out
}

/// The sentence, then the option: set, or shown in a comment.
fn option(out: &mut String, row: &Row, set: Option<&str>) {
    comment(out, row.sentence());
    match set {
        Some(word) => out.push_str(&format!("{} = {}\n", row.key, row.kind.literal(word))),
        None => out.push_str(&format!("# {} = {}\n", row.key, row.example())),
    }
}

fn comment(out: &mut String, text: &str) {
    let mut line = String::from("#");
    for word in text.split_whitespace() {
        if line.len() + 1 + word.len() > WIDTH && line.len() > 1 {
            out.push_str(&line);
            out.push('\n');
            line = String::from("#");
        }
        line.push(' ');
        line.push_str(word);
    }
    out.push_str(&line);
    out.push('\n');
}
