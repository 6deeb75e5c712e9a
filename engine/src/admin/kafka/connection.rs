//! One Kafka client: a frame in, its answer out, then the next. Kafka promises answers in the order of the requests, and
//! clients that want two things at once open two connections.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::State;
use super::api::{self, Refusal};

/// A longer request is not read. Consumers send a few hundred bytes; a producer's batch of Kafka's default size, which is
/// refused in words, fits.
const REQUEST_BYTES_MAX: usize = (1 << 20) + (64 << 10);

/// A client that says nothing for so long is gone; Kafka's own `connections.max.idle.ms`.
const IDLE_MAX: Duration = Duration::from_secs(600);

/// A request that has begun arrives in this time, an answer is taken in this time.
const TRANSFER_MAX: Duration = Duration::from_secs(60);

/// Answers up to this length are sent without asking for room: so many for every connection are no burden.
const SHORT_ANSWER_BYTES: usize = 64 << 10;

/// Why a connection ended.
#[derive(Debug, thiserror::Error)]
pub(super) enum End {
    #[error(transparent)]
    Refused(#[from] Refusal),
    #[error("a request of {0} bytes, the limit is {REQUEST_BYTES_MAX}")]
    TooLong(i32),
    #[error("{0}")]
    Slow(&'static str),
    #[error("no room for an answer of {0} bytes while others are being sent")]
    Crowded(usize),
    #[error(transparent)]
    Io(#[from] io::Error),
}

impl End {
    pub(super) fn is_our_mistake(&self) -> bool {
        matches!(self, Self::Refused(Refusal::Encode(_)))
    }
}

/// Serves one client until it goes or breaks the protocol.
pub(super) async fn run(mut stream: TcpStream, peer: SocketAddr, state: &Arc<State>) -> Result<(), End> {
    stream.set_nodelay(true)?;
    let local = stream.local_addr()?;
    let mut frame = Vec::new();
    loop {
        let mut len = [0; 4];
        match timeout(IDLE_MAX, stream.read_exact(&mut len)).await {
            Ok(Ok(_)) => {}
            Ok(Err(error)) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(()),
            Ok(Err(error)) => return Err(error.into()),
            Err(_) => return Err(End::Slow("idle")),
        }
        read_body(&mut stream, i32::from_be_bytes(len), &mut frame).await?;
        let answer = api::answer(state, peer, local, &frame).await?;
        let room = match answer.room {
            None if answer.frame.len() > SHORT_ANSWER_BYTES => {
                Some(state.room(answer.frame.len()).ok_or(End::Crowded(answer.frame.len()))?)
            }
            room => room,
        };
        timeout(TRANSFER_MAX, stream.write_all(&answer.frame))
            .await
            .map_err(|_| End::Slow("the client does not read"))??;
        drop(room);
        frame.clear();
        frame.shrink_to(SHORT_ANSWER_BYTES);
    }
}

/// Reads a frame's body. Memory grows with what has arrived, not with what is announced.
async fn read_body(stream: &mut TcpStream, announced: i32, frame: &mut Vec<u8>) -> Result<(), End> {
    let len = usize::try_from(announced).ok().filter(|&len| len <= REQUEST_BYTES_MAX).ok_or(End::TooLong(announced))?;
    frame.clear();
    let mut body = stream.take(len as u64);
    let read =
        timeout(TRANSFER_MAX, body.read_to_end(frame)).await.map_err(|_| End::Slow("a request came too slowly"))??;
    if read < len {
        return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
    }
    Ok(())
}
