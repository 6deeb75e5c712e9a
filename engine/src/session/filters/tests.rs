use mqtt::QoS;

use super::*;

fn index() -> FilterIndex {
    FilterIndex::new(ShardId(1), Keyed::new(1, 2))
}

fn plain() -> Subscription {
    Subscription { id: 0, qos: QoS::AtMostOnce, no_local: false, retain_as_published: false }
}

fn sessions(index: &mut FilterIndex, topic: &str, publisher: Option<u32>) -> Vec<u32> {
    let mut matching = Vec::new();
    index.subscribers(topic, publisher, &mut matching);
    let mut sessions: Vec<u32> = matching.iter().map(|s| s.session).collect();
    sessions.sort_unstable();
    sessions
}

const FILTERS: &[&str] = &[
    "#", "+", "/", "a", "a/b", "a/#", "a/+", "+/b", "+/+", "a/b/c", "a/+/c", "a/b/#", "+/+/#", "/+", "+/", "a//c",
    "$SYS/#", "$SYS/+", "$SYS/a", "+/a", "a/+/+/d", "ä/+",
];
const TOPICS: &[&str] = &[
    "a", "b", "/", "a/", "/a", "a/b", "a/b/c", "a//c", "a/x/c", "a/b/c/d", "$SYS", "$SYS/a", "$SYS/a/b", "ä/b",
    "a/$SYS", "+",
];

#[test]
fn the_walk_finds_what_each_filter_by_itself_matches() {
    // [MQTT-4.7.1-1], [MQTT-4.7.1-2], [MQTT-4.7.2-1]
    let mut index = index();
    for (n, filter) in FILTERS.iter().enumerate() {
        index.subscribe(filter, n as u32, plain());
    }
    for topic in TOPICS.iter().filter(|t| mqtt::topic::valid_name(t)) {
        let expected: Vec<u32> =
            (0..).zip(FILTERS).filter(|(_, f)| mqtt::topic::matches(f, topic)).map(|(n, _)| n).collect();
        assert_eq!(sessions(&mut index, topic, None), expected, "{topic}");
        assert_eq!(index.matches(topic), !expected.is_empty(), "{topic}");
    }
}

#[test]
fn an_index_that_was_emptied_is_as_it_was() {
    let mut index = index();
    let ids: Vec<FilterId> = FILTERS.iter().map(|f| index.subscribe(f, 5, plain()).0).collect();
    assert!(index.bytes() > 0);
    for (filter, &id) in FILTERS.iter().zip(&ids) {
        assert_eq!(index.filter(id), *filter);
        assert_eq!(index.find(filter), Some(id));
        assert_eq!(index.unsubscribe(id, 5), Change { shard: true, filter: true });
        assert_eq!(index.find(filter), None);
    }
    assert_eq!((index.bytes(), index.named.len(), index.seats.len()), (0, 0, 0));
    assert_eq!(index.free.len() + 1, index.nodes.len(), "every node but the root is free");
    let nodes = index.nodes.len();
    for filter in FILTERS {
        index.subscribe(filter, 5, plain());
    }
    assert_eq!(index.nodes.len(), nodes, "and used again");
}

#[test]
fn the_others_are_told_of_the_first_and_the_last_subscriber_only() {
    let mut index = index();
    let (id, first) = index.subscribe("a/+", 1, plain());
    assert_eq!(first, Change { shard: true, filter: true });
    assert_eq!(index.subscribe("a/+", 2, plain()), (id, Change::default()));
    assert_eq!(index.subscribe("a/+", 1, plain()), (id, Change::default()), "replaced");
    assert!(!index.note("a/+", ShardId(0), true), "the filter was known");
    let mut shards = Vec::new();
    index.shards("a/x", &mut shards);
    assert_eq!(shards, [ShardId(0), ShardId(1)]);
    assert_eq!(index.unsubscribe(id, 1), Change::default());
    assert_eq!(index.unsubscribe(id, 1), Change::default(), "it was not there");
    assert_eq!(index.unsubscribe(id, 2), Change { shard: true, filter: false });
    assert!(index.matches("a/x"), "another shard still subscribes");
    assert!(index.note("a/+", ShardId(0), false));
    assert!(!index.matches("a/x"));
    assert!(!index.note("a/+", ShardId(0), false) && !index.note("never/heard", ShardId(0), false));
}

#[test]
fn subscribers_leave_in_any_order() {
    let mut index = index();
    let (id, _) = index.subscribe("t", 0, plain());
    for n in 1..100 {
        index.subscribe("t", n, plain());
    }
    let mut left: Vec<u32> = (0..100).collect();
    for n in [0, 99, 50, 98, 1, 49] {
        index.unsubscribe(id, n);
        left.retain(|&other| other != n);
        assert_eq!(sessions(&mut index, "t", None), left);
        assert!(!index.holds(id, n) && left.iter().all(|&n| index.holds(id, n)));
    }
}

#[test]
fn no_local_hides_a_clients_own_publications() {
    // [MQTT-3.8.3-3]
    let mut index = index();
    index.subscribe("t", 1, Subscription { no_local: true, ..plain() });
    index.subscribe("t", 2, plain());
    assert_eq!(sessions(&mut index, "t", Some(1)), [2]);
    assert_eq!(sessions(&mut index, "t", Some(2)), [1, 2]);
    assert_eq!(sessions(&mut index, "t", None), [1, 2]);
}

#[test]
fn a_deep_filter_is_no_deep_call() {
    let mut index = index();
    let filter = vec!["+"; 30_000].join("/");
    let topic = vec!["x"; 30_000].join("/");
    let (id, _) = index.subscribe(&filter, 1, plain());
    assert!(index.matches(&topic));
    assert_eq!(index.filter(id), filter);
    index.unsubscribe(id, 1);
    assert_eq!(index.bytes(), 0);
}
