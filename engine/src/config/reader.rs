//! Gives each option of a section its value: the highest layer's, else the default, read by its kind.

use super::kind::{Kind, World};
use super::layer::{Entry, Layers, Origin};
use super::option::{Preset, Section};
use super::problem::{Place, Problem};
use super::value::Value;

/// An option's value as it takes effect.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Effective {
    /// `sinks.main.linger`
    pub path: String,
    /// As TOML; secrets as `(secret)`.
    pub value: String,
    /// The layer that set it.
    pub origin: Origin,
}

/// What a load has so far.
pub(crate) struct Load {
    pub(crate) layers: Layers,
    pub(crate) world: World,
    pub(crate) problems: Vec<Problem>,
    pub(crate) effective: Vec<Effective>,
}

/// Reads the options of one section or object.
pub(crate) struct Reader<'a> {
    pub(crate) load: &'a mut Load,
    pub(crate) section: &'static Section,
    pub(crate) object: Option<(String, Option<Place>)>,
}

impl<'a> Reader<'a> {
    pub(crate) fn section(load: &'a mut Load, section: &'static Section) -> Self {
        Self { load, section, object: None }
    }

    pub(crate) fn object(load: &'a mut Load, section: &'static Section, name: &str, place: Option<Place>) -> Self {
        Self { load, section, object: Some((name.to_string(), place)) }
    }

    /// The object's name.
    pub(crate) fn name(&self) -> String {
        self.object_name().unwrap_or_default().to_string()
    }

    fn object_name(&self) -> Option<&str> {
        self.object.as_ref().map(|(name, _)| name.as_str())
    }

    fn entry(&self, key: &str) -> Option<&Entry> {
        self.load.layers.get(self.section.name, self.object_name(), key)
    }

    /// Where the object begins.
    pub(crate) fn object_place(&self) -> Option<Place> {
        self.object.as_ref().and_then(|(_, place)| place.clone())
    }

    /// The whole path of an option: `sinks.main.linger`.
    pub(crate) fn path(&self, key: &str) -> String {
        self.section.path(self.object_name(), key)
    }

    /// Where an option was set, if it was.
    pub(crate) fn place(&self, key: &str) -> Option<Place> {
        self.entry(key).and_then(Entry::place)
    }

    /// The text an option has as far as layers and its fixed default tell.
    pub(crate) fn text(&self, key: &str) -> Option<String> {
        if let Some(entry) = self.entry(key) {
            return entry.value.text().map(str::to_string);
        }
        match self.section.row(key)?.preset {
            Preset::Word(word) => Some(word.to_string()),
            _ => None,
        }
    }

    /// `node.name`.
    pub(crate) fn node_name(&self) -> &str {
        &self.load.world.node_name
    }

    /// Reports options that exist only where `type` has another value.
    pub(crate) fn refuse_rows_of_other_types(&mut self, word: &str) {
        let mut problems = Vec::new();
        for (row, only) in self.section.rows() {
            let (Some(only), Some(entry)) = (only, self.entry(row.key)) else { continue };
            // A profile speaks to every type; what does not concern this one passes by.
            if only == word || matches!(entry.origin, Origin::Profile(_)) {
                continue;
            }
            let fault = format!(
                "`{}` is an option of type \"{only}\", and this is \"{word}\"",
                self.section.path(self.object_name(), row.key)
            );
            let remedy = format!("leave it out, or write type = \"{only}\"");
            problems.push(Problem::error(fault, remedy).at(entry.key_place(), ""));
        }
        self.load.problems.append(&mut problems);
    }

    /// Reads one option; a problem is kept and answered with `None`.
    pub(crate) fn read<K: Kind>(&mut self, key: &'static str, kind: &K, preset: Preset) -> Option<K::Value> {
        let path = self.section.path(self.object_name(), key);
        let (value, origin) = match (self.entry(key), preset) {
            (Some(entry), _) => (entry.value.clone(), entry.origin.clone()),
            (None, Preset::Word(word)) => (Value::word(word, 0), Origin::Default),
            (None, Preset::Derived { rule, .. }) => (Value::word(&rule(self), 0), Origin::Default),
            (None, Preset::Required { example }) => {
                let (name, place) = self.object.clone().unwrap_or_default();
                let remedy = format!("add `{key} = {}`, with your own value", kind.literal(example));
                let problem = Problem::error(format!("`{path}` is missing"), remedy);
                self.load.problems.push(problem.at(place, format!("[{}.{name}] needs it", self.section.name)));
                return None;
            }
            (None, Preset::Absent { .. }) => return kind.absent(),
        };
        let shown = if kind.secret() { "(secret)".to_string() } else { value.show(|word| kind.literal(word)) };
        self.load.effective.push(Effective { path: path.clone(), value: shown, origin });
        match kind.read(&value, &self.load.world) {
            Ok(read) => Some(read),
            Err(complaint) => {
                let place = self.place(key).map(|place| Place {
                    span: complaint.span.clone().unwrap_or(place.span),
                    document: place.document,
                });
                let problem = Problem::error(format!("`{path}` {}", complaint.fault), complaint.remedy);
                self.load.problems.push(problem.at(place, ""));
                None
            }
        }
    }
}
