//! A real Apache Kafka, 4.1 unless a test asks for another, started by `bench-harness/kafka/kafka.sh`; one cluster per test program.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;
use std::thread;
use std::time::{Duration, Instant};

use rskafka::BackoffConfig;
use rskafka::client::error::{Error, ProtocolError};
use rskafka::client::partition::{OffsetAt, UnknownTopicHandling};
use rskafka::client::{Client, ClientBuilder};
use rustix::process::{Pid, Signal, kill_process};

use super::deadline;
use super::peer::{self, Background};
use super::scratch::Scratch;
use super::wait;

/// Exit code of `kafka.sh` where Java or Maven is missing.
const MISSING: i32 = 77;

/// A running cluster.
#[derive(Debug)]
pub struct Kafka {
    folder: PathBuf,
    bootstrap: String,
    /// What else the script told of it, by name.
    told: BTreeMap<String, String>,
}

/// One record as it lies in Kafka.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// Partition it lies in.
    pub partition: i32,
    /// Its offset there.
    pub offset: i64,
    /// Key; `None` is Kafka's null.
    pub key: Option<Vec<u8>>,
    /// Value; `None` is Kafka's null.
    pub value: Option<Vec<u8>>,
    /// Milliseconds since 1970 UTC.
    pub timestamp_ms: i64,
}

/// A broker that does nothing as long as this lives, and goes on as if nothing had been after that.
#[derive(Debug)]
pub struct Frozen(Pid);

impl Drop for Frozen {
    fn drop(&mut self) {
        let _ = kill_process(self.0, Signal::CONT);
    }
}

/// A signal reaches each thread of a process when the kernel next looks at it, not when it is sent.
fn stands_still(pid: Pid) -> bool {
    let Ok(threads) = fs::read_dir(format!("/proc/{}/task", pid.as_raw_nonzero())) else { return false };
    threads.flatten().all(|thread| {
        let stat = fs::read_to_string(thread.path().join("stat")).unwrap_or_default();
        // `id (name) state ...`; the name may hold anything.
        stat.rsplit_once(") ").is_none_or(|(_, rest)| rest.starts_with('T'))
    })
}

