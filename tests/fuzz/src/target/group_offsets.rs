//! The file of what consumer groups of the embedded log have committed, as a disk gives it back.
//!
//! Promises: no panic; what is understood is written again as something that is understood the same way.

use aqueduct::admin::kafka::rewritten_offsets;

use crate::trail;

pub(super) const WORDS: &[&[u8]] = &[
    b"{\"format\":1,\"groups\":{",
    b"\"g\":{\"committed_ms\":1,\"topics\":{",
    b"\"t\":{",
    b"\"0\":{\"offset\":7}",
    b"\"metadata\":\"m\"",
    b"\"-1\"",
    b"}}}}",
    b",",
    b"2",
    b"null",
    b"9223372036854775808",
    b"1e9",
    b"\\u0000",
    b"\\ud800",
    b"[[[[[[[[",
];

/// Reads the file, and what it becomes.
pub(super) fn run(bytes: &[u8]) {
    match rewritten_offsets(bytes) {
        Ok(written) => {
            assert_eq!(rewritten_offsets(&written).as_deref(), Ok(&written[..]));
            trail::mark_size(98, written.len());
        }
        Err(why) => trail::mark_text(99, &why),
    }
}
