//! Our own binary, as a user runs it: built once, configured by a file, watched from outside.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Output, Stdio};
use std::sync::OnceLock;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

use super::build;
use super::cgroup::MemoryGroup;
use super::http;
use super::peer::{self, Background};
use super::port;
use super::scratch::Scratch;
use super::wait;

/// The binary under test: `AQUEDUCT_BIN`, or what `cargo build` makes beside this test program.
///
/// # Panics
/// If it does not build.
pub fn binary() -> &'static Path {
    static BINARY: OnceLock<PathBuf> = OnceLock::new();
    BINARY.get_or_init(|| std::env::var_os("AQUEDUCT_BIN").map_or_else(|| build::binary("aqueduct"), Into::into))
}

/// The same with the feature `gssapi` (`AQUEDUCT_GSSAPI_BIN`, or what `cargo build` makes), or `None` (and a line on stderr) where what it needs is missing.
///
/// # Panics
/// If it does not build; or cannot, and `AQUEDUCT_REQUIRE_PEERS=1`.
pub fn gssapi_binary() -> Option<&'static Path> {
    static BINARY: OnceLock<Result<PathBuf, String>> = OnceLock::new();
    let built = BINARY.get_or_init(|| {
        std::env::var_os("AQUEDUCT_GSSAPI_BIN").map_or_else(build::gssapi_binary, |path| Ok(path.into()))
    });
    built.as_deref().inspect_err(|remedy| peer::skip("AQUEDUCT_REQUIRE_PEERS", remedy)).ok()
}

/// `aqueduct` with these arguments, in `folder`.
pub fn command(folder: &Path, arguments: &[&str]) -> Command {
    command_of(binary(), folder, arguments)
}

/// The program at `binary` with these arguments, in `folder`.
pub fn command_of(binary: &Path, folder: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(binary);
    command.args(arguments).current_dir(folder).stdin(Stdio::null());
    command
}

/// A node to be started.
#[derive(Debug)]
pub struct Plan {
    ports: Ports,
    kafka: Option<String>,
    scratch: Scratch,
    sink: String,
    connector: String,
    more: String,
    node: String,
    arguments: Vec<String>,
    file: Option<PathBuf>,
    program: Program,
}

/// What is run, and in which environment.
#[derive(Debug, Default)]
struct Program {
    /// [`binary`] unless another is named.
    binary: Option<PathBuf>,
    environment: Vec<(String, String)>,
    /// The control group whose memory it may use, if not ours.
    group: Option<PathBuf>,
}

/// Where it listens, all on 127.0.0.1.
#[derive(Debug, Clone, Copy)]
pub struct Ports {
    /// MQTT.
    pub mqtt: u16,
    /// The embedded log's Kafka protocol.
    pub log: u16,
    /// Metrics and health.
    pub http: u16,
}

impl Plan {
    /// A node with the embedded log: `#` to topic `mqtt`, 4 partitions.
    pub fn embedded() -> Self {
        Self {
            ports: Ports { mqtt: port::free(), log: port::free(), http: port::free() },
            kafka: None,
            scratch: Scratch::new("node"),
            sink: "source_topics = [\"#\"]\ntopic = \"mqtt\"\n".to_owned(),
            connector: String::new(),
            more: String::new(),
            node: "shards = 1\npin = false\n".to_owned(),
            arguments: Vec::new(),
            file: None,
            program: Program::default(),
        }
    }

    /// A node that writes `#` to `topic` of a real cluster.
    pub fn kafka(bootstrap: &str, topic: &str) -> Self {
        let sink = format!("source_topics = [\"#\"]\ntopic = \"{topic}\"\n");
        Self { kafka: Some(bootstrap.to_owned()), sink, ..Self::embedded() }
    }

    /// Adds lines to the sink's section.
    #[must_use]
    pub fn sink(mut self, lines: &str) -> Self {
        self.sink.push_str(lines);
        self.sink.push('\n');
        self
    }

    /// Adds lines to the connector's section.
    #[must_use]
    pub fn connector(mut self, lines: &str) -> Self {
        self.connector.push_str(lines);
        self.connector.push('\n');
        self
    }

