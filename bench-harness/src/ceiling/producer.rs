//! A raw link to one broker: Produce version 7 out, answers in, in order, nothing else.
//!
//! ```text
//! request   length:4 | key:2=0 version:2=7 correlation:4 client:2+n | transaction:2=-1 acks:2=-1 timeout:4
//!           | topics:4=1 name:2+n | partitions:4 | (partition:4 length:4 batch)...
//! response  length:4 | correlation:4 | topics:4=1 name:2+n | partitions:4
//!           | (partition:4 error:2 offset:8 time:8 start:8)... | throttle:4
//! ```

use std::collections::VecDeque;
use std::io::IoSlice;
use std::net::{SocketAddr, TcpStream};

use miette::{IntoDiagnostic, Result, WrapErr, bail, miette};
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendAncillaryBuffer, SendFlags, recv, sendmsg};

use super::batch::Batch;

const CLIENT_ID: &[u8] = b"ceiling";
const ACK_TIMEOUT_MS: i32 = 30_000;
const RESPONSE_BYTES_MAX: usize = 64 * 1024;
/// Bytes of one partition in a response.
const PARTITION_BYTES: usize = 30;

/// The link.
pub(super) struct Producer {
    socket: TcpStream,
    topic: String,
    correlation: u32,
    /// Sent or being sent, in order; answered ones leave at the front.
    requests: VecDeque<Request>,
    /// Of `requests`, how many are wholly sent; and how many bytes of the next.
    sent_requests: usize,
    sent_bytes: usize,
    received: Vec<u8>,
    filled: usize,
    /// Empty batches and requests, to be used again.
    spare_batches: Vec<Batch>,
    spare_requests: Vec<Request>,
}

#[derive(Default)]
struct Request {
    correlation: u32,
    head: Vec<u8>,
    batches: Vec<Batch>,
}

impl Producer {
    pub(super) fn connect(broker: SocketAddr, topic: &str) -> Result<Self> {
        let socket = TcpStream::connect(broker).into_diagnostic().wrap_err_with(|| format!("Kafka at {broker}"))?;
        socket.set_nodelay(true).into_diagnostic()?;
        socket.set_nonblocking(true).into_diagnostic()?;
        Ok(Self {
            socket,
            topic: topic.to_owned(),
            correlation: 0,
            requests: VecDeque::new(),
            sent_requests: 0,
            sent_bytes: 0,
            received: vec![0; RESPONSE_BYTES_MAX],
            filled: 0,
            spare_batches: Vec::new(),
            spare_requests: Vec::new(),
        })
    }

    pub(super) fn socket(&self) -> &TcpStream {
        &self.socket
    }

    pub(super) fn unanswered(&self) -> usize {
        self.requests.len()
    }

    /// Sends all batches that are not empty in one request and leaves empty ones in their place.
    pub(super) fn produce(&mut self, filling: &mut [Batch]) -> Result<()> {
        let mut request = self.spare_requests.pop().unwrap_or_default();
        for (partition, batch) in (0..).zip(filling.iter_mut()).filter(|(_, batch)| !batch.is_empty()) {
            batch.seal(partition);
            request.batches.push(std::mem::replace(batch, self.spare_batches.pop().unwrap_or_default()));
        }
        request.correlation = self.correlation;
        self.correlation = self.correlation.wrapping_add(1);
        self.write_head(&mut request);
        self.requests.push_back(request);
        self.write()
    }

    /// Gives the socket what it takes of the requests not yet sent.
    pub(super) fn write(&mut self) -> Result<()> {
        while let Some(request) = self.requests.get(self.sent_requests) {
            let mut skip = self.sent_bytes;
            let mut left = 0;
            let mut slices = Vec::with_capacity(1 + request.batches.len());
            for part in std::iter::once(&request.head[..]).chain(request.batches.iter().map(Batch::sealed)) {
                let rest = part.get(skip..).unwrap_or_default();
                skip = skip.saturating_sub(part.len());
                left += rest.len();
                slices.push(IoSlice::new(rest));
            }
            let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
            match sendmsg(&self.socket, &slices, &mut SendAncillaryBuffer::default(), flags) {
                Ok(taken) if taken == left => {
                    self.sent_requests += 1;
                    self.sent_bytes = 0;
                }
                Ok(taken) => self.sent_bytes += taken,
                Err(Errno::AGAIN) => break,
                Err(error) => return Err(error).into_diagnostic().wrap_err("sending to Kafka"),
            }
        }
        Ok(())
    }

