//! What an administrator does to topics, in Kafka's protocol: a tool of Kafka's takes seconds for each, in which the load goes on.
//!
//! ```text
//! CreateTopics 2      topics (name, partitions, replicas, assignments, settings (name, value)), patience, only to see
//! DeleteTopics 1      names, patience                                   -> throttle, topics (name, error)
//! CreatePartitions 0  topics (name, how many then, assignments), patience, only to see
//!                                                                       -> throttle, topics (name, error, words)
//! CreateAcls 1        rules (kind, name, pattern, who, from where, what, how) -> throttle, rules (error, words)
//! DeleteAcls 1        the same as filters                               -> throttle, filters (error, words, ...)
//! DescribeAcls 1      one such filter                                   -> throttle, error, words, things (kind, name, ...)
//! ```

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use miette::{IntoDiagnostic, Result, WrapErr, bail, miette};

use crate::ledger::fetch::KafkaReader;
use crate::ledger::link::{Answer, Link, put_text};

const CREATE_TOPICS: (i16, i16) = (19, 2);
const DELETE_TOPICS: (i16, i16) = (20, 1);
const CREATE_PARTITIONS: (i16, i16) = (37, 0);
const CREATE_ACLS: (i16, i16) = (30, 1);
const DELETE_ACLS: (i16, i16) = (31, 1);
const DESCRIBE_ACLS: (i16, i16) = (29, 1);
/// INVALID_REPLICATION_FACTOR, NOT_CONTROLLER.
const BRIEF_ERRORS: [i16; 2] = [38, 41];
/// How long one answer may take.
const ANSWER: Duration = Duration::from_secs(15);
const PATIENCE_MS: i32 = 10_000;
/// How long every broker may take to hear of a change.
const KNOWN: Duration = Duration::from_secs(30);
const PAUSE: Duration = Duration::from_millis(20);

/// A topic to be made.
#[derive(Debug, Clone, Copy)]
pub(super) struct NewTopic<'a> {
    pub(super) name: &'a str,
    pub(super) partitions: i32,
    pub(super) replicas: i16,
    pub(super) settings: &'a [(&'a str, &'a str)],
}

/// Rules as Kafka numbers them: about a topic of exactly that name.
const TOPIC: u8 = 2;
const LITERAL: u8 = 3;
const ANY: u8 = 1;
const ALL: u8 = 2;
const WRITE: u8 = 4;
const DENY: u8 = 2;
const ALLOW: u8 = 3;

/// An administrator of a cluster.
pub(super) struct Admin {
    hosts: Vec<SocketAddr>,
    reader: KafkaReader,
}

impl Admin {
    /// Will ask `host:port[,host:port]`.
    pub(super) fn connect(bootstrap: &str) -> Result<Self> {
        let hosts = bootstrap.split(',').map(str::parse).collect::<Result<_, _>>();
        let hosts = hosts.into_diagnostic().wrap_err_with(|| bootstrap.to_owned())?;
        Ok(Self { hosts, reader: KafkaReader::connect(bootstrap)? })
    }

    /// Makes a topic, and waits until its partitions have leaders.
    pub(super) fn create_topic(&self, topic: &NewTopic<'_>) -> Result<()> {
        let mut body = 1_i32.to_be_bytes().to_vec();
        put_text(&mut body, topic.name);
        body.extend_from_slice(&topic.partitions.to_be_bytes());
        body.extend_from_slice(&topic.replicas.to_be_bytes());
        body.extend_from_slice(&0_i32.to_be_bytes());
        body.extend_from_slice(&(topic.settings.len() as i32).to_be_bytes());
        for (name, value) in topic.settings {
            put_text(&mut body, name);
            put_text(&mut body, value);
        }
        body.extend_from_slice(&PATIENCE_MS.to_be_bytes());
        body.push(0);
        let start = Instant::now();
        let error = loop {
            let error = self.ask(CREATE_TOPICS, &body).and_then(error_of_topic)?;
            // Brokers that were just started may not know each other yet.
            if !BRIEF_ERRORS.contains(&error) || start.elapsed() > KNOWN {
                break error;
            }
            std::thread::sleep(PAUSE);
        };
        taken(error).wrap_err_with(|| format!("making topic {}", topic.name))?;
        self.await_partitions(topic.name, topic.partitions)
    }

    /// Deletes a topic, and waits until no broker knows it any more.
    pub(super) fn delete_topic(&self, name: &str) -> Result<()> {
        let mut body = 1_i32.to_be_bytes().to_vec();
        put_text(&mut body, name);
        body.extend_from_slice(&PATIENCE_MS.to_be_bytes());
        self.ask(DELETE_TOPICS, &body).and_then(one_topic).wrap_err_with(|| format!("deleting topic {name}"))?;
        until(|| self.reader.is_unknown_to_all(name).unwrap_or(false), &format!("topic {name} to be gone"))
    }

