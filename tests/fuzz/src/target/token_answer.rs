//! What an authorization server answers where a token was asked for.
//!
//! ```text
//! status u16 | body
//! ```
//!
//! Promises: no panic; only a 200 gives a token, which is of the characters that a token has, and lasts between a second and a day;
//! what is told of a failure is one short line, whatever the server says.

use aqueduct::run::read_token;

use crate::trail;

const DAY_S: u64 = 24 * 60 * 60;

pub(super) const WORDS: &[&[u8]] = &[
    b"{\"access_token\":\"abc\"",
    b",\"expires_in\":",
    b"3600",
    b"\"3600\"",
    b"1e99",
    b"-1",
    b"null",
    b"}",
    b"{\"error\":\"invalid_client\"",
    b",\"error_description\":\"",
    b"\\u0000",
    b"\\u001b[31m",
    b".eyJleHAiOjk5OTk5OTk5OTl9.",
    b".eyJleHAiOjF9.",
    b"\x00\xc8",
    b"\x01\x91",
];

/// Reads the answer.
pub(super) fn run(bytes: &[u8]) {
    let [high, low, body @ ..] = bytes else { return };
    let status = u16::from_be_bytes([*high, *low]);
    match read_token(status, body) {
        Ok((token, lifetime)) => {
            assert_eq!(status, 200);
            let is_of_a_token = |b: u8| b.is_ascii_alphanumeric() || b"-._~+/=".contains(&b);
            assert!(!token.expose().is_empty() && token.expose().bytes().all(is_of_a_token));
            assert!((1..=DAY_S).contains(&lifetime.as_secs()), "{lifetime:?}");
            trail::mark_size(90, lifetime.as_secs() as usize);
        }
        Err(why) => {
            assert!(!why.is_empty() && why.chars().count() < 400, "{why}");
            assert!(!why.contains(|c: char| c.is_control()), "{why:?}");
            trail::mark_text(91, &why);
            trail::mark(92, u64::from(status / 100) << 1 | u64::from(why.contains('(')));
        }
    }
}
