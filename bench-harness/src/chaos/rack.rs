//! The power of all brokers fails at once, and what had been written to the first topic for some time is on none of their disks.
//!
//! Kafka acknowledges what lies in the memory of all replicas that are in sync, so this takes what was acknowledged, and no setting
//! of a producer helps. What can be asked for is that it is told: which offsets. Here both sides are known to the record: what lay in
//! the files between the beginning of the fault and its end, when all brokers are killed and their files cut to what they were.
//!
//! ```text
//! file at the beginning  |#######|            what the disks have
//! file at the end        |############|       what was acknowledged
//! cut                    |#######|            and read before: which message lay at which offset
//! ```

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use miette::{IntoDiagnostic, Result, WrapErr, bail};
use serde::Serialize;

use crate::ledger::batch;
use crate::ledger::book::{Answer, Book};
use crate::ledger::message;
use crate::measure::mono_ns;

/// The segment that a partition of a short run has.
const SEGMENT: &str = "00000000000000000000.log";

/// A file of one replica, and how much of it will survive.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Segment {
    path: PathBuf,
    partition: i32,
    bytes: u64,
}

/// The files of a topic as they lie on the disks of all brokers.
#[derive(Debug, Clone, Default)]
pub(super) struct Disks(Vec<Segment>);

/// What the disks did not have.
#[derive(Debug, Clone, Default)]
pub(super) struct Gone {
    /// By partition and offset: the client and the sequence of the message that lay there.
    records: BTreeMap<(i32, i64), (u32, u32)>,
    /// When the last of the files was cut.
    cut_ns: u64,
}

impl Disks {
    /// Notes how large the files of a topic are in the folders of these brokers.
    pub(super) fn note(folders: &[PathBuf], topic: &str) -> Result<Self> {
        let mut segments = Vec::new();
        for folder in folders {
            let data = folder.join("data");
            for entry in fs::read_dir(&data).into_diagnostic().wrap_err_with(|| data.display().to_string())? {
                let entry = entry.into_diagnostic()?;
                let name = entry.file_name().to_string_lossy().into_owned();
                let partition = name.strip_prefix(topic).and_then(|rest| rest.strip_prefix('-')?.parse().ok());
                let Some(partition) = partition else { continue };
                let path = entry.path().join(SEGMENT);
                let bytes = fs::metadata(&path).into_diagnostic().wrap_err_with(|| path.display().to_string())?.len();
                segments.push(Segment { path, partition, bytes });
            }
        }
        if segments.is_empty() {
            bail!("no broker has a file of topic {topic}");
        }
        Ok(Self(segments))
    }

    /// Cuts the files to what they were. The brokers do not run.
    pub(super) fn cut(&self) -> Result<Gone> {
        let mut records = BTreeMap::new();
        for segment in &self.0 {
            segment.read_rest(&mut records).wrap_err_with(|| segment.path.display().to_string())?;
            segment.cut()?;
        }
        Ok(Gone { records, cut_ns: mono_ns() })
    }
}

impl Segment {
    fn read_rest(&self, found: &mut BTreeMap<(i32, i64), (u32, u32)>) -> Result<()> {
        let bytes = fs::read(&self.path).into_diagnostic()?;
        let kept = (self.bytes as usize).min(bytes.len());
        let first = batch::read(&bytes[..kept], self.partition, 0, &mut |_| {})?;
        batch::read(&bytes, self.partition, first, &mut |record| {
            if let Ok((stamp, _)) = message::parse(record.value.unwrap_or_default()) {
                found.insert((record.partition, record.offset), (stamp.client, stamp.sequence));
            }
        })
        .map(drop)
    }

    fn cut(&self) -> Result<()> {
        let file = File::options().write(true).open(&self.path).into_diagnostic()?;
        file.set_len(self.bytes).into_diagnostic()
    }
}

