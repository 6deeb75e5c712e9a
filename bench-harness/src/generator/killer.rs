//! Kills the measured process in the middle of a phase, at an instant that nothing in the load has chosen.
//!
//! A thread of its own waits for the instant. Were the loop of the generator to send the signal, it would always fall
//! between two of its steps: mostly with all windows full, and never while a PUBLISH is half written. Here it interrupts
//! both sides wherever they are.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use miette::{IntoDiagnostic, Result, WrapErr, miette};
use rustix::process::{Pid, Signal, kill_process};

use super::Gauge;

/// Where too little is open at the instant, it is looked at again after so long. Not at once: the kill would then always
/// fall as the windows fill.
const LOOK_AGAIN: Duration = Duration::from_millis(1);

/// Which process ends, and when.
#[derive(Debug, Clone, Copy)]
pub struct KillAt {
    /// Whom to send SIGKILL.
    pub pid: Pid,
    /// Not before this long after the phase's start.
    pub after: Duration,
    /// Not before so many PUBLISHes are sent and not acknowledged, as the clients see it.
    pub open_min: u64,
}

/// When and in which state a process was killed.
#[derive(Debug, Clone, Copy)]
pub struct Killed {
    /// Since the phase's start.
    pub after: Duration,
    /// Messages sent and not acknowledged at that instant.
    pub open: u64,
}

/// The thread, as long as its phase runs.
pub(super) struct Killer {
    /// Nothing is ever sent; that it goes tells the thread that the phase is over.
    phase: Sender<Infallible>,
    thread: JoinHandle<Result<Option<Killed>>>,
}

impl Killer {
    /// The phase begins now.
    pub(super) fn start(kill: KillAt, gauge: Arc<Gauge>) -> Self {
        let start = Instant::now();
        let (phase, over) = channel::<Infallible>();
        let thread = std::thread::spawn(move || {
            let mut wait = kill.after;
            loop {
                if over.recv_timeout(wait) == Err(RecvTimeoutError::Disconnected) {
                    return Ok(None);
                }
                let open = gauge.open.load(Ordering::Relaxed);
                if open >= kill.open_min {
                    let after = start.elapsed();
                    kill_process(kill.pid, Signal::KILL).into_diagnostic().wrap_err("kill -9")?;
                    return Ok(Some(Killed { after, open }));
                }
                wait = LOOK_AGAIN;
            }
        });
        Self { phase, thread }
    }

    /// The phase is over: what was done; `None` if its end came first.
    pub(super) fn end(self) -> Result<Option<Killed>> {
        drop(self.phase);
        self.thread.join().map_err(|_| miette!("the thread that kills has panicked"))?
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::ExitStatusExt;
    use std::process::{Child, Command};

    use super::*;

    fn against(victim: &Child, after: Duration) -> (Killer, Arc<Gauge>) {
        let pid = Pid::from_child(victim);
        let gauge = Arc::<Gauge>::default();
        (Killer::start(KillAt { pid, after, open_min: 10 }, Arc::clone(&gauge)), gauge)
    }

    #[test]
    fn it_waits_for_its_instant_and_for_enough_to_be_open() {
        let mut victim = Command::new("sleep").arg("60").spawn().unwrap();
        let (early, gauge) = against(&victim, Duration::from_secs(60));
        gauge.open.store(10, Ordering::Relaxed);
        assert!(early.end().unwrap().is_none());

        let (killer, gauge) = against(&victim, Duration::from_millis(5));
        gauge.open.store(9, Ordering::Relaxed);
        std::thread::sleep(Duration::from_millis(50));
        assert!(victim.try_wait().unwrap().is_none(), "nine are not enough");
        gauge.open.store(11, Ordering::Relaxed);
        assert_eq!(victim.wait().unwrap().signal(), Some(9));
        let killed = killer.end().unwrap().unwrap();
        assert!(killed.open == 11 && killed.after >= Duration::from_millis(50), "{killed:?}");
    }
}
