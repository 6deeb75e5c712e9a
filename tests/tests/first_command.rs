//! The first thing a newcomer does: `aqueduct run`, without a configuration and without Kafka, one `mosquitto_pub`, and their own
//! message in `kcat`.
//!
//! Where 1883, 9092 and 18083 are free the command is run as it stands, else with other ports.

use std::net::TcpListener;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use aqueduct_tests::support::node;
use aqueduct_tests::support::peer::{self, Background, Peer};
use aqueduct_tests::support::port;
use aqueduct_tests::support::scratch::Scratch;
use aqueduct_tests::support::wait;
use rustix::process::{Pid, Signal, kill_process};

#[test]
fn a_published_message_is_seen_by_kcat() {
    let (Some(mut mosquitto_pub), Some(mut kcat)) = (Peer::MosquittoPub.command(), Peer::Kcat.command()) else {
        return;
    };
    let first = FirstCommand::run();
    let [mqtt, log, _] = first.ports.map(|port| port.to_string());

    peer::run(mosquitto_pub.args([
        "-h",
        "127.0.0.1",
        "-p",
        &mqtt,
        "-q",
        "1",
        "-i",
        "me",
        "-t",
        "hello",
        "-m",
        "world",
    ]));

    // A QoS 1 publish has been acknowledged, so the record is there: no second try.
    let read = ["-C", "-b", &format!("127.0.0.1:{log}"), "-t", "mqtt", "-o", "beginning", "-e", "-q", "-f", "%k %s\n"]
        .map(str::to_owned);
    let records = peer::run(kcat.args(read));
    let (key, value) = records.trim_end().split_once(' ').expect("one record, key and value");
    let value: serde_json::Value = serde_json::from_str(value).expect("the value is the event as JSON");
    assert_eq!(key, "me");
    assert_eq!(
        (&value["topic"], &value["payload"], &value["clientid"]),
        (&"hello".into(), &"world".into(), &"me".into())
    );
}

#[test]
fn it_says_what_listens_where_and_what_to_type_next() {
    let first = FirstCommand::run_on([port::free(), port::free(), port::free()]);
    // Printed once everything listens, so a moment after the first port answers.
    let banner = wait::until("the banner", 5, || Some(first.said()).filter(|said| said.contains("kcat")));
    for port in first.ports {
        assert!(banner.contains(&format!("127.0.0.1:{port}")), "{banner}");
    }
    assert!(banner.contains("mosquitto_pub") && banner.contains("kcat"), "{banner}");
    assert!(banner.lines().count() <= 15, "a few lines, not\n{banner}");
}

struct FirstCommand {
    process: Background,
    ports: [u16; 3],
    scratch: Scratch,
}

impl FirstCommand {
    fn run() -> Self {
        const DEFAULTS: [u16; 3] = [1883, 9092, 18083];
        // All three held at once, so that none is counted free that another test is about to take.
        let free = DEFAULTS.map(|port| TcpListener::bind(("127.0.0.1", port))).iter().all(Result::is_ok);
        if free { Self::start(DEFAULTS, &[]) } else { Self::run_on([port::free(), port::free(), port::free()]) }
    }

    fn run_on(ports: [u16; 3]) -> Self {
        let [mqtt, log, http] = ports;
        let set = [
            format!("--bind=127.0.0.1:{mqtt}"),
            format!("--set=connectors.main.bind=127.0.0.1:{log}"),
            format!("--set=http.bind=127.0.0.1:{http}"),
        ];
        Self::start(ports, &set)
    }

    fn start(ports: [u16; 3], arguments: &[String]) -> Self {
        let scratch = Scratch::new("first");
        let log = |name: &str| Stdio::from(std::fs::File::create(scratch.file(name)).expect("the folder is writable"));
        let mut command: Command = node::command(scratch.path(), &["run"]);
        let mut process = Background::start(command.args(arguments).stdout(log("stdout")).stderr(log("stderr")));
        wait::until("all three ports answer", 20, || {
            if let Some(status) = process.0.try_wait().expect("our child") {
                panic!("it ended with {status}:\n{}", said(scratch.path()));
            }
            ports.iter().all(|&port| std::net::TcpStream::connect(("127.0.0.1", port)).is_ok()).then_some(())
        });
        Self { process, ports, scratch }
    }

    fn said(&self) -> String {
        said(self.scratch.path())
    }
}

impl Drop for FirstCommand {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("it said:\n{}", self.said());
            return;
        }
        // As a user ends it: Ctrl-C, and nothing is in the way of its end.
        let pid = Pid::from_raw(i32::try_from(self.process.0.id()).expect("a process id")).expect("not 0");
        kill_process(pid, Signal::INT).expect("it runs");
        assert_eq!(self.process.wait(Duration::from_secs(10)).code(), Some(0), "{}", self.said());
    }
}

fn said(folder: &Path) -> String {
    ["stdout", "stderr"].map(|name| std::fs::read_to_string(folder.join(name)).unwrap_or_default()).concat()
}
