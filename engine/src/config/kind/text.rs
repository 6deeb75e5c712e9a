//! Text: names, sentences, paths, topic filters, templates, references and secrets.

use std::fmt;
use std::path::PathBuf;

use kafka::topic_name::is_topic_name;

use super::{Complaint, Described, Kind, World};
use crate::config::value::{Raw, Value, quote};
use crate::rule::{Columns, Template, TemplateError};
use crate::suggest::closest;

/// Any text, not empty.
pub(crate) struct Text;

impl Described for Text {
    fn noun(&self) -> String {
        "string".to_string()
    }
}

impl Kind for Text {
    type Value = String;

    fn read(&self, value: &Value, _: &World) -> Result<String, Complaint> {
        match value.text() {
            Some("") => Err(Complaint::new("is empty", "write a string, or leave the option out")),
            Some(text) => Ok(text.to_string()),
            None => Err(Complaint::not("a string", value, "write a string in quotes")),
        }
    }
}

/// The name of a node or an object: `[A-Za-z0-9_-]{1,64}`.
pub(crate) struct Name;

impl Described for Name {
    fn noun(&self) -> String {
        "name".to_string()
    }
    fn range(&self) -> Option<String> {
        Some("1..64 of A-Z a-z 0-9 _ -".to_string())
    }
}

impl Kind for Name {
    type Value = String;

    fn read(&self, value: &Value, _: &World) -> Result<String, Complaint> {
        let complaint = || Complaint::not("a name", value, NAME_REMEDY);
        value.text().filter(|text| is_name(text)).map(str::to_string).ok_or_else(complaint)
    }
}

pub(crate) const NAME_REMEDY: &str = "a name is 1 to 64 of the characters A-Z a-z 0-9 _ -";

/// Whether `text` may name a node, listener, connector or sink.
pub(crate) fn is_name(text: &str) -> bool {
    (1..=64).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-')
}

/// A file or a directory.
pub(crate) struct File;

impl Described for File {
    fn noun(&self) -> String {
        "path".to_string()
    }
}

impl Kind for File {
    type Value = PathBuf;

    fn read(&self, value: &Value, world: &World) -> Result<PathBuf, Complaint> {
        Text.read(value, world).map(PathBuf::from)
    }
}

/// MQTT topic filters: a list, or one string.
pub(crate) struct Filters;

impl Described for Filters {
    fn noun(&self) -> String {
        "list of topic filters".to_string()
    }
    fn literal(&self, word: &str) -> String {
        format!("[{}]", quote(word))
    }
}

impl Kind for Filters {
    type Value = Vec<String>;

    fn read(&self, value: &Value, _: &World) -> Result<Vec<String>, Complaint> {
        let remedy = "write MQTT topic filters, such as [\"sensors/+/temperature\", \"alarms/#\"]";
        let items = match &value.raw {
            Raw::List(items) => items.as_slice(),
            _ => std::slice::from_ref(value),
        };
        let mut filters = Vec::new();
        for item in items {
            let filter = item.text().ok_or_else(|| Complaint::not("a list of topic filters", item, remedy))?;
            if let Err(error) = mqtt::topic::valid_filter(filter) {
                let fault = format!("is no topic filter: {} ({}, {})", quote(filter), error.what, error.clause);
                return Err(Complaint { span: Some(item.span.clone()), ..Complaint::new(fault, remedy) });
            }
            filters.push(filter.to_string());
        }
        if filters.is_empty() {
            return Err(Complaint::new("is empty", remedy));
        }
        Ok(filters)
    }

    fn absent(&self) -> Option<Vec<String>> {
        Some(Vec::new())
    }
}

/// The name of a Kafka topic.
pub(crate) struct TopicName;

impl Described for TopicName {
    fn noun(&self) -> String {
        "name of a Kafka topic".to_string()
    }
}

impl Kind for TopicName {
    type Value = String;

    fn read(&self, value: &Value, _: &World) -> Result<String, Complaint> {
        let remedy = "write 1 to 249 of the characters A-Z a-z 0-9 . _ -";
        let name = value.text().ok_or_else(|| Complaint::not("the name of a topic", value, remedy))?;
        if name.contains("${") {
            return template_of_topics(name, value, remedy);
        }
        if !is_topic_name(name.as_bytes()) {
            return Err(Complaint::new(format!("cannot be the name of a Kafka topic: {}", quote(name)), remedy));
        }
        Ok(name.to_string())
    }
}

/// Its placeholders exist, and what stands between them may stand in a name.
fn template_of_topics(text: &str, value: &Value, remedy: &str) -> Result<String, Complaint> {
    let compiled = Template::compile(text, Columns::Publish).map_err(|TemplateError { span, what, remedy }| {
        let fault = format!("is an impossible template: {what}");
        Complaint { span: value.part(span), ..Complaint::new(fault, remedy) }
    })?;
    let between: String = compiled.literals().collect();
    if !between.is_empty() && !is_topic_name(format!("t{between}").as_bytes()) {
        let fault = format!("cannot give the name of a Kafka topic: {}", quote(text));
        return Err(Complaint::new(fault, remedy));
    }
    Ok(text.to_string())
}

