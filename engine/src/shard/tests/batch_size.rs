//! How large batches get: a batch that Kafka refused for its size makes those after it smaller.

use super::rig::{Rig, publish, settings, sink};
use crate::shard::io::ConnKey;
use crate::sink::Writer;
use crate::sink::script::Script;
use crate::ticket::Outcome;

const STORED: Outcome = Outcome::Stored { base_offset: 0 };

fn script(rig: &mut Rig) -> &mut Script {
    let Writer::Script(script) = &mut rig.shard.writers[0] else { panic!("a script") };
    script
}

/// Publishes ten times 10,000 bytes in one round, and gives the sizes of the batches that came of it.
fn round_of_100_kb(rig: &mut Rig, conn: ConnKey) -> Vec<usize> {
    let bytes: Vec<u8> = (1..=10).flat_map(|id| publish(4, 1, id, "t", &[b'x'; 10_000])).collect();
    rig.feed(conn, &bytes);
    rig.round();
    script(rig).batches().map(|batch| batch.bytes.len()).collect()
}

#[test]
fn batches_after_one_that_was_too_large_are_smaller_and_grow_again() {
    let mut rig = Rig::with_writer(settings(vec![sink()]), Writer::Script(Script::new(Some(1))));
    let conn = rig.connect("c", 4);
    let sizes = round_of_100_kb(&mut rig, conn);
    assert!(matches!(sizes[..], [100_000..=101_000]), "one batch: {sizes:?}");
    script(&mut rig).open[0].too_large = true;
    script(&mut rig).answer(0, STORED);
    rig.after_ms(1);
    let sizes = round_of_100_kb(&mut rig, conn);
    assert!(sizes.len() >= 2 && sizes.iter().all(|&bytes| bytes <= 50_500), "half of what was refused: {sizes:?}");
    let mut rounds = 0;
    while sizes_after_answers(&mut rig, conn) > 1 {
        rounds += 1;
        assert!(rounds < 1_000, "what Kafka takes is tried again, larger step by step");
    }
    assert!(rounds > 100, "not at once: {rounds} rounds");
    rig.assert_nothing_open();
}

/// Answers everything, publishes again, and counts the batches.
fn sizes_after_answers(rig: &mut Rig, conn: ConnKey) -> usize {
    rig.answer_everything();
    round_of_100_kb(rig, conn).len()
}

impl Rig {
    fn answer_everything(&mut self) {
        while !script(self).open.is_empty() {
            script(self).answer(0, STORED);
            self.after_ms(1);
        }
    }

    fn assert_nothing_open(&mut self) {
        self.answer_everything();
        assert_eq!(self.shard.budget.used_bytes(), 0);
        assert_eq!(self.shard.sink_counters[0].matched, self.shard.sink_counters[0].success);
    }
}
