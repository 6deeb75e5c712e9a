//! What a Kafka client sends to the embedded log's listener: frames, each a request of any API and version.
//!
//! Promises: no panic; there is no request whose answer cannot be written; an answer is a frame of the length it names, bears the
//! request's number, and is no longer than a small multiple of the request, whatever counts that names.
//!
//! A request that waits, for records, members or the disk, is looked at once, and then its client is gone. Each input meets a
//! coordinator that knows no group. The log is empty: what a reader of segments takes from a disk is `log_recovery`'s.

use std::fs;
use std::future::Future;
use std::net::{Ipv4Addr, SocketAddr};
use std::pin::pin;
use std::sync::{Arc, LazyLock};
use std::task::{Context, Poll, Waker};

use aqueduct::admin::kafka::{Refusal, State, answer};
use aqueduct::log::{self, Catalogue, LogLimits, TopicSpec};
use tokio::runtime::Runtime;

use crate::trail;

/// What an answer may have beside a multiple of its request: the lists that are asked for in one byte.
const ANSWER_BYTES_MIN: usize = 4 * 1024;
/// An unknown name of three bytes is told back with an error and fields of its version.
const ANSWER_TIMES_MAX: usize = 64;

pub(super) const WORDS: &[&[u8]] = &[
    b"\0\x01",
    b"\0\x03",
    b"\0\x0b",
    b"\0\x12",
    b"\0\x01t",
    b"\x02t",
    b"\0\x01g",
    b"\x02g",
    b"\0\0\0\x01",
    b"\xff\xff\xff\xff",
    b"\x7f\xff\xff\xff",
    b"\xff\xff\xff\xff\x0f",
];

/// The node that is asked.
struct Node {
    runtime: Runtime,
    catalogue: Arc<Catalogue>,
}

static NODE: LazyLock<Node> = LazyLock::new(|| {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().max_blocking_threads(1).build();
    let dir = std::env::temp_dir().join(format!("aqueduct-fuzz-{}", std::process::id()));
    let limits = LogLimits { segment_bytes: 1 << 20, retention_bytes: u64::MAX, retention_ms: u64::MAX };
    let opened = log::open(&dir, &[TopicSpec { name: "t".to_owned(), partitions: 2, limits }]);
    let catalogue = opened.expect("a log in the temporary directory").catalogue;
    // Nothing is written or read there from now on.
    fs::remove_dir_all(&dir).expect("what was made");
    Node { runtime: runtime.expect("a runtime"), catalogue }
});

/// Asks each.
pub(super) fn run(bytes: &[u8]) {
    let node = &*NODE;
    let _entered = node.runtime.enter();
    let state = Arc::new(State::open(Arc::clone(&node.catalogue)).expect("no file of offsets"));
    let mut rest = bytes;
    while let Some((len, behind)) = rest.split_first_chunk() {
        let len = usize::try_from(i32::from_be_bytes(*len)).unwrap_or(usize::MAX);
        let Some((request, others)) = behind.split_at_checked(len) else { return };
        if !ask(&state, request) {
            return;
        }
        rest = others;
    }
}

/// Asks once; whether the connection stays open.
fn ask(state: &Arc<State>, request: &[u8]) -> bool {
    let from = SocketAddr::from((Ipv4Addr::LOCALHOST, 9092));
    let asked = pin!(answer(state, from, from, request));
    // A Fetch that waits comes back by itself, and nobody takes it.
    let Poll::Ready(answered) = asked.poll(&mut Context::from_waker(Waker::noop())) else {
        trail::mark(55, key_and_version(request));
        return false;
    };
    match answered {
        Ok(frame) => {
            assert_eq!(frame[..4], (frame.len() as i32 - 4).to_be_bytes());
            assert_eq!(frame[4..8], request[4..8], "another request's number");
            let most = ANSWER_BYTES_MIN + ANSWER_TIMES_MAX * request.len();
            assert!(frame.len() <= most, "{} bytes for {}", frame.len(), request.len());
            trail::mark(56, key_and_version(request));
            trail::mark_size(57, frame.len());
            true
        }
        Err(Refusal::Encode(why)) => panic!("{why}"),
        Err(refusal) => {
            trail::mark_text(58, &refusal.to_string());
            trail::mark(59, key_and_version(request));
            false
        }
    }
}

fn key_and_version(request: &[u8]) -> u64 {
    request.first_chunk().map_or(0, |bytes| u64::from(u32::from_be_bytes(*bytes)))
}
