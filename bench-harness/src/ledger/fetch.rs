//! As much of Kafka's protocol as reading a topic back takes, because client libraries hide the batches.
//!
//! ```text
//! Metadata 4   topics, create them -> throttle, brokers (id, host, port, rack), cluster, controller, topics (error, name,
//!                                     internal, partitions (error, index, leader, replicas, in-sync replicas))
//! ListOffsets 1  -1, topics        -> topics (name, partitions (index, error, timestamp, offset))
//! Fetch 4      -1, wait, sizes, isolation, topics -> throttle, topics (name, partitions (index, error, high watermark,
//!                                     last stable offset, aborted transactions, records))
//! ```
//!
//! One question at a time on one connection to each leader. After a failure everything is asked anew, for a minute: brokers
//! that were just started need their time.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use miette::{IntoDiagnostic, Result, WrapErr, bail, miette};

use super::batch::{self, Record};
use super::link::{Link, put_text};

const METADATA: (i16, i16) = (3, 4);
const LIST_OFFSETS: (i16, i16) = (2, 1);
const FETCH: (i16, i16) = (1, 4);
/// UNKNOWN_TOPIC_OR_PARTITION.
const UNKNOWN_TOPIC: i16 = 3;
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
                Ok(Some(partitions)) => return Ok(partitions),
                Ok(None) => last = miette!("nobody knows topic {topic}"),
                Err(error) => last = error,
            }
        }
        Err(last)
    }

    /// Whether every host answers that there is no such topic.
    pub fn is_unknown_to_all(&self, topic: &str) -> Result<bool> {
        for host in &self.hosts {
            if partitions(&mut Link::open(*host, METADATA_ANSWER)?, topic)?.is_some() {
                return Ok(false);
            }
        }
        Ok(true)
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

/// The partitions of a topic; `None` if this broker knows of no such topic.
fn partitions(link: &mut Link, topic: &str) -> Result<Option<Vec<PartitionInfo>>> {
    let mut body = 1_i32.to_be_bytes().to_vec();
    put_text(&mut body, topic);
    // A question must not make a topic that somebody has deleted.
    body.push(0);
    let mut answer = link.ask(METADATA, &body)?;
    answer.skip(4)?;
    let mut brokers = Vec::new();
    for _ in 0..answer.int()? {
        let (id, host, port) = (answer.int()?, answer.text()?, answer.int()?);
        answer.text()?;
        brokers.push((id, format!("{host}:{port}").parse::<SocketAddr>().into_diagnostic()?));
    }
    answer.text()?;
    answer.int()?;
    let mut found = Vec::new();
    for _ in 0..answer.int()? {
        let error = answer.short()?;
        answer.text()?;
        answer.skip(1)?;
        if error == UNKNOWN_TOPIC {
            return Ok(None);
        }
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
    Ok(Some(found))
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
