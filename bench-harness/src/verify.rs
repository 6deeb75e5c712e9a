//! Reads a topic back and says what became of the messages: delivered, lost, duplicated, reordered, corrupt.
//!
//! The reader is rskafka, whose batch decoder (CRC-32C included) we did not write, so our encoder cannot hide its
//! mistakes from it. The judging is in `tally`.

mod tally;

use std::fs::File;
use std::io::Read;
use std::path::Path;
use std::time::{Duration, Instant};

use miette::{IntoDiagnostic, Result, WrapErr, bail};
use rskafka::client::partition::{OffsetAt, PartitionClient, UnknownTopicHandling};
use rskafka::client::{Client, ClientBuilder};
use serde::Serialize;
use tokio::runtime::{Builder, Runtime};

pub use self::tally::Verdict;
use self::tally::VerdictTally;
use crate::generator::truth::Truth;
use crate::ledger;
use crate::ledger::book::{self, Book};
use crate::ledger::message::Routes;

/// Bytes asked for in one Fetch.
const FETCH_BYTES: i32 = 16 << 20;
/// How long an administrative request may take.
const ADMIN_TIMEOUT_MS: i32 = 30_000;
/// How long one question may stay without a good answer.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(20);
/// A topic that does not grow for so long has all it will get.
const SETTLED: Duration = Duration::from_secs(10);
/// Between two looks at how far a topic has grown: often enough for a wall time, too seldom to cost the broker anything.
const POLL: Duration = Duration::from_millis(20);

/// A verdict with the effort of reading.
#[derive(Debug, Clone, Serialize)]
pub struct Reading {
    /// What became of the messages.
    #[serde(flatten)]
    pub verdict: Verdict,
    /// Records read, of whatever kind.
    pub records: u64,
    /// Wall time of the reading in seconds.
    pub read_seconds: f64,
}

/// A Kafka cluster, or the embedded log, seen from outside.
pub struct Reader {
    runtime: Runtime,
    client: Client,
}

impl Reader {
    /// Connects to the bootstrap address.
    pub fn connect(bootstrap: &str) -> Result<Self> {
        let runtime = Builder::new_current_thread().enable_all().build().into_diagnostic()?;
        let hosts = bootstrap.split(',').map(str::to_owned).collect();
        let builder = ClientBuilder::new(hosts).client_id("aqueduct-bench").max_message_size(256 << 20);
        let client = runtime
            .block_on(async { tokio::time::timeout(Duration::from_secs(20), builder.build()).await })
            .into_diagnostic()
            .and_then(|built| built.into_diagnostic())
            .wrap_err_with(|| format!("connecting to Kafka at {bootstrap}"))?;
        Ok(Self { runtime, client })
    }

    /// Creates a topic without replicas and waits until every partition has its leader.
    pub fn create_topic(&self, topic: &str, partitions: i32) -> Result<()> {
        self.create_replicated_topic(topic, partitions, 1)
    }

    /// As [`Reader::create_topic`], with `replicas` copies of each partition.
    pub fn create_replicated_topic(&self, topic: &str, partitions: i32, replicas: i16) -> Result<()> {
        let controller = self.client.controller_client().into_diagnostic()?;
        let made = self.runtime.block_on(controller.create_topic(topic, partitions, replicas, ADMIN_TIMEOUT_MS));
        made.into_diagnostic().wrap_err_with(|| format!("creating topic {topic}"))?;
        // Answers come from leaders only, and the client asks again until there is one.
        self.topic(topic, partitions)?.await_records(0).map(drop)
    }

    /// Deletes a topic and its data.
    pub fn delete_topic(&self, topic: &str) -> Result<()> {
        let controller = self.client.controller_client().into_diagnostic()?;
        let gone = self.runtime.block_on(controller.delete_topic(topic, ADMIN_TIMEOUT_MS));
        gone.into_diagnostic().wrap_err_with(|| format!("deleting topic {topic}"))
    }

    /// Opens a topic for reading.
    pub fn topic(&self, topic: &str, partitions: i32) -> Result<Topic<'_>> {
        let open = async {
            let mut opened = Vec::new();
            for partition in 0..partitions {
                opened.push(self.client.partition_client(topic, partition, UnknownTopicHandling::Retry).await?);
            }
            Ok::<_, rskafka::client::error::Error>(opened)
        };
        let partitions =
            self.runtime.block_on(open).into_diagnostic().wrap_err_with(|| format!("opening topic {topic}"))?;
        Ok(Topic { runtime: &self.runtime, partitions })
    }
}

