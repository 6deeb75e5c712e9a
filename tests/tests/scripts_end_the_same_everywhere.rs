//! The simulator tells the truth about sockets, disks and Kafka: a script has the outcome it has in a simulated world also with the
//! real driver over TCP and its embedded log, with one shard and with two, and with Apache Kafka.
//!
//! Setup: a node, and a cluster whose topics take no large records. Action: every script, several at once, each with names of its
//! own. Expectation: every client hears what its like heard in the simulated world, and every partition holds the same records.

use std::collections::BTreeMap;
use std::io::Write;
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use aqueduct_simulation::plan::Destination;
use aqueduct_simulation::script::{
    MESSAGE_BYTES_MAX, MQTT, PARTITIONS, Received, Records, SINK, SINKS, Script, Stage, drawn, play, simulate, written,
};
use aqueduct_tests::support::kafka::{self, Kafka};
use aqueduct_tests::support::node::{Node, Plan};
use aqueduct_tests::support::{peer, wait};

/// Drawn scripts; the simulated worlds among themselves compare more of them.
const DRAWN: u16 = 400;

/// Scripts played at once.
const PLAYERS: usize = 4;

/// A client waits so long for what does not come.
const PATIENCE: Duration = Duration::from_secs(20);

#[test]
fn with_the_embedded_log_and_one_shard() {
    compare(&start(Plan::embedded(), 1), |script| !script.needs_kafka());
}

#[test]
fn with_the_embedded_log_and_two_shards() {
    compare(&start(Plan::embedded(), 2), |script| !script.needs_kafka());
}

#[test]
fn with_kafka_and_two_shards() {
    let kafka = match Kafka::start(1, &format!("message.max.bytes={MESSAGE_BYTES_MAX}")) {
        Ok(kafka) => kafka,
        Err(remedy) => return peer::skip("AQUEDUCT_REQUIRE_KAFKA", &remedy),
    };
    for (topic, _) in SINKS {
        kafka.create_topic(topic, PARTITIONS as i32);
    }
    compare(&start(Plan::kafka(kafka.bootstrap(), SINKS[0].0), 2), |_| true);
}

/// A node with the sinks and limits of every world.
fn start(plan: Plan, shards: u16) -> Node {
    let section = |(topic, lines): (&str, &str)| format!("topic = \"{topic}\"\n{lines}\n{SINK}");
    let plan = plan.node(&format!("shards = {shards}\npin = false")).only_sink(&section(SINKS[0])).section(MQTT);
    let plan = plan.section(&format!("[sinks.second]\nconnector = \"main\"\n{}", section(SINKS[1])));
    let is_embedded = plan.config().contains("type = \"embedded\"");
    let plan = if is_embedded { plan.connector(&format!("partitions = {PARTITIONS}")) } else { plan };
    plan.start()
}

fn compare(node: &Node, fits: impl Fn(&Script) -> bool) {
    let scripts = written().into_iter().map(|written| written.script).chain((0..DRAWN).map(drawn));
    let scripts: Vec<Script> = scripts.filter(fits).collect();
    let mut outcomes = play_all(node.mqtt(), &scripts);
    let records = records(node);
    let mut wrong = Vec::new();
    for script in &scripts {
        let expected = simulate(script, Destination::Kafka, 1, None);
        let mut outcome = outcomes.remove(&script.number).expect("every script was played");
        if let Ok(lines) = &mut outcome {
            lines.extend(records.lines(script));
        }
        if outcome != expected {
            let shown = |outcome: &Result<Vec<String>, String>| match outcome {
                Ok(lines) => lines.join("\n"),
                Err(why) => why.clone(),
            };
            let (found, expected) = (shown(&outcome), shown(&expected));
            wrong.push(format!("{}\n{found}\ninstead of, simulated,\n{expected}", script.text()));
        }
    }
    assert!(wrong.is_empty(), "{} of {} scripts differ:\n{}", wrong.len(), scripts.len(), first(&wrong));
}

fn first(wrong: &[String]) -> String {
    wrong[..wrong.len().min(4)].join("\n\n")
}

/// Outcomes by the number of the script.
fn play_all(to: SocketAddr, scripts: &[Script]) -> BTreeMap<u16, Result<Vec<String>, String>> {
    let next = AtomicUsize::new(0);
    let outcomes = Mutex::new(BTreeMap::new());
    std::thread::scope(|scope| {
        for _ in 0..PLAYERS {
            scope.spawn(|| {
                while let Some(script) = scripts.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let outcome = play(script, &mut Sockets { to, conns: Vec::new() });
                    outcomes.lock().unwrap_or_else(PoisonError::into_inner).insert(script.number, outcome);
                }
            });
        }
    });
    outcomes.into_inner().unwrap_or_else(PoisonError::into_inner)
}

/// What the topics hold once nothing is on its way.
fn records(node: &Node) -> Records {
    wait::until("nothing is on its way", 30, || {
        let metrics = node.metrics();
        let sum = |name: &str| metrics.sum(&format!("aqueduct_sink_{name}"), &[]);
        (sum("queuing") + sum("inflight") == 0.0).then_some(())
    });
    let mut records = Records::default();
    for (sink, (topic, _)) in SINKS.into_iter().enumerate() {
        for record in kafka::read(&node.bootstrap(), topic) {
            let value = record.value.expect("no script publishes a null");
            records.note(sink, record.partition as u32, record.key.as_deref(), &value);
        }
    }
    records
}

/// Connections over TCP.
struct Sockets {
    to: SocketAddr,
    conns: Vec<Option<TcpStream>>,
}

impl Sockets {
    fn conn(&mut self, conn: usize) -> &mut TcpStream {
        self.conns[conn].as_mut().expect("a connection that was not forgotten")
    }
}

impl Stage for Sockets {
    fn open(&mut self) -> usize {
        let stream = TcpStream::connect(self.to).expect("the node listens");
        stream.set_nodelay(true).expect("a TCP option");
        stream.set_read_timeout(Some(PATIENCE)).expect("a TCP option");
        self.conns.push(Some(stream));
        self.conns.len() - 1
    }

    fn send(&mut self, conn: usize, bytes: &[u8]) {
        // Where the server has closed, reading will tell.
        let _ = self.conn(conn).write_all(bytes);
    }

    fn finish(&mut self, conn: usize) {
        let _ = self.conn(conn).shutdown(Shutdown::Write);
    }

    fn receive(&mut self, conn: usize, into: &mut Vec<u8>) -> Received {
        Received::read(self.conn(conn), 16 << 10, into)
    }

    fn forget(&mut self, conn: usize) {
        self.conns[conn] = None;
    }
}
