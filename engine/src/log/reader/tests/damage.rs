//! Whatever happens to the files while the node is down: flipped bits, lost tails, zeroed pages, bytes that stand twice. The
//! node starts, a reader is shown whole batches that were written, in order, and comes to the end; the log goes on.

use super::*;

const BATCHES: i64 = 60;
const RECORDS: i64 = 3;

/// xorshift64*, so that a seed replays a case.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) as usize % limit
    }
}

/// Does one thing to the bytes of a segment.
fn spoil(bytes: &mut Vec<u8>, random: &mut Random) {
    if bytes.is_empty() {
        return;
    }
    let at = random.below(bytes.len());
    let to = (at + 1 + random.below(600)).min(bytes.len());
    match random.below(5) {
        0 => bytes[at] ^= 1 << random.below(8),
        1 => bytes.truncate(at),
        2 => bytes[at..to].fill(0),
        3 => drop(bytes.drain(at..to)),
        _ => {
            let again = bytes[at..to].to_vec();
            bytes.splice(at..at, again);
        }
    }
}

/// As a consumer reads from `offset` on: the bytes of every batch by its base offset, and where the consumer stands then.
fn consume(rig: &mut Rig, mut offset: i64) -> (Vec<(i64, Vec<u8>)>, i64) {
    let mut all = Vec::new();
    for _ in 0..=2 * BATCHES {
        let mut out = Vec::new();
        rig.reader.read(offset, 700, true, &mut out).unwrap();
        let Some(last) = headers(&out).last().copied() else { return (all, offset) };
        let mut rest = &out[..];
        for header in headers(&out) {
            let (batch, behind) = rest.split_at(header.batch_bytes);
            all.push((header.base_offset, batch.to_vec()));
            rest = behind;
        }
        offset = last.next_offset();
    }
    panic!("the consumer gets no further than {offset}");
}

fn start_again(rig: &mut Rig) {
    rig.log.reopen();
    rig.reader = LogReader::new(Arc::clone(&rig.log.catalogue), LogId(0));
}

fn case(seed: u64) {
    let mut random = Random(seed);
    let mut rig = Rig::new(&format!("spoilt-{seed}"), 2_000);
    for n in 0..BATCHES {
        rig.append(&[n; RECORDS as usize], &vec![b'a' + (n % 26) as u8; 20 + 7 * n as usize % 200]);
    }
    let (written, _) = consume(&mut rig, 0);
    assert_eq!(written.len() as i64, BATCHES);
    let segments = rig.ends().segments();
    for _ in 0..1 + random.below(4) {
        let path = rig.log.segment(0, segments[random.below(segments.len())]);
        let mut bytes = fs::read(&path).unwrap();
        spoil(&mut bytes, &mut random);
        fs::write(path, bytes).unwrap();
    }

    start_again(&mut rig);
    let (read, stands_at) = consume(&mut rig, 0);
    assert!(read.is_sorted_by(|a, b| a.0 < b.0), "in order, each once");
    assert!(read.iter().all(|batch| written.contains(batch)), "nothing that was not written");
    assert_eq!(stands_at, rig.ends().end(), "the reader comes to the end it is told");
    let next = rig.ends().next();
    for offset in stands_at..=next {
        assert!(rig.read(offset, 700).is_empty());
    }

    // The log goes on, for those who stand at the end.
    rig.append(&[7], b"behind");
    assert_eq!(consume(&mut rig, stands_at).0.iter().map(|batch| batch.0).collect::<Vec<_>>(), [next]);
    start_again(&mut rig);
    let (again, _) = consume(&mut rig, 0);
    assert_eq!(again[..read.len()], read[..], "a second start changes nothing");
    assert_eq!(again.len(), read.len() + 1);
}

#[test]
fn a_reader_comes_to_the_end_whatever_was_spoilt() {
    for seed in 1..=30 {
        let outcome = std::panic::catch_unwind(|| case(seed));
        assert!(outcome.is_ok(), "seed {seed}");
    }
}
