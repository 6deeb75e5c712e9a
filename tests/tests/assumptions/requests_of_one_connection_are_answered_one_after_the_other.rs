//! All sealed batches for a broker travel in one Produce, because separate ones on the same link would wait for each other
//! anyway; and a long poll has a link of its own, because everything behind it would wait for it.
//!
//! Setup: a request whose answer is held back, and behind it on the same connection one that could be answered at once.
//! Expectation: the second one is not answered before the first one, while on another connection it is answered at once.

use std::time::{Duration, Instant};

use aqueduct_tests::support::kafka::Kafka;
use aqueduct_tests::support::{peer, wait};

use crate::broker::{Batch, Broker, Producer, produce_codes};

/// Long enough that a request which could be answered would be.
const SOON: Duration = Duration::from_secs(1);

#[test]
fn a_produce_waits_for_the_produce_before_it() {
    // A leader answers acks = all when its follower has caught up. The follower sleeps, and so does half of the quorum
    // that could declare it out of sync.
    let kafka = match Kafka::start(2, "") {
        Ok(kafka) => kafka,
        Err(remedy) => return peer::skip("AQUEDUCT_REQUIRE_KAFKA", &remedy),
    };
    let leader = kafka.bootstrap().split(',').next().expect("two brokers");
    let held = led_by_first(&kafka, "held", 2);
    let free = led_by_first(&kafka, "free", 1);
    let (mut one, mut other) = (Broker::connect(leader), Broker::connect(leader));
    warm_up(&mut other, held, free);

    let follower = kafka.freeze(2);
    let (first, second) = (one.send_produce("held", &[held]), one.send_produce("free", &[free]));
    assert_eq!(other.produce("free", &[free]), [0], "another connection does not wait");
    assert!(!one.answers_within(SOON), "nothing is answered before the first request");

    drop(follower);
    for (id, batch) in [(first, held), (second, free)] {
        let (answered, body) = one.answer();
        assert_eq!(answered, id, "in the order of the requests");
        assert_eq!(produce_codes(&body, &[batch]), [0]);
    }
}

#[test]
fn everything_waits_for_a_long_poll() {
    let Some(kafka) = Kafka::shared() else { return };
    kafka.create_topic("polled", 1);
    let (mut one, mut other) = (Broker::connect(kafka.bootstrap()), Broker::connect(kafka.bootstrap()));
    assert_eq!(other.metadata("polled").topics.len(), 1);

    let (began, waits) = (Instant::now(), 4 * SOON);
    let first = one.send_long_poll("polled", 0, waits.as_millis() as i32);
    let second = one.send_metadata("polled");
    assert_eq!(other.metadata("polled").topics.len(), 1);
    assert!(began.elapsed() < waits && !one.answers_within(SOON / 100), "another connection does not wait");
    assert_eq!(one.answer().0, first);
    assert!(began.elapsed() >= waits, "the first one was held back");
    assert_eq!(one.answer().0, second);
}

/// Creates a topic, and returns a batch for a partition that broker 1 leads.
fn led_by_first(kafka: &Kafka, topic: &str, replicas: i16) -> Batch {
    kafka.create_replicated_topic(topic, 4, replicas);
    let mut broker = Broker::connect(kafka.bootstrap().split(',').next().expect("two brokers"));
    let partition = wait::until("leaders, and all replicas in sync", 20, || {
        let metadata = broker.metadata(topic);
        let partitions = &metadata.topics.first()?.partitions;
        let settled = partitions.iter().all(|partition| partition.in_sync.len() == replicas as usize);
        let led = partitions.iter().find(|partition| partition.leader == 1 && partition.error.is_ok())?;
        (settled && partitions.len() == 4).then_some(led.index)
    });
    Batch { partition, producer: Producer { id: -1, epoch: -1 }, base_sequence: -1 }
}

/// The first batch of a partition costs its broker more than any other.
fn warm_up(broker: &mut Broker, held: Batch, free: Batch) {
    assert_eq!(broker.produce("held", &[held]), [0]);
    assert_eq!(broker.produce("free", &[free]), [0]);
}
