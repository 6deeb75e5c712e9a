//! A connection on which questions are put in Kafka's protocol, one at a time, and the bytes of their answers.
//!
//! ```text
//! request   length: i32 | api: i16 | version: i16 | correlation: i32 | client: string | body
//! response  length: i32 | correlation: i32 | body
//! ```

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use miette::{IntoDiagnostic, Result, WrapErr, bail, miette};

/// A connection to one broker.
pub(crate) struct Link {
    stream: TcpStream,
    correlation: i32,
}

impl Link {
    /// Connects; no answer may take longer than `patience`.
    pub(crate) fn open(at: SocketAddr, patience: Duration) -> Result<Self> {
        let stream = TcpStream::connect_timeout(&at, patience).into_diagnostic().wrap_err_with(|| at.to_string())?;
        stream.set_nodelay(true).into_diagnostic()?;
        stream.set_read_timeout(Some(patience)).into_diagnostic()?;
        Ok(Self { stream, correlation: 0 })
    }

    /// Puts a question to an API in one of its versions, and waits for the answer.
    pub(crate) fn ask(&mut self, (api, version): (i16, i16), body: &[u8]) -> Result<Answer> {
        self.correlation += 1;
        let mut request = vec![0; 4];
        request.extend_from_slice(&api.to_be_bytes());
        request.extend_from_slice(&version.to_be_bytes());
        request.extend_from_slice(&self.correlation.to_be_bytes());
        put_text(&mut request, "aqueduct-ledger");
        request.extend_from_slice(body);
        let length = (request.len() - 4) as u32;
        request[..4].copy_from_slice(&length.to_be_bytes());
        self.stream.write_all(&request).into_diagnostic()?;
        let mut length = [0; 4];
        self.stream.read_exact(&mut length).into_diagnostic()?;
        let length = u32::from_be_bytes(length) as usize;
        if length > 256 << 20 {
            bail!("an answer of {length} bytes");
        }
        let mut bytes = vec![0; length];
        self.stream.read_exact(&mut bytes).into_diagnostic()?;
        let mut answer = Answer { bytes, at: 0 };
        if answer.int()? != self.correlation {
            bail!("an answer to another question");
        }
        Ok(answer)
    }
}

/// Appends a text with its length.
pub(crate) fn put_text(body: &mut Vec<u8>, text: &str) {
    body.extend_from_slice(&(text.len() as u16).to_be_bytes());
    body.extend_from_slice(text.as_bytes());
}

/// An answer that is read from front to back.
pub(crate) struct Answer {
    bytes: Vec<u8>,
    at: usize,
}

impl Answer {
    /// The next `count` bytes.
    pub(crate) fn skip(&mut self, count: usize) -> Result<&[u8]> {
        let end = self.at + count;
        let taken = self.bytes.get(self.at..end).ok_or_else(|| miette!("an answer is cut off"))?;
        self.at = end;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N]> {
        self.skip(N)?.first_chunk().copied().ok_or_else(|| miette!("an answer is cut off"))
    }

    /// The next number of 2 bytes.
    pub(crate) fn short(&mut self) -> Result<i16> {
        self.array().map(i16::from_be_bytes)
    }

    /// The next number of 4 bytes.
    pub(crate) fn int(&mut self) -> Result<i32> {
        self.array().map(i32::from_be_bytes)
    }

    /// The next number of 8 bytes.
    pub(crate) fn long(&mut self) -> Result<i64> {
        self.array().map(i64::from_be_bytes)
    }

    /// The next text; null reads as nothing.
    pub(crate) fn text(&mut self) -> Result<String> {
        let length = self.short()?.max(0) as usize;
        Ok(String::from_utf8_lossy(self.skip(length)?).into_owned())
    }

    /// How many numbers an array holds.
    pub(crate) fn ints(&mut self) -> Result<usize> {
        let count = self.int()?.max(0) as usize;
        self.skip(4 * count)?;
        Ok(count)
    }

    /// The head of an answer about one partition of one topic, up to and with the partition's index.
    pub(crate) fn one_partition(&mut self, partition: i32) -> Result<()> {
        let topics = self.int()?;
        self.text()?;
        let (partitions, index) = (self.int()?, self.int()?);
        if (topics, partitions, index) != (1, 1, partition) {
            bail!("an answer about another partition");
        }
        Ok(())
    }
}
