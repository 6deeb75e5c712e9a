//! The border between the shard and the world: facts come in as [`Input`], bytes move by calls on [`Io`].
//!
//! Two implementations: the driver (sockets, files, threads) and the simulator (one thread, one seed). Nothing here blocks,
//! waits or reads a clock. Keys carry a generation, so that late input for a reused descriptor finds nothing.
//!
//! Contract of readiness: `Readable` and `Writable` are edges. After `Readable` the shard owns the fact that the socket may
//! hold bytes, until a `recv` said `more = false` or `Empty`; it need not be told again.

use std::net::SocketAddr;

use kafka::sasl::Question;

use crate::buffer::Batch;
use crate::clock::{Mono, Now};
use crate::log::{DiskDone, DiskOp};
use crate::shard::control::{Command, ControlMsg};
use crate::shard::mesh::{MeshMsg, Moved};

/// One core's shard, counted from 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ShardId(pub u16);

/// A client socket: slot and generation of the driver's table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConnKey {
    /// Slot in the driver's table; dense, reused.
    pub index: u32,
    /// Changes at every reuse of the slot.
    pub generation: u32,
}

/// A socket to a broker: slot and generation of the driver's table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LinkKey {
    /// Slot in the driver's table; dense, reused.
    pub index: u32,
    /// Changes at every reuse of the slot.
    pub generation: u32,
}

/// Index of a listener in the configuration.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ListenerId(pub u16);

/// What a read brought.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Recv {
    /// `n` bytes lie at the start of the slice; `more`: the read filled it, or plaintext is at hand.
    Got {
        /// Bytes written, at least 1.
        n: usize,
        /// Whether another read may bring more at once.
        more: bool,
    },
    /// Nothing there; `Readable` will come.
    Empty,
    /// The peer has finished sending.
    Eof,
    /// The socket is broken; `Closed` will not follow, the shard calls `close`.
    Error,
}

/// Why the shard closes a client's socket. For logs and counters; the protocol's own words have been sent before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CloseReason {
    /// The peer finished or broke the connection.
    Peer,
    /// The client sent DISCONNECT.
    Disconnect,
    /// The client broke the protocol.
    Protocol,
    /// Keep-alive or connect timeout.
    Timeout,
    /// Another connection with the same client id.
    TakenOver,
    /// Policy: limits, failed publish of a 3.1.1 client, refused CONNECT.
    Refused,
    /// Drain.
    Shutdown,
}

/// A broker to dial. Names are resolved at every dial.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct BrokerAddr {
    /// Number of the connector: names its socket options and its TLS.
    pub connector: u16,
    /// Host name or address literal.
    pub host: String,
    /// TCP port.
    pub port: u16,
}

/// One request to a broker: `head` with each of `batches` spliced in after its cut, sent in one go.
#[derive(Debug)]
pub struct Request {
    /// Echoed by the broker in the response's first four bytes.
    pub correlation: i32,
    /// Length field, header and body of the request, without the batches.
    pub head: Vec<u8>,
    /// `cuts[i]` is the position in `head` after which `batches[i].bytes` follows; ascending, as many as batches.
    pub cuts: Vec<u32>,
    /// The batches; they stay with the request until its response or the end of the link, by type.
    pub batches: Vec<Box<Batch>>,
    /// False for `required_acks = none`: the broker sends no response, and the request is answered (`Input::Sent`) when the
    /// kernel has taken all of it.
    pub answered: bool,
}

/// What to say next in a login, asked of a library that may read files and speak to servers of its own: Kerberos.
#[derive(Debug, PartialEq, Eq)]
pub struct LoginQuestion {
    /// Number of the connector.
    pub connector: u16,
    /// The broker, by the name it was dialled by.
    pub host: String,
    /// What to find. `Begin` is for a new login on the link, whatever became of the last.
    pub question: Question,
}

/// What to say next in a login.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LoginAnswer {
    /// For the broker.
    pub bytes: Vec<u8>,
    /// Whether the broker's next word is its consent.
    pub last: bool,
}

