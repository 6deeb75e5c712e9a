//! Logins on a link, with a broker played by hand.

use super::*;
use crate::connection::Taken;
use crate::sasl::plain::Plain;
use crate::sasl::{Mechanism, Secret};

fn frame(correlation_id: i32, rest: &[u8]) -> Vec<u8> {
    let mut out = ((4 + rest.len()) as i32).to_be_bytes().to_vec();
    out.extend_from_slice(&correlation_id.to_be_bytes());
    out.extend_from_slice(rest);
    out
}

/// ApiVersions, version 3: Produce 0-9, Metadata 0-12, SaslHandshake 0-1, SaslAuthenticate 0-1.
const VERSIONS: &[u8] =
    &[0, 0, 5, 0, 0, 0, 0, 0, 9, 0, 0, 3, 0, 0, 0, 12, 0, 0, 17, 0, 0, 0, 1, 0, 0, 36, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0];

fn plain() -> Exchange {
    Exchange::Plain(Plain::new("u", Secret::new("hush")))
}

/// Feeds a whole frame.
fn hear(link: &mut BrokerConnection, correlation_id: i32, rest: &[u8]) -> Result<bool, LinkError> {
    let bytes = frame(correlation_id, rest);
    match link.handle_bytes(&bytes)? {
        Taken::Frame(_, Event::Ready) => Ok(true),
        Taken::Frame(_, _) => Ok(false),
        Taken::Need(_) => panic!("a whole frame"),
    }
}

/// A link that has been told it may authenticate, and what it said then.
fn asked() -> BrokerConnection {
    let mut link = BrokerConnection::new("me", "1.0");
    link.authenticate_with(plain());
    link.handle_connected();
    link.poll_transmit().unwrap();
    assert_eq!(hear(&mut link, 0, VERSIONS), Ok(false));
    assert_eq!(link.versions(), None, "nothing may begin yet");
    let handshake = link.poll_transmit().unwrap();
    assert_eq!(handshake[4..8], [0, 17, 0, 1]);
    assert!(handshake.ends_with(b"\0\x05PLAIN"));
    link
}

fn logged_in(lifetime_ms: u8) -> BrokerConnection {
    let mut link = asked();
    assert_eq!(hear(&mut link, 1, &[0, 0, 0, 0, 0, 0]), Ok(false));
    let said = link.poll_transmit().unwrap();
    assert_eq!(said[4..8], [0, 36, 0, 1]);
    assert!(said.ends_with(b"\0\0\0\x07\0u\0hush"));
    let accepted = [0, 0, 0xff, 0xff, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, lifetime_ms];
    assert_eq!(hear(&mut link, 2, &accepted), Ok(true));
    link
}

#[test]
fn a_link_logs_in_between_versions_and_requests() {
    let mut link = logged_in(0);
    assert!(link.has_authenticated() && !link.is_authenticating());
    assert_eq!((link.session_lifetime_ms(), link.poll_transmit()), (None, None));
    assert!(link.begin(ApiKey::Metadata).is_ok());
}

#[test]
fn a_ready_link_logs_in_again_behind_what_is_open() {
    let mut link = logged_in(200);
    assert_eq!(link.session_lifetime_ms(), Some(200));
    let open = link.begin(ApiKey::Metadata).unwrap();
    link.authenticate_again(plain()).unwrap();
    assert!(link.is_authenticating() && link.versions().is_some());
    link.poll_transmit().unwrap();
    // What was asked before is answered before.
    let answer = frame(open.correlation_id, &[0, 1, 2]);
    assert!(matches!(link.handle_bytes(&answer), Ok(Taken::Frame(_, Event::Response(_)))));
    assert_eq!(hear(&mut link, open.correlation_id + 1, &[0, 0, 0, 0, 0, 0]), Ok(false));
    link.poll_transmit().unwrap();
    let accepted = [0, 0, 0xff, 0xff, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 100];
    assert_eq!(hear(&mut link, open.correlation_id + 2, &accepted), Ok(true));
    assert_eq!(link.session_lifetime_ms(), Some(100));
    assert!(link.begin(ApiKey::Metadata).is_ok());
}

#[test]
#[should_panic(expected = "during an authentication")]
fn nothing_begins_during_a_login() {
    let mut link = logged_in(200);
    link.authenticate_again(plain()).unwrap();
    let _ = link.begin(ApiKey::Metadata);
}

