//! Topics grow, go, are forbidden, are sent poison and lose what they had, and what was acknowledged is where it belongs.
//!
//! Setup: three brokers that each hold every partition, of which two must be in sync; a node with a sink on each of two topics; sixteen
//! clients of every kind in a process that no fault touches, half of them for each topic, which writes down what it sends before it
//! sends it. Action: something happens to the first topic while they publish. Expectation: the ledger finds nothing lost, doubled, out of
//! order, changed or in the wrong place, but for what the row of docs/explanation/faults.md excuses; and the clients of the second
//! topic notice nothing.
//!
//! `topics_change_under_load.rs` tells, for single clients and to the packet, what each of these rows looks like from outside.

use aqueduct_tests::support::chaos::{Chaos, Verdict};
use serde_json::Value;

/// MQTT 5 2.4: not authorized.
const NOT_AUTHORIZED: &str = "135";
/// Longer than a busy machine stops for, and shorter than any of the faults.
const NOTICED_MS: u64 = 1_500;
/// How long neighbours of poison may wait, and how late an alarm may be, where the machine is not slow in everything.
const SOON_MS: u64 = 1_000;

/// What the harness tells of the fault that struck the topic.
#[track_caller]
fn told(verdict: &Verdict, of: &str, name: &str) -> u64 {
    let faults = verdict.json["faults"].as_array().expect("faults");
    let fault = faults.iter().find(|fault| fault["fault"].as_str().is_some_and(|fault| fault.starts_with(of)));
    let number = fault.and_then(|fault| fault[name].as_u64());
    number.unwrap_or_else(|| panic!("no {name} of {of}\n{}", verdict.said()))
}

/// The clients of the other topic kept their connections and had their acknowledgements.
#[track_caller]
fn others_noticed_nothing(verdict: &Verdict, of: &str) {
    assert_eq!(told(verdict, of, "others_disconnects"), 0, "{}", verdict.said());
    let (wait_ms, before_ms) = (told(verdict, of, "others_wait_ms"), told(verdict, of, "others_wait_before_ms"));
    let bound_ms = NOTICED_MS.max(3 * before_ms);
    assert!(wait_ms <= bound_ms, "the other topic waited for {wait_ms} ms, {before_ms} ms before\n{}", verdict.said());
}

/// Row T19: partitions are added while a broker stands still, so that what was placed before has no outcome for seconds. No client's
/// later message comes to a new partition before an earlier one has come to the old: the topic keeps the times at which they came.
#[test]
fn partitions_added_keep_every_client_in_order() {
    // Nobody's window is full before the broker goes on, so there is always something that could overtake.
    let load = ["--rate", "800", "--window", "250"];
    let plan = Chaos::plan("broker-pause=3@3+4,add-partitions=8@4+1").three_brokers().with(&load).calm(4);
    let Some(verdict) = plan.acquitted() else { return };
    assert_eq!(verdict.count("disconnects"), 0, "{}", verdict.said());
    assert!(verdict.count("moved") > 0, "the new partitions were not used\n{}", verdict.said());
}

/// Row T18: a topic is deleted, and made anew three seconds later. What was acknowledged before is gone with it, and nothing else; as long
/// as there is no topic nothing is acknowledged, and the clients that wait for it stay.
#[test]
fn a_topic_deleted_takes_along_what_it_had_and_nothing_else() {
    let Some(verdict) = Chaos::plan("delete-topic@4+3").three_brokers().calm(5).acquitted() else { return };
    assert!(verdict.count("excused") > 0, "the topic had nothing to lose\n{}", verdict.said());
    assert_eq!(told(&verdict, "delete-topic", "struck_acks"), 0, "{}", verdict.said());
    assert_eq!(verdict.count("disconnects"), 0, "{}", verdict.said());
    others_noticed_nothing(&verdict, "delete-topic");
    assert_eq!(verdict.count("acked"), verdict.count("sent"), "the topic made anew is written\n{}", verdict.said());
    assert_eq!(verdict.json["own"]["acked_loss"], 0, "a topic made anew has lost nothing\n{}", verdict.said());
}

