//! Clients that others wrote. Where one is missing the test says so aloud and passes; with `AQUEDUCT_REQUIRE_PEERS=1`, as CI sets,
//! it fails.

use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use super::deadline;

/// How long a peer may take in [`run`].
const PATIENCE: Duration = Duration::from_secs(180);

/// A client that the tests can call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Peer {
    /// `mosquitto_pub`, of Eclipse Mosquitto.
    MosquittoPub,
    /// `mosquitto_sub`.
    MosquittoSub,
    /// `kcat`, on librdkafka.
    Kcat,
    /// Eclipse Paho for Python; call it with the path of a script.
    Paho,
    /// MQTT.js on node; call it with the path of a script.
    MqttJs,
    /// franz-go, built here; call it as `franz-go/main.go` says.
    FranzGo,
    /// The kernel's view of a process.
    Strace,
}

impl Peer {
    /// A command that runs the peer, or `None` (and a line on stderr) where it is missing.
    ///
    /// # Panics
    /// If it is missing and must not be.
    pub fn command(self) -> Option<Command> {
        match self.find() {
            Ok(command) => Some(command),
            Err(remedy) => {
                skip("AQUEDUCT_REQUIRE_PEERS", &remedy);
                None
            }
        }
    }

    fn find(self) -> Result<Command, String> {
        match self {
            Self::MosquittoPub => program("mosquitto_pub", "--help", "apt install mosquitto-clients"),
            Self::MosquittoSub => program("mosquitto_sub", "--help", "apt install mosquitto-clients"),
            Self::Kcat => program("kcat", "-V", "apt install kcat"),
            Self::Strace => program("strace", "-V", "apt install strace"),
            Self::FranzGo => {
                static BUILT: OnceLock<Result<PathBuf, String>> = OnceLock::new();
                BUILT.get_or_init(build_franz_go).clone().map(Command::new)
            }
            Self::Paho => {
                let python = program("python3", "--version", "apt install python3")?;
                let paho = Command::new("python3").args(["-c", "import paho.mqtt.client"]).output();
                if paho.is_ok_and(|output| output.status.success()) {
                    Ok(python)
                } else {
                    Err("paho-mqtt is missing; pip install paho-mqtt".to_owned())
                }
            }
            Self::MqttJs => {
                let node = program("node", "--version", "apt install nodejs npm")?;
                if peers_folder().join("node_modules/mqtt").is_dir() {
                    Ok(node)
                } else {
                    Err("mqtt.js is missing; npm ci --prefix tests/peers".to_owned())
                }
            }
        }
    }
}

/// Builds `peers/franz-go` beside this test program.
fn build_franz_go() -> Result<PathBuf, String> {
    let remedy = "install Go from https://go.dev/dl";
    let go = ["go", "/usr/local/go/bin/go"].into_iter().find(|go| program(go, "version", remedy).is_ok());
    let go = go.ok_or_else(|| format!("go is missing; {remedy}"))?;
    let built = std::env::current_exe().expect("this program has a path").with_extension("franz-go");
    let mut build = Command::new(go);
    build.args(["build", "-o"]).arg(&built).arg(".").current_dir(peers_folder().join("franz-go"));
    let output = build.output().expect("go has just run");
    match output.status.success() {
        true => Ok(built),
        false => Err(format!("franz-go does not build: {}", String::from_utf8_lossy(&output.stderr).trim())),
    }
}

/// A script of `tests/peers`.
pub fn script(name: &str) -> PathBuf {
    peers_folder().join(name)
}

fn peers_folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("peers")
}

/// Answers at all, whatever it thinks of the argument.
fn program(name: &str, harmless: &str, remedy: &str) -> Result<Command, String> {
    match Command::new(name).arg(harmless).output() {
        Ok(_) => Ok(Command::new(name)),
        Err(_) => Err(format!("{name} is missing; {remedy}")),
    }
}

/// Says aloud that a test is skipped, past the harness that keeps the output of passing tests to itself.
///
/// # Panics
/// If the environment variable `required` is 1.
pub fn skip(required: &str, why: &str) {
    assert!(std::env::var(required).as_deref() != Ok("1"), "{required}=1, and {why}");
    say_skipped(why);
}

/// The same of what nothing requires.
pub fn say_skipped(why: &str) {
    let test = std::thread::current().name().unwrap_or("a test").to_owned();
    let _ = writeln!(std::io::stderr(), "SKIPPED {test}: {why}");
}

/// Runs a command to its end and returns what it wrote.
///
/// # Panics
/// If it cannot start, fails, or takes longer than a minute.
#[track_caller]
pub fn run(command: &mut Command) -> String {
    let output = finish(command, b"");
    assert!(output.status.success(), "{command:?}: {}\n{}", output.status, String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("text")
}

/// Runs a command to its end with `input` on its stdin, however it ends.
///
/// # Panics
/// If it cannot start or takes longer than a minute.
#[track_caller]
pub fn finish(command: &mut Command, input: &[u8]) -> Output {
    deadline::doing(&format!("{command:?}"));
    let mut child = Background::start(command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()));
    let mut stdin = child.0.stdin.take().expect("piped");
    let mut stdout = child.0.stdout.take().expect("piped");
    let mut stderr = child.0.stderr.take().expect("piped");
    std::thread::scope(|scope| {
        // A peer that ends early closes its stdin; that is its business.
        scope.spawn(move || stdin.write_all(input));
        let out = scope.spawn(move || read_all(&mut stdout));
        let err = scope.spawn(move || read_all(&mut stderr));
        let status = child.wait(PATIENCE);
        Output { status, stdout: out.join().expect("read"), stderr: err.join().expect("read") }
    })
}

fn read_all(from: &mut impl Read) -> Vec<u8> {
    let mut bytes = Vec::new();
    let _ = from.read_to_end(&mut bytes);
    bytes
}

/// A process that ends with this value.
#[derive(Debug)]
pub struct Background(pub Child);

impl Background {
    /// Starts it.
    ///
    /// # Panics
    /// If it cannot start.
    #[track_caller]
    pub fn start(command: &mut Command) -> Self {
        match command.spawn() {
            Ok(child) => Self(child),
            Err(error) => panic!("{command:?}: {error}"),
        }
    }

    /// Waits for its end.
    ///
    /// # Panics
    /// If it takes longer than `patience`; the process is killed.
    #[track_caller]
    pub fn wait(&mut self, patience: Duration) -> std::process::ExitStatus {
        let end = Instant::now() + patience;
        loop {
            if let Some(status) = self.0.try_wait().expect("our child") {
                return status;
            }
            if Instant::now() > end {
                let _ = self.0.kill();
                let _ = self.0.wait();
                panic!("process {} did not end within {patience:?}", self.0.id());
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

impl Drop for Background {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
