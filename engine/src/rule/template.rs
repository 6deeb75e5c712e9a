//! Templates: text with placeholders, compiled once, rendered per event.
//!
//! ```text
//! ${.}               the whole event as JSON
//! ${clientid}        a column; ${.clientid} is the same
//! ${payload.a.b}     a value inside JSON text
//! ${payload.a[1]}    the first element of an array; [-1] is the last
//! ${$}{x}            the text ${x}
//! ```
//!
//! One placeholder alone gives its bytes as they are, borrowed from the event where they stand there; nothing there is no value
//! (`None`), and neither is JSON's null. Among other text, text is put in as it is, numbers and booleans as JSON, objects and
//! arrays as JSON, and nothing where there is nothing.
//!
//! What cannot exist is an error when the template is compiled, not an empty key a year later. Columns: [`super::column`].
//! Columns, literals and `${.}` render without an allocation once the scratch buffer has grown; a path into JSON text may
//! allocate, and each placeholder walks the text for itself.

mod parse;

#[cfg(test)]
mod tests;

use std::borrow::Cow;
use std::ops::Range;

use self::parse::{Name, Piece};
use super::column::{Column, Columns, Inside, Value};
use super::json;
use super::lookup::{self, Step};
use crate::event::Event;
use crate::suggest;

/// A compiled template.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Template {
    parts: Box<[Part]>,
    depends: Depends,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Part {
    Literal(Box<str>),
    Place(Place),
}

/// A placeholder: a column, and the way on into its JSON text.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Place {
    column: Column,
    path: Box<[Step]>,
}

/// What the rendered text may change with. Ordered: each also changes with those before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Depends {
    /// Constant for one connection of one client.
    Client,
    /// Constant for one connection and topic.
    Topic,
    /// May differ with every event.
    Event,
}

/// Why a text is no template.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{what}: {remedy}")]
pub struct TemplateError {
    /// The part of the template at fault, in bytes.
    pub span: Range<usize>,
    /// What is wrong.
    pub what: String,
    /// What to write.
    pub remedy: String,
}

impl Template {
    /// Compiles `text`, which may name `columns`.
    ///
    /// # Errors
    /// If a placeholder is not closed, not a path, or names what cannot exist.
    pub fn compile(text: &str, columns: Columns) -> Result<Self, TemplateError> {
        let parts = parse::pieces(text)?
            .into_iter()
            .map(|piece| match piece {
                Piece::Literal(literal) => Ok(Part::Literal(literal.into())),
                Piece::Whole => Ok(Part::Place(Place { column: Column::Whole, path: Box::default() })),
                Piece::Path(names) => resolve(&names, columns).map(Part::Place),
            })
            .collect::<Result<Box<[Part]>, _>>()?;
        let depends = parts.iter().map(Part::depends).max().unwrap_or(Depends::Client);
        Ok(Self { parts, depends })
    }

    /// What the result may change with: a key that depends on the client alone is rendered once a connection.
    pub fn depends(&self) -> Depends {
        self.depends
    }

    /// The same with the payload in base64, where it is put in as a whole. A path walks into the payload as it is.
    #[must_use]
    pub fn with_base64_payload(mut self) -> Self {
        for part in &mut self.parts {
            if let Part::Place(place) = part
                && place.path.is_empty()
            {
                place.column = place.column.clone().with_base64_payload();
            }
        }
        self
    }

    /// What stands between its placeholders.
    pub fn literals(&self) -> impl Iterator<Item = &str> {
        self.parts.iter().filter_map(|part| match part {
            Part::Literal(text) => Some(&**text),
            Part::Place(_) => None,
        })
    }

    /// Whether it is one placeholder and nothing else.
    pub fn is_placeholder(&self) -> bool {
        matches!(&*self.parts, [Part::Place(_)])
    }

    /// Whether it is the placeholder of all user properties.
    pub(super) fn is_user_properties(&self) -> bool {
        let [Part::Place(Place { column, path })] = &*self.parts else { return false };
        path.is_empty() && matches!(column, Column::UserProperties | Column::UserPropertyPairs)
    }

    /// The text, if there is no placeholder in it.
    pub fn literal(&self) -> Option<&str> {
        match &*self.parts {
            [] => Some(""),
            [Part::Literal(text)] => Some(text),
            _ => None,
        }
    }

