//! Profiles: sets of option values for one purpose, each value with the reason for it.
//!
//! A profile is a TOML file: `[sinks.linger]` with `value` and `why`. An option of a named section is set for every
//! object, below whatever the configuration itself says. `balanced` explains the defaults: its values are absent.

use super::SECTIONS;
use super::gather::{parse, unknown_option, unknown_section};
use super::layer::{Entry, Layers, Origin, Slot};
use super::option::{Row, Section};
use super::problem::{Document, Place, Problem, Problems};
use super::value::{Key, Raw, Value};

/// The profiles that come with the program, the default one first.
static BUILT_IN: [(&str, &str); 5] = [
    ("balanced", include_str!("profile/balanced.toml")),
    ("throughput", include_str!("profile/throughput.toml")),
    ("latency", include_str!("profile/latency.toml")),
    ("durable", include_str!("profile/durable.toml")),
    ("edge", include_str!("profile/edge.toml")),
];

/// A set of option values for one purpose.
#[derive(Debug, Clone)]
pub struct Profile {
    /// Its name, or the path of its file.
    pub name: String,
    /// The purpose, in a sentence.
    pub about: String,
    /// The options it speaks of.
    pub choices: Vec<ProfileChoice>,
    document: Document,
}

/// What a profile says of one option.
#[derive(Debug, Clone)]
pub struct ProfileChoice {
    /// `sinks.NAME.linger`
    pub path: String,
    /// Its value as TOML; of an option that keeps its default, the default.
    pub shown: String,
    /// Whether the profile leaves the default.
    pub is_default: bool,
    /// Why.
    pub why: String,
    slot: Slot,
    value: Option<Value>,
    key: Key,
}

impl Profile {
    /// The names of the profiles that come with the program.
    pub fn names() -> impl Iterator<Item = &'static str> {
        BUILT_IN.iter().map(|(name, _)| *name)
    }

    /// The profile of this name, or of the file at this path.
    pub fn find(name: &str) -> Result<Self, Problems> {
        if let Some((_, text)) = BUILT_IN.iter().find(|(known, _)| *known == name) {
            return Self::read(name, text);
        }
        let is_path = name.contains(['/', '.']);
        if is_path {
            let text = std::fs::read_to_string(name).map_err(|error| {
                let remedy = "name a readable profile file";
                Problems::new(vec![Problem::error(format!("the profile {name} cannot be read: {error}"), remedy)])
            })?;
            return Self::read(name, &text);
        }
        let known = Self::names().collect::<Vec<_>>().join(", ");
        let remedy = match crate::suggest::closest(name, Self::names()) {
            Some(close) => format!("did you mean {close}? The profiles are {known}; a path names a profile file"),
            None => format!("the profiles are {known}; a path such as ./{name}.toml names a profile file"),
        };
        Err(Problems::new(vec![Problem::error(format!("there is no profile {name}"), remedy)]))
    }

    fn read(name: &str, text: &str) -> Result<Self, Problems> {
        let document = Document::new(name, text);
        let mut problems = Vec::new();
        let tables = parse(&document, &mut problems).unwrap_or_default();
        let mut profile = Self { name: name.to_string(), about: String::new(), choices: Vec::new(), document };
        for (key, value) in tables {
            match (SECTIONS.iter().find(|section| section.name == key.name), value.raw) {
                (None, Raw::Text(about)) if key.name == "about" => profile.about = about,
                (Some(section), Raw::Table(entries)) => profile.options(section, "", entries, &mut problems),
                _ => problems.push(unknown_section(&key.name).at(profile.place(&key), "")),
            }
        }
        if problems.is_empty() { Ok(profile) } else { Err(Problems::new(problems)) }
    }

    fn place(&self, key: &Key) -> Option<Place> {
        Some(Place { document: self.document.clone(), span: key.span.clone() })
    }

    fn options(
        &mut self,
        section: &'static Section,
        prefix: &str,
        entries: Vec<(Key, Value)>,
        problems: &mut Vec<Problem>,
    ) {
        for (key, value) in entries {
            let full = format!("{prefix}{}", key.name);
            let inner = format!("{full}.");
            match (section.row(&full), value.raw) {
                (Some(row), Raw::Table(entries)) => match choice(section, row, &key, entries) {
                    Ok(choice) => self.choices.push(choice),
                    Err(problem) => problems.push(problem.at(self.place(&key), "")),
                },
                (Some(_), _) => {
                    let fault = format!("`{full}` gives no reason");
                    let remedy = format!("write [{}.{full}] with `value = …` and `why = \"…\"`", section.name);
                    problems.push(Problem::error(fault, remedy).at(self.place(&key), ""));
                }
                (None, Raw::Table(entries)) if section.rows().any(|(row, _)| row.key.starts_with(&inner)) => {
                    self.options(section, &inner, entries, problems);
                }
                (None, _) => problems.push(unknown_option(section, None, &full).at(self.place(&key), "")),
            }
        }
    }

    /// Sets what the profile says for every object.
    pub(crate) fn apply(&self, layers: &mut Layers) {
        for choice in &self.choices {
            let Some(value) = &choice.value else { continue };
            let entry = Entry {
                value: value.clone(),
                key_span: choice.key.span.clone(),
                document: self.document.clone(),
                origin: Origin::Profile(self.name.clone()),
            };
            layers.set(choice.slot.clone(), entry);
        }
    }
}

/// Reads `value` and `why`.
fn choice(
    section: &'static Section,
    row: &'static Row,
    key: &Key,
    entries: Vec<(Key, Value)>,
) -> Result<ProfileChoice, Problem> {
    let mut value = None;
    let mut why = String::new();
    for (part, written) in entries {
        match (part.name.as_str(), &written.raw) {
            ("value", _) => value = Some(written),
            ("why", Raw::Text(text)) => why = text.split_whitespace().collect::<Vec<_>>().join(" "),
            _ => return Err(Problem::error(format!("`{}` has no place here", part.name), "write `value` and `why`")),
        }
    }
    if why.is_empty() {
        return Err(Problem::error(format!("`{}` gives no reason", row.key), "add `why = \"…\"`"));
    }
    let shown = value.as_ref().map_or_else(|| row.default_text(), |value| value.show(|word| row.kind.literal(word)));
    let path = section.path(None, row.key);
    let name = section.named.then(|| "*".to_string());
    let slot = Slot { section: section.name, name, key: row.key.to_string() };
    Ok(ProfileChoice { path, shown, is_default: value.is_none(), why, slot, value, key: key.clone() })
}