/// A fact for the shard.
#[derive(Debug)]
pub enum Input<'a> {
    /// A client connected.
    Accepted(ConnKey, ListenerId, SocketAddr),
    /// A connection moved here from another shard; the driver has registered its socket under this key.
    Arrived(ConnKey, Box<Moved>),
    /// The socket may hold bytes.
    Readable(ConnKey),
    /// The socket may take bytes.
    Writable(ConnKey),
    /// The socket is gone (reset seen outside a read).
    Closed(ConnKey),
    /// A dialled link is connected.
    LinkUp(LinkKey),
    /// A whole response frame, after its length field; `body` begins with the correlation id.
    Response {
        /// The link it came on.
        link: LinkKey,
        /// The frame without its length field.
        body: &'a [u8],
        /// The request it answers, always the oldest unanswered one: its batches are released, its buffers can be used
        /// again.
        request: Request,
    },
    /// A request that expects no response has been taken by the kernel.
    Sent {
        /// The link.
        link: LinkKey,
        /// The request, released.
        request: Request,
    },
    /// A dial failed, or a link broke or was closed by `drop_link`; the socket is closed already.
    LinkDown {
        /// The link.
        link: LinkKey,
        /// Requests without an answer, in the order they were given.
        unanswered: Vec<Request>,
        /// For people: what happened ("connection refused", "reset by peer", "cannot resolve name").
        why: String,
    },
    /// The answer to a question of a login. It may come when nobody waits for it any more.
    LoginAnswer {
        /// The link.
        link: LinkKey,
        /// What to say, or for people: why there is nothing to say, and what to do.
        answer: Result<LoginAnswer, String>,
    },
    /// A message of another shard. FIFO per pair.
    Mesh(ShardId, MeshMsg),
    /// A disk operation ended.
    Disk(DiskDone),
    /// From the control thread.
    Command(Command),
}

/// What the shard may do to the world. Static dispatch; nothing blocks.
pub trait Io {
    /// Reads from a client into `into` (not empty).
    fn recv(&mut self, conn: ConnKey, into: &mut [u8]) -> Recv;
    /// Sends to a client; returns how many bytes were taken. Fewer than given: `Writable` comes later. A broken socket takes
    /// everything (the end is seen by `recv` or `Closed`).
    fn send(&mut self, conn: ConnKey, bytes: &[u8]) -> usize;
    /// Closes a client's socket. The key is dead from here on.
    fn close(&mut self, conn: ConnKey, why: CloseReason);
    /// Hands a connection to another shard: the driver moves the descriptor, the shard gives its state and unread bytes.
    /// The key is dead from here on; the other shard gets `Arrived`.
    fn move_conn(&mut self, conn: ConnKey, to: ShardId, state: Box<Moved>);
    /// Starts connecting to a broker; `LinkUp` or `LinkDown` follows.
    fn dial(&mut self, to: &BrokerAddr) -> LinkKey;
    /// Queues a request on a link; the driver sends in order.
    fn request(&mut self, link: LinkKey, request: Request);
    /// Closes a link; `LinkDown` with the unanswered requests follows as an input.
    fn drop_link(&mut self, link: LinkKey);
    /// Asks what to say next in a login; `Input::LoginAnswer` follows.
    fn find_answer(&mut self, link: LinkKey, question: LoginQuestion);
    /// Sends to another shard. The sender bounds what it sends by its own credits; the driver's ring is sized by the plan.
    fn mesh(&mut self, to: ShardId, message: MeshMsg);
    /// Queues a disk operation; `Input::Disk` returns its buffers.
    fn disk(&mut self, op: DiskOp);
    /// Tells the control thread something. Bounded; notes may be dropped and counted, answers are not.
    fn control(&mut self, message: ControlMsg);
}

/// What the driver waits for after a round.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Wait {
    /// Wake at this time at the latest; `None`: no deadline.
    pub deadline: Option<Mono>,
    /// False: leave the client sockets out of this wait. Links, mesh and disk are always served.
    pub clients: bool,
}

/// What a round cost, told after it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Spent {
    /// From the look at the clock to the next wait, nanoseconds.
    pub busy_ns: u64,
    /// What became of connections that wanted in.
    pub accepts: Accepts,
    /// Notes that the control thread was too far behind to take.
    pub notes_dropped: u32,
}

/// Connections that the driver did not let in, or not at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Accepts {
    /// Could not be accepted.
    pub failed: u32,
    /// Closed at once: the listener or the node had no seat left.
    pub refused: u32,
    /// Times the pace was used up, and a listener rested.
    pub paced: u32,
}

/// What the driver drives: the shard, or a small machine in a test of the driver.
pub trait Machine {
    /// Takes in one fact.
    fn on(&mut self, now: Now, input: Input<'_>, io: &mut impl Io);
    /// Ends a round: seals, sends, answers; says what to wait for.
    fn end_round(&mut self, now: Now, io: &mut impl Io) -> Wait;
    /// Told after each round what it cost, for the counters.
    fn spent(&mut self, _spent: Spent) {}
}
