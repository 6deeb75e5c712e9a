//! What heals a fault while the others go on: a process or a thread that takes its time.

use std::process::Child;
use std::sync::Arc;
use std::thread::JoinHandle;

use miette::{IntoDiagnostic, Result, bail, miette};

use super::load::Wheel;

/// Something that has to end well before a fault is healed.
#[derive(Debug)]
pub(super) enum Healer {
    /// A broker that starts.
    Broker(Child),
    /// An administrator who waits for brokers. Nobody once it was seen to end.
    Administrator(Option<JoinHandle<Result<()>>>),
    /// All clients, who come back.
    Crowd(Arc<Wheel>),
}

impl Healer {
    /// Whether it has ended.
    ///
    /// # Errors
    /// It has ended badly.
    pub(super) fn has_ended(&mut self) -> Result<bool> {
        match self {
            Self::Broker(starting) => match starting.try_wait().into_diagnostic()? {
                Some(status) if !status.success() => bail!("a broker did not start again"),
                status => Ok(status.is_some()),
            },
            Self::Administrator(working) => {
                let Some(worker) = working.take_if(|worker| worker.is_finished()) else { return Ok(working.is_none()) };
                worker.join().map_err(|_| miette!("the administrator panicked"))??;
                Ok(true)
            }
            Self::Crowd(wheel) => Ok(wheel.are_all_in()),
        }
    }
}
