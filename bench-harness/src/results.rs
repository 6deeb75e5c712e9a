//! Results that are kept: `results.json` beside this crate, from which `docs/performance.md` and the HTML report are made.
//!
//! A section is what one command measured at one time on one machine. Measuring it again replaces it.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use miette::{IntoDiagnostic, Result, WrapErr};
use serde::{Deserialize, Serialize};

use crate::machine::Machine;
use crate::result::Outcome;
use crate::system::peer::Puback;

/// Every section, by its name.
pub type Results = BTreeMap<String, Section>;

/// What one command measured.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Section {
    /// The arguments behind `aqueduct-bench`.
    pub command: String,
    /// Where.
    pub machine: Machine,
    /// Commits of what was measured.
    pub commits: Vec<String>,
    /// Runs of each system under each workload.
    pub repeats: usize,
    /// In the order of the table; the first of each workload is the one to compare to.
    pub rows: Vec<Row>,
}

/// One system under one workload.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Row {
    /// The workload.
    pub workload: String,
    /// The system, as it was named on the command line.
    pub system: String,
    /// What it is, for a system of others.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub about: Option<String>,
    /// What its PUBACK says.
    pub puback: Puback,
    /// Median of every metric.
    pub median: BTreeMap<String, f64>,
    /// Least and greatest of every metric.
    pub spread: BTreeMap<String, [f64; 2]>,
    /// What it lost when it was killed, if it was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kills: Option<Kills>,
    /// Its CPU against that of the first row, if both ran back to back in pairs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub paired: Option<Paired>,
}

/// What pairs of runs say of one against the other.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Paired {
    /// CPU over CPU.
    pub ratio: Estimate,
    /// CPU-seconds per million more.
    pub more: Estimate,
}

/// A figure from pairs, and how sure it is.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Estimate {
    /// That of the medians of both sides.
    pub of_medians: f64,
    /// Least and greatest of one pair.
    pub spread: [f64; 2],
    /// The middle 95 % of what it is when the pairs are drawn again with replacement. Absent below five pairs, which are too few to
    /// draw from.
    pub interval: Option<[f64; 2]>,
}

/// Kills with signal 9 under load, all cycles together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Kills {
    /// How many.
    pub cycles: u32,
    /// Messages that clients were told had arrived.
    pub acknowledged: u64,
    /// Of these, those that Kafka does not hold.
    pub lost: u64,
    /// Messages that Kafka holds twice without a client's having sent them twice.
    pub duplicated: u64,
    /// Messages before an earlier one of their client.
    pub reordered: u64,
}

impl Row {
    /// A row of an outcome.
    pub fn of(system: &str, about: Option<String>, puback: Puback, outcome: &Outcome) -> Self {
        Self {
            workload: outcome.workload.clone(),
            system: system.to_owned(),
            about,
            puback,
            median: outcome.median.iter().map(|(name, value)| ((*name).to_owned(), round(*value))).collect(),
            spread: outcome.spread.iter().map(|(name, range)| ((*name).to_owned(), range.map(round))).collect(),
            kills: None,
            paired: None,
        }
    }
}

impl Estimate {
    /// As it is kept.
    pub fn rounded(self) -> Self {
        Self {
            of_medians: round(self.of_medians),
            spread: self.spread.map(round),
            interval: self.interval.map(|interval| interval.map(round)),
        }
    }
}

fn round(value: f64) -> f64 {
    (value * 1e6).round() / 1e6
}

/// Where the results are kept.
pub fn path() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("results.json")
}

/// Reads them.
pub fn load() -> Result<Results> {
    let path = path();
    let text = fs::read_to_string(&path).into_diagnostic().wrap_err_with(|| path.display().to_string())?;
    serde_json::from_str(&text).into_diagnostic().wrap_err_with(|| path.display().to_string())
}

/// Puts a section among them, in the place of one of the same name.
pub fn save(name: &str, section: Section) -> Result<()> {
    let mut results = load().unwrap_or_default();
    results.insert(name.to_owned(), section);
    let text = serde_json::to_string_pretty(&results).into_diagnostic()? + "\n";
    fs::write(path(), text).into_diagnostic()
}
