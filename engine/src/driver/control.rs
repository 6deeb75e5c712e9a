//! The control thread's side of the shards: orders to all of them, letters from all of them.
//!
//! It runs on tokio, on a thread of its own; shards hear of it only through their mailboxes.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use kafka::sasl::Secret;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep, timeout, timeout_at};

use super::dial::SocketOptions;
use super::mailbox::{Letter, LetterReceiver, LoginAsk, Mailbox, Order};
use crate::log::journal::Journals;
use crate::metrics::ShardSample;
use crate::shard::ShardId;
use crate::shard::control::{Command, ControlMsg, Level, Step};
use crate::shard::io::{LinkKey, LoginAnswer};

/// How long a scrape waits for shards that are late.
const SCRAPE_TIMEOUT: Duration = Duration::from_secs(1);
/// How long a shard that was told to drop everything may take to report.
const LAST_WORD_TIMEOUT: Duration = Duration::from_secs(2);
/// Lines of one second that go to the log; more are counted and summed up.
const NOTES_PER_SECOND: u32 = 50;

/// All shards, as the control thread and the HTTP handlers see them. Clones share everything.
#[derive(Debug, Clone)]
pub struct Shards {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    mailboxes: Vec<Arc<Mailbox>>,
    /// Who waits for the samples of a token.
    scrapes: Mutex<HashMap<u64, mpsc::UnboundedSender<ShardSample>>>,
    next_token: AtomicU64,
    drained: watch::Sender<Vec<Option<Dropped>>>,
    /// Who hears of the steps of changes. A shard says a few words for each change that was asked for, so they need no bound.
    steps: Mutex<Option<mpsc::UnboundedSender<(ShardId, Step)>>>,
}

/// Records a drain had to drop.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Dropped {
    /// Acknowledged to their clients and not written: lost.
    pub acked_records: u64,
    /// Never acknowledged: their clients send them again.
    pub unacked_records: u64,
    /// Shards that did not report in time.
    pub silent_shards: u64,
}

impl Shards {
    /// The shards behind these mailboxes, in shard order.
    pub fn new(mailboxes: Vec<Arc<Mailbox>>) -> Self {
        let drained = watch::Sender::new(vec![None; mailboxes.len()]);
        let (scrapes, next_token) = (Mutex::default(), AtomicU64::new(1));
        let steps = Mutex::default();
        Self { shared: Arc::new(Shared { mailboxes, scrapes, next_token, drained, steps }) }
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.shared.mailboxes.len()
    }

    /// From now on whoever has the receiver hears of the steps of changes.
    pub fn steps(&self) -> mpsc::UnboundedReceiver<(ShardId, Step)> {
        let (sender, receiver) = mpsc::unbounded_channel();
        *self.shared.steps.lock().unwrap_or_else(PoisonError::into_inner) = Some(sender);
        receiver
    }

    /// Copies every shard's counters, each taken at the end of one of its rounds. A shard that does not answer within a
    /// second is missing from the result.
    pub async fn scrape(&self) -> Vec<ShardSample> {
        let token = self.shared.next_token.fetch_add(1, Ordering::Relaxed);
        let (sender, mut answers) = mpsc::unbounded_channel();
        self.scrapes().insert(token, sender);
        // A shard whose mailbox is full will not answer in time anyway.
        let asked = self.shared.mailboxes.iter().filter(|m| m.put(Order::Command(Command::Scrape { token })).is_ok());
        let asked = asked.count();
        let mut samples = Vec::with_capacity(asked);
        let until = Instant::now() + SCRAPE_TIMEOUT;
        while samples.len() < asked {
            match timeout_at(until, answers.recv()).await {
                Ok(Some(sample)) => samples.push(sample),
                Ok(None) | Err(_) => break,
            }
        }
        self.scrapes().remove(&token);
        samples.sort_by_key(|sample| sample.shard);
        samples
    }

    /// Drains all shards: they flush what is open for at most `limit`, then drop the rest.
    pub async fn drain(&self, limit: Duration) -> Dropped {
        self.order_all(|| Order::Command(Command::Drain)).await;
        if timeout(limit, self.all_drained()).await.is_err() {
            self.order_all(|| Order::Command(Command::DrainNow)).await;
            let _ = timeout(LAST_WORD_TIMEOUT, self.all_drained()).await;
        }
        let mut total = Dropped::default();
        for shard in self.shared.drained.borrow().iter() {
            match shard {
                Some(dropped) => {
                    total.acked_records += dropped.acked_records;
                    total.unacked_records += dropped.unacked_records;
                }
                None => total.silent_shards += 1,
            }
        }
        total
    }

    /// Gives every shard what the brokers of a connector take as proof of who we are, or why there is nothing.
    pub async fn set_token(&self, connector: u16, token: Result<Secret, String>) {
        self.tell(|| Command::Token { connector, token: token.clone() }).await;
    }

    /// Gives every shard a command.
    pub async fn tell(&self, command: impl Fn() -> Command) {
        self.order_all(|| Order::Command(command())).await;
    }

    /// Gives every shard a command of its own.
    pub async fn tell_each(&self, mut command: impl FnMut(ShardId) -> Command) {
        for index in 0..self.shared.mailboxes.len() {
            self.order(index, Order::Command(command(ShardId(index as u16)))).await;
        }
    }

