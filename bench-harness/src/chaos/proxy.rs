//! A proxy between the product and Kafka that can go wrong on request: silent, slow, resetting, or answering for the broker.
//!
//! It needs no privileges and touches nobody else's traffic. Frames are passed whole (length, then body), because an answer of
//! our own must stand in its place among the broker's: what goes up leaves a slot behind, and what comes down fills the slots
//! in order. Requests without an answer (acks=0) would leave a slot empty for ever, so they are not for this proxy.
//!
//! | mode | what the product sees |
//! |---|---|
//! | pass | the broker |
//! | hold | a connection that is open and dead: what is sent is taken by the kernel, nothing comes back; later it all goes on |
//! | slow | so many bytes a second in each direction |
//! | reset | every connection, also a new one, ends with RST |
//! | produce error | each Produce is refused with this code, and the broker never hears of it |

use std::io::Error;
use std::net::{Ipv4Addr, SocketAddr, TcpListener as StdListener};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::thread::JoinHandle;
use std::time::Duration;

use kafka_protocol::messages::produce_response::{PartitionProduceResponse, TopicProduceResponse};
use kafka_protocol::messages::{ApiKey, ProduceRequest, ProduceResponse, RequestHeader, ResponseHeader};
use kafka_protocol::protocol::{Decodable, Encodable};
use miette::{IntoDiagnostic, Result, bail};
use socket2::SockRef;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{ReadHalf, WriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Builder;
use tokio::sync::{mpsc, oneshot, watch};

use crate::measure::mono_ns;

/// Requests whose answers have not come back on one connection; Kafka clients keep a handful.
const SLOTS: usize = 4_096;
/// No frame of ours is larger.
const FRAME_BYTES_MAX: usize = 256 << 20;
/// What is passed on at a time where the link is slow.
const SLICE_BYTES: usize = 4_096;
const PRODUCE: i16 = ApiKey::Produce as i16;

/// What the proxy does with one broker's connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// Passes everything on.
    Pass,
    /// Passes nothing on, and says nothing.
    Hold,
    /// So many bytes a second.
    Slow(u32),
    /// RST to everybody.
    Reset,
    /// This error code to every Produce.
    ProduceError(i16),
}

/// When a broker was first dialled since nothing passes to it, by the clock of [`mono_ns`]; 0 if it was not.
#[derive(Debug, Default)]
struct Redial(AtomicU64);

impl Redial {
    fn forget(&self) {
        self.0.store(0, Ordering::Relaxed);
    }

    fn note(&self) {
        let _ = self.0.compare_exchange(0, mono_ns(), Ordering::Relaxed, Ordering::Relaxed);
    }

    fn at_ns(&self) -> Option<u64> {
        Some(self.0.load(Ordering::Relaxed)).filter(|at| *at != 0)
    }
}

