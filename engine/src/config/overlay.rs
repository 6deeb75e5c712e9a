//! Values from outside of files: environment variables and flags.
//!
//! A variable names its option as `AQUEDUCT__SECTION__KEY` or `AQUEDUCT__SECTION__NAME__KEY`, in capitals, with `__`
//! for the dots. Shells allow few characters there, so an object's name is matched without regard to case and with
//! `_` for `-`.

use super::SECTIONS;
use super::gather::{unknown_option, unknown_section};
use super::kind::text::{NAME_REMEDY, is_name};
use super::layer::{Entry, Layers, Origin, Slot};
use super::option::Section;
use super::problem::{Document, Place, Problem};
use super::value::{Value, quote};

/// The prefix of variables that set options.
pub const PREFIX: &str = "AQUEDUCT__";

/// An option given on the command line.
#[derive(Debug, Clone)]
pub struct Flag {
    shown: String,
    value: String,
    target: Target,
}

#[derive(Debug, Clone)]
enum Target {
    /// The option of this path.
    Path(String),
    /// This option of every object of the section.
    Every(&'static str, &'static str),
    /// This option of the section's only object.
    Only(&'static str, &'static str),
    /// The hosts of the Kafka connector; the only connector becomes one if it is none.
    Kafka,
}

impl Flag {
    /// `--set key=value`
    pub fn set(text: &str) -> Self {
        let (path, value) = text.split_once('=').unwrap_or((text, ""));
        Self {
            shown: format!("--set {path}="),
            value: value.trim().to_string(),
            target: Target::Path(path.trim().to_string()),
        }
    }

    /// A flag for the option of this path.
    pub fn path(flag: &str, path: &str, value: &str) -> Self {
        Self::new(flag, value, Target::Path(path.to_string()))
    }

    /// A flag that sets an option of every sink.
    pub fn every_sink(flag: &str, key: &'static str, value: &str) -> Self {
        Self::new(flag, value, Target::Every("sinks", key))
    }

    /// A flag that sets an option of the only sink.
    pub fn only_sink(flag: &str, key: &'static str, value: &str) -> Self {
        Self::new(flag, value, Target::Only("sinks", key))
    }

    /// A flag that sets an option of the only listener.
    pub fn only_listener(flag: &str, key: &'static str, value: &str) -> Self {
        Self::new(flag, value, Target::Only("listeners", key))
    }

    /// The hosts of the Kafka cluster.
    pub fn kafka(flag: &str, hosts: &str) -> Self {
        Self::new(flag, hosts, Target::Kafka)
    }

    fn new(flag: &str, value: &str, target: Target) -> Self {
        Self { shown: format!("{flag} "), value: value.to_string(), target }
    }
}

/// Applies the variables of an environment.
pub(crate) fn environment(variables: &[(String, String)], layers: &mut Layers, problems: &mut Vec<Problem>) {
    for (name, value) in variables {
        let Some(path) = name.strip_prefix(PREFIX) else { continue };
        let word = Word::new("environment", &format!("{name}="), value, Origin::Environment(name.clone()));
        match variable_slot(path, layers) {
            Ok(slot) => word.set(slot, layers, problems),
            Err(problem) => problems.push(problem.at(Some(word.key_place()), "")),
        }
    }
}

/// The slot of the variable `SINKS__MAIN__LINGER`.
fn variable_slot(path: &str, layers: &Layers) -> Result<Slot, Problem> {
    let path = path.to_lowercase();
    let (section, rest) = path.split_once("__").unwrap_or((&path, ""));
    let section = section_of(section)?;
    if !section.named {
        let key = rest.replace("__", ".");
        let row = section.row(&key).ok_or_else(|| unknown_option(section, None, &key))?;
        return Ok(Slot { section: section.name, name: None, key: row.key.to_string() });
    }
    // A name may hold `__` itself, so the key is looked for from the end; the longest that fits is meant.
    let fits = |key: &str| rest.strip_suffix(&key.replace('.', "__")).and_then(|rest| rest.strip_suffix("__"));
    let found = section.rows().filter_map(|(row, _)| Some((row.key, fits(row.key)?))).max_by_key(|(key, _)| key.len());
    let Some((key, written)) = found else {
        let (name, key) = rest.split_once("__").unwrap_or(("NAME", rest));
        return Err(unknown_option(section, Some(name), &key.replace("__", ".")));
    };
    let same = |name: &str| name.to_lowercase().replace('-', "_") == written;
    let known = layers.objects(section.name).into_iter().map(|object| object.name).find(|name| same(name));
    Ok(Slot { section: section.name, name: Some(known.unwrap_or(written.to_string())), key: key.to_string() })
}

