//! A link from the first byte on, with a broker played by hand.

use super::*;
use crate::message::{init_producer_id, metadata};
use proptest::prelude::*;

/// A response frame: length, correlation id, then the rest.
fn frame(correlation_id: i32, rest: &[u8]) -> Vec<u8> {
    let mut out = ((4 + rest.len()) as i32).to_be_bytes().to_vec();
    out.extend_from_slice(&correlation_id.to_be_bytes());
    out.extend_from_slice(rest);
    out
}

/// ApiVersions, version 3: Produce 0-`produce`, Metadata 0-12, InitProducerId 0-4.
fn versions_body(produce: u8) -> Vec<u8> {
    vec![0, 0, 4, 0, 0, 0, 0, 0, produce, 0, 0, 3, 0, 0, 0, 12, 0, 0, 22, 0, 0, 0, 4, 0, 0, 0, 0, 0, 0]
}

fn ready() -> BrokerConnection {
    let mut link = BrokerConnection::new("me", "1.0");
    link.handle_connected();
    link.poll_transmit().unwrap();
    assert_eq!(link.handle_bytes(&frame(0, &versions_body(9))), Ok(Taken::Frame(37, Event::Ready)));
    link
}

#[test]
fn the_handshake_asks_for_versions_and_then_the_link_is_ready() {
    let mut link = BrokerConnection::new("me", "1.0");
    assert_eq!(link.poll_transmit(), None);
    link.handle_connected();
    let asked = link.poll_transmit().unwrap();
    assert_eq!(asked[4..12], [0, 18, 0, 3, 0, 0, 0, 0]);
    assert_eq!((link.poll_transmit(), link.open_requests(), link.versions()), (None, 1, None));
    let answer = frame(0, &versions_body(9));
    assert_eq!(link.handle_bytes(&answer[..3]), Ok(Taken::Need(1)));
    assert_eq!(link.handle_bytes(&answer[..10]), Ok(Taken::Need(answer.len() - 10)));
    assert_eq!(link.handle_bytes(&answer), Ok(Taken::Frame(answer.len(), Event::Ready)));
    assert_eq!(link.versions().unwrap().of(ApiKey::Produce), Ok(9));
    assert_eq!(link.open_requests(), 0);
}

#[test]
fn an_old_broker_is_asked_again_in_its_own_tongue() {
    let mut link = BrokerConnection::new("me", "1.0");
    link.handle_connected();
    link.poll_transmit();
    let refusal = frame(0, &[0, 35, 0, 0, 0, 0]);
    assert_eq!(link.handle_bytes(&refusal), Ok(Taken::Frame(14, Event::Handshake)));
    assert_eq!(link.poll_transmit().unwrap()[4..12], [0, 18, 0, 0, 0, 0, 0, 1]);
    let answer = frame(1, &[0, 0, 0, 0, 0, 2, 0, 0, 0, 0, 0, 3, 0, 3, 0, 0, 0, 4]);
    assert_eq!(link.handle_bytes(&answer), Ok(Taken::Frame(answer.len(), Event::Ready)));
    assert_eq!(link.begin(ApiKey::Metadata), Ok(Begun { correlation_id: 2, version: 4 }));
    assert!(link.begin(ApiKey::InitProducerId).is_err());
    assert_eq!(link.open_requests(), 1, "what could not begin is not open");
}

#[test]
fn a_broker_that_refuses_twice_or_is_too_old_ends_the_link() {
    let start = || {
        let mut link = BrokerConnection::new("me", "1.0");
        link.handle_connected();
        link
    };
    let mut link = start();
    link.handle_bytes(&frame(0, &[0, 35, 0, 0, 0, 0])).unwrap();
    let again = link.handle_bytes(&frame(1, &[0, 35, 0, 0, 0, 0])).unwrap_err();
    assert_eq!(again, LinkError::Refused(ErrorCode::UNSUPPORTED_VERSION));
    let error = start().handle_bytes(&frame(0, &versions_body(2))).unwrap_err();
    assert!(error.to_string().contains("use Apache Kafka 0.11 or later"), "{error}");
    assert_eq!(start().handle_bytes(&frame(0, &[0, 58, 1, 0, 0, 0, 0, 0])), Err(LinkError::Refused(58.into())));
}