/// The proxies of all brokers, on consecutive ports.
pub struct FaultProxy {
    first_port: u16,
    modes: Vec<watch::Sender<Mode>>,
    redials: Vec<Arc<Redial>>,
    backends: Arc<OnceLock<Vec<SocketAddr>>>,
    over: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl FaultProxy {
    /// Listens for so many brokers, on ports below those that the kernel gives to outgoing connections.
    pub fn start(brokers: u32) -> Result<Self> {
        let (first_port, listeners) = consecutive(brokers)?;
        let runtime = Builder::new_current_thread().enable_all().build().into_diagnostic()?;
        let backends = Arc::<OnceLock<Vec<SocketAddr>>>::default();
        let modes: Vec<_> = listeners.iter().map(|_| watch::channel(Mode::Pass).0).collect();
        let redials: Vec<_> = listeners.iter().map(|_| Arc::<Redial>::default()).collect();
        let noted = redials.clone();
        let receivers: Vec<_> = modes.iter().map(watch::Sender::subscribe).collect();
        let (over, ended) = oneshot::channel::<()>();
        let known = Arc::clone(&backends);
        let thread = std::thread::spawn(move || {
            runtime.block_on(async {
                for (number, ((listener, mode), redial)) in listeners.into_iter().zip(receivers).zip(noted).enumerate()
                {
                    tokio::spawn(accept(listener, number, Arc::clone(&known), mode, redial));
                }
                let _ = ended.await;
            });
        });
        Ok(Self { first_port, modes, redials, backends, over: Some(over), thread: Some(thread) })
    }

    /// The port in front of the first broker.
    pub fn first_port(&self) -> u16 {
        self.first_port
    }

    /// What the product is told to connect to.
    pub fn bootstrap(&self) -> String {
        let ports = self.first_port..self.first_port + self.modes.len() as u16;
        ports.map(|port| format!("127.0.0.1:{port}")).collect::<Vec<_>>().join(",")
    }

    /// Where the brokers are; until this is said, connections are closed.
    pub fn stand_before(&self, backends: Vec<SocketAddr>) {
        let _ = self.backends.set(backends);
    }

    /// Changes the mode of a broker, counted from 1.
    pub fn set(&self, broker: u32, mode: Mode) {
        let at = broker as usize - 1;
        if let (Some(sender), Some(redial)) = (self.modes.get(at), self.redials.get(at)) {
            // What was dialled before is not told of what is held now.
            redial.forget();
            sender.send_replace(mode);
        }
    }

    /// When the broker was dialled while nothing passes to it: whoever had connections has given one up then.
    pub fn redialled_ns(&self, broker: u32) -> Option<u64> {
        self.redials.get(broker as usize - 1)?.at_ns()
    }
}

impl Drop for FaultProxy {
    fn drop(&mut self) {
        drop(self.over.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn consecutive(count: u32) -> Result<(u16, Vec<StdListener>)> {
    let start = (std::process::id() % 900) as u16;
    for offset in (0..900).step_by(count.max(1) as usize) {
        let first = 33_000 + (start + offset) % 900;
        let ports = first..first + count as u16;
        let listeners: std::io::Result<Vec<_>> =
            ports.map(|port| StdListener::bind((Ipv4Addr::LOCALHOST, port))).collect();
        if let Ok(listeners) = listeners {
            return Ok((first, listeners));
        }
    }
    bail!("no {count} free ports in a row from 33000 to 33999");
}

async fn accept(
    listener: StdListener,
    number: usize,
    backends: Arc<OnceLock<Vec<SocketAddr>>>,
    mode: watch::Receiver<Mode>,
    redial: Arc<Redial>,
) {
    let listener = listener.set_nonblocking(true).and_then(|()| TcpListener::from_std(listener));
    let Ok(listener) = listener else { return };
    while let Ok((client, _)) = listener.accept().await {
        if *mode.borrow() == Mode::Hold {
            redial.note();
        }
        if let Some(backend) = backends.get().and_then(|backends| backends.get(number)) {
            tokio::spawn(serve(client, *backend, mode.clone()));
        }
    }
}

/// One connection, until either side or the mode ends it.
async fn serve(mut client: TcpStream, backend: SocketAddr, mut mode: watch::Receiver<Mode>) {
    let _ = client.set_nodelay(true);
    open(&mut mode).await;
    let is_reset = *mode.borrow() == Mode::Reset || {
        let Ok(mut server) = TcpStream::connect(backend).await else { return };
        let _ = server.set_nodelay(true);
        let (from_client, to_client) = client.split();
        let (from_server, to_server) = server.split();
        let (slots, filled) = mpsc::channel(SLOTS);
        tokio::select! {
            _ = up(from_client, to_server, slots, mode.clone()) => false,
            _ = down(from_server, to_client, filled, mode.clone()) => false,
            reset = mode.wait_for(|mode| *mode == Mode::Reset) => reset.is_ok(),
        }
    };
    if is_reset {
        // Closing with nothing to linger for is how a socket says RST.
        let _ = SockRef::from(&client).set_linger(Some(Duration::ZERO));
    }
}

/// Waits until something may pass.
async fn open(mode: &mut watch::Receiver<Mode>) {
    let _ = mode.wait_for(|mode| *mode != Mode::Hold).await;
}

/// What the answer to a request will be.
enum Slot {
    /// The broker's.
    Theirs,
    /// Ours.
    Own(Vec<u8>),
}

/// Requests to the broker, until one side is gone.
async fn up(
    mut from: ReadHalf<'_>,
    mut to: WriteHalf<'_>,
    slots: mpsc::Sender<Slot>,
    mut mode: watch::Receiver<Mode>,
) -> std::io::Result<()> {
    loop {
        let frame = read_frame(&mut from).await?;
        open(&mut mode).await;
        let now = *mode.borrow();
        let own = match now {
            Mode::ProduceError(code) => refusal(&frame, code),
            _ => None,
        };
        let theirs = own.is_none();
        slots.send(own.map_or(Slot::Theirs, Slot::Own)).await.map_err(Error::other)?;
        if theirs {
            write_frame(&mut to, &frame, &mut mode).await?;
        }
    }
}

/// Answers to the client, in the order of the requests, until one side is gone.
async fn down(
    mut from: ReadHalf<'_>,
    mut to: WriteHalf<'_>,
    mut slots: mpsc::Receiver<Slot>,
    mut mode: watch::Receiver<Mode>,
) -> std::io::Result<()> {
    while let Some(slot) = slots.recv().await {
        let frame = match slot {
            Slot::Theirs => read_frame(&mut from).await,
            Slot::Own(frame) => Ok(frame),
        };
        // Of a broker that died behind a dead link nothing is heard either.
        open(&mut mode).await;
        write_frame(&mut to, &frame?, &mut mode).await?;
    }
    Ok(())
}

/// A frame with its length.
async fn read_frame(from: &mut ReadHalf<'_>) -> std::io::Result<Vec<u8>> {
    let mut length = [0; 4];
    from.read_exact(&mut length).await?;
    let body = u32::from_be_bytes(length) as usize;
    if body > FRAME_BYTES_MAX {
        return Err(Error::other("a frame without end"));
    }
    let mut frame = length.to_vec();
    frame.resize(4 + body, 0);
    from.read_exact(&mut frame[4..]).await?;
    Ok(frame)
}

async fn write_frame(to: &mut WriteHalf<'_>, frame: &[u8], mode: &mut watch::Receiver<Mode>) -> std::io::Result<()> {
    for slice in frame.chunks(SLICE_BYTES) {
        open(mode).await;
        let now = *mode.borrow();
        if let Mode::Slow(bytes_per_second) = now {
            let pause = Duration::from_secs_f64(slice.len() as f64 / f64::from(bytes_per_second.max(1)));
            tokio::time::sleep(pause).await;
        }
        to.write_all(slice).await?;
    }
    Ok(())
}

/// The answer that refuses every partition of a Produce; `None` if the frame is another request.
fn refusal(frame: &[u8], code: i16) -> Option<Vec<u8>> {
    let mut body = frame.get(4..)?;
    let key = i16::from_be_bytes(*body.first_chunk()?);
    let version = i16::from_be_bytes(*body.get(2..)?.first_chunk()?);
    if key != PRODUCE {
        return None;
    }
    let header = RequestHeader::decode(&mut body, ApiKey::Produce.request_header_version(version)).ok()?;
    let request = ProduceRequest::decode(&mut body, version).ok()?;
    let responses = request.topic_data.iter().map(|topic| {
        let partitions = topic.partition_data.iter().map(|partition| {
            let refused = PartitionProduceResponse::default().with_index(partition.index).with_base_offset(-1);
            refused.with_error_code(code)
        });
        TopicProduceResponse::default().with_name(topic.name.clone()).with_partition_responses(partitions.collect())
    });
    let response = ProduceResponse::default().with_responses(responses.collect());
    let mut answer = vec![0; 4];
    let head = ResponseHeader::default().with_correlation_id(header.correlation_id);
    head.encode(&mut answer, ApiKey::Produce.response_header_version(version)).ok()?;
    response.encode(&mut answer, version).ok()?;
    let length = u32::try_from(answer.len() - 4).ok()?;
    answer[..4].copy_from_slice(&length.to_be_bytes());
    Some(answer)
}

#[cfg(test)]
mod tests;
