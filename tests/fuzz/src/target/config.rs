//! A configuration file that a person, or a program, has written; and the same bytes as a question on the control socket.
//!
//! Promises: no panic, also while planning what was accepted and while showing what is wrong; every problem says what and how to mend
//! it, and points at bytes of the text; a configuration does not differ from itself, and a node that runs on it has nothing to change;
//! a text that cannot be read still has a data directory.

use aqueduct::admin::socket;
use aqueduct::config::{Document, Loaded, Machine, Problem, Sources, differences, unit};
use aqueduct::plan::Plan;
use aqueduct::shard::roster::Roster;
use miette::{Diagnostic, GraphicalReportHandler, GraphicalTheme};

use crate::trail;

const MACHINE: Machine = Machine { memory_bytes: 10 * unit::GB, cores: 4, descriptors: 65_536 };
/// Drawing a problem takes longer than finding it: one input in so many is drawn.
const DRAWN_ONE_IN: usize = 64;

pub(super) const WORDS: &[&[u8]] = &[
    b"[sinks.s]\n",
    b"[connectors.k]\n",
    b"[listeners.l]\n",
    b"type = \"embedded\"\n",
    b"[[",
    b"]",
    b"\"",
    b"'''",
    b"= ",
    b"${",
    b"}",
    b"1e9",
    b"-1",
    b"99999999999999999999",
    b"\"10s\"",
    b"\"1GB\"",
    b"\"50%\"",
    b"true",
    b"*",
    b"\0",
    b"#",
    b"2020-01-01",
    b"\xf0\x9f\xa6\x80",
];

/// Reads the text.
pub(super) fn run(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let draws = (crc32c::crc32c(bytes) as usize).is_multiple_of(DRAWN_ONE_IN);
    let sources = Sources::file(Document::new("f", &text));
    let _ = (sources.data_dir(), socket::question(bytes));
    match Loaded::load(&sources, &MACHINE) {
        Ok(loaded) => {
            assert!(differences(&loaded, &loaded).is_empty());
            trail::mark_size(70, loaded.config.sinks.len() + loaded.config.listeners.len());
            loaded.warnings.iter().for_each(|warning| check(warning, &text, draws));
            match Plan::new(&loaded.config, &MACHINE) {
                Ok(plan) => {
                    let snapshot = Roster::new(&loaded.config).next(&loaded.config, &plan);
                    assert!(
                        snapshot.is_ok_and(|snapshot| snapshot.fresh.is_empty() && snapshot.config == loaded.config)
                    );
                }
                Err(problems) => problems.iter().for_each(|problem| check(problem, &text, draws)),
            }
        }
        Err(problems) => {
            assert!(problems.iter().next().is_some());
            problems.iter().for_each(|problem| check(problem, &text, draws));
        }
    }
}

fn check(problem: &Problem, text: &str, draws: bool) {
    assert!(!problem.message().is_empty());
    // Names of the file's own would make every input look new.
    trail::mark_text(71, problem.remedy().get(..12).unwrap_or(problem.remedy()));
    for label in problem.labels().into_iter().flatten() {
        let end = label.offset() + label.len();
        assert!(text.get(label.offset()..end).is_some(), "{label:?} is not of {} bytes", text.len());
    }
    if draws {
        let mut out = String::new();
        let handler = GraphicalReportHandler::new_themed(GraphicalTheme::unicode_nocolor());
        assert!(handler.render_report(&mut out, problem).is_ok());
    }
}