/// What the product said of a loss beside what it was.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Alarm {
    /// Offsets that the product's log names.
    pub told: u64,
    /// Offsets that its counter counts.
    pub counted: u64,
    /// Lost messages whose offset the log does not name.
    pub untold: u64,
    /// Offsets that the log names and at which no lost message lay.
    pub unfounded: u64,
    /// Of the partitions with a loss, the longest time from the first acknowledgement after the brokers had come back to the line
    /// in the log; absent if one has no line.
    pub delay_ms: Option<u64>,
    /// The longest time from the first attempt to the acknowledgement of what clients of those partitions began after that: how slow
    /// everything is at that time.
    pub ack_max_ms: u64,
}

impl Alarm {
    /// True if what was lost was told to the record, and nothing else was.
    pub(super) fn is_exact(&self) -> bool {
        self.untold == 0 && self.unfounded == 0 && self.told == self.counted
    }
}

/// One line of the product's log.
struct Told {
    partition: i32,
    offsets: RangeInclusive<i64>,
    at_ns: u64,
}

impl Gone {
    /// Compares what the product said with what the judge found `lost`, as client and sequence.
    pub(super) fn compare(
        &self,
        log: &Path,
        topic: &str,
        counted: u64,
        lost: &[(u32, u32)],
        book: &Book,
    ) -> Result<Alarm> {
        let log = fs::read_to_string(log).into_diagnostic().wrap_err_with(|| log.display().to_string())?;
        let told: Vec<Told> = log.lines().filter_map(|line| told(line, topic)).collect();
        let lost: BTreeSet<(u32, u32)> = lost.iter().copied().collect();
        let named = |(partition, offset): &(i32, i64)| {
            told.iter().any(|told| told.partition == *partition && told.offsets.contains(offset))
        };
        let covered: BTreeSet<(u32, u32)> =
            self.records.iter().filter(|(place, _)| named(place)).map(|(_, message)| *message).collect();
        let offsets = told.iter().flat_map(|told| told.offsets.clone().map(move |offset| (told.partition, offset)));
        let is_lost = |place: &(i32, i64)| self.records.get(place).is_some_and(|message| lost.contains(message));
        let (delay_ms, ack_max_ms) = self.delays_ms(&told, &lost, book);
        Ok(Alarm {
            told: told.iter().map(|told| told.offsets.clone().count() as u64).sum(),
            counted,
            untold: lost.difference(&covered).count() as u64,
            unfounded: offsets.filter(|place| !is_lost(place)).count() as u64,
            delay_ms,
            ack_max_ms,
        })
    }

    /// The delay of the alarm, and the longest of an acknowledgement beside it.
    fn delays_ms(&self, told: &[Told], lost: &BTreeSet<(u32, u32)>, book: &Book) -> (Option<u64>, u64) {
        let mut clients: BTreeMap<i32, BTreeSet<u32>> = BTreeMap::new();
        for ((partition, _), message) in self.records.iter().filter(|(_, message)| lost.contains(*message)) {
            clients.entry(*partition).or_default().insert(message.0);
        }
        let (mut longest, mut ack_max_ns) = (Some(0), 0);
        for (partition, clients) in clients {
            let pages = clients.iter().filter_map(|client| book.clients.get(client));
            let acked = pages.flat_map(|page| &page.messages).filter_map(|sent| match sent.answer {
                Answer::Acked(at) if at > self.cut_ns => Some((sent.first_ns, at)),
                _ => None,
            });
            let acked: Vec<(u64, u64)> = acked.collect();
            let first_ns = acked.iter().map(|(_, at)| *at).min();
            let later = acked.iter().filter(|(begun, _)| first_ns.is_some_and(|first_ns| *begun > first_ns));
            ack_max_ns = later.map(|(begun, at)| at - begun).max().unwrap_or(0).max(ack_max_ns);
            let told_ns = told.iter().filter(|told| told.partition == partition).map(|told| told.at_ns).min();
            let delay_ms =
                told_ns.zip(first_ns).map(|(told_ns, first_ns)| told_ns.saturating_sub(first_ns) / 1_000_000);
            longest = longest.zip(delay_ms).map(|(longest, delay_ms): (u64, u64)| longest.max(delay_ms));
        }
        (longest, ack_max_ns / 1_000_000)
    }
}

