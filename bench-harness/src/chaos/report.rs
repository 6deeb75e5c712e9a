//! The result of a chaos run: one line of JSON for programs, a table for people, and whether it is good.

use std::collections::BTreeMap;

use comfy_table::{Cell, CellAlignment, Table, presets};
use serde::Serialize;

use super::certificates::Renewal;
use super::counts::Counts;
use super::load::LoadReport;
use super::nemesis::Strike;
use super::poison::Poison;
use super::rack::Alarm;
use super::rot::Damage;
use super::tracer::FailedSyncs;
use super::world::{Begun, Farewell};
use crate::ledger::book::{Answer, Book, Sent};
use crate::ledger::message;
use crate::ledger::verdict::Findings;
use crate::scrape::Scrape;
use crate::system::Connector;

/// What a rate has to come back to after a fault.
const RECOVERED: f64 = 0.95;
/// The first second, in which clients connect, is left out of what rates are compared with.
const WARM_NS: u64 = 1_000_000_000;

/// How one fault went.
#[derive(Debug, Clone, Serialize)]
pub struct FaultReport {
    /// What it was.
    pub fault: String,
    /// When it began, after the load's start.
    pub from_ms: u64,
    /// When it was healed.
    pub until_ms: u64,
    /// The longest time without any acknowledgement that touches it.
    pub silence_ms: u64,
    /// From its end until a whole second reached 95 % of the rate before all faults; absent if none did.
    pub recovery_ms: Option<u64>,
    /// Messages that had been begun and were not answered when its healing began.
    pub waiting: u64,
    /// Where connections were dead: from then until the product dialled that broker anew; absent if it did not while they were.
    pub redial_ms: Option<u64>,
    /// Where one broker was struck: the rate of the clients whose partition another leads, of what it was before, between the
    /// end of the first second of the fault and its healing. Where a topic was struck: that of the clients of other topics.
    pub others_rate: Option<f64>,
    /// Where one broker was struck: the same of the clients whose partition it led, until the healing began: what had waited comes with it.
    pub struck_rate: Option<f64>,
    /// Where a topic was struck: the longest time that one client of another topic was without an acknowledgement meanwhile.
    pub others_wait_ms: Option<u64>,
    /// The same before all faults.
    pub others_wait_before_ms: Option<u64>,
    /// Where a topic was struck: the longest time that one of its own clients was.
    pub struck_wait_ms: Option<u64>,
    /// Where a topic was struck: connections that clients of other topics lost meanwhile.
    pub others_disconnects: Option<u64>,
    /// Where a topic was struck: acknowledgements to its clients between the end of the first second of the fault and the beginning
    /// of its healing.
    pub struck_acks: Option<u64>,
}

/// The product's own counters beside the ledger's.
#[derive(Debug, Clone, Default, Serialize)]
pub struct OwnCounts {
    /// PUBLISH packets received at QoS 1 and 2.
    pub publishes: u64,
    /// Records written.
    pub success: u64,
    /// Records that were never written, failed or dropped.
    pub refused: u64,
    /// Records sent again.
    pub retried: u64,
    /// Records sent again under a new epoch because their fate was open.
    pub possible_duplicate: u64,
    /// Offsets that Kafka gave out again.
    pub acked_loss: u64,
    /// Writes and syncs of a buffer that the disk refused.
    pub buffer_failures: u64,
    /// Times at which a buffer on disk was made durable.
    pub buffer_syncs: u64,
    /// Logins that brokers refused.
    pub logins_refused: u64,
    /// Whether they fit the ledger: to the unit where nothing was sent twice.
    pub agree: bool,
}