    /// The text for `event`, borrowed from the event or written into `scratch`, whose former content is gone.
    /// `None`: the template is one placeholder, and it finds nothing.
    #[inline]
    pub fn render<'a>(&'a self, event: &Event<'a>, scratch: &'a mut Vec<u8>) -> Option<&'a [u8]> {
        scratch.clear();
        match &*self.parts {
            [] => Some(&[]),
            [Part::Literal(text)] => Some(text.as_bytes()),
            [Part::Place(place)] => match place.read(event, scratch) {
                Value::Missing => None,
                Value::Borrowed(bytes) => Some(bytes),
                Value::Appended => Some(scratch),
            },
            parts => {
                parts.iter().for_each(|part| part.append(event, scratch));
                Some(scratch)
            }
        }
    }

    /// As [`render`](Self::render), but nothing at all where one of its placeholders finds nothing.
    #[inline]
    pub fn render_whole<'a>(&'a self, event: &Event<'a>, scratch: &'a mut Vec<u8>) -> Option<&'a [u8]> {
        scratch.clear();
        for part in &self.parts {
            match part {
                Part::Literal(text) => scratch.extend_from_slice(text.as_bytes()),
                Part::Place(place) => match place.read(event, scratch) {
                    Value::Missing => return None,
                    Value::Borrowed(bytes) => scratch.extend_from_slice(bytes),
                    Value::Appended => {}
                },
            }
        }
        Some(scratch)
    }

    /// As [`render`](Self::render), as JSON: text in quotes, and the value of a placeholder that stands alone as it is.
    pub(super) fn render_json<'a>(&self, event: &Event<'a>, scratch: &'a mut Vec<u8>) -> Option<&'a [u8]> {
        let mut text = Vec::new();
        match &*self.parts {
            [Part::Place(place)] => {
                scratch.clear();
                return place.read_json(event, scratch).then_some(scratch);
            }
            parts => parts.iter().for_each(|part| part.append(event, &mut text)),
        }
        scratch.clear();
        json::put_text(scratch, &String::from_utf8_lossy(&text));
        Some(scratch)
    }

    /// The text for `event` as a record's time in milliseconds since 1970 UTC. What is not a whole number from 0 on is the time
    /// of arrival.
    #[inline]
    pub fn render_timestamp(&self, event: &Event<'_>, scratch: &mut Vec<u8>) -> i64 {
        // The default: not worth writing digits and reading them again.
        if matches!(&*self.parts, [Part::Place(Place { column: Column::Timestamp, .. })]) {
            return event.received_ms;
        }
        self.render(event, scratch)
            .and_then(|text| std::str::from_utf8(text).ok())
            .and_then(|text| text.parse::<i64>().ok())
            .filter(|&ms| ms >= 0)
            .unwrap_or(event.received_ms)
    }
}

impl Part {
    fn depends(&self) -> Depends {
        match self {
            Self::Literal(_) => Depends::Client,
            Self::Place(place) => place.column.depends(),
        }
    }

    /// Appends its text. Nothing there: nothing is appended.
    fn append(&self, event: &Event<'_>, out: &mut Vec<u8>) {
        match self {
            Self::Literal(text) => out.extend_from_slice(text.as_bytes()),
            Self::Place(place) => {
                if let Value::Borrowed(bytes) = place.read(event, out) {
                    out.extend_from_slice(bytes);
                }
            }
        }
    }
}

impl Place {
    #[inline]
    fn read<'a>(&self, event: &Event<'a>, out: &mut Vec<u8>) -> Value<'a> {
        match self.column.read(event, out) {
            Value::Borrowed(text) if !self.path.is_empty() => self.walk(text, out),
            value => value,
        }
    }

    /// Appends its value as JSON; `false` if there is none.
    fn read_json(&self, event: &Event<'_>, out: &mut Vec<u8>) -> bool {
        let start = out.len();
        match self.column.read(event, out) {
            Value::Missing => false,
            Value::Borrowed(bytes) if self.path.is_empty() => {
                json::put_text(out, &String::from_utf8_lossy(bytes));
                true
            }
            Value::Borrowed(text) => {
                let found = std::str::from_utf8(text).ok().and_then(|text| lookup::find_json(text, &self.path));
                out.extend_from_slice(found.as_deref().unwrap_or_default().as_bytes());
                found.is_some()
            }
            Value::Appended if self.column.appends_text() => {
                let text = String::from_utf8_lossy(&out.split_off(start)).into_owned();
                json::put_text(out, &text);
                true
            }
            Value::Appended => true,
        }
    }

    fn walk<'a>(&self, text: &'a [u8], out: &mut Vec<u8>) -> Value<'a> {
        let Ok(text) = std::str::from_utf8(text) else { return Value::Missing };
        match lookup::find(text, &self.path) {
            None => Value::Missing,
            Some(Cow::Borrowed(found)) => Value::Borrowed(found.as_bytes()),
            Some(Cow::Owned(found)) => {
                out.extend_from_slice(found.as_bytes());
                Value::Appended
            }
        }
    }
}

/// The column that `names` begin with, and what is left of them to walk in its text.
fn resolve(names: &[Name], columns: Columns) -> Result<Place, TemplateError> {
    let (first, mut rest) = names.split_first().expect("a path has at least one name");
    let mut column = columns.resolve(&first.step).map_err(|inside| impossible(first, None, inside))?;
    let mut last = first;
    while let Some((name, after)) = rest.split_first() {
        match column.inside() {
            Inside::Json => break,
            inside => column = inside.resolve(&name.step).map_err(|inside| impossible(name, Some(last), inside))?,
        }
        last = name;
        rest = after;
    }
    Ok(Place { column, path: rest.iter().map(|name| name.step.clone()).collect() })
}

/// Names something that is not in `parent` (or, without one, is not a column).
fn impossible(name: &Name, parent: Option<&Name>, inside: Inside) -> TemplateError {
    let of = parent.map_or("a PUBLISH".to_owned(), |parent| format!("`{}`", parent.text()));
    let (what, remedy) = match (inside, &name.step) {
        (Inside::Members(members), Step::Member(text)) => {
            let known = || members.iter().map(|(known, _)| *known);
            let there_are = format!("there are {}", known().collect::<Vec<_>>().join(", "));
            let remedy = match suggest::closest(text, known()) {
                Some(close) => format!("did you mean `{close}`? {there_are}"),
                None => there_are,
            };
            (format!("{of} has no `{text}`"), remedy)
        }
        (Inside::Members(_) | Inside::AnyMember, Step::Element(_)) => {
            (format!("{of} is not an array"), "name a member, as in ${flags.dup}".to_owned())
        }
        _ => (format!("{of} is a plain value with nothing inside"), format!("end the placeholder after {of}")),
    };
    TemplateError { span: name.span.clone(), what, remedy }
}
