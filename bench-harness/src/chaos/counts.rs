//! What the clients counted while they ran: how long acknowledgements took, when there were none, who was sent away.

use std::collections::BTreeMap;
use std::ops::Range;

use hdrhistogram::Histogram;

/// Acknowledgements are counted by stretches of so long.
pub const BIN_NS: u64 = 100_000_000;
/// A silence shorter than this is none.
const SILENCE_NS: u64 = 200_000_000;

/// The counts of all clients.
#[derive(Debug, Clone)]
pub struct Counts {
    start_ns: u64,
    /// From the first attempt to the acknowledgement, nanoseconds.
    pub latency: Histogram<u64>,
    /// By client and stretch of [`BIN_NS`] since the start.
    acks: Vec<Vec<u32>>,
    last_ack_ns: u64,
    /// Times without any acknowledgement, from and until.
    pub silences: Vec<(u64, u64)>,
    /// When a client lost its connection, and which.
    pub disconnects: Vec<(u64, u32)>,
    /// Connections that clients left without a word.
    pub left: u64,
    /// PUBLISH packets sent.
    pub publishes: u64,
    /// Those of them that were not the first of their message.
    pub resends: u64,
    /// Messages acknowledged.
    pub acked: u64,
    /// Refused, by reason code.
    pub nacks: BTreeMap<u8, u64>,
    /// DISCONNECTs from the server, by reason code.
    pub farewells: BTreeMap<u8, u64>,
    /// Acknowledgements of nothing that was open.
    pub stray_acks: u64,
    /// Packets that a server may not send, or not so.
    pub strange_packets: u64,
}

impl Counts {
    /// Nothing yet, of so many clients.
    pub fn new(clients: usize, start_ns: u64) -> Self {
        // From 1 µs to ten minutes with three digits.
        let latency = Histogram::new_with_bounds(1_000, 600_000_000_000, 3);
        Self {
            start_ns,
            latency: latency.unwrap_or_else(|_| unreachable!("the bounds are constants")),
            acks: vec![Vec::new(); clients],
            last_ack_ns: start_ns,
            silences: Vec::new(),
            disconnects: Vec::new(),
            left: 0,
            publishes: 0,
            resends: 0,
            acked: 0,
            nacks: BTreeMap::new(),
            farewells: BTreeMap::new(),
            stray_acks: 0,
            strange_packets: 0,
        }
    }

    pub(super) fn sent(&mut self, attempt: u16) {
        self.publishes += 1;
        self.resends += u64::from(attempt > 0);
    }

    pub(super) fn acked(&mut self, client: u32, first_ns: u64, now_ns: u64) {
        self.acked += 1;
        self.latency.saturating_record(now_ns.saturating_sub(first_ns));
        if now_ns - self.last_ack_ns > SILENCE_NS {
            self.silences.push((self.last_ack_ns, now_ns));
        }
        self.last_ack_ns = now_ns;
        let bin = (now_ns.saturating_sub(self.start_ns) / BIN_NS) as usize;
        if let Some(bins) = self.acks.get_mut(client as usize) {
            if bins.len() <= bin {
                bins.resize(bin + 1, 0);
            }
            bins[bin] += 1;
        }
    }

    pub(super) fn nacked(&mut self, reason: u8) {
        *self.nacks.entry(reason).or_default() += 1;
    }

    pub(super) fn farewell(&mut self, reason: u8) {
        *self.farewells.entry(reason).or_default() += 1;
    }

    pub(super) fn disconnected(&mut self, client: u32, now_ns: u64) {
        self.disconnects.push((now_ns, client));
    }

    /// Acknowledgements a second of the clients that `counted` names, in whole stretches between two times; `None` if there
    /// is no whole stretch.
    pub fn rate(&self, from_ns: u64, until_ns: u64, counted: impl Fn(u32) -> bool) -> Option<f64> {
        let bins = self.whole_bins(from_ns, until_ns).count();
        let sum = self.acks_between(from_ns, until_ns, counted);
        (bins > 0).then(|| sum as f64 / (bins as f64 * BIN_NS as f64 / 1e9))
    }

    /// Acknowledgements of the clients that `counted` names, in whole stretches between two times.
    pub fn acks_between(&self, from_ns: u64, until_ns: u64, counted: impl Fn(u32) -> bool) -> u64 {
        let Range { start, end } = self.whole_bins(from_ns, until_ns);
        let counted = (0_u32..).zip(&self.acks).filter(|(client, _)| counted(*client));
        counted.flat_map(|(_, bins)| bins.iter().take(end).skip(start)).map(|count| u64::from(*count)).sum()
    }

