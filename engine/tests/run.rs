//! A run from outside: ready, refused with one sentence, drained.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

/// A directory with a configuration whose ports were free a moment ago.
struct Place {
    dir: PathBuf,
    mqtt: u16,
    http: u16,
}

impl Place {
    fn new(name: &str) -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let dir = std::env::temp_dir().join(format!("aqueduct-run-{name}-{}-{number}", std::process::id()));
        let _ = fs::remove_dir_all(&dir);
        fs::create_dir_all(&dir).expect("a directory");
        let place = Self { dir, mqtt: free_port(), http: free_port() };
        fs::write(place.dir.join("aqueduct.toml"), place.config()).expect("a configuration");
        place
    }

    fn config(&self) -> String {
        let Self { mqtt, http, .. } = self;
        format!(
            "[node]\nshards = 2\npin = false\nmemory_limit = \"256MB\"\nshutdown_timeout = \"5s\"\n\
             [listeners.tcp]\nbind = \"127.0.0.1:{mqtt}\"\n\
             [connectors.main]\ntype = \"embedded\"\nbind = \"127.0.0.1:{}\"\n\
             [sinks.mqtt]\nconnector = \"main\"\nsource_topics = [\"#\"]\ntopic = \"mqtt\"\n\
             [http]\nbind = \"127.0.0.1:{http}\"\n",
            free_port()
        )
    }

    fn command(&self, before: &[&str]) -> Command {
        let mut words = before.iter().map(|word| word.to_string()).collect::<Vec<_>>();
        words.extend([env!("CARGO_BIN_EXE_aqueduct"), "run", "--config", "aqueduct.toml"].map(str::to_string));
        let mut command = Command::new(&words[0]);
        command.args(&words[1..]).current_dir(&self.dir).stdin(Stdio::null());
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    fn start(&self) -> Node {
        let mut child = self.command(&[]).spawn().expect("starts");
        let mut lines = BufReader::new(child.stdout.take().expect("a pipe")).lines();
        let first = lines.next().expect("a line").expect("text");
        assert!(first.contains("ready"), "{first}");
        Node { child }
    }

    /// Runs to the end, which must be a refusal: code 1, one sentence, no panic.
    fn refused(&self, before: &[&str]) -> String {
        let output = self.command(before).output().expect("runs");
        let text = stderr(&output);
        assert_eq!(output.status.code(), Some(1), "{text}");
        assert!(!text.contains("panicked"), "{text}");
        let sentence = text.lines().find(|line| line.starts_with("aqueduct: ")).unwrap_or_default();
        assert!(sentence.ends_with('.'), "{text}");
        sentence.to_string()
    }

    /// Asks until it is answered, for five seconds at most: ports are shared with everything else that runs here.
    fn get(&self, path: &str) -> String {
        let deadline = Instant::now() + Duration::from_secs(5);
        loop {
            match self.ask(path) {
                Ok(text) => return text,
                Err(error) if Instant::now() > deadline => panic!("{path} is not answered: {error}"),
                Err(_) => std::thread::sleep(Duration::from_millis(20)),
            }
        }
    }

    fn ask(&self, path: &str) -> std::io::Result<String> {
        let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, self.http))?;
        let request = format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes())?;
        let mut text = String::new();
        stream.read_to_string(&mut text)?;
        Ok(text)
    }

    fn publish(&self) -> TcpStream {
        let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, self.mqtt)).expect("connects");
        stream.set_read_timeout(Some(Duration::from_secs(10))).expect("a timeout");
        // CONNECT of MQTT 3.1.1, clean session, client id "c"; PUBLISH at QoS 1 of "x" to "t" with id 1.
        stream.write_all(b"\x10\x0d\x00\x04MQTT\x04\x02\x00\x00\x00\x01c").expect("sends");
        stream.write_all(b"\x32\x06\x00\x01t\x00\x01x").expect("sends");
        let mut answers = [0; 8];
        stream.read_exact(&mut answers).expect("CONNACK and PUBACK");
        assert_eq!(answers, *b"\x20\x02\x00\x00\x40\x02\x00\x01");
        stream
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.dir);
    }
}

/// A running node; killed if the test fails.
struct Node {
    child: Child,
}

impl Node {
    fn signal(&self, signal: Signal) {
        let pid = Pid::from_child(&self.child);
        kill_process(pid, signal).expect("it runs");
    }

