//! Produce (API 0), versions 3 to 12, at the broker's end: requests in, responses out.
//!
//! Written from Kafka's protocol guide, not with our codec: what both get wrong would pass unseen. The request comes in the
//! parts in which we send it, and is not put together: at each place where a batch is due there must be a cut.

use super::faults::code;

/// First version with lengths as varints, and tags (KIP-482).
const FLEXIBLE: i16 = 9;
const VERSION_MIN: i16 = 3;
const VERSION_MAX: i16 = 12;

/// What a request says before its topics.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Terms {
    pub(super) version: i16,
    pub(super) correlation: i32,
    pub(super) acks: i16,
    pub(super) timeout_ms: i32,
}

/// A request, read batch by batch.
#[derive(Debug)]
pub(super) struct Request<'a> {
    pub(super) terms: Terms,
    reader: Reader<'a>,
    flexible: bool,
    cuts: &'a [u32],
    /// Bytes of the frame, as far as it was read, and what it says of itself.
    total: usize,
    announced: usize,
    topics: usize,
    topic: &'a [u8],
    partitions: usize,
}

impl<'a> Request<'a> {
    /// Reads what stands before the topics.
    ///
    /// # Panics
    /// If it is not what Kafka's protocol says.
    pub(super) fn begin(head: &'a [u8], cuts: &'a [u32]) -> Self {
        let mut r = Reader { bytes: head, at: 0 };
        let announced = r.i32() as usize;
        assert_eq!(r.i16(), 0, "Produce is API 0");
        let version = r.i16();
        assert!((VERSION_MIN..=VERSION_MAX).contains(&version), "Produce in version {version}");
        let flexible = version >= FLEXIBLE;
        let correlation = r.i32();
        assert!(r.text(false).is_some(), "a client without a name");
        r.no_tags(flexible);
        assert!(r.text(flexible).is_none(), "a transaction");
        let (acks, timeout_ms) = (r.i16(), r.i32());
        assert!((-1..=1).contains(&acks), "acks = {acks}");
        assert!(timeout_ms > 0, "a timeout of {timeout_ms} ms");
        let topics = r.count(flexible);
        assert!(topics > 0, "a Produce without a topic");
        let terms = Terms { version, correlation, acks, timeout_ms };
        Self { terms, reader: r, flexible, cuts, total: head.len(), announced, topics, topic: &[], partitions: 0 }
    }

    /// Topic, partition and bytes of the next batch.
    ///
    /// # Panics
    /// If the request is not what Kafka's protocol says.
    pub(super) fn next<'b>(
        &mut self,
        batches: &mut impl Iterator<Item = &'b [u8]>,
    ) -> Option<(&'a [u8], i32, &'b [u8])> {
        let (r, flexible) = (&mut self.reader, self.flexible);
        if self.partitions == 0 {
            if self.topics == 0 {
                r.no_tags(flexible);
                assert_eq!(r.at, r.bytes.len(), "bytes after the end of the Produce");
                assert!(self.cuts.is_empty() && batches.next().is_none(), "more batches than partitions");
                assert_eq!(self.announced, self.total - 4, "the length of the frame");
                return None;
            }
            self.topics -= 1;
            self.topic = r.text(flexible).expect("a topic has a name");
            self.partitions = r.count(flexible);
            assert!(self.partitions > 0, "a topic without a partition in a Produce");
        }
        let partition = r.i32();
        let announced = r.count(flexible);
        let (&cut, cuts) = self.cuts.split_first().expect("a cut for every batch");
        self.cuts = cuts;
        assert_eq!(cut as usize, r.at, "a batch is due at this byte of the head");
        let bytes = batches.next().expect("a batch for every cut");
        assert_eq!(announced, bytes.len(), "the batch is not as long as the request says");
        self.total += bytes.len();
        r.no_tags(flexible);
        self.partitions -= 1;
        if self.partitions == 0 {
            r.no_tags(flexible);
        }
        Some((self.topic, partition, bytes))
    }
}