/// The whole result.
#[derive(Debug, Serialize)]
pub struct Report {
    /// What was drawn from, where it was.
    pub seed: Option<u64>,
    /// The faults, in the form that `--plan` takes.
    pub plan: String,
    /// Where the messages went.
    pub connector: Connector,
    /// Brokers of the cluster.
    pub brokers: u32,
    /// The verdict.
    #[serde(flatten)]
    pub findings: Findings,
    /// Times from the first attempt to the acknowledgement.
    pub ack_p50_ms: f64,
    /// The same.
    pub ack_p99_ms: f64,
    /// The same.
    pub ack_p999_ms: f64,
    /// The same.
    pub ack_max_ms: f64,
    /// Acknowledgements a second before the first fault.
    pub rate_before: Option<f64>,
    /// Everything was answered in time after the last fault.
    pub drained: bool,
    /// How long that took after the last message was begun.
    pub drain_ms: u64,
    /// Connections that clients lost.
    pub disconnects: u64,
    /// Those of them that no end of the product explains.
    pub disconnects_unprovoked: u64,
    /// DISCONNECTs of the product, by reason code.
    pub farewells: BTreeMap<u8, u64>,
    /// Refused messages, by reason code.
    pub nacks: BTreeMap<u8, u64>,
    /// Answers to nothing that was open.
    pub stray_acks: u64,
    /// Packets that a server may not send.
    pub strange_packets: u64,
    /// Starts of the product after the first.
    pub restarts: u32,
    /// What a client has sent again may come behind what it sent later.
    pub late_resends: bool,
    /// Ends of the product that nobody asked for.
    pub crashes: Vec<String>,
    /// Ends by SIGTERM.
    pub terminations: Vec<Farewell>,
    /// Peak of the product's resident memory since its last start, in bytes.
    pub rss_peak_bytes: u64,
    /// Its descriptors at the end.
    pub descriptors: usize,
    /// Records that it found in its buffers at its starts after the first.
    pub replayed: u64,
    /// Its own counters; absent if it was restarted, which sets them to 0.
    pub own: Option<OwnCounts>,
    /// Where the brokers lost what they had acknowledged: what the product said of it.
    pub alarm: Option<Alarm>,
    /// Where buffers were damaged: what it cost.
    pub damage: Option<Damage>,
    /// Where syncs of the product failed: which.
    pub failed_syncs: Option<FailedSyncs>,
    /// Where there was poison: what became of it.
    pub poison: Option<Poison>,
    /// Where certificates were replaced: how the product took it.
    pub renewal: Option<Renewal>,
    /// The faults as they went.
    pub faults: Vec<FaultReport>,
    /// Nothing is there that must not be.
    pub clean: bool,
}

/// What a report is made of beside the findings.
pub(super) struct Evidence<'a> {
    pub(super) load: &'a LoadReport,
    pub(super) strikes: &'a [Strike],
    pub(super) book: &'a Book,
    pub(super) scrape: Option<Scrape>,
}

impl Report {
    /// Fills in what the evidence says.
    pub(super) fn weigh(&mut self, evidence: &Evidence<'_>) {
        let Evidence { load, strikes, book, scrape } = evidence;
        let counts = &load.counts;
        let milliseconds = |ns: u64| ns as f64 / 1e6;
        self.ack_p50_ms = milliseconds(counts.latency.value_at_quantile(0.5));
        self.ack_p99_ms = milliseconds(counts.latency.value_at_quantile(0.99));
        self.ack_p999_ms = milliseconds(counts.latency.value_at_quantile(0.999));
        self.ack_max_ms = milliseconds(counts.latency.max());
        self.drained = load.drained;
        self.drain_ms = load.drain.as_millis() as u64;
        self.disconnects = counts.disconnects.len() as u64;
        let provoked: Vec<(u64, u64)> = strikes
            .iter()
            .filter(|strike| strike.action.fault.restarts_product())
            .map(|strike| (strike.window.from_ns, strike.window.until_ns))
            .collect();
        self.disconnects_unprovoked = counts.disconnects_outside(&provoked);
        self.farewells.clone_from(&counts.farewells);
        self.nacks.clone_from(&counts.nacks);
        (self.stray_acks, self.strange_packets) = (counts.stray_acks, counts.strange_packets);
        let first_fault = strikes.iter().map(|strike| strike.window.from_ns).min();
        let lead = (load.start_ns + WARM_NS, first_fault.unwrap_or(u64::MAX / 2));
        self.rate_before = first_fault.and_then(|_| counts.rate(lead.0, lead.1, |_| true));
        self.faults = strikes.iter().map(|strike| self.fault_report(strike, load, lead, book)).collect();
        // What a topic took along when it was deleted had been written, and so had what Kafka lost.
        let lost_by_kafka = self.alarm.as_ref().map_or(0, |_| self.findings.verdict.lost);
        let (acked, dead_letters) = self.poison.as_ref().map_or((0, 0), |poison| (poison.acked, poison.dead_letters));
        let written = self.findings.verdict.records + self.findings.verdict.excused + lost_by_kafka + dead_letters;
        self.own = scrape.as_ref().map(|scrape| own_counts(scrape, counts, [counts.publishes + acked, written]));
        if self.restarts > 0 {
            // With its sessions the product forgets packet ids, so a copy at QoS 2 is then nobody's fault.
            self.findings.bad.retain(|bad| bad.what != "dup2");
        }
        self.clean = self.is_clean();
    }

