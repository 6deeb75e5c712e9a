//! Start-up on real directories.

use kafka::record_batch::{RawHeaders, Span, Stamp, append, begin, seal, set_base_offset};

use super::*;
use crate::log::LogReader;

const LIMITS: LogLimits = LogLimits { segment_bytes: 1000, retention_bytes: 2500, retention_ms: 600_000 };

/// A directory that goes with the test.
struct Scratch(PathBuf);

impl Scratch {
    fn new(name: &str) -> Self {
        let dir = std::env::temp_dir().join(format!("aqueduct-open-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&dir);
        Self(dir)
    }

    fn segment(&self, partition: u32, base_offset: i64) -> PathBuf {
        segment::partition_dir(&self.0, "mqtt", partition).join(segment::file_name(base_offset))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn topic(name: &str, partitions: u32) -> TopicSpec {
    TopicSpec { name: name.into(), partitions, limits: LIMITS }
}

fn batch(mark: Mark, base_offset: i64, records: u32) -> Vec<u8> {
    let mut bytes = Vec::new();
    begin(&mut bytes);
    for n in 0..records {
        append(&mut bytes, n, 0, None, Some(b"value"), RawHeaders::NONE);
    }
    let span = Span { base_timestamp_ms: 1, max_timestamp_ms: 1, records };
    seal(&mut bytes, &Stamp { base_sequence: mark.0, ..Stamp::plain(&span) });
    set_base_offset(&mut bytes, base_offset, 0);
    bytes
}

#[test]
fn missing_directories_are_made_and_empty_logs_start_at_zero() {
    let scratch = Scratch::new("fresh");
    let opened = open(&scratch.0, &[topic("mqtt", 2), topic("other", 1), topic("mqtt", 3)]).unwrap();
    assert_eq!(opened.logs.len(), 4);
    assert!(opened.logs.iter().enumerate().all(|(n, found)| found.log == LogId(n as u32) && found.next_offset == 0));
    let topics: Vec<_> = opened.catalogue.topics().iter().map(|t| (t.name.as_str(), t.first.0, t.partitions)).collect();
    assert_eq!(topics, [("mqtt", 0, 3), ("other", 3, 1)]);
    assert_eq!(opened.catalogue.place(LogId(3)).segment_path(5).file_name().unwrap(), "00000000000000000005.log");
    assert!(segment::partition_dir(&scratch.0, "mqtt", 2).is_dir());
    assert!(opened.notes.is_empty());
}

#[test]
fn the_mark_and_the_partitions_outlive_a_restart() {
    let scratch = Scratch::new("again");
    let first = open(&scratch.0, &[topic("mqtt", 4)]).unwrap();
    let second = open(&scratch.0, &[topic("mqtt", 2)]).unwrap();
    assert_eq!(first.catalogue.mark(), second.catalogue.mark());
    assert_eq!(second.catalogue.topics()[0].partitions, 4, "fewer in the configuration hides none");
}

#[test]
fn a_torn_tail_is_cut_and_the_next_append_gets_a_fresh_file() {
    let scratch = Scratch::new("torn");
    let mark = open(&scratch.0, &[topic("mqtt", 1)]).unwrap().catalogue.mark();
    let (whole, torn) = (batch(mark, 0, 3), batch(mark, 3, 2));
    fs::write(scratch.segment(0, 0), [&whole[..], &torn[..torn.len() - 1]].concat()).unwrap();
    let opened = open(&scratch.0, &[topic("mqtt", 1)]).unwrap();
    let bases = |opened: &Opened| opened.logs[0].segments.iter().map(|s| (s.base_offset, s.bytes)).collect::<Vec<_>>();
    assert_eq!((opened.logs[0].next_offset, bases(&opened)), (5, vec![(0, whole.len() as u64), (5, 0)]));
    assert_eq!(fs::metadata(scratch.segment(0, 0)).unwrap().len(), whole.len() as u64);
    assert_eq!(opened.notes.len(), 1);
    let ends = &opened.catalogue.place(LogId(0)).ends;
    assert_eq!((ends.log_start(), ends.end(), ends.next(), ends.segments()), (0, 3, 5, vec![0, 5]));
    // A second start has nothing to repair and goes on at the same offset.
    let again = open(&scratch.0, &[topic("mqtt", 1)]).unwrap();
    assert!(again.notes.is_empty());
    assert_eq!((again.logs[0].next_offset, bases(&again)), (5, bases(&opened)));
    let ends = &again.catalogue.place(LogId(0)).ends;
    assert_eq!((ends.end(), ends.next()), (3, 5));
}

#[test]
fn the_end_is_found_behind_segments_that_hold_nothing() {
    let scratch = Scratch::new("nothing");
    let mark = open(&scratch.0, &[topic("mqtt", 1)]).unwrap().catalogue.mark();
    let torn = |base_offset| batch(mark, base_offset, 2)[..70].to_vec();
    let ends = |opened: &Opened| {
        let ends = &opened.catalogue.place(LogId(0)).ends;
        (ends.log_start(), ends.end(), ends.next())
    };
    fs::write(scratch.segment(0, 100), [&batch(mark, 100, 3)[..], &torn(103)].concat()).unwrap();
    assert_eq!(ends(&open(&scratch.0, &[topic("mqtt", 1)]).unwrap()), (100, 103, 105));
    // The first append behind it was torn as well.
    fs::write(scratch.segment(0, 105), torn(105)).unwrap();
    let opened = open(&scratch.0, &[topic("mqtt", 1)]).unwrap();
    assert_eq!(ends(&opened), (100, 103, 107));
    assert_eq!(opened.logs[0].segments.iter().map(|s| s.base_offset).collect::<Vec<_>>(), [100, 105, 107]);
    // Nothing is left anywhere.
    fs::write(scratch.segment(0, 100), batch(mark, 200, 3)).unwrap();
    assert_eq!(ends(&open(&scratch.0, &[topic("mqtt", 1)]).unwrap()), (100, 100, 107));
}

#[test]
fn doubt_above_a_later_segment_is_not_the_end() {
    let scratch = Scratch::new("doubt");
    let mark = open(&scratch.0, &[topic("mqtt", 1)]).unwrap().catalogue.mark();
    // A failed append left three records at 2; the next segment begins there and holds nothing.
    fs::write(scratch.segment(0, 0), [batch(mark, 0, 2), batch(mark, 2, 3)].concat()).unwrap();
    fs::write(scratch.segment(0, 2), b"").unwrap();
    let opened = open(&scratch.0, &[topic("mqtt", 1)]).unwrap();
    let ends = &opened.catalogue.place(LogId(0)).ends;
    assert_eq!((ends.end(), ends.next()), (2, 2));
}

#[test]
fn damage_is_counted_and_stays_where_it_is() {
    let scratch = Scratch::new("damage");
    let mark = open(&scratch.0, &[topic("mqtt", 1)]).unwrap().catalogue.mark();
    let mut bytes = [batch(mark, 100, 3), batch(mark, 103, 3), batch(mark, 106, 3)].concat();
    let third = bytes.len() / 3;
    bytes[third + 65] ^= 0x40;
    fs::write(scratch.segment(0, 100), &bytes).unwrap();
    fs::write(scratch.segment(0, 0), b"older, not looked at").unwrap();
    let opened = open(&scratch.0, &[topic("mqtt", 1)]).unwrap();
    let bases: Vec<_> = opened.logs[0].segments.iter().map(|s| s.base_offset).collect();
    assert_eq!((opened.logs[0].next_offset, bases), (109, vec![0, 100, 109]));
    let damage = opened.catalogue.damage();
    assert_eq!((damage.batches(), damage.bytes()), (1, third as u64));
    // A reader meets it again.
    let mut read = Vec::new();
    LogReader::new(Arc::clone(&opened.catalogue), LogId(0)).read(100, 1 << 20, true, &mut read).unwrap();
    assert_eq!((read.len(), damage.batches()), (2 * third, 1));
    assert_eq!(fs::read(scratch.segment(0, 100)).unwrap(), bytes);
    let ends = &opened.catalogue.place(LogId(0)).ends;
    assert_eq!((ends.log_start(), ends.end(), ends.next()), (0, 109, 109));
}

#[test]
fn a_name_that_leads_out_of_the_directory_is_refused() {
    let scratch = Scratch::new("names");
    for bad in ["../mqtt", "a/b", "", "."] {
        assert!(matches!(open(&scratch.0, &[topic(bad, 1)]), Err(OpenError::TopicName(_))), "{bad}");
    }
}

#[test]
fn a_directory_that_cannot_be_made_is_an_error_with_its_path() {
    let scratch = Scratch::new("file");
    fs::create_dir_all(&scratch.0).unwrap();
    fs::write(scratch.0.join("log"), b"a file in the way").unwrap();
    let error = open(&scratch.0, &[topic("mqtt", 1)]).unwrap_err();
    assert!(error.to_string().contains("make the directory") && error.to_string().contains("log"), "{error}");
}
