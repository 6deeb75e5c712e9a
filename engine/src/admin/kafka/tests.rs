//! The listener as clients see it: rskafka, which is not ours, and raw frames where no client would send them.

use rskafka::client::ClientBuilder;
use rskafka::client::error::{Error as ClientError, ProtocolError};
use rskafka::client::partition::{OffsetAt, PartitionClient, UnknownTopicHandling};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::*;
use crate::log::rig::LogRig;

mod greedy;
mod raw;

/// A served log. Everything ends with it.
struct Served {
    rig: LogRig,
    addr: SocketAddr,
    state: Arc<State>,
    _server: tokio::task::JoinSet<()>,
}

async fn serve_log(rig: LogRig) -> Served {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    let state = Arc::new(State::open(Arc::clone(&rig.catalogue)).unwrap());
    let mut server = tokio::task::JoinSet::new();
    let serving = Arc::clone(&state);
    server.spawn(async move { serve(listener, serving).await.unwrap() });
    Served { rig, addr, state, _server: server }
}

async fn partition(served: &Served, topic: &str, index: i32) -> Result<PartitionClient, ClientError> {
    let client = ClientBuilder::new(vec![served.addr.to_string()]).build().await.unwrap();
    client.partition_client(topic, index, UnknownTopicHandling::Error).await
}

#[tokio::test]
async fn a_client_sees_topics_partitions_ends_and_records() {
    let mut rig = LogRig::new("listener-read", 2, 300);
    for n in 0..10 {
        rig.append(1, &[1000 + n, 1000 + n], format!("value {n}").as_bytes());
    }
    let served = serve_log(rig).await;
    let client = ClientBuilder::new(vec![served.addr.to_string()]).build().await.unwrap();
    let topics = client.list_topics().await.unwrap();
    assert_eq!(topics.len(), 1);
    assert_eq!((topics[0].name.as_str(), topics[0].partitions.iter().copied().collect::<Vec<_>>()), ("t", vec![0, 1]));
    let one = partition(&served, "t", 1).await.unwrap();
    assert_eq!(one.get_offset(OffsetAt::Earliest).await.unwrap(), 0);
    assert_eq!(one.get_offset(OffsetAt::Latest).await.unwrap(), 20);
    let (mut values, mut offset) = (Vec::new(), 0);
    while offset < 20 {
        let (records, high_watermark) = one.fetch_records(offset, 1..100_000, 1000).await.unwrap();
        assert_eq!(high_watermark, 20);
        for found in records {
            assert_eq!(found.offset, offset);
            assert_eq!(found.record.key.as_deref(), Some(&b"key"[..]));
            assert_eq!(found.record.timestamp.timestamp_millis(), 1000 + offset / 2);
            values.push(String::from_utf8(found.record.value.unwrap()).unwrap());
            offset += 1;
        }
    }
    assert_eq!(values, (0..20).map(|n| format!("value {}", n / 2)).collect::<Vec<_>>());
    assert_eq!(partition(&served, "t", 0).await.unwrap().get_offset(OffsetAt::Latest).await.unwrap(), 0);
}

#[tokio::test]
async fn a_topic_that_is_not_there_is_not_made() {
    let served = serve_log(LogRig::new("listener-unknown", 1, 300)).await;
    let error = partition(&served, "other", 0).await.unwrap_err();
    let unknown = ProtocolError::UnknownTopicOrPartition;
    assert!(matches!(error, ClientError::ServerError { protocol_error, .. } if protocol_error == unknown), "{error}");
    let listed = ClientBuilder::new(vec![served.addr.to_string()]).build().await.unwrap().list_topics().await.unwrap();
    assert_eq!(listed.len(), 1);
}

#[tokio::test]
async fn an_offset_outside_the_log_is_an_error() {
    let mut rig = LogRig::new("listener-range", 1, 300);
    rig.append(0, &[1], b"v");
    let served = serve_log(rig).await;
    let client = partition(&served, "t", 0).await.unwrap();
    let error = client.fetch_records(2, 1..1000, 10).await.unwrap_err();
    let wrong = ProtocolError::OffsetOutOfRange;
    assert!(matches!(error, ClientError::ServerError { protocol_error, .. } if protocol_error == wrong), "{error}");
    assert!(client.fetch_records(1, 1..1000, 10).await.unwrap().0.is_empty(), "the end is not outside");
}

#[tokio::test]
async fn an_empty_partition_answers_nothing_when_time_is_up() {
    let served = serve_log(LogRig::new("listener-empty", 1, 300)).await;
    let client = partition(&served, "t", 0).await.unwrap();
    let (records, high_watermark) = client.fetch_records(0, 1..1000, 20).await.unwrap();
    assert_eq!((records.len(), high_watermark), (0, 0));
}

