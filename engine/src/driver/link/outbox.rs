//! Requests on their way into a socket, whole or in part.

use std::collections::VecDeque;
use std::io::IoSlice;

use crate::shard::io::Request;

/// Pieces offered to the kernel in one call; it takes at most 1024.
const PIECES_MAX: usize = 64;

/// A queue of requests of which the first may be sent in part.
#[derive(Debug, Default)]
pub(in crate::driver) struct Outbox {
    requests: VecDeque<Request>,
    /// Bytes of the first request that the kernel has taken; less than its length.
    taken: usize,
}

impl Outbox {
    pub(in crate::driver) fn push(&mut self, request: Request) {
        assert!(request.cuts.len() == request.batches.len(), "each batch of a request has its cut");
        assert!(request.cuts.is_sorted() && request.cuts.last().is_none_or(|&cut| cut as usize <= request.head.len()));
        self.requests.push_back(request);
    }

    pub(in crate::driver) fn is_empty(&self) -> bool {
        self.requests.is_empty()
    }

    /// Calls `send` with the next bytes in pieces, heads and batches from where they lie; also returns how many bytes
    /// those were.
    pub(super) fn offer<R>(&self, send: impl FnOnce(&[IoSlice<'_>]) -> R) -> (R, usize) {
        let mut pieces = [IoSlice::new(&[]); PIECES_MAX];
        let (mut count, mut bytes, mut skip) = (0, 0, self.taken);
        for piece in self.requests.iter().flat_map(pieces_of) {
            if skip >= piece.len() {
                skip -= piece.len();
                continue;
            }
            if count == PIECES_MAX {
                break;
            }
            let rest = &piece[std::mem::take(&mut skip)..];
            pieces[count] = IoSlice::new(rest);
            count += 1;
            bytes += rest.len();
        }
        (send(&pieces[..count]), bytes)
    }

    /// The kernel took `n` more bytes: `out` gets each request that is out now.
    pub(super) fn advance(&mut self, n: usize, mut out: impl FnMut(Request)) {
        self.taken += n;
        while let Some(first) = self.requests.front() {
            let len = length_of(first);
            if self.taken < len {
                return;
            }
            self.taken -= len;
            out(self.requests.pop_front().expect("it was just looked at"));
        }
        assert!(self.taken == 0, "the kernel takes no more than it was offered");
    }

    pub(super) fn drain_into(self, into: &mut Vec<Request>) {
        into.extend(self.requests);
    }
}

/// A request in the order of the wire: head up to a cut, batch, head up to the next cut, batch, …, rest of the head.
fn pieces_of(request: &Request) -> impl Iterator<Item = &[u8]> {
    let mut from = 0;
    let spliced = request.cuts.iter().zip(&request.batches).flat_map(move |(&cut, batch)| {
        let head = &request.head[from..cut as usize];
        from = cut as usize;
        [head, batch.bytes.as_slice()]
    });
    let last = request.cuts.last().map_or(0, |&cut| cut as usize);
    spliced.chain([&request.head[last..]]).filter(|piece| !piece.is_empty())
}

fn length_of(request: &Request) -> usize {
    request.head.len() + request.batches.iter().map(|batch| batch.bytes.len()).sum::<usize>()
}
