//! Where received bytes lie until they are whole packets.
//!
//! All connections of a shard read into one buffer. What is left of it after parsing, a partial packet, is short as a rule:
//! it is kept with its connection and copied in front of the next read. A longer packet gets a buffer of its own, which
//! grows as its bytes arrive and which reads go straight into, so that a large packet in small pieces is not copied again
//! with every piece.
//!
//! ```text
//! shared:  | headroom 8 KiB: the tail of last time ends here | up to 256 KiB of fresh bytes |
//! own:     | filled ........................ | spare | (grows up to `need`)
//! ```

/// A connection that is held with more than this unread keeps the buffer it was read into; less is copied.
pub const KEEP_BUFFER_BYTES: usize = 64 << 10;
/// Longest partial packet that is copied in front of the next read.
pub const TAIL_BYTES_MAX: usize = 4 << 10;
/// Room in front of the shared buffer's fresh bytes.
pub const HEADROOM_BYTES: usize = 8 << 10;
/// A first read; a connection that fills its reads gets twice as much each time, up to [`READ_BYTES_MAX`].
pub const READ_BYTES: usize = 32 << 10;
/// Largest read.
pub const READ_BYTES_MAX: usize = 256 << 10;
/// Largest first size of a buffer of one's own: no allocation from a length field alone.
const OWN_BYTES_MAX_AT_FIRST: usize = 16 << 10;

/// Bytes of one connection that are received and not parsed.
#[derive(Debug, Default)]
pub struct Unread {
    bytes: Vec<u8>,
    /// Where they begin: what was consumed before is not moved away. 0 for a packet that is read straight into its buffer.
    start: usize,
    filled: usize,
    /// Length of the packet these bytes begin, if it is known and longer than a tail.
    need: usize,
}

impl Unread {
    /// Keeps `rest`, the beginning of a packet of `need` bytes (0 if that is not known).
    pub fn keep(&mut self, rest: &[u8], need: usize) {
        if self.bytes.capacity() > TAIL_BYTES_MAX && rest.len() <= TAIL_BYTES_MAX {
            self.bytes = Vec::new();
        }
        self.bytes.clear();
        // Not more than that: a buffer that only ever holds tails stays within what a connection costs anyway.
        self.bytes.reserve_exact(rest.len());
        self.bytes.extend_from_slice(rest);
        self.start = 0;
        self.filled = rest.len();
        self.need = if need > TAIL_BYTES_MAX { need } else { 0 };
    }

    /// Whether reads go straight into this buffer.
    #[inline]
    pub fn is_large(&self) -> bool {
        self.need > 0
    }

    /// The bytes kept.
    #[inline]
    pub fn bytes(&self) -> &[u8] {
        &self.bytes[self.start..self.filled]
    }

    /// How many bytes the next growth of a large buffer adds; 0 while there is spare room.
    pub fn growth(&self) -> usize {
        if self.filled < self.bytes.len() {
            return 0;
        }
        self.next_len() - self.bytes.len()
    }

    /// Doubles, but by halves of the packet's length: a last growth by a few bytes would copy all the others.
    fn next_len(&self) -> usize {
        let mut len = self.need;
        while len > OWN_BYTES_MAX_AT_FIRST && len.div_ceil(2) > self.filled {
            len = len.div_ceil(2);
        }
        len
    }

    /// Room for a read into a large buffer; never reaches beyond the packet.
    pub fn spare(&mut self) -> &mut [u8] {
        if self.filled == self.bytes.len() {
            let len = self.next_len();
            self.bytes.reserve_exact(len - self.bytes.len());
            self.bytes.resize(len, 0);
        }
        &mut self.bytes[self.filled..]
    }

    /// Notes a read of `n` bytes into [`spare`](Self::spare); whether the packet is whole now.
    pub fn filled(&mut self, n: usize) -> bool {
        self.filled += n;
        assert!(self.filled <= self.bytes.len(), "a read stays inside its slice");
        self.filled >= self.need
    }

    /// Keeps the buffer with what is unread in it, `start..end`, which ends with a whole packet or in the middle of a short one.
    pub fn keep_buffer(&mut self, buffer: Vec<u8>, start: usize, end: usize) {
        *self = Self { bytes: buffer, start, filled: end, need: 0 };
    }

    /// Takes the bytes out, leaving nothing.
    pub fn take(&mut self) -> Self {
        std::mem::take(self)
    }

