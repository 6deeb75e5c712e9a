//! What a broker sends over one link that has to prove who we are, before it is ready and again while it is used.
//!
//! ```text
//! mechanism u8 | frames
//! ```
//!
//! Promises: no panic; however the frames are split into reads, only whole ones count; nothing is asked while an authentication is
//! under way; a broker that does not know the password is never accepted by SCRAM; no error repeats the password.

use kafka::connection::{BrokerConnection, Event, LinkError, Taken};
use kafka::message::ApiKey;
use kafka::sasl::Question;

use super::kafka_sasl::{PASSWORD, exchange, is_scram};
use crate::trail;

/// Feeds the link.
pub(super) fn run(bytes: &[u8]) {
    let Some((&mechanism, mut rest)) = bytes.split_first() else { return };
    let mut link = BrokerConnection::new("c", "1");
    link.authenticate_with(exchange(mechanism));
    link.handle_connected();
    let mut logins = 1;
    while link.poll_transmit().is_some() || link.open_requests() > 0 {
        for n in 0..rest.len().min(4) {
            assert!(matches!(link.handle_bytes(&rest[..n]), Ok(Taken::Need(more)) if more == 4 - n));
        }
        let event = match link.handle_bytes(rest) {
            Ok(Taken::Need(more)) => {
                assert!(more > 0);
                return;
            }
            Ok(Taken::Frame(len, event)) => {
                assert!((4..=rest.len()).contains(&len));
                rest = &rest[len..];
                matches!(event, Event::Ready)
            }
            Err(error) => return failed(&error),
        };
        trail::mark(53, u64::from(mechanism % 5) << 3 | u64::from(event) << 2 | u64::from(link.is_authenticating()));
        while let Some(question) = link.poll_question() {
            match question {
                Question::Begin => link.handle_answer(b"first", false),
                // Whoever answers from outside does so once more, and then waits for the broker's consent.
                Question::Answer(challenge) => link.handle_answer(&challenge, logins > 1),
            }
        }
        assert!(!link.has_authenticated() || !is_scram(mechanism), "a broker without the password was accepted");
        if event {
            assert!(link.has_authenticated() && !link.is_authenticating());
            if logins == 3 || link.begin(ApiKey::Metadata).is_err() {
                return;
            }
            logins += 1;
            if link.authenticate_again(exchange(mechanism)).is_err() {
                return;
            }
            assert!(link.is_authenticating());
        }
    }
}

fn failed(error: &LinkError) {
    let text = error.to_string();
    assert!(!text.contains(PASSWORD) && text.len() < 10_000);
    trail::mark_text(54, &text);
}
