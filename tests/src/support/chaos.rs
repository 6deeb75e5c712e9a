//! Runs `aqueduct-bench chaos`: a node under load, a fault, and the ledger's verdict on what Kafka holds afterwards.

use std::fmt::Write as _;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};
use std::sync::{Mutex, OnceLock, PoisonError};

use serde_json::Value;

use super::{build, deadline, node, peer};

/// Exit code of the harness where Java, root or a program is missing.
const MISSING: i32 = 77;
/// Two clusters and their loads at once would only measure each other.
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

/// What a run is to do.
#[derive(Debug, Default)]
pub struct Chaos {
    arguments: Vec<String>,
    plant: Option<&'static str>,
    new_epochs: bool,
    replays: bool,
    /// Seconds of load after the last fault.
    calm: u32,
}

impl Chaos {
    /// The faults of a plan, in the form of `aqueduct-bench chaos --plan`.
    pub fn plan(plan: &str) -> Self {
        Self { calm: 2, ..Self::default() }.with(&["--plan", plan])
    }

    /// So many seconds of load after the last fault, in which the rate of before may be reached again.
    #[must_use]
    pub fn calm(mut self, seconds: u32) -> Self {
        self.calm = seconds;
        self
    }

    /// Row T24: batches are sent again after their links have ended or died, while others of the same small pool come and go.
    pub fn crowded() -> Self {
        let plan = "reset=1@2+0.3,blackhole=1@3+4,reset=1@8+0.3,reset=1@9+0.3,blackhole=1@10+4";
        Self::plan(plan).with(&["--payload-bytes", "1024", "--rate", "4000", "--set", "node.memory_limit=64MB"])
    }

    /// Adds arguments of `aqueduct-bench chaos`.
    #[must_use]
    pub fn with(mut self, arguments: &[&str]) -> Self {
        self.arguments.extend(arguments.iter().map(|argument| (*argument).to_owned()));
        self
    }

    /// Three brokers that hold every partition.
    #[must_use]
    pub fn three_brokers(self) -> Self {
        self.with(&["--brokers", "3"])
    }

    /// The log of the node instead of Kafka.
    #[must_use]
    pub fn embedded(self) -> Self {
        self.with(&["--connector", "embedded"])
    }

    /// Records may be stored twice under two epochs, as far as the node itself counts them as possible duplicates: a broker that
    /// lost its memory knows no more than the last batch of a producer.
    #[must_use]
    pub fn with_new_epochs(mut self) -> Self {
        self.new_epochs = true;
        self
    }

    /// Buffers on disk, acknowledged from there: what is in them when the node ends is sent by the next one, which cannot know
    /// whether it was sent before.
    #[must_use]
    pub fn on_disk(self) -> Self {
        self.of_sinks("query_mode=async").buffered("disk")
    }

    /// Buffers of this mode, acknowledged when Kafka has it. What is in them when the node ends is sent by the next one, as above.
    #[must_use]
    pub fn buffered(mut self, mode: &str) -> Self {
        self.replays = true;
        self.of_sinks(&format!("buffer.mode={mode}"))
    }

    /// Sets an option of both sinks.
    #[must_use]
    pub fn of_sinks(self, option: &str) -> Self {
        let [first, second] = ["s1", "s2"].map(|sink| format!("sinks.{sink}.{option}"));
        self.with(&["--set", &first, "--set", &second])
    }

    /// Plants a bug in the node.
    #[must_use]
    pub fn plant(mut self, name: &'static str) -> Self {
        self.plant = Some(name);
        self
    }

    /// Runs it; the verdict has to be good. `None` (and a line on stderr) where something is missing on this machine.
    ///
    /// # Panics
    /// If the verdict is bad, or something is missing that must not be.
    #[track_caller]
    pub fn acquitted(self) -> Option<Verdict> {
        let (new_epochs, replays) = (self.new_epochs, self.replays);
        let verdict = self.run()?;
        assert!(verdict.output.status.success(), "{}", verdict.said());
        for count in ["lost", "ghost", "corrupt", "misrouted", "dup_own", "reorder"] {
            assert_eq!(verdict.count(count), 0, "{count}\n{}", verdict.said());
        }
        let possible = if new_epochs { verdict.json["own"]["possible_duplicate"].as_u64() } else { Some(0) };
        let admitted = possible.is_some_and(|possible| verdict.count("dup_across") <= possible);
        // What an earlier node had sent, and not lived to note, may be there twice, and nothing else.
        let replayed = if replays { verdict.count("replayed") } else { 0 };
        assert!(admitted || verdict.count("dup_across") <= replayed, "{}", verdict.said());
        // Whoever acknowledges nothing loses nothing.
        assert!(verdict.count("acked") > 5_000, "{}", verdict.said());
        Some(verdict)
    }