/// Applies the flags of a command line.
pub(crate) fn flags(flags: &[Flag], layers: &mut Layers, problems: &mut Vec<Problem>) {
    for flag in flags {
        let word = Word::new(
            "command line",
            &flag.shown,
            &flag.value,
            Origin::Flag(flag.shown.trim_end_matches([' ', '=']).to_string()),
        );
        match flag_slots(flag, layers) {
            Ok(slots) => slots.into_iter().for_each(|slot| word.set(slot, layers, problems)),
            Err(problem) => problems.push(problem.at(Some(word.key_place()), "")),
        }
    }
}

/// The slots a flag sets; a flag that needs an object it cannot tell is a problem.
fn flag_slots(flag: &Flag, layers: &mut Layers) -> Result<Vec<Slot>, Problem> {
    let slot = |section, name: &str, key: &str| Slot { section, name: Some(name.to_string()), key: key.to_string() };
    match &flag.target {
        Target::Path(path) => Ok(vec![path_slot(path)?]),
        Target::Every(section, key) => {
            let names = names(layers, section);
            if names.is_empty() {
                return Err(no_object(section));
            }
            Ok(names.iter().map(|name| slot(section, name, key)).collect())
        }
        Target::Only(section, key) => match names(layers, section).as_slice() {
            [] => Err(no_object(section)),
            [name] => Ok(vec![slot(section, name, key)]),
            names => Err(several(section, names, key)),
        },
        Target::Kafka => {
            let name = kafka_connector(layers)?;
            Ok(vec![slot("connectors", &name, "bootstrap_hosts")])
        }
    }
}

/// The connector `--kafka` means: the only one that reaches a Kafka cluster, else the only one, which then becomes one.
fn kafka_connector(layers: &mut Layers) -> Result<String, Problem> {
    let names = names(layers, "connectors");
    let is_kafka = |name: &&String| {
        let entry = layers.get("connectors", Some(name), "type");
        entry.is_none_or(|entry| matches!(entry.value.text(), Some("kafka" | "confluent")))
    };
    match (names.iter().filter(is_kafka).collect::<Vec<_>>().as_slice(), names.as_slice()) {
        ([name], _) => Ok(name.to_string()),
        ([], [name]) => {
            // Its other options belong to another type.
            layers.clear("connectors", name);
            Ok(name.clone())
        }
        ([], []) => Err(no_object("connectors")),
        _ => Err(several("connectors", &names, "bootstrap_hosts")),
    }
}

fn names(layers: &Layers, section: &str) -> Vec<String> {
    layers.objects(section).into_iter().map(|object| object.name).collect()
}

fn no_object(section: &str) -> Problem {
    Problem::error(
        format!("there is no object in [{section}] to set this on"),
        format!("add a section [{section}.NAME] to the configuration"),
    )
}

fn several(section: &str, names: &[String], key: &str) -> Problem {
    let first = names.first().map_or("NAME", String::as_str);
    Problem::error(
        format!("[{section}] has several objects, and this flag does not say which: {}", names.join(", ")),
        format!("name one: --set {section}.{first}.{key}=…"),
    )
}

/// The slot of the path `sinks.main.linger`.
pub(crate) fn path_slot(path: &str) -> Result<Slot, Problem> {
    let (section, rest) = path.split_once('.').unwrap_or((path, ""));
    let section = section_of(section)?;
    let (name, key) = match (section.named, rest.split_once('.')) {
        (false, _) => (None, rest),
        (true, Some((name, key))) => (Some(name), key),
        (true, None) => (Some(rest), ""),
    };
    let name = name.map(str::to_string);
    if section.row(key).is_none() {
        return Err(unknown_option(section, name.as_deref(), key));
    }
    Ok(Slot { section: section.name, name, key: key.to_string() })
}

fn section_of(name: &str) -> Result<&'static Section, Problem> {
    SECTIONS.iter().copied().find(|section| section.name == name).ok_or_else(|| unknown_section(name))
}

/// A value from outside of files, with the line it is shown as.
struct Word {
    document: Document,
    key: std::ops::Range<usize>,
    value: Value,
    origin: Origin,
}

impl Word {
    fn new(source: &str, key: &str, value: &str, origin: Origin) -> Self {
        let document = Document::new(source, &format!("{key}{value}"));
        let shown = key.trim_end_matches([' ', '=']).len();
        Self { document, key: 0..shown, value: Value::word(value, key.len()), origin }
    }

    fn key_place(&self) -> Place {
        Place { document: self.document.clone(), span: self.key.clone() }
    }

    fn set(&self, slot: Slot, layers: &mut Layers, problems: &mut Vec<Problem>) {
        if let Some(name) = &slot.name {
            if !is_name(name) {
                let fault = format!("{} cannot be the name of an object of [{}]", quote(name), slot.section);
                problems.push(Problem::error(fault, NAME_REMEDY).at(Some(self.key_place()), ""));
                return;
            }
            layers.declare(slot.section, name, Some(self.key_place()));
        }
        let entry = Entry {
            value: self.value.clone(),
            key_span: self.key.clone(),
            document: self.document.clone(),
            origin: self.origin.clone(),
        };
        layers.set(slot, entry);
    }
}
