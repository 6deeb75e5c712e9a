//! One partition: its batches, and a copy of its log at each broker that holds one.
//!
//! ```text
//! batches   every batch that any copy ever had, in the order of appending; never removed
//! copy      [0, 1, 2, 4, 5]   which of them, in the order of offsets
//!            committed ^  ^ end
//! ```
//!
//! Copies share what they have copied, so a common prefix is a comparison of numbers, and to be truncated costs nothing. It
//! is what leader epochs find out in Kafka (KIP-101, KIP-279): a batch is known by leader epoch and offset, and no two have
//! both in common.
//!
//! Invariants, checked at every election and truncation: who leads has all that was committed, and nobody cuts it off. An outage
//! of all brokers takes the end of it from all of them.

use std::collections::BTreeSet;

use aqueduct::clock::Mono;

use super::batch::{Batch, Record, Records};
use super::held::Token;
use super::producers::Producers;

/// Where a partition belongs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// The topic, in the order of the plan.
    pub topic: u16,
    /// How often the topic was made anew before.
    pub life: u16,
    /// The partition.
    pub partition: u32,
}

/// A batch that some copy has, or had.
#[derive(Debug, Clone, Copy)]
struct Stored {
    batch: Batch,
    base_offset: i64,
    at: usize,
    bytes: u32,
}

impl Stored {
    fn end(&self) -> i64 {
        self.base_offset + i64::from(self.batch.records)
    }
}

/// What the leader knows of the other copies, in one leader epoch.
#[derive(Debug)]
pub(super) struct Lead {
    pub(super) epoch: i32,
    /// Where the log ended when the epoch began.
    since: i64,
    /// Ends of the other copies by broker, -1 before they have asked.
    ends: Vec<i64>,
    /// When they last had everything.
    caught_up: Vec<Mono>,
    /// Requests that wait until an offset is committed.
    waiting: Vec<(i64, Token)>,
}

/// One broker's copy.
#[derive(Debug, Default)]
pub(super) struct Copy {
    /// Indices into the partition's batches, in the order of offsets.
    log: Vec<u32>,
    end: i64,
    /// High watermark, as this broker knows it.
    high: i64,
    /// Batches below it.
    high_count: usize,
    producers: Producers,
    pub(super) lead: Option<Lead>,
    /// The leader epoch for which it was last truncated.
    truncated_in: i32,
    /// It is on the list of what its broker has to fetch.
    pub(super) listed: bool,
}

/// The partition.
#[derive(Debug)]
pub(super) struct Partition {
    pub(super) place: Place,
    /// Brokers that hold a copy, the preferred leader first.
    pub(super) replicas: Vec<u8>,
    pub(super) copies: Vec<Copy>,
    bytes: Vec<u8>,
    batches: Vec<Stored>,
    /// Batches that are committed: so many at the beginning of the leader's log.
    committed: usize,
    committed_last: Option<u32>,
    /// Ids and epochs of producers that were told what is not so: see `Cluster::is_excused`.
    pub(super) misled: BTreeSet<(i64, i16)>,
    /// Those whose first batch here, in a topic made anew, was not their first.
    pub(super) began_amid: BTreeSet<(i64, i16)>,
    /// Those that some copy has forgotten.
    pub(super) forgotten: BTreeSet<(i64, i16)>,
    /// When its producers were last looked through for old ones.
    pub(super) expired_at: Mono,
    /// The newest request that named it.
    pub(super) stamp: u64,
}

impl Partition {
    pub(super) fn new(place: Place, replicas: Vec<u8>, brokers: usize) -> Self {
        Self {
            place,
            replicas,
            copies: (0..brokers).map(|_| Copy { truncated_in: -1, ..Copy::default() }).collect(),
            bytes: Vec::new(),
            batches: Vec::new(),
            committed: 0,
            committed_last: None,
            stamp: 0,
            misled: BTreeSet::new(),
            began_amid: BTreeSet::new(),
            forgotten: BTreeSet::new(),
            expired_at: Mono::default(),
        }
    }

    pub(super) fn producers(&mut self, broker: usize) -> &mut Producers {
        &mut self.copies[broker].producers
    }

    /// What a broker's copy expects next of a producer in an epoch.
    pub(super) fn expects(&self, broker: usize, producer_id: i64, epoch: i16) -> Option<i32> {
        self.copies[broker].producers.expects(producer_id, epoch)
    }

    /// Whether any copy knows a producer, by its id and epoch.
    pub(super) fn is_known(&self, (id, epoch): (i64, i16)) -> bool {
        (0..self.copies.len()).any(|broker| self.expects(broker, id, epoch).is_some())
    }

    /// A broker's high watermark.
    pub(super) fn high(&self, broker: usize) -> i64 {
        self.copies[broker].high
    }

