//! One table per question: template, event, expected.

use mqtt::property::{PropertyId, Value};
use mqtt::{PropertyBuf, PublishProperties, QoS, Version};

use super::{Depends, Template, TemplateError};
use crate::event::{Event, EventIds};
use crate::rule::Columns;

const JSON: &str = r#"{"a":{"b":1,"t":"x\ty","n":null,"f":1.50,"yes":true,"o":{ "k" : [1, 2] }},
    "l":[10,{"c":"deep"},30],"text":"{\"in\":{\"ner\":\"n\"}}","dup":1,"dup":2,"":"empty name","-1":"minus"}"#;

fn event(payload: &[u8]) -> Event<'_> {
    Event {
        id: 0x0123_4567_89AB_CDEF,
        client_id: "dev-1",
        username: Some("ann"),
        peer: "192.0.2.7:50123",
        topic: "t/1",
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

fn compile(text: &str) -> Template {
    Template::compile(text, Columns::Publish).unwrap_or_else(|error| panic!("{text}: {error}"))
}

#[track_caller]
fn check(template: &str, event: &Event<'_>, expected: Option<&str>) {
    let mut scratch = b"left over".to_vec();
    let compiled = compile(template);
    let rendered = compiled.render(event, &mut scratch).map(String::from_utf8_lossy);
    assert_eq!(rendered.as_deref(), expected, "{template}");
}

#[test]
fn columns_by_name() {
    let event = event(b"21.5");
    for (template, expected) in [
        ("${id}", "00000000000000000123456789ABCDEF"),
        ("${clientid}", "dev-1"),
        ("${.clientid}", "dev-1"),
        ("${username}", "ann"),
        ("${peerhost}", "192.0.2.7"),
        ("${peername}", "192.0.2.7:50123"),
        ("${topic}", "t/1"),
        ("${qos}", "1"),
        ("${flags}", r#"{"dup":true,"retain":false}"#),
        ("${flags.dup}", "true"),
        ("${.flags.retain}", "false"),
        ("${payload}", "21.5"),
        ("${pub_props}", r#"{"User-Property":{}}"#),
        ("${publish_received_at}", "1764000000123"),
        ("${timestamp}", "1764000000123"),
        ("${event}", "message.publish"),
        ("${node}", "node-a"),
    ] {
        check(template, &event, Some(expected));
    }
}

#[test]
fn addresses_without_their_port() {
    for (peer, expected) in [("[2001:db8::1]:1883", "2001:db8::1"), ("127.0.0.1:9", "127.0.0.1")] {
        check("${peerhost}", &Event { peer, ..event(b"") }, Some(expected));
    }
}

#[test]
fn literals() {
    let event = event(b"");
    for (template, expected) in [
        ("", ""),
        ("plain", "plain"),
        ("${$}{clientid}", "${clientid}"),
        ("$ { } $x }", "$ { } $x }"),
        ("a ${$} b", "a $ b"),
    ] {
        check(template, &event, Some(expected));
        assert_eq!(compile(template).literal(), Some(expected));
    }
    assert_eq!(compile("${topic}").literal(), None);
}

#[test]
fn paths_into_json_text() {
    let event = event(JSON.as_bytes());
    for (template, expected) in [
        ("${payload.a.b}", Some("1")),
        ("${.payload.a.b}", Some("1")),
        ("${payload.a.f}", Some("1.50")),
        ("${payload.a.yes}", Some("true")),
        ("${payload.a.t}", Some("x\ty")),
        ("${payload.a.o}", Some(r#"{ "k" : [1, 2] }"#)),
        ("${payload.a.o.k}", Some("[1, 2]")),
        ("${payload.a.o.k[2]}", Some("2")),
        ("${payload.l[1]}", Some("10")),
        ("${payload.l[3]}", Some("30")),
        ("${payload.l[4]}", None),
        ("${payload.l[-1]}", Some("30")),
        ("${payload.l[-2].c}", Some("deep")),
        ("${payload.l[-3]}", Some("10")),
        ("${payload.l[-4]}", None),
        ("${payload.l[-2147483648]}", None),
        ("${payload.l[2].c}", Some("deep")),
        ("${payload.l.c}", None),
        ("${payload.a[1]}", None),
        ("${payload.text}", Some(r#"{"in":{"ner":"n"}}"#)),
        ("${payload.text.in.ner}", Some("n")),
        ("${payload.text.in}", Some(r#"{"ner":"n"}"#)),
        ("${payload.text.out}", None),
        ("${payload.dup}", Some("2")),
        ("${payload.-1}", Some("minus")),
        ("${payload.a.n}", None),
        ("${payload.a.n.x}", None),
        ("${payload.a.b.x}", None),
        ("${payload.a.f.x}", None),
        ("${payload.a.yes.x}", None),
        ("${payload.none}", None),
        ("${topic.x}", None),
    ] {
        check(template, &event, expected);
    }
}

#[test]
fn payloads_that_are_no_json_hold_nothing() {
    for payload in
        [&b""[..], b"21.5", b"{", b"{\"a\":1", b"{\"a\":1} x", b"{\"a\":1,}", b"\xFF", b"{\"a\":\"\xFF\"}", b"[]"]
    {
        check("${payload.a}", &event(payload), None);
    }
    check("${payload[2].x}", &event(br#"[1,{"x":"top-level array"}]"#), Some("top-level array"));
}

#[test]
fn deep_json_is_missing_and_no_overflow() {
    let deep = format!("{}1{}", "[".repeat(100_000), "]".repeat(100_000));
    check(&format!("${{payload.a{}}}", "[1]".repeat(500)), &event(deep.as_bytes()), None);
    let skipped = format!(r#"{{"skip":{deep},"a":1}}"#);
    check("${payload.a}", &event(skipped.as_bytes()), Some("1"));
}

#[test]
fn among_text_nothing_is_empty_and_values_are_json() {
    let without_user = Event { username: None, ..event(JSON.as_bytes()) };
    for (template, expected) in [
        ("t-${payload.a.b}-${qos}", "t-1-1"),
        ("<${username}>", "<>"),
        ("<${payload.a.n}>", "<>"),
        ("${topic}${topic}", "t/1t/1"),
        ("${payload.a.o}!", r#"{ "k" : [1, 2] }!"#),
        ("f=${flags}", r#"f={"dup":true,"retain":false}"#),
        ("${$}${clientid}", "$dev-1"),
    ] {
        check(template, &without_user, Some(expected));
    }
    check("${username}", &without_user, None);
    check("${payload}|", &event(b"as \"it\" is"), Some("as \"it\" is|"));
}

#[test]
fn the_payload_is_borrowed_byte_for_byte() {
    let payload = [0, 0xFF, 0xFE, b'x', 0];
    let event = event(&payload);
    let mut scratch = Vec::new();
    let template = compile("${payload}");
    let rendered = template.render(&event, &mut scratch).unwrap();
    assert!(std::ptr::eq(rendered, &payload[..]), "not a copy");
    check("${payload}", &Event { payload: b"", ..event }, Some(""));
}

#[test]
fn the_whole_event_is_json() {
    let buf = PropertyBuf::new()
        .with(PropertyId::PayloadFormatIndicator, Value::Byte(1))
        .with(PropertyId::MessageExpiryInterval, Value::Four(60))
        .with(PropertyId::ContentType, Value::Text("text/plain"))
        .with(PropertyId::ResponseTopic, Value::Text("r/1"))
        .with(PropertyId::CorrelationData, Value::Binary(&[0xFF]))
        .user("b", "1")
        .user("a", "\"2\"")
        .user("b", "3");
    let properties = PublishProperties::from_buf(&buf).unwrap();
    let full = Event { properties: &properties, ..event(b"say \"hi\"\n") };
    let check = |event: &Event<'_>, expected: &str| {
        check("${.}", event, Some(expected));
        serde_json::from_str::<serde_json::Value>(expected).unwrap();
    };
    check(
        &full,
        concat!(
            r#"{"id":"00000000000000000123456789ABCDEF","clientid":"dev-1","username":"ann","peerhost":"192.0.2.7","#,
            r#""peername":"192.0.2.7:50123","topic":"t/1","qos":1,"flags":{"dup":true,"retain":false},"#,
            r#""payload":"say \"hi\"\n","pub_props":{"Payload-Format-Indicator":1,"Message-Expiry-Interval":60,"#,
            r#""Content-Type":"text/plain","Response-Topic":"r/1","Correlation-Data":"/w==","#,
            r#""Correlation-Data-Base64":true,"User-Property":{"a":"\"2\"","b":"3"},"User-Property-Pairs":"#,
            r#"[{"key":"b","value":"1"},{"key":"a","value":"\"2\""},{"key":"b","value":"3"}]},"#,
            r#""publish_received_at":1764000000123,"timestamp":1764000000123,"event":"message.publish","node":"node-a"}"#,
        ),
    );
    check(
        &Event { username: None, dup: false, retain: true, qos: QoS::AtMostOnce, ..event(&[0xC3, 0x28]) },
        concat!(
            r#"{"id":"00000000000000000123456789ABCDEF","clientid":"dev-1","username":null,"peerhost":"192.0.2.7","#,
            r#""peername":"192.0.2.7:50123","topic":"t/1","qos":0,"flags":{"dup":false,"retain":true},"#,
            r#""payload":"wyg=","payload_base64":true,"pub_props":{"User-Property":{}},"#,
            r#""publish_received_at":1764000000123,"timestamp":1764000000123,"event":"message.publish","node":"node-a"}"#,
        ),
    );
}

#[test]
fn properties_by_name() {
    let buf = PropertyBuf::new()
        .with(PropertyId::MessageExpiryInterval, Value::Four(60))
        .with(PropertyId::ContentType, Value::Text("application/json"))
        .with(PropertyId::ResponseTopic, Value::Text("r/1"))
        .with(PropertyId::CorrelationData, Value::Binary(b"c-1"))
        .user("site", "north")
        .user("two words", r#"{"k":[5]}"#)
        .user("site", "south");
    let properties = PublishProperties::from_buf(&buf).unwrap();
    let event = Event { properties: &properties, ..event(b"") };
    for (template, expected) in [
        ("${pub_props.Message-Expiry-Interval}", Some("60")),
        ("${pub_props.Payload-Format-Indicator}", None),
        ("${pub_props.Content-Type}", Some("application/json")),
        ("${pub_props.Response-Topic}", Some("r/1")),
        ("${pub_props.Correlation-Data}", Some("c-1")),
        ("${pub_props.User-Property}", Some(r#"{"site":"south","two words":"{\"k\":[5]}"}"#)),
        ("${pub_props.User-Property.site}", Some("south")),
        ("${pub_props.User-Property.two words.k[1]}", Some("5")),
        ("${pub_props.User-Property.none}", None),
        (
            "${pub_props.User-Property-Pairs}",
            Some(concat!(
                r#"[{"key":"site","value":"north"},{"key":"two words","value":"{\"k\":[5]}"},"#,
                r#"{"key":"site","value":"south"}]"#
            )),
        ),
    ] {
        check(template, &event, expected);
    }
}

#[test]
fn timestamps() {
    let event = event(br#"{"ts":1700000000000,"text":"1700000000001","neg":-1,"f":1.5,"s":"soon"}"#);
    for (template, expected) in [
        ("${timestamp}", 1_764_000_000_123),
        ("${.timestamp}", 1_764_000_000_123),
        ("${payload.ts}", 1_700_000_000_000),
        ("${payload.text}", 1_700_000_000_001),
        ("${qos}000", 1000),
        ("42", 42),
        // Not a whole number from 0 on: the time of arrival.
        ("${payload.neg}", 1_764_000_000_123),
        ("${payload.f}", 1_764_000_000_123),
        ("${payload.s}", 1_764_000_000_123),
        ("${payload.none}", 1_764_000_000_123),
        ("", 1_764_000_000_123),
    ] {
        assert_eq!(compile(template).render_timestamp(&event, &mut Vec::new()), expected, "{template}");
    }
}

#[test]
fn what_the_result_depends_on() {
    for (template, expected) in [
        ("constant", Depends::Client),
        ("${clientid}", Depends::Client),
        ("${username.team}/${peerhost}@${node}", Depends::Client),
        ("${clientid}/${topic}", Depends::Topic),
        ("${topic}", Depends::Topic),
        ("${payload.site}", Depends::Event),
        ("${clientid}${qos}", Depends::Event),
        ("${timestamp}", Depends::Event),
        ("${pub_props.User-Property.k}", Depends::Event),
        ("${id}", Depends::Event),
        ("${.}", Depends::Event),
    ] {
        assert_eq!(compile(template).depends(), expected, "{template}");
    }
}

#[test]
fn what_cannot_be_is_an_error_that_points_at_it() {
    for (template, pointed_at, what, remedy) in [
        ("a-${clentid}", "clentid", "a PUBLISH has no `clentid`", "did you mean `clientid`?"),
        ("${client_id}", "client_id", "a PUBLISH has no `client_id`", "did you mean `clientid`?"),
        ("${.paylod.a}", "paylod", "a PUBLISH has no `paylod`", "did you mean `payload`?"),
        ("${value}", "value", "a PUBLISH has no `value`", "there are id, clientid, username,"),
        ("${flags.dupp}", "dupp", "`flags` has no `dupp`", "did you mean `dup`?"),
        (
            "${pub_props.user_property}",
            "user_property",
            "`pub_props` has no `user_property`",
            "did you mean `User-Property`?",
        ),
        ("${pub_props[1]}", "[1]", "`pub_props` is not an array", "name a member"),
        ("${qos.x}", "x", "`qos` is a plain value", "end the placeholder after `qos`"),
        ("${timestamp[1]}", "[1]", "`timestamp` is a plain value", "end the placeholder"),
        ("${flags.dup.x}", "x", "`dup` is a plain value", "end the placeholder"),
        ("${clientid", "${clientid", "not closed", "write }"),
        ("${}", "}", "a name is missing", "${.} for everything"),
        ("${payload..a}", ".", "a name is missing", "write a path"),
        ("${payload.}", "}", "a name is missing", "write a path"),
        ("${[1]}", "[", "a name is missing", "write a path"),
        ("${payload[0]}", "[0]", "no element 0", "count from 1"),
        ("${payload[x]}", "[x]", "not a whole number", "count from 1"),
        ("${payload[99999999999]}", "[99999999999]", "not a whole number", "count from 1"),
        ("${payload[1}", "[1", "not closed", "count from 1"),
        ("${payload[1]x}", "x", "cannot stand here", "write a path"),
        ("${pay$load}", "$", "cannot stand here", "write a path"),
        ("${ clientid }", " clientid ", "a space", "write `clientid`"),
        ("ü${clientid.é}${nö}", "nö", "a PUBLISH has no `nö`", "there are id,"),
    ] {
        let Err(TemplateError { span, what: got_what, remedy: got_remedy }) =
            Template::compile(template, Columns::Publish)
        else {
            panic!("{template} compiles");
        };
        assert_eq!(&template[span], pointed_at, "{template}");
        assert!(got_what.contains(what), "{template}: {got_what}");
        assert!(got_remedy.contains(remedy), "{template}: {got_remedy}");
    }
}

#[test]
fn any_text_compiles_or_says_why() {
    // Every string of up to five of these: nothing may panic, and every error points into the text at character borders.
    let alphabet = ["$", "{", "}", ".", "[", "]", "1", "é", "payload", "${"];
    let mut texts = vec![String::new()];
    for _ in 0..5 {
        texts = texts.iter().flat_map(|text| alphabet.iter().map(move |next| format!("{text}{next}"))).collect();
        for text in &texts {
            if let Err(error) = Template::compile(text, Columns::Publish) {
                assert!(text.get(error.span.clone()).is_some(), "{text}: {error:?}");
            }
        }
    }
}

#[test]
fn a_warm_scratch_does_not_grow() {
    let event = event(&[b'x'; 300]);
    let mut scratch = Vec::new();
    let template = compile("${.}");
    let warm = template.render(&event, &mut scratch).map(<[u8]>::len);
    let (room, place) = (scratch.capacity(), scratch.as_ptr());
    for _ in 0..100 {
        assert_eq!(template.render(&event, &mut scratch).map(<[u8]>::len), warm);
    }
    assert_eq!((scratch.capacity(), scratch.as_ptr()), (room, place));
}

#[test]
fn ids_are_unique_over_shards_nodes_and_restarts() {
    let mut seen = std::collections::BTreeSet::new();
    for (node, shard, start_ms) in [("a", 0, 1000), ("a", 1, 1000), ("b", 0, 1000), ("a", 0, 2000)] {
        let mut ids = EventIds::new(node, shard);
        for _ in 0..1000 {
            assert!(seen.insert(ids.next(start_ms)));
        }
    }
}