#[tokio::test]
async fn a_torn_tail_is_not_waited_for_and_is_passed_by_the_next_record() {
    let mut rig = LogRig::new("listener-torn", 1, 3000);
    for _ in 0..3 {
        rig.append(0, &[1, 1], b"v");
    }
    let path = rig.segment(0, 0);
    let bytes = std::fs::read(&path).unwrap();
    std::fs::write(path, &bytes[..bytes.len() - 1]).unwrap();
    rig.reopen();
    let mut served = serve_log(rig).await;
    let client = partition(&served, "t", 0).await.unwrap();
    assert_eq!(client.get_offset(OffsetAt::Latest).await.unwrap(), 4);
    // 6 is where a consumer stands that had read what is torn now; it must not be sent back to the beginning.
    for offset in [4, 5, 6] {
        let (records, high_watermark) = client.fetch_records(offset, 1..1000, 20).await.unwrap();
        assert_eq!((records.len(), high_watermark), (0, offset), "{offset}");
    }
    let waiting = tokio::spawn(async move { client.fetch_records(4, 1..1000, 30_000).await.unwrap() });
    tokio::time::sleep(Duration::from_millis(20)).await;
    served.rig.append(0, &[1], b"behind");
    let (records, high_watermark) =
        tokio::time::timeout(Duration::from_secs(5), waiting).await.expect("well before the wait").unwrap();
    assert_eq!((records[0].offset, records.len(), high_watermark), (6, 1, 7));
}

#[tokio::test]
async fn a_long_poll_ends_with_the_append_it_waits_for() {
    let mut served = serve_log(LogRig::new("listener-poll", 1, 3000)).await;
    let client = partition(&served, "t", 0).await.unwrap();
    let waiting = tokio::spawn(async move { client.fetch_records(0, 1..1000, 30_000).await.unwrap() });
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert!(!waiting.is_finished());
    served.rig.append(0, &[1], b"late");
    let (records, _) =
        tokio::time::timeout(Duration::from_secs(5), waiting).await.expect("well before the wait").unwrap();
    assert_eq!(records[0].record.value.as_deref(), Some(&b"late"[..]));
}

#[tokio::test]
async fn a_long_poll_that_wants_more_waits_for_more() {
    let mut served = serve_log(LogRig::new("listener-more", 1, 30_000)).await;
    served.rig.append(0, &[1], b"v");
    let client = partition(&served, "t", 0).await.unwrap();
    let (records, _) = client.fetch_records(0, 100_000..200_000, 100).await.unwrap();
    assert_eq!(records.len(), 1, "what there is when time is up");
    let waiting = tokio::spawn(async move { client.fetch_records(0, 500..200_000, 30_000).await.unwrap() });
    for _ in 0..20 {
        tokio::time::sleep(Duration::from_millis(2)).await;
        served.rig.append(0, &[1], &[b'v'; 30]);
    }
    let (records, _) = tokio::time::timeout(Duration::from_secs(5), waiting).await.expect("enough is there").unwrap();
    assert!(records.len() > 3, "{}", records.len());
}

#[tokio::test]
async fn records_are_refused_in_words() {
    let served = serve_log(LogRig::new("listener-produce", 1, 300)).await;
    let client = partition(&served, "t", 0).await.unwrap();
    let record = rskafka::record::Record {
        key: None,
        value: Some(b"v".to_vec()),
        headers: Default::default(),
        timestamp: Default::default(),
    };
    let error = client.produce(vec![record], rskafka::client::partition::Compression::NoCompression).await.unwrap_err();
    let refused = ProtocolError::InvalidRequest;
    assert!(matches!(error, ClientError::ServerError { protocol_error, .. } if protocol_error == refused), "{error}");
}

#[tokio::test]
async fn a_time_is_found() {
    let mut rig = LogRig::new("listener-time", 1, 300);
    for n in 0..10 {
        rig.append(0, &[1000 * n, 1000 * n + 500], b"v");
    }
    let served = serve_log(rig).await;
    for version in 1..=6 {
        let find = async |at| raw::list_offset(&served, version, "t", 0, at).await;
        assert_eq!(find(4_001).await, (0, 4_500, 9), "version {version}");
        assert_eq!(find(9_501).await, (0, -1, -1));
        assert_eq!((find(-2).await, find(-1).await), ((0, -1, 0), (0, -1, 20)));
        assert_eq!(find(-7).await.0, code::INVALID_REQUEST);
        assert_eq!(raw::list_offset(&served, version, "t", 1, -1).await.0, code::UNKNOWN_TOPIC_OR_PARTITION);
    }
}

#[tokio::test]
async fn fetch_sessions_are_declined() {
    let mut rig = LogRig::new("listener-session", 1, 300);
    rig.append(0, &[1], b"v");
    let served = serve_log(rig).await;
    for version in 4..=12 {
        let full = raw::fetch(&served, version, (0, -1), 0).await;
        assert_eq!((full.error_code, full.session_id), (0, 0), "version {version}");
        assert!(full.responses[0].partitions[0].records.as_ref().is_some_and(|records| !records.is_empty()));
        if version >= 7 {
            assert_eq!(raw::fetch(&served, version, (0, 0), 0).await.session_id, 0);
            assert_eq!(raw::fetch(&served, version, (0, 5), 0).await.error_code, code::INVALID_FETCH_SESSION_EPOCH);
            assert_eq!(raw::fetch(&served, version, (9, 1), 0).await.error_code, code::FETCH_SESSION_ID_NOT_FOUND);
        }
    }
}

