//! As much of Kafka's protocol as reading a topic back takes, because client libraries hide the batches.
//!
//! ```text
//! request   length: i32 | api: i16 | version: i16 | correlation: i32 | client: string | body
//! response  length: i32 | correlation: i32 | body
//! Metadata 1   topics              -> brokers (id, host, port, rack), controller, topics (error, name, internal, partitions
//!                                     (error, index, leader, replicas, in-sync replicas))
//! ListOffsets 1  -1, topics        -> topics (name, partitions (index, error, timestamp, offset))
//! Fetch 4      -1, wait, sizes, isolation, topics -> throttle, topics (name, partitions (index, error, high watermark,
//!                                     last stable offset, aborted transactions, records))
//! ```
//!
//! One question at a time on one connection to each leader. After a failure everything is asked anew, for a minute: brokers
//! that were just started need their time.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use miette::{IntoDiagnostic, Result, WrapErr, bail, miette};

use super::batch::{self, Record};

const METADATA: (i16, i16) = (3, 1);
const LIST_OFFSETS: (i16, i16) = (2, 1);
const FETCH: (i16, i16) = (1, 4);
const FETCH_BYTES: i32 = 8 << 20;
/// The end of a partition, as ListOffsets asks for it.
const LATEST: i64 = -1;
/// Its beginning.
const EARLIEST: i64 = -2;
/// How long one answer may take.
const ANSWER: Duration = Duration::from_secs(10);
/// Less for who leads what, which any broker can tell.
const METADATA_ANSWER: Duration = Duration::from_secs(3);
/// How long everything is tried again.
const PATIENCE: Duration = Duration::from_secs(60);
const PAUSE: Duration = Duration::from_millis(200);

/// A partition as the cluster describes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PartitionInfo {
    /// Its index.
    pub partition: i32,
    /// Broker that leads it; -1 is nobody.
    pub leader: i32,
    /// How many replicas are in sync.
    pub in_sync: usize,
    /// How many there are.
    pub replicas: usize,
    /// Where its leader listens.
    address: Option<SocketAddr>,
}

/// Reads topics from whatever speaks Kafka's protocol.
pub struct KafkaReader {
    hosts: Vec<SocketAddr>,
}

impl KafkaReader {
    /// Will ask `host:port[,host:port]`.
    pub fn connect(bootstrap: &str) -> Result<Self> {
        let hosts = bootstrap.split(',').map(str::parse).collect::<Result<_, _>>();
        Ok(Self { hosts: hosts.into_diagnostic().wrap_err_with(|| bootstrap.to_owned())? })
    }

    /// The partitions of a topic, by the first host that knows them.
    pub fn partitions(&self, topic: &str) -> Result<Vec<PartitionInfo>> {
        let mut last = miette!("no host to ask");
        for host in &self.hosts {
            match Link::open(*host, METADATA_ANSWER).and_then(|mut link| partitions(&mut link, topic)) {
                Ok(partitions) => return Ok(partitions),
                Err(error) => last = error,
            }
        }
        Err(last)
    }

