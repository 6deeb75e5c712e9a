//! Topic aliases: small numbers in place of topics, for one connection and one direction.
//!
//! Nothing is allocated before the first alias is used. A table holds at most `maximum` topics, each no longer than the
//! server's topic limit.

use crate::{Error, ReasonCode};

/// The aliases that a client has set.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct InboundAliases {
    /// Topic of the alias `index + 1`; empty = not set. A topic that is replaced gives its buffer to the next one.
    topics: Vec<String>,
    generation: u32,
}

impl InboundAliases {
    /// What a PUBLISH with `alias` (not 0) means by its `topic`: sets the alias, or asks for it if the topic is empty.
    ///
    /// # Errors
    /// With Topic Alias invalid (0x94) above `maximum`, and Protocol Error (0x82) for an alias that was not set.
    pub fn resolve(&mut self, alias: u16, topic: &str, maximum: u16) -> Result<(), Error> {
        // [MQTT-3.3.2-8], [MQTT-3.3.2-9]
        if alias == 0 || alias > maximum {
            return Err(Error::limit(ReasonCode::TopicAliasInvalid, "MQTT-3.3.2-9", "a topic alias above the maximum"));
        }
        let index = usize::from(alias).saturating_sub(1);
        if topic.is_empty() {
            if self.topics.get(index).is_none_or(String::is_empty) {
                return Err(Error::protocol("MQTT5 3.3.2.3.4", "a topic alias that was not set"));
            }
            return Ok(());
        }
        if self.topics.len() <= index {
            self.topics.resize_with(index.saturating_add(1), String::new);
        }
        if let Some(known) = self.topics.get_mut(index)
            && known != topic
        {
            known.clear();
            known.push_str(topic);
            self.generation = self.generation.wrapping_add(1);
        }
        Ok(())
    }

    /// The topic of an alias, empty if it is not set.
    #[inline]
    pub fn topic(&self, alias: u16) -> &str {
        let index = usize::from(alias).checked_sub(1);
        index.and_then(|index| self.topics.get(index)).map_or("", String::as_str)
    }

    /// Changes whenever an alias comes to mean another topic: what was remembered by alias is stale then.
    pub const fn generation(&self) -> u32 {
        self.generation
    }
}

/// How to name the topic of a publication we send.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Alias {
    /// By its name: the client takes no aliases, or no more of them.
    None,
    /// By its name, and with this alias from now on.
    New(u16),
    /// By this alias and an empty name.
    Known(u16),
}

/// The aliases that we set for a client.
///
/// The first topics get them and keep them. Replacing would save more where topics change slowly, and cost more than
/// none at all where they do not.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct OutboundAliases {
    maximum: u16,
    topics: Vec<Box<str>>,
}

impl OutboundAliases {
    /// No alias yet, and never more than `maximum`: the lower of the client's Topic Alias Maximum and our own patience,
    /// since every lookup walks the list.
    pub const fn new(maximum: u16) -> Self {
        Self { maximum, topics: Vec::new() }
    }

    /// How to name `topic` in the next publication, which must then be sent.
    pub fn name(&mut self, topic: &str) -> Alias {
        let number = |index: usize| u16::try_from(index).unwrap_or(u16::MAX).saturating_add(1);
        if let Some(index) = self.topics.iter().position(|known| **known == *topic) {
            return Alias::Known(number(index));
        }
        // [MQTT-3.1.2-26], [MQTT-3.1.2-27]
        if self.topics.len() >= usize::from(self.maximum) {
            return Alias::None;
        }
        self.topics.push(topic.into());
        Alias::New(number(self.topics.len().saturating_sub(1)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_alias_is_set_used_and_set_again() {
        let mut aliases = InboundAliases::default();
        assert_eq!(aliases.resolve(2, "a/b", 2), Ok(()));
        assert_eq!(aliases.resolve(2, "", 2), Ok(()));
        assert_eq!((aliases.topic(2), aliases.generation()), ("a/b", 1));
        assert_eq!(aliases.resolve(2, "a/b", 2), Ok(()));
        assert_eq!(aliases.generation(), 1, "the same topic again changes nothing");
        assert_eq!(aliases.resolve(2, "c", 2), Ok(()));
        assert_eq!((aliases.topic(2), aliases.generation()), ("c", 2));
    }

    #[test]
    fn aliases_out_of_range_or_unset_are_refused() {
        let mut aliases = InboundAliases::default();
        let refused = |aliases: &mut InboundAliases, alias, topic| aliases.resolve(alias, topic, 2).unwrap_err().reason;
        // [MQTT-3.3.2-9], [MQTT-3.3.2-8], MQTT5 3.3.2.3.4
        assert_eq!(refused(&mut aliases, 3, "a"), ReasonCode::TopicAliasInvalid);
        assert_eq!(refused(&mut aliases, 0, "a"), ReasonCode::TopicAliasInvalid);
        assert_eq!(refused(&mut aliases, 1, ""), ReasonCode::ProtocolError);
        aliases.resolve(2, "a", 2).unwrap();
        assert_eq!(refused(&mut aliases, 1, ""), ReasonCode::ProtocolError);
        assert_eq!((aliases.topic(0), aliases.topic(1), aliases.topic(9)), ("", "", ""));
    }

    #[test]
    fn the_first_topics_get_the_aliases() {
        // [MQTT-3.1.2-26]
        let mut aliases = OutboundAliases::new(2);
        assert_eq!(aliases.name("a"), Alias::New(1));
        assert_eq!(aliases.name("b"), Alias::New(2));
        assert_eq!(aliases.name("c"), Alias::None);
        assert_eq!((aliases.name("b"), aliases.name("a")), (Alias::Known(2), Alias::Known(1)));
        // [MQTT-3.1.2-27]
        assert_eq!(OutboundAliases::new(0).name("a"), Alias::None);
    }
}
