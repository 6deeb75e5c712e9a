//! A template from a configuration, and the payload of a stranger that it walks into.
//!
//! The first line is the template, the rest the payload.
//!
//! Promises: no panic; an error points at characters of the template; the same event gives the same text; and what is said to depend
//! on the client alone does not change with topic and payload.

use aqueduct::event::Event;
use aqueduct::rule::{Columns, Depends, Template};
use mqtt::{PublishProperties, QoS, Version};

use crate::trail;

pub(super) const WORDS: &[&[u8]] = &[
    b"${",
    b"}",
    b"${.}",
    b"${$}",
    b"${payload}",
    b"${payload.a",
    b"${clientid}",
    b"${username}",
    b"${topic}",
    b"${peerhost}",
    b"${flags.dup}",
    b"${pub_props.",
    b"${pub_props.User-Property.k}",
    b"${timestamp}",
    b"${id}",
    b"[0]",
    b"[-1]",
    b"\"a\":",
    b"{\"a\":{\"b\":[1,2,{\"c\":null}]}}",
    b"\\u00e4",
    b"\\ud83d",
    b"1e400",
    b"\n",
];

/// Compiles and renders.
pub(super) fn run(bytes: &[u8]) {
    let line = bytes.iter().position(|byte| *byte == b'\n').unwrap_or(bytes.len());
    let Ok(text) = std::str::from_utf8(&bytes[..line]) else { return };
    let payload = bytes.get(line + 1..).unwrap_or_default();
    let template = match Template::compile(text, Columns::Publish) {
        Ok(template) => template,
        Err(error) => {
            assert!(text.get(error.span.clone()).is_some(), "{error:?}");
            assert!(!error.what.is_empty() && !error.remedy.is_empty());
            return trail::mark_text(80, error.remedy.get(..16).unwrap_or(&error.remedy));
        }
    };
    let (mut scratch, mut other) = (b"left over".to_vec(), Vec::new());
    let event = event("t/1", payload);
    let rendered = template.render(&event, &mut scratch);
    assert_eq!(template.render(&event, &mut other), rendered);
    trail::mark(81, template.depends() as u64 | u64::from(rendered.is_some()) << 4);
    trail::mark_size(82, rendered.map_or(0, <[u8]>::len));
    let elsewhere = self::event("another/topic", b"{\"a\":0}");
    if template.depends() == Depends::Client {
        assert_eq!(template.render(&elsewhere, &mut other), rendered);
    }
    if let Some(literal) = template.literal() {
        assert_eq!(rendered, Some(literal.as_bytes()));
    }
    assert!(template.render_timestamp(&event, &mut other) >= 0);
}

pub(super) fn event<'a>(topic: &'a str, payload: &'a [u8]) -> Event<'a> {
    Event {
        id: 0x0123_4567_89ab_cdef,
        client_id: "dev-1",
        username: Some("{\"a\":[1,{\"b\":\"x\"}]}"),
        peer: "[2001:db8::1]:1883",
        topic,
        payload,
        qos: QoS::AtLeastOnce,
        retain: false,
        dup: true,
        packet_id: 7,
        version: Version::V5,
        properties: &PublishProperties::NONE,
        received_ms: 1_764_000_000_123,
        node: "node-a",
    }
}
