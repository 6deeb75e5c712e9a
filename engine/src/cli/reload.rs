//! `aqueduct reload`: another configuration for the node that runs.

use std::io::{IsTerminal as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Args;
use serde_json::{Value, json};

use super::source::ConfigArgs;
use super::{Outcome, USAGE, print};
use crate::admin::socket;

const EXAMPLES: &str = "\
Examples:
  aqueduct reload --config /etc/aqueduct.toml
  aqueduct reload --data-dir /var/lib/aqueduct

Exit codes: 0 changed, or nothing to change; 1 no node answers; 2 refused, and nothing has changed.";

/// Have the running node read its configuration again
///
/// The node reads its file with the flags, the variables and the profile it was started with, and changes what differs: no
/// client is disconnected, and no buffer or connection to Kafka is lost. A configuration with an error, or with a change that
/// needs a restart, is refused whole. SIGHUP does the same. The configuration named here is asked for nothing but the data
/// directory of the node.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Reload {
    #[command(flatten)]
    config: ConfigArgs,
    /// Data directory of the node, instead of the one in the configuration
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// As JSON
    #[arg(long)]
    json: bool,
}

impl Reload {
    pub(super) fn run(self) -> Outcome {
        let data_dir = match &self.data_dir {
            Some(data_dir) => data_dir.clone(),
            None => self.config.data_dir(Vec::new())?,
        };
        let question = json!({ "command": "reload", "theme": theme() });
        let answer = socket::ask(&data_dir, &question).map_err(|error| nobody(&data_dir, &error))?;
        let code = answer["code"].as_u64().and_then(|code| u8::try_from(code).ok()).unwrap_or(1);
        match self.json {
            true => print(&format!("{answer:#}\n"))?,
            false => show(&answer, code)?,
        }
        Ok(ExitCode::from(code))
    }
}

fn show(answer: &Value, code: u8) -> std::io::Result<()> {
    let list = |key: &str| answer[key].as_array().cloned().unwrap_or_default();
    let mut errors = std::io::stderr().lock();
    for problem in list("warnings").iter().chain(&list("problems")) {
        let _ = writeln!(errors, "{}", problem["text"].as_str().unwrap_or_default());
    }
    if code == USAGE {
        let _ = writeln!(errors, "nothing has changed: {}", answer["error"].as_str().unwrap_or_default());
    } else if let Some(error) = answer["error"].as_str() {
        let _ = writeln!(errors, "nothing has changed: {error}");
    }
    if code != 0 {
        return Ok(());
    }
    let changes = list("changes");
    if changes.is_empty() {
        return print("nothing has changed\n");
    }
    print(&changes.iter().filter_map(Value::as_str).map(|change| format!("{change}\n")).collect::<String>())
}

/// As diagnostics of this process would look: the node draws them, and does not know where they are read.
fn theme() -> &'static str {
    let plain = !std::io::stdout().is_terminal() || !std::io::stderr().is_terminal();
    match std::env::var("NO_COLOR") {
        _ if plain => "none",
        Ok(word) if word != "0" => "unicode_nocolor",
        _ => "unicode",
    }
}

fn nobody(data_dir: &Path, error: &std::io::Error) -> miette::Report {
    miette::miette!(
        help = "name the node's configuration with --config, or its data directory with --data-dir; `aqueduct run` starts one",
        "no node answers at {}: {error}",
        data_dir.join(socket::NAME).display()
    )
}