/// What the broker says of one batch.
#[derive(Debug, Clone, Copy)]
pub(super) struct Result {
    /// Index of the topic in the plan.
    pub(super) topic: u16,
    pub(super) partition: i32,
    pub(super) error: i16,
    /// -1 unless it was appended, or had been before.
    pub(super) base_offset: i64,
    /// The replicas must have everything below it; -1: it is decided.
    pub(super) required: i64,
    /// The partition, as the cluster counts them.
    pub(super) id: u32,
    /// Leader and epoch, if they are to be told (KIP-951).
    pub(super) leader: Option<(i32, i32)>,
}

/// What becomes of an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Fate {
    #[default]
    Sent,
    Closed,
    Never,
}

/// An answer in the making.
#[derive(Debug, Default)]
pub(super) struct Answer {
    pub(super) version: i16,
    pub(super) correlation: i32,
    pub(super) acks: i16,
    pub(super) throttle_ms: i32,
    pub(super) results: Vec<Result>,
    /// Records at fault: place of the result, place in the batch.
    pub(super) at_fault: Vec<(u32, i32)>,
    pub(super) fate: Fate,
    /// How late it is, beyond what is usual.
    pub(super) late_ns: u64,
    pub(super) shuffled: bool,
}

impl Answer {
    /// Writes the frame, without its length. `topic` gives names, `brokers` tells how many nodes there are to name.
    pub(super) fn write<'n>(&self, topic: impl Fn(u16) -> &'n [u8], host: &str, port: u16, out: &mut Vec<u8>) {
        let flexible = self.version >= FLEXIBLE;
        out.extend_from_slice(&self.correlation.to_be_bytes());
        no_tags(out, flexible);
        let topics = self.results.chunk_by(|a, b| a.topic == b.topic);
        put_count(out, topics.clone().count(), flexible);
        let mut first = 0;
        for results in topics {
            put_text(out, Some(topic(results[0].topic)), flexible);
            put_count(out, results.len(), flexible);
            for at in 0..results.len() {
                let at = if self.shuffled { results.len() - 1 - at } else { at };
                self.write_result(&results[at], (first + at) as u32, out);
            }
            no_tags(out, flexible);
            first += results.len();
        }
        out.extend_from_slice(&self.throttle_ms.to_be_bytes());
        if flexible {
            self.write_nodes(host, port, out);
        }
    }

    fn write_result(&self, result: &Result, place: u32, out: &mut Vec<u8>) {
        let flexible = self.version >= FLEXIBLE;
        out.extend_from_slice(&result.partition.to_be_bytes());
        out.extend_from_slice(&result.error.to_be_bytes());
        out.extend_from_slice(&result.base_offset.to_be_bytes());
        // The log keeps the producer's timestamps.
        out.extend_from_slice(&(-1i64).to_be_bytes());
        if self.version >= 5 {
            let log_start: i64 = if result.base_offset < 0 { -1 } else { 0 };
            out.extend_from_slice(&log_start.to_be_bytes());
        }
        if self.version >= 8 {
            let at_fault = self.at_fault.iter().filter(|(at, _)| *at == place);
            put_count(out, at_fault.clone().count(), flexible);
            for (_, index) in at_fault.clone() {
                out.extend_from_slice(&index.to_be_bytes());
                put_text(out, (index % 2 == 0).then_some(b"at fault"), flexible);
                no_tags(out, flexible);
            }
            let words = at_fault.clone().next().map(|_| &b"one or more records have been rejected"[..]);
            put_text(out, words, flexible);
        }
        if let (10.., Some((id, epoch))) = (self.version, result.leader) {
            // One tag, number 0, of 9 bytes: two integers and no further tags.
            out.extend_from_slice(&[1, 0, 9]);
            out.extend_from_slice(&id.to_be_bytes());
            out.extend_from_slice(&epoch.to_be_bytes());
            out.push(0);
        } else {
            no_tags(out, flexible);
        }
    }

    /// The addresses of the leaders named (KIP-951), tag 0 of the response.
    fn write_nodes(&self, host: &str, port: u16, out: &mut Vec<u8>) {
        let mut nodes: Vec<i32> = self.results.iter().filter_map(|result| Some(result.leader?.0)).collect();
        nodes.retain(|&id| id >= 0);
        nodes.sort_unstable();
        nodes.dedup();
        if self.version < 10 || nodes.is_empty() {
            return out.push(0);
        }
        let mut field = Vec::new();
        put_count(&mut field, nodes.len(), true);
        for id in nodes {
            field.extend_from_slice(&id.to_be_bytes());
            put_text(&mut field, Some(host.as_bytes()), true);
            field.extend_from_slice(&(i32::from(port) + id).to_be_bytes());
            put_text(&mut field, None, true);
            field.push(0);
        }
        out.extend_from_slice(&[1, 0]);
        put_uvarint(out, field.len() as u32);
        out.extend_from_slice(&field);
    }

    /// Whether everything is refused or answered, so that there is nothing to wait for.
    pub(super) fn open(&self) -> u32 {
        self.results.iter().filter(|result| result.required >= 0).count() as u32
    }

    /// Which batches of the request it calls stored, a bit each.
    pub(super) fn stored(&self) -> u128 {
        let stored = self.results.iter().enumerate().filter(|(_, result)| result.error == code::NONE);
        stored.fold(0, |bits, (at, _)| bits | 1 << at)
    }

    pub(super) fn failed(&self) -> bool {
        self.results.iter().any(|result| result.error != code::NONE)
    }
}