/// A line about a loss in this topic: its time is in front, in UTC, and its offsets are behind "offsets".
fn told(line: &str, topic: &str) -> Option<Told> {
    let (_, rest) = line.split_once(&format!("topic {topic} partition "))?;
    let (partition, rest) = rest.split_once(": Kafka has lost records that it had acknowledged")?;
    let (_, rest) = rest.split_once("offsets ")?;
    let (first, rest) = rest.split_once(" to ")?;
    let (last, _) = rest.split_once(' ')?;
    Some(Told {
        partition: partition.parse().ok()?,
        offsets: first.parse().ok()?..=last.parse().ok()?,
        at_ns: monotonic_ns(since_midnight_ns(line.split_whitespace().next()?)?),
    })
}

/// The time of day of `2026-11-30T09:24:55.123456Z`.
fn since_midnight_ns(stamp: &str) -> Option<u64> {
    let (_, time) = stamp.strip_suffix('Z')?.split_once('T')?;
    let mut parts = time.split(':');
    let (hours, minutes, seconds) = (parts.next()?, parts.next()?, parts.next()?);
    let whole: u64 = hours.parse::<u64>().ok()? * 3_600 + minutes.parse::<u64>().ok()? * 60;
    let seconds: f64 = seconds.parse().ok()?;
    Some(whole * 1_000_000_000 + (seconds * 1e9) as u64)
}

/// A time of the day before now, on the clock of the book.
fn monotonic_ns(since_midnight_ns: u64) -> u64 {
    const DAY_NS: u64 = 86_400_000_000_000;
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos() as u64;
    let ago_ns = (now % DAY_NS + DAY_NS - since_midnight_ns) % DAY_NS;
    mono_ns().saturating_sub(ago_ns)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::book::{ClientPage, Sent};

    const LINE: &str = "ERROR topic t partition 2: Kafka has lost records that it had acknowledged: offsets 10 to 12 were given out again.";

    #[test]
    fn a_line_of_the_log_tells_partition_offsets_and_time() {
        let line = format!("2026-11-30T01:02:03.500000Z {LINE}");
        let found = told(&line, "t").unwrap();
        assert_eq!((found.partition, found.offsets), (2, 10..=12));
        assert_eq!(since_midnight_ns("2026-11-30T01:02:03.500000Z"), Some(3_723_500_000_000));
        assert!(told(&line, "other").is_none());
    }

    #[test]
    fn what_was_lost_has_to_be_told_to_the_record() {
        let log = std::env::temp_dir().join(format!("aqueduct-alarm-{}", std::process::id()));
        fs::write(&log, format!("2026-11-30T01:02:03.500000Z {LINE}\n")).unwrap();
        let sent = Sent { first_ns: 0, attempts: 1, answer: Answer::Acked(1) };
        let page = ClientPage { qos: 1, messages: vec![sent; 4] };
        let book = Book { clients: BTreeMap::from([(7, page)]), ..Book::default() };
        let check = |offsets: [i64; 3], lost: &[u32], untold: u64, unfounded: u64| {
            let records = offsets.into_iter().zip(0_u32..).map(|(offset, sequence)| ((2, offset), (7, sequence)));
            let gone = Gone { records: records.collect(), cut_ns: 0 };
            let lost: Vec<(u32, u32)> = lost.iter().map(|sequence| (7, *sequence)).collect();
            let alarm = gone.compare(&log, "t", 3, &lost, &book).unwrap();
            assert_eq!((alarm.told, alarm.untold, alarm.unfounded), (3, untold, unfounded), "{offsets:?} {lost:?}");
            assert_eq!(alarm.is_exact(), untold + unfounded == 0);
        };
        check([10, 11, 12], &[0, 1, 2], 0, 0);
        check([10, 11, 12], &[0, 1, 2, 3], 1, 0);
        check([10, 11, 12], &[0, 2], 0, 1);
        check([11, 12, 13], &[0, 1, 2], 1, 1);
        fs::remove_file(&log).unwrap();
    }
}