    fn fault_report(&self, strike: &Strike, load: &LoadReport, lead: (u64, u64), book: &Book) -> FaultReport {
        let routes = book.routes;
        let (window, counts) = (&strike.window, &load.counts);
        let after_start = |ns: u64| ns.saturating_sub(load.start_ns) / 1_000_000;
        let others_wait_ms = |from_ns: u64, until_ns: u64| {
            let route = strike.begun.route?;
            let elsewhere = |client| message::route(client, routes) != route;
            Some(counts.longest_wait_ns(from_ns, until_ns, elsewhere) / 1_000_000)
        };
        let warm_ns = strike.struck_ns + WARM_NS;
        let times = [lead, (warm_ns, window.until_ns), (warm_ns, strike.healing_ns)];
        let [others_rate, struck_rate] = rates_kept(counts, &strike.begun, &self.findings.partition_of, routes, times);
        let recovery = self.rate_before.and_then(|rate| counts.time_to_rate_ns(window.until_ns, RECOVERED * rate));
        FaultReport {
            fault: window.name.clone(),
            from_ms: after_start(window.from_ns),
            until_ms: after_start(window.until_ns),
            silence_ms: counts.longest_silence_ns(window.from_ns, window.until_ns) / 1_000_000,
            recovery_ms: recovery.map(|ns| ns / 1_000_000),
            waiting: waiting(book, strike.healing_ns),
            redial_ms: strike.redialled_ns.map(|ns| ns.saturating_sub(strike.struck_ns) / 1_000_000),
            others_rate,
            struck_rate,
            others_wait_ms: others_wait_ms(window.from_ns, window.until_ns),
            others_wait_before_ms: others_wait_ms(lead.0, lead.1),
            struck_wait_ms: strike.begun.route.map(|route| {
                let here = |client| message::route(client, routes) == route;
                counts.longest_wait_ns(window.from_ns, window.until_ns, here) / 1_000_000
            }),
            others_disconnects: strike.begun.route.map(|route| {
                let elsewhere = |client| message::route(client, routes) != route;
                counts.disconnects_between(window.from_ns, window.until_ns, elsewhere)
            }),
            struck_acks: strike.begun.route.map(|route| {
                let here = |client| message::route(client, routes) == route;
                counts.acks_between(strike.struck_ns + WARM_NS, strike.healing_ns, here)
            }),
        }
    }

    fn is_clean(&self) -> bool {
        let own = self.own.as_ref().is_none_or(|own| own.agree);
        let mut verdict = self.findings.verdict;
        if let Some(alarm) = &self.alarm {
            // Nobody but Kafka can keep what it has lost; it has to be told.
            verdict.lost = if alarm.is_exact() { 0 } else { alarm.untold + alarm.unfounded + 1 };
        }
        if let Some(damage) = &self.damage {
            // What lay in a damaged entry is nowhere else.
            verdict.lost = if damage.is_exact() { 0 } else { damage.elsewhere + 1 };
        }
        if self.late_resends {
            verdict.reorder_resend = 0;
        }
        verdict.is_clean(self.restarts > 0)
            && self.poison.as_ref().is_none_or(Poison::is_clean)
            && self.failed_syncs.is_none_or(|syncs| syncs.again == 0)
            && self.drained
            && self.crashes.is_empty()
            && self.strange_packets == 0
            && own
    }

    /// The line for programs.
    pub fn to_json(&self) -> String {
        serde_json::to_string(self).unwrap_or_default()
    }

