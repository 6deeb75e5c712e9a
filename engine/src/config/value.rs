//! A value as it was written, before its option gives it a meaning.
//!
//! Files give typed values; variables, flags and defaults give words, which the option's kind interprets.

use std::ops::Range;

use toml::Spanned;
use toml::de::DeValue;

/// What was written.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Raw {
    /// A word from a flag, a variable or a default: its kind decides what it means.
    Word(String),
    Text(String),
    Integer(i64),
    Float(String),
    Bool(bool),
    Date(String),
    List(Vec<Value>),
    Table(Vec<(Key, Value)>),
}

/// A value and the bytes it stands on in its document.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Value {
    pub(crate) raw: Raw,
    pub(crate) span: Range<usize>,
}

/// A key and the bytes it stands on.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Key {
    pub(crate) name: String,
    pub(crate) span: Range<usize>,
}

impl Value {
    /// A word that is the whole of its document from `start` on.
    pub(crate) fn word(text: &str, start: usize) -> Self {
        Self { raw: Raw::Word(text.to_string()), span: start..start + text.len() }
    }

    /// A value of a parsed TOML document; tables keep the order of the file.
    pub(crate) fn from_toml(value: &Spanned<DeValue<'_>>) -> Self {
        let raw = match value.get_ref() {
            DeValue::String(text) => Raw::Text(text.to_string()),
            DeValue::Integer(number) => match i64::from_str_radix(number.as_str(), number.radix()) {
                Ok(number) => Raw::Integer(number),
                Err(_) => Raw::Float(number.to_string()),
            },
            DeValue::Float(number) => Raw::Float(number.to_string()),
            DeValue::Boolean(flag) => Raw::Bool(*flag),
            DeValue::Datetime(date) => Raw::Date(date.to_string()),
            DeValue::Array(items) => Raw::List(items.iter().map(Self::from_toml).collect()),
            DeValue::Table(entries) => {
                let mut table: Vec<(Key, Self)> = entries
                    .iter()
                    .map(|(key, value)| {
                        (Key { name: key.get_ref().to_string(), span: key.span() }, Self::from_toml(value))
                    })
                    .collect();
                table.sort_by_key(|(key, _)| key.span.start);
                Raw::Table(table)
            }
        };
        Self { raw, span: value.span() }
    }

    /// Noun with article for messages: "an integer".
    pub(crate) fn noun(&self) -> &'static str {
        match self.raw {
            Raw::Word(_) => "a word",
            Raw::Text(_) => "a string",
            Raw::Integer(_) => "an integer",
            Raw::Float(_) => "a number",
            Raw::Bool(_) => "a boolean",
            Raw::Date(_) => "a date",
            Raw::List(_) => "a list",
            Raw::Table(_) => "a table",
        }
    }

    /// The value as TOML; `literal` writes words.
    pub(crate) fn show(&self, literal: impl Fn(&str) -> String + Copy) -> String {
        match &self.raw {
            Raw::Word(word) => literal(word),
            Raw::Text(text) => quote(text),
            Raw::Integer(number) => number.to_string(),
            Raw::Float(text) | Raw::Date(text) => text.clone(),
            Raw::Bool(flag) => flag.to_string(),
            Raw::List(items) => {
                let items: Vec<String> = items.iter().map(|item| item.show(literal)).collect();
                format!("[{}]", items.join(", "))
            }
            Raw::Table(entries) => {
                let entries: Vec<String> =
                    entries.iter().map(|(key, value)| format!("{} = {}", key.name, value.show(literal))).collect();
                format!("{{ {} }}", entries.join(", "))
            }
        }
    }

    /// The bytes of its document on which a part of its text stands; `None` if escapes stand between.
    pub(crate) fn part(&self, part: Range<usize>) -> Option<Range<usize>> {
        let text = self.text()?;
        let start = match self.raw {
            Raw::Word(_) => self.span.start,
            // Between one quote on each side the text stands as it is.
            _ if self.span.len() == text.len() + 2 => self.span.start + 1,
            _ => return None,
        };
        Some(start + part.start..start + part.end)
    }

    /// The text of a string or a word.
    pub(crate) fn text(&self) -> Option<&str> {
        match &self.raw {
            Raw::Word(text) | Raw::Text(text) => Some(text),
            _ => None,
        }
    }
}

/// `text` as a TOML string: quoted, or literal where that spares escapes.
pub(crate) fn quote(text: &str) -> String {
    toml::Value::String(text.to_string()).to_string()
}
