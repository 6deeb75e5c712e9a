//! Users whom the brokers know by SCRAM: given a password, and taken out again, while they are logged in.
//!
//! ```text
//! AlterUserScramCredentials 0     leave (name, mechanism), enter (name, mechanism, rounds, salt, salted password)
//!                                                                   -> throttle, users (name, error, words)
//! DescribeUserScramCredentials 0  names                             -> throttle, error, words, users (name, error, ...)
//! ```
//!
//! Both are of Kafka's newer kind: lengths are one more than they are, in a byte here, and every structure ends with a list of tags,
//! which is empty, the head of the request and that of the answer included.
//!
//! A login that stands is not cut short by this. It ends when the broker's `connections.max.reauth.ms` are over.

use std::time::Duration;

use miette::{Result, bail};

use super::admin::{Admin, until};
use crate::ledger::link::{Answer, Link};

const ALTER: (i16, i16) = (51, 0);
const DESCRIBE: (i16, i16) = (50, 0);
/// SCRAM-SHA-256, as Kafka numbers it.
const SHA_256: u8 = 1;
/// A user that there is not.
const RESOURCE_NOT_FOUND: i16 = 91;
/// An empty list of tags.
pub(super) const NO_TAGS: u8 = 0;
/// As whom the product writes to the first topic, and to the second.
pub(super) const USERS: [&str; 2] = ["alice", "bob"];
/// How long a login that stands goes on.
pub(super) const LASTS: Duration = Duration::from_millis(3_000);
/// The product's side of the brokers wants to know who it is, again and again. A semicolon would end a setting.
pub(super) const BROKER_SETTINGS: &str = concat!(
    "listener.security.protocol.map=CLIENT:PLAINTEXT,FRONT:SASL_PLAINTEXT,CONTROLLER:PLAINTEXT;",
    "listener.name.front.sasl.enabled.mechanisms=SCRAM-SHA-256;",
    "listener.name.front.scram-sha-256.connections.max.reauth.ms=3000;",
    "listener.name.front.scram-sha-256.sasl.jaas.config=",
    "org.apache.kafka.common.security.scram.ScramLoginModule required\\u003b"
);
/// The second topic's connector is another one.
const OTHER: [&str; 4] = [
    "sinks.s2.connector=k2",
    "connectors.k2.type=kafka",
    "connectors.k2.request_timeout=3s",
    "connectors.k2.reconnect_delay=500ms",
];
/// What every user here proves to know.
const PASSWORD: &str = "given-secret";
const ROUNDS: i32 = 4_096;
const SALT: &[u8] = b"salt-of-the-user";
/// PBKDF2 of password, salt and rounds, with HMAC-SHA-256: what the broker keeps. No login succeeds if it is wrong.
const SALTED: [u8; 32] = [
    0x28, 0xf7, 0xf0, 0xa0, 0xd3, 0x09, 0x36, 0xb0, 0x22, 0x56, 0x2d, 0x06, 0x81, 0x3b, 0x5a, 0x88, 0x7a, 0xf5, 0xf3,
    0xfd, 0x94, 0x52, 0x7d, 0xdd, 0x4c, 0xce, 0x29, 0x08, 0x0b, 0xb3, 0xda, 0x3c,
];

/// Settings that make the product log in, as another user for each topic.
pub(super) fn settings(bootstrap: &str) -> Vec<String> {
    let mut all: Vec<String> = OTHER.map(str::to_owned).to_vec();
    all.push(format!("connectors.k2.bootstrap_hosts={bootstrap}"));
    for (connector, user) in ["k", "k2"].into_iter().zip(USERS) {
        let option = |name: &str, value: &str| format!("connectors.{connector}.authentication.{name}={value}");
        all.extend([option("mechanism", "scram_sha_256"), option("username", user), option("password", PASSWORD)]);
    }
    all
}

impl Admin {
    /// The user may log in with [`PASSWORD`], and every broker knows.
    pub(super) fn let_in(&self, user: &str) -> Result<()> {
        let mut body = vec![NO_TAGS, length(0), length(1)];
        put(&mut body, user.as_bytes());
        body.push(SHA_256);
        body.extend_from_slice(&ROUNDS.to_be_bytes());
        put(&mut body, SALT);
        put(&mut body, &SALTED);
        body.extend_from_slice(&[NO_TAGS; 2]);
        self.ask(ALTER, &body).and_then(altered)?;
        self.await_knowledge(user, true)
    }

    /// The user may not log in any more, and every broker knows.
    pub(super) fn shut_out(&self, user: &str) -> Result<()> {
        let mut body = vec![NO_TAGS, length(1)];
        put(&mut body, user.as_bytes());
        body.extend_from_slice(&[SHA_256, NO_TAGS, length(0), NO_TAGS]);
        self.ask(ALTER, &body).and_then(altered)?;
        self.await_knowledge(user, false)
    }

    fn await_knowledge(&self, user: &str, wanted: bool) -> Result<()> {
        let knows = |link: Result<Link>| link.and_then(|link| is_known(link, user)).is_ok_and(|known| known == wanted);
        until(|| self.links().all(knows), &format!("every broker to have heard of user {user}"))
    }
}

/// Whether a broker itself knows the user.
fn is_known(mut link: Link, user: &str) -> Result<bool> {
    let mut body = vec![NO_TAGS, length(1)];
    put(&mut body, user.as_bytes());
    body.extend_from_slice(&[NO_TAGS; 2]);
    let mut answer = link.ask(DESCRIBE, &body)?;
    answer.skip(1 + 4)?;
    let error = answer.short()?;
    skip_text(&mut answer)?;
    if error != 0 || answer.skip(1)? != [length(1)] {
        bail!("asking for user {user}: error {error}");
    }
    skip_text(&mut answer)?;
    match answer.short()? {
        0 => Ok(true),
        RESOURCE_NOT_FOUND => Ok(false),
        error => bail!("asking for user {user}: error {error}"),
    }
}

fn altered(mut answer: Answer) -> Result<()> {
    answer.skip(1 + 4 + 1)?;
    skip_text(&mut answer)?;
    match answer.short()? {
        0 => Ok(()),
        error => bail!("changing who may log in: error {error}"),
    }
}

pub(super) fn put(body: &mut Vec<u8>, bytes: &[u8]) {
    body.push(length(bytes.len()));
    body.extend_from_slice(bytes);
}

pub(super) fn skip_text(answer: &mut Answer) -> Result<()> {
    let length = answer.skip(1)?.iter().sum::<u8>().saturating_sub(1);
    answer.skip(usize::from(length)).map(drop)
}

/// A length as such structures bear it. None of ours takes a second byte, which would begin at 127.
pub(super) fn length(of: usize) -> u8 {
    of as u8 + 1
}
