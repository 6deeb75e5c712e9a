//! What can go wrong between a client and its server, and what to type then.

use std::io;

use miette::Diagnostic;
use mqtt::ReasonCode;
use thiserror::Error;

use super::{Address, Fault, Refusal};

/// Where `aqueduct run` listens unless told otherwise.
const USUAL_PORT: u16 = 1883;

/// Why a client could not do its work. Every one of them ends the connection.
#[derive(Debug, Error)]
pub enum ClientError {
    /// The host has no address.
    #[error("{} cannot be resolved: {error}", .address.host)]
    Unresolved {
        /// What was asked for.
        address: Address,
        /// The resolver's words.
        error: io::Error,
    },
    /// There was no connection to be had.
    #[error("no connection to {address}: {}", why(.error))]
    Unreachable {
        /// What was asked for.
        address: Address,
        /// The kernel's words.
        error: io::Error,
        /// On this port of the same host something does listen.
        instead: Option<u16>,
    },
    /// The server closed the connection without a word.
    #[error("{address} closed the connection {}", since(*.connected))]
    Closed {
        /// Who it was.
        address: Address,
        /// It had let the client in.
        connected: bool,
    },
    /// The server's fault.
    #[error("{address}: {fault}")]
    Fault {
        /// Who it was.
        address: Address,
        /// What it did.
        fault: Fault,
    },
    /// A packet that could not be sent.
    #[error("{0}")]
    Refusal(Refusal),
    /// The socket itself failed.
    #[error("{address}: {error}")]
    Io {
        /// The other side.
        address: Address,
        /// The kernel's words.
        error: io::Error,
    },
}

fn why(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::ConnectionRefused => "nothing listens there".to_owned(),
        io::ErrorKind::TimedOut => "no answer".to_owned(),
        _ => error.to_string(),
    }
}

fn since(connected: bool) -> &'static str {
    if connected { "without a reason" } else { "instead of answering CONNECT" }
}

impl From<Refusal> for ClientError {
    fn from(refusal: Refusal) -> Self {
        Self::Refusal(refusal)
    }
}

impl ClientError {
    /// What to do about it.
    fn remedy(&self) -> Option<String> {
        Some(match self {
            Self::Unresolved { .. } => "name a host with -h, or an address such as 127.0.0.1".to_owned(),
            Self::Unreachable { address, error, instead } => return unreachable(address, error, *instead),
            Self::Closed { connected: false, .. } | Self::Fault { fault: Fault::NotMqtt, .. } => {
                "is that the port of an MQTT listener without TLS? `aqueduct run` has it on 1883 unless told otherwise, \
                 and Kafka's on 9092; an old server may want -V 3.1.1"
                    .to_owned()
            }
            Self::Closed { connected: true, .. } => {
                "the server's log says why; a second client with the same -i also ends the first".to_owned()
            }
            Self::Fault { fault, .. } => return refused(fault),
            Self::Refusal(refusal) => return unsent(refusal),
            Self::Io { .. } => return None,
        })
    }
}

fn unreachable(address: &Address, error: &io::Error, instead: Option<u16>) -> Option<String> {
    Some(match (error.kind(), instead) {
        (io::ErrorKind::ConnectionRefused, Some(port)) => {
            format!("something listens on port {port} of {}: -p {port}", address.host)
        }
        (io::ErrorKind::ConnectionRefused, None) if address.port == USUAL_PORT => {
            "start a server with `aqueduct run`, which listens on 127.0.0.1:1883, or say where yours is with -h HOST -p PORT"
                .to_owned()
        }
        (io::ErrorKind::ConnectionRefused, None) => {
            "`aqueduct run` listens on port 1883 unless told otherwise; -h HOST -p PORT say where yours is".to_owned()
        }
        (io::ErrorKind::TimedOut, _) => "is the host up, and does a firewall let port {port} through?"
            .replace("{port}", &address.port.to_string()),
        _ => return None,
    })
}

fn refused(fault: &Fault) -> Option<String> {
    let Fault::Refused { reason, .. } = fault else { return None };
    let text = match reason {
        ReasonCode::BadUserNameOrPassword | ReasonCode::NotAuthorized | ReasonCode::BadAuthenticationMethod => {
            "give a user name with -u and a password with -P"
        }
        ReasonCode::ClientIdentifierNotValid => "choose another client id with -i",
        ReasonCode::UnsupportedProtocolVersion => "try another version: -V 5, -V 3.1.1",
        ReasonCode::ServerUnavailable | ReasonCode::ServerBusy | ReasonCode::ConnectionRateExceeded => {
            "try again later"
        }
        _ => return None,
    };
    Some(text.to_owned())
}

fn unsent(refusal: &Refusal) -> Option<String> {
    let text = match refusal {
        Refusal::TooLarge { .. } => "shorten the message, or raise mqtt.max_packet_size of the server",
        Refusal::QoS(_) => "ask for less with -q",
        Refusal::Retain => "leave -r out",
        Refusal::NotConnected | Refusal::WindowFull => return None,
    };
    Some(text.to_owned())
}

impl Diagnostic for ClientError {
    fn help<'a>(&'a self) -> Option<Box<dyn std::fmt::Display + 'a>> {
        self.remedy().map(|remedy| Box::new(remedy) as Box<dyn std::fmt::Display>)
    }
}
