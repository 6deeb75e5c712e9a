//! What is wrong with a configuration: where it stands, why it is wrong and what to write instead.
//!
//! Every origin is a document with a text: a file, but also one environment variable or one flag. So every problem
//! can be shown with its line. All problems of one configuration are reported together.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use miette::{Diagnostic, LabeledSpan, NamedSource, Severity, SourceCode};

use super::hidden::hide;

/// A text that options were read from, with the name it is shown under. Secrets in it are shown as stars.
#[derive(Clone)]
pub struct Document {
    text: Arc<str>,
    /// What is shown, byte for byte as long.
    source: Arc<NamedSource<String>>,
}

impl fmt::Debug for Document {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Document").field(&self.name()).finish()
    }
}

impl Document {
    /// A document called `name`.
    pub fn new(name: &str, text: &str) -> Self {
        Self { text: text.into(), source: Arc::new(NamedSource::new(name, hide(text))) }
    }

    /// Its name: a path, a variable or a flag.
    pub fn name(&self) -> &str {
        self.source.name()
    }

    /// Its whole text.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The line, from 1, on which byte `offset` stands.
    pub fn line(&self, offset: usize) -> usize {
        let before = self.text().as_bytes().get(..offset).unwrap_or(self.text().as_bytes());
        before.iter().filter(|&&b| b == b'\n').count() + 1
    }
}

/// A range of bytes in a document.
#[derive(Debug, Clone)]
pub struct Place {
    /// The text it lies in.
    pub document: Document,
    /// First byte to one past the last.
    pub span: Range<usize>,
}

/// One thing that is wrong, or that deserves a warning.
#[derive(Debug, Clone)]
pub struct Problem {
    message: String,
    label: String,
    remedy: String,
    place: Option<Place>,
    severity: Severity,
}

impl Problem {
    /// An error: the configuration cannot be used. `remedy` says what to do about it.
    pub fn error(message: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self {
            message: message.into(),
            label: String::new(),
            remedy: remedy.into(),
            place: None,
            severity: Severity::Error,
        }
    }

    /// A warning: the configuration works, and this is what it costs.
    pub fn warning(message: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { severity: Severity::Warning, ..Self::error(message, remedy) }
    }

    /// Points at `place`, with `label` under it.
    pub fn at(mut self, place: Option<Place>, label: impl Into<String>) -> Self {
        self.place = place;
        self.label = label.into();
        self
    }

    /// Whether the configuration cannot be used.
    pub fn is_error(&self) -> bool {
        self.severity == Severity::Error
    }

    /// What is wrong, without place and remedy.
    pub fn message(&self) -> &str {
        &self.message
    }

    /// The document and the line of what is wrong, if it stands somewhere.
    pub fn shown_place(&self) -> Option<String> {
        let place = self.place.as_ref()?;
        Some(format!("{}:{}", place.document.name(), place.document.line(place.span.start)))
    }

    /// What to do about it.
    pub fn remedy(&self) -> &str {
        &self.remedy
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Problem {}

impl Diagnostic for Problem {
    fn severity(&self) -> Option<Severity> {
        Some(self.severity)
    }

    fn help<'a>(&'a self) -> Option<Box<dyn fmt::Display + 'a>> {
        (!self.remedy.is_empty()).then(|| Box::new(&self.remedy) as Box<dyn fmt::Display>)
    }

    fn source_code(&self) -> Option<&dyn SourceCode> {
        self.place.as_ref().map(|place| &*place.document.source as &dyn SourceCode)
    }

    fn labels(&self) -> Option<Box<dyn Iterator<Item = LabeledSpan> + '_>> {
        let place = self.place.as_ref()?;
        let label = (!self.label.is_empty()).then(|| self.label.clone());
        let span = LabeledSpan::new(label, place.span.start, place.span.len());
        Some(Box::new(std::iter::once(span)))
    }
}

/// Everything that is wrong with one configuration; never empty.
#[derive(Debug)]
pub struct Problems {
    list: Vec<Problem>,
}

impl Problems {
    /// All of them at once, each document's in the order of its lines.
    pub fn new(mut list: Vec<Problem>) -> Self {
        list.sort_by_key(|problem| {
            problem.place.as_ref().map(|place| (place.document.name().to_string(), place.span.start))
        });
        Self { list }
    }

    /// The problems one by one.
    pub fn iter(&self) -> impl Iterator<Item = &Problem> {
        self.list.iter()
    }
}

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.list.iter().filter(|p| p.is_error()).count() {
            1 => f.write_str("the configuration has an error"),
            n => write!(f, "the configuration has {n} errors"),
        }
    }
}

impl std::error::Error for Problems {}

impl Diagnostic for Problems {
    fn related<'a>(&'a self) -> Option<Box<dyn Iterator<Item = &'a dyn Diagnostic> + 'a>> {
        Some(Box::new(self.list.iter().map(|p| p as &dyn Diagnostic)))
    }
}
