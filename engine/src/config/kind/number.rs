//! Counts, sizes, shares of memory and durations, each with its range.

use std::marker::PhantomData;

use super::{Complaint, Described, Kind, World, show_bytes, within};
use crate::config::unit::{self, MILLISECOND};
use crate::config::value::{Raw, Value};

/// A whole number. `T` is the type the engine counts with.
pub(crate) struct Count<T> {
    min: u64,
    max: u64,
    counts: PhantomData<fn() -> T>,
}

impl<T> Count<T> {
    pub(crate) const fn within(min: u64, max: u64) -> Self {
        Self { min, max, counts: PhantomData }
    }
}

impl<T> Described for Count<T> {
    fn noun(&self) -> String {
        "integer".to_string()
    }
    fn range(&self) -> Option<String> {
        Some(format!("{}..{}", self.min, self.max))
    }
    fn literal(&self, word: &str) -> String {
        word.to_string()
    }
}

impl<T: TryFrom<u64>> Kind for Count<T> {
    type Value = T;

    fn read(&self, value: &Value, _: &World) -> Result<T, Complaint> {
        let range = format!("write a whole number from {} to {}, without quotes", self.min, self.max);
        let number = match &value.raw {
            Raw::Integer(number) => Some(*number),
            Raw::Word(word) => word.parse().ok(),
            _ => None,
        };
        let Some(number) = number else { return Err(Complaint::not("a whole number", value, range)) };
        let Ok(number) = u64::try_from(number) else { return Err(Complaint::new("is negative", range)) };
        let number = within(number, self.min, self.max, |n| n.to_string())?;
        T::try_from(number).map_err(|_| Complaint::new("is too large", range))
    }
}

/// A whole number that may be negative.
pub(crate) struct Level {
    min: i32,
    max: i32,
}

impl Level {
    pub(crate) const fn within(min: i32, max: i32) -> Self {
        Self { min, max }
    }
}

impl Described for Level {
    fn noun(&self) -> String {
        "integer".to_string()
    }
    fn range(&self) -> Option<String> {
        Some(format!("{}..{}", self.min, self.max))
    }
    fn literal(&self, word: &str) -> String {
        word.to_string()
    }
}

impl Kind for Level {
    type Value = i32;

    fn read(&self, value: &Value, _: &World) -> Result<i32, Complaint> {
        let range = format!("write a whole number from {} to {}, without quotes", self.min, self.max);
        let number = match &value.raw {
            Raw::Integer(number) => Some(*number),
            Raw::Word(word) => word.parse().ok(),
            _ => None,
        };
        let Some(number) = number else { return Err(Complaint::not("a whole number", value, range)) };
        let level = i32::try_from(number).ok().filter(|level| (self.min..=self.max).contains(level));
        level.ok_or_else(|| Complaint::new(format!("is {number}"), range))
    }
}

/// A number of bytes.
pub(crate) struct Size<T> {
    min: u64,
    max: u64,
    counts: PhantomData<fn() -> T>,
}

impl<T> Size<T> {
    pub(crate) const fn within(min: u64, max: u64) -> Self {
        Self { min, max, counts: PhantomData }
    }
}

impl<T> Described for Size<T> {
    fn noun(&self) -> String {
        "size".to_string()
    }
    fn range(&self) -> Option<String> {
        Some(format!("{}..{}", show_bytes(self.min), show_bytes(self.max)))
    }
    fn literal(&self, word: &str) -> String {
        bare_zero(word)
    }
}

impl<T: TryFrom<u64>> Kind for Size<T> {
    type Value = T;

    fn read(&self, value: &Value, _: &World) -> Result<T, Complaint> {
        let bytes = within(bytes_of(value)?, self.min, self.max, show_bytes)?;
        T::try_from(bytes).map_err(|_| Complaint::new("is too large", "write a smaller size"))
    }
}

/// A size, or a percentage of the memory this process may use.
pub(crate) struct MemoryShare {
    pub(crate) min: u64,
}

impl Described for MemoryShare {
    fn noun(&self) -> String {
        "size or percentage".to_string()
    }
    fn range(&self) -> Option<String> {
        Some(format!("at least {}; 1%..100%", show_bytes(self.min)))
    }
}

