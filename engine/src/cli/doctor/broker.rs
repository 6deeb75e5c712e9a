//! One broker asked over a blocking socket, with the same codec the engine uses: a probe sees what a run would see.

use std::io::ErrorKind;
use std::time::{Duration, Instant};

use kafka::connection::{Begun, BrokerConnection, Event, Taken};
use kafka::message::ApiKey;
use kafka::message::describe_configs;
use kafka::message::init_producer_id::{self, Producer};
use kafka::message::metadata::{self, Metadata};
use kafka::sasl::Question;

use super::access::Access;
use super::stream::{Stream, words_of};
use crate::config::HostPort;
use crate::run::Login;

/// Pause before a question is asked again.
const RETRY: Duration = Duration::from_millis(200);

/// A broker that has shaken hands.
pub(super) struct Broker {
    stream: Stream,
    link: BrokerConnection,
    /// How long an answer may take, once it has shaken hands.
    patience: Duration,
    /// Of the handshake, then of the question that was put last: others may be dialled between two questions.
    deadline: Instant,
}

/// What went wrong, in the words of the step.
pub(super) type Failed = String;

/// A step of connecting.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    Connect,
    Encrypt,
    Agree,
    LogIn,
}

impl Step {
    /// The step with its host, as a finding begins.
    pub(super) fn with(self, host: &HostPort) -> String {
        match self {
            Self::Connect => format!("connect {host}"),
            Self::Encrypt => format!("TLS with {host}"),
            Self::Agree => format!("agree on versions with {host}"),
            Self::LogIn => format!("log in to {host}"),
        }
    }
}

/// A step that went well: what came of it, and how long it took.
pub(super) struct Done {
    pub(super) step: Step,
    pub(super) found: String,
    pub(super) took: Duration,
}

/// A step that went wrong; none follows it.
pub(super) struct Stopped {
    pub(super) step: Step,
    pub(super) why: Failed,
    pub(super) took: Duration,
}

/// Times steps, one after the other.
struct Steps<'a> {
    began: Instant,
    done: &'a mut Vec<Done>,
}

impl Steps<'_> {
    fn finish(&mut self, step: Step, found: String) {
        self.done.push(Done { step, found, took: self.began.elapsed() });
        self.began = Instant::now();
    }

    fn stopped(&self, step: Step, why: Failed) -> Stopped {
        Stopped { step, why, took: self.began.elapsed() }
    }
}

impl Broker {
    /// Connects to the first address of `host` that answers, encrypts, agrees on versions and logs in, as far as the
    /// connector asks for it. `done` gets each step.
    pub(super) fn connect(host: &HostPort, access: &mut Access<'_>, done: &mut Vec<Done>) -> Result<Self, Stopped> {
        let timeout = Duration::from_millis(access.kafka.connect_timeout_ms);
        let mut steps = Steps { began: Instant::now(), done };
        let deadline = steps.began + timeout;
        let mut stream =
            Stream::dial(host, timeout).map_err(|error| steps.stopped(Step::Connect, error.to_string()))?;
        steps.finish(Step::Connect, "a port that answers".to_string());
        if let Some(tls) = &access.tls {
            let encrypted = stream.encrypt(&host.host, tls);
            let (encrypted, agreed) = encrypted.map_err(|error| steps.stopped(Step::Encrypt, error))?;
            stream = encrypted;
            steps.finish(Step::Encrypt, agreed);
        }
        let mut link = BrokerConnection::new(&access.kafka.client_id, env!("CARGO_PKG_VERSION"));
        let exchange = access.exchange();
        let mechanism = exchange.as_ref().map(|exchange| exchange.mechanism());
        if let Some(exchange) = exchange {
            link.authenticate_with(exchange);
        }
        link.handle_connected();
        let patience = Duration::from_millis(access.kafka.metadata_request_timeout_ms);
        let mut broker = Self { stream, link, patience, deadline };
        broker.agree().map_err(|error| steps.stopped(Step::Agree, error))?;
        steps.finish(Step::Agree, "a broker that speaks our versions".to_string());
        if let Some(mechanism) = mechanism {
            broker.log_in(&host.host, access).map_err(|error| steps.stopped(Step::LogIn, error))?;
            steps.finish(Step::LogIn, mechanism.to_string());
        }
        Ok(broker)
    }

