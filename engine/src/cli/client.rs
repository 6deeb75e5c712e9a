//! What `pub` and `sub` share: the arguments that say which server is meant and who asks, and the way in.
//!
//! Short options are those of mosquitto_pub and mosquitto_sub, which mqttx has taken over. So `-h` is the host, and the
//! help is `--help` alone.

mod packets;

use std::hash::{BuildHasher as _, RandomState};
use std::time::{Duration, Instant};

use clap::{ArgAction, Args};
use mqtt::{QoS, Version, topic};

use super::Failure;
use crate::client::{Address, ClientError, Happening, Options, Socket, Wake};
use crate::config::{Problem, Problems};

/// How long a goodbye may take.
pub(super) const GOODBYE: Duration = Duration::from_secs(5);

#[derive(Debug, Args)]
#[command(next_help_heading = "Connection")]
pub(super) struct ClientArgs {
    /// Host of the MQTT listener
    #[arg(short = 'h', long, alias = "hostname", value_name = "HOST", default_value = "127.0.0.1")]
    host: String,
    /// Its port
    #[arg(short, long, value_name = "PORT", default_value_t = 1883)]
    port: u16,
    /// Client id; without one, a new one each time
    #[arg(short, long, visible_alias = "client-id", value_name = "ID")]
    id: Option<String>,
    /// User name
    #[arg(short, long, value_name = "NAME")]
    username: Option<String>,
    /// Password
    #[arg(short = 'P', long, alias = "pw", value_name = "PASSWORD", allow_hyphen_values = true)]
    password: Option<String>,
    /// Version of MQTT to speak: 5, 3.1.1 or 3.1
    #[arg(short = 'V', long, alias = "protocol-version", value_name = "VERSION", default_value = "5", value_parser = version)]
    mqtt_version: Version,
    /// Longest silence, in seconds, before the client says that it is still there; 0 for none
    #[arg(short, long, value_name = "SECONDS", default_value_t = 60)]
    keepalive: u16,
    /// Continue the session of this client id, and have the server keep it
    #[arg(short = 'c', long, aliases = ["disable-clean-session", "no-clean"], requires = "id")]
    keep_session: bool,
    /// Give up after this many seconds
    #[arg(short = 'W', long, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..))]
    timeout: Option<u64>,
    /// Show every packet on stderr
    #[arg(short, long)]
    debug: bool,
    /// Print help
    #[arg(long, action = ArgAction::HelpLong)]
    help: Option<bool>,
}

impl ClientArgs {
    /// Connects and waits to be let in. `name` begins the client id of a client that has none.
    pub(super) fn connect(&self, name: &str) -> Result<Client, Failure> {
        if self.password.is_some() && self.username.is_none() && self.mqtt_version != Version::V5 {
            let remedy = "add -u NAME, or speak MQTT 5 with -V 5";
            return Err(usage("before MQTT 5 a password needs a user name", remedy));
        }
        let address = Address { host: self.host.clone(), port: self.port };
        let options = Options {
            version: self.mqtt_version,
            client_id: self.id.clone().unwrap_or_else(|| format!("{name}-{:08x}", random())),
            keep_session: self.keep_session,
            keep_alive_s: self.keepalive,
            username: self.username.clone(),
            password: self.password.clone().map(String::into_bytes),
        };
        let end = self.timeout.map(|seconds| Instant::now() + Duration::from_secs(seconds));
        let mut socket = Socket::connect(&address, &options, self.debug.then_some(packets::show))?;
        match socket.wait(end, None)? {
            Wake::Happened(Happening::Connected { .. }) => Ok(Client { socket, end, timeout_s: self.timeout }),
            _ => Err(gave_up(self.timeout, "the server has not answered CONNECT")),
        }
    }
}

/// A client that was let in.
#[derive(Debug)]
pub(super) struct Client {
    pub(super) socket: Socket,
    /// When it is to give up.
    pub(super) end: Option<Instant>,
    timeout_s: Option<u64>,
}

impl Client {
    /// The error of a client whose time is up.
    pub(super) fn gave_up(&self, what: &str) -> Failure {
        gave_up(self.timeout_s, what)
    }
}

fn gave_up(timeout_s: Option<u64>, what: &str) -> Failure {
    Failure::Work(miette::miette!("gave up after {} s: {what}", timeout_s.unwrap_or_default()))
}

impl From<ClientError> for Failure {
    fn from(error: ClientError) -> Self {
        Self::Work(error.into())
    }
}

/// Two clients that start at once, perhaps on two machines, must not throw each other out.
fn random() -> u32 {
    RandomState::new().hash_one(std::process::id()) as u32
}

/// A wrong command line that clap cannot see.
pub(super) fn usage(message: &str, remedy: &str) -> Failure {
    Failure::Usage(Problems::new(vec![Problem::error(message, remedy)]))
}

/// `n message(s)`.
pub(super) fn messages(n: u64) -> String {
    format!("{n} message{}", if n == 1 { "" } else { "s" })
}

fn version(text: &str) -> Result<Version, String> {
    match text.trim_start_matches("mqttv") {
        "5" | "5.0" => Ok(Version::V5),
        // mqttx and the packet itself call it 4.
        "3.1.1" | "311" | "4" => Ok(Version::V3_1_1),
        "3.1" | "31" | "3" => Ok(Version::V3_1),
        _ => Err("5, 3.1.1 and 3.1 there are".to_owned()),
    }
}

/// For clap.
pub(super) fn qos(text: &str) -> Result<QoS, String> {
    let level = text.parse().ok().and_then(QoS::from_bits);
    level.ok_or_else(|| "0, 1 and 2 there are".to_owned())
}

/// For clap.
pub(super) fn topic_name(text: &str) -> Result<String, String> {
    if topic::valid_name(text) && text.len() <= usize::from(u16::MAX) {
        return Ok(text.to_owned());
    }
    Err("a topic to publish to is not empty and holds no + or #".to_owned())
}

/// For clap.
pub(super) fn topic_filter(text: &str) -> Result<String, String> {
    if text.len() > usize::from(u16::MAX) {
        return Err("a topic filter has 65535 bytes at most".to_owned());
    }
    let inner = topic::Shared::parse(text).and_then(|shared| match shared {
        Some(_) => Ok(()),
        None => topic::valid_filter(text),
    });
    inner.map(|()| text.to_owned()).map_err(|error| error.what.to_owned())
}