    /// Replaces the sink's section.
    #[must_use]
    pub fn only_sink(mut self, lines: &str) -> Self {
        self.sink = format!("{lines}\n");
        self
    }

    /// Replaces the `[node]` section; `shards = 1`, not pinned, where this is not called.
    #[must_use]
    pub fn node(mut self, lines: &str) -> Self {
        self.node = format!("{lines}\n");
        self
    }

    /// Adds whole sections.
    #[must_use]
    pub fn section(mut self, lines: &str) -> Self {
        self.more.push_str(lines);
        self.more.push('\n');
        self
    }

    /// Adds an argument of `aqueduct run`.
    #[must_use]
    pub fn argument(mut self, argument: &str) -> Self {
        self.arguments.push(argument.to_owned());
        self
    }

    /// Starts from a file as it is, with ports and a data directory of its own.
    #[must_use]
    pub fn file(mut self, path: &Path) -> Self {
        let Ports { mqtt, http, .. } = self.ports;
        self.file = Some(path.to_owned());
        let data = self.scratch.file("data").display().to_string();
        self.set("listeners.tcp.bind", &format!("127.0.0.1:{mqtt}"))
            .set("http.bind", &format!("127.0.0.1:{http}"))
            .set("node.data_dir", &data)
    }

    /// Runs another build of the program.
    #[must_use]
    pub fn binary(mut self, path: &Path) -> Self {
        self.program.binary = Some(path.to_owned());
        self
    }

    /// Sets a variable of its environment.
    #[must_use]
    pub fn environment(mut self, name: &str, value: &str) -> Self {
        self.program.environment.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Sets an option on the command line.
    #[must_use]
    pub fn set(self, option: &str, value: &str) -> Self {
        self.argument("--set").argument(&format!("{option}={value}"))
    }

    /// Starts it inside a control group.
    #[must_use]
    pub fn inside(mut self, group: &MemoryGroup) -> Self {
        self.program.group = Some(group.processes());
        self
    }

    /// Where it will listen.
    pub fn ports(&self) -> Ports {
        self.ports
    }

    /// The configuration file it will have.
    pub fn config(&self) -> String {
        let Ports { mqtt, log, http } = self.ports;
        let connector = match &self.kafka {
            None => format!("type = \"embedded\"\nbind = \"127.0.0.1:{log}\"\n"),
            Some(bootstrap) => format!("type = \"kafka\"\nbootstrap_hosts = \"{bootstrap}\"\n"),
        };
        let data = self.scratch.file("data");
        format!(
            "[node]\nname = \"node-a\"\ndata_dir = \"{}\"\n{}\n[listeners.tcp]\nbind = \"127.0.0.1:{mqtt}\"\n\n[connectors.main]\n{connector}{}\n\
             [sinks.main]\nconnector = \"main\"\n{}\n[http]\nbind = \"127.0.0.1:{http}\"\n\n{}",
            data.display(),
            self.node,
            self.connector,
            self.sink,
            self.more
        )
    }

    /// Writes that file and returns its path.
    ///
    /// # Panics
    /// If it cannot.
    pub fn write(&self) -> PathBuf {
        let path = self.scratch.file("aqueduct.toml");
        fs::write(&path, self.config()).expect("the folder is writable");
        path
    }

    /// Starts it and waits until it takes connections.
    ///
    /// # Panics
    /// If it ends instead, or takes 20 s.
    #[track_caller]
    pub fn start(self) -> Node {
        let config = self.file.clone().unwrap_or_else(|| self.write());
        let mut node = Node {
            process: None,
            ports: self.ports,
            kafka: self.kafka,
            arguments: ["run", "--config"]
                .map(str::to_owned)
                .into_iter()
                .chain([config.display().to_string()])
                .chain(self.arguments)
                .collect(),
            scratch: self.scratch,
            program: self.program,
            starts: 0,
        };
        node.start_again();
        node
    }
}

/// A running node. It is killed when this goes.
#[derive(Debug)]
pub struct Node {
    process: Option<Background>,
    ports: Ports,
    kafka: Option<String>,
    arguments: Vec<String>,
    scratch: Scratch,
    program: Program,
    starts: u32,
}

impl Node {
    /// Where it listens.
    pub fn ports(&self) -> Ports {
        self.ports
    }