    /// Has the disk writers know the journals of sinks that come.
    pub async fn add_journals(&self, journals: &Journals) {
        self.order_all(|| Order::AddJournals(journals.clone())).await;
    }

    /// Has the disk writers forget the journals of a sink that is gone.
    pub async fn remove_journals(&self, sink: u16) {
        self.order_all(|| Order::RemoveJournals { sink }).await;
    }

    /// Has every shard dial like this for a connector from now on.
    pub async fn set_socket_options(&self, connector: u16, options: &SocketOptions) {
        self.order_all(|| Order::SetSocketOptions { connector, options: Box::new(options.clone()) }).await;
    }

    /// Tells every shard to leave its loop.
    pub async fn stop(&self) {
        self.order_all(|| Order::Stop).await;
    }

    async fn all_drained(&self) {
        let mut drained = self.shared.drained.subscribe();
        // The sender lives in `self`, so waiting cannot fail.
        let _ = drained.wait_for(|shards| shards.iter().all(Option::is_some)).await;
    }

    async fn order_all(&self, order: impl Fn() -> Order) {
        for index in 0..self.shared.mailboxes.len() {
            self.order(index, order()).await;
        }
    }

    /// Puts an order into a mailbox; waits while it is full.
    async fn order(&self, index: usize, mut order: Order) {
        while let Err(refused) = self.shared.mailboxes[index].put(order) {
            order = refused;
            sleep(Duration::from_millis(1)).await;
        }
    }

    /// Answers a question of a login.
    pub async fn answer_login(&self, shard: ShardId, link: LinkKey, answer: Result<LoginAnswer, String>) {
        self.order(usize::from(shard.0), Order::LoginAnswer { link, answer }).await;
    }

    /// Takes in the shards' letters until no shard is left to write one. Questions of logins go to `asks`.
    pub async fn read_letters(self, mut letters: LetterReceiver, asks: mpsc::UnboundedSender<LoginAsk>) {
        let mut notes = NoteLimit::default();
        while let Some((shard, letter)) = letters.recv().await {
            match letter {
                Letter::Message(ControlMsg::Sample { token, sample }) => {
                    if let Some(waiting) = self.scrapes().get(&token) {
                        // Whoever asked may have given up.
                        let _ = waiting.send(*sample);
                    }
                }
                Letter::Message(ControlMsg::Note { level, text }) => notes.print(shard, level, &text),
                Letter::Message(ControlMsg::Changed(step)) => {
                    let steps = self.shared.steps.lock().unwrap_or_else(PoisonError::into_inner);
                    // Whoever listened may have ended with the node.
                    let _ = steps.as_ref().map(|steps| steps.send((shard, step)));
                }
                Letter::Message(ControlMsg::Drained { acked_records_dropped, unacked_records_dropped }) => {
                    let dropped = Dropped {
                        acked_records: acked_records_dropped,
                        unacked_records: unacked_records_dropped,
                        silent_shards: 0,
                    };
                    self.shared.drained.send_modify(|shards| shards[shard.0 as usize] = Some(dropped));
                }
                Letter::LookUp { link, host, port } => {
                    tokio::spawn(self.clone().look_up(shard, link, host, port));
                }
                Letter::FindAnswer { link, question } => {
                    // Nobody listens in a build without the library, whose configurations ask nothing.
                    let _ = asks.send(LoginAsk { shard, link, question });
                }
            }
        }
    }

    /// Resolves a name and sends the answer to the shard that dials it.
    async fn look_up(self, shard: ShardId, link: LinkKey, host: String, port: u16) {
        let result = match tokio::net::lookup_host((host.as_str(), port)).await {
            Ok(addresses) => Ok(addresses.collect()),
            Err(e) => Err(format!("the name {host} cannot be resolved: {e}")),
        };
        self.order(shard.0 as usize, Order::Resolved { link, result }).await;
    }

    fn scrapes(&self) -> MutexGuard<'_, HashMap<u64, mpsc::UnboundedSender<ShardSample>>> {
        // A map of senders is whole whatever happened to the thread that held it.
        self.shared.scrapes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Bounds what shards can write to the log together; each bounds its own notes before.
#[derive(Debug)]
struct NoteLimit {
    second: Instant,
    printed: u32,
    suppressed: u64,
}

impl Default for NoteLimit {
    fn default() -> Self {
        Self { second: Instant::now(), printed: 0, suppressed: 0 }
    }
}

impl NoteLimit {
    fn print(&mut self, shard: ShardId, level: Level, text: &str) {
        if self.second.elapsed() >= Duration::from_secs(1) {
            if self.suppressed > 0 {
                tracing::warn!("{} more messages of the shards were left out", self.suppressed);
            }
            *self = Self::default();
        }
        if self.printed == NOTES_PER_SECOND {
            self.suppressed += 1;
            return;
        }
        self.printed += 1;
        let shard = shard.0;
        match level {
            Level::Info => tracing::info!(shard, "{text}"),
            Level::Warn => tracing::warn!(shard, "{text}"),
            Level::Error => tracing::error!(shard, "{text}"),
        }
    }
}
