//! A value inside JSON text, found without building the document.
//!
//! `serde_json` walks the text once, skips what the path does not name and hands out the value as it was written: numbers keep
//! their digits (`1.0` stays `1.0`), objects and arrays their spaces. A text value on the way is read as JSON itself and
//! walked on.
//!
//! The whole document must be valid: a template that read `1` out of a message broken three bytes later would hide the fault.
//! That is also why a faster searcher, which stops at the hit, was not taken. Of members with the same name the last counts.

use std::borrow::Cow;
use std::fmt;

use serde::de::{Deserialize, DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

/// One step into a value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Step {
    /// The member of an object with this name.
    Member(Box<str>),
    /// An element of an array: 1 is the first, -1 the last, 0 does not exist.
    Element(i32),
}

/// What `path` leads to in the JSON `text`: the text of a string, the JSON of anything else. `None` if there is no such
/// value, it is null, or `text` is not JSON.
pub(super) fn find<'t>(text: &'t str, path: &[Step]) -> Option<Cow<'t, str>> {
    plain(walk(text, path)?)
}

/// As [`find`], as JSON: a string with its quotes.
pub(super) fn find_json<'t>(text: &'t str, path: &[Step]) -> Option<Cow<'t, str>> {
    walk(text, path).filter(|json| json != "null")
}

/// The text of a JSON string; `None` for any other JSON.
pub(super) fn text_of(json: &str) -> Option<Cow<'_, str>> {
    if json.starts_with('"') { plain(Cow::Borrowed(json)) } else { None }
}

/// The value as JSON. A text that had to be unescaped on the way is gone when this returns, so its part is copied.
fn walk<'t>(text: &'t str, path: &[Step]) -> Option<Cow<'t, str>> {
    let mut deserializer = serde_json::Deserializer::from_str(text);
    let found = Walk { path }.deserialize(&mut deserializer).ok()?;
    deserializer.end().ok()?;
    found
}

/// A string without its quotes and escapes, null as nothing, and other JSON as it is.
fn plain(json: Cow<'_, str>) -> Option<Cow<'_, str>> {
    match json.as_bytes().first() {
        Some(b'n') => None,
        Some(b'"') if !json.contains('\\') => {
            let inner = 1..json.len().checked_sub(1)?;
            Some(match json {
                Cow::Borrowed(json) => Cow::Borrowed(json.get(inner)?),
                Cow::Owned(json) => Cow::Owned(json.get(inner)?.to_owned()),
            })
        }
        Some(b'"') => serde_json::from_str::<String>(&json).ok().map(Cow::Owned),
        _ => Some(json),
    }
}

struct Walk<'p> {
    path: &'p [Step],
}

impl<'de> DeserializeSeed<'de> for Walk<'_> {
    type Value = Option<Cow<'de, str>>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        if self.path.is_empty() {
            let raw = <&RawValue>::deserialize(deserializer)?;
            return Ok(Some(Cow::Borrowed(raw.get())));
        }
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Walk<'_> {
    type Value = Option<Cow<'de, str>>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any JSON")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Self::Value, A::Error> {
        let (step, path) = self.path.split_first().expect("a visitor is used only with steps to go");
        let mut found = None;
        while let Some(same) = members.next_key_seed(IsStep(step))? {
            if same {
                found = members.next_value_seed(Walk { path })?;
            } else {
                members.next_value::<IgnoredAny>()?;
            }
        }
        Ok(found)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut elements: A) -> Result<Self::Value, A::Error> {
        let (step, path) = self.path.split_first().expect("a visitor is used only with steps to go");
        match step {
            Step::Element(index @ 1..) => {
                for _ in 1..*index {
                    if elements.next_element::<IgnoredAny>()?.is_none() {
                        return Ok(None);
                    }
                }
                let found = elements.next_element_seed(Walk { path })?.flatten();
                while elements.next_element::<IgnoredAny>()?.is_some() {}
                Ok(found)
            }
            Step::Element(index) => {
                // How long the array is shows at its end only.
                let raw = raw_elements(elements)?;
                let from_end = usize::try_from(index.unsigned_abs()).unwrap_or(usize::MAX);
                let element = raw.len().checked_sub(from_end).and_then(|at| raw.get(at).copied());
                Ok(element.and_then(|element| walk(element.get(), path)))
            }
            Step::Member(_) => {
                while elements.next_element::<IgnoredAny>()?.is_some() {}
                Ok(None)
            }
        }
    }

    fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Self::Value, E> {
        Ok(walk(text, self.path))
    }

    fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
        Ok(walk(text, self.path).map(|found| Cow::Owned(found.into_owned())))
    }

    fn visit_bool<E>(self, _: bool) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_i64<E>(self, _: i64) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_u64<E>(self, _: u64) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_f64<E>(self, _: f64) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_unit<E>(self) -> Result<Self::Value, E> {
        Ok(None)
    }
}

fn raw_elements<'de, A: SeqAccess<'de>>(mut elements: A) -> Result<Vec<&'de RawValue>, A::Error> {
    let mut raw = Vec::new();
    while let Some(element) = elements.next_element::<&RawValue>()? {
        raw.push(element);
    }
    Ok(raw)
}

/// Reads a member's name and says whether it is the step's; the name is not kept.
struct IsStep<'p>(&'p Step);

impl<'de> DeserializeSeed<'de> for IsStep<'_> {
    type Value = bool;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<bool, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl Visitor<'_> for IsStep<'_> {
    type Value = bool;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a member's name")
    }

    fn visit_str<E>(self, name: &str) -> Result<bool, E> {
        Ok(matches!(self.0, Step::Member(step) if **step == *name))
    }
}
