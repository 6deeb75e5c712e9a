//! Collects what each layer sets: walks a document's tables and finds the option each key names.

use toml::de::DeTable;

use super::SECTIONS;
use super::kind::text::{NAME_REMEDY, is_name};
use super::layer::{Entry, Layers, Origin, Slot};
use super::option::Section;
use super::problem::{Document, Place, Problem};
use super::value::{Key, Raw, Value, quote};
use crate::suggest::closest;

/// Reads a configuration file into its layer.
pub(crate) fn file(document: &Document, layers: &mut Layers, problems: &mut Vec<Problem>) {
    let Some(tables) = parse(document, problems) else { return };
    let mut walk = Walk { document, layers, problems };
    for (key, value) in &tables {
        walk.section(key, value);
    }
}

/// Reads as much of a file as can be read: what a person who makes a mistake in it must still be able to say.
pub(crate) fn what_reads(document: &Document, layers: &mut Layers, problems: &mut Vec<Problem>) {
    let (root, _) = DeTable::parse_recoverable(document.text());
    let root = toml::Spanned::new(root.span(), toml::de::DeValue::Table(root.into_inner()));
    let Raw::Table(tables) = Value::from_toml(&root).raw else { return };
    let mut walk = Walk { document, layers, problems };
    for (key, value) in &tables {
        walk.section(key, value);
    }
}

/// The top-level tables of a TOML document; every syntax error is reported.
pub(crate) fn parse(document: &Document, problems: &mut Vec<Problem>) -> Option<Vec<(Key, Value)>> {
    let (root, errors) = DeTable::parse_recoverable(document.text());
    for error in &errors {
        let place = error.span().map(|span| Place { document: document.clone(), span });
        let remedy = "the file is TOML: https://toml.io shows its grammar on one page";
        problems.push(Problem::error("the file is not valid TOML", remedy).at(place, error.message()));
    }
    // After a syntax error the tables are guesses, and problems found in them would be too.
    if !errors.is_empty() {
        return None;
    }
    let root = toml::Spanned::new(root.span(), toml::de::DeValue::Table(root.into_inner()));
    match Value::from_toml(&root).raw {
        Raw::Table(tables) => Some(tables),
        _ => None,
    }
}

struct Walk<'a> {
    document: &'a Document,
    layers: &'a mut Layers,
    problems: &'a mut Vec<Problem>,
}

impl Walk<'_> {
    fn place(&self, key: &Key) -> Option<Place> {
        Some(Place { document: self.document.clone(), span: key.span.clone() })
    }

    fn section(&mut self, key: &Key, value: &Value) {
        let Some(section) = SECTIONS.iter().copied().find(|section| section.name == key.name) else {
            self.problems.push(unknown_section(&key.name).at(self.place(key), "unknown section"));
            return;
        };
        let Raw::Table(entries) = &value.raw else {
            let remedy = format!("write it as a table: {}", header(section));
            let problem = Problem::error(format!("`{}` is {}, not a section", key.name, value.noun()), remedy);
            self.problems.push(problem.at(self.place(key), ""));
            return;
        };
        if !section.named {
            self.options(section, None, "", entries);
            return;
        }
        for (name, value) in entries {
            self.object(section, name, value);
        }
    }

    fn object(&mut self, section: &'static Section, name: &Key, value: &Value) {
        let Raw::Table(entries) = &value.raw else {
            let fault = format!("`{}` stands outside of an object of [{}]", name.name, section.name);
            let remedy = format!("give the object a name: {}", header(section));
            self.problems.push(Problem::error(fault, remedy).at(self.place(name), ""));
            return;
        };
        if !is_name(&name.name) {
            let fault = format!("{} cannot be the name of an object of [{}]", quote(&name.name), section.name);
            self.problems.push(Problem::error(fault, NAME_REMEDY).at(self.place(name), ""));
            return;
        }
        self.layers.declare(section.name, &name.name, self.place(name));
        self.options(section, Some(&name.name), "", entries);
    }

    fn options(&mut self, section: &'static Section, name: Option<&str>, prefix: &str, entries: &[(Key, Value)]) {
        for (key, value) in entries {
            let full = format!("{prefix}{}", key.name);
            if section.row(&full).is_some() {
                let origin =
                    Origin::File { path: self.document.name().to_string(), line: self.document.line(key.span.start) };
                let slot = Slot { section: section.name, name: name.map(str::to_string), key: full };
                let entry =
                    Entry { value: value.clone(), key_span: key.span.clone(), document: self.document.clone(), origin };
                self.layers.set(slot, entry);
                continue;
            }
            let inner = format!("{full}.");
            let has_inner = section.rows().any(|(row, _)| row.key.starts_with(&inner));
            match &value.raw {
                // A table whose kind is all there is to say: `authentication = "none"`.
                Raw::Text(_) if section.row(&format!("{inner}mechanism")).is_some() => {
                    let key = Key { name: "mechanism".to_string(), span: key.span.clone() };
                    self.options(section, name, &inner, &[(key, value.clone())]);
                }
                Raw::Table(entries) if has_inner => self.options(section, name, &inner, entries),
                _ if has_inner => {
                    let fault = format!("`{}` is {}, not a table", section.path(name, &full), value.noun());
                    let remedy = format!("write {full} = {{ … }} with the options it has");
                    self.problems.push(Problem::error(fault, remedy).at(self.place(key), ""));
                }
                _ => {
                    let problem = unknown_option(section, name, &full);
                    self.problems.push(problem.at(self.place(key), "unknown option"));
                }
            }
        }
    }
}

/// `[node]` or `[sinks.NAME]`.
fn header(section: &Section) -> String {
    if section.named { format!("[{}.NAME]", section.name) } else { format!("[{}]", section.name) }
}

/// The problem of a name that is no section.
pub(crate) fn unknown_section(name: &str) -> Problem {
    let names = SECTIONS.iter().map(|section| section.name);
    let remedy = match closest(name, names.clone()) {
        Some(known) => format!("did you mean [{known}]?"),
        None => format!("the sections are {}", names.collect::<Vec<_>>().join(", ")),
    };
    Problem::error(format!("there is no section [{name}]"), remedy)
}

/// The problem of a key that names no option.
pub(crate) fn unknown_option(section: &'static Section, name: Option<&str>, key: &str) -> Problem {
    let scope = match name {
        Some(name) => format!("[{}.{name}]", section.name),
        None => header(section),
    };
    let keys = section.rows().map(|(row, _)| row.key);
    let remedy = match closest(key, keys) {
        Some(known) => format!("did you mean `{known}`?"),
        None => format!("`aqueduct config explain {}` lists the options of this section", section.name),
    };
    Problem::error(format!("{scope} has no option `{key}`"), remedy)
}