    /// The table for people.
    pub fn to_table(&self) -> String {
        let v = &self.findings.verdict;
        let mut table = Table::new();
        table.load_style(presets::UTF8_BORDERS_ONLY);
        table.set_header(["ledger", "", "must be"]);
        let dup2_bound = if self.restarts > 0 { String::new() } else { "0".to_owned() };
        let late_bound = if self.late_resends { String::new() } else { "0".to_owned() };
        let rows = [
            ("sent", v.sent, String::new()),
            ("acknowledged", v.acked, String::new()),
            ("refused", v.nacked, String::new()),
            ("sent again by clients", v.resent, String::new()),
            ("in Kafka", v.delivered, String::new()),
            ("lost", v.lost, "0".to_owned()),
            ("lost, a later one there", v.gap_then_later, "0".to_owned()),
            ("gone with a deleted topic", v.excused, String::new()),
            ("not acknowledged, not there", v.lost_unacked, String::new()),
            ("ghosts", v.ghost, "0".to_owned()),
            ("corrupt", v.corrupt, "0".to_owned()),
            ("misrouted", v.misrouted, "0".to_owned()),
            ("refused, and there", v.nacked_present, String::new()),
            ("refused, a later one there", v.refused_then_later, String::new()),
            ("doubled by our own retry", v.dup_own, "0".to_owned()),
            ("doubled under a new epoch", v.dup_across, String::new()),
            ("doubled by clients", v.dup_resend, format!("≤ {}", v.resent)),
            ("doubled at QoS 2", v.dup2, dup2_bound),
            ("out of order", v.reorder, "0".to_owned()),
            ("out of order, sent again", v.reorder_resend, late_bound),
            ("clients in another partition since", v.moved, String::new()),
            ("connections lost unprovoked", self.disconnects_unprovoked, String::new()),
        ];
        for (label, value, bound) in rows {
            table.add_row([
                Cell::new(label),
                Cell::new(value).set_alignment(CellAlignment::Right),
                Cell::new(bound).set_alignment(CellAlignment::Right),
            ]);
        }
        let mut text = format!("{table}\n");
        text += &format!(
            "acknowledged after {:.1} ms (p50), {:.0} ms (p99), {:.0} ms (p99.9), {:.0} ms (most); drained in {} ms\n",
            self.ack_p50_ms, self.ack_p99_ms, self.ack_p999_ms, self.ack_max_ms, self.drain_ms
        );
        for fault in &self.faults {
            let recovery = fault.recovery_ms.map_or("never".to_owned(), |ms| format!("after {ms} ms"));
            let others = fault.others_rate.map_or(String::new(), |rate| format!("; others at {:.0} %", rate * 100.0));
            let struck = fault.struck_rate.map_or(String::new(), |rate| format!(", its own at {:.0} %", rate * 100.0));
            text += &format!(
                "{}: {} to {} ms; silence {} ms; rate back {recovery}{others}{struck}\n",
                fault.fault, fault.from_ms, fault.until_ms, fault.silence_ms
            );
        }
        if let Some(alarm) = &self.alarm {
            text += &format!("lost by Kafka, and told by the product: {alarm:?}\n");
        }
        if let Some(damage) = &self.damage {
            text += &format!("damaged in buffers: {damage:?}\n");
        }
        if let Some(syncs) = &self.failed_syncs {
            text += &format!("synced in vain: {syncs:?}\n");
        }
        if let Some(poison) = &self.poison {
            text += &format!("poison: {poison:?}\n");
        }
        if let Some(renewal) = &self.renewal {
            text += &format!("certificates: {renewal:?}\n");
        }
        for bad in &self.findings.bad {
            text += &format!("BAD {}\n", serde_json::to_string(bad).unwrap_or_default());
        }
        for crash in &self.crashes {
            text += &format!("CRASHED {crash}\n");
        }
        if let Some(own) = self.own.as_ref().filter(|own| !own.agree) {
            text += &format!("the product's own counters disagree: {own:?}\n");
        }
        let again = self.seed.map_or(String::new(), |seed| format!(" (seed {seed})"));
        text + &format!("{}{again}: --plan '{}'", if self.clean { "good" } else { "BAD" }, self.plan)
    }
}

/// Of the clients whom a fault does not strike, and of those whom it does, the rate during it, of what it was before. The times: before
/// it, during it for the ones, and for the others.
fn rates_kept(
    counts: &Counts,
    begun: &Begun,
    partition_of: &[(u32, i32)],
    routes: u8,
    [before, during, unhealed]: [(u64, u64); 3],
) -> [Option<f64>; 2] {
    let kept = |during: (u64, u64), counted: &dyn Fn(u32) -> bool| {
        let before = counts.rate(before.0, before.1, counted).filter(|rate| *rate > 0.0)?;
        Some(counts.rate(during.0, during.1, counted)? / before)
    };
    if let Some(route) = begun.route {
        return [kept(during, &|client| message::route(client, routes) != route), None];
    }
    let Some(struck) = begun.broker.and_then(|broker| i32::try_from(broker).ok()) else { return [None; 2] };
    let partition_of: BTreeMap<u32, i32> = partition_of.iter().copied().collect();
    let leader = |client: u32| {
        let partition = partition_of.get(&client).copied()?;
        begun.leaders.get(&(message::route(client, routes), partition)).copied()
    };
    let elsewhere = |client| leader(client).is_some_and(|leader| leader != struck);
    [kept(during, &elsewhere), kept(unhealed, &|client| leader(client) == Some(struck))]
}