impl Kafka {
    /// The cluster of this test program: one broker. `None` (and a line on stderr) where Java or Maven is missing.
    ///
    /// # Panics
    /// If it does not start; or is missing, and `AQUEDUCT_REQUIRE_KAFKA=1`.
    pub fn shared() -> Option<&'static Kafka> {
        static SHARED: OnceLock<Result<Kafka, String>> = OnceLock::new();
        match SHARED.get_or_init(|| Self::start(1, "")) {
            Ok(kafka) => Some(kafka),
            Err(remedy) => {
                peer::skip("AQUEDUCT_REQUIRE_KAFKA", remedy);
                None
            }
        }
    }

    /// A cluster of its own with `brokers` brokers and more broker settings (`a=b;c=d`). It lives as long as the test program.
    ///
    /// # Errors
    /// What is missing.
    ///
    /// # Panics
    /// If it does not start.
    pub fn start(brokers: u32, settings: &str) -> Result<Kafka, String> {
        Self::start_with(&["--brokers", &brokers.to_string()], settings, "", None)
    }

    /// As [`start`](Self::start): one broker with the secured listeners that `kafka.sh` describes.
    ///
    /// # Errors
    /// As there.
    ///
    /// # Panics
    /// As there.
    pub fn start_secure(settings: &str) -> Result<Kafka, String> {
        Self::start_with(&["--secure"], settings, "", None)
    }

    /// As [`start_secure`](Self::start_secure), and what the broker sees of TLS handshakes stands in [`broker_said`](Self::broker_said).
    ///
    /// # Errors
    /// As there.
    ///
    /// # Panics
    /// As there.
    pub fn start_telling_of_tls(settings: &str) -> Result<Kafka, String> {
        Self::start_with(&["--secure"], settings, "-Djavax.net.debug=ssl:handshake", None)
    }

    /// As [`start`](Self::start): one broker with listeners for Kerberos, and a KDC.
    ///
    /// # Errors
    /// As there, or of the KDC.
    ///
    /// # Panics
    /// As there.
    pub fn start_kerberos(settings: &str) -> Result<Kafka, String> {
        Self::start_with(&["--kerberos"], settings, "", None)
    }

    /// One broker of another version, `3.9.1` for instance, with the secured listeners if `secure`; and with one, `BACK`, that it says is
    /// at port `front`.
    ///
    /// # Errors
    /// As of [`start`](Self::start), or it cannot be fetched.
    ///
    /// # Panics
    /// As there.
    pub fn start_version(version: &str, secure: bool, front: u16) -> Result<Kafka, String> {
        let secure: &[&str] = if secure { &["--secure"] } else { &[] };
        Self::start_with(secure, "", "", Some((version, front)))
    }

    fn start_with(
        arguments: &[&str],
        settings: &str,
        java: &str,
        version: Option<(&str, u16)>,
    ) -> Result<Kafka, String> {
        let scratch = Scratch::new("kafka");
        let folder = scratch.path().to_owned();
        // The watchman removes it.
        std::mem::forget(scratch);
        watch(&folder);
        deadline::doing("starting Kafka");
        let mut up = script(&folder);
        up.arg("up").args(arguments).env("KAFKA_SET", settings).env("KAFKA_JVM", java);
        if let Some((version, front)) = version {
            // What `KAFKA_LIBS` names is of the usual version.
            up.env("KAFKA_VERSION", version).env("KAFKA_FRONT", front.to_string()).env_remove("KAFKA_LIBS");
        }
        let output = up.output().expect("bash runs");
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        if output.status.code() == Some(MISSING) {
            return Err(said.trim().to_owned());
        }
        assert!(output.status.success(), "kafka.sh up: {}\n{said}", output.status);
        let stdout = String::from_utf8_lossy(&output.stdout).into_owned();
        let pairs = stdout.lines().filter_map(|line| line.split_once('='));
        let told: BTreeMap<String, String> = pairs.map(|(name, text)| (name.to_owned(), text.to_owned())).collect();
        let bootstrap = told.get("BOOTSTRAP").expect("a bootstrap address").clone();
        Ok(Self { folder, bootstrap, told })
    }

    /// What the first broker wrote down since it was started.
    ///
    /// # Panics
    /// If that cannot be read.
    pub fn broker_said(&self) -> String {
        let said = fs::read(self.file("1/kafka.log")).expect("its log");
        String::from_utf8_lossy(&said).into_owned()
    }

    /// The address of a secured listener: `TLS`, `MTLS`, `SASL`, `SASL_TLS`, `GSSAPI` or `GSSAPI_TLS`; `BACK`, and `KRB5_CONFIG`.
    ///
    /// # Panics
    /// If it has none.
    pub fn listener(&self, name: &str) -> &str {
        self.told.get(name).unwrap_or_else(|| panic!("no listener {name}: {:?}", self.told))
    }

    /// A file of its folder, `tls/ca.pem` for instance.
    pub fn file(&self, name: &str) -> String {
        self.folder.join(name).display().to_string()
    }

    /// `host:port[,host:port]`.
    pub fn bootstrap(&self) -> &str {
        &self.bootstrap
    }

    /// The folder of its brokers: `1/data` is what broker 1 keeps.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// One of Kafka's own command line tools, `consumer` for instance, with this cluster's address.
    pub fn tool(&self, name: &str) -> Command {
        let mut command = script(&self.folder);
        command.args(["tool", name]);
        command
    }

    /// The first segment file of a partition at broker 1.
    pub fn segment(&self, topic: &str, partition: u32) -> String {
        let file = format!("1/data/{topic}-{partition}/00000000000000000000.log");
        self.folder.join(file).display().to_string()
    }

    /// Runs `kafka.sh verb broker`: `stop`, `kill` or `start`.
    ///
    /// # Panics
    /// If that fails.
    #[track_caller]
    pub fn broker(&self, verb: &str, id: u32) {
        peer::run(script(&self.folder).args([verb, &id.to_string()]));
    }

    /// `stop` or `start` of the KDC.
    ///
    /// # Panics
    /// If that fails.
    #[track_caller]
    pub fn kdc(&self, verb: &str) {
        peer::run(script(&self.folder).args(["kdc", verb]));
    }

    /// One more certificate of a secured cluster, valid between two days: `tls/NAME.key`, `.pem` and `.both.pem`.
    ///
    /// # Panics
    /// If there is none.
    #[track_caller]
    pub fn certificate(&self, name: &str, subject: &str, [from, until]: [&str; 2]) {
        peer::run(script(&self.folder).args(["certificate", name, subject, from, until]));
    }

    /// Process id of a broker.
    ///
    /// # Panics
    /// If it does not run.
    pub fn pid(&self, id: u32) -> i32 {
        let text = std::fs::read_to_string(self.folder.join(id.to_string()).join("pid")).expect("a pid file");
        text.trim().parse().expect("a number")
    }

    /// SIGSTOP to a broker; when this returns, none of its threads runs any more.
    ///
    /// # Panics
    /// If it does not run.
    #[track_caller]
    pub fn freeze(&self, id: u32) -> Frozen {
        let pid = Pid::from_raw(self.pid(id)).expect("a process id");
        kill_process(pid, Signal::STOP).expect("it runs");
        wait::until("every thread of the broker stands still", 10, || stands_still(pid).then_some(()));
        Frozen(pid)
    }

    /// Creates a topic and waits until its leaders are known.
    ///
    /// # Panics
    /// If that fails.
    pub fn create_topic(&self, name: &str, partitions: i32) {
        self.create_replicated_topic(name, partitions, 1);
    }

    /// As [`create_topic`](Self::create_topic), with `replicas` copies of each partition.
    ///
    /// # Panics
    /// If that fails.
    pub fn create_replicated_topic(&self, name: &str, partitions: i32, replicas: i16) {
        ask(&format!("creating topic {name}"), &self.bootstrap, async |client| {
            let created = client.controller_client()?.create_topic(name, partitions, replicas, 10_000).await;
            // An earlier attempt may have succeeded without our hearing of it.
            match created {
                Err(Error::ServerError { protocol_error: ProtocolError::TopicAlreadyExists, .. }) => Ok(()),
                other => other,
            }
        });
        wait::until("the new topic's leaders", 60, || (self.counts(name)?.len() == partitions as usize).then_some(()));
    }

    /// How many records each partition has had; `None` until the topic is known.
    fn counts(&self, topic: &str) -> Option<Vec<i64>> {
        ask(&format!("asking for the ends of {topic}"), &self.bootstrap, async |client| {
            let topics = client.list_topics().await?;
            let Some(topic) = topics.into_iter().find(|known| known.name == topic) else { return Ok(None) };
            let mut counts = Vec::new();
            for partition in topic.partitions {
                let partition = client.partition_client(&*topic.name, partition, UnknownTopicHandling::Error).await?;
                counts.push(partition.get_offset(OffsetAt::Latest).await?);
            }
            Ok(Some(counts))
        })
    }

    /// How many records a topic has had, all its partitions together.
    ///
    /// # Panics
    /// If that cannot be found out.
    pub fn count(&self, topic: &str) -> i64 {
        self.counts(topic).unwrap_or_default().into_iter().sum()
    }

    /// Which broker leads each partition of a topic, by Kafka's own tool.
    ///
    /// # Panics
    /// If that fails.
    pub fn leaders(&self, topic: &str) -> BTreeMap<i32, u32> {
        let described = peer::run(self.tool("topics").args(["--describe", "--topic", topic]));
        let field = |line: &str, name: &str| -> Option<u32> {
            let mut words = line.split_whitespace().skip_while(|word| *word != name);
            words.nth(1)?.parse().ok()
        };
        let partition = |line| Some((field(line, "Partition:")? as i32, field(line, "Leader:")?));
        described.lines().filter_map(partition).collect()
    }

    /// Every record of a topic, partition by partition.
    ///
    /// # Panics
    /// If it cannot be read.
    pub fn read(&self, topic: &str) -> Vec<Record> {
        read(&self.bootstrap, topic)
    }

    /// Reads the topic again and again until it holds `count` records.
    ///
    /// # Panics
    /// If it holds more, or not as many after 30 s.
    #[track_caller]
    pub fn read_count(&self, topic: &str, count: usize) -> Vec<Record> {
        read_count(&self.bootstrap, topic, count)
    }
}

