//! Logins with Kerberos: what to say to brokers, found by the system's library on the control thread.
//!
//! ```text
//! shard ── Begin, host ──▶ ticket from the keytab, token for the broker (blocking pool) ──▶ shard ──▶ broker
//! shard ── challenge ────▶ the same login goes on (control thread: no file, no server) ────▶ shard ──▶ broker
//! ```
//!
//! Tickets lie in a cache in memory, one for each connector; the default cache of whoever runs the node is never touched. The
//! library fetches a ticket when there is none, and a new one when half of its life is over.
//!
//! One login of a connector at a time speaks to the KDC: the others find its tickets in the cache, or share its failure. So a KDC
//! that is silent holds up one thread of the pool, however many links want in, and no look-up of a name.
//!
//! Left out: the order of messages on a link ([`crate::broker::link`]), and which layer is chosen ([`kafka::sasl::gssapi`]).

#[cfg(any(test, feature = "gssapi"))]
mod failure;
#[cfg_attr(not(feature = "gssapi"), path = "kerberos/absent.rs")]
mod library;

pub use library::Login;

use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use kafka::sasl::Question;
use tokio::sync::{Mutex, mpsc};
use tokio::task::spawn_blocking;
use tokio::time::Instant;

use crate::config::{Authentication, Connector};
use crate::driver::{LoginAsk, Shards};
use crate::shard::ShardId;
use crate::shard::io::LoginAnswer;

/// Least time between two caches of a connector. The library has no word for emptying one, so each leaves some kilobytes behind.
const NEW_CACHE_AFTER: Duration = Duration::from_secs(300);

/// Who we are, and how the brokers' principals begin.
#[derive(Debug, Clone)]
pub struct Identity {
    /// Who we are in the realm.
    pub principal: String,
    /// Holds the principal's key.
    pub keytab_file: PathBuf,
    /// First part of the brokers' principals.
    pub service_name: String,
}

impl Identity {
    /// Of a connector, if it logs in with Kerberos.
    pub fn of(connector: &Connector) -> Option<Self> {
        match connector.security.as_ref().map(|security| &security.authentication) {
            Some(Authentication::Gssapi { principal, keytab_file, service_name }) => Some(Self {
                principal: principal.clone(),
                keytab_file: keytab_file.clone(),
                service_name: service_name.clone(),
            }),
            _ => None,
        }
    }
}

/// Why there is nothing to say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// For people: what, where, why and what to do.
    pub why: String,
    /// Whether it would be the same for any broker.
    pub for_all: bool,
    /// Whether the ticket in the cache has ended, which says no more than that the library could not replace it.
    pub has_ended: bool,
}

/// The logins of all shards, and the tickets of all connectors; clones share them.
#[derive(Debug, Clone, Default)]
pub(super) struct Keeper {
    /// By the connector's number.
    tickets: Arc<RwLock<BTreeMap<u16, Arc<Tickets>>>>,
    /// Identities so far.
    identities: Arc<AtomicU64>,
    logins: Logins,
}

/// The tickets of one connector.
#[derive(Debug)]
struct Tickets {
    identity: Identity,
    /// No other tickets of the node have it: what the caches are called.
    number: u64,
    /// Held by the login that speaks to the KDC.
    cache: Arc<Mutex<Cache>>,
    /// A broker did not accept a login: a ticket may be of no use any more, because keys have changed.
    suspect: AtomicBool,
}

#[derive(Debug, Default)]
struct Cache {
    /// How many there were before.
    number: u32,
    made: Option<Instant>,
    failed: Option<Failed>,
}

/// How the last login failed.
#[derive(Debug)]
struct Failed {
    at: Instant,
    host: String,
    failure: Failure,
}

impl Keeper {
    /// Keeps tickets of this identity for a connector from now on.
    pub(super) fn set(&self, connector: u16, identity: Option<Identity>) {
        let mut all = self.tickets.write().unwrap_or_else(PoisonError::into_inner);
        match identity {
            Some(identity) => {
                let (cache, suspect) = (Arc::default(), AtomicBool::new(false));
                let number = self.identities.fetch_add(1, Ordering::Relaxed);
                all.insert(connector, Arc::new(Tickets { identity, number, cache, suspect }))
            }
            None => all.remove(&connector),
        };
    }

