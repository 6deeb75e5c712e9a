//! What has happened in a cluster: shows that a mix of faults reached what it was meant to reach.

use super::faults::CODE_MAX;

/// Counters, from the beginning on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Counts {
    /// Requests that a broker has read.
    pub requests: u64,
    /// Of them Produce.
    pub produces: u64,
    /// Batches in them.
    pub batches: u64,
    /// Batches appended.
    pub appended: u64,
    /// Records appended.
    pub records: u64,
    /// Batches recognised as stored before.
    pub dedupes: u64,
    /// Batches committed.
    pub committed: u64,
    /// Batches that were appended and are gone.
    pub truncated: u64,
    /// Batches answered with each code, from -1 on.
    pub errors: [u64; CODE_MAX as usize + 2],
    /// Topics in Metadata, InitProducerId and ApiVersions answered with an error.
    pub question_errors: u64,
    /// Topics of which it was told how large batches they take.
    pub limits_told: u64,
    /// Requests that gave up waiting for replicas.
    pub timeouts: u64,
    /// Requests whose connection was broken for a fault.
    pub closed: u64,
    /// Requests that were never answered.
    pub never_answered: u64,
    /// Batches stored and answered with an error, for a fault.
    pub after_append: u64,
    /// Batches that were stored and are refused for their form when they come again.
    pub refused_though_stored: u64,
    /// Partitions that forgot producers.
    pub amnesias: u64,
    /// Leaders that were replaced, or came back.
    pub elections: u64,
    /// Partitions that lost their leader and had nobody to lead.
    pub leaderless: u64,
    /// Appends by brokers that were not leaders any more and did not know.
    pub stale_appends: u64,
    /// Replicas that fell out of sync.
    pub shrinks: u64,
    /// Replicas that came back in sync.
    pub expands: u64,
    /// Brokers that died.
    pub kills: u64,
    /// Brokers that stood still.
    pub freezes: u64,
    /// Partitions added.
    pub grown: u64,
    /// Topics deleted.
    pub deleted: u64,
    /// Topics made anew.
    pub renewed: u64,
    /// Of these, the ones with fewer partitions than before.
    pub shrunk: u64,
    /// Records that were committed and that all brokers lost.
    pub lost: u64,
}

impl Default for Counts {
    fn default() -> Self {
        Self {
            requests: 0,
            produces: 0,
            batches: 0,
            appended: 0,
            records: 0,
            dedupes: 0,
            committed: 0,
            truncated: 0,
            errors: [0; CODE_MAX as usize + 2],
            question_errors: 0,
            limits_told: 0,
            timeouts: 0,
            closed: 0,
            never_answered: 0,
            after_append: 0,
            refused_though_stored: 0,
            amnesias: 0,
            elections: 0,
            leaderless: 0,
            stale_appends: 0,
            shrinks: 0,
            expands: 0,
            kills: 0,
            freezes: 0,
            grown: 0,
            deleted: 0,
            renewed: 0,
            shrunk: 0,
            lost: 0,
        }
    }
}

impl Counts {
    /// Batches answered with `code`.
    pub fn errors_of(&self, code: i16) -> u64 {
        self.errors[(code + 1) as usize]
    }
}