    /// Address of its MQTT listener.
    pub fn mqtt(&self) -> SocketAddr {
        ([127, 0, 0, 1], self.ports.mqtt).into()
    }

    /// `host:port` of the Kafka that it writes to: its own log, or the cluster.
    pub fn bootstrap(&self) -> String {
        self.kafka.clone().unwrap_or_else(|| format!("127.0.0.1:{}", self.ports.log))
    }

    /// Its folder: configuration, `data`, and what it wrote to stdout and stderr.
    pub fn folder(&self) -> &Path {
        self.scratch.path()
    }

    /// Process id.
    ///
    /// # Panics
    /// If it has ended.
    pub fn pid(&self) -> Pid {
        let id = self.process.as_ref().expect("it runs").0.id();
        Pid::from_raw(i32::try_from(id).expect("a process id")).expect("not 0")
    }

    /// `aqueduct reload`.
    ///
    /// # Panics
    /// If that does not run.
    pub fn reload(&self) -> Output {
        let data = self.folder().join("data").display().to_string();
        command(self.folder(), &["reload", "--data-dir", &data]).output().expect("it runs")
    }

    /// What a reload that succeeds prints.
    ///
    /// # Panics
    /// If it does not.
    #[track_caller]
    pub fn changed(&self) -> String {
        let output = self.reload();
        assert_eq!(output.status.code(), Some(0), "{output:?}\n{}", self.said());
        String::from_utf8(output.stdout).expect("text")
    }

    /// What a reload that is refused prints.
    ///
    /// # Panics
    /// If it is not.
    #[track_caller]
    pub fn refused(&self) -> String {
        let output = self.reload();
        assert_eq!((output.status.code(), output.stdout.as_slice()), (Some(2), &b""[..]), "{output:?}");
        String::from_utf8(output.stderr).expect("text")
    }

    /// The most memory its present process has had resident, bytes.
    ///
    /// # Panics
    /// If it does not run.
    pub fn peak_bytes(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid().as_raw_nonzero())).expect("it runs");
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("its peak");
        line.trim().trim_end_matches(" kB").trim().parse::<u64>().expect("a number") << 10
    }

    /// Starts it once more on the data it had.
    ///
    /// # Panics
    /// If it ends instead, or takes 20 s.
    #[track_caller]
    pub fn start_again(&mut self) {
        assert!(self.process.is_none(), "it runs");
        self.starts += 1;
        let arguments: Vec<&str> = self.arguments.iter().map(String::as_str).collect();
        let binary = self.program.binary.as_deref().unwrap_or_else(|| binary());
        let mut command = command_of(binary, self.scratch.path(), &arguments);
        if let Some(group) = &self.program.group {
            command = within(group, &command, self.scratch.path());
        }
        command.envs(self.program.environment.iter().cloned());
        command.stdout(self.log("stdout")).stderr(self.log("stderr"));
        let mut process = Background::start(&mut command);
        let address = self.mqtt();
        wait::until("the node is ready", 20, || {
            if let Some(status) = process.0.try_wait().expect("our child") {
                panic!("the node ended with {status}:\n{}", self.said());
            }
            TcpStream::connect_timeout(&address, Duration::from_secs(1)).ok()?;
            // It hears signals and serves what it listens at.
            http::get(self.ports.http, "/readyz").filter(|(status, _)| *status == 200)
        });
        self.process = Some(process);
    }

    /// Replaces text in the configuration file; read at the next start.
    ///
    /// # Panics
    /// If the text is not there.
    pub fn configure(&self, old: &str, new: &str) {
        let path = self.scratch.file("aqueduct.toml");
        let config = fs::read_to_string(&path).expect("it was written");
        assert!(config.contains(old), "{old} is not in {config}");
        fs::write(&path, config.replace(old, new)).expect("the folder is writable");
    }

    /// What it wrote to stdout, then to stderr, since it was started last.
    pub fn said(&self) -> String {
        ["stdout", "stderr"].map(|stream| fs::read_to_string(self.log_path(stream)).unwrap_or_default()).concat()
    }

    fn log(&self, stream: &str) -> File {
        File::create(self.log_path(stream)).expect("the folder is writable")
    }

    fn log_path(&self, stream: &str) -> PathBuf {
        self.scratch.file(&format!("{stream}.{}", self.starts))
    }

    /// Sends a signal.
    ///
    /// # Panics
    /// If it has ended.
    pub fn signal(&self, signal: Signal) {
        kill_process(self.pid(), signal).expect("our child takes signals");
    }

    /// SIGTERM, and its exit status.
    ///
    /// # Panics
    /// If it takes longer than 40 s, which is `shutdown_timeout` and some.
    #[track_caller]
    pub fn terminate(&mut self) -> ExitStatus {
        self.signal(Signal::TERM);
        self.ended()
    }

    /// Waits for its end.
    ///
    /// # Panics
    /// As [`terminate`](Self::terminate).
    #[track_caller]
    pub fn ended(&mut self) -> ExitStatus {
        self.process.take().expect("it runs").wait(Duration::from_secs(40))
    }

    /// kill -9.
    pub fn kill(&mut self) {
        self.process = None;
    }

    /// Its metrics now.
    ///
    /// # Panics
    /// If it does not answer.
    #[track_caller]
    pub fn metrics(&self) -> Metrics {
        let (status, text) = http::get(self.ports.http, "/metrics").expect("the node answers");
        assert_eq!(status, 200, "{text}");
        Metrics::parse(&text)
    }
}

