//! `aqueduct sub`: a subscriber for trying things.

use std::io::{self, Write as _};
use std::process::ExitCode;
use std::time::Instant;

use clap::Args;
use mqtt::{QoS, ReasonCode};

use super::client::{self, Client, ClientArgs, GOODBYE};
use super::{Failure, Outcome};
use crate::client::{ClientError, Happening, Message, Wake};

const EXAMPLES: &str = "\
Examples:
  aqueduct sub -t '#' -v                     everything, with its topic
  aqueduct sub -t 'plant/+/temperature' -q 1
  aqueduct sub -t '#' -C 1 -W 10             one message, within ten seconds

Exit codes: 0 what was asked for has come, 1 not so, 2 usage.";

/// Subscribe over MQTT, to try things
///
/// Options have the letters that mosquitto_sub and mqttx give them. A message is acknowledged when it is written to stdout.
#[derive(Debug, Args)]
#[command(disable_help_flag = true, after_help = EXAMPLES)]
pub(super) struct Subscribe {
    /// Topic filter; may be repeated
    #[arg(short, long = "topic", value_name = "FILTER", required = true, value_parser = client::topic_filter)]
    topics: Vec<String>,
    /// Highest quality of service of what is delivered: 0, 1 or 2
    #[arg(short, long, value_name = "QOS", default_value = "0", value_parser = client::qos)]
    qos: QoS,
    /// End after this many messages
    #[arg(short = 'C', long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    count: Option<u64>,
    /// Print the topic in front of each message
    #[arg(short, long)]
    verbose: bool,
    #[command(flatten)]
    client: ClientArgs,
}

impl Subscribe {
    pub(super) fn run(self) -> Outcome {
        let mut client = self.client.connect("aqueduct-sub")?;
        client.socket.subscribe(&self.topics, self.qos).map_err(ClientError::from)?;
        let mut came = 0;
        while self.count.is_none_or(|count| came < count) {
            match client.socket.wait(client.end, None)? {
                Wake::Happened(Happening::Message(message)) => {
                    came += 1;
                    if !self.print(&message)? {
                        break;
                    }
                }
                Wake::Happened(Happening::Subscribed { reasons, .. }) => self.check(&reasons)?,
                Wake::Happened(_) | Wake::Readable => {}
                Wake::Time if client.end.is_none_or(|end| Instant::now() < end) => {}
                Wake::Time => return self.time_is_up(client, came),
            }
        }
        client.socket.disconnect(GOODBYE)?;
        Ok(ExitCode::SUCCESS)
    }

    /// False if nobody reads any more.
    fn print(&self, message: &Message) -> io::Result<bool> {
        let mut out = io::stdout().lock();
        let topic = if self.verbose { format!("{} ", message.topic) } else { String::new() };
        let parts = [topic.as_bytes(), &message.payload, b"\n"];
        match parts.iter().try_for_each(|part| out.write_all(part)).and_then(|()| out.flush()) {
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(false),
            written => written.map(|()| true),
        }
    }

    /// What the server granted.
    fn check(&self, reasons: &[ReasonCode]) -> Result<(), Failure> {
        for (filter, reason) in self.topics.iter().zip(reasons) {
            if reason.is_failure() {
                return Err(Failure::Work(miette::miette!(
                    "the server refused the subscription {filter}: {reason} (0x{:02X})",
                    reason.value()
                )));
            }
            if reason.value() < self.qos.bits() {
                eprintln!("{filter} is delivered with QoS {} at most", reason.value());
            }
        }
        Ok(())
    }

    /// With a count that many were asked for, without one at least one.
    fn time_is_up(&self, client: Client, came: u64) -> Outcome {
        let failure = match self.count {
            Some(count) => Some(client.gave_up(&format!("{came} of {} came", client::messages(count)))),
            None if came == 0 => Some(client.gave_up("no message came")),
            None => None,
        };
        client.socket.disconnect(GOODBYE)?;
        failure.map_or(Ok(ExitCode::SUCCESS), Err)
    }
}