    /// Runs it; the verdict has to be bad.
    ///
    /// # Panics
    /// If it is good, or there is none.
    #[track_caller]
    pub fn convicted(self) -> Option<Verdict> {
        let verdict = self.run()?;
        assert_eq!(verdict.output.status.code(), Some(1), "{}", verdict.said());
        assert_eq!(verdict.json["clean"], false, "{}", verdict.said());
        Some(verdict)
    }

    /// Runs it, and leaves what the verdict has to be to the caller.
    #[track_caller]
    pub fn judged(self) -> Option<Verdict> {
        self.run()
    }

    #[track_caller]
    fn run(self) -> Option<Verdict> {
        static HARNESS: OnceLock<PathBuf> = OnceLock::new();
        let _alone = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
        deadline::doing(&format!("chaos {}", self.arguments.join(" ")));
        let mut command = Command::new(HARNESS.get_or_init(|| build::binary("aqueduct-bench")));
        // A release build holds no bugs to plant.
        let node = if self.plant.is_some() { build::binary("aqueduct") } else { node::binary().to_owned() };
        command
            .args(["chaos", "--calm", &self.calm.to_string(), "--json", "--binary"])
            .arg(node)
            .args(&self.arguments)
            .env_remove("AQUEDUCT_PLANT");
        command.envs(self.plant.map(|plant| ("AQUEDUCT_PLANT", plant)));
        let output = command.stdin(Stdio::null()).output().expect("the harness starts");
        let errors = String::from_utf8_lossy(&output.stderr).into_owned();
        if output.status.code() == Some(MISSING) {
            let needs_root = errors.contains("needs root");
            peer::skip(if needs_root { "AQUEDUCT_REQUIRE_ROOT" } else { "AQUEDUCT_REQUIRE_KAFKA" }, errors.trim());
            return None;
        }
        let json = serde_json::from_slice(&output.stdout);
        let json = json.unwrap_or_else(|error| panic!("no verdict: {error}\n{errors}"));
        let verdict = Verdict { json, output };
        println!("{}", verdict.figures());
        Some(verdict)
    }
}

/// What the ledger found.
#[derive(Debug)]
pub struct Verdict {
    /// The line of JSON; `bench-harness/README.md` says what is in it.
    pub json: Value,
    output: Output,
}

impl Verdict {
    /// One of its counts.
    ///
    /// # Panics
    /// If there is no such count.
    #[track_caller]
    pub fn count(&self, name: &str) -> u64 {
        self.json[name].as_u64().unwrap_or_else(|| panic!("no count {name}\n{}", self.said()))
    }

    /// The longest time from a PUBLISH to its acknowledgement, in milliseconds.
    pub fn longest_ack_ms(&self) -> u64 {
        self.json["ack_max_ms"].as_f64().map_or(u64::MAX, |ms| ms as u64)
    }

    /// One line of what it took, which `cargo test … -- --show-output` shows also where all is well.
    fn figures(&self) -> String {
        let of = |name: &str| self.json[name].as_f64().unwrap_or_default();
        let mut figures = format!(
            "{}: {} acknowledged, after {:.0} ms (p50) and {:.0} ms (most), {} sent again, {} twice under a new epoch",
            self.json["plan"].as_str().unwrap_or_default(),
            of("acked"),
            of("ack_p50_ms"),
            of("ack_max_ms"),
            self.json["own"]["retried"],
            of("dup_across"),
        );
        for fault in self.json["faults"].as_array().into_iter().flatten() {
            let known =
                fault.as_object().into_iter().flatten().filter(|(name, value)| *name != "fault" && !value.is_null());
            let known: Vec<String> = known.map(|(name, value)| format!("{name} {value}")).collect();
            let _ = write!(figures, "; {}: {}", fault["fault"].as_str().unwrap_or_default(), known.join(", "));
        }
        figures
    }

    /// What the harness said, to be shown where a test fails.
    pub fn said(&self) -> String {
        let errors = String::from_utf8_lossy(&self.output.stderr);
        format!("{}\n{:#}\n{errors}", self.output.status, self.json)
    }
}

/// Whether tests that take minutes are to run, which `AQUEDUCT_LONG=1` asks for; says so aloud if not.
pub fn is_long_wanted() -> bool {
    let wanted = std::env::var_os("AQUEDUCT_LONG").is_some_and(|value| value == "1");
    if !wanted {
        peer::say_skipped("takes minutes; AQUEDUCT_LONG=1 runs it");
    }
    wanted
}