    /// Calls `each` with every record of the topic, partition by partition, in the order of offsets.
    pub fn read_topic(&mut self, topic: &str, each: &mut dyn FnMut(Record<'_>)) -> Result<()> {
        let count = patiently(|| self.partitions(topic))?.len();
        for partition in 0..count as i32 {
            let mut next = None;
            patiently(|| self.read_partition(topic, partition, &mut next, each))
                .wrap_err_with(|| format!("partition {partition}, from {next:?}"))?;
        }
        Ok(())
    }

    /// From `next` to the end; `next` moves along, so that after an error no record is read twice.
    fn read_partition(
        &self,
        topic: &str,
        partition: i32,
        next: &mut Option<i64>,
        each: &mut dyn FnMut(Record<'_>),
    ) -> Result<()> {
        let known = self.partitions(topic)?;
        let leader = known.iter().find(|info| info.partition == partition).and_then(|info| info.address);
        let mut link = Link::open(leader.ok_or_else(|| miette!("it has no leader"))?, ANSWER)?;
        let mut from = match *next {
            Some(next) => next,
            None => list_offset(&mut link, topic, partition, EARLIEST)?,
        };
        let end = list_offset(&mut link, topic, partition, LATEST)?;
        let mut moved = Instant::now();
        while from < end {
            let records = fetch(&mut link, topic, partition, from)?;
            let read_to = batch::read(&records, partition, from, each)?;
            if read_to > from {
                moved = Instant::now();
            } else if moved.elapsed() > ANSWER {
                bail!("nothing comes from offset {from}, and the end is {end}");
            }
            from = read_to;
            *next = Some(from);
        }
        Ok(())
    }
}

fn patiently<T>(mut ask: impl FnMut() -> Result<T>) -> Result<T> {
    let start = Instant::now();
    loop {
        match ask() {
            Err(_) if start.elapsed() < PATIENCE => std::thread::sleep(PAUSE),
            answered => return answered,
        }
    }
}

/// A connection to one broker.
struct Link {
    stream: TcpStream,
    correlation: i32,
}

impl Link {
    fn open(at: SocketAddr, patience: Duration) -> Result<Self> {
        let stream = TcpStream::connect_timeout(&at, patience).into_diagnostic().wrap_err_with(|| at.to_string())?;
        stream.set_nodelay(true).into_diagnostic()?;
        stream.set_read_timeout(Some(patience)).into_diagnostic()?;
        Ok(Self { stream, correlation: 0 })
    }

    fn ask(&mut self, (api, version): (i16, i16), body: &[u8]) -> Result<Answer> {
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

fn partitions(link: &mut Link, topic: &str) -> Result<Vec<PartitionInfo>> {
    let mut body = 1_i32.to_be_bytes().to_vec();
    put_text(&mut body, topic);
    let mut answer = link.ask(METADATA, &body)?;
    let mut brokers = Vec::new();
    for _ in 0..answer.int()? {
        let (id, host, port) = (answer.int()?, answer.text()?, answer.int()?);
        answer.text()?;
        brokers.push((id, format!("{host}:{port}").parse::<SocketAddr>().into_diagnostic()?));
    }
    answer.int()?;
    let mut found = Vec::new();
    for _ in 0..answer.int()? {
        let error = answer.short()?;
        answer.text()?;
        answer.skip(1)?;
        if error != 0 {
            bail!("topic {topic}: error {error}");
        }
        for _ in 0..answer.int()? {
            answer.short()?;
            let (partition, leader) = (answer.int()?, answer.int()?);
            let (replicas, in_sync) = (answer.ints()?, answer.ints()?);
            let address = brokers.iter().find(|(id, _)| *id == leader).map(|(_, address)| *address);
            found.push(PartitionInfo { partition, leader, in_sync, replicas, address });
        }
    }
    found.sort_by_key(|info| info.partition);
    Ok(found)
}

fn list_offset(link: &mut Link, topic: &str, partition: i32, timestamp: i64) -> Result<i64> {
    let mut body = (-1_i32).to_be_bytes().to_vec();
    put_one_partition(&mut body, topic, partition);
    body.extend_from_slice(&timestamp.to_be_bytes());
    let mut answer = link.ask(LIST_OFFSETS, &body)?;
    answer.one_partition(partition)?;
    let error = answer.short()?;
    if error != 0 {
        bail!("ListOffsets: error {error}");
    }
    answer.skip(8)?;
    answer.long()
}

fn fetch(link: &mut Link, topic: &str, partition: i32, from: i64) -> Result<Vec<u8>> {
    let mut body = (-1_i32).to_be_bytes().to_vec();
    for number in [500, 1, FETCH_BYTES] {
        body.extend_from_slice(&i32::to_be_bytes(number));
    }
    // read_uncommitted; nothing here is ever part of a transaction.
    body.push(0);
    put_one_partition(&mut body, topic, partition);
    body.extend_from_slice(&from.to_be_bytes());
    body.extend_from_slice(&FETCH_BYTES.to_be_bytes());
    let mut answer = link.ask(FETCH, &body)?;
    answer.skip(4)?;
    answer.one_partition(partition)?;
    let error = answer.short()?;
    if error != 0 {
        bail!("Fetch: error {error}");
    }
    answer.skip(16)?;
    let aborted = answer.int()?.max(0) as usize;
    answer.skip(16 * aborted)?;
    let length = answer.int()?.max(0) as usize;
    Ok(answer.skip(length)?.to_vec())
}

fn put_one_partition(body: &mut Vec<u8>, topic: &str, partition: i32) {
    body.extend_from_slice(&1_i32.to_be_bytes());
    put_text(body, topic);
    body.extend_from_slice(&1_i32.to_be_bytes());
    body.extend_from_slice(&partition.to_be_bytes());
}

fn put_text(body: &mut Vec<u8>, text: &str) {
    body.extend_from_slice(&(text.len() as u16).to_be_bytes());
    body.extend_from_slice(text.as_bytes());
}

/// An answer that is read from front to back.
struct Answer {
    bytes: Vec<u8>,
    at: usize,
}

impl Answer {
    fn skip(&mut self, count: usize) -> Result<&[u8]> {
        let end = self.at + count;
        let taken = self.bytes.get(self.at..end).ok_or_else(|| miette!("an answer is cut off"))?;
        self.at = end;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N]> {
        self.skip(N)?.first_chunk().copied().ok_or_else(|| miette!("an answer is cut off"))
    }

    fn short(&mut self) -> Result<i16> {
        self.array().map(i16::from_be_bytes)
    }

    fn int(&mut self) -> Result<i32> {
        self.array().map(i32::from_be_bytes)
    }

    fn long(&mut self) -> Result<i64> {
        self.array().map(i64::from_be_bytes)
    }

    /// Null reads as nothing.
    fn text(&mut self) -> Result<String> {
        let length = self.short()?.max(0) as usize;
        Ok(String::from_utf8_lossy(self.skip(length)?).into_owned())
    }

    /// How many numbers an array holds.
    fn ints(&mut self) -> Result<usize> {
        let count = self.int()?.max(0) as usize;
        self.skip(4 * count)?;
        Ok(count)
    }

    /// The head of an answer about one partition of one topic, up to and with the partition's index.
    fn one_partition(&mut self, partition: i32) -> Result<()> {
        let topics = self.int()?;
        self.text()?;
        let (partitions, index) = (self.int()?, self.int()?);
        if (topics, partitions, index) != (1, 1, partition) {
            bail!("an answer about another partition");
        }
        Ok(())
    }
}
