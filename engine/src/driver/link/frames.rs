//! The receive buffer of a link, cut into frames by their four length bytes.

use crate::driver::tls::Room;

/// Longest frame a broker may send. A longer one is a peer that does not speak Kafka (a TLS alert reads as 352 MB).
const FRAME_MAX: usize = 64 * 1024 * 1024;
/// Room offered to a read.
const SPACE: usize = 64 * 1024;
/// A buffer that grew beyond this for a long frame is given back once it is empty.
const KEEP_MAX: usize = 1024 * 1024;

/// Bytes received and not yet delivered: `start <= end <= buffer.len()`. The buffer grows with the bytes that have come,
/// never by what a length field claims.
#[derive(Debug, Default)]
pub(in crate::driver) struct Frames {
    buffer: Vec<u8>,
    start: usize,
    end: usize,
}

impl Room for Frames {
    fn space(&mut self) -> &mut [u8] {
        Frames::space(self)
    }

    fn filled(&mut self, n: usize) {
        Frames::filled(self, n);
    }
}

impl Frames {
    /// Room for the next read, at least 64 KiB.
    pub(super) fn space(&mut self) -> &mut [u8] {
        if self.start == self.end {
            (self.start, self.end) = (0, 0);
            if self.buffer.len() > KEEP_MAX {
                self.buffer = Vec::new();
            }
        }
        if self.buffer.len() - self.end < SPACE {
            self.buffer.copy_within(self.start..self.end, 0);
            (self.start, self.end) = (0, self.end - self.start);
            if self.buffer.len() - self.end < SPACE {
                let grown = (self.buffer.len() * 2).max(2 * SPACE);
                self.buffer.resize(grown, 0);
            }
        }
        &mut self.buffer[self.end..]
    }

    /// `n` bytes were read into the space.
    pub(super) fn filled(&mut self, n: usize) {
        self.end += n;
        assert!(self.end <= self.buffer.len(), "a read fits the space it was given");
    }

    /// The next whole frame without its length, and its correlation id.
    pub(in crate::driver) fn next(&mut self) -> Result<Option<(i32, &[u8])>, String> {
        let Some(len) = self.peek()? else { return Ok(None) };
        let body = &self.buffer[self.start + 4..self.start + 4 + len];
        let Some(correlation) = body.first_chunk().map(|b| i32::from_be_bytes(*b)) else {
            return Err(format!("the broker sent a frame of {len} bytes, too short for a response"));
        };
        self.start += 4 + len;
        Ok(Some((correlation, body)))
    }

    /// Length of the first frame if it is here whole.
    fn peek(&self) -> Result<Option<usize>, String> {
        let here = &self.buffer[self.start..self.end];
        let Some(len) = here.first_chunk().map(|b| i32::from_be_bytes(*b)) else { return Ok(None) };
        match usize::try_from(len) {
            Ok(len) if len <= FRAME_MAX => Ok((here.len() - 4 >= len).then_some(len)),
            // An alert record: type 21, version 3.x (RFC 8446, section 5.1).
            _ if here.starts_with(&[21, 3]) => {
                Err("the broker answers in TLS; set tls.enable = true, or dial its plaintext listener".to_string())
            }
            _ => {
                Err(format!("the broker announced a frame of {len} bytes, so it does not speak Kafka's protocol here"))
            }
        }
    }
}