#[derive(Debug)]
struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    fn take(&mut self, n: usize) -> &'a [u8] {
        let taken = self.bytes.get(self.at..self.at + n).expect("the Produce is cut short");
        self.at += n;
        taken
    }

    fn i16(&mut self) -> i16 {
        let bytes = self.take(2);
        i16::from_be_bytes([bytes[0], bytes[1]])
    }

    fn i32(&mut self) -> i32 {
        i32::from_be_bytes(*self.take(4).first_chunk().expect("four bytes"))
    }

    fn uvarint(&mut self) -> u32 {
        let (mut value, mut shift) = (0u32, 0);
        loop {
            let byte = self.take(1)[0];
            value |= u32::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return value;
            }
            shift += 7;
            assert!(shift < 35, "a varint of more than five bytes");
        }
    }

    /// Length of an array or of bytes that are not null.
    fn count(&mut self, flexible: bool) -> usize {
        let count = if flexible { i64::from(self.uvarint()) - 1 } else { i64::from(self.i32()) };
        usize::try_from(count).expect("a null array or batch")
    }

    fn text(&mut self, flexible: bool) -> Option<&'a [u8]> {
        let length = if flexible { self.uvarint() as i32 - 1 } else { i32::from(self.i16()) };
        assert!(length >= -1, "a negative length of a string");
        (length >= 0).then(|| self.take(length as usize))
    }

    fn no_tags(&mut self, flexible: bool) {
        if flexible {
            assert_eq!(self.uvarint(), 0, "a tag that no broker knows");
        }
    }
}

fn put_uvarint(out: &mut Vec<u8>, mut value: u32) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

fn put_count(out: &mut Vec<u8>, count: usize, flexible: bool) {
    if flexible {
        put_uvarint(out, count as u32 + 1);
    } else {
        out.extend_from_slice(&(count as i32).to_be_bytes());
    }
}

fn put_text(out: &mut Vec<u8>, text: Option<&[u8]>, flexible: bool) {
    match (text, flexible) {
        (Some(text), true) => put_uvarint(out, text.len() as u32 + 1),
        (None, true) => out.push(0),
        (Some(text), false) => out.extend_from_slice(&(text.len() as i16).to_be_bytes()),
        (None, false) => out.extend_from_slice(&(-1i16).to_be_bytes()),
    }
    out.extend_from_slice(text.unwrap_or_default());
}

fn no_tags(out: &mut Vec<u8>, flexible: bool) {
    if flexible {
        out.push(0);
    }
}
