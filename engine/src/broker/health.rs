//! How a cluster stands: what keeps records from being written, and the questions that find out where nothing is sent.

use kafka::message::{ApiKey, metadata as metadata_api};

use super::link::Asked;
use super::{Cluster, Probes, question};
use crate::clock::Mono;
use crate::metrics::Health;
use crate::shard::ShardId;
use crate::shard::control::Level;
use crate::shard::io::Io;

impl Cluster {
    /// What it means for health if something keeps records from being written.
    pub fn health_with(&self, trouble: Option<String>) -> Health {
        match trouble {
            None => Health::Connected,
            Some(why) if self.is_reached() => Health::Connecting(why),
            Some(why) => self.start.health_with(why),
        }
    }

    /// What keeps the partitions of `topic` that this shard owns from being written, or `None`.
    pub fn trouble(&self, topic: u16) -> Option<String> {
        let known = self.topic(topic)?;
        if let Some(error) = known.trouble {
            return Some(format!("topic {}: {error}: {}", known.name, error.why()));
        }
        if known.partitions().is_none() {
            let why = self.last_error.clone().unwrap_or_else(|| "no answer yet".to_string());
            return Some(format!("topic {} is not known yet: {why}", known.name));
        }
        if !known.is_led() {
            return Some(format!("a partition of topic {} has no leader", known.name));
        }
        let (broker, _) = self.brokers.links().find(|(_, link)| link.wanted && !link.is_ready())?;
        let why = self.last_error.clone().unwrap_or_else(|| "connecting".to_string());
        Some(format!("{}: {why}", broker.name()))
    }

    /// What keeps every partition that this shard owns from being written, or `None`.
    pub fn trouble_at_all(&self) -> Option<String> {
        if !self.is_reached() {
            return Some(self.last_error.clone().unwrap_or_else(|| "no answer yet".to_string()));
        }
        let (broker, _) = self.brokers.links().find(|(_, link)| link.wanted && !link.is_ready())?;
        let why = self.last_error.clone().unwrap_or_else(|| "connecting".to_string());
        Some(format!("{}: {why}", broker.name()))
    }

    /// A broker that leads partitions of this shard and has left a question open for so long, or `None`.
    pub fn silence(&self, now: Mono, patience_ns: u64) -> Option<String> {
        let mut links = self.brokers.links().filter(|(_, link)| link.wanted);
        let (broker, silent_ns) = links
            .find_map(|(broker, link)| Some((broker, link.silent_ns(now)?)).filter(|(_, ns)| *ns >= patience_ns))?;
        Some(format!("{}: no answer for {} s", broker.name(), silent_ns / 1_000_000_000))
    }

    /// Asks where nothing was heard for long whether anybody is there: a dead broker is noticed though nothing is sent.
    pub(super) fn probe(&mut self, now: Mono, io: &mut impl Io) {
        let Probes { control_ms, links_ms } = self.settings.terms.probes;
        let links = self.brokers.iter_mut().flat_map(|broker| &mut broker.links).filter(|link| link.wanted);
        for (link, after_ms) in links.map(|link| (link, links_ms)).chain([(&mut self.control, control_ms)]) {
            if link.probe_at(after_ms).is_some_and(|at| at <= now)
                && let Some(begun) = link.begin(now, ApiKey::Metadata, Asked::Probe, true)
            {
                let mut head = Vec::new();
                let client_id = &self.settings.terms.client_id;
                // About no topic at all: what costs least, and every broker answers everybody.
                metadata_api::encode_request(begun.version, begun.correlation, client_id, Some(&[]), false, &mut head);
                io.request(begun.key, question(begun.correlation, head));
            }
        }
    }

    /// Says once if nobody was reached in time.
    pub(super) fn watch_start(&mut self, now: Mono) {
        if self.start.has_failed(now) && self.settings.shard == ShardId(0) {
            let why = self.last_error.clone().unwrap_or_else(|| "no answer yet".to_string());
            let Health::Disconnected(why) = self.start.health_with(why) else { return };
            self.note(Level::Error, format!("{why}; clients are served, and what they publish waits"));
        }
    }
}
