//! What one phase of load counted.

use std::time::Duration;

use hdrhistogram::Histogram;

use super::Killed;

/// Latencies from 1 µs to 60 s with three digits, in nanoseconds.
fn latencies() -> Histogram<u64> {
    Histogram::new_with_bounds(1_000, 60_000_000_000, 3).unwrap_or_else(|_| unreachable!("the bounds are constants"))
}

/// The counters of a running phase.
///
/// Invariant: `sent = acknowledged + unanswered + open`, and a phase is over when `open` is 0 and `sent + abandoned` is
/// what was asked for.
pub(super) struct Tally {
    pub(super) sent: u64,
    acknowledged: u64,
    /// Never sent, because the connection was gone.
    pub(super) abandoned: u64,
    /// Sent at QoS 1 on a connection that went before the acknowledgement.
    pub(super) unanswered: u64,
    pub(super) disconnected: u64,
    pub(super) stray_acks: u64,
    pub(super) acks_out_of_order: u64,
    pub(super) stalled: bool,
    pub(super) killed: Option<Killed>,
    latency: Histogram<u64>,
    lateness: Histogram<u64>,
    /// Acknowledgements of one read mostly have the same latency: they are booked as one.
    run_ns: u64,
    run: u64,
}

impl Tally {
    pub(super) fn new() -> Self {
        Self {
            sent: 0,
            acknowledged: 0,
            abandoned: 0,
            unanswered: 0,
            disconnected: 0,
            stray_acks: 0,
            acks_out_of_order: 0,
            stalled: false,
            killed: None,
            latency: latencies(),
            lateness: latencies(),
            run_ns: 0,
            run: 0,
        }
    }

    /// One message was acknowledged, so long after it was due or sent.
    pub(super) fn acked(&mut self, latency_ns: u64) {
        self.acknowledged += 1;
        if latency_ns != self.run_ns {
            self.end_of_read();
            self.run_ns = latency_ns;
        }
        self.run += 1;
    }

    /// Books the latencies that are still held as a run.
    pub(super) fn end_of_read(&mut self) {
        if self.run > 0 {
            self.latency.saturating_record_n(self.run_ns, self.run);
            self.run = 0;
        }
    }

    /// One message was sent so long after it was due.
    pub(super) fn late(&mut self, lateness_ns: u64) {
        self.lateness.saturating_record(lateness_ns);
    }

    /// Changes whenever something happened.
    pub(super) fn progress(&self) -> (u64, u64, u64) {
        (self.sent, self.acknowledged, self.disconnected)
    }

    pub(super) fn done(&self, qos: u8) -> u64 {
        if qos == 0 { self.sent } else { self.acknowledged }
    }

    /// Sent at QoS 1 and neither acknowledged nor known to be without answer.
    pub(super) fn open(&self) -> u64 {
        self.sent.saturating_sub(self.acknowledged + self.unanswered)
    }

    pub(super) fn is_finished(&self, qos: u8, messages: u64) -> bool {
        self.sent + self.abandoned >= messages && (qos == 0 || self.open() == 0)
    }

    pub(super) fn report(&mut self, asked: u64, elapsed: Duration, cpu: Duration) -> PhaseReport {
        self.end_of_read();
        PhaseReport {
            asked,
            sent: self.sent,
            acknowledged: self.acknowledged,
            disconnected: self.disconnected,
            stray_acks: self.stray_acks,
            acks_out_of_order: self.acks_out_of_order,
            stalled: self.stalled,
            killed: self.killed,
            elapsed,
            cpu,
            latency: std::mem::replace(&mut self.latency, latencies()),
            lateness: std::mem::replace(&mut self.lateness, latencies()),
        }
    }
}

/// The result of one phase.
#[derive(Debug, Clone)]
pub struct PhaseReport {
    /// Messages asked for.
    pub asked: u64,
    /// Messages handed to the kernel.
    pub sent: u64,
    /// PUBACKs that answered one of them, each once.
    pub acknowledged: u64,
    /// Connections that the server, or its end, closed.
    pub disconnected: u64,
    /// PUBACKs with an id that was not open.
    pub stray_acks: u64,
    /// PUBACKs that overtook the one of an earlier message.
    pub acks_out_of_order: u64,
    /// Nothing moved for 30 s, and the phase was given up.
    pub stalled: bool,
    /// Set if this phase killed a process.
    pub killed: Option<Killed>,
    /// From the first send to the last acknowledgement.
    pub elapsed: Duration,
    /// CPU time of the generator's thread in the phase.
    pub cpu: Duration,
    /// Time to the PUBACK in nanoseconds, from the due time (open loop) or from the send (closed loop).
    pub latency: Histogram<u64>,
    /// Open loop: time from due to sent, in nanoseconds. High values mean the window or the generator held messages.
    pub lateness: Histogram<u64>,
}
