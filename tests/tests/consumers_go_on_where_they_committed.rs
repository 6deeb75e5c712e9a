//! Consumers of the embedded log go on where their group has committed, whoever wrote them and however the node ended.
//!
//! Setup: a node without Kafka, keyed records over four partitions. Action: consumers of one group read a part each, while the
//! node is drained, killed and started again, or members come and go. Expectation: together they see every record once.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use aqueduct_tests::support::kafka;
use aqueduct_tests::support::mqtt::{Client, Version};
use aqueduct_tests::support::node::{Node, Plan};
use aqueduct_tests::support::peer::{self, Background, Peer};
use aqueduct_tests::support::wait;
use rustix::process::{Pid, Signal, kill_process};

#[test]
fn the_console_consumer_goes_on_after_a_drain_and_after_a_kill() {
    let mut node = node();
    let mut published = publish(&node, "first", 100);
    let Some(mut seen) = console_reads(&node, 40) else { return };
    assert!(node.terminate().success());
    node.start_again();
    published.extend(publish(&node, "second", 20));
    seen.extend(console_reads(&node, 30).expect("as before"));
    node.kill();
    node.start_again();
    seen.extend(console_reads(&node, 50).expect("as before"));
    each_once(seen, published);
}

#[test]
fn kcat_goes_on_in_a_group() {
    let mut node = node();
    let read = |node: &Node| {
        let at = ["-b", &node.bootstrap(), "-q", "-X", "auto.offset.reset=earliest", "-e", "-f", "%s\n"];
        let said = peer::run(Peer::Kcat.command()?.args(at).args(["-G", "readers", "mqtt"]));
        Some(said.lines().map(str::to_owned).collect::<Vec<_>>())
    };
    let mut published = publish(&node, "first", 100);
    let Some(mut seen) = read(&node) else { return };
    assert_eq!(seen.len(), 100);
    let drain = |node: &mut Node| assert!(node.terminate().success());
    for (name, stop) in [("second", Node::kill as fn(&mut Node)), ("third", drain)] {
        stop(&mut node);
        node.start_again();
        published.extend(publish(&node, name, 10));
        seen.extend(read(&node).expect("as before"));
    }
    each_once(seen, published);
}

#[test]
fn franz_go_reads_directly_and_goes_on_in_a_group() {
    let mut node = node();
    let read = |node: &Node, count: usize, how: &[&str]| -> Option<Vec<GoRecord>> {
        let mut franz_go = Peer::FranzGo.command()?;
        franz_go.args([how[0], &node.bootstrap(), "mqtt", &count.to_string()]).args(&how[1..]);
        Some(peer::run(&mut franz_go).lines().map(GoRecord::parse).collect())
    };
    let mut published = publish(&node, "first", 100);
    let Some(direct) = read(&node, 100, &["direct"]) else { return };
    each_in_its_place(&direct);
    let oracle = kafka::read(&node.bootstrap(), "mqtt").into_iter().map(|record| {
        let text = |bytes: Option<Vec<u8>>| String::from_utf8(bytes.expect("not null")).expect("text");
        GoRecord {
            partition: record.partition,
            offset: record.offset,
            key: text(record.key),
            value: text(record.value),
        }
    });
    let mut sorted = direct;
    sorted.sort_unstable();
    assert_eq!(sorted, oracle.collect::<Vec<_>>(), "franz-go and rskafka read the same");

    let group = ["group", "gophers"];
    let mut seen = read(&node, 40, &group).expect("as before");
    assert!(node.terminate().success());
    node.start_again();
    seen.extend(read(&node, 30, &group).expect("as before"));
    node.kill();
    node.start_again();
    published.extend(publish(&node, "second", 20));
    seen.extend(read(&node, 50, &group).expect("as before"));
    each_in_its_place(&seen);
    each_once(seen.into_iter().map(|record| record.value).collect(), published);
}

#[test]
fn two_console_consumers_share_the_partitions() {
    let node = node();
    let (Some(mut one), Some(two)) = (Member::join(&node, "one"), Member::join(&node, "two")) else { return };
    let both = |part: &str| -> [Vec<String>; 2] {
        [&one, &two].map(|member| member.lines().into_iter().filter(|line| line.starts_with(part)).collect())
    };
    let mut published = Vec::new();
    // Until both have their share nobody knows who reads what.
    let mut round = 0;
    wait::until("both members read", 120, || {
        published.extend(publish(&node, &format!("before{round}"), 20));
        round += 1;
        std::thread::sleep(Duration::from_millis(200));
        both("before").iter().all(|lines| !lines.is_empty()).then_some(())
    });
    published.extend(publish(&node, "shared", 40));
    let shared = wait::until("the shared records", 60, || {
        let shared = both("shared");
        (shared.iter().map(Vec::len).sum::<usize>() >= 40).then_some(shared)
    });
    assert!(shared.iter().all(|lines| !lines.is_empty()), "each has partitions with keys: {shared:?}");

    // The one that stays takes over, from where the other has committed.
    one.leave();
    published.extend(publish(&node, "alone", 40));
    wait::until("the rest at the one who stays", 60, || {
        (two.lines().iter().filter(|line| line.starts_with("alone")).count() >= 40).then_some(())
    });
    each_once([one.lines(), two.lines()].concat(), published);
}