    /// Takes the answers that have come and hands each stored batch to `stored`.
    pub(super) fn read(&mut self, mut stored: impl FnMut(&Batch)) -> Result<()> {
        loop {
            match recv(&self.socket, &mut self.received[self.filled..], RecvFlags::DONTWAIT) {
                Ok((_, 0)) => bail!("Kafka closed the connection"),
                Ok((_, got)) => self.filled += got,
                Err(Errno::AGAIN) => return Ok(()),
                Err(error) => return Err(error).into_diagnostic().wrap_err("receiving from Kafka"),
            }
            while let Some(length) = self.received[..self.filled].first_chunk().map(|four| u32::from_be_bytes(*four)) {
                let end = 4 + length as usize;
                if end > RESPONSE_BYTES_MAX {
                    bail!("Kafka sent a response of {length} bytes");
                }
                if end > self.filled {
                    break;
                }
                self.answered(end, &mut stored)?;
                self.received.copy_within(end..self.filled, 0);
                self.filled -= end;
            }
        }
    }

    /// The oldest request has its answer, in `received[4..end]`.
    fn answered(&mut self, end: usize, stored: &mut impl FnMut(&Batch)) -> Result<()> {
        let mut request = self.requests.pop_front().ok_or_else(|| miette!("Kafka answered without a request"))?;
        self.sent_requests = self.sent_requests.saturating_sub(1);
        check_answer(&self.received[4..end], request.correlation, request.batches.len(), self.topic.len())?;
        for mut batch in request.batches.drain(..) {
            stored(&batch);
            batch.clear();
            self.spare_batches.push(batch);
        }
        self.spare_requests.push(request);
        Ok(())
    }

    fn write_head(&self, request: &mut Request) {
        let batches: usize = request.batches.iter().map(|batch| batch.sealed().len()).sum();
        let head = &mut request.head;
        head.clear();
        head.extend_from_slice(&[0; 4]);
        head.extend_from_slice(&[0, 0, 0, 7]);
        head.extend_from_slice(&request.correlation.to_be_bytes());
        head.extend_from_slice(&(CLIENT_ID.len() as u16).to_be_bytes());
        head.extend_from_slice(CLIENT_ID);
        head.extend_from_slice(&[0xff, 0xff, 0xff, 0xff]);
        head.extend_from_slice(&ACK_TIMEOUT_MS.to_be_bytes());
        head.extend_from_slice(&1_u32.to_be_bytes());
        head.extend_from_slice(&(self.topic.len() as u16).to_be_bytes());
        head.extend_from_slice(self.topic.as_bytes());
        head.extend_from_slice(&(request.batches.len() as u32).to_be_bytes());
        let length = (head.len() - 4 + batches) as u32;
        head[..4].copy_from_slice(&length.to_be_bytes());
    }
}

/// Every partition of the answer must say that its batch is stored.
fn check_answer(body: &[u8], correlation: u32, batches: usize, topic_bytes: usize) -> Result<()> {
    let partitions_at = 4 + 4 + 2 + topic_bytes + 4;
    let whole = body.len() == partitions_at + batches * PARTITION_BYTES + 4;
    if !whole || body[..4] != correlation.to_be_bytes() {
        bail!("Kafka answered something else than was asked: {} bytes for {batches} batches", body.len());
    }
    for partition in body[partitions_at..].chunks_exact(PARTITION_BYTES).take(batches) {
        let error = i16::from_be_bytes([partition[4], partition[5]]);
        if error != 0 {
            bail!("Kafka refused a batch with error {error}");
        }
    }
    Ok(())
}
