//! One table per question: what the headers are made of, the event, the headers.

use mqtt::{PropertyBuf, PublishProperties, QoS, Version};

use super::*;

fn event<'a>(payload: &'a [u8], properties: &'a PublishProperties<'a>) -> Event<'a> {
    Event {
        id: 0xAB,
        client_id: "dev \"1\"",
        username: None,
        peer: "192.0.2.7:50123",
        topic: "t/1",
        payload,
        qos: QoS::AtLeastOnce,
        retain: false,
        dup: false,
        packet_id: 7,
        version: Version::V5,
        properties,
        received_ms: 1_764_000_000_123,
        node: "node-a",
    }
}

fn rendered(headers: &Headers, event: &Event<'_>) -> (bool, Vec<(String, String)>) {
    let mut block = HeaderBlock::default();
    block.push(RecordHeader { key: b"left", value: Some(b"over") });
    let sound = headers.render(event, &mut block, &mut b"left over".to_vec());
    let mut record = Vec::new();
    kafka::record_batch::append(&mut record, 0, 0, None, None, block.raw());
    let read = kafka::record_batch::Records::new(1, &record).next().unwrap().unwrap();
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    (sound, read.headers.map(|h| (text(h.key), text(h.value.unwrap()))).collect())
}

#[track_caller]
fn check(headers: &Headers, event: &Event<'_>, sound: bool, expected: &[(&str, &str)]) {
    let (was_sound, found) = rendered(headers, event);
    let found: Vec<(&str, &str)> = found.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
    assert_eq!((was_sound, found.as_slice()), (sound, expected));
}

fn of(source: &str, encoding: HeaderEncoding) -> Headers {
    Headers::new(Some(source), &[], encoding).unwrap()
}

#[test]
fn user_properties_keep_their_order_and_repeat() {
    let buf = PropertyBuf::new().user("b", "1").user("a", "\"q\"").user("b", "").user("", "empty name");
    let properties = PublishProperties::from_buf(&buf).unwrap();
    let event = event(b"", &properties);
    for source in ["${pub_props.User-Property}", "${.pub_props.User-Property-Pairs}"] {
        check(
            &of(source, HeaderEncoding::None),
            &event,
            true,
            &[("b", "1"), ("a", "\"q\""), ("b", ""), ("", "empty name")],
        );
        let quoted = [("b", "\"1\""), ("a", r#""\"q\"""#), ("b", "\"\""), ("", "\"empty name\"")];
        check(&of(source, HeaderEncoding::Json), &event, true, &quoted);
    }
}

#[test]
fn objects_lists_and_text_of_either() {
    let cases: &[(&str, &[(&str, &str)])] = &[
        (r#"{"h":{"b":"1","a":"x\ty","n":2,"o":{ "k":[] },"z":null}}"#, &[("b", "1"), ("a", "x\ty")]),
        (r#"{"h":[{"key":"k","value":"v"},{"value":"w","key":"k"},{"key":"k","value":3}]}"#, &[("k", "v"), ("k", "w")]),
        (r#"{"h":[{"foo":"bar"},{"foo2":"bar2","x":"y"}]}"#, &[("foo", "bar"), ("foo2", "bar2"), ("x", "y")]),
        (r#"{"h":"{\"in\":\"text\"}"}"#, &[("in", "text")]),
        (r#"{"h":"[{\"key\":\"in\",\"value\":\"list\"}]"}"#, &[("in", "list")]),
        (r#"{"h":{}}"#, &[]),
        (r#"{"h":null}"#, &[]),
        ("{}", &[]),
        ("no JSON", &[]),
    ];
    for (payload, expected) in cases {
        check(
            &of("${payload.h}", HeaderEncoding::None),
            &event(payload.as_bytes(), &PublishProperties::NONE),
            true,
            expected,
        );
    }
    let payload = cases[0].0.as_bytes();
    let all = [("b", "\"1\""), ("a", r#""x\ty""#), ("n", "2"), ("o", r#"{ "k":[] }"#), ("z", "null")];
    check(&of("${payload.h}", HeaderEncoding::Json), &event(payload, &PublishProperties::NONE), true, &all);
}

#[test]
fn what_cannot_be_headers_is_said_and_left_out() {
    for payload in [r#"{"h":7}"#, r#"{"h":"text"}"#, r#"{"h":[1]}"#, r#"{"h":[{"a":"b"},"c"]}"#, r#"{"h":true}"#] {
        check(
            &of("${payload.h}", HeaderEncoding::None),
            &event(payload.as_bytes(), &PublishProperties::NONE),
            false,
            &[],
        );
    }
    check(&of("${payload}", HeaderEncoding::None), &event(b"\xff{}", &PublishProperties::NONE), false, &[]);
}

#[test]
fn extra_headers_follow_and_are_left_out_where_they_find_nothing() {
    let pairs = [
        ("client", "${clientid}"),
        ("${topic}", "${qos}"),
        ("mixed", "q${qos}"),
        ("none", "${username}"),
        ("${username}", "no name"),
        ("deep", "${payload.a}"),
        ("id", "${id}"),
        ("plain", "text"),
    ];
    let pairs = pairs.map(|(name, value)| (name.to_owned(), value.to_owned()));
    let event = event(br#"{"h":{"k":"v"},"a":"1"}"#, &PublishProperties::NONE);
    let headers = |encoding| Headers::new(Some("${payload.h}"), &pairs, encoding).unwrap();
    let id = "000000000000000000000000000000AB";
    let expected = [
        ("k", "v"),
        ("client", "dev \"1\""),
        ("t/1", "1"),
        ("mixed", "q1"),
        ("deep", "1"),
        ("id", id),
        ("plain", "text"),
    ];
    check(&headers(HeaderEncoding::None), &event, true, &expected);
    let id = format!("\"{id}\"");
    let expected = [
        ("k", "\"v\""),
        ("client", r#""dev \"1\"""#),
        ("t/1", "1"),
        ("mixed", "\"q1\""),
        ("deep", "\"1\""),
        ("id", &id),
        ("plain", "\"text\""),
    ];
    check(&headers(HeaderEncoding::Json), &event, true, &expected);
}
