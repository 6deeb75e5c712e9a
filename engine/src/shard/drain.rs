//! Drain: clients are not read any more, what is open is written and answered, then everyone gets a goodbye.

use mqtt::ReasonCode;

use super::Shard;
use super::control::ControlMsg;
use super::io::{CloseReason, Io};
use crate::clock::{Mono, Now};
use crate::config::QueryMode;
use crate::sink::{Sink, Stored};

/// Where a drain stands.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(super) enum Drain {
    /// Not asked for.
    #[default]
    No,
    /// Flushing what is open.
    Flushing,
    /// Reported.
    Done,
}

impl Drain {
    pub(super) fn is_draining(self) -> bool {
        self != Drain::No
    }

    pub(super) fn deadline(self) -> Option<Mono> {
        None
    }
}

impl Shard {
    /// Stops reading clients; batches no longer linger.
    pub(super) fn begin_drain(&mut self, _now: Now) {
        if self.drain == Drain::No {
            self.drain = Drain::Flushing;
            for conn in self.conns.iter_mut().flatten() {
                conn.readable = false;
            }
        }
    }

    /// Time is up: what is left is counted and dropped.
    pub(super) fn end_drain(&mut self, now: Now, io: &mut impl Io) {
        if self.drain != Drain::Done {
            self.say_goodbye(now, io);
            let (acked, unacked) = self.open_records();
            self.report_drained(acked, unacked, io);
        }
    }

    /// Ends the drain once nothing is open.
    pub(super) fn step_drain(&mut self, now: Now, io: &mut impl Io) {
        if self.drain != Drain::Flushing {
            return;
        }
        let idle = self.sinks.iter().all(|s| s.accumulator.is_idle()) && self.writers_are_idle(now);
        let idle = idle && self.journals_are_safe();
        let idle = idle && self.deliver.is_idle() && self.dead.is_empty();
        if idle {
            self.say_goodbye(now, io);
            self.report_drained(0, 0, io);
        }
    }

    fn report_drained(&mut self, acked_records_dropped: u64, unacked_records_dropped: u64, io: &mut impl Io) {
        self.drain = Drain::Done;
        io.control(ControlMsg::Drained { acked_records_dropped, unacked_records_dropped });
    }

    /// DISCONNECT 0x8B for MQTT 5, then the sockets close.
    fn say_goodbye(&mut self, now: Now, io: &mut impl Io) {
        for key in self.all_conns() {
            let Some(mut conn) = self.take_conn(key) else { continue };
            conn.mqtt.disconnect(ReasonCode::ServerShuttingDown, None, &mut conn.out);
            self.count_flush(&mut conn, io);
            self.end_connection(now, conn, CloseReason::Shutdown, io);
        }
    }

    /// Records without an outcome: those whose clients were told they are safe, and those whose clients will resend.
    fn open_records(&self) -> (u64, u64) {
        let mut acked = 0;
        let mut unacked = 0;
        // What lies on disk is sent after the next start.
        let stored = |sink: &Sink| sink.journal.as_ref().map_or(0, Stored::records);
        let sinks = self.settings.sinks.iter().zip(&self.sink_counters).zip(&self.sinks);
        for ((settings, counters), sink) in sinks {
            let ended = counters.ended();
            match settings.query_mode {
                QueryMode::Async => acked += counters.matched - ended - stored(sink),
                QueryMode::Sync if sink.promised_early => acked += counters.matched - ended - stored(sink),
                QueryMode::Sync => unacked += counters.matched - ended,
            }
        }
        (acked, unacked)
    }
}