/// As [`Kafka::read_count`], from whatever speaks Kafka's protocol at `bootstrap`.
///
/// # Panics
/// As there.
#[track_caller]
pub fn read_count(bootstrap: &str, topic: &str, count: usize) -> Vec<Record> {
    let mut found = 0;
    let records = wait::until(&format!("{count} records in {topic}"), 30, || {
        let records = read(bootstrap, topic);
        found = records.len();
        (found >= count).then_some(records)
    });
    assert_eq!(records.len(), count, "records in {topic}");
    records
}

/// Every record of a topic, partition by partition, from whatever speaks Kafka's protocol at `bootstrap`.
///
/// # Panics
/// If it cannot be read.
pub fn read(bootstrap: &str, topic: &str) -> Vec<Record> {
    ask(&format!("reading {topic}"), bootstrap, async |client| {
        let topics = client.list_topics().await?;
        let Some(topic) = topics.into_iter().find(|known| known.name == topic) else { return Ok(Vec::new()) };
        let mut records = Vec::new();
        for partition in topic.partitions {
            read_partition(&client, &topic.name, partition, &mut records).await?;
        }
        Ok(records)
    })
}

async fn read_partition(client: &Client, topic: &str, partition: i32, into: &mut Vec<Record>) -> Result<(), Error> {
    let reader = client.partition_client(topic, partition, UnknownTopicHandling::Error).await?;
    let mut offset = reader.get_offset(OffsetAt::Earliest).await?;
    let end = reader.get_offset(OffsetAt::Latest).await?;
    while offset < end {
        let (found, _) = reader.fetch_records(offset, 1..4_000_000, 1_000).await?;
        let Some(last) = found.last() else { continue };
        offset = last.offset + 1;
        into.extend(found.into_iter().map(|found| Record {
            partition,
            offset: found.offset,
            key: found.record.key,
            value: found.record.value,
            timestamp_ms: found.record.timestamp.timestamp_millis(),
        }));
    }
    Ok(())
}

