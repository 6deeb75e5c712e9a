//! An option is one row: its key, field, type, kind with range, default and sentence.
//!
//! [`options!`] turns the rows of a section into the typed struct the engine uses, the reader that fills it, and the
//! table from which the sample file, `config explain` and the reference page are written.

use super::kind::{Described, Kind};
use super::reader::Reader;

/// What stands in the table for one option.
pub(crate) struct Row {
    /// Key within its section; dots for keys of inline tables.
    pub(crate) key: &'static str,
    pub(crate) kind: &'static dyn Described,
    pub(crate) preset: Preset,
    /// When a change of it takes effect in a node that runs.
    pub(crate) change: Change,
    pub(crate) sentence: &'static str,
}

/// When a change of an option takes effect in a node that runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// With the reload.
    Live,
    /// With the reload, for clients that connect from then on.
    NewClients,
    /// With the reload where records wait in memory; what lies on disk belongs to what was configured when it was written.
    LiveInMemory,
    /// With the next start: a reload that changes it is refused.
    Restart,
}

impl Change {
    /// For the cell of a table.
    pub fn word(self) -> &'static str {
        match self {
            Self::Live => "live",
            Self::NewClients => "new clients",
            Self::LiveInMemory => "live with a buffer in memory",
            Self::Restart => "restart",
        }
    }
}

/// Words for the rows of [`options!`].
pub(crate) mod change {
    use super::Change;

    #[expect(non_upper_case_globals, reason = "words of a table, beside the functions of its other columns")]
    pub(crate) const live: Change = Change::Live;
    #[expect(non_upper_case_globals, reason = "words of a table, beside the functions of its other columns")]
    pub(crate) const new_clients: Change = Change::NewClients;
    #[expect(non_upper_case_globals, reason = "words of a table, beside the functions of its other columns")]
    pub(crate) const live_in_memory: Change = Change::LiveInMemory;
}

impl Row {
    /// What the option does, in whole sentences.
    pub(crate) fn sentence(&self) -> &'static str {
        self.sentence.trim()
    }

    /// The default as the reference page shows it.
    pub(crate) fn default_text(&self) -> String {
        match &self.preset {
            Preset::Word(word) => self.kind.literal(word),
            Preset::Derived { says, .. } => says.to_string(),
            Preset::Required { .. } => "required".to_string(),
            Preset::Absent { .. } => "none".to_string(),
        }
    }

    /// The default as a cell of a Markdown table.
    pub(crate) fn default_cell(&self) -> String {
        match &self.preset {
            Preset::Word(_) => format!("`{}`", self.default_text()),
            _ => self.default_text(),
        }
    }

    /// A value as it may stand in a file: the default, else an example.
    pub(crate) fn example(&self) -> String {
        match &self.preset {
            Preset::Word(word) => self.kind.literal(word),
            Preset::Derived { example, .. } | Preset::Required { example } | Preset::Absent { example } => {
                self.kind.literal(example)
            }
        }
    }
}

/// What an option is when nothing sets it.
#[derive(Clone, Copy)]
pub(crate) enum Preset {
    /// This word.
    Word(&'static str),
    /// A word that follows from options read before it.
    Derived { says: &'static str, example: &'static str, rule: fn(&Reader<'_>) -> String },
    /// An error.
    Required { example: &'static str },
    /// Left out.
    Absent { example: &'static str },
}

pub(crate) const fn or(word: &'static str) -> Preset {
    Preset::Word(word)
}

pub(crate) const fn required(example: &'static str) -> Preset {
    Preset::Required { example }
}

pub(crate) const fn absent(example: &'static str) -> Preset {
    Preset::Absent { example }
}

pub(crate) const fn derived(says: &'static str, example: &'static str, rule: fn(&Reader<'_>) -> String) -> Preset {
    Preset::Derived { says, example, rule }
}

/// Ties a kind to the type of its field, so that a row names the type once.
pub(crate) const fn kind_of<T, K: Kind<Value = T>>(kind: K) -> K {
    kind
}

/// A section of the file.
pub(crate) struct Section {
    /// Its key, as in `[node]` or `[sinks.NAME]`.
    pub(crate) name: &'static str,
    /// Whether it holds objects with names.
    pub(crate) named: bool,
    pub(crate) about: &'static str,
    /// Its options; those of a group with `only` exist where `type` has that value.
    pub(crate) groups: &'static [Group],
}

/// Options that exist together.
pub(crate) struct Group {
    pub(crate) only: Option<&'static str>,
    pub(crate) about: &'static str,
    pub(crate) rows: &'static [Row],
}

impl Section {
    pub(crate) fn rows(&self) -> impl Iterator<Item = (&'static Row, Option<&'static str>)> {
        self.groups.iter().flat_map(|group| group.rows.iter().map(move |row| (row, group.only)))
    }

    pub(crate) fn row(&self, key: &str) -> Option<&'static Row> {
        self.rows().find(|(row, _)| row.key == key).map(|(row, _)| row)
    }

    /// `sinks.NAME.linger`
    pub(crate) fn path(&self, name: Option<&str>, key: &str) -> String {
        match (self.named, name) {
            (true, name) => format!("{}.{}.{key}", self.name, name.unwrap_or("NAME")),
            (false, _) => format!("{}.{key}", self.name),
        }
    }
}

/// Declares the options of a section, one row each:
/// `/// sentence` then `"key" => field: Type = kind, preset;`, and before the semicolon `, live` or another word of [`change`]
/// where a change does not wait for the next start.
macro_rules! options {
    (@change) => { $crate::config::option::Change::Restart };
    (@change $change:ident) => { $crate::config::option::change::$change };
    ($(#[doc = $about:literal])+ pub struct $Name:ident {
        $(named $name:ident;)?
        $($(#[doc = $doc:literal])+ $key:literal => $field:ident: $Type:ty = $kind:expr, $preset:expr $(, $change:ident)?;)*
    }) => {
        $(#[doc = $about])+
        #[derive(Debug, Clone, PartialEq, Eq)]
        pub struct $Name {
            $(
                /// Its name in the configuration.
                pub $name: String,
            )?
            $($(#[doc = $doc])+ pub $field: $Type,)*
        }

        impl $Name {
            pub(crate) const ABOUT: &'static str = concat!($($about),+);
            pub(crate) const ROWS: &'static [$crate::config::option::Row] = &[
                $($crate::config::option::Row {
                    key: $key,
                    kind: &$crate::config::option::kind_of::<$Type, _>($kind),
                    preset: $preset,
                    change: $crate::config::option::options!(@change $($change)?),
                    sentence: concat!($($doc),+),
                }),*
            ];

            /// The keys of options that have another value in `other`.
            #[allow(dead_code, reason = "some sections are compared by what is made of their options")]
            pub(crate) fn differing(&self, other: &Self) -> Vec<&'static str> {
                let mut keys = Vec::new();
                $(if self.$field != other.$field {
                    keys.push($key);
                })*
                keys
            }

            /// Reads every option, reports every problem, and is `None` if there was one.
            pub(crate) fn read(reader: &mut $crate::config::reader::Reader<'_>) -> Option<Self> {
                $(let $name = reader.name();)?
                $(let $field = reader.read($key, &$kind, $preset);)*
                Some(Self { $($name,)? $($field: $field?),* })
            }
        }
    };
}
pub(crate) use options;