/// A console consumer in the group `sharers` that runs until it leaves.
struct Member {
    process: Background,
    out: PathBuf,
}

impl Member {
    fn join(node: &Node, name: &str) -> Option<Self> {
        let out = node.folder().join(name);
        let mut consumer = console(node, name, "sharers")?;
        // A member hears of a new round at its next heartbeat.
        consumer.args(["--consumer-property", "heartbeat.interval.ms=300"]);
        consumer.stdout(File::create(&out).expect("the folder is writable"));
        let errors = File::create(out.with_extension("stderr")).expect("the folder is writable");
        Some(Self { process: Background::start(consumer.stderr(errors)), out })
    }

    /// Every whole line it has written.
    fn lines(&self) -> Vec<String> {
        let text = fs::read_to_string(&self.out).expect("its output");
        text.split_inclusive('\n').filter_map(|line| line.strip_suffix('\n')).map(str::to_owned).collect()
    }

    /// As Ctrl-C does: commits and leaves.
    fn leave(&mut self) {
        let pid = Pid::from_raw(i32::try_from(self.process.0.id()).expect("a process id")).expect("not 0");
        kill_process(pid, Signal::TERM).expect("it runs");
        self.process.wait(Duration::from_secs(20));
    }
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct GoRecord {
    partition: i32,
    offset: i64,
    key: String,
    value: String,
}

impl GoRecord {
    fn parse(line: &str) -> Self {
        let words: Vec<&str> = line.split(' ').collect();
        let [partition, offset, key, value] = words[..] else { panic!("four words: {line:?}") };
        let (partition, offset) = (partition.parse().expect("a number"), offset.parse().expect("a number"));
        Self { partition, offset, key: key.to_owned(), value: value.to_owned() }
    }
}

/// In each partition the offsets begin at 0 and follow each other in the order of reading.
fn each_in_its_place(records: &[GoRecord]) {
    let mut next = BTreeMap::new();
    for record in records {
        let expected = next.entry(record.partition).or_insert(0);
        assert_eq!(record.offset, *expected, "{record:?}");
        *expected += 1;
    }
}

fn each_once(mut seen: Vec<String>, published: Vec<String>) {
    seen.sort_unstable();
    let twice: Vec<&String> = seen.windows(2).filter(|pair| pair[0] == pair[1]).map(|pair| &pair[0]).collect();
    let missing: Vec<&String> = published.iter().filter(|value| seen.binary_search(value).is_err()).collect();
    assert!(twice.is_empty() && missing.is_empty(), "twice: {twice:?}, missing: {missing:?}");
    assert_eq!(seen.len(), published.len(), "nothing else is there");
}

fn node() -> Node {
    Plan::embedded().sink("key = \"${topic}\"\nvalue = \"${payload}\"").start()
}

/// Publishes `count` values that begin with `name`, over ten keys, and returns them.
fn publish(node: &Node, name: &str, count: usize) -> Vec<String> {
    let mut client = Client::connect(node.mqtt(), Version::V5, "publisher");
    let values: Vec<String> = (0..count).map(|i| format!("{name}-{i}")).collect();
    for (i, value) in values.iter().enumerate() {
        client.publish_acked(&format!("key-{}", i % 10), value.as_bytes(), 1);
    }
    values
}

/// What a console consumer of the group `readers` reads before it has `count` records, commits and leaves.
fn console_reads(node: &Node, count: usize) -> Option<Vec<String>> {
    let mut consumer = console(node, "reader", "readers")?;
    let said = peer::run(consumer.args(["--max-messages", &count.to_string()]));
    Some(said.lines().map(str::to_owned).collect())
}

fn console(node: &Node, name: &str, group: &str) -> Option<Command> {
    let mut consumer = kafka::tool(&node.folder().join(format!("tool-{name}")), "consumer")?;
    consumer.args(["--bootstrap-server", &node.bootstrap(), "--topic", "mqtt", "--group", group, "--from-beginning"]);
    Some(consumer)
}
