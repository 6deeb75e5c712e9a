//! Workloads: what is sent, by how many, how fast. The canonical ones are embedded; a path names another file.

use std::path::Path;
use std::time::Duration;

use miette::{IntoDiagnostic, Result, WrapErr, bail};
use serde::{Deserialize, Serialize};

use crate::message::{Payload, STAMP_BYTES, TELEMETRY_BYTES_MIN};

/// The canonical workloads by name.
pub const CANONICAL: [(&str, &str); 7] = [
    ("a", include_str!("../workloads/a.toml")),
    ("a-json", include_str!("../workloads/a-json.toml")),
    ("b", include_str!("../workloads/b.toml")),
    ("c", include_str!("../workloads/c.toml")),
    ("d", include_str!("../workloads/d.toml")),
    ("d2", include_str!("../workloads/d2.toml")),
    ("idle", include_str!("../workloads/idle.toml")),
];

/// One workload, as its file describes it.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Workload {
    /// The name it was asked for by; not in the file.
    #[serde(skip_deserializing)]
    pub name: String,
    /// One line for people.
    pub about: String,
    /// 0 or 1.
    pub qos: u8,
    /// MQTT connections, each a client of its own.
    pub connections: u32,
    /// Payload of every PUBLISH, at least 8.
    pub payload_bytes: usize,
    /// What a payload is made of, behind the stamp that names it.
    #[serde(default)]
    pub payload: Payload,
    /// PUBLISHes a connection may have unacknowledged, 1 to 65,535; without meaning at QoS 0.
    #[serde(default = "one")]
    pub window: u32,
    /// Messages of the measured phase, over all connections; 0 holds the connections idle.
    pub messages: u64,
    /// Messages of the phase before it, which warms Kafka's compiler and both sides' caches. Verified, not measured.
    #[serde(default)]
    pub warmup_messages: u64,
    /// How long idle connections are held, when there are no messages.
    #[serde(default)]
    pub hold_seconds: u64,
    /// Partitions of the Kafka topic.
    #[serde(default = "four")]
    pub partitions: i32,
    /// Present: open loop at this pace. Absent: closed loop, as fast as the window allows.
    pub pace: Option<Pace>,
}

/// The schedule of an open loop.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Pace {
    /// Rate over all connections.
    pub messages_per_second: u64,
    /// Messages that are due at the same instant; consecutive ones go to consecutive connections.
    pub burst_messages: u64,
}

impl Pace {
    /// When message `number` of the phase is due, after the phase's start, in nanoseconds.
    pub fn due_ns(&self, number: u64) -> u64 {
        let burst = number / self.burst_messages;
        burst * self.burst_messages * 1_000_000_000 / self.messages_per_second
    }

    /// How many messages are due once `elapsed_ns` have passed since the phase's start.
    pub fn due_count(&self, elapsed_ns: u64) -> u64 {
        // The last burst whose due time is not after `elapsed_ns`; due_ns is monotone, so one correction step suffices.
        let mut bursts = elapsed_ns / 1_000 * self.messages_per_second / self.burst_messages / 1_000_000;
        while self.due_ns(bursts * self.burst_messages) <= elapsed_ns {
            bursts += 1;
        }
        bursts * self.burst_messages
    }
}

fn one() -> u32 {
    1
}

fn four() -> i32 {
    4
}

impl Workload {
    /// The workload of that name, or of the file at that path.
    pub fn load(name: &str) -> Result<Self> {
        let embedded = CANONICAL.iter().find(|(known, _)| *known == name).map(|(_, text)| (*text).to_owned());
        let text = match embedded {
            Some(text) => text,
            None if Path::new(name).is_file() => std::fs::read_to_string(name).into_diagnostic()?,
            None => {
                let known: Vec<&str> = CANONICAL.iter().map(|(known, _)| *known).collect();
                bail!("no workload '{name}': it is neither a file nor one of {}", known.join(", "));
            }
        };
        let mut workload: Self =
            toml::from_str(&text).into_diagnostic().wrap_err_with(|| format!("workload '{name}'"))?;
        workload.name = name.to_owned();
        workload.check()?;
        Ok(workload)
    }

    /// The same workload with another number of measured messages; the warm-up shrinks along if it would exceed it.
    pub fn with_messages(mut self, messages: u64) -> Self {
        self.messages = messages;
        self.warmup_messages = self.warmup_messages.min(messages);
        self
    }

    /// Like [`Workload::hold_seconds`], as a duration.
    pub fn hold(&self) -> Duration {
        Duration::from_secs(self.hold_seconds)
    }

    fn check(&self) -> Result<()> {
        if self.qos > 1 {
            bail!("qos = {}: the generator speaks QoS 0 and 1", self.qos);
        }
        if self.connections == 0 || self.connections > 999_999 {
            bail!("connections = {}: from 1 to 999,999", self.connections);
        }
        if self.payload_bytes < STAMP_BYTES || self.payload_bytes > 1 << 20 {
            bail!("payload_bytes = {}: from {STAMP_BYTES} to 1 MiB", self.payload_bytes);
        }
        if self.payload == Payload::Json && self.payload_bytes < STAMP_BYTES + TELEMETRY_BYTES_MIN {
            bail!("payload_bytes = {}: telemetry needs {}", self.payload_bytes, STAMP_BYTES + TELEMETRY_BYTES_MIN);
        }
        if self.window == 0 || self.window > 65_535 {
            bail!("window = {}: from 1 to 65,535, the number of packet ids", self.window);
        }
        if self.partitions < 1 {
            bail!("partitions = {}: at least 1", self.partitions);
        }
        if let Some(pace) = self.pace
            && (pace.messages_per_second == 0 || pace.burst_messages == 0)
        {
            bail!("pace: messages_per_second and burst_messages are at least 1");
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_canonical_workloads_load() {
        for (name, _) in CANONICAL {
            let workload = Workload::load(name).unwrap();
            assert_eq!(workload.name, name);
            assert_eq!(workload.partitions, 4);
        }
        assert!(Workload::load("z").is_err());
    }

    #[test]
    fn due_times_and_due_counts_agree() {
        let check = |pace: Pace| {
            for number in 0..2_000 {
                let due = pace.due_ns(number);
                assert!(pace.due_count(due) > number, "{pace:?} {number}");
                if due > 0 {
                    assert!(pace.due_count(due - 1) <= number, "{pace:?} {number}");
                }
            }
        };
        check(Pace { messages_per_second: 20_000, burst_messages: 20 });
        check(Pace { messages_per_second: 20_000, burst_messages: 1 });
        check(Pace { messages_per_second: 7, burst_messages: 3 });
        let bursts = Pace { messages_per_second: 20_000, burst_messages: 20 };
        assert_eq!(bursts.due_ns(39), 1_000_000);
        assert_eq!(bursts.due_count(10_000_000_000 - 1), 200_000);
    }
}
