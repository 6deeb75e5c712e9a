//! `aqueduct profile`: the profiles, and why each sets what it sets.

use std::fmt::Write as _;
use std::process::ExitCode;

use clap::{Args, Subcommand};

use super::{Outcome, print};
use crate::config::Profile;

const EXAMPLES: &str = "\
Examples:
  aqueduct profile list
  aqueduct profile show throughput
  aqueduct profile show ./ours.toml
  aqueduct run --profile throughput";

/// List the profiles, or show what one sets and why
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct ProfileCommand {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// The profiles that come with the program
    List {
        /// As JSON
        #[arg(long)]
        json: bool,
    },
    /// Every option a profile sets, with the reason
    Show {
        /// Its name, or the path of a profile file
        #[arg(value_name = "NAME|FILE")]
        profile: String,
        /// As JSON
        #[arg(long)]
        json: bool,
    },
}

impl ProfileCommand {
    pub(super) fn run(self) -> Outcome {
        let text = match self.action {
            Action::List { json } => list(json)?,
            Action::Show { profile, json } => show(&Profile::find(&profile)?, json),
        };
        print(&text)?;
        Ok(ExitCode::SUCCESS)
    }
}

fn list(json: bool) -> Result<String, super::Failure> {
    let profiles = Profile::names().map(Profile::find).collect::<Result<Vec<_>, _>>()?;
    if json {
        let rows = profiles.iter().map(|p| serde_json::json!({ "name": p.name, "about": p.about }));
        return Ok(format!("{:#}\n", serde_json::Value::from_iter(rows)));
    }
    Ok(profiles.iter().map(|p| format!("{:12}{}\n", p.name, p.about)).collect())
}

fn show(profile: &Profile, json: bool) -> String {
    if json {
        let rows = profile.choices.iter().map(|choice| {
            serde_json::json!({ "option": choice.path, "value": choice.shown, "default": choice.is_default, "why": choice.why })
        });
        return format!("{:#}\n", serde_json::Value::from_iter(rows));
    }
    let mut out = format!("{}: {}\n", profile.name, profile.about);
    for choice in &profile.choices {
        let default = if choice.is_default { "  (the default)" } else { "" };
        let _ = write!(out, "\n{} = {}{default}\n{}", choice.path, choice.shown, wrap(&choice.why));
    }
    out
}

/// The text in lines of at most 100 columns, indented.
fn wrap(text: &str) -> String {
    let mut out = String::new();
    let mut line = String::new();
    for word in text.split_whitespace() {
        if !line.is_empty() && line.len() + word.len() > 96 {
            let _ = writeln!(out, "    {line}");
            line.clear();
        }
        if !line.is_empty() {
            line.push(' ');
        }
        line.push_str(word);
    }
    let _ = writeln!(out, "    {line}");
    out
}
