//! What a broker says during an authentication.
//!
//! ```text
//! mechanism u8 | rest of the line: ignored
//! message of the broker
//! message of the broker …
//! ```
//!
//! Promises: no panic; nothing is accepted after the end; a broker that does not know the password is never accepted by SCRAM;
//! no error repeats the password; whatever layers a broker offers after GSSAPI, none is chosen.
//!
//! The nonce stands in no input of the corpus: a message that continued it would be answered with thousands of hashes, and a
//! million of those take an hour.

use kafka::sasl::gssapi;
use kafka::sasl::oauthbearer::OauthBearer;
use kafka::sasl::plain::Plain;
use kafka::sasl::scram::{Hash, Scram};
use kafka::sasl::{Exchange, Mechanism, Secret, Step};

use crate::trail;

pub(super) const PASSWORD: &str = "do-not-tell";
/// Long enough not to be found by chance.
const NONCE: &str = "0a1b2c3d4e5f60718293a4b5c6d7e8f9";

/// Answers each line.
pub(super) fn run(bytes: &[u8]) {
    let mut lines = bytes.split(|&b| b == b'\n');
    let mechanism = lines.next().and_then(|line| line.first()).copied().unwrap_or(0);
    let mut exchange = exchange(mechanism);
    let is_scram = is_scram(mechanism);
    exchange.begin();
    for message in lines {
        if let (Mechanism::Gssapi, Ok(choice)) = (exchange.mechanism(), gssapi::choose_layer(message)) {
            assert!(choice == [1, 0, 0, 0] && message[0] & 1 == 1, "a layer was chosen");
            trail::mark(53, u64::from(message[0]));
        }
        match exchange.answer(message) {
            Ok(Step::Done) => {
                assert!(!is_scram, "a broker without the password was accepted");
                return trail::mark(50, u64::from(mechanism % 5));
            }
            Ok(Step::Send(_) | Step::Ask(_)) => trail::mark(51, u64::from(mechanism % 5)),
            Err(fault) => {
                let text = fault.to_string();
                assert!(!text.contains(PASSWORD) && text.len() < 2_000);
                return trail::mark_text(52, &text);
            }
        }
    }
}

/// Whether that is one whose broker has to know the password.
pub(super) fn is_scram(mechanism: u8) -> bool {
    matches!(mechanism % 5, 1 | 2)
}

/// The exchange that a byte chooses.
pub(super) fn exchange(mechanism: u8) -> Exchange {
    let scram = |hash| Exchange::Scram(Box::new(Scram::new(hash, "u", Secret::new(PASSWORD), NONCE, None)));
    match mechanism % 5 {
        0 => Exchange::Plain(Plain::new("u", Secret::new(PASSWORD))),
        1 => scram(Hash::Sha256),
        2 => scram(Hash::Sha512),
        3 => Exchange::OauthBearer(OauthBearer::new(Secret::new(PASSWORD), Vec::new())),
        _ => Exchange::outside(Mechanism::Gssapi),
    }
}