    /// Gives a topic so many partitions more. Answers how many it has then.
    pub(super) fn add_partitions(&self, name: &str, more: i32) -> Result<i32> {
        let count = self.reader.partitions(name)?.len() as i32 + more;
        let mut body = 1_i32.to_be_bytes().to_vec();
        put_text(&mut body, name);
        body.extend_from_slice(&count.to_be_bytes());
        body.extend_from_slice(&(-1_i32).to_be_bytes());
        body.extend_from_slice(&PATIENCE_MS.to_be_bytes());
        body.push(0);
        self.ask(CREATE_PARTITIONS, &body).and_then(one_topic).wrap_err_with(|| format!("adding to topic {name}"))?;
        self.await_partitions(name, count)?;
        Ok(count)
    }

    /// `principal` may do everything with a topic but write to it, and every broker knows.
    pub(super) fn deny_writes(&self, name: &str, principal: &str) -> Result<()> {
        // Where a topic has any rule, nobody may do what none allows.
        let rules = [(ALL, ALLOW), (WRITE, DENY)];
        let mut body = (rules.len() as i32).to_be_bytes().to_vec();
        for (what, how) in rules {
            put_rule(&mut body, name, [principal, "*"], what, how);
        }
        let mut answer = self.ask(CREATE_ACLS, &body)?;
        answer.skip(4)?;
        for _ in 0..answer.int()? {
            let error = answer.short()?;
            let words = answer.text()?;
            if error != 0 {
                bail!("a rule about topic {name}: error {error} {words}");
            }
        }
        let known = || self.hosts.iter().all(|host| rules_about(*host, name).is_ok_and(|count| count > 0));
        until(known, &format!("every broker to know the rules about topic {name}"))
    }

    /// Takes back all rules about a topic.
    pub(super) fn allow(&self, name: &str) -> Result<()> {
        let mut body = 1_i32.to_be_bytes().to_vec();
        put_filter(&mut body, name);
        let mut answer = self.ask(DELETE_ACLS, &body)?;
        answer.skip(8)?;
        match answer.short()? {
            0 => Ok(()),
            error => bail!("taking back the rules about topic {name}: error {error}"),
        }
    }

    fn await_partitions(&self, name: &str, count: i32) -> Result<()> {
        let known = || {
            let partitions = self.reader.partitions(name).unwrap_or_default();
            partitions.len() == count as usize && partitions.iter().all(|info| info.leader >= 0)
        };
        until(known, &format!("{count} partitions of topic {name}"))
    }

    /// A connection to each broker.
    pub(super) fn links(&self) -> impl Iterator<Item = Result<Link>> {
        self.hosts.iter().map(|host| Link::open(*host, ANSWER))
    }

    /// Any broker passes it on to the controller.
    pub(super) fn ask(&self, api: (i16, i16), body: &[u8]) -> Result<Answer> {
        let mut last = miette!("no host to ask");
        for host in &self.hosts {
            match Link::open(*host, ANSWER) {
                Ok(mut link) => return link.ask(api, body),
                Err(error) => last = error,
            }
        }
        Err(last)
    }
}

/// Waits until it is so.
pub(super) fn until(is_so: impl Fn() -> bool, what: &str) -> Result<()> {
    let start = Instant::now();
    while !is_so() {
        if start.elapsed() > KNOWN {
            bail!("waited {KNOWN:?} for {what}");
        }
        std::thread::sleep(PAUSE);
    }
    Ok(())
}

fn put_rule(body: &mut Vec<u8>, topic: &str, who: [&str; 2], what: u8, how: u8) {
    body.push(TOPIC);
    put_text(body, topic);
    body.push(LITERAL);
    who.iter().for_each(|text| put_text(body, text));
    body.extend_from_slice(&[what, how]);
}

/// All rules about a topic.
fn put_filter(body: &mut Vec<u8>, topic: &str) {
    body.push(TOPIC);
    put_text(body, topic);
    body.push(LITERAL);
    // Whoever it is, from wherever.
    body.extend_from_slice(&[0xff; 4]);
    body.extend_from_slice(&[ANY, ANY]);
}

/// Of how many things a broker itself knows rules, among those named so: 0 or 1.
fn rules_about(host: SocketAddr, topic: &str) -> Result<i32> {
    let mut body = Vec::new();
    put_filter(&mut body, topic);
    let mut answer = Link::open(host, ANSWER)?.ask(DESCRIBE_ACLS, &body)?;
    answer.skip(4)?;
    let error = answer.short()?;
    answer.text()?;
    taken(error)?;
    answer.int()
}

/// An answer about one topic has to be good.
fn one_topic(answer: Answer) -> Result<()> {
    error_of_topic(answer).and_then(taken)
}

fn taken(error: i16) -> Result<()> {
    if error == 0 { Ok(()) } else { Err(miette!("error {error}")) }
}

/// The error of an answer about one topic.
fn error_of_topic(mut answer: Answer) -> Result<i16> {
    answer.skip(4)?;
    answer.int()?;
    answer.text()?;
    answer.short()
}
