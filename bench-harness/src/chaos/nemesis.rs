//! Carries out a schedule: begins and heals each fault at its time, and writes down when it did.

use std::time::Duration;

use miette::{Result, WrapErr, bail};

use super::healer::Healer;
use super::load::Load;
use super::schedule::{Action, Schedule, collide};
use super::world::{Begun, World};
use crate::ledger::judge::Window;
use crate::measure::mono_ns;

/// Between two looks at whether the product still runs.
const LOOK: Duration = Duration::from_millis(50);

/// A fault as it came to be.
#[derive(Debug)]
pub(super) struct Strike {
    pub(super) action: Action,
    pub(super) begun: Begun,
    pub(super) window: Window,
    /// When it had begun; a fault may take its time to.
    pub(super) struck_ns: u64,
    /// When its healing began.
    pub(super) healing_ns: u64,
    /// When the product dialled the broker anew whose connections are dead, if it did while they were.
    pub(super) redialled_ns: Option<u64>,
    /// What heals it, while that takes its time.
    healers: Vec<Healer>,
}

/// Where a strike stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    On,
    Healing,
}

/// Runs the schedule from now on. `say` hears of each action.
pub(super) fn run(schedule: &Schedule, world: &mut World, load: &Load, say: &dyn Fn(&str)) -> Result<Vec<Strike>> {
    let start_ns = mono_ns();
    let mut strikes: Vec<Strike> = Vec::new();
    let mut open: Vec<(usize, Stage)> = Vec::new();
    let mut next = 0;
    while next < schedule.actions.len() || !open.is_empty() {
        if load.has_ended() {
            bail!("the load has ended before the faults");
        }
        world.watch_product()?;
        for (at, stage) in std::mem::take(&mut open) {
            let strike = &mut strikes[at];
            let is_over = mono_ns() - strike.struck_ns >= strike.action.lasts.as_nanos() as u64;
            let stage = match stage {
                Stage::On if is_over => strike.heal(world, start_ns, say)?,
                Stage::Healing if strike.is_healed(start_ns, say)? => continue,
                stage => stage,
            };
            open.push((at, stage));
        }
        let now = Duration::from_nanos(mono_ns() - start_ns);
        let due = schedule.actions.get(next).filter(|action| now >= action.at);
        // What is still being healed, or should have been, comes first: a broker on its way up must not be killed again, and
        // a disk that is full cannot be filled.
        let in_the_way = |action: &Action| {
            open.iter().any(|(at, stage)| {
                let earlier = strikes[*at].action;
                let late = *stage == Stage::Healing || earlier.ends() <= action.at;
                late && collide(earlier.fault, action.fault)
            })
        };
        match due.filter(|action| !in_the_way(action)) {
            Some(action) => {
                next += 1;
                open.push((strikes.len(), Stage::On));
                strikes.push(Strike::begin(*action, world, start_ns, say)?);
            }
            None => std::thread::sleep(LOOK),
        }
    }
    world.start_product()?;
    Ok(strikes)
}

impl Strike {
    fn begin(action: Action, world: &mut World, start_ns: u64, say: &dyn Fn(&str)) -> Result<Self> {
        let from_ns = mono_ns();
        say(&format!("{:8.3} s  {} begins", seconds(from_ns - start_ns), action.fault));
        let begun = world.begin(action.fault, action.lasts).wrap_err_with(|| format!("{} begins", action.fault))?;
        let name = match begun.broker {
            Some(broker) => format!("{} (broker {broker})", action.fault),
            None => action.fault.to_string(),
        };
        let window = Window { name, from_ns, until_ns: u64::MAX };
        let struck_ns = mono_ns();
        Ok(Self { action, begun, window, struck_ns, healing_ns: u64::MAX, redialled_ns: None, healers: Vec::new() })
    }

    fn heal(&mut self, world: &mut World, start_ns: u64, say: &dyn Fn(&str)) -> Result<Stage> {
        let fault = self.action.fault;
        say(&format!("{:8.3} s  {fault} ends", seconds(mono_ns() - start_ns)));
        self.healing_ns = mono_ns();
        self.redialled_ns = world.redialled_ns(fault, &self.begun);
        self.healers = world.end(fault, &self.begun).wrap_err_with(|| format!("{fault} ends"))?;
        Ok(Stage::Healing)
    }

    fn is_healed(&mut self, start_ns: u64, say: &dyn Fn(&str)) -> Result<bool> {
        for healer in &mut self.healers {
            if !healer.has_ended().wrap_err_with(|| self.window.name.clone())? {
                return Ok(false);
            }
        }
        self.window.until_ns = mono_ns();
        say(&format!("{:8.3} s  {} is healed", seconds(self.window.until_ns - start_ns), self.action.fault));
        Ok(true)
    }
}

fn seconds(ns: u64) -> f64 {
    ns as f64 / 1e9
}
