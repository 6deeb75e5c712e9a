//! The embedded log's listener: node 0 of a Kafka cluster that has no other, for consumers.
//!
//! ```text
//! connection   frames in, frames out, one request after the other
//! api          which APIs and versions there are; header, dispatch
//! fetch …      one file per API: reads its request, writes its answer
//! group        the group coordinator as a pure machine       coordinator   its clock and its waiting clients
//! offsets      what groups have committed, in a file of their own
//! ```
//!
//! It reads segments up to the published ends and nothing else of the engine. What it refuses, on purpose: Produce (records
//! come over MQTT), transactions, topic administration, fetch sessions, static members, the group protocol of KIP-848.
//!
//! Requests come from strangers: they are read with counts and lengths checked against what arrived (`kafka::primitive`);
//! only answers are written with `kafka-protocol`, which allocates whatever an array's length says.

mod api;
mod code;
mod connection;
mod coordinator;
mod delete_groups;
mod describe_cluster;
mod describe_groups;
mod fetch;
mod find_coordinator;
mod group;
mod heartbeat;
mod join_group;
mod leave_group;
mod list_groups;
mod list_offsets;
mod metadata;
mod offset_commit;
mod offset_fetch;
mod offset_for_leader_epoch;
mod offsets;
mod produce;
mod read;
mod sync_group;

use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::log::{Catalogue, LogId, LogReader};
use coordinator::Coordinator;
use offsets::Offsets;

pub use api::Refusal;
pub use offsets::rewritten as rewritten_offsets;

/// Clients at once. Consumers hold two or three connections each; a node that serves more than this wants a real cluster.
const CONNECTIONS_MAX: usize = 256;

/// Bytes of answers that are being read or sent, over all clients: what slow readers can pin.
const ANSWER_BYTES_MAX: usize = 64 << 20;

/// The node's number. There is no other.
const NODE_ID: i32 = 0;

/// What all connections share.
#[derive(Debug)]
pub struct State {
    catalogue: Arc<Catalogue>,
    readers: Vec<Mutex<LogReader>>,
    /// KiB of answers that may still be begun.
    answers: Arc<Semaphore>,
    coordinator: Arc<Coordinator>,
}

impl State {
    /// A listener's state over the logs of `catalogue`; committed offsets are read from, and kept in, its directory.
    ///
    /// # Errors
    /// If the file of committed offsets is there and the disk does not give it.
    pub fn open(catalogue: Arc<Catalogue>) -> io::Result<Self> {
        let offsets = Offsets::open(catalogue.data_dir().join("log").join("groups.json"))?;
        let readers = (0..catalogue.len() as u32).map(|n| Mutex::new(LogReader::new(Arc::clone(&catalogue), LogId(n))));
        Ok(Self {
            readers: readers.collect(),
            answers: Arc::new(Semaphore::new(ANSWER_BYTES_MAX >> 10)),
            coordinator: Arc::new(Coordinator::new(offsets)),
            catalogue,
        })
    }

    /// The reader of a log. Two clients that read one partition take turns.
    fn reader(&self, log: LogId) -> MutexGuard<'_, LogReader> {
        // An index that a panic left half grown only makes the next walk longer.
        self.readers[log.0 as usize].lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Room for an answer of so many bytes, if there is as much now.
    fn room(&self, bytes: usize) -> Option<OwnedSemaphorePermit> {
        let kib = u32::try_from(bytes.div_ceil(1 << 10)).ok()?;
        Arc::clone(&self.answers).try_acquire_many_owned(kib).ok()
    }

    /// The log of a partition; `None` where there is no such topic or partition.
    fn log(&self, topic: &str, partition: i32) -> Option<LogId> {
        self.catalogue.topic(topic)?.log(u32::try_from(partition).ok()?)
    }
}

/// Answers one request without a socket: a frame without its length field, to the answer with it.
///
/// # Errors
/// Where the client's connection would be closed.
pub async fn answer(state: &Arc<State>, peer: SocketAddr, local: SocketAddr, frame: &[u8]) -> Result<Vec<u8>, Refusal> {
    api::answer(state, peer, local, frame).await.map(|answer| answer.frame)
}

/// Serves Kafka clients until the future is dropped, which also closes their connections.
///
/// # Errors
/// If the listening socket breaks.
pub async fn serve(listener: TcpListener, state: Arc<State>) -> io::Result<()> {
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let mut clients = tokio::task::JoinSet::new();
    clients.spawn(Arc::clone(&state.coordinator).run());
    loop {
        let (stream, peer) = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(error) if is_of_one_client(&error) => continue,
            Err(error) if is_shortage(&error) => {
                tokio::time::sleep(SHORTAGE_PAUSE).await;
                continue;
            }
            Err(error) => return Err(error),
        };
        while clients.try_join_next().is_some() {}
        let Ok(place) = Arc::clone(&places).try_acquire_owned() else {
            tracing::warn!(%peer, "the embedded log refuses a Kafka client: {CONNECTIONS_MAX} are connected");
            continue;
        };
        let state = Arc::clone(&state);
        clients.spawn(async move {
            match connection::run(stream, peer, &state).await {
                Ok(()) => {}
                Err(end) if end.is_our_mistake() => {
                    tracing::error!(%peer, "a Kafka client could not be answered: {end}")
                }
                Err(end) => tracing::debug!(%peer, "a Kafka client's connection ended: {end}"),
            }
            drop(place);
        });
    }
}

/// How long to wait for descriptors or memory before the next accept.
const SHORTAGE_PAUSE: Duration = Duration::from_millis(100);

fn is_of_one_client(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset)
}

fn is_shortage(error: &io::Error) -> bool {
    use rustix::io::Errno;
    let shortages = [Errno::MFILE, Errno::NFILE, Errno::NOBUFS, Errno::NOMEM];
    error.raw_os_error().is_some_and(|code| shortages.iter().any(|errno| errno.raw_os_error() == code))
}

#[cfg(test)]
mod tests;