    /// Where the batch with the first record at `offset` ends.
    pub(super) fn end_of(&self, broker: usize, offset: i64) -> i64 {
        let found = self.find(broker, offset).expect("what a producer's state names lies in the log");
        self.batches[found].end()
    }

    fn find(&self, broker: usize, offset: i64) -> Option<usize> {
        let log = &self.copies[broker].log;
        let at = log.binary_search_by_key(&offset, |&index| self.batches[index as usize].base_offset).ok()?;
        Some(log[at] as usize)
    }

    /// A client's batch, appended by a leader, or by a broker that still thinks it is. Returns its offset.
    pub(super) fn append(&mut self, now: Mono, broker: usize, batch: Batch, bytes: &[u8]) -> i64 {
        let index = self.batches.len() as u32;
        let copy = &mut self.copies[broker];
        let base_offset = copy.end;
        self.batches.push(Stored { batch, base_offset, at: self.bytes.len(), bytes: bytes.len() as u32 });
        self.bytes.extend_from_slice(bytes);
        let lead = copy.lead.as_mut().expect("only a leader appends");
        for (end, caught_up) in lead.ends.iter().zip(&mut lead.caught_up) {
            if *end == base_offset {
                *caught_up = now;
            }
        }
        copy.push(index, &self.batches[index as usize]);
        base_offset
    }

    /// The broker leads from now on, as far as it knows. Requests that wait go on waiting.
    pub(super) fn lead(&mut self, now: Mono, broker: usize, epoch: i32) {
        assert!(
            self.has_committed(broker),
            "the model of Kafka is wrong: broker {broker} leads {:?} without what was committed",
            self.place
        );
        let brokers = self.copies.len();
        let copy = &mut self.copies[broker];
        let waiting = copy.lead.take().map(|lead| lead.waiting).unwrap_or_default();
        let (ends, caught_up) = (vec![-1; brokers], vec![now; brokers]);
        copy.lead = Some(Lead { epoch, since: copy.end, ends, caught_up, waiting });
    }

    /// The broker does not lead any more. Returns the requests that wait.
    pub(super) fn follow(&mut self, broker: usize) -> Vec<(i64, Token)> {
        self.copies[broker].lead.take().map(|lead| lead.waiting).unwrap_or_default()
    }

    /// `token` waits until everything below `offset` is committed at `broker`.
    pub(super) fn wait(&mut self, broker: usize, offset: i64, token: Token) {
        self.copies[broker].lead.as_mut().expect("a leader").waiting.push((offset, token));
    }

    /// Follower `to` asks leader `from`, and gets at most `batches_max`. Returns how many batches were cut off its log, and
    /// whether it has everything now.
    pub(super) fn replicate(&mut self, now: Mono, from: usize, to: usize, batches_max: usize) -> (usize, bool) {
        let epoch = self.copies[from].lead.as_ref().expect("a leader is asked").epoch;
        let mut cut = 0;
        if self.copies[to].truncated_in != epoch {
            cut = self.truncate(from, to);
            self.copies[to].truncated_in = epoch;
        }
        let [leader, follower] = self.copies.get_disjoint_mut([from, to]).expect("two brokers");
        for &index in leader.log[follower.log.len()..].iter().take(batches_max) {
            follower.push(index, &self.batches[index as usize]);
        }
        let lead = leader.lead.as_mut().expect("a leader is asked");
        lead.ends[to] = follower.end;
        if follower.end == leader.end {
            lead.caught_up[to] = now;
        }
        let count = leader.high_count.min(follower.log.len());
        if count > follower.high_count {
            follower.high_count = count;
            follower.high = leader.high.min(follower.end);
        }
        (cut, follower.end == leader.end)
    }

    /// Cuts off what the leader does not have.
    fn truncate(&mut self, from: usize, to: usize) -> usize {
        let (leader, follower) = (&self.copies[from].log, &self.copies[to].log);
        let kept = leader.iter().zip(follower).take_while(|(a, b)| a == b).count();
        let cut = follower.len() - kept;
        if cut == 0 {
            return 0;
        }
        assert!(
            kept >= self.committed || !self.has_committed(to),
            "the model of Kafka is wrong: broker {to} cuts off committed batches of {:?}",
            self.place
        );
        self.cut(to, kept);
        cut
    }

    /// A copy keeps the first so many of its batches, and knows what they tell.
    fn cut(&mut self, broker: usize, kept: usize) {
        let log = std::mem::take(&mut self.copies[broker].log);
        let copy = &mut self.copies[broker];
        (copy.end, copy.producers) = (0, Producers::default());
        for &index in log.iter().take(kept) {
            copy.push(index, &self.batches[index as usize]);
        }
        copy.high = copy.high.min(copy.end);
        copy.high_count = copy.high_count.min(kept);
    }

