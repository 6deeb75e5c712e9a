//! `[log]`: what this process says of itself.

use std::path::PathBuf;

use super::kind::Optional;
use super::kind::choice::{Choice, words};
use super::kind::text::File;
use super::option::{Group, Section, absent, options, or};

pub(crate) static SECTION: Section = Section {
    name: "log",
    named: false,
    about: Log::ABOUT,
    groups: &[Group { only: None, about: Log::ABOUT, rows: Log::ROWS }],
};

words! {
    /// The least important message that is written.
    pub enum LogLevel {
        /// What a user must act on.
        Error = "error",
        /// What a user should know.
        Warn = "warn",
        /// What starts, stops and changes.
        Info = "info",
        /// What happens to single clients and links.
        Debug = "debug",
        /// What happens to single packets.
        Trace = "trace",
    }
}

words! {
    /// How a message is written.
    pub enum LogFormat {
        /// One line for people.
        Text = "text",
        /// One JSON object a line.
        Json = "json",
    }
}

options! {
    /// What this process says of itself, and where.
    pub struct Log {
        /// The least important message that is written.
        "level" => level: LogLevel = Choice::of(), or("info"), live;
        /// How a message is written: for people, or one JSON object a line.
        "format" => format: LogFormat = Choice::of(), or("text");
        /// The file messages are appended to; without one they go to stderr.
        "file" => file: Option<PathBuf> = Optional(File), absent("/var/log/aqueduct.log");
    }
}