    /// Puts what was taken back, without its first `consumed` bytes. Gives back the buffer if it was a large one for little.
    pub fn put_back(&mut self, mut taken: Self, consumed: usize, need: usize) -> Option<Vec<u8>> {
        let mut left = None;
        taken.need = if need > TAIL_BYTES_MAX { need } else { 0 };
        let rest = &taken.bytes()[consumed..];
        if taken.bytes.capacity() > TAIL_BYTES_MAX && rest.len() <= TAIL_BYTES_MAX {
            let rest = rest.to_vec();
            (taken.filled, taken.start) = (rest.len(), 0);
            left = Some(std::mem::replace(&mut taken.bytes, rest));
        } else if taken.need > 0 {
            taken.bytes.truncate(taken.filled);
            taken.bytes.drain(..taken.start + consumed);
            (taken.filled, taken.start) = (taken.bytes.len(), 0);
        } else {
            // A held connection tries again for every batch that comes home: moving the rest each time would copy it many times.
            taken.start += consumed;
        }
        *self = taken;
        left
    }

    /// Bytes that came along with a connection from another shard.
    pub fn moved(bytes: Vec<u8>) -> Self {
        Self { filled: bytes.len(), bytes, start: 0, need: 0 }
    }

    /// Bytes allocated.
    pub fn capacity(&self) -> usize {
        self.bytes.capacity()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How many bytes growing copies until a packet that comes in pieces of 1 KiB is whole.
    fn copied_by_growing(need: usize) -> usize {
        let mut unread = Unread::default();
        unread.keep(&[1; 100], need);
        let mut copied_bytes = 0;
        loop {
            let before = unread.growth();
            let held = unread.bytes().len();
            let spare = unread.spare();
            if before > 0 {
                copied_bytes += held;
            }
            let n = spare.len().min(1024);
            spare[..n].fill(7);
            if unread.filled(n) {
                break;
            }
        }
        assert_eq!(unread.bytes().len(), need);
        let whole = unread.take();
        let whole = whole.bytes();
        assert_eq!((whole.len(), whole[99], whole[100]), (need, 1, 7));
        copied_bytes
    }

    #[test]
    fn a_large_packet_in_small_pieces_is_copied_less_than_once_by_growing() {
        for need in [5_000, 16 << 10, (16 << 10) + 1, 100_000, 1 << 20, (1 << 20) + 1, (1 << 20) + 20, 3_000_001] {
            let copied_bytes = copied_by_growing(need);
            assert!(copied_bytes <= need, "{copied_bytes} of {need}");
        }
    }

    #[test]
    fn nothing_is_allocated_from_the_length_alone() {
        let mut unread = Unread::default();
        unread.keep(&[1, 2, 3], 200 << 20);
        assert!(unread.spare().len() <= OWN_BYTES_MAX_AT_FIRST);
    }

    #[test]
    fn what_is_put_back_is_what_was_not_consumed() {
        let mut unread = Unread::default();
        unread.keep(b"abcdef", 0);
        let taken = unread.take();
        unread.put_back(taken, 2, 0);
        assert_eq!(unread.bytes(), b"cdef");
        assert!(!unread.is_large());
    }

    #[test]
    fn what_waits_is_not_moved_until_it_is_short_or_the_beginning_of_a_large_packet() {
        let fresh: Vec<u8> = (0..100_000_u32).map(|i| i as u8).collect();
        let mut unread = Unread::default();
        unread.keep(&fresh, 0);
        let place = unread.bytes().as_ptr();
        for turn in 1..=3 {
            let taken = unread.take();
            assert!(unread.bytes().is_empty());
            assert!(unread.put_back(taken, 1_000, 0).is_none());
            assert_eq!(unread.bytes(), &fresh[1_000 * turn..]);
        }
        assert_eq!(unread.bytes().as_ptr().addr() - place.addr(), 3_000);
        let taken = unread.take();
        unread.put_back(taken, 1_000, 200_000);
        assert!(unread.is_large());
        assert_eq!(unread.bytes(), &fresh[4_000..]);
        let spare = unread.spare();
        let n = spare.len();
        spare.fill(7);
        assert!(n > 0 && n <= 200_000 && !unread.filled(n));
        assert_eq!(unread.bytes().len(), 96_000 + n);
        let taken = unread.take();
        let left = unread.put_back(taken, 96_000 + n - 10, 0).expect("the large buffer");
        assert!(left.len() >= 96_000 + n);
        assert_eq!((unread.bytes(), unread.capacity()), (&[7; 10][..], 10));
    }
}
