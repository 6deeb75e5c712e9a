//! Starts the process's log as `[log]` says.

use std::fs::OpenOptions;
use std::io::IsTerminal as _;

use miette::Report;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::writer::BoxMakeWriter;

use crate::config::{Log, LogFormat, Words as _};

/// Gives a log that runs another level.
pub(super) type SetLog = Box<dyn Fn(&Log) + Send + Sync>;

/// Sends log messages where the configuration says. A log that is already running, as in tests, stays.
pub(super) fn start(log: &Log) -> Result<SetLog, Report> {
    let first = filter(log);
    let colours = log.file.is_none() && std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none();
    let writer = match &log.file {
        Some(path) => {
            let file = OpenOptions::new().append(true).create(true).open(path);
            BoxMakeWriter::new(file.map_err(|error| {
                miette::miette!(
                    help = "name another file with log.file",
                    "{} cannot be opened: {error}",
                    path.display()
                )
            })?)
        }
        None => BoxMakeWriter::new(std::io::stderr),
    };
    // Errors of writing are not reported on standard error: that panics if it is the one that cannot be written.
    let builder = tracing_subscriber::fmt()
        .with_env_filter(first)
        .with_ansi(colours)
        .with_writer(writer)
        .log_internal_errors(false);
    // An error means that a log is already running.
    Ok(match log.format {
        LogFormat::Text => {
            let builder = builder.with_target(false).with_filter_reloading();
            let handle = builder.reload_handle();
            let _ = builder.try_init();
            Box::new(move |log| drop(handle.reload(filter(log))))
        }
        LogFormat::Json => {
            let builder = builder.json().with_filter_reloading();
            let handle = builder.reload_handle();
            let _ = builder.try_init();
            Box::new(move |log| drop(handle.reload(filter(log))))
        }
    })
}

fn filter(log: &Log) -> EnvFilter {
    // glommio reports a probe it makes at every start as an error, and it is none.
    EnvFilter::new(format!("{},glommio=off", log.level.word()))
}