    /// The longest time within whole stretches between two times in which one of the clients that `counted` names was without an
    /// acknowledgement while others may have had theirs.
    pub fn longest_wait_ns(&self, from_ns: u64, until_ns: u64, counted: impl Fn(u32) -> bool) -> u64 {
        let whole = self.whole_bins(from_ns, until_ns);
        let mut longest = 0;
        for (_, bins) in (0_u32..).zip(&self.acks).filter(|(client, _)| counted(*client)) {
            let mut empty = 0;
            for bin in whole.clone() {
                empty = if bins.get(bin).is_some_and(|count| *count > 0) { 0 } else { empty + 1 };
                longest = longest.max(empty);
            }
        }
        longest * BIN_NS
    }

    fn whole_bins(&self, from_ns: u64, until_ns: u64) -> Range<usize> {
        let first = from_ns.saturating_sub(self.start_ns).div_ceil(BIN_NS) as usize;
        let end = (until_ns.saturating_sub(self.start_ns) / BIN_NS) as usize;
        first..end.max(first)
    }

    /// The longest time without an acknowledgement that touches a stretch of time.
    pub fn longest_silence_ns(&self, from_ns: u64, until_ns: u64) -> u64 {
        let touches = |silence: &&(u64, u64)| silence.0 < until_ns && silence.1 > from_ns;
        self.silences.iter().filter(touches).map(|(from, until)| until - from).max().unwrap_or(0)
    }

    /// When, from `from_ns` on, a whole second first has at least `wanted` acknowledgements; how long that took.
    pub fn time_to_rate_ns(&self, from_ns: u64, wanted: f64) -> Option<u64> {
        let last = self.last_ack_ns;
        (0_u64..)
            .map(|bin| from_ns + bin * BIN_NS)
            .take_while(|at| at + 1_000_000_000 <= last + BIN_NS)
            .find(|at| self.rate(*at, at + 1_000_000_000, |_| true).is_some_and(|rate| rate >= wanted))
            .map(|at| at - from_ns)
    }

    /// Connections that the clients which `counted` names lost between two times.
    pub fn disconnects_between(&self, from_ns: u64, until_ns: u64, counted: impl Fn(u32) -> bool) -> u64 {
        let within = |(at, client): &&(u64, u32)| (from_ns..=until_ns).contains(at) && counted(*client);
        self.disconnects.iter().filter(within).count() as u64
    }

    /// Connections lost outside of the given stretches of time.
    pub fn disconnects_outside(&self, allowed: &[(u64, u64)]) -> u64 {
        let outside = |(at, _): &&(u64, u32)| !allowed.iter().any(|(from, until)| (from..=until).contains(&at));
        self.disconnects.iter().filter(outside).count() as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const S: u64 = 1_000_000_000;

    #[test]
    fn rates_silences_and_recoveries_are_read_off_the_stretches() {
        let mut counts = Counts::new(2, S);
        // Ten a second of each client for three seconds, then two seconds of nothing, then again.
        for tenth in (0..30).chain(50..80) {
            let at = S + tenth * S / 10 + 1;
            counts.acked(0, at - 1_000_000, at);
            counts.acked(1, at - 1_000_000, at);
        }
        assert_eq!(counts.rate(S, 4 * S, |_| true), Some(20.0));
        assert_eq!(counts.rate(S, 4 * S, |client| client == 1), Some(10.0));
        assert_eq!(counts.rate(4 * S, 6 * S, |_| true), Some(0.0));
        assert_eq!(counts.rate(S, S + BIN_NS / 2, |_| true), None);
        assert_eq!(counts.longest_silence_ns(4 * S, 5 * S), 2 * S + BIN_NS);
        assert_eq!(counts.longest_silence_ns(S, 2 * S), 0);
        assert_eq!(counts.time_to_rate_ns(5 * S, 19.0), Some(S));
        assert_eq!(counts.time_to_rate_ns(5 * S, 21.0), None);
        assert_eq!(counts.acks_between(S, 4 * S, |client| client == 0), 30);
        assert_eq!(counts.longest_wait_ns(S, 4 * S, |_| true), 0);
        assert_eq!(counts.longest_wait_ns(3 * S, 5 * S, |_| true), S);
        counts.acked(1, 9 * S + S / 2, 9 * S + S / 2);
        assert_eq!(counts.longest_wait_ns(S, 10 * S, |client| client == 1), 2 * S);
        counts.disconnected(1, 3 * S);
        let between = |from: u64, client: u32| counts.disconnects_between(from, 4 * S, |other| other == client);
        assert_eq!((between(2 * S, 1), between(2 * S, 0), between(4 * S, 1)), (1, 0, 0));
        assert_eq!((counts.disconnects_outside(&[]), counts.disconnects_outside(&[(2 * S, 4 * S)])), (1, 0));
    }
}
