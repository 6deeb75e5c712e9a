//! Words to the person who started a run.
//!
//! A node must not die because nobody reads them any more: `println!` panics when a pipe is closed, and a panic ends the
//! node. So what cannot be written is let go; the log and the metrics say the same.

use std::io::{Write as _, stderr, stdout};

/// A line, or some, on standard output.
pub(super) fn out(text: &str) {
    let _ = writeln!(stdout(), "{text}");
}

/// One sentence on standard error, under the program's name.
pub(super) fn sentence(text: &str) {
    let _ = writeln!(stderr(), "aqueduct: {text}");
}