#[test]
fn refusals_name_mechanism_and_reason() {
    let offers = [0, 33, 0, 0, 0, 1, 0, 4, b'K', b'N', b'O', b'W'];
    let expected = Fault::NotEnabled { mechanism: Mechanism::Plain, enabled: vec!["KNOW".to_string()] };
    assert_eq!(hear(&mut asked(), 1, &offers), Err(LinkError::Authentication(expected)));
    let mut link = asked();
    hear(&mut link, 1, &[0, 0, 0, 0, 0, 0]).unwrap();
    let refusal = [0, 58, 0, 3, b'n', b'o', b'!', 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    let error = hear(&mut link, 2, &refusal).unwrap_err().to_string();
    assert_eq!(error, "authentication with PLAIN was refused: no!");
}

#[test]
fn a_broker_from_before_its_time_is_told_apart() {
    let mut link = BrokerConnection::new("me", "1.0");
    link.authenticate_with(plain());
    link.handle_connected();
    link.poll_transmit().unwrap();
    let old = [0, 0, 4, 0, 0, 0, 0, 0, 9, 0, 0, 3, 0, 0, 0, 12, 0, 0, 17, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    let error = hear(&mut link, 0, &old).unwrap_err().to_string();
    assert!(error.contains("use Apache Kafka 1.0 or later"), "{error}");
}

/// A link whose answers come from outside, after the broker has heard of the mechanism.
fn asked_outside() -> BrokerConnection {
    let mut link = BrokerConnection::new("me", "1.0");
    link.authenticate_with(Exchange::outside(Mechanism::Gssapi));
    link.handle_connected();
    link.poll_transmit().unwrap();
    hear(&mut link, 0, VERSIONS).unwrap();
    assert!(link.poll_transmit().unwrap().ends_with(b"\0\x06GSSAPI"));
    hear(&mut link, 1, &[0, 0, 0, 0, 0, 0]).unwrap();
    link
}

/// SaslAuthenticate, version 1, without an error: these bytes.
fn challenge(bytes: &[u8]) -> Vec<u8> {
    let mut out = vec![0, 0, 0xff, 0xff, 0, 0, 0, bytes.len() as u8];
    out.extend_from_slice(bytes);
    out.extend_from_slice(&[0; 8]);
    out
}

#[test]
fn answers_come_from_outside() {
    let mut link = asked_outside();
    assert_eq!((link.poll_transmit(), link.poll_question()), (None, Some(Question::Begin)));
    assert!(link.awaits_answer() && link.poll_question().is_none());
    link.handle_answer(b"ticket", false);
    assert!(link.poll_transmit().unwrap().ends_with(b"\0\0\0\x06ticket"));
    // Only what was asked for is said.
    link.handle_answer(b"ticket", true);
    assert_eq!(link.poll_transmit(), None);
    assert_eq!(hear(&mut link, 2, &challenge(b"proof")), Ok(false));
    assert_eq!(link.poll_question(), Some(Question::Answer(b"proof".to_vec())));
    link.handle_answer(b"choice", true);
    link.poll_transmit().unwrap();
    assert_eq!(hear(&mut link, 3, &challenge(b"")), Ok(true), "the last answer was the last");
    assert!(link.has_authenticated());
}

#[test]
fn a_broker_that_consents_too_early_is_asked_about() {
    let mut link = asked_outside();
    link.handle_answer(b"ticket", false);
    link.poll_transmit().unwrap();
    assert_eq!(hear(&mut link, 2, &challenge(b"")), Ok(false));
    assert_eq!(link.poll_question(), Some(Question::Answer(Vec::new())));
    assert!(!link.has_authenticated());
}

#[test]
fn the_first_answer_may_be_there_already() {
    let mut link = logged_in(200);
    link.authenticate_again(Exchange::outside_from(Mechanism::Gssapi, b"ticket".to_vec())).unwrap();
    link.poll_transmit().unwrap();
    assert_eq!(hear(&mut link, 3, &[0, 0, 0, 0, 0, 0]), Ok(false));
    assert_eq!(link.poll_question(), None);
    assert!(link.poll_transmit().unwrap().ends_with(b"\0\0\0\x06ticket"));
}