    fn tickets(&self, connector: u16) -> Option<Arc<Tickets>> {
        self.tickets.read().unwrap_or_else(PoisonError::into_inner).get(&connector).cloned()
    }

    /// Answers the shards for ever; runs on the control thread.
    pub(super) async fn keep(self, shards: Shards, mut asks: mpsc::UnboundedReceiver<LoginAsk>) {
        let mut number = 0;
        while let Some(LoginAsk { shard, link, question }) = asks.recv().await {
            number += 1;
            let Some(tickets) = self.tickets(question.connector) else { continue };
            let (shards, logins) = (shards.clone(), self.logins.clone());
            // A task for each answer: one for a shard that is late holds up no other.
            match question.question {
                Question::Begin => {
                    if logins.take(shard, link.index).await.is_some() {
                        tickets.suspect.store(true, Ordering::Relaxed);
                    }
                    tokio::spawn(async move {
                        let answer = match tickets.begin(question.host).await {
                            Ok((login, bytes)) => {
                                let held = Held { number, generation: link.generation, login };
                                logins.put(shard, link.index, held).await;
                                Ok(LoginAnswer { bytes, last: false })
                            }
                            Err(failure) => Err(failure.why),
                        };
                        shards.answer_login(shard, link, answer).await;
                    });
                }
                Question::Answer(challenge) => {
                    let held = logins.take(shard, link.index).await;
                    let answer = match held.filter(|held| held.generation == link.generation) {
                        Some(mut held) => {
                            let answer = held.login.answer(&challenge);
                            match &answer {
                                Ok(answer) if !answer.last => logins.put(shard, link.index, held).await,
                                Ok(_) => {}
                                Err(_) => tickets.suspect.store(true, Ordering::Relaxed),
                            }
                            answer
                        }
                        None => Err("the login has been overtaken by a later one".to_string()),
                    };
                    tokio::spawn(async move { shards.answer_login(shard, link, answer).await });
                }
            }
        }
    }
}

impl Tickets {
    /// Begins a login with the broker `host`: the first words.
    async fn begin(self: Arc<Self>, host: String) -> Result<(Login, Vec<u8>), Failure> {
        let asked = Instant::now();
        let mut cache = Arc::clone(&self.cache).lock_owned().await;
        if let Some(failed) = &cache.failed
            && failed.at >= asked
            && (failed.failure.for_all || failed.host == host)
        {
            return Err(failed.failure.clone());
        }
        // The cache stays with the thread, whoever still waits for it: a second one would only wait as well.
        let begun = spawn_blocking(move || {
            let begun = self.begin_now(&mut cache, &host);
            cache.failed =
                begun.as_ref().err().map(|failure| Failed { at: Instant::now(), host, failure: failure.clone() });
            begun
        });
        let gone = || Failure {
            why: "the thread that spoke to the KDC has ended".to_string(),
            for_all: false,
            has_ended: false,
        };
        begun.await.unwrap_or_else(|_| Err(gone()))
    }

    fn begin_now(&self, cache: &mut Cache, host: &str) -> Result<(Login, Vec<u8>), Failure> {
        let is_old = cache.made.is_none_or(|made| made.elapsed() >= NEW_CACHE_AFTER);
        if is_old && self.suspect.swap(false, Ordering::Relaxed) {
            cache.number += 1;
            cache.made = Some(Instant::now());
        }
        let name = |cache: &Cache| format!("MEMORY:aqueduct-{}-{}", self.number, cache.number);
        match Login::begin(&self.identity, &name(cache), host) {
            // With a cache that is empty the library says why there is no other; it also asks at once, not every half minute.
            Err(failure) if failure.has_ended => {
                cache.number += 1;
                Login::begin(&self.identity, &name(cache), host)
            }
            begun => begun,
        }
    }
}

