use super::*;

fn check_name(topic: &str, valid: bool) {
    assert_eq!(valid_name(topic), valid, "{topic:?}");
    // The same verdict wherever the special byte stands in its word, and from bytes as from text.
    for pad in 0..20 {
        let padded = format!("{}{topic}", "x".repeat(pad));
        assert_eq!(valid_name(&padded), valid || (topic.is_empty() && pad > 0), "{padded:?}");
        assert_eq!(name(padded.as_bytes()).is_ok(), valid || topic.is_empty(), "{padded:?}");
    }
}

#[test]
fn names_hold_neither_wildcards_nor_nul() {
    // [MQTT-3.3.2-2], [MQTT-4.7.3-1], [MQTT-4.7.3-2], [MQTT-1.5.4-2]
    for topic in ["a", "/", "//", "a/b c", "$SYS/x", "grün/β/😀", "a/b/c/d/e/f/g/h/i/j/k", "*", "\u{1}", ",\"$"] {
        check_name(topic, true);
    }
    for topic in ["", "#", "+", "a/#", "a/+/b", "a+b", "a#", "\0", "a\0b", "aaaaaaaaaaaaaaaa#", "#aaaaaaaaaaaaaaaa"] {
        check_name(topic, false);
    }
}

#[test]
fn reasons_of_refused_names() {
    assert_eq!(name(b"a/\0").unwrap_err().reason, ReasonCode::MalformedPacket);
    assert_eq!(name(b"a/\xff").unwrap_err().reason, ReasonCode::MalformedPacket);
    // [MQTT-1.5.4-1]: a surrogate, an overlong NUL.
    assert_eq!(name(b"\xed\xa0\x80").unwrap_err().clause, "MQTT-1.5.4-1");
    assert_eq!(name(b"\xc0\x80").unwrap_err().clause, "MQTT-1.5.4-1");
    assert_eq!(name(b"a/#").unwrap_err().reason, ReasonCode::TopicNameInvalid);
}

#[test]
fn wildcards_stand_alone_in_their_level() {
    let valid = ["#", "+", "a/#", "+/a", "a/+/b", "/", "//#", "+/+", "/+", "sport/+/player1", "$SYS/#", "a b/ü"];
    for filter in valid {
        assert_eq!(valid_filter(filter), Ok(()), "{filter:?}");
    }
    // [MQTT-4.7.1-1], [MQTT-4.7.1-2], [MQTT-4.7.3-1], [MQTT-4.7.3-2]
    for filter in ["", "a#", "#/a", "a/#/b", "##", "a+", "+a", "a/b+/c", "++", "a/#b", "+#"] {
        assert_eq!(valid_filter(filter).unwrap_err().reason, ReasonCode::TopicFilterInvalid, "{filter:?}");
    }
    assert_eq!(valid_filter("a/\0").unwrap_err().reason, ReasonCode::MalformedPacket);
}

#[test]
fn filters_cover_topics_as_section_4_7_says() {
    let cases = [
        ("sport/tennis/player1/#", "sport/tennis/player1", true),
        ("sport/tennis/player1/#", "sport/tennis/player1/score/wimbledon", true),
        ("sport/#", "sport", true),
        ("sport/#", "sports", false),
        ("#", "a", true),
        ("#", "/a", true),
        ("sport/+", "sport", false),
        ("sport/+", "sport/", true),
        ("sport/+", "sport/a/b", false),
        ("+/+", "/finance", true),
        ("/+", "/finance", true),
        ("+", "/finance", false),
        ("+", "", true),
        ("a/b", "a/b", true),
        ("a/b", "a/B", false),
        ("a/b/", "a/b", false),
        ("a/+/#", "a", false),
        ("a/+/#", "a/b", true),
        // [MQTT-4.7.2-1]
        ("#", "$SYS/a", false),
        ("+/a", "$SYS/a", false),
        ("$SYS/#", "$SYS/a", true),
        ("$SYS/+", "$SYS/a", true),
        ("a/#", "a/$b", true),
        ("a/+", "a/$b", true),
    ];
    for (filter, topic, expected) in cases {
        assert_eq!(matches(filter, topic), expected, "{filter} {topic}");
    }
}

/// The definition, by recursion on levels.
fn matches_by_the_book(filter: &[&str], topic: &[&str]) -> bool {
    match (filter, topic) {
        (["#"], _) => true,
        ([f, filter @ ..], [t, topic @ ..]) => (*f == "+" || f == t) && matches_by_the_book(filter, topic),
        (filter, topic) => filter.is_empty() && topic.is_empty(),
    }
}

proptest::proptest! {
    #[test]
    fn matching_agrees_with_the_book(filter in "[ab+$/]{1,8}(/#)?", topic in "[ab$/]{1,8}") {
        proptest::prop_assume!(valid_filter(&filter).is_ok());
        let split = |s: &'static str| s.split('/').collect::<Vec<_>>();
        let (f, t): (&'static str, &'static str) = (filter.clone().leak(), topic.clone().leak());
        let hidden = topic.starts_with('$') && filter.starts_with(['+', '#']);
        proptest::prop_assert_eq!(matches(&filter, &topic), !hidden && matches_by_the_book(&split(f), &split(t)));
    }

    #[test]
    fn names_agree_with_a_look_at_each_byte(topic in "[a+#\0/é]{0,40}|[a-z/é]{0,40}") {
        let expected = !topic.is_empty() && !topic.contains(['+', '#', '\0']);
        proptest::prop_assert_eq!(valid_name(&topic), expected);
    }
}

#[test]
fn shared_subscriptions_come_apart() {
    let shared = Shared::parse("$share/group/a/+/#").unwrap().unwrap();
    assert_eq!((shared.group, shared.filter), ("group", "a/+/#"));
    assert_eq!(Shared::parse("$share/g//a").unwrap().unwrap().filter, "/a");
    assert_eq!(Shared::parse("$shared/g/a"), Ok(None));
    assert_eq!(Shared::parse("a/b"), Ok(None));
    // [MQTT-4.8.2-1], [MQTT-4.8.2-2]
    for filter in ["$share/", "$share/g", "$share/g/", "$share//a", "$share/+/a", "$share/g#/a", "$share/g/a#"] {
        assert_eq!(Shared::parse(filter).unwrap_err().reason, ReasonCode::TopicFilterInvalid, "{filter}");
    }
}

#[test]
fn limits_count_bytes_and_levels() {
    assert_eq!((levels("a"), levels("/"), levels("a/b/c")), (1, 2, 3));
    assert!(within("a/b/c", 5, 3));
    assert!(!within("a/b/c", 4, 3) && !within("a/b/c", 5, 2));
    assert!(within("", 0, 1));
    assert!(!within("////", 100, 4) && within("////", 100, 5));
}
