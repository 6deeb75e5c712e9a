//! Row T20 of docs/explanation/faults.md, for credentials: brokers do not let a user in any more as whom the node writes. What it writes as
//! others goes on; what it writes as that user waits, and nothing is lost, doubled or out of order when the user is let in again.
//!
//! Setup: three brokers that hold every partition, that know their users by SCRAM and let a login last for three seconds; a node with a
//! connector, a user and a sink for each of two topics; sixteen clients of every kind, half of them for each topic, and the ledger.
//! Action: the first user's credentials are deleted while all publish, and given back when the last login of before is four seconds over.
//! Expectation: nothing is acknowledged of the first topic meanwhile, and nobody is sent away for it: in time a refused login may become a
//! good one, so it is treated as a broker that is away.

use aqueduct_tests::support::chaos::Chaos;
use serde_json::{Value, json};

/// Longer than a busy machine stops for, and shorter than the time without credentials.
const NOTICED_MS: u64 = 1_500;

#[test]
fn until_the_user_is_let_in_again() {
    let Some(verdict) = Chaos::plan("shut-out@3+4").three_brokers().calm(5).acquitted() else { return };
    let fault = &verdict.json["faults"][0];
    let told = |name: &str| fault[name].as_u64().unwrap_or_else(|| panic!("no {name}\n{}", verdict.said()));
    assert_eq!(told("struck_acks"), 0, "{}", verdict.said());
    assert!(told("struck_wait_ms") >= 4_000, "{}", verdict.said());
    assert!(verdict.json["own"]["logins_refused"].as_u64() > Some(0), "{}", verdict.said());
    assert_eq!((verdict.count("disconnects"), &verdict.json["nacks"]), (0, &json!({})), "{}", verdict.said());
    assert_eq!(told("others_disconnects"), 0, "{}", verdict.said());
    let (wait_ms, before_ms) = (told("others_wait_ms"), told("others_wait_before_ms"));
    assert!(wait_ms <= NOTICED_MS.max(3 * before_ms), "the other user's clients waited\n{}", verdict.said());
    assert_eq!(verdict.count("acked"), verdict.count("sent"), "then it goes on\n{}", verdict.said());
    // Sent again under its old numbers, which hold for the producer and not for who has logged in.
    assert_eq!(verdict.json["own"]["possible_duplicate"], Value::from(0), "{}", verdict.said());
}