#[test]
fn responses_find_their_requests_in_order() {
    let mut link = ready();
    let first = link.begin(ApiKey::InitProducerId).unwrap();
    let unanswered = link.begin_unanswered(ApiKey::Produce).unwrap();
    let second = link.begin(ApiKey::Metadata).unwrap();
    assert_eq!((first.correlation_id, unanswered.correlation_id, second.correlation_id), (1, 2, 3));
    // Both in one read; the byte after the id is the empty list of tags of a flexible response.
    let mut bytes = frame(1, &[0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 9, 0, 5, 0]);
    bytes.extend(frame(3, &[0, 1, 2]));
    let Ok(Taken::Frame(len, Event::Response(response))) = link.handle_bytes(&bytes) else { panic!() };
    assert_eq!((response.api, response.version, response.correlation_id), (ApiKey::InitProducerId, 4, 1));
    let producer = init_producer_id::decode_response(response.version, response.body).unwrap();
    assert_eq!(producer.producer, Ok(init_producer_id::Producer { id: 9, epoch: 5 }));
    let Ok(Taken::Frame(_, Event::Response(response))) = link.handle_bytes(&bytes[len..]) else { panic!() };
    assert_eq!((response.api, response.body), (ApiKey::Metadata, &[1, 2][..]));
    assert!(metadata::decode_response(response.version, response.body).is_err());
}

#[test]
fn a_response_out_of_turn_ends_the_link() {
    let mut link = ready();
    let nobody = link.handle_bytes(&frame(5, &[])).unwrap_err();
    assert_eq!(nobody, LinkError::Protocol(Error::Correlation { expected: None, got: 5 }));
    link.begin(ApiKey::Metadata).unwrap();
    link.begin(ApiKey::Metadata).unwrap();
    let second = link.handle_bytes(&frame(2, &[0])).unwrap_err();
    assert_eq!(second, LinkError::Protocol(Error::Correlation { expected: Some(1), got: 2 }));
    assert_eq!(link.open_requests(), 2);
}

#[test]
fn a_new_socket_forgets_the_old_ones_requests_and_versions() {
    let mut link = ready();
    link.begin(ApiKey::Metadata).unwrap();
    link.handle_connected();
    assert_eq!((link.open_requests(), link.versions()), (1, None), "only ApiVersions is open");
    assert_eq!(link.poll_transmit().unwrap()[8..12], [0, 0, 0, 2], "ids go on");
}

#[test]
fn correlation_ids_wrap_to_zero() {
    let mut link = ready();
    link.correlation_next = i32::MAX;
    assert_eq!(link.begin(ApiKey::Produce).unwrap().correlation_id, i32::MAX);
    assert_eq!(link.begin(ApiKey::Produce).unwrap().correlation_id, 0);
}

#[test]
#[should_panic(expected = "before the handshake")]
fn a_request_before_the_handshake_is_our_own_mistake() {
    let _ = BrokerConnection::new("me", "1.0").begin(ApiKey::Produce);
}

proptest! {
    #[test]
    fn any_bytes_are_frames_or_an_error_but_never_a_panic(
        bytes in prop::collection::vec(any::<u8>(), 0..200), at_ready: bool, plausible: bool,
    ) {
        let mut link = if at_ready { ready() } else { BrokerConnection::new("me", "1.0") };
        if at_ready { link.begin(ApiKey::Produce).unwrap(); } else { link.handle_connected() }
        let bytes = if plausible { frame(i32::from(at_ready), &bytes) } else { bytes };
        let mut rest = &bytes[..];
        while let Ok(Taken::Frame(len, _)) = link.handle_bytes(rest) {
            rest = &rest[len..];
        }
    }
}
