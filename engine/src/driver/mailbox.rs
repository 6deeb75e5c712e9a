//! The two queues between a shard and the control thread: orders in, letters out. Both are bounded.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use crossbeam::queue::ArrayQueue;
use tokio::sync::mpsc;
use tokio::sync::mpsc::error::TrySendError;

use super::dial::SocketOptions;
use super::doorbell::Doorbell;
use crate::log::journal::Journals;
use crate::shard::ShardId;
use crate::shard::control::{Command, ControlMsg};
use crate::shard::io::{LinkKey, LoginAnswer, LoginQuestion};

/// Orders a mailbox holds. Scrapes and answered look-ups come one by one; this is for days when the shard is late.
const ORDERS_MAX: usize = 256;
/// Letters of all shards together that the control thread may be behind.
const LETTERS_MAX: usize = 4096;

/// From the control thread.
#[derive(Debug)]
pub enum Order {
    /// For the shard itself.
    Command(Command),
    /// For the driver: the addresses of a host it asked for, or why there are none.
    Resolved {
        /// The link that is being dialled.
        link: LinkKey,
        /// At least one address, or the reason.
        result: Result<Vec<SocketAddr>, String>,
    },
    /// For the shard: what to say in a login, or why there is nothing.
    LoginAnswer {
        /// The link that logs in.
        link: LinkKey,
        /// What to say, or the reason.
        answer: Result<LoginAnswer, String>,
    },
    /// For the driver: a stream socket that is connected already, one end of a pair say. It is served as if the shard's first listener
    /// had accepted it.
    Admit {
        /// The socket.
        socket: OwnedFd,
        /// Who is at its other end.
        peer: SocketAddr,
    },
    /// For the driver: journals of a sink that comes, before the shard hears of it.
    AddJournals(Journals),
    /// For the driver: a sink is gone, and the shard asks nothing of its journals any more.
    RemoveJournals {
        /// The sink's slot.
        sink: u16,
    },
    /// For the driver: how to dial for a connector from now on.
    SetSocketOptions {
        /// Its number.
        connector: u16,
        /// Of links that are dialled later.
        options: Box<SocketOptions>,
    },
    /// For the driver: leave the loop. Sent when every shard has drained.
    Stop,
}

/// To the control thread.
#[derive(Debug)]
pub enum Letter {
    /// What the shard said.
    Message(ControlMsg),
    /// A name to resolve for a link.
    LookUp {
        /// The link that is being dialled.
        link: LinkKey,
        /// Host name.
        host: String,
        /// TCP port.
        port: u16,
    },
    /// What to say next in a login.
    FindAnswer {
        /// The link that logs in.
        link: LinkKey,
        /// What is asked.
        question: LoginQuestion,
    },
}

/// A question of a login, with where its answer goes.
#[derive(Debug)]
pub struct LoginAsk {
    /// The shard that asks.
    pub shard: ShardId,
    /// The link that logs in.
    pub link: LinkKey,
    /// What is asked.
    pub question: LoginQuestion,
}

/// Where the control thread puts orders for one shard.
#[derive(Debug)]
pub struct Mailbox {
    orders: ArrayQueue<Order>,
    bell: Arc<Doorbell>,
}

impl Mailbox {
    /// An empty mailbox that rings `bell`.
    pub fn new(bell: Arc<Doorbell>) -> Self {
        Self { orders: ArrayQueue::new(ORDERS_MAX), bell }
    }

    /// Puts an order in; gives it back if the mailbox is full.
    pub fn put(&self, order: Order) -> Result<(), Order> {
        self.orders.push(order)?;
        self.bell.ring();
        Ok(())
    }
}

/// The end of the letters' channel that shards write to.
pub type LetterSender = mpsc::Sender<(ShardId, Letter)>;
/// The end that the control thread reads.
pub type LetterReceiver = mpsc::Receiver<(ShardId, Letter)>;

/// The channel all shards write their letters to.
pub fn letters() -> (LetterSender, LetterReceiver) {
    mpsc::channel(LETTERS_MAX)
}

/// The shard's side of both queues.
#[derive(Debug)]
pub struct ControlPort {
    shard: ShardId,
    mailbox: Arc<Mailbox>,
    letters: LetterSender,
    /// Letters that found the channel full and must not be lost.
    waiting: VecDeque<Letter>,
    notes_dropped: u32,
}

impl ControlPort {
    /// The port of `shard`.
    pub fn new(shard: ShardId, mailbox: Arc<Mailbox>, letters: LetterSender) -> Self {
        Self { shard, mailbox, letters, waiting: VecDeque::new(), notes_dropped: 0 }
    }

    /// Sends a letter. When the control thread is far behind, notes are dropped and counted; everything else waits here.
    pub(super) fn send(&mut self, letter: Letter) {
        if self.waiting.is_empty() {
            match self.letters.try_send((self.shard, letter)) {
                Err(TrySendError::Full((_, letter))) => self.keep(letter),
                // Without a control thread (it has ended, or a test has none) nobody listens.
                Ok(()) | Err(TrySendError::Closed(_)) => {}
            }
        } else {
            self.keep(letter);
        }
    }

    fn keep(&mut self, letter: Letter) {
        match letter {
            Letter::Message(ControlMsg::Note { .. }) => self.notes_dropped += 1,
            letter => self.waiting.push_back(letter),
        }
    }

    /// Tries again with what waits. True: something is still left.
    pub(super) fn flush(&mut self) -> bool {
        while let Some(letter) = self.waiting.pop_front() {
            if let Err(TrySendError::Full((_, letter))) = self.letters.try_send((self.shard, letter)) {
                self.waiting.push_front(letter);
                return true;
            }
        }
        false
    }

    /// Notes dropped since the last call.
    pub(super) fn take_notes_dropped(&mut self) -> u32 {
        std::mem::take(&mut self.notes_dropped)
    }

    /// The next order.
    #[inline]
    pub(super) fn take(&mut self) -> Option<Order> {
        self.mailbox.orders.pop()
    }

    /// Whether no order waits.
    pub(super) fn is_empty(&self) -> bool {
        self.mailbox.orders.is_empty()
    }
}