    /// All brokers are down, and have written so many of the committed batches. Returns those that were committed and are gone.
    pub(super) fn lose(&mut self, kept: usize) -> Vec<u32> {
        let whole =
            (0..self.copies.len()).find(|&broker| self.has_committed(broker)).expect("somebody has what was committed");
        let lost = self.copies[whole].log[kept..self.committed].to_vec();
        for broker in 0..self.copies.len() {
            for &index in self.copies[broker].log.get(kept..).unwrap_or_default() {
                let Batch { producer_id, producer_epoch, .. } = self.batches[index as usize].batch;
                self.misled.insert((producer_id, producer_epoch));
                self.forgotten.insert((producer_id, producer_epoch));
            }
            self.cut(broker, kept);
        }
        self.committed = kept;
        self.committed_last = kept.checked_sub(1).map(|last| self.copies[whole].log[last]);
        lost
    }

    /// How many batches are committed.
    pub(super) fn committed(&self) -> usize {
        self.committed
    }

    /// Whether everything committed lies in a broker's copy.
    fn has_committed(&self, broker: usize) -> bool {
        let Some(last) = self.committed.checked_sub(1) else { return true };
        self.copies[broker].log.get(last) == self.committed_last.as_ref()
    }

    /// Whether a follower may be taken into the set of those in sync.
    pub(super) fn is_caught_up(&self, leader: usize, follower: usize) -> bool {
        let copy = &self.copies[leader];
        copy.lead.as_ref().is_some_and(|lead| {
            let end = lead.ends[follower];
            end >= copy.high && end >= lead.since
        })
    }

    /// Whether a follower has not had everything since `since`.
    pub(super) fn lags(&self, leader: usize, follower: usize, since: Mono) -> bool {
        let copy = &self.copies[leader];
        copy.lead.as_ref().is_some_and(|lead| lead.ends[follower] != copy.end && lead.caught_up[follower] < since)
    }

    /// Moves the leader's high watermark to what all brokers in `isr` (a bit each) have. Newly committed batches go to
    /// `fresh`, requests that have waited for it to `woken`.
    pub(super) fn advance(&mut self, broker: usize, isr: u16, fresh: &mut Vec<u32>, woken: &mut Vec<Token>) {
        let copy = &mut self.copies[broker];
        let lead = copy.lead.as_mut().expect("a leader advances");
        let others = (0..lead.ends.len()).filter(|&other| other != broker && isr >> other & 1 == 1);
        let high = others.map(|other| lead.ends[other]).fold(copy.end, i64::min);
        if high <= copy.high {
            return;
        }
        copy.high = high;
        while copy.log.get(copy.high_count).is_some_and(|&index| self.batches[index as usize].end() <= high) {
            copy.high_count += 1;
        }
        if copy.high_count > self.committed {
            fresh.extend_from_slice(&copy.log[self.committed..copy.high_count]);
            self.committed = copy.high_count;
            self.committed_last = copy.log.get(self.committed - 1).copied();
        }
        lead.waiting.retain(|&(offset, token)| {
            if offset <= high {
                woken.push(token);
            }
            offset > high
        });
    }

    /// A batch for whoever checks what is in the logs.
    pub(super) fn show(&self, index: u32) -> Committed<'_> {
        let stored = &self.batches[index as usize];
        let bytes = &self.bytes[stored.at..stored.at + stored.bytes as usize];
        Committed {
            place: self.place,
            base_offset: stored.base_offset,
            records: stored.batch.records,
            producer_id: stored.batch.producer_id,
            producer_epoch: stored.batch.producer_epoch,
            base_sequence: stored.batch.base_sequence,
            bytes,
        }
    }

    /// The batches in a broker's copy.
    pub(super) fn log(&self, broker: usize) -> impl Iterator<Item = Committed<'_>> {
        self.copies[broker].log.iter().map(|&index| self.show(index))
    }
}

impl Copy {
    fn push(&mut self, index: u32, stored: &Stored) {
        assert_eq!(stored.base_offset, self.end, "the model of Kafka is wrong: a log with a hole");
        self.producers.appended(&stored.batch, stored.base_offset);
        self.log.push(index);
        self.end = stored.end();
    }
}

/// A batch in a log.
#[derive(Debug, Clone, Copy)]
pub struct Committed<'a> {
    /// Which partition's.
    pub place: Place,
    /// Offset of its first record.
    pub base_offset: i64,
    /// How many records it has.
    pub records: u32,
    /// The producer's id, -1 without.
    pub producer_id: i64,
    /// The producer's epoch, -1 without.
    pub producer_epoch: i16,
    /// Sequence of its first record, -1 without.
    pub base_sequence: i32,
    bytes: &'a [u8],
}

impl<'a> Committed<'a> {
    /// Its records, in order.
    pub fn records(&self) -> impl Iterator<Item = Record<'a>> + use<'a> {
        Records::of(self.bytes)
    }
}
