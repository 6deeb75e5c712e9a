//! Carries out a schedule: begins and heals each fault at its time, and writes down when it did.

use std::time::Duration;

use miette::{Result, WrapErr, bail};

use super::load::Load;
use super::schedule::{Action, Schedule};
use super::world::{Begun, World};
use crate::ledger::judge::Window;
use crate::measure::mono_ns;

/// Between two looks at whether the product still runs.
const LOOK: Duration = Duration::from_millis(50);

/// A fault as it came to be.
#[derive(Debug, Clone)]
pub(super) struct Strike {
    pub(super) action: Action,
    pub(super) begun: Begun,
    pub(super) window: Window,
    /// When it had begun; a fault may take its time to.
    pub(super) struck_ns: u64,
}

/// Runs the schedule from now on. `say` hears of each action.
pub(super) fn run(schedule: &Schedule, world: &mut World, load: &Load, say: &dyn Fn(&str)) -> Result<Vec<Strike>> {
    let start_ns = mono_ns();
    let mut strikes: Vec<Strike> = Vec::new();
    let mut on: Vec<usize> = Vec::new();
    let mut next = 0;
    while next < schedule.actions.len() || !on.is_empty() {
        if load.has_ended() {
            bail!("the load has ended before the faults");
        }
        world.watch_product()?;
        let now = Duration::from_nanos(mono_ns() - start_ns);
        let due = on.iter().position(|at| now >= strikes[*at].action.ends());
        if let Some(at) = due.map(|position| on.remove(position)) {
            heal(&mut strikes[at], world, start_ns, say)?;
        } else if let Some(action) = schedule.actions.get(next).filter(|action| now >= action.at) {
            next += 1;
            on.push(strikes.len());
            strikes.push(strike(*action, world, start_ns, say)?);
        } else {
            std::thread::sleep(LOOK);
        }
    }
    world.start_product()?;
    Ok(strikes)
}

fn strike(action: Action, world: &mut World, start_ns: u64, say: &dyn Fn(&str)) -> Result<Strike> {
    let from_ns = mono_ns();
    say(&format!("{:8.3} s  {} begins", seconds(from_ns - start_ns), action.fault));
    let begun = world.begin(action.fault, action.lasts).wrap_err_with(|| format!("{} begins", action.fault))?;
    let name = match begun.broker {
        Some(broker) => format!("{} (broker {broker})", action.fault),
        None => action.fault.to_string(),
    };
    let window = Window { name, from_ns, until_ns: u64::MAX };
    Ok(Strike { action, begun, window, struck_ns: mono_ns() })
}

fn heal(strike: &mut Strike, world: &mut World, start_ns: u64, say: &dyn Fn(&str)) -> Result<()> {
    let fault = strike.action.fault;
    say(&format!("{:8.3} s  {fault} ends", seconds(mono_ns() - start_ns)));
    world.end(fault, &strike.begun).wrap_err_with(|| format!("{fault} ends"))?;
    strike.window.until_ns = mono_ns();
    Ok(())
}

fn seconds(ns: u64) -> f64 {
    ns as f64 / 1e9
}
