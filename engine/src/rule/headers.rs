//! Record headers from an event: those that one placeholder finds, then extra ones, each from a template of its own.
//!
//! ```text
//! ${pub_props.User-Property}    the sender's user properties: its order, repeated names and all
//! an object                     a header for each member
//! a list of objects             a header for each {"key","value"}, or for each member where there is no "key"
//! text that is such JSON        the same
//! nothing                       no headers
//! ```
//!
//! A header's value is bytes. `none` takes texts as they are and leaves out what is no text, as EMQX does; `json` writes every
//! value as JSON, texts with their quotes. Extra headers are rendered: `none` takes what a template gives. One whose name or
//! value finds nothing is left out.

use std::borrow::Cow;
use std::fmt;

use kafka::record_batch::{HeaderBlock, RecordHeader};
use serde::de::{Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

use super::{Columns, Template, TemplateError};
use crate::config::HeaderEncoding;
use crate::event::Event;

/// What the headers of a sink's records are made of.
#[derive(Debug, Clone)]
pub struct Headers {
    source: Source,
    extra: Box<[(Template, Template)]>,
    encoding: HeaderEncoding,
}

#[derive(Debug, Clone)]
enum Source {
    Nothing,
    /// User properties, which need not become JSON first.
    Properties,
    Json(Template),
}

impl Headers {
    /// Compiles the templates; `source` is one placeholder.
    ///
    /// # Errors
    /// The first that is none.
    pub fn new(
        source: Option<&str>,
        extra: &[(String, String)],
        encoding: HeaderEncoding,
    ) -> Result<Self, TemplateError> {
        let compile = |text: &str| Template::compile(text, Columns::Publish);
        let source = match source {
            None => Source::Nothing,
            Some(text) => match compile(text)? {
                template if template.is_user_properties() => Source::Properties,
                template => Source::Json(template),
            },
        };
        let pair = |(name, value): &(String, String)| Ok((compile(name)?, compile(value)?));
        let extra = extra.iter().map(pair).collect::<Result<_, TemplateError>>()?;
        Ok(Self { source, extra, encoding })
    }

    /// Whether records have none, whatever the event.
    #[inline]
    pub fn are_none(&self) -> bool {
        matches!(self.source, Source::Nothing) && self.extra.is_empty()
    }

    /// Writes the headers for `event` into `block`, whose former content is gone. Whether the placeholder found something
    /// that can be headers, or nothing.
    pub fn render(&self, event: &Event<'_>, block: &mut HeaderBlock, scratch: &mut Vec<u8>) -> bool {
        block.clear();
        let sound = match &self.source {
            Source::Nothing => true,
            Source::Properties => {
                self.put_properties(event, block, scratch);
                true
            }
            Source::Json(template) => match template.render(event, scratch) {
                None => true,
                Some(json) => put_json(json, self.encoding, block),
            },
        };
        if !sound {
            block.clear();
        }
        for (name, value) in &self.extra {
            self.put_extra(event, name, value, block, scratch);
        }
        sound
    }

    fn put_properties(&self, event: &Event<'_>, block: &mut HeaderBlock, scratch: &mut Vec<u8>) {
        for (name, value) in event.properties.user_properties() {
            let value = match self.encoding {
                HeaderEncoding::None => value.as_bytes(),
                HeaderEncoding::Json => {
                    scratch.clear();
                    super::json::put_text(scratch, value);
                    scratch.as_slice()
                }
            };
            block.push(RecordHeader { key: name.as_bytes(), value: Some(value) });
        }
    }

    /// The name is rendered before the value, which takes the scratch buffer anew, so a name that is not plain text is copied.
    fn put_extra(
        &self,
        event: &Event<'_>,
        name: &Template,
        value: &Template,
        block: &mut HeaderBlock,
        scratch: &mut Vec<u8>,
    ) {
        let name = match name.literal() {
            Some(text) => Cow::Borrowed(text.as_bytes()),
            None => match name.render(event, scratch) {
                Some(text) => Cow::Owned(text.to_vec()),
                None => return,
            },
        };
        let value = match self.encoding {
            HeaderEncoding::None => value.render(event, scratch),
            HeaderEncoding::Json => value.render_json(event, scratch),
        };
        if let Some(value) = value {
            block.push(RecordHeader { key: &name, value: Some(value) });
        }
    }
}

/// Whether the bytes are JSON that can be headers.
fn put_json(json: &[u8], encoding: HeaderEncoding, block: &mut HeaderBlock) -> bool {
    let Ok(text) = std::str::from_utf8(json) else { return false };
    let mut deserializer = serde_json::Deserializer::from_str(text);
    let read = deserializer.deserialize_any(Members { encoding, block });
    read.is_ok() && deserializer.end().is_ok()
}

/// Takes an object, or a list of objects.
struct Members<'b> {
    encoding: HeaderEncoding,
    block: &'b mut HeaderBlock,
}

impl Members<'_> {
    fn put(&mut self, name: &str, value: &RawValue) {
        let json = value.get();
        let value = match self.encoding {
            HeaderEncoding::Json => Some(Cow::Borrowed(json)),
            HeaderEncoding::None => super::lookup::text_of(json),
        };
        if let Some(value) = value {
            self.block.push(RecordHeader { key: name.as_bytes(), value: Some(value.as_bytes()) });
        }
    }

    /// One object of a list.
    fn put_item(&mut self, item: &RawValue) -> Result<(), serde_json::Error> {
        let members: Vec<(String, &RawValue)> =
            serde_json::Deserializer::from_str(item.get()).deserialize_map(Collected)?;
        let member = |wanted: &str| members.iter().rfind(|(name, _)| name == wanted).map(|(_, value)| *value);
        match member("key").and_then(|key| super::lookup::text_of(key.get())) {
            Some(name) => {
                if let Some(value) = member("value") {
                    self.put(&name, value);
                }
            }
            None => members.iter().for_each(|(name, value)| self.put(name, value)),
        }
        Ok(())
    }
}

impl<'de> Visitor<'de> for Members<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object, or a list of objects")
    }

    fn visit_map<A: MapAccess<'de>>(mut self, mut members: A) -> Result<(), A::Error> {
        while let Some((name, value)) = members.next_entry::<String, &RawValue>()? {
            self.put(&name, value);
        }
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(mut self, mut items: A) -> Result<(), A::Error> {
        while let Some(item) = items.next_element::<&RawValue>()? {
            self.put_item(item).map_err(serde::de::Error::custom)?;
        }
        Ok(())
    }
}

/// The members of an object, in their order.
struct Collected;

impl<'de> Visitor<'de> for Collected {
    type Value = Vec<(String, &'de RawValue)>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Self::Value, A::Error> {
        let mut all = Vec::new();
        while let Some(member) = members.next_entry()? {
            all.push(member);
        }
        Ok(all)
    }
}

#[cfg(test)]
mod tests;
