//! A partition begins a new producer epoch when its own open batches are answered, and does not wait for the other
//! partitions of its producer. That is safe only if a broker remembers epochs for each partition by itself.
//!
//! Setup: a topic of two partitions, one producer. Action: epoch 1 on partition 0 while partition 1 stays at epoch 0.
//! Expectation: both are taken, also in one request; epoch 0 is over where epoch 1 has begun, and only there.

use aqueduct_tests::support::kafka::Kafka;

use crate::broker::{Batch, Broker, Producer};

const STORED: i16 = 0;
const OUT_OF_ORDER_SEQUENCE_NUMBER: i16 = 45;
const INVALID_PRODUCER_EPOCH: i16 = 47;

#[test]
fn a_new_epoch_on_one_partition_leaves_the_others_alone() {
    let Some(kafka) = Kafka::shared() else { return };
    kafka.create_topic("epochs", 2);
    let mut broker = Broker::connect(kafka.bootstrap());
    let id = broker.producer().id;
    let batch = |partition, epoch, base_sequence| Batch { partition, producer: Producer { id, epoch }, base_sequence };
    let mut check = |batches: &[Batch], expected: &[i16]| assert_eq!(broker.produce("epochs", batches), expected);

    check(&[batch(0, 0, 0), batch(1, 0, 0)], &[STORED, STORED]);
    check(&[batch(0, 1, 0)], &[STORED]);
    check(&[batch(1, 0, 1)], &[STORED]);
    check(&[batch(0, 1, 1), batch(1, 0, 2)], &[STORED, STORED]);
    check(&[batch(0, 0, 1)], &[INVALID_PRODUCER_EPOCH]);
    check(&[batch(1, 1, 0)], &[STORED]);
    check(&[batch(1, 0, 3)], &[INVALID_PRODUCER_EPOCH]);
    assert_eq!(kafka.read_count("epochs", 7).len(), 7);
}

#[test]
fn a_new_epoch_begins_at_sequence_0() {
    let Some(kafka) = Kafka::shared() else { return };
    kafka.create_topic("epoch-begins", 1);
    let mut broker = Broker::connect(kafka.bootstrap());
    let id = broker.producer().id;
    let batch = |epoch, base_sequence| Batch { partition: 0, producer: Producer { id, epoch }, base_sequence };
    let mut check = |batch, expected: i16| assert_eq!(broker.produce("epoch-begins", &[batch]), [expected]);

    check(batch(0, 0), STORED);
    check(batch(1, 1), OUT_OF_ORDER_SEQUENCE_NUMBER);
    check(batch(0, 1), STORED);
    check(batch(1, 0), STORED);
}
