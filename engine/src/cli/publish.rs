//! `aqueduct pub`: a publisher for trying things.

mod messages;

use std::io::{self, Read as _};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::Args;
use mqtt::{QoS, ReasonCode};

use self::messages::Messages;
use super::client::{self, Client, ClientArgs, GOODBYE};
use super::{Failure, Outcome};
use crate::client::{Happening, Wake};

const EXAMPLES: &str = "\
Examples:
  aqueduct pub -t plant/1/temperature -m 21.5 -q 1
  aqueduct pub -t plant/1/temperature -m -3.5 -q 1 -d      shows the packets and so the acknowledgement
  vmstat 1 | aqueduct pub -t host/vmstat -l -q 1           a message for each line
  aqueduct pub -h broker.example.net -u me -P secret -t t -f picture.png

At QoS 1 and 2 it ends when everything is acknowledged, and Aqueduct acknowledges what Kafka has.
Exit codes: 0 all acknowledged (QoS 0: written), 1 not so, 2 usage.";

/// When people are told what is being waited for.
const PATIENCE: Duration = Duration::from_secs(3);

/// What may wait to be written at QoS 0, where nothing else bounds it.
const BACKLOG_BYTES: usize = 1024 * 1024;

/// Publish over MQTT, to try things
///
/// Options have the letters that mosquitto_pub and mqttx give them.
#[derive(Debug, Args)]
#[command(disable_help_flag = true, after_help = EXAMPLES)]
pub(super) struct Publish {
    /// Topic to publish to
    #[arg(short, long, value_name = "TOPIC", value_parser = client::topic_name)]
    topic: String,
    #[command(flatten)]
    what: What,
    /// Quality of service: 0, 1 or 2
    #[arg(short, long, value_name = "QOS", default_value = "0", value_parser = client::qos)]
    qos: QoS,
    /// Have the server keep the message for later subscribers
    #[arg(short, long)]
    retain: bool,
    #[command(flatten)]
    client: ClientArgs,
}

/// What to publish.
#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
struct What {
    /// The message
    #[arg(short, long, value_name = "MESSAGE", allow_hyphen_values = true)]
    message: Option<String>,
    /// A file's content, as one message
    #[arg(short, long, value_name = "FILE")]
    file: Option<String>,
    /// An empty message
    #[arg(short, long)]
    null_message: bool,
    /// A message for each line of stdin
    #[arg(short = 'l', long)]
    stdin_line: bool,
    /// All of stdin, as one message
    #[arg(short, long, visible_alias = "stdin")]
    stdin_file: bool,
}

impl What {
    fn messages(self) -> Result<Messages, Failure> {
        if self.stdin_line {
            return Ok(Messages::lines());
        }
        let one = match (self.message, self.file) {
            (Some(message), _) => message.into_bytes(),
            (None, Some(file)) => std::fs::read(&file).map_err(|error| {
                client::usage(&format!("{file} cannot be read: {error}"), "name a readable file with -f")
            })?,
            (None, None) if self.stdin_file => {
                let mut all = Vec::new();
                io::stdin().lock().read_to_end(&mut all)?;
                all
            }
            (None, None) => Vec::new(),
        };
        Ok(Messages::one(one))
    }
}

impl Publish {
    pub(super) fn run(self) -> Outcome {
        let messages = self.what.messages()?;
        let client = self.client.connect("aqueduct-pub")?;
        let (topic, qos, retain) = (self.topic, self.qos, self.retain);
        let mut publisher = Publisher { client, messages, topic, qos, retain, sent: 0, refused: 0, refusal: None };
        if let Err(failure) = publisher.publish_all() {
            publisher.say_what_is_open();
            return Err(failure);
        }
        publisher.finish()
    }
}

struct Publisher {
    client: Client,
    messages: Messages,
    topic: String,
    qos: QoS,
    retain: bool,
    sent: u64,
    refused: u64,
    /// The first one.
    refusal: Option<(ReasonCode, Option<String>)>,
}

impl Publisher {
    /// Publishes until there is nothing more and everything is acknowledged.
    fn publish_all(&mut self) -> Result<(), Failure> {
        let mut last_progress = Some(Instant::now());
        loop {
            self.publish_what_is_there()?;
            if self.messages.is_over() && self.client.socket.connection().open() == 0 {
                return Ok(());
            }
            // Whoever types the lines knows what is being waited for.
            let note = last_progress.filter(|_| self.messages.is_over()).map(|since| since + PATIENCE);
            let until = [note, self.client.end].into_iter().flatten().min();
            let has_window = self.client.socket.connection().window() > 0;
            let stdin = self.messages.source().filter(|_| has_window);
            match self.client.socket.wait(until, stdin)? {
                Wake::Happened(Happening::Acknowledged { reason, text, .. }) => {
                    last_progress = last_progress.map(|_| Instant::now());
                    self.acknowledged(reason, text);
                }
                // A session that was continued may hold messages for a subscriber of the same name.
                Wake::Happened(_) => {}
                Wake::Readable => self.messages.read()?,
                Wake::Time if self.client.end.is_some_and(|end| Instant::now() >= end) => {
                    return Err(self.client.gave_up("not everything is acknowledged"));
                }
                Wake::Time => {
                    let open = self.client.socket.connection().open() as u64;
                    eprintln!("{} not acknowledged yet; Aqueduct does when Kafka has it", client::messages(open));
                    last_progress = None;
                }
            }
        }
    }

    fn publish_what_is_there(&mut self) -> Result<(), Failure> {
        let Self { client, messages, topic, qos, retain, sent, .. } = self;
        while client.socket.connection().window() > 0
            && let Some(message) = messages.next()
        {
            client.socket.publish(topic, &message, *qos, *retain).map_err(crate::client::ClientError::from)?;
            *sent += 1;
            if client.socket.connection().output().len() > BACKLOG_BYTES {
                client.socket.flush(client.end)?;
            }
        }
        Ok(())
    }

    fn acknowledged(&mut self, reason: ReasonCode, text: Option<String>) {
        if reason.is_failure() {
            self.refused += 1;
            self.refusal.get_or_insert((reason, text));
        }
    }

    /// On the way out with an error.
    fn say_what_is_open(&self) {
        let open = self.client.socket.connection().open();
        if open > 0 {
            eprintln!("{open} of {} not acknowledged", client::messages(self.sent));
        }
    }

    fn finish(self) -> Outcome {
        self.client.socket.disconnect(GOODBYE)?;
        let Some((reason, text)) = self.refusal else { return Ok(ExitCode::SUCCESS) };
        let text = text.map_or_else(String::new, |text| format!(": {text}"));
        let (refused, all) = (self.refused, client::messages(self.sent));
        Err(Failure::Work(miette::miette!(
            "the server refused {refused} of {all}: {reason} (0x{:02X}){text}",
            reason.value()
        )))
    }
}
