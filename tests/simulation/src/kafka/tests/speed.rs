//! The model is to cost less than what it is to test: about a microsecond a record.

use std::time::{Duration, Instant};

use ::kafka::message::produce::Acks;

use super::rig::{Rig, batch, plan};
use crate::kafka::Reply;

#[test]
fn a_record_costs_about_a_microsecond() {
    let mut rig = Rig::new(plan(3, 8, 2));
    let values: Vec<Vec<u8>> = (0..8u8).map(|n| vec![n; 60]).collect();
    let values: Vec<&[u8]> = values.iter().map(Vec::as_slice).collect();
    let (requests, partitions) = (2000, 8);
    let mut spent = Duration::ZERO;
    for at in 0..requests {
        let mut by_leader = vec![Vec::new(); 3];
        for partition in 0..partitions {
            let leader = rig.leader(partition).expect("a leader");
            by_leader[leader].push((partition as i32, batch(0, at * 8, &values).seal()));
        }
        for (broker, batches) in by_leader.iter().enumerate() {
            // Sealing is the test's; sending, copying and answering are the model's.
            let began = Instant::now();
            let Reply::Held(token) = rig.send(broker, Acks::AllIsr, 30_000, batches) else {
                panic!("followers copy it")
            };
            rig.run_ms(6);
            spent += began.elapsed();
            let released = rig.released(token).expect("copied by now");
            rig.cluster.recycle(released.frame);
        }
        rig.cluster.committed(|_| {});
    }
    let records = requests as usize * partitions * 8;
    let ns = spent.as_nanos() as usize / records;
    println!("{ns} ns a record, {} ns a request", spent.as_nanos() as usize / (requests as usize * 3));
    assert_eq!(rig.cluster.counts().records as usize, records);
    // Ten times what it takes on a quiet machine.
    assert!(ns < 3000, "{ns} ns a record");
}
