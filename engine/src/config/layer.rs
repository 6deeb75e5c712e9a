//! Where values come from. Later layers win: default, profile, file, environment, flags.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::Range;

use super::problem::{Document, Place};
use super::value::Value;

/// Which layer gave an option its value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// Nothing set it.
    Default,
    /// The profile of this name.
    Profile(String),
    /// This line of this file.
    File {
        /// The file's path as it was given.
        path: String,
        /// From 1.
        line: usize,
    },
    /// This environment variable.
    Environment(String),
    /// This flag.
    Flag(String),
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::Profile(name) => write!(f, "profile {name}"),
            Self::File { path, line } => write!(f, "{path}:{line}"),
            Self::Environment(name) => write!(f, "environment {name}"),
            Self::Flag(flag) => write!(f, "flag {flag}"),
        }
    }
}

/// An option's place in the configuration: section, object and key. The object `*` is every object of the section.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Slot {
    pub(crate) section: &'static str,
    pub(crate) name: Option<String>,
    pub(crate) key: String,
}

/// A value that some layer gave to a slot.
#[derive(Debug, Clone)]
pub(crate) struct Entry {
    pub(crate) value: Value,
    pub(crate) key_span: Range<usize>,
    pub(crate) document: Document,
    pub(crate) origin: Origin,
}

impl Entry {
    pub(crate) fn place(&self) -> Option<Place> {
        Some(Place { document: self.document.clone(), span: self.value.span.clone() })
    }

    pub(crate) fn key_place(&self) -> Option<Place> {
        Some(Place { document: self.document.clone(), span: self.key_span.clone() })
    }
}

/// All layers above the defaults, merged.
#[derive(Debug, Default)]
pub(crate) struct Layers {
    entries: BTreeMap<Slot, Entry>,
    /// Objects in the order they were first written, with the place of that.
    objects: Vec<Object>,
}

/// An object of a named section.
#[derive(Debug, Clone)]
pub(crate) struct Object {
    pub(crate) section: &'static str,
    pub(crate) name: String,
    pub(crate) place: Option<Place>,
}

impl Layers {
    /// Sets a slot; called from the lowest layer to the highest.
    pub(crate) fn set(&mut self, slot: Slot, entry: Entry) {
        self.entries.insert(slot, entry);
    }

    /// Makes an object known, even one without a single option.
    pub(crate) fn declare(&mut self, section: &'static str, name: &str, place: Option<Place>) {
        if name != "*" && !self.objects.iter().any(|object| object.section == section && object.name == name) {
            self.objects.push(Object { section, name: name.to_string(), place });
        }
    }

    /// Forgets what is set of an object.
    pub(crate) fn clear(&mut self, section: &'static str, name: &str) {
        self.entries.retain(|slot, _| !(slot.section == section && slot.name.as_deref() == Some(name)));
    }

    /// What is set for a slot: for its object, else for every object of its section.
    pub(crate) fn get(&self, section: &'static str, name: Option<&str>, key: &str) -> Option<&Entry> {
        let slot = |name: Option<&str>| Slot { section, name: name.map(str::to_string), key: key.to_string() };
        let own = self.entries.get(&slot(name));
        own.or_else(|| name.and_then(|_| self.entries.get(&slot(Some("*")))))
    }

    /// The objects of a section, in their order.
    pub(crate) fn objects(&self, section: &str) -> Vec<Object> {
        self.objects.iter().filter(|object| object.section == section).cloned().collect()
    }
}
