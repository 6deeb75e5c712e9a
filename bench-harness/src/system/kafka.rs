//! A real Kafka for one invocation of the harness, by the project's own script, wiped at the end.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use miette::{Diagnostic, IntoDiagnostic, Result, WrapErr, bail, miette};
use rustix::process::{Pid, Signal, kill_process};
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

/// What kind of cluster is wanted.
#[derive(Debug, Clone)]
pub struct ClusterPlan {
    /// How many brokers.
    pub brokers: u32,
    /// More broker settings, `a=b;c=d`.
    pub settings: String,
    /// First of the ports on which a proxy stands in front of the brokers.
    pub front: Option<u16>,
    /// Where the brokers' data go, into a folder of its number each; otherwise beside their settings.
    pub disks: Option<PathBuf>,
    /// Whether they have listeners with TLS and SASL as well.
    pub secure: bool,
}

/// Where a cluster is reached over TLS.
#[derive(Debug, Clone)]
pub struct TlsListener {
    /// Its bootstrap address.
    pub bootstrap: String,
    /// The certificate of the authority to trust.
    pub authority: PathBuf,
}

/// A running cluster.
#[derive(Debug)]
pub struct Cluster {
    duty: Duty,
    script: PathBuf,
    dir: PathBuf,
    /// Its bootstrap address.
    pub bootstrap: String,
    /// Where the brokers listen for what comes through a proxy; empty without one.
    pub back: Vec<SocketAddr>,
    /// Where they listen for TLS, if they do.
    pub tls: Option<TlsListener>,
    /// Where they listen for TLS and want to see a certificate, if they do.
    pub mtls: Option<String>,
    /// Process id of the first broker.
    pub broker: u32,
    /// How many brokers it has.
    pub brokers: u32,
}

impl Cluster {
    /// Starts a fresh cluster of one broker in `dir`, with its script beside it.
    pub fn start(dir: &Path, secure: bool) -> Result<Self> {
        Self::start_as(dir, &ClusterPlan { brokers: 1, settings: String::new(), front: None, disks: None, secure })
    }

    /// Starts a fresh cluster in `dir`.
    pub fn start_as(dir: &Path, plan: &ClusterPlan) -> Result<Self> {
        let script = write_script(dir)?;
        let duty = Duty::Cluster(script.clone(), dir.to_owned());
        reaper::enrol(duty.clone());
        let mut up = Command::new("bash");
        up.arg(&script).args(["up", "--brokers", &plan.brokers.to_string()]).env("KAFKA_DIR", dir);
        up.args(plan.secure.then_some("--secure")).env("KAFKA_SET", &plan.settings);
        if let Some(front) = plan.front {
            up.env("KAFKA_FRONT", front.to_string());
        }
        up.envs(plan.disks.as_ref().map(|disks| ("KAFKA_DISKS", disks)));
        let up = up.output().into_diagnostic()?;
        let errors = String::from_utf8_lossy(&up.stderr).trim().to_owned();
        match up.status.code() {
            Some(0) => {}
            Some(MISSING) => return Err(KafkaMissing(errors).into()),
            _ => bail!("Kafka did not start\n{errors}"),
        }
        let text = String::from_utf8_lossy(&up.stdout).into_owned();
        let said = |name: &str| text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix('='));
        let bootstrap =
            said("BOOTSTRAP").ok_or_else(|| miette!("kafka.sh did not say where Kafka listens"))?.to_owned();
        let authority = dir.join("tls/ca.pem");
        let tls = said("TLS").map(|hosts| TlsListener { bootstrap: hosts.to_owned(), authority });
        let mtls = said("MTLS").map(str::to_owned);
        let back = said("BACK").unwrap_or_default();
        let back = back.split(',').filter(|at| !at.is_empty()).map(str::parse).collect::<Result<_, _>>();
        let (back, brokers) = (back.into_diagnostic()?, plan.brokers);
        let mut cluster = Self { duty, script, dir: dir.to_owned(), bootstrap, back, tls, mtls, broker: 0, brokers };
        cluster.broker = cluster.pid(1)?.as_raw_nonzero().get() as u32;
        Ok(cluster)
    }

    /// Process id of a running broker, counted from 1.
    pub fn pid(&self, broker: u32) -> Result<Pid> {
        let path = self.dir.join(broker.to_string()).join("pid");
        let text = fs::read_to_string(&path).into_diagnostic().wrap_err_with(|| path.display().to_string())?;
        let pid = text.trim().parse().ok().and_then(Pid::from_raw);
        pid.ok_or_else(|| miette!("{} holds no process id", path.display()))
    }

    /// The folder of its keys and certificates, if it listens for TLS.
    pub fn certificates(&self) -> PathBuf {
        self.dir.join("tls")
    }

    /// Has its authority give one more certificate, valid between two times as `date -d` takes them: `NAME.key`, `NAME.pem` and
    /// `NAME.both.pem` among the others.
    pub fn certificate(&self, name: &str, subject: &str, [from, until]: [&str; 2]) -> Result<()> {
        let made = self.command("certificate").args([name, subject, from, until]).status().into_diagnostic()?;
        if made.success() { Ok(()) } else { bail!("openssl made no certificate: {made}") }
    }

    /// The folders of the brokers.
    pub fn folders(&self) -> Vec<PathBuf> {
        (1..=self.brokers).map(|broker| self.dir.join(broker.to_string())).collect()
    }

    /// Sends a signal to a running broker.
    pub fn signal(&self, broker: u32, signal: Signal) -> Result<()> {
        kill_process(self.pid(broker)?, signal).into_diagnostic().wrap_err_with(|| format!("broker {broker}"))
    }

    /// kill -9 to a broker; nothing if it does not run.
    pub fn kill(&self, broker: u32) -> Result<()> {
        self.script("kill", broker)?.wait().into_diagnostic().map(drop)
    }

    /// Starts brokers on the data they had. Each of the processes answered ends when its broker is ready, with an error if it
    /// does not become so. Brokers that run are left alone.
    pub fn restart(&self, brokers: &[u32]) -> Result<Vec<Child>> {
        let is_down = |broker: &&u32| !self.dir.join(broker.to_string()).join("pid").exists();
        brokers.iter().filter(is_down).map(|broker| self.script("start", *broker)).collect()
    }

    fn script(&self, verb: &str, broker: u32) -> Result<Child> {
        self.command(verb).arg(broker.to_string()).spawn().into_diagnostic().wrap_err(verb.to_owned())
    }

    fn command(&self, verb: &str) -> Command {
        let mut command = Command::new("bash");
        command.arg(&self.script).arg(verb).env("KAFKA_DIR", &self.dir).stdin(Stdio::null()).stdout(Stdio::null());
        command
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
