//! The text of a template into literals and paths. What the names mean is decided by the caller.
//!
//! ```text
//! template    := (literal | "${" inside "}")*
//! inside      := "$" | "." | ["."] name (("." name) | ("[" integer "]"))*
//! name        := one or more characters other than . [ ] { } $ "
//! ```

use std::ops::Range;

use super::TemplateError;
use crate::rule::lookup::Step;

/// A piece of a template.
pub(super) enum Piece {
    /// Text as it is.
    Literal(String),
    /// `${.}`.
    Whole,
    /// A path of at least one name; the first is a name, not an index.
    Path(Vec<Name>),
}

/// One step of a path and where it stands in the template.
pub(super) struct Name {
    pub(super) step: Step,
    pub(super) span: Range<usize>,
}

impl Name {
    pub(super) fn text(&self) -> String {
        match &self.step {
            Step::Member(name) => name.to_string(),
            Step::Element(index) => format!("[{index}]"),
        }
    }
}

/// Splits a template; neighbouring literals are one.
pub(super) fn pieces(text: &str) -> Result<Vec<Piece>, TemplateError> {
    let mut pieces = Vec::new();
    let mut literal = String::new();
    let mut at = 0;
    while let Some(open) = text[at..].find("${").map(|found| at + found) {
        literal.push_str(&text[at..open]);
        let inside = open + 2;
        let Some(close) = text[inside..].find('}').map(|found| inside + found) else {
            return Err(error(
                open..text.len(),
                "a placeholder is not closed",
                "write } after it, or ${$}{ for the text ${",
            ));
        };
        at = close + 1;
        let piece = match &text[inside..close] {
            "$" => {
                literal.push('$');
                continue;
            }
            "." => Piece::Whole,
            _ => Piece::Path(path(text, inside..close)?),
        };
        if !literal.is_empty() {
            pieces.push(Piece::Literal(std::mem::take(&mut literal)));
        }
        pieces.push(piece);
    }
    literal.push_str(&text[at..]);
    if !literal.is_empty() {
        pieces.push(Piece::Literal(literal));
    }
    Ok(pieces)
}

fn path(text: &str, inside: Range<usize>) -> Result<Vec<Name>, TemplateError> {
    let end = inside.end;
    let mut names = Vec::new();
    // A leading dot is the event itself; past it every name but the first has a dot of its own.
    let mut at = if text[inside.clone()].starts_with('.') { inside.start + 1 } else { inside.start };
    loop {
        let name = member(text, at..end)?;
        at = name.span.end;
        names.push(name);
        while text[at..end].starts_with('[') {
            let name = element(text, at..end)?;
            at = name.span.end;
            names.push(name);
        }
        match text[at..end].chars().next() {
            None => return Ok(names),
            Some('.') => at += 1,
            Some(other) => {
                let what = format!("`{other}` cannot stand here");
                return Err(error(
                    at..at + other.len_utf8(),
                    &what,
                    "write a path such as ${payload.a.b} or ${payload.a[1]}",
                ));
            }
        }
    }
}

fn member(text: &str, rest: Range<usize>) -> Result<Name, TemplateError> {
    let end = text[rest.clone()].find(['.', '[', ']', '{', '$', '"']).map_or(rest.end, |len| rest.start + len);
    let name = &text[rest.start..end];
    if name.is_empty() {
        // Points at what stands in the name's place, the closing brace at the latest.
        let width = text[rest.start..].chars().next().map_or(0, char::len_utf8);
        return Err(error(
            rest.start..rest.start + width,
            "a name is missing",
            "write a path such as ${payload.a.b}, or ${.} for everything",
        ));
    }
    if name != name.trim() {
        return Err(error(rest.start..end, "a space begins or ends a name", &format!("write `{}`", name.trim())));
    }
    Ok(Name { step: Step::Member(name.into()), span: rest.start..end })
}

fn element(text: &str, rest: Range<usize>) -> Result<Name, TemplateError> {
    let bad = |span, what: &str| error(span, what, "elements count from 1, as in ${payload.a[1]}; [-1] is the last");
    let Some(close) = text[rest.clone()].find(']').map(|found| rest.start + found) else {
        return Err(bad(rest, "an index is not closed"));
    };
    let span = rest.start..close + 1;
    match text[rest.start + 1..close].parse::<i32>() {
        Ok(0) => Err(bad(span, "there is no element 0")),
        Ok(index) => Ok(Name { step: Step::Element(index), span }),
        Err(_) => Err(bad(span, "an index is not a whole number")),
    }
}

fn error(span: Range<usize>, what: &str, remedy: &str) -> TemplateError {
    TemplateError { span, what: what.to_owned(), remedy: remedy.to_owned() }
}