/// The same command in a control group: a shell joins it, and becomes the command.
fn within(processes: &Path, command: &Command, folder: &Path) -> Command {
    let mut shell = Command::new("sh");
    shell.args(["-c", "echo $$ > \"$0\" && exec \"$@\""]).arg(processes);
    shell.arg(command.get_program()).args(command.get_args()).current_dir(folder).stdin(Stdio::null());
    shell
}

impl Drop for Node {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("the node said:\n{}", self.said());
        }
    }
}

/// A scrape: series by name and labels, as written.
#[derive(Debug, Clone, PartialEq)]
pub struct Metrics {
    series: BTreeMap<String, f64>,
}

impl Metrics {
    fn parse(text: &str) -> Self {
        let numbers = text.lines().filter(|line| !line.starts_with('#')).map(|line| {
            let (name, number) = line.rsplit_once(' ').expect("a name and a number");
            (name.to_owned(), number.parse().expect("a number"))
        });
        Self { series: numbers.collect() }
    }

    /// The sum of a family's series whose labels contain every one of `labels` (`reason="expired"`), 0 if there is none.
    pub fn sum(&self, family: &str, labels: &[&str]) -> f64 {
        let fits = |name: &str| {
            let (found, found_labels) = name.split_once('{').unwrap_or((name, ""));
            found == family && labels.iter().all(|label| found_labels.contains(label))
        };
        self.series.iter().filter(|(name, _)| fits(name)).map(|(_, value)| value).sum()
    }

    /// A counter or gauge of the sink `main`, without the prefix `aqueduct_sink_`, summed over its other labels.
    pub fn sink(&self, name: &str) -> f64 {
        self.sum(&format!("aqueduct_sink_{name}"), &["sink=\"main\""])
    }

    /// Both sides of the identity that holds at every scrape: `matched`, and what has become of it.
    pub fn accounts(&self) -> (f64, f64) {
        let parts = ["success_total", "failed_total", "dropped_total", "queuing", "inflight"];
        (self.sink("matched_total"), parts.iter().map(|part| self.sink(part)).sum())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn series_are_summed_by_family_and_label() {
        let text = "# TYPE a counter\na_total{sink=\"main\",reason=\"x\"} 1\na_total{sink=\"main\",reason=\"y\"} 2\n\
                    a_total{sink=\"other\",reason=\"x\"} 4\nb 1.5\n# EOF\n";
        let metrics = Metrics::parse(text);
        assert_eq!(metrics.sum("a_total", &[]), 7.0);
        assert_eq!(metrics.sum("a_total", &["sink=\"main\""]), 3.0);
        assert_eq!(metrics.sum("a_total", &["sink=\"main\"", "reason=\"y\""]), 2.0);
        assert_eq!(metrics.sum("b", &[]), 1.5);
        assert_eq!(metrics.sum("c", &[]), 0.0);
    }
}
