//! A direct route: which publications a sink takes, and the record it makes of each.

use kafka::record_batch::HeaderBlock;
use mqtt::topic;

use crate::config::{self, MissingValue, PayloadEncoding};
use crate::event::Event;
use crate::rule::{Columns, Depends, Envelope, Headers, Template, TemplateError};
use crate::ticket::FailReason;

/// Filters and compiled templates of one sink.
#[derive(Debug, Clone)]
pub struct Route {
    filters: Vec<String>,
    /// Template of the Kafka topic, where that is one.
    pub topic: Option<Template>,
    /// Template of the record key.
    pub key: Template,
    /// Template of the record value.
    pub value: Template,
    /// The shape of the value, where that is given in the template's place.
    envelope: Option<Envelope>,
    timestamp: Template,
    /// Headers of the record.
    pub headers: Headers,
    missing_value: MissingValue,
}

/// What a record is rendered into where it is no part of the event; kept for its capacity.
#[derive(Debug, Default)]
pub struct Scratch {
    /// The Kafka topic.
    pub topic: Vec<u8>,
    /// The key.
    pub key: Vec<u8>,
    /// The value.
    pub value: Vec<u8>,
    /// The headers.
    pub headers: HeaderBlock,
    /// Whatever is needed for a moment.
    pub text: Vec<u8>,
}

/// A record's value as rendered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Value<'a> {
    /// These bytes; `None` is a tombstone.
    Is(Option<&'a [u8]>),
    /// `missing_value = "drop"`: there is no record.
    Dropped,
}

impl Route {
    /// Compiles the templates of `sink`.
    ///
    /// # Errors
    /// The first template that cannot be compiled, with the name of its option.
    pub fn new(sink: &config::Sink) -> Result<Self, (&'static str, TemplateError)> {
        let compile = |option, text: &str| Template::compile(text, Columns::Publish).map_err(|e| (option, e));
        Ok(Self {
            filters: sink.source_topics.clone(),
            topic: if sink.is_topic_live() { Some(compile("topic", &sink.topic)?) } else { None },
            key: compile("key", &sink.key)?,
            value: match sink.payload_encoding {
                PayloadEncoding::Plain => compile("value", &sink.value)?,
                PayloadEncoding::Base64 => compile("value", &sink.value)?.with_base64_payload(),
            },
            envelope: match sink.envelope {
                config::Envelope::None => None,
                config::Envelope::Emqx3 => {
                    Some(Envelope::Emqx3 { base64: sink.payload_encoding == PayloadEncoding::Base64 })
                }
                config::Envelope::RobustMq => Some(Envelope::RobustMq),
            },
            headers: Headers::new(sink.headers.as_deref(), &sink.ext_headers, sink.header_value_encoding)
                .map_err(|error| ("headers", error))?,
            timestamp: compile("timestamp", &sink.timestamp)?,
            missing_value: sink.missing_value,
        })
    }

    /// Takes nothing from now on.
    pub fn close(&mut self) {
        self.filters.clear();
    }

    /// Whether a filter of the sink matches `topic`.
    pub fn takes(&self, topic: &str) -> bool {
        self.filters.iter().any(|filter| topic::matches(filter, topic))
    }

    /// Whether the key is the same for every PUBLISH of one client to one topic.
    pub fn key_is_fixed(&self) -> bool {
        self.key.depends() <= Depends::Topic
    }

    /// Renders the value of the record with this key; `scratch` holds it if it is not a part of the event itself.
    #[inline]
    pub fn render_value<'a>(&'a self, event: &Event<'a>, key: Option<&[u8]>, scratch: &'a mut Vec<u8>) -> Value<'a> {
        if let Some(envelope) = self.envelope {
            envelope.render(event, key, scratch);
            return Value::Is(Some(scratch));
        }
        match self.value.render(event, scratch) {
            Some(bytes) => Value::Is(Some(bytes)),
            None => match self.missing_value {
                MissingValue::Null => Value::Is(None),
                MissingValue::Empty => Value::Is(Some(&[])),
                MissingValue::Drop => Value::Dropped,
            },
        }
    }

    /// The record's time, milliseconds since 1970-01-01 UTC.
    #[inline]
    pub fn timestamp_ms(&self, event: &Event<'_>, scratch: &mut Vec<u8>) -> i64 {
        self.timestamp.render_timestamp(event, scratch)
    }
}

/// The route of a connection's last PUBLISH. While topic and configuration stay the same there is nothing to validate, match
/// or look up again.
#[derive(Debug, Default)]
pub struct RouteMemo {
    topic: Vec<u8>,
    /// Configuration and subscription generation it was made under; 0: never.
    generation: u64,
    /// Sinks that take the topic.
    pub routes: Vec<MemoRoute>,
    /// Whether a subscriber anywhere matches.
    pub subscribed: bool,
}

/// One sink of a memo.
#[derive(Debug)]
pub struct MemoRoute {
    /// Index of the sink.
    pub sink: u16,
    /// The rendered key, where it is the same for every PUBLISH of this client to this topic: `Some(None)` is null.
    pub key: Option<Option<Box<[u8]>>>,
    /// The partition chosen before, while the choice holds.
    pub partition: Option<Chosen>,
    /// The slot in which room was reserved for the present PUBLISH.
    pub reserved: u32,
    /// The most bytes of the present PUBLISH's record.
    pub record_bytes_max: usize,
    /// The present PUBLISH's record can never be written.
    pub never: Option<Never>,
}

/// Why a record can never be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Never {
    /// Why.
    pub why: FailReason,
    /// The partition that was chosen for it, if its topic has any.
    pub partition: Option<u32>,
}

impl MemoRoute {
    /// A route to a sink, about which nothing is known yet.
    pub fn to(sink: u16) -> Self {
        Self { sink, key: None, partition: None, reserved: 0, record_bytes_max: usize::MAX, never: None }
    }
}

/// A partition, and how long the choice holds.
#[derive(Debug, Clone, Copy)]
pub struct Chosen {
    /// The partition.
    pub partition: u32,
    /// Partitions there were: another count means another choice.
    pub count: u32,
    /// Number of the read whose messages it is for; `None`: for all of this client's messages to this topic.
    pub read: Option<u64>,
}

impl RouteMemo {
    /// Whether nobody takes the topic: no sink, no subscriber.
    #[inline]
    pub fn is_unmatched(&self) -> bool {
        self.routes.is_empty() && !self.subscribed
    }

    /// Whether the memo speaks of `topic` under `generation`.
    #[inline]
    pub fn knows(&self, topic: &str, generation: u64) -> bool {
        self.generation == generation && self.topic == topic.as_bytes()
    }

    /// Begins a memo of `topic`.
    pub fn begin(&mut self, topic: &str, generation: u64) {
        self.topic.clear();
        self.topic.extend_from_slice(topic.as_bytes());
        self.generation = generation;
        self.routes.clear();
        self.subscribed = false;
    }

    /// Forgets everything and frees its memory.
    pub fn clear(&mut self) {
        *self = Self::default();
    }
}
