//! What readers may see of one partition's log: written by the thread that syncs, read by the listener.
//!
//! The order of the writer's steps is the guarantee. Append: bytes, `fdatasync` (and the directory's sync where the file is
//! new), then [`PublishedEnds::appended`], which names the segment before it moves the end; so whoever has read an end
//! finds the segment of every record below it. Delete: [`PublishedEnds::retired`], then the file goes; so a reader that
//! misses a file finds its offset below `log_start` when it looks again.
//!
//! Behind damage the log goes on at an offset above the last record that is left, so that none is given out twice:
//!
//! ```text
//! log_start ≤ end ≤ next      end = next, except from a start that found damage at the end until the first append
//! ```
//!
//! Readers are told `end`: one that is told more waits for records that are not there. But a consumer that has read what is
//! damaged now stands between `end` and `next`, and stays there until the log has come that far.

use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

/// The published state of one log. Offsets only grow.
#[derive(Debug)]
pub struct PublishedEnds {
    log_start: AtomicI64,
    end: AtomicI64,
    /// Offset of the first record appended since the start.
    resumes_at: i64,
    /// Base offsets of the segments, ascending. Locked by the writer only when a segment comes or goes.
    segments: Mutex<Vec<i64>>,
    /// Base offset of the newest segment, so that the writer need not lock for every append; -1 where there is none.
    newest: AtomicI64,
    /// Rung at every append of any log of the node: long polls wait on it.
    grown: Arc<Notify>,
}

impl PublishedEnds {
    /// The state after recovery: `segments` ascending, `end` one above the last record that can be read, `resumes_at` the
    /// offset of the next that is appended.
    pub fn new(segments: Vec<i64>, end: i64, resumes_at: i64, grown: Arc<Notify>) -> Self {
        let log_start = segments.first().copied().unwrap_or(end);
        let newest = segments.last().copied().unwrap_or(-1);
        assert!(segments.is_sorted() && newest <= resumes_at, "segments ascend and none begins above the next record");
        assert!((log_start..=resumes_at).contains(&end), "the end lies in the log");
        Self {
            log_start: AtomicI64::new(log_start),
            end: AtomicI64::new(end),
            resumes_at,
            segments: Mutex::new(segments),
            newest: AtomicI64::new(newest),
            grown,
        }
    }

    /// Offset of the oldest record that retention has left, or the end of an empty log.
    pub fn log_start(&self) -> i64 {
        self.log_start.load(Ordering::Acquire)
    }

    /// One above the last record that can be read: durable, and not damaged when the log was opened.
    pub fn end(&self) -> i64 {
        self.end.load(Ordering::Acquire)
    }

    /// Offset of the record after those that are durable; above [`Self::end`] where damage lies between.
    pub fn next(&self) -> i64 {
        self.end().max(self.resumes_at)
    }

    /// Whether a consumer may stand at `offset`.
    pub fn contains(&self, offset: i64) -> bool {
        (self.log_start()..=self.next()).contains(&offset)
    }

    /// The segments that hold the records from `log_start` to an `end` read before this call, ascending.
    pub fn segments(&self) -> Vec<i64> {
        self.lock().clone()
    }

    /// The writer's word that everything below `end_offset` is durable and the last of it lies in `segment`.
    pub fn appended(&self, segment: i64, end_offset: i64) {
        if segment > self.newest.load(Ordering::Relaxed) {
            self.lock().push(segment);
            self.newest.store(segment, Ordering::Relaxed);
        }
        self.end.fetch_max(end_offset, Ordering::Release);
        self.grown.notify_waiters();
    }

    /// The writer's word that `segment`, the oldest, is about to be removed. Saying it twice does no harm.
    pub fn retired(&self, segment: i64) {
        let mut segments = self.lock();
        segments.retain(|&base| base != segment);
        let start = segments.first().copied().unwrap_or_else(|| self.end());
        // What is left may hold nothing yet, and begin above the last record that could be read.
        self.end.fetch_max(start, Ordering::Release);
        self.log_start.fetch_max(start, Ordering::Release);
    }

    fn lock(&self) -> MutexGuard<'_, Vec<i64>> {
        // A list of integers is whole whatever happened to the thread that held it.
        self.segments.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn segments_are_named_before_the_end_moves_and_go_with_the_start() {
        let ends = PublishedEnds::new(Vec::new(), 0, 0, Arc::default());
        assert_eq!((ends.log_start(), ends.end()), (0, 0));
        ends.appended(0, 10);
        ends.appended(0, 20);
        ends.appended(20, 30);
        assert_eq!((ends.log_start(), ends.end(), ends.segments()), (0, 30, vec![0, 20]));
        ends.retired(0);
        ends.retired(0);
        assert_eq!((ends.log_start(), ends.end(), ends.segments()), (20, 30, vec![20]));
    }

    #[test]
    fn an_empty_log_starts_at_its_end() {
        let ends = PublishedEnds::new(Vec::new(), 7, 7, Arc::default());
        assert_eq!((ends.log_start(), ends.end()), (7, 7));
        ends.appended(7, 8);
        assert_eq!((ends.log_start(), ends.segments()), (7, vec![7]));
    }

    #[test]
    fn the_end_stays_before_damage_until_the_log_goes_on_behind_it() {
        let ends = PublishedEnds::new(vec![0, 100], 70, 100, Arc::default());
        assert_eq!((ends.log_start(), ends.end(), ends.next()), (0, 70, 100));
        ends.appended(100, 103);
        assert_eq!((ends.log_start(), ends.end(), ends.next()), (0, 103, 103));
    }

    #[test]
    fn a_log_whose_records_are_all_gone_starts_and_ends_where_it_goes_on() {
        let ends = PublishedEnds::new(vec![0, 100], 70, 100, Arc::default());
        ends.retired(0);
        assert_eq!((ends.log_start(), ends.end(), ends.next()), (100, 100, 100));
    }

    #[tokio::test(flavor = "current_thread")]
    async fn an_append_wakes_those_who_wait() {
        let grown: Arc<Notify> = Arc::default();
        let ends = Arc::new(PublishedEnds::new(Vec::new(), 0, 0, grown.clone()));
        let waiting = grown.notified();
        tokio::pin!(waiting);
        waiting.as_mut().enable();
        std::thread::spawn({
            let ends = ends.clone();
            move || ends.appended(0, 1)
        });
        waiting.await;
        assert_eq!(ends.end(), 1);
    }
}