impl Kind for MemoryShare {
    type Value = u64;

    fn read(&self, value: &Value, world: &World) -> Result<u64, Complaint> {
        let remedy = "write a size such as \"2GB\", or a percentage of this machine's memory such as \"70%\"";
        let bytes = match value.text().and_then(|text| text.trim().strip_suffix('%')) {
            Some(percent) => {
                let percent: u64 = percent.trim().parse().ok().filter(|p| (1..=100).contains(p)).ok_or_else(|| {
                    Complaint::not("a percentage", value, "write a whole percentage from \"1%\" to \"100%\"")
                })?;
                world.memory_bytes / 100 * percent + world.memory_bytes % 100 * percent / 100
            }
            None => bytes_of(value).map_err(|complaint| Complaint { remedy: remedy.to_string(), ..complaint })?,
        };
        if bytes < self.min {
            let fault = format!("comes to {}MB, below the least of {}", bytes / unit::MB, show_bytes(self.min));
            return Err(Complaint::new(fault, remedy));
        }
        Ok(bytes)
    }
}

/// A duration counted in milliseconds; a finer one is refused.
pub(crate) struct Millis(Span);

/// A duration counted in microseconds.
pub(crate) struct Micros(Span);

#[derive(Clone, Copy)]
struct Span {
    min: u64,
    max: u64,
}

impl Millis {
    /// The bounds are in microseconds, as the constants of [`unit`] are.
    pub(crate) const fn within(min: u64, max: u64) -> Self {
        Self(Span { min, max })
    }
}

impl Micros {
    /// The bounds are in microseconds, as the constants of [`unit`] are.
    pub(crate) const fn within(min: u64, max: u64) -> Self {
        Self(Span { min, max })
    }
}

impl Span {
    fn range(self) -> String {
        format!("{}..{}", unit::show_duration(self.min), unit::show_duration(self.max))
    }

    fn read(self, value: &Value) -> Result<u64, Complaint> {
        let remedy = "write a number and a unit, such as \"5ms\", \"30s\", \"10m\", \"2h\" or \"7d\"";
        let micros = match &value.raw {
            Raw::Integer(0) => Some(0),
            Raw::Integer(number) => {
                return Err(Complaint::new(format!("is {number} without a unit"), remedy));
            }
            _ => value.text().and_then(unit::parse_duration),
        };
        let micros = micros.ok_or_else(|| Complaint::not("a duration", value, remedy))?;
        within(micros, self.min, self.max, unit::show_duration)
    }
}

impl Described for Millis {
    fn noun(&self) -> String {
        "duration".to_string()
    }
    fn range(&self) -> Option<String> {
        Some(self.0.range())
    }
}

impl Kind for Millis {
    type Value = u64;

    fn read(&self, value: &Value, _: &World) -> Result<u64, Complaint> {
        let micros = self.0.read(value)?;
        if micros % MILLISECOND != 0 {
            return Err(Complaint::new("is finer than a millisecond", "write whole milliseconds"));
        }
        Ok(micros / MILLISECOND)
    }
}

impl Described for Micros {
    fn noun(&self) -> String {
        "duration".to_string()
    }
    fn range(&self) -> Option<String> {
        Some(self.0.range())
    }
}

impl Kind for Micros {
    type Value = u64;

    fn read(&self, value: &Value, _: &World) -> Result<u64, Complaint> {
        self.0.read(value)
    }
}

fn bytes_of(value: &Value) -> Result<u64, Complaint> {
    let remedy = "write a number and a unit, such as \"896KB\" or \"1MB\" (1KB is 1024 bytes)";
    match &value.raw {
        Raw::Integer(0) => Ok(0),
        Raw::Integer(number) => Err(Complaint::new(format!("is {number} without a unit"), remedy)),
        _ => value.text().and_then(unit::parse_size).ok_or_else(|| Complaint::not("a size", value, remedy)),
    }
}

/// 0 needs neither unit nor quotes.
fn bare_zero(word: &str) -> String {
    if word == "0" { word.to_string() } else { crate::config::value::quote(word) }
}
