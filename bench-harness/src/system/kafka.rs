//! A real Kafka for one invocation of the harness, by the project's own script, wiped at the end.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use miette::{Diagnostic, IntoDiagnostic, Result, WrapErr, bail, miette};
use thiserror::Error;

use crate::reaper::{self, Duty};

/// The script and its list of jars travel in the binary, so that it works wherever it is copied to.
const SCRIPT: &str = include_str!("../../kafka/kafka.sh");
const POM: &str = include_str!("../../kafka/pom.xml");
/// Exit code of the script when Java or Maven is missing.
const MISSING: i32 = 77;

/// Java or Maven is not installed: nothing was measured, and nothing is wrong with what should have been.
#[derive(Debug, Error, Diagnostic)]
#[error("no Kafka on this machine: {0}")]
pub struct KafkaMissing(String);

/// A running single-broker cluster.
#[derive(Debug)]
pub struct Cluster {
    duty: Duty,
    /// Its bootstrap address.
    pub bootstrap: String,
    /// Process id of the broker.
    pub broker: u32,
}

impl Cluster {
    /// Starts a fresh cluster in `dir`, with its script beside it.
    pub fn start(dir: &Path) -> Result<Self> {
        let script = write_script(dir)?;
        let duty = Duty::Cluster(script.clone(), dir.to_owned());
        reaper::enrol(duty.clone());
        let up = Command::new("bash").arg(&script).arg("up").env("KAFKA_DIR", dir).output().into_diagnostic()?;
        let errors = String::from_utf8_lossy(&up.stderr).trim().to_owned();
        match up.status.code() {
            Some(0) => {}
            Some(MISSING) => return Err(KafkaMissing(errors).into()),
            _ => bail!("Kafka did not start\n{errors}"),
        }
        let text = String::from_utf8_lossy(&up.stdout).into_owned();
        let bootstrap = text.lines().find_map(|line| line.strip_prefix("BOOTSTRAP="));
        let bootstrap = bootstrap.ok_or_else(|| miette!("kafka.sh did not say where Kafka listens"))?.to_owned();
        let broker = fs::read_to_string(dir.join("1/pid")).into_diagnostic()?.trim().parse().into_diagnostic()?;
        Ok(Self { duty, bootstrap, broker })
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        reaper::end(&self.duty);
        reaper::discharge(&self.duty);
    }
}

fn write_script(dir: &Path) -> Result<PathBuf> {
    let beside = dir.with_extension("script");
    fs::create_dir_all(&beside).into_diagnostic().wrap_err_with(|| beside.display().to_string())?;
    fs::create_dir_all(dir).into_diagnostic().wrap_err_with(|| dir.display().to_string())?;
    fs::write(beside.join("pom.xml"), POM).into_diagnostic()?;
    let script = beside.join("kafka.sh");
    fs::write(&script, SCRIPT).into_diagnostic()?;
    Ok(script)
}