/// Messages that were open at a time.
fn waiting(book: &Book, at_ns: u64) -> u64 {
    let is_open = |sent: &&Sent| {
        let unanswered = match sent.answer {
            Answer::Acked(acked_ns) => acked_ns >= at_ns,
            Answer::Nacked(_, refused_ns) => refused_ns >= at_ns,
            Answer::None => true,
        };
        sent.first_ns < at_ns && unanswered
    };
    book.clients.values().flat_map(|page| &page.messages).filter(is_open).count() as u64
}

fn own_counts(scrape: &Scrape, counts: &Counts, [sent, written]: [u64; 2]) -> OwnCounts {
    let publishes = scrape.sum("aqueduct_publishes_received_total");
    let success = scrape.sum("aqueduct_sink_success_total");
    let refused = scrape.sum("aqueduct_sink_failed_total") + scrape.sum("aqueduct_sink_dropped_total");
    let retried = scrape.sum("aqueduct_sink_retried_total");
    let possible_duplicate = scrape.sum("aqueduct_sink_possible_duplicate_total");
    let acked_loss = scrape.sum("aqueduct_sink_kafka_acked_loss_total");
    let buffer_failures = scrape.sum("aqueduct_sink_buffer_failures_total");
    let buffer_syncs = scrape.sum("aqueduct_sink_buffer_syncs_total");
    let logins_refused = scrape.sum_where("aqueduct_kafka_logins_total", "outcome=\"failed\"");
    // What a lost connection had in its buffers is sent and never received.
    let all_came = publishes == sent || (!(counts.disconnects.is_empty() && counts.left == 0) && publishes < sent);
    let all_written = (success..=success + possible_duplicate + refused).contains(&written);
    let agree = all_came && all_written;
    OwnCounts {
        publishes,
        success,
        refused,
        retried,
        possible_duplicate,
        acked_loss,
        buffer_failures,
        buffer_syncs,
        logins_refused,
        agree,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn those_behind_a_struck_broker_are_told_from_the_others() {
        const S: u64 = 1_000_000_000;
        let mut counts = Counts::new(3, 0);
        // Client 2 wrote nothing that is to be found, so that nobody knows where it belongs. What waited for the healing comes with it.
        for tenth in 0..81 {
            for client in 0..3 {
                if client != 1 || tenth < 40 || tenth % 4 == 0 {
                    counts.acked(client, 0, tenth * S / 10 + 1);
                }
            }
        }
        (0..50).for_each(|_| counts.acked(1, 0, 8 * S + 1));
        let times = [(S, 4 * S), (4 * S, 8 * S + S / 10), (4 * S, 8 * S)];
        let mut begun = Begun::default();
        (begun.broker, begun.leaders) = (Some(2), BTreeMap::from([((0, 0), 1), ((0, 1), 2)]));
        assert_eq!(rates_kept(&counts, &begun, &[(0, 0), (1, 1)], 1, times), [Some(1.0), Some(0.25)]);
        assert_eq!(rates_kept(&counts, &Begun::default(), &[], 1, times), [None, None]);
    }

    #[test]
    fn own_counters_agree_to_the_unit_or_not_at_all() {
        let check = |success: u64, possible: u64, records: u64, publishes: u64, agree: bool| {
            let scrape = Scrape::parse(&format!(
                "aqueduct_publishes_received_total{{qos=\"1\"}} 10\naqueduct_sink_success_total{{sink=\"s1\"}} {success}\n\
                 aqueduct_sink_possible_duplicate_total{{sink=\"s1\"}} {possible}\n"
            ));
            let counts = Counts::new(1, 0);
            assert_eq!(
                own_counts(&scrape, &counts, [publishes, records]).agree,
                agree,
                "{success} {possible} {records} {publishes}"
            );
        };
        check(10, 0, 10, 10, true);
        check(10, 0, 11, 10, false);
        check(10, 0, 9, 10, false);
        check(10, 2, 12, 10, true);
        check(10, 2, 13, 10, false);
        check(10, 0, 10, 11, false);
    }
}
