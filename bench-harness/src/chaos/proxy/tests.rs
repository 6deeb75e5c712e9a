use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::time::Instant;

use kafka_protocol::messages::TopicName;
use kafka_protocol::messages::produce_request::{PartitionProduceData, TopicProduceData};
use kafka_protocol::protocol::StrBytes;

use super::*;

/// A broker that answers every frame with itself, and a proxy in front of it.
fn proxied() -> (FaultProxy, TcpStream) {
    let broker = StdListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let proxy = FaultProxy::start(1).unwrap();
    proxy.stand_before(vec![broker.local_addr().unwrap()]);
    std::thread::spawn(move || {
        while let Ok((mut stream, _)) = broker.accept() {
            std::thread::spawn(move || std::io::copy(&mut stream.try_clone().unwrap(), &mut stream));
        }
    });
    let client = TcpStream::connect((Ipv4Addr::LOCALHOST, proxy.first_port())).unwrap();
    client.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    (proxy, client)
}

/// A frame of another API than Produce.
fn frame(body: &[u8]) -> Vec<u8> {
    let mut frame = (body.len() as u32 + 2).to_be_bytes().to_vec();
    frame.extend_from_slice(&[0, 18]);
    frame.extend_from_slice(body);
    frame
}

fn answer(client: &mut TcpStream, bytes: usize) -> Vec<u8> {
    let mut answer = vec![0; bytes];
    client.read_exact(&mut answer).unwrap();
    answer
}

#[test]
fn what_is_held_arrives_later_and_whole() {
    let (proxy, mut client) = proxied();
    let frame = frame(&[7; 100_000]);
    client.write_all(&frame).unwrap();
    assert_eq!(answer(&mut client, frame.len()), frame);

    proxy.set(1, Mode::Hold);
    std::thread::sleep(Duration::from_millis(50));
    client.write_all(&frame).unwrap();
    client.set_read_timeout(Some(Duration::from_millis(200))).unwrap();
    let nothing = client.read(&mut [0; 1]).unwrap_err().kind();
    assert!(matches!(nothing, ErrorKind::WouldBlock | ErrorKind::TimedOut), "{nothing}");
    proxy.set(1, Mode::Pass);
    client.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    assert_eq!(answer(&mut client, frame.len()), frame);
}

#[test]
fn a_slow_link_keeps_its_rate() {
    let (proxy, mut client) = proxied();
    proxy.set(1, Mode::Slow(100_000));
    let frame = frame(&[7; 20_000]);
    let start = Instant::now();
    client.write_all(&frame).unwrap();
    assert_eq!(answer(&mut client, frame.len()), frame);
    // There and back again.
    assert!(start.elapsed() > Duration::from_millis(390), "{:?}", start.elapsed());
}

#[test]
fn a_reset_is_one() {
    let (proxy, mut client) = proxied();
    let frame = frame(b"x");
    client.write_all(&frame).unwrap();
    answer(&mut client, frame.len());
    proxy.set(1, Mode::Reset);
    assert_eq!(client.read(&mut [0; 1]).unwrap_err().kind(), ErrorKind::ConnectionReset);
}

#[test]
fn a_produce_is_refused_in_its_turn_and_never_forwarded() {
    let (proxy, mut client) = proxied();
    proxy.set(1, Mode::ProduceError(6));
    let partition = PartitionProduceData::default().with_index(3);
    let name = TopicName(StrBytes::from_static_str("t"));
    let topic = TopicProduceData::default().with_name(name).with_partition_data(vec![partition]);
    let request = ProduceRequest::default().with_acks(-1).with_topic_data(vec![topic]);
    let header = RequestHeader::default().with_request_api_key(0).with_request_api_version(9).with_correlation_id(77);
    let mut produce = vec![0; 4];
    header.encode(&mut produce, ApiKey::Produce.request_header_version(9)).unwrap();
    request.encode(&mut produce, 9).unwrap();
    let length = produce.len() as u32 - 4;
    produce[..4].copy_from_slice(&length.to_be_bytes());
    let other = frame(b"first");
    client.write_all(&[other.clone(), produce].concat()).unwrap();
    assert_eq!(answer(&mut client, other.len()), other);
    let length = u32::from_be_bytes(*answer(&mut client, 4).first_chunk().unwrap());
    let bytes = answer(&mut client, length as usize);
    let mut bytes = &bytes[..];
    let head = ResponseHeader::decode(&mut bytes, ApiKey::Produce.response_header_version(9)).unwrap();
    let response = ProduceResponse::decode(&mut bytes, 9).unwrap();
    let partition = &response.responses[0].partition_responses[0];
    assert_eq!((head.correlation_id, partition.index, partition.error_code), (77, 3, 6));
    proxy.set(1, Mode::Pass);
    client.write_all(&other).unwrap();
    assert_eq!(answer(&mut client, other.len()), other);
}

#[test]
fn a_dial_while_nothing_passes_is_noted() {
    let (proxy, mut client) = proxied();
    client.write_all(&frame(b"x")).unwrap();
    answer(&mut client, frame(b"x").len());
    proxy.set(1, Mode::Hold);
    assert_eq!(proxy.redialled_ns(1), None, "what stood before does not count");
    let began = Instant::now();
    let _second = TcpStream::connect((Ipv4Addr::LOCALHOST, proxy.first_port())).unwrap();
    while proxy.redialled_ns(1).is_none() {
        assert!(began.elapsed() < Duration::from_secs(10), "the dial was not noted");
        std::thread::sleep(Duration::from_millis(1));
    }
    proxy.set(1, Mode::Pass);
    assert_eq!(proxy.redialled_ns(1), None);
}