/// Logins that wait for a broker, by shard and the place of the link. A place holds one at most, so that what a link leaves behind
/// goes when its place is used again.
#[derive(Debug, Clone, Default)]
struct Logins(Arc<Mutex<HashMap<(ShardId, u32), Held>>>);

#[derive(Debug)]
struct Held {
    /// Counts questions.
    number: u64,
    /// Of the link.
    generation: u32,
    login: Login,
}

impl Logins {
    async fn take(&self, shard: ShardId, index: u32) -> Option<Held> {
        self.0.lock().await.remove(&(shard, index))
    }

    /// Puts a login in its place, unless a later one is there.
    async fn put(&self, shard: ShardId, index: u32, held: Held) {
        let mut all = self.0.lock().await;
        if all.get(&(shard, index)).is_none_or(|there| there.number < held.number) {
            all.insert((shard, index), held);
        }
    }
}

/// Asks for a ticket, for probes.
///
/// # Errors
/// What, where, why and what to do.
pub fn fetch_ticket(identity: &Identity) -> Result<(), Failure> {
    library::fetch_ticket(identity, &probe_cache(identity))
}

/// Begins a login with the tickets of [`fetch_ticket`].
///
/// # Errors
/// As there.
pub fn begin_login(identity: &Identity, host: &str) -> Result<(Login, Vec<u8>), Failure> {
    Login::begin(identity, &probe_cache(identity), host)
}

/// One for each identity: the library takes no ticket of another.
fn probe_cache(identity: &Identity) -> String {
    format!("MEMORY:aqueduct-probe-{}-{}", identity.principal, identity.keytab_file.display())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tickets() -> Arc<Tickets> {
        let identity = Identity {
            principal: "alice@R".to_string(),
            keytab_file: "/not/there".into(),
            service_name: "kafka".to_string(),
        };
        Arc::new(Tickets { identity, number: 0, cache: Arc::default(), suspect: AtomicBool::new(false) })
    }

    fn failed(host: &str, for_all: bool) -> Failed {
        let failure = Failure { why: "as before".to_string(), for_all, has_ended: false };
        Failed { at: Instant::now(), host: host.to_string(), failure }
    }

    /// Begins while another login speaks to the KDC, which then ends like this; whether the one that waited ended so, too.
    async fn shares(end: impl FnOnce() -> Failed, host: &str) -> bool {
        let tickets = tickets();
        let mut busy = Arc::clone(&tickets.cache).lock_owned().await;
        let waits = tokio::spawn(Arc::clone(&tickets).begin(host.to_string()));
        tokio::task::yield_now().await;
        busy.failed = Some(end());
        drop(busy);
        waits.await.expect("no panic").expect_err("there is no keytab").why == "as before"
    }

    #[tokio::test]
    async fn who_waits_for_a_failure_shares_it() {
        assert!(shares(|| failed("k1", true), "k2").await);
        assert!(shares(|| failed("k1", false), "k1").await);
        assert!(!shares(|| failed("k1", false), "k2").await, "another broker may be known");
    }

    #[tokio::test]
    async fn who_comes_after_a_failure_tries_again() {
        let tickets = tickets();
        tickets.cache.lock().await.failed = Some(failed("k1", true));
        tokio::time::sleep(Duration::from_millis(2)).await;
        let failure = Arc::clone(&tickets).begin("k1".to_string()).await.expect_err("there is no keytab");
        assert_ne!(failure.why, "as before");
        // And its own failure is what those share who wait for it.
        assert_eq!(tickets.cache.lock().await.failed.as_ref().map(|failed| &failed.failure), Some(&failure));
    }

    #[test]
    fn a_cache_that_may_be_of_no_use_is_replaced_but_not_often() {
        let tickets = tickets();
        let mut cache = Cache::default();
        let mut begin = |suspect| {
            tickets.suspect.store(suspect, Ordering::Relaxed);
            tickets.begin_now(&mut cache, "k1").expect_err("there is no keytab");
            cache.number
        };
        assert_eq!([begin(false), begin(true), begin(false), begin(true)], [0, 1, 1, 1]);
    }
}
