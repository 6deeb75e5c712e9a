//! Topic names and topic filters (MQTT 5.0 section 4.7), and shared subscriptions (section 4.8.2).

use crate::{Error, ReasonCode};

/// Whether `topic` may name a publication: not empty, no wildcard, no U+0000.
///
/// The length limit of 65,535 bytes is that of its field on the wire.
#[inline]
pub fn valid_name(topic: &str) -> bool {
    // [MQTT-4.7.3-1], [MQTT-4.7.3-2], [MQTT-3.3.2-2]
    !topic.is_empty() && find_special(topic.as_bytes()).is_none()
}

/// Checks the topic name of a received publication, empty or not, in one pass for UTF-8 and one for forbidden
/// characters.
#[inline]
pub(crate) fn name(bytes: &[u8]) -> Result<&str, Error> {
    let topic = crate::primitive::utf8(bytes)?;
    match find_special(bytes) {
        None => Ok(topic),
        Some(special) => Err(bad_name(special)),
    }
}

#[cold]
fn bad_name(special: u8) -> Error {
    if special == 0 {
        // [MQTT-1.5.4-2]
        return Error::malformed("MQTT-1.5.4-2", "U+0000 in a topic name");
    }
    // [MQTT-3.3.2-2]
    Error::violation(ReasonCode::TopicNameInvalid, "MQTT-3.3.2-2", "a wildcard in a topic name")
}

const ONES: u64 = u64::from_ne_bytes([0x01; 8]);
const TOPS: u64 = u64::from_ne_bytes([0x80; 8]);
const PLUS: u64 = u64::from_ne_bytes([b'+'; 8]);
const HASH: u64 = u64::from_ne_bytes([b'#'; 8]);

/// A NUL, `+` or `#` in `bytes`, if there is one. Eight bytes at a time; the last eight may overlap those before.
#[inline]
fn find_special(bytes: &[u8]) -> Option<u8> {
    let special = |word: u64| has_zero(word) | has_zero(word ^ PLUS) | has_zero(word ^ HASH);
    let found = match bytes.last_chunk::<8>() {
        Some(last) => {
            let (words, _) = bytes.as_chunks::<8>();
            let last = special(u64::from_ne_bytes(*last));
            words.iter().fold(last, |found, word| found | special(u64::from_ne_bytes(*word)))
        }
        None => bytes.iter().fold(0, |found, &b| found | u64::from(is_special(b))),
    };
    if found == 0 { None } else { bytes.iter().copied().find(|&b| is_special(b)) }
}

#[inline]
const fn is_special(byte: u8) -> bool {
    matches!(byte, 0 | b'+' | b'#')
}

/// Not 0 if and only if one of the eight bytes is 0. Bits above the lowest zero byte may be wrong, which is enough here.
#[inline]
const fn has_zero(word: u64) -> u64 {
    word.wrapping_sub(ONES) & !word & TOPS
}

/// Checks a topic filter: not empty, `+` alone in its level, `#` alone in the last.
///
/// A filter that begins with `$share/` is judged as a whole by [`Shared::parse`] and its inner filter by this.
///
/// # Errors
/// `Violation` with Topic Filter invalid (0x8F), or `Malformed` for U+0000.
pub fn valid_filter(filter: &str) -> Result<(), Error> {
    if filter.is_empty() {
        // [MQTT-4.7.3-1]
        return Err(bad_filter("MQTT-4.7.3-1", "an empty topic filter"));
    }
    let mut levels = filter.as_bytes().split(|&b| b == b'/').peekable();
    while let Some(level) = levels.next() {
        let last = levels.peek().is_none();
        for &byte in level {
            match byte {
                // [MQTT-4.7.1-1]
                b'#' if level.len() != 1 || !last => {
                    return Err(bad_filter("MQTT-4.7.1-1", "# is not the last level of its filter"));
                }
                // [MQTT-4.7.1-2]
                b'+' if level.len() != 1 => {
                    return Err(bad_filter("MQTT-4.7.1-2", "+ is not a whole level of its filter"));
                }
                // [MQTT-4.7.3-2]
                0 => return Err(Error::malformed("MQTT-4.7.3-2", "U+0000 in a topic filter")),
                _ => {}
            }
        }
    }
    Ok(())
}

#[cold]
fn bad_filter(clause: &'static str, what: &'static str) -> Error {
    Error::violation(ReasonCode::TopicFilterInvalid, clause, what)
}

/// Whether a valid `filter` covers a valid `topic`.
///
/// A filter that begins with a wildcard does not cover topics that begin with `$`.
#[inline]
pub fn matches(filter: &str, topic: &str) -> bool {
    let (filter, topic) = (filter.as_bytes(), topic.as_bytes());
    // [MQTT-4.7.2-1]
    if topic.first() == Some(&b'$') && matches!(filter.first(), Some(b'+' | b'#')) {
        return false;
    }
    let mut topic_levels = topic.split(|&b| b == b'/');
    for level in filter.split(|&b| b == b'/') {
        // "sport/#" covers "sport" too, so `#` asks for no level.
        if level == b"#" {
            return true;
        }
        match topic_levels.next() {
            Some(name) if level == b"+" || level == name => {}
            _ => return false,
        }
    }
    topic_levels.next().is_none()
}

/// Whether a filter holds a wildcard.
pub fn has_wildcard(filter: &str) -> bool {
    filter.bytes().any(|b| matches!(b, b'+' | b'#'))
}

/// How many levels a name or filter has: one more than it has slashes.
#[inline]
pub fn levels(topic: &str) -> usize {
    topic.bytes().filter(|&b| b == b'/').count().saturating_add(1)
}

/// Whether a name or filter stays within a server's limits of bytes and levels.
#[inline]
pub fn within(topic: &str, bytes_max: u16, levels_max: u16) -> bool {
    // A topic of n bytes has at most n + 1 levels, so most need not be counted.
    topic.len() <= usize::from(bytes_max)
        && (topic.len() < usize::from(levels_max) || levels(topic) <= usize::from(levels_max))
}

/// A shared subscription, `$share/group/filter`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shared<'a> {
    /// Subscribers of one group share the publications between them.
    pub group: &'a str,
    /// What they are subscribed to.
    pub filter: &'a str,
}

impl<'a> Shared<'a> {
    /// Takes a shared subscription apart. `None` if the filter is an ordinary one.
    ///
    /// # Errors
    /// If it begins with `$share/` and then lacks a group or a filter, if the group holds a wildcard, or if the filter is
    /// not valid.
    pub fn parse(filter: &'a str) -> Result<Option<Self>, Error> {
        let Some(rest) = filter.strip_prefix("$share/") else {
            return Ok(None);
        };
        // [MQTT-4.8.2-2]
        let Some((group, filter)) = rest.split_once('/') else {
            return Err(bad_filter("MQTT-4.8.2-2", "a shared subscription without a filter"));
        };
        // [MQTT-4.8.2-1]
        if group.is_empty() {
            return Err(bad_filter("MQTT-4.8.2-1", "a shared subscription without a group"));
        }
        // [MQTT-4.8.2-2]
        if has_wildcard(group) {
            return Err(bad_filter("MQTT-4.8.2-2", "a wildcard in the group of a shared subscription"));
        }
        valid_filter(filter)?;
        Ok(Some(Self { group, filter }))
    }
}

#[cfg(test)]
mod tests;
