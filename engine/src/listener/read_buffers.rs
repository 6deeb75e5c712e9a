//! The buffers that a shard reads its connections into.
//!
//! One is enough while whatever is read is placed at once. A connection that is held in the middle of a large read keeps the buffer,
//! which costs less than a copy of what is in it, and the shard reads on with another one.

use super::receive::{HEADROOM_BYTES, READ_BYTES_MAX};

/// Length of a buffer: the headroom and the largest read.
pub const READ_BUFFER_BYTES: usize = HEADROOM_BYTES + READ_BYTES_MAX;

/// Idle buffers kept beside the one in use. Those of held connections come and go one by one; what lies idle is not charged, and
/// has to be little beside what shards do not plan with.
const SPARE_MAX: usize = 2;

/// Read buffers of one shard, the one that came back last first: it is still in cache.
#[derive(Debug, Default)]
pub struct ReadBuffers {
    idle: Vec<Vec<u8>>,
}

impl ReadBuffers {
    /// A buffer of [`READ_BUFFER_BYTES`]; what is in it means nothing.
    #[inline]
    pub fn take(&mut self) -> Vec<u8> {
        self.idle.pop().unwrap_or_else(|| vec![0; READ_BUFFER_BYTES])
    }

    /// Takes a buffer back, and drops any other that it is given.
    #[inline]
    pub fn give(&mut self, buffer: Vec<u8>) {
        if buffer.len() == READ_BUFFER_BYTES && self.idle.len() <= SPARE_MAX {
            self.idle.push(buffer);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn idle_buffers_are_used_again_and_are_few() {
        let mut buffers = ReadBuffers::default();
        let buffer = buffers.take();
        let place = buffer.as_ptr();
        assert_eq!(buffer.len(), READ_BUFFER_BYTES);
        buffers.give(vec![0; READ_BUFFER_BYTES - 1]);
        buffers.give(buffer);
        let again = buffers.take();
        assert_eq!(again.as_ptr(), place);
        buffers.give(again);
        let many: Vec<_> = (0..20).map(|_| buffers.take()).collect();
        many.into_iter().for_each(|buffer| buffers.give(buffer));
        assert_eq!(buffers.idle.len(), SPARE_MAX + 1);
    }
}