/// Row T20: the node may not write to a topic for three seconds. Nothing is acknowledged meanwhile, MQTT 5 clients are told 0x87, those of
/// MQTT 3.1.1 are closed, what was refused is not there; then it goes on.
#[test]
fn a_topic_that_may_not_be_written_acknowledges_nothing_until_it_may() {
    let Some(verdict) = Chaos::plan("deny-topic@4+3").three_brokers().calm(5).acquitted() else { return };
    assert_eq!(told(&verdict, "deny-topic", "struck_acks"), 0, "{}", verdict.said());
    let reasons: Vec<&String> =
        verdict.json["nacks"].as_object().map(|nacks| nacks.keys().collect()).unwrap_or_default();
    assert_eq!(reasons, [NOT_AUTHORIZED], "{}", verdict.said());
    assert_eq!(verdict.count("nacked_present"), 0, "{}", verdict.said());
    assert!(verdict.count("disconnects") > 0, "{}", verdict.said());
    others_noticed_nothing(&verdict, "deny-topic");
    let answered = verdict.count("acked") + verdict.count("nacked");
    assert_eq!(answered, verdict.count("sent"), "then it is written\n{}", verdict.said());
}

/// Row T17: among the messages to a topic are records that it never takes, too large in turn with dated too late. Each of them lies in the
/// dead-letter topic, once, and its publisher is acknowledged; their neighbours are there in order, and wait for less than a second.
#[test]
fn poison_goes_to_the_dead_letters_and_its_neighbours_go_on() {
    let Some(verdict) = Chaos::plan("poison@4+6").three_brokers().calm(4).acquitted() else { return };
    let poison = &verdict.json["poison"];
    // Twice of each kind at least, one behind the other.
    assert!(poison["acked"].as_u64() >= Some(4), "{}", verdict.said());
    assert_eq!(
        (&poison["dead_letters"], &poison["strange"]),
        (&poison["acked"], &Value::from(0)),
        "{}",
        verdict.said()
    );
    assert_eq!(verdict.count("disconnects"), 0, "{}", verdict.said());
    // The other topic has the same brokers and no poison; a refused batch takes some round trips more.
    let bound_ms = SOON_MS.max(3 * told(&verdict, "poison", "others_wait_ms"));
    assert!(told(&verdict, "poison", "struck_wait_ms") < bound_ms, "{}", verdict.said());
    others_noticed_nothing(&verdict, "poison");
}

/// Row T28: all brokers lose their power, and with it what came to a topic in the last two seconds, which all of them had acknowledged. The
/// node says so: its log names the offsets of the lost messages, to the record, within a second of the next acknowledgement.
#[test]
fn what_all_brokers_lost_is_told_to_the_record() {
    let Some(verdict) = Chaos::plan("rack-power-cut@4+2").three_brokers().calm(10).judged() else { return };
    assert!(verdict.count("lost") > 0, "nothing was lost\n{}", verdict.said());
    let alarm = &verdict.json["alarm"];
    assert_eq!((alarm["untold"].as_u64(), alarm["unfounded"].as_u64()), (Some(0), Some(0)), "{}", verdict.said());
    let lost = Value::from(verdict.count("lost"));
    assert_eq!((&alarm["told"], &alarm["counted"]), (&lost, &lost), "{}", verdict.said());
    let bound_ms = SOON_MS.max(2 * alarm["ack_max_ms"].as_u64().expect("a time"));
    assert!(alarm["delay_ms"].as_u64().is_some_and(|delay_ms| delay_ms <= bound_ms), "{}", verdict.said());
    for count in ["ghost", "corrupt", "misrouted", "dup_own", "reorder", "disconnects"] {
        assert_eq!(verdict.count(count), 0, "{count}\n{}", verdict.said());
    }
    assert_eq!(verdict.json["clean"], true, "{}", verdict.said());
}