/// A topic that is read back.
pub struct Topic<'a> {
    runtime: &'a Runtime,
    partitions: Vec<PartitionClient>,
}

impl Topic<'_> {
    /// Waits until the topic holds `records` records, or has not grown for 10 s. Answers how many it holds.
    pub fn await_records(&self, records: u64) -> Result<u64> {
        let mut seen = 0;
        let mut grown = Instant::now();
        loop {
            let now = self.runtime.block_on(self.record_count())?;
            if now >= records || grown.elapsed() > SETTLED {
                return Ok(now);
            }
            if now > seen {
                seen = now;
                grown = Instant::now();
            }
            std::thread::sleep(POLL);
        }
    }

    /// Reads every partition from its beginning and judges the records by the truth.
    pub fn judge(&self, truth: &Truth) -> Result<Reading> {
        let start = Instant::now();
        let mut tally = VerdictTally::new(truth);
        for partition in &self.partitions {
            self.runtime
                .block_on(read(partition, &mut tally))
                .wrap_err_with(|| format!("reading back {} {}", partition.topic(), partition.partition()))?;
        }
        let records = tally.records();
        Ok(Reading { verdict: tally.verdict(), records, read_seconds: start.elapsed().as_secs_f64() })
    }

    async fn record_count(&self) -> Result<u64> {
        let mut count = 0;
        for partition in &self.partitions {
            count += within(partition.get_offset(OffsetAt::Latest)).await?.max(0) as u64;
        }
        Ok(count)
    }
}

/// The client asks again for ever where Kafka's table says that an error may pass; we do not.
async fn within<T>(asked: impl Future<Output = rskafka::client::error::Result<T>>) -> Result<T> {
    tokio::time::timeout(ANSWER_TIMEOUT, asked).await.into_diagnostic().wrap_err("no answer")?.into_diagnostic()
}

async fn read(partition: &PartitionClient, tally: &mut VerdictTally<'_>) -> Result<()> {
    let end = within(partition.get_offset(OffsetAt::Latest)).await?;
    let mut offset = within(partition.get_offset(OffsetAt::Earliest)).await?;
    let mut moved = Instant::now();
    while offset < end {
        let fetch = within(partition.fetch_records(offset, 1..FETCH_BYTES, 1_000)).await;
        let (records, _) = fetch.wrap_err_with(|| format!("fetching from offset {offset} of {end}"))?;
        for record in &records {
            tally.record(partition.partition(), record.record.value.as_deref());
        }
        match records.last() {
            Some(last) => {
                offset = last.offset + 1;
                moved = Instant::now();
            }
            None if moved.elapsed() > ANSWER_TIMEOUT => {
                bail!("nothing comes from offset {offset}, and the end is {end}")
            }
            None => {}
        }
    }
    Ok(())
}

/// `aqueduct-bench verify`: judges topics by what was written down, which is the truth of `drive` or the book of `chaos`.
/// Answers the line of JSON and whether all is good.
pub fn run(bootstrap: &str, topics: &[String], partitions: i32, truth: &Path) -> Result<(String, bool)> {
    let mut magic = [0; book::MAGIC.len()];
    let read = File::open(truth).and_then(|mut file| file.read_exact(&mut magic));
    read.into_diagnostic().wrap_err_with(|| truth.display().to_string())?;
    if magic == *book::MAGIC {
        let book = Book::read(truth)?;
        let findings = ledger::audit(bootstrap, &Routes::to(topics.to_vec()), &book, &[])?;
        // The book does not tell whether the product was restarted, nor what buffer it has.
        let mut verdict = findings.verdict;
        verdict.reorder_resend = 0;
        let clean = verdict.is_clean(true);
        return Ok((serde_json::to_string(&findings).into_diagnostic()?, clean));
    }
    let [topic] = topics else { bail!("the truth of `drive` is about one topic") };
    let truth = Truth::read(truth)?;
    let reading = Reader::connect(bootstrap)?.topic(topic, partitions)?.judge(&truth)?;
    Ok((serde_json::to_string(&reading).into_diagnostic()?, reading.verdict.is_clean()))
}
