//! One of a few words.

use std::marker::PhantomData;

use super::{Complaint, Described, Kind, World};
use crate::config::value::{Value, quote};
use crate::suggest::closest;

/// An enum that is written as one of a few words.
pub(crate) trait Words: Copy + 'static {
    /// Each word with its value; the first is the usual one.
    const WORDS: &'static [(&'static str, Self)];
    /// Older spellings that stay valid.
    const OLD: &'static [(&'static str, Self)] = &[];
    /// Words this version knows of and does not offer yet.
    const LATER: &'static [&'static str] = &[];

    /// The word of this value.
    fn word(self) -> &'static str;
}

/// One word of `E`.
pub(crate) struct Choice<E>(PhantomData<fn() -> E>);

impl<E> Choice<E> {
    pub(crate) const fn of() -> Self {
        Self(PhantomData)
    }
}

impl<E: Words> Described for Choice<E> {
    fn noun(&self) -> String {
        one_of(E::WORDS.iter().map(|(word, _)| *word))
    }
}

impl<E: Words> Kind for Choice<E> {
    type Value = E;

    fn read(&self, value: &Value, _: &World) -> Result<E, Complaint> {
        let words = E::WORDS.iter().map(|(word, _)| *word);
        let remedy = format!("write {}", one_of(words.clone()));
        let Some(text) = value.text() else { return Err(Complaint::not("a string", value, remedy)) };
        if let Some((_, choice)) = E::WORDS.iter().chain(E::OLD).find(|(word, _)| *word == text) {
            return Ok(*choice);
        }
        if E::LATER.contains(&text) {
            return Err(Complaint::new(format!("cannot be {} in this version", quote(text)), remedy));
        }
        let fault = format!("cannot be {}", quote(text));
        match closest(text, words) {
            Some(word) => Err(Complaint::new(fault, format!("{remedy}; did you mean {}?", quote(word)))),
            None => Err(Complaint::new(fault, remedy)),
        }
    }
}

/// `"a", "b" or "c"`.
pub(crate) fn one_of<'a>(words: impl Iterator<Item = &'a str>) -> String {
    let words: Vec<String> = words.map(quote).collect();
    match words.split_last() {
        Some((last, [])) => last.clone(),
        Some((last, rest)) => format!("{} or {last}", rest.join(", ")),
        None => String::new(),
    }
}

/// Declares an enum whose variants are words of a configuration.
macro_rules! words {
    ($(#[doc = $about:literal])+ pub enum $Name:ident {
        $($(#[doc = $doc:literal])+ $Variant:ident = $word:literal,)+
    } $(later $later:tt)?) => {
        $(#[doc = $about])+
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum $Name {
            $($(#[doc = $doc])+ $Variant,)+
        }

        impl $crate::config::kind::choice::Words for $Name {
            const WORDS: &'static [(&'static str, Self)] = &[$(($word, Self::$Variant)),+];
            $(const LATER: &'static [&'static str] = &$later;)?

            fn word(self) -> &'static str {
                match self {
                    $(Self::$Variant => $word,)+
                }
            }
        }
    };
}
pub(crate) use words;
