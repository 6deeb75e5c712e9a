//! The kinds of value an option can have: how each is read, which range it keeps, how it is named and written.
//!
//! A kind knows nothing of options or files. It turns a [`Value`] into a typed one, or says what is wrong with it
//! and what to write instead.

use std::ops::Range;

use super::unit;
use super::value::{Raw, Value, quote};

pub(crate) mod choice;
pub(crate) mod network;
pub(crate) mod number;
pub(crate) mod pairs;
pub(crate) mod text;
pub(crate) mod tls;
pub(crate) mod url;

/// What kinds may look at beside the value: facts of the machine and the names that may be referred to.
#[derive(Debug, Clone, Default)]
pub(crate) struct World {
    /// Memory this process may use, in bytes: the machine's, or its cgroup's if that is less.
    pub(crate) memory_bytes: u64,
    /// Names of the connectors, in their order.
    pub(crate) connectors: Vec<String>,
    /// Names of the sinks, in their order.
    pub(crate) sinks: Vec<String>,
    /// `node.name`, once it is known.
    pub(crate) node_name: String,
}

/// Why a value was refused.
#[derive(Debug)]
pub(crate) struct Complaint {
    /// What is wrong, as the end of a sentence whose subject is the option: "is not a size".
    pub(crate) fault: String,
    /// What to write instead.
    pub(crate) remedy: String,
    /// The part of the value at fault, if not all of it.
    pub(crate) span: Option<Range<usize>>,
}

impl Complaint {
    pub(crate) fn new(fault: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { fault: fault.into(), remedy: remedy.into(), span: None }
    }

    /// The value has another type than the kind takes.
    pub(crate) fn not(wanted: &str, value: &Value, remedy: impl Into<String>) -> Self {
        let fault = match &value.raw {
            Raw::Word(text) => format!("is not {wanted}: {text}"),
            Raw::Text(text) => format!("is the string {}, not {wanted}", quote(text)),
            _ => format!("is {}, not {wanted}", value.noun()),
        };
        Self::new(fault, remedy)
    }
}

/// What can be said of a kind without a value: for pages, samples and messages.
pub(crate) trait Described: Sync {
    /// Noun without article: "size", "duration", `"sync" or "async"`.
    fn noun(&self) -> String;

    /// The range it keeps, such as "1..65535".
    fn range(&self) -> Option<String> {
        None
    }

    /// How `word` is written in a TOML file.
    fn literal(&self, word: &str) -> String {
        quote(word)
    }

    /// Whether it is never shown.
    fn secret(&self) -> bool {
        false
    }
}

/// A kind of value.
pub(crate) trait Kind: Described {
    /// What it is once read.
    type Value;

    /// Reads a value, or says what is wrong with it.
    fn read(&self, value: &Value, world: &World) -> Result<Self::Value, Complaint>;

    /// What an option without value and default is; `None` makes the option required.
    fn absent(&self) -> Option<Self::Value> {
        None
    }
}

/// An option that may be left out and has no default.
pub(crate) struct Optional<K>(pub(crate) K);

impl<K: Described> Described for Optional<K> {
    fn noun(&self) -> String {
        self.0.noun()
    }
    fn range(&self) -> Option<String> {
        self.0.range()
    }
    fn literal(&self, word: &str) -> String {
        self.0.literal(word)
    }
    fn secret(&self) -> bool {
        self.0.secret()
    }
}

impl<K: Kind> Kind for Optional<K> {
    type Value = Option<K::Value>;

    fn read(&self, value: &Value, world: &World) -> Result<Self::Value, Complaint> {
        self.0.read(value, world).map(Some)
    }

    fn absent(&self) -> Option<Self::Value> {
        Some(None)
    }
}

/// `true` or `false`.
pub(crate) struct Flag;

impl Described for Flag {
    fn noun(&self) -> String {
        "boolean".to_string()
    }
    fn literal(&self, word: &str) -> String {
        word.to_string()
    }
}

impl Kind for Flag {
    type Value = bool;

    fn read(&self, value: &Value, _: &World) -> Result<bool, Complaint> {
        match &value.raw {
            Raw::Bool(flag) => Ok(*flag),
            Raw::Word(word) if word == "true" => Ok(true),
            Raw::Word(word) if word == "false" => Ok(false),
            _ => Err(Complaint::not("a boolean", value, "write true or false, without quotes")),
        }
    }
}

/// Checks `amount` against the range of an option.
fn within(amount: u64, min: u64, max: u64, show: impl Fn(u64) -> String) -> Result<u64, Complaint> {
    if amount >= min && amount <= max {
        return Ok(amount);
    }
    let (side, bound) = if amount < min { ("least", min) } else { ("most", max) };
    Err(Complaint::new(
        format!("is {}; the {side} is {}", show(amount), show(bound)),
        format!("write a value from {} to {}", show(min), show(max)),
    ))
}

fn show_bytes(bytes: u64) -> String {
    unit::show_size(bytes)
}