/// One of Kafka's own command line tools, for a log that is not Apache's; `folder` holds its settings. `None` (and a line on
/// stderr) where Java or Maven is missing.
///
/// # Panics
/// If it is missing and must not be.
pub fn tool(folder: &Path, name: &str) -> Option<Command> {
    let fetched = peer::finish(script(folder).arg("fetch"), b"");
    let said = String::from_utf8_lossy(&fetched.stderr);
    if fetched.status.code() == Some(MISSING) {
        peer::skip("AQUEDUCT_REQUIRE_KAFKA", said.trim());
        return None;
    }
    assert!(fetched.status.success(), "kafka.sh fetch: {}\n{said}", fetched.status);
    let mut tool = script(folder);
    tool.args(["tool", name]);
    Some(tool)
}

/// The class path of Kafka's jars. `None` (and a line on stderr) where Java or Maven is missing.
///
/// # Panics
/// If it is missing and must not be.
pub fn class_path(folder: &Path) -> Option<String> {
    tool(folder, "topics")?;
    let home = || std::env::var("HOME").map(|home| format!("{home}/.cache/aqueduct/kafka-4.1.0"));
    let libs = std::env::var("KAFKA_LIBS").or_else(|_| home()).expect("a home");
    Some(format!("{libs}/*"))
}

/// Puts a question to a new client, again and again until there is an answer: the client itself would retry for ever, and waits
/// for ever for an answer that does not come.
///
/// # Panics
/// If there is none after three minutes.
#[track_caller]
fn ask<T>(what: &str, bootstrap: &str, question: impl AsyncFn(Client) -> Result<T, Error>) -> T {
    deadline::doing(what);
    let began = Instant::now();
    loop {
        let attempt = async { question(client(bootstrap).await?).await };
        let failed = match block_on(async { tokio::time::timeout(Duration::from_secs(60), attempt).await }) {
            Ok(Ok(answer)) => return answer,
            Ok(Err(error)) => error.to_string(),
            Err(_) => "no answer for 60 s".to_owned(),
        };
        assert!(began.elapsed() < Duration::from_secs(180), "{what}: {failed}");
        thread::sleep(Duration::from_millis(200));
    }
}

async fn client(bootstrap: &str) -> Result<Client, Error> {
    let addresses = bootstrap.split(',').map(str::to_owned).collect();
    let backoff = BackoffConfig { max_backoff: Duration::from_secs(1), ..Default::default() };
    ClientBuilder::new(addresses).backoff_config(backoff).build().await
}

fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime").block_on(future)
}

fn script(folder: &Path) -> Command {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../bench-harness/kafka/kafka.sh");
    let mut command = Command::new("bash");
    command.arg(script).env("KAFKA_DIR", folder);
    command
}

/// Starts a watchman that ends the cluster when this process has ended, however it ended: its stdin closes then.
fn watch(folder: &Path) {
    let mut down = script(folder);
    down.args(["down", "--wipe"]);
    let mut watchman = Command::new("setsid");
    watchman.args(["bash", "-c", r#"read -r; exec "$@""#, "watchman"]).arg(down.get_program()).args(down.get_args());
    watchman.env("KAFKA_DIR", folder).stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
    // Neither waited for nor killed: it outlives us by design.
    std::mem::forget(Background::start(&mut watchman));
}