/// A text with placeholders; kept as text once it has been compiled for a check.
pub(crate) struct TemplateText {
    /// What its placeholders may name.
    pub(crate) columns: Columns,
    /// It is one placeholder and nothing else.
    pub(crate) alone: bool,
}

impl Described for TemplateText {
    fn noun(&self) -> String {
        "template".to_string()
    }
}

impl Kind for TemplateText {
    type Value = String;

    fn read(&self, value: &Value, _: &World) -> Result<String, Complaint> {
        let remedy = "write a string such as \"${payload}\" or \"device-${clientid}\"";
        let text = value.text().ok_or_else(|| Complaint::not("a template", value, remedy))?;
        match Template::compile(text, self.columns) {
            Ok(template) if self.alone && !template.is_placeholder() => {
                let fault = format!("is not one placeholder: {}", quote(text));
                Err(Complaint::new(fault, "write one placeholder and nothing else, such as \"${payload.headers}\""))
            }
            Ok(_) => Ok(text.to_string()),
            Err(TemplateError { span, what, remedy }) => {
                let fault = format!("is an impossible template: {what}");
                Err(Complaint { span: value.part(span), ..Complaint::new(fault, remedy) })
            }
        }
    }
}

/// The name of an object of another section; read as its position there.
pub(crate) struct Reference {
    /// The object's noun, for messages.
    pub(crate) to: &'static str,
    /// The names it may be, in their order.
    pub(crate) among: fn(&World) -> &[String],
}

impl Described for Reference {
    fn noun(&self) -> String {
        format!("name of a {}", self.to)
    }
}

impl Kind for Reference {
    type Value = usize;

    fn read(&self, value: &Value, world: &World) -> Result<usize, Complaint> {
        let to = self.to;
        let names = (self.among)(world);
        let text =
            value.text().ok_or_else(|| Complaint::not(&format!("the name of a {to}"), value, "write its name"))?;
        if let Some(position) = names.iter().position(|name| name == text) {
            return Ok(position);
        }
        let remedy = match closest(text, names.iter().map(String::as_str)) {
            Some(name) => format!("did you mean {}?", quote(name)),
            None if names.is_empty() => format!("add a section [{to}s.{text}]"),
            None => format!("write one of {}, or add a section [{to}s.{text}]", names.join(", ")),
        };
        Err(Complaint::new(format!("names no {to}: {}", quote(text)), remedy))
    }
}

/// A value that is never shown: no `Debug`, log, page or command prints it.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// The secret itself, for the one place that needs it.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(secret)")
    }
}

/// `{ file = "…" }`, `{ env = "…" }`, or the secret itself.
pub(crate) struct SecretText;

impl Described for SecretText {
    fn noun(&self) -> String {
        "secret".to_string()
    }
    fn literal(&self, word: &str) -> String {
        // An example that says where the secret is.
        if word.starts_with('{') { word.to_string() } else { quote(word) }
    }
    fn secret(&self) -> bool {
        true
    }
}

impl Kind for SecretText {
    type Value = Secret;

    fn read(&self, value: &Value, _: &World) -> Result<Secret, Complaint> {
        let remedy = "write { file = \"/path\" }, { env = \"VARIABLE\" } or the secret as a string";
        let secret = match &value.raw {
            Raw::Word(text) | Raw::Text(text) => text.clone(),
            Raw::Table(entries) => match entries.as_slice() {
                [(key, source)] if key.name == "file" => {
                    let path = source.text().ok_or_else(|| Complaint::not("a path", source, remedy))?;
                    let text = std::fs::read_to_string(path).map_err(|error| {
                        Complaint::new(
                            format!("cannot be read from {path}: {error}"),
                            "make the file readable, or name another",
                        )
                    })?;
                    text.trim_end_matches(['\n', '\r']).to_string()
                }
                [(key, source)] if key.name == "env" => {
                    let name = source.text().ok_or_else(|| Complaint::not("a variable", source, remedy))?;
                    std::env::var(name).map_err(|_| {
                        Complaint::new(
                            format!("names the variable {name}, which is not set"),
                            "set it, or name another",
                        )
                    })?
                }
                _ => return Err(Complaint::new("is a table of another shape", remedy)),
            },
            // The value is not repeated: it may be the secret in a wrong type.
            _ => return Err(Complaint::new(format!("is {}, not a secret", value.noun()), remedy)),
        };
        if secret.is_empty() {
            return Err(Complaint::new("is empty", remedy));
        }
        Ok(Secret(secret))
    }
}