    fn ended(&mut self) -> (Option<i32>, String) {
        let until = Instant::now() + Duration::from_secs(20);
        while Instant::now() < until {
            if let Some(status) = self.child.try_wait().expect("a child") {
                let mut text = String::new();
                self.child.stderr.take().expect("a pipe").read_to_string(&mut text).expect("text");
                return (status.code(), text);
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        panic!("it did not end");
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn free_port() -> u16 {
    let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    TcpListener::bind(any).and_then(|listener| listener.local_addr()).expect("a free port").port()
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn it_serves_and_drains_on_sigterm() {
    let place = Place::new("serves");
    let mut node = place.start();
    let mut client = place.publish();
    assert!(place.get("/healthz").starts_with("HTTP/1.1 200"));
    let ready = place.get("/readyz");
    assert!(ready.starts_with("HTTP/1.1 200"), "{ready}");
    assert!(ready.contains(r#""sinks":{"mqtt":{"health":"connected","reason":null}}"#), "{ready}");
    let metrics = place.get("/metrics");
    assert!(metrics.contains("aqueduct_sink_success_total{sink=\"mqtt\"} 1"), "{metrics}");
    let busy = |line: &str| line.starts_with("aqueduct_busy_nanoseconds_total") && !line.ends_with(" 0");
    assert_eq!(metrics.lines().filter(|line| busy(line)).count(), 2, "both shards count their busy time\n{metrics}");

    node.signal(Signal::TERM);
    let (code, text) = node.ended();
    assert_eq!(code, Some(0), "{text}");
    assert!(!text.contains("dropped"), "{text}");
    let mut rest = Vec::new();
    assert_eq!(client.read_to_end(&mut rest).expect("the connection was closed"), 0);
    // The port and the directory are free again.
    let mut node = place.start();
    node.signal(Signal::INT);
    assert_eq!(node.ended().0, Some(0));
}

/// A node whose Kafka is away takes clients, and says why nothing is written.
#[test]
fn it_tells_which_sink_does_not_write_and_why() {
    let place = Place::new("kafka-away");
    let nobody = free_port();
    let config = place.config().replace("type = \"embedded\"\nbind", "type = \"kafka\"\nbootstrap_hosts");
    let config: String = config
        .lines()
        .map(|line| match line.starts_with("bootstrap_hosts") {
            true => format!("bootstrap_hosts = \"127.0.0.1:{nobody}\"\nstart_timeout = \"500ms\"\n"),
            false => format!("{line}\n"),
        })
        .collect();
    fs::write(place.dir.join("aqueduct.toml"), config).expect("a configuration");
    let _node = place.start();
    let until = Instant::now() + Duration::from_secs(10);
    let ready = loop {
        let ready = place.get("/readyz");
        if ready.contains("start_timeout") || Instant::now() > until {
            break ready;
        }
        std::thread::sleep(Duration::from_millis(50));
    };
    assert!(ready.starts_with("HTTP/1.1 200"), "{ready}");
    let reason = "not connected within start_timeout (0.5 s)";
    assert!(
        ready.contains(&format!(r#""connectors":{{"main":{{"health":"disconnected","reason":"{reason}"#)),
        "{ready}"
    );
    assert!(ready.contains(&format!(r#""sinks":{{"mqtt":{{"health":"disconnected","reason":"{reason}"#)), "{ready}");
    assert!(ready.contains("onnection refused"), "{ready}");
    let metrics = place.get("/metrics");
    assert!(metrics.contains("aqueduct_sink_health{sink=\"mqtt\",state=\"disconnected\"} 2"), "{metrics}");
    assert!(metrics.contains("aqueduct_sink_health{sink=\"mqtt\",state=\"connected\"} 0"), "{metrics}");
}

/// Without descriptors the node leaves connections in the kernel's queue, looks again a few times a second, and takes them
/// when there is room.
#[test]
fn it_rests_when_no_descriptor_is_left() {
    let place = Place::new("descriptors");
    // Four of five are for clients as planned; the rest is less than the node itself has open.
    let mut command = place.command(&["sh", "-c", "ulimit -n 70; exec \"$0\" \"$@\""]);
    let mut child = command.spawn().expect("starts");
    let mut lines = BufReader::new(child.stdout.take().expect("a pipe")).lines();
    lines.next().expect("a line").expect("text");
    let mut node = Node { child };
    let crowd: Vec<TcpStream> =
        (0..60).map(|_| TcpStream::connect((Ipv4Addr::LOCALHOST, place.mqtt)).expect("the kernel accepts")).collect();
    std::thread::sleep(Duration::from_secs(1));
    drop(crowd);
    place.publish();
    let metrics = place.get("/metrics");
    let sum = |name: &str| -> u64 {
        let of = |line: &str| line.strip_prefix(name)?.rsplit_once(' ')?.1.parse::<u64>().ok();
        metrics.lines().filter_map(of).sum()
    };
    let failed = sum("aqueduct_accepts_failed_total");
    assert!((1..=60).contains(&failed), "ten times a second and shard: {failed}\n{metrics}");
    assert!(sum("aqueduct_rounds_total") < 5_000, "the shards do not spin\n{metrics}");
    node.signal(Signal::TERM);
    let (code, text) = node.ended();
    assert_eq!(code, Some(0), "{text}");
    let said = text.lines().filter(|line| line.contains("Raise the limit of open files")).count();
    assert!((1..=2).contains(&said), "once a shard, not at every try\n{text}");
}

/// As in `aqueduct run | head -1`: a pipe that nobody reads any more is not a reason to end.
#[test]
fn it_goes_on_when_nobody_reads_its_words() {
    let place = Place::new("unheard");
    let mut child = place.command(&[]).spawn().expect("starts");
    drop((child.stdout.take(), child.stderr.take()));
    let mut node = Node { child };
    assert!(place.get("/readyz").starts_with("HTTP/1.1 200"));
    place.publish();
    node.signal(Signal::TERM);
    let status = node.child.wait().expect("a child");
    assert_eq!(status.code(), Some(0), "{status}");
}

#[test]
fn it_refuses_a_data_directory_in_use() {
    let place = Place::new("twice");
    let node = place.start();
    let sentence = place.refused(&[]);
    let pid = node.child.id();
    assert!(sentence.contains(&format!("in use by another aqueduct (process {pid})")), "{sentence}");
}

/// Also a port that another process of the same user shares in the way we share it among shards.
#[test]
fn it_refuses_a_port_that_is_taken() {
    let place = Place::new("port");
    let _taken = TcpListener::bind((Ipv4Addr::LOCALHOST, place.mqtt)).expect("free a moment ago");
    let sentence = place.refused(&[]);
    assert!(
        sentence.contains(&format!("cannot listen on 127.0.0.1:{} (listeners.tcp.bind)", place.mqtt)),
        "{sentence}"
    );

    let place = Place::new("shared-port");
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).expect("a socket");
    socket.set_reuse_port(true).expect("shares");
    socket.bind(&SocketAddr::from((Ipv4Addr::LOCALHOST, place.mqtt)).into()).expect("free a moment ago");
    socket.listen(1).expect("listens");
    assert!(place.refused(&[]).contains("taken by another process"));

    let place = Place::new("http-port");
    let _taken = TcpListener::bind((Ipv4Addr::LOCALHOST, place.http)).expect("free a moment ago");
    assert!(place.refused(&[]).contains("(http.bind)"));
}

#[test]
fn it_refuses_too_little_locked_memory() {
    let place = Place::new("memlock");
    let sentence = place.refused(&["sh", "-c", "ulimit -l 64; exec \"$0\" \"$@\""]);
    assert!(sentence.contains("the limit of locked memory is 64 KiB, and the shards need 512 KiB"), "{sentence}");
}

/// io_uring forbidden, as containers and a sysctl do, without changing this machine: strace answers in the kernel's place.
#[test]
fn it_refuses_where_io_uring_is_forbidden() {
    if Command::new("strace").arg("-V").output().is_err() {
        eprintln!("SKIPPED: it_refuses_where_io_uring_is_forbidden needs strace");
        return;
    }
    for (error, words) in
        [("EPERM", "io_uring is forbidden here"), ("ENOSYS", "has no io_uring"), ("ENOMEM", "too low")]
    {
        let place = Place::new("io-uring");
        let inject = format!("inject=io_uring_setup:error={error}");
        let sentence = place.refused(&["strace", "-f", "-o", "/dev/null", "-e", "trace=io_uring_setup", "-e", &inject]);
        assert!(sentence.contains(words), "{sentence}");
    }
}
