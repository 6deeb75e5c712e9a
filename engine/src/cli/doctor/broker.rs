//! One broker asked over a blocking socket, with the same codec the engine uses: a probe sees what a run would see.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{TcpStream, ToSocketAddrs as _};
use std::time::{Duration, Instant};

use kafka::connection::{Begun, BrokerConnection, Event, Taken};
use kafka::message::ApiKey;
use kafka::message::init_producer_id::{self, Producer};
use kafka::message::metadata::{self, Metadata};

use crate::config::{HostPort, KafkaConnector};

/// Pause before a question is asked again.
const RETRY: Duration = Duration::from_millis(200);

/// A broker that has shaken hands.
pub(super) struct Broker {
    stream: TcpStream,
    link: BrokerConnection,
    deadline: Instant,
}

/// What went wrong, in the words of the step.
pub(super) type Failed = String;

impl Broker {
    /// Connects to the first address of `host` that answers, and agrees on versions.
    pub(super) fn connect(host: &HostPort, connector: &KafkaConnector) -> Result<Self, Failed> {
        let timeout = Duration::from_millis(connector.connect_timeout_ms);
        let stream = dial(host, timeout).map_err(|error| format!("connect {host}: {error}"))?;
        let mut link = BrokerConnection::new(&connector.client_id, env!("CARGO_PKG_VERSION"));
        link.handle_connected();
        let mut broker = Self { stream, link, deadline: Instant::now() + timeout };
        broker.agree().map_err(|error| format!("agree on versions with {host}: {error}"))?;
        let answer = Duration::from_millis(connector.metadata_request_timeout_ms);
        broker.deadline = Instant::now() + answer;
        Ok(broker)
    }

    /// Brokers and the named topics.
    pub(super) fn metadata(&mut self, topics: &[&str]) -> Result<Metadata, Failed> {
        let client_id = self.link.client_id().to_string();
        let mut request = Vec::new();
        let body = self.ask(ApiKey::Metadata, &mut request, |begun, out| {
            metadata::encode_request(begun.version, begun.correlation_id, &client_id, Some(topics), false, out);
        })?;
        metadata::decode_response(body.0, &body.1).map_err(|error| error.to_string())
    }

    /// A producer id: the right to write idempotently. A broker that has just started has none to give yet.
    pub(super) fn producer(&mut self) -> Result<Producer, Failed> {
        let client_id = self.link.client_id().to_string();
        loop {
            let mut request = Vec::new();
            let body = self.ask(ApiKey::InitProducerId, &mut request, |begun, out| {
                init_producer_id::encode_request(begun.version, begun.correlation_id, &client_id, out);
            })?;
            let response = init_producer_id::decode_response(body.0, &body.1).map_err(|error| error.to_string())?;
            match response.producer {
                Ok(producer) => return Ok(producer),
                Err(code) if code.retriable() && Instant::now() + RETRY < self.deadline => std::thread::sleep(RETRY),
                Err(code) => return Err(format!("{code}: {}", code.why())),
            }
        }
    }

    fn agree(&mut self) -> Result<(), Failed> {
        loop {
            if let Some(bytes) = self.link.poll_transmit() {
                self.stream.write_all(&bytes).map_err(|error| error.to_string())?;
            }
            let frame = self.frame()?;
            match self.link.handle_bytes(&frame).map_err(|error| error.to_string())? {
                Taken::Frame(_, Event::Ready) => return Ok(()),
                Taken::Frame(_, Event::Handshake) => {}
                Taken::Frame(_, Event::Response(_)) | Taken::Need(_) => return Err("an answer to no question".into()),
            }
        }
    }

    /// Sends one request and waits for its answer: the version and the body.
    fn ask(
        &mut self,
        api: ApiKey,
        request: &mut Vec<u8>,
        encode: impl FnOnce(Begun, &mut Vec<u8>),
    ) -> Result<(i16, Vec<u8>), Failed> {
        let begun = self.link.begin(api).map_err(|error| error.to_string())?;
        encode(begun, request);
        self.stream.write_all(request).map_err(|error| error.to_string())?;
        let frame = self.frame()?;
        match self.link.handle_bytes(&frame).map_err(|error| error.to_string())? {
            Taken::Frame(_, Event::Response(response)) => Ok((response.version, response.body.to_vec())),
            _ => Err(format!("an answer that is none to {}", api.name())),
        }
    }

    /// The bytes of the next frame, its length field included.
    fn frame(&mut self) -> Result<Vec<u8>, Failed> {
        let mut frame = Vec::new();
        loop {
            let missing = match kafka::frame::frame_bytes(&frame).map_err(|error| error.to_string())? {
                None => kafka::frame::LENGTH_BYTES - frame.len(),
                Some(whole) if whole == frame.len() => return Ok(frame),
                Some(whole) => whole - frame.len(),
            };
            let left = self.deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err("no answer in time".to_string());
            }
            self.stream.set_read_timeout(Some(left)).map_err(|error| error.to_string())?;
            // The length is the broker's word; memory follows the bytes that come.
            let mut part = vec![0; missing.min(64 * 1024)];
            let n = match self.stream.read(&mut part) {
                Ok(n) => n,
                // A ring of the io_uring probe that is still being taken down interrupts calls of this thread.
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                    return Err("no answer in time".to_string());
                }
                Err(error) => return Err(error.to_string()),
            };
            if n == 0 {
                return Err("the broker closed the connection: it may expect TLS or SASL".to_string());
            }
            frame.extend_from_slice(part.get(..n).unwrap_or_default());
        }
    }
}

/// The first address that accepts; else the error of the last.
fn dial(host: &HostPort, timeout: Duration) -> std::io::Result<TcpStream> {
    let mut last = std::io::Error::other("the name has no address");
    for address in (host.host.as_str(), host.port).to_socket_addrs()? {
        match TcpStream::connect_timeout(&address, timeout) {
            Ok(stream) => {
                stream.set_nodelay(true)?;
                stream.set_write_timeout(Some(timeout))?;
                return Ok(stream);
            }
            Err(error) => last = error,
        }
    }
    Err(last)
}
