//! `aqueduct-bench compare --systems ours,mochi,…`: the product and what users would pick instead, under the same workloads.
//!
//! Systems alternate as in `table`. Then each of them is killed with signal 9 under load, again and again, and Kafka is read back: what
//! an acknowledgement of it is worth stands beside what it costs.

use miette::{Result, WrapErr};

use super::{CompareArgs, setup_of};
use crate::kill::{self, KillArgs};
use crate::report::markdown;
use crate::results::{self, Kills, Row};
use crate::run::Bench;
use crate::system::System;
use crate::table::measure_all;

/// Measures, kills, prints. False if a system that promises more lost, doubled or reordered something.
pub(super) fn run(args: &CompareArgs) -> Result<bool> {
    let mut bench = Bench::open(&args.system_args)?;
    let mut measured = measure_all(&args.workloads, &args.systems, args.pairs, &args.system_args, &mut bench)?;
    drop(bench);
    for system in &args.systems {
        if args.kills > 0 && setup_of(system, &args.system_args)?.system != System::Ceiling {
            let kills = killed(system, args).wrap_err_with(|| format!("killing {system}"))?;
            put(&mut measured.section.rows, system, kills);
        }
    }
    println!("{}", markdown::section(&measured.section));
    let ours = |row: &&Row| row.about.is_none();
    let clean = measured.section.rows.iter().filter(ours).all(|row| {
        let most = |fault: &str| row.spread.get(fault).map_or(0.0, |[_, most]| *most);
        most("lost") + most("duplicated") + most("reordered") == 0.0 && row.kills.is_none_or(|kills| kills.lost == 0)
    });
    if let Some(name) = &args.save {
        results::save(name, measured.section)?;
    }
    Ok(clean)
}

fn killed(system: &str, args: &CompareArgs) -> Result<Kills> {
    let kills = KillArgs {
        cycles: args.kills,
        seed: 1,
        workload: args.workloads[0].clone(),
        min_open: 100,
        expect_loss: false,
        system: System::Aqueduct,
        system_args: args.system_args.clone(),
    };
    kill::count(&kills, setup_of(system, &args.system_args)?)
}

/// Beside the first row of the system.
fn put(rows: &mut [Row], system: &str, kills: Kills) {
    if let Some(row) = rows.iter_mut().find(|row| row.system == system) {
        row.kills = Some(kills);
    }
}