#[tokio::test]
async fn an_unknown_version_of_api_versions_gets_the_list_in_version_0() {
    let served = serve_log(LogRig::new("listener-versions", 1, 300)).await;
    let mut stream = TcpStream::connect(served.addr).await.unwrap();
    let answer = raw::exchange(&mut stream, &[0, 18, 0, 99, 0, 0, 0, 7, 0xff, 0xff]).await.unwrap();
    assert_eq!(answer[..6], [0, 0, 0, 7, 0, 35]);
    assert_eq!(answer.len(), 10 + 6 * i32::from_be_bytes(answer[6..10].try_into().unwrap()) as usize);
}

#[tokio::test]
async fn what_breaks_the_protocol_closes_the_connection_and_nothing_else() {
    let served = serve_log(LogRig::new("listener-broken", 1, 300)).await;
    let metadata = [0, 3, 0, 1, 0, 0, 0, 7, 0xff, 0xff];
    let mut bad: Vec<Vec<u8>> = vec![
        vec![],
        vec![0, 3],
        [0, 3, 0, 50, 0, 0, 0, 7, 0xff, 0xff].to_vec(),
        [0, 99, 0, 0, 0, 0, 0, 7, 0xff, 0xff].to_vec(),
        // Two billion topics.
        [&metadata[..], &[0x7f, 0xff, 0xff, 0xff]].concat(),
        [0, 1, 0, 4, 0, 0, 0, 7, 0xff, 0xff].to_vec(),
    ];
    bad.push([&metadata[..], &[0, 0, 0, 1, 0, 9, b'x']].concat());
    for request in bad {
        let mut stream = TcpStream::connect(served.addr).await.unwrap();
        assert!(raw::exchange(&mut stream, &request).await.is_err(), "{request:?}");
    }
    for announced in [-1i32, i32::MAX, i32::MIN] {
        let mut stream = TcpStream::connect(served.addr).await.unwrap();
        stream.write_all(&announced.to_be_bytes()).await.unwrap();
        assert_eq!(stream.read(&mut [0; 1]).await.unwrap(), 0);
    }
    assert_eq!(partition(&served, "t", 0).await.unwrap().get_offset(OffsetAt::Latest).await.unwrap(), 0);
}

#[tokio::test]
async fn every_api_answers_in_every_version_it_lists() {
    let mut rig = LogRig::new("listener-all", 1, 300);
    rig.append(0, &[1], b"v");
    let served = serve_log(rig).await;
    for (key, version, request) in raw::samples() {
        let mut stream = TcpStream::connect(served.addr).await.unwrap();
        let answer = raw::exchange(&mut stream, &request).await;
        let answer = answer.unwrap_or_else(|error| panic!("{key:?} {version}: {error}"));
        raw::decode(key, version, answer);
    }
}

#[tokio::test]
async fn every_cut_of_a_request_is_refused_without_a_panic() {
    let mut rig = LogRig::new("listener-cuts", 1, 300);
    rig.append(0, &[1], b"v");
    let served = serve_log(rig).await;
    let state = Arc::new(State::open(Arc::clone(&served.rig.catalogue)).unwrap());
    let _keeper = tokio::spawn(Arc::clone(&state.coordinator).run());
    for (key, version, request) in raw::samples() {
        for cut in 0..request.len() {
            // What was cut off may have been optional; then there is an answer.
            let answer = api::answer(&state, served.addr, served.addr, &request[..cut]);
            let answer = tokio::time::timeout(Duration::from_secs(5), answer).await;
            assert!(answer.is_ok(), "{key:?} {version} cut at {cut} waits");
        }
    }
}

#[tokio::test]
async fn every_flipped_byte_of_a_request_is_answered_or_refused() {
    let mut rig = LogRig::new("listener-flips", 1, 300);
    rig.append(0, &[1], b"v");
    let served = serve_log(rig).await;
    let state = Arc::new(State::open(Arc::clone(&served.rig.catalogue)).unwrap());
    let _keeper = tokio::spawn(Arc::clone(&state.coordinator).run());
    for (_, _, request) in raw::samples() {
        // The header decides who answers; what follows is theirs to read.
        for at in 8..request.len() {
            for flip in [0x01, 0x80, 0xff] {
                let mut bad = request.clone();
                bad[at] ^= flip;
                // A Fetch may have been made to wait, a member to wait for its group: that is an answer too.
                let answer = api::answer(&state, served.addr, served.addr, &bad);
                let _ = tokio::time::timeout(Duration::from_millis(1), answer).await;
            }
        }
    }
}

mod groups;
