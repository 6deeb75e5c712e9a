//! The shard's side of its disk writer: operations go to a thread of their own, results come back with a ring of the bell.
//!
//! The queues are bounded by the shard's memory budget, because every append holds batches that are charged to it.

use std::io;
use std::sync::Arc;
use std::thread::JoinHandle;

use crossbeam::channel::{Sender, unbounded};
use crossbeam::queue::SegQueue;

use super::doorbell::Doorbell;
use crate::log::journal::Journals;
use crate::log::{Catalogue, DiskDone, DiskOp};
use crate::shard::ShardId;

mod journal;
mod segment;
mod writer;

use writer::Work;

/// One shard's disk writer.
#[derive(Debug)]
pub struct Disk {
    /// `None` once the writer has been told to end.
    work: Option<Sender<Work>>,
    done: Arc<SegQueue<DiskDone>>,
    writer: Option<JoinHandle<()>>,
}

impl Disk {
    /// Starts the writer thread of a shard. It finds the directories of the logs in `catalogue` and publishes there how
    /// far they may be read; those of sinks' buffers are in `journals`, and come and go with their sinks.
    pub fn start(
        shard: ShardId,
        catalogue: Option<Arc<Catalogue>>,
        journals: Journals,
        bell: Arc<Doorbell>,
    ) -> io::Result<Self> {
        let (sender, incoming) = unbounded();
        let done = Arc::new(SegQueue::new());
        let mut writer = writer::Writer::new(catalogue, journals);
        let results = Arc::clone(&done);
        let run = move || {
            loop {
                let first = if writer.has_reads() { incoming.try_recv().ok() } else { incoming.recv().ok() };
                match first {
                    // Everything that queued up while the last sync ran shares the next one.
                    Some(first) => {
                        writer.run(std::iter::once(first).chain(incoming.try_iter()), |result| results.push(result));
                    }
                    None if writer.has_reads() => writer.read_next(|result| results.push(result)),
                    None => break,
                }
                bell.ring();
            }
        };
        let writer = std::thread::Builder::new().name(format!("disk-{}", shard.0)).spawn(run)?;
        Ok(Self { work: Some(sender), done, writer: Some(writer) })
    }

    /// Queues an operation.
    pub(super) fn send(&mut self, op: DiskOp) {
        self.queue(Work::Op(op));
    }

    /// From now on the shard may ask for work on these journals.
    pub(super) fn add(&mut self, journals: Journals) {
        self.queue(Work::Add(journals));
    }

    /// The shard no longer asks for work on the journals of this sink.
    pub(super) fn remove(&mut self, sink: u16) {
        self.queue(Work::Remove { sink });
    }

    fn queue(&mut self, work: Work) {
        let queue = self.work.as_ref().expect("the queue is open as long as the shard runs");
        assert!(queue.send(work).is_ok(), "the disk writer runs as long as the shard does");
    }

    /// The next result.
    pub(super) fn take(&mut self) -> Option<DiskDone> {
        self.done.pop()
    }

    /// Whether no result waits.
    pub(super) fn is_empty(&self) -> bool {
        self.done.is_empty()
    }
}

impl Drop for Disk {
    /// Lets the writer finish what is queued.
    fn drop(&mut self) {
        self.work = None;
        if let Some(writer) = self.writer.take() {
            let _ = writer.join();
        }
    }
}