    /// Brokers and the named topics.
    pub(super) fn metadata(&mut self, topics: &[&str]) -> Result<Metadata, Failed> {
        let client_id = self.link.client_id().to_string();
        let mut request = Vec::new();
        let body = self.ask(ApiKey::Metadata, &mut request, |begun, out| {
            metadata::encode_request_for_rights(begun.version, begun.correlation_id, &client_id, topics, out);
        })?;
        metadata::decode_response(body.0, &body.1).map_err(|error| error.to_string())
    }

    /// A producer id: the right to write idempotently. A broker that has just started has none to give yet.
    pub(super) fn producer(&mut self) -> Result<Producer, Failed> {
        let client_id = self.link.client_id().to_string();
        let end = Instant::now() + self.patience;
        loop {
            let mut request = Vec::new();
            let body = self.ask(ApiKey::InitProducerId, &mut request, |begun, out| {
                init_producer_id::encode_request(begun.version, begun.correlation_id, &client_id, out);
            })?;
            let response = init_producer_id::decode_response(body.0, &body.1).map_err(|error| error.to_string())?;
            match response.producer {
                Ok(producer) => return Ok(producer),
                Err(code) if code.retriable() && Instant::now() + RETRY < end => std::thread::sleep(RETRY),
                Err(code) => return Err(format!("{code}: {}", code.why())),
            }
        }
    }

    /// The settings `keys` of `topics`.
    pub(super) fn settings(&mut self, topics: &[&str], keys: &[&str]) -> Result<Vec<describe_configs::Topic>, Failed> {
        let client_id = self.link.client_id().to_string();
        let mut request = Vec::new();
        let body = self.ask(ApiKey::DescribeConfigs, &mut request, |begun, out| {
            let (version, correlation_id) = (begun.version, begun.correlation_id);
            describe_configs::encode_request(version, correlation_id, &client_id, topics, keys, out);
        })?;
        describe_configs::decode_response(body.0, &body.1).map_err(|error| error.to_string())
    }

    /// Asks for versions, until the link is ready or wants to know who we are.
    fn agree(&mut self) -> Result<(), Failed> {
        while !self.link.is_authenticating() {
            if self.shake()? {
                return Ok(());
            }
        }
        Ok(())
    }

    /// Proves who we are.
    fn log_in(&mut self, host: &str, access: &Access<'_>) -> Result<(), Failed> {
        let mut kerberos = None;
        while !self.shake()? {
            if let Some(question) = self.link.poll_question() {
                self.answer(question, &mut kerberos, host, access)?;
            }
        }
        Ok(())
    }

    /// Says what the Kerberos library finds.
    fn answer(
        &mut self,
        question: Question,
        login: &mut Option<Login>,
        host: &str,
        access: &Access<'_>,
    ) -> Result<(), Failed> {
        match (question, login) {
            (Question::Begin, login) => {
                let (begun, bytes) = access.begin_kerberos(host)?;
                *login = Some(begun);
                self.link.handle_answer(&bytes, false);
            }
            (Question::Answer(challenge), Some(login)) => {
                let answer = login.answer(&challenge)?;
                self.link.handle_answer(&answer.bytes, answer.last);
            }
            (Question::Answer(_), None) => return Err("the broker challenges before it has been greeted".into()),
        }
        Ok(())
    }

    /// One step of the handshake there and back; whether it was the last.
    fn shake(&mut self) -> Result<bool, Failed> {
        if let Some(bytes) = self.link.poll_transmit() {
            self.stream.send(&bytes)?;
        }
        let frame = self.frame()?;
        match self.link.handle_bytes(&frame).map_err(|error| error.to_string())? {
            Taken::Frame(_, Event::Ready) => Ok(true),
            Taken::Frame(_, Event::Handshake) => Ok(false),
            Taken::Frame(_, Event::Response(_)) | Taken::Need(_) => Err("an answer to no question".into()),
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
        self.deadline = Instant::now() + self.patience;
        self.stream.send(request)?;
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
            self.stream.set_read_timeout(left).map_err(|error| error.to_string())?;
            // The length is the broker's word; memory follows the bytes that come.
            let mut part = vec![0; missing.min(64 * 1024)];
            let n = match self.stream.receive(&mut part) {
                Ok(n) => n,
                // A ring of the io_uring probe that is still being taken down interrupts calls of this thread.
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                    return Err("no answer in time".to_string());
                }
                Err(error) => return Err(words_of(&error)),
            };
            if n == 0 {
                return Err("the broker closed the connection: it may expect TLS or SASL".to_string());
            }
            frame.extend_from_slice(part.get(..n).unwrap_or_default());
        }
    }
}
