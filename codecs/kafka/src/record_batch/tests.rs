//! Golden bytes, and the second opinion of `kafka-protocol`, whose encoder and decoder share nothing with ours.

use super::*;
use crate::Error;
use bytes::Bytes;
use kafka_protocol::indexmap::IndexMap;
use kafka_protocol::protocol::StrBytes;
use kafka_protocol::records as oracle;
use proptest::prelude::*;

/// A record with everything owned, as the generators make it.
#[derive(Debug, Clone, PartialEq)]
struct Owned {
    timestamp_ms: i64,
    key: Option<Vec<u8>>,
    value: Option<Vec<u8>>,
    headers: Vec<(String, Option<Vec<u8>>)>,
}

fn any_record() -> impl Strategy<Value = Owned> {
    let bytes = || prop::option::of(prop::collection::vec(any::<u8>(), 0..200));
    // The oracle keeps headers in a map, so that keys must differ; `repeated_header_keys_survive` covers the rest.
    let headers = prop::collection::btree_map("[a-zé]{0,8}", bytes(), 0..4);
    let timestamp = prop_oneof![Just(1_700_000_000_000), 1_600_000_000_000i64..1_800_000_000_000, 0i64..10];
    (timestamp, bytes(), bytes(), headers).prop_map(|(timestamp_ms, key, value, headers)| Owned {
        timestamp_ms,
        key,
        value,
        headers: headers.into_iter().collect(),
    })
}

fn any_records() -> impl Strategy<Value = Vec<Owned>> {
    prop::collection::vec(any_record(), 1..40)
}

fn push(buf: &mut Vec<u8>, span: &mut Span, record: &Owned) {
    let headers: HeaderBlock =
        record.headers.iter().map(|(k, v)| RecordHeader { key: k.as_bytes(), value: v.as_deref() }).collect();
    let (offset_delta, timestamp_delta_ms) = span.count(record.timestamp_ms);
    append(buf, offset_delta, timestamp_delta_ms, record.key.as_deref(), record.value.as_deref(), headers.raw());
}

fn fill(records: &[Owned]) -> (Vec<u8>, Span) {
    let mut span = Span::starting(records[0].timestamp_ms);
    let mut buf = Vec::new();
    begin(&mut buf);
    records.iter().for_each(|record| push(&mut buf, &mut span, record));
    (buf, span)
}

fn sealed(records: &[Owned]) -> Vec<u8> {
    let (mut buf, span) = fill(records);
    seal(&mut buf, &Stamp { producer_id: 77, producer_epoch: 3, base_sequence: 1000, ..Stamp::plain(&span) });
    buf
}

fn owned(record: &Record<'_>, base_timestamp_ms: i64) -> Owned {
    Owned {
        timestamp_ms: base_timestamp_ms + record.timestamp_delta_ms,
        key: record.key.map(<[u8]>::to_vec),
        value: record.value.map(<[u8]>::to_vec),
        headers: record
            .headers
            .map(|h| (String::from_utf8(h.key.to_vec()).unwrap(), h.value.map(<[u8]>::to_vec)))
            .collect(),
    }
}

fn read(batch: &[u8]) -> Result<Vec<Owned>, Error> {
    let base = Header::parse(batch)?.base_timestamp_ms;
    let mut out = Vec::new();
    for (n, record) in records(batch)?.enumerate() {
        let record = record?;
        assert_eq!(record.offset_delta as usize, n);
        out.push(owned(&record, base));
    }
    Ok(out)
}

fn simple(value: &[u8]) -> Owned {
    Owned { timestamp_ms: 1_000, key: None, value: Some(value.to_vec()), headers: vec![] }
}

#[test]
fn every_field_has_its_place() {
    let mut buf = Vec::new();
    begin(&mut buf);
    append(&mut buf, 0, 0, Some(b"k"), Some(b"vw"), RawHeaders::NONE);
    let headers = HeaderBlock::from_iter([RecordHeader { key: b"h", value: Some(b"x") }]);
    append(&mut buf, 1, -1, None, None, headers.raw());
    seal(
        &mut buf,
        &Stamp {
            base_timestamp_ms: 0x0102_0304_0506_0708,
            max_timestamp_ms: 0x1112_1314_1516_1718,
            records: 2,
            compression: Compression::None,
            producer_id: 0x2122_2324_2526_2728,
            producer_epoch: 0x3132,
            base_sequence: 0x4142_4344,
        },
    );
    #[rustfmt::skip]
    let expected = [
        0, 0, 0, 0, 0, 0, 0, 0,                                 // base offset
        0, 0, 0, 70,                                            // batch length: 82 - 12
        0xff, 0xff, 0xff, 0xff,                                 // leader epoch
        2,                                                      // magic
        0, 0, 0, 0,                                             // CRC, looked at below
        0, 0,                                                   // attributes
        0, 0, 0, 1,                                             // last offset delta
        1, 2, 3, 4, 5, 6, 7, 8,
        0x11, 0x12, 0x13, 0x14, 0x15, 0x16, 0x17, 0x18,
        0x21, 0x22, 0x23, 0x24, 0x25, 0x26, 0x27, 0x28,
        0x31, 0x32,
        0x41, 0x42, 0x43, 0x44,
        0, 0, 0, 2,                                             // records
        18, 0, 0, 0, 2, b'k', 4, b'v', b'w', 0,                 // length 9; one-byte key, two-byte value, no headers
        20, 0, 1, 2, 1, 1, 2, 2, b'h', 2, b'x',                 // length 10; timestamp -1, null key and value, a header
    ];
    assert_eq!(buf.len(), 82);
    assert_eq!(buf[..17], expected[..17]);
    assert_eq!(buf[17..21], crc32c::crc32c(&expected[21..]).to_be_bytes());
    assert_eq!(buf[21..], expected[21..]);
}

#[test]
fn the_checksum_is_castagnolis() {
    // The check value of the CRC catalogue, so that nobody exchanges the polynomial for the one of zlib.
    assert_eq!(crc32c::crc32c(b"123456789"), 0xe306_9283);
}

#[test]
fn the_header_reads_back_what_was_stamped() {
    let mut batch = sealed(&[simple(b"a"), simple(b"b")]);
    set_base_offset(&mut batch, 4_000, 7);
    let header = Header::parse(&batch).unwrap();
    assert_eq!((header.base_offset, header.next_offset(), header.leader_epoch), (4_000, 4_002, 7));
    assert_eq!((header.producer_id, header.producer_epoch, header.base_sequence), (77, 3, 1000));
    assert_eq!((header.records, header.last_offset_delta, header.batch_bytes), (2, 1, batch.len()));
    assert_eq!((header.base_timestamp_ms, header.max_timestamp_ms), (1_000, 1_000));
    assert!(!header.is_control() && !header.is_transactional() && !header.is_log_append_time());
    assert_eq!(header.check_crc(&batch), Ok(()), "offset and leader epoch are outside the checksum");
}

#[test]
fn a_new_producer_stamp_equals_sealing_with_it() {
    let mut batch = sealed(&[simple(b"a"), simple(b"b")]);
    let (mut other, span) = fill(&[simple(b"a"), simple(b"b")]);
    restamp_producer(&mut batch, 5, 6, 7);
    seal(&mut other, &Stamp { producer_id: 5, producer_epoch: 6, base_sequence: 7, ..Stamp::plain(&span) });
    assert_eq!(batch, other);
}

#[test]
fn sequences_wrap_to_zero() {
    assert_eq!(next_sequence(0, 5), 5);
    assert_eq!(next_sequence(i32::MAX - 1, 1), i32::MAX);
    assert_eq!(next_sequence(i32::MAX, 1), 0);
    assert_eq!(next_sequence(i32::MAX - 1, 4), 2);
}

#[test]
fn damage_is_named() {
    let batch = sealed(&[simple(b"a"), simple(b"b")]);
    let check = |at: usize, to: u8, expected: Error| {
        let mut bad = batch.clone();
        bad[at] = to;
        let found = Header::parse(&bad).and_then(|_| read(&bad)).unwrap_err();
        assert_eq!(found, expected, "byte {at} = {to}");
    };
    check(16, 1, Error::Magic(1));
    check(22, 1, Error::Malformed("record batch: compressed where it must not be"));
    check(22, 5, Error::UnknownCompression(5));
    check(8, 0xff, Error::Malformed("record batch: length shorter than its header"));
    check(11, 20, Error::Malformed("record batch: length shorter than its header"));
    check(11, 200, Error::Truncated);
    check(23, 0x80, Error::Malformed("record batch: negative last offset delta"));
    check(57, 0x80, Error::Malformed("record batch: negative record count"));
    check(60, 1, Error::Malformed("record batch: bytes after the last record"));
    check(60, 3, Error::Truncated);
    check(61, 1, Error::Malformed("record: negative length"));
    check(61, 16, Error::Malformed("record: bytes after its headers"));
    check(65, 3, Error::Malformed("record: negative length of a field"));
    let mut bad = batch.clone();
    bad[70] ^= 1;
    let header = Header::parse(&bad).unwrap();
    assert!(matches!(header.check_crc(&bad), Err(Error::Crc { stored, .. }) if stored == header.crc));
    assert_eq!(header.check_crc(&bad[..70]), Err(Error::Truncated));
}

#[test]
fn repeated_header_keys_survive_in_order() {
    let mut record = simple(b"v");
    record.headers = vec![("k".into(), None), ("k".into(), Some(b"2".to_vec())), ("k".into(), Some(vec![]))];
    assert_eq!(read(&sealed(std::slice::from_ref(&record))), Ok(vec![record]));
}

#[test]
fn records_around_every_change_of_width_read_back() {
    // Lengths at which a varint grows, and around 8000, where `append` leaves its fast path.
    let bytes = vec![7; 1 << 20];
    let check = |offset: u32, timestamp: i64, key: usize, value: usize| {
        let mut buf = Vec::new();
        append(&mut buf, offset, timestamp, Some(&bytes[..key]), Some(&bytes[..value]), RawHeaders::NONE);
        let mut records = Records::new(1, &buf);
        let record = records.next().unwrap().unwrap();
        assert_eq!((record.offset_delta, record.timestamp_delta_ms), (offset as i32, timestamp));
        assert_eq!((record.key.map(<[u8]>::len), record.value.map(<[u8]>::len)), (Some(key), Some(value)));
        assert!(records.next().is_none());
    };
    for offset in [0, 63, 64, 8191, 8192, (1 << 20) - 1, 1 << 20, i32::MAX as u32] {
        for timestamp in [0, -64, 63, 64, -8192, 8191, 8192, -8193, i64::from(i32::MAX), i64::MAX, i64::MIN] {
            for key in [0, 63, 64, 8191, 8192, 1 << 20] {
                check(offset, timestamp, key, 100);
            }
            for value in [0, 63, 64, 7900, 1 << 20] {
                check(offset, timestamp, 10, value);
            }
        }
    }
    for value in 7900..8300 {
        check(64, 64, 63, value);
    }
}

#[test]
fn a_buffer_of_the_foretold_size_never_grows() {
    let header = RecordHeader { key: b"abc", value: Some(b"defg") };
    for (key, value, headers) in [(0, 0, 0), (1, 0, 0), (63, 64, 1), (10, 256, 2), (8191, 8192, 70), (0, 1 << 21, 0)] {
        let headers = HeaderBlock::from_iter(vec![header; headers]);
        let mut buf: Vec<u8> = Vec::with_capacity(record_bytes_max(key, value, headers.raw().len()));
        let before = buf.capacity();
        append(&mut buf, u32::MAX >> 1, i64::MIN, Some(&vec![1; key]), Some(&vec![2; value]), headers.raw());
        assert_eq!(buf.capacity(), before);
        buf.clear();
        append(&mut buf, 0, 0, Some(&vec![1; key]), Some(&vec![2; value]), headers.raw());
        assert_eq!(buf.capacity(), before, "the fast path stores ahead of itself");
    }
}

proptest! {
    #[test]
    fn what_is_appended_is_read(records in any_records()) {
        prop_assert_eq!(read(&sealed(&records)), Ok(records));
    }

    #[test]
    fn kafka_protocol_reads_what_we_write(records in any_records()) {
        let batch = sealed(&records);
        let set = oracle::RecordBatchDecoder::decode(&mut Bytes::from(batch)).unwrap();
        prop_assert_eq!(set.records.len(), records.len());
        for (n, (theirs, ours)) in set.records.iter().zip(&records).enumerate() {
            prop_assert_eq!(theirs.offset, n as i64);
            prop_assert_eq!(theirs.sequence, 1000 + n as i32);
            prop_assert_eq!((theirs.producer_id, theirs.producer_epoch), (77, 3));
            prop_assert_eq!(theirs.timestamp, ours.timestamp_ms);
            prop_assert_eq!(theirs.key.as_deref(), ours.key.as_deref());
            prop_assert_eq!(theirs.value.as_deref(), ours.value.as_deref());
            let headers: Vec<_> = theirs.headers.iter().map(|(k, v)| (k.to_string(), v.as_ref().map(|v| v.to_vec()))).collect();
            prop_assert_eq!(&headers, &ours.headers);
        }
    }

    #[test]
    fn we_read_what_kafka_protocol_writes(records in any_records(), id in 0usize..5) {
        let codec = [oracle::Compression::None, oracle::Compression::Gzip, oracle::Compression::Snappy,
            oracle::Compression::Lz4, oracle::Compression::Zstd][id];
        let batch = oracle_batch(&records, codec);
        let header = Header::parse(&batch).unwrap();
        prop_assert_eq!(header.check_crc(&batch), Ok(()));
        prop_assert_eq!(header.compression().unwrap() as usize, id);
        prop_assert_eq!(header.records as usize, records.len());
        let mut scratch = Vec::new();
        let ours: Result<Vec<_>, _> = decompressed_records(&batch, &mut scratch, 1 << 20).unwrap()
            .map(|r| r.map(|r| owned(&r, header.base_timestamp_ms))).collect();
        prop_assert_eq!(ours, Ok(records));
    }

    #[test]
    fn kafka_protocol_reads_what_we_compress(records in any_records(), id in 1u8..5) {
        let mut compressor = crate::compression::Compressor::new(Compression::from_id(id).unwrap(), None).unwrap();
        let (plain, span) = fill(&records);
        let mut batch = Vec::new();
        begin(&mut batch);
        compressor.compress(&plain[HEADER_LEN..], &mut batch).unwrap();
        seal(&mut batch, &Stamp { compression: compressor.codec(), ..Stamp::plain(&span) });
        let set = oracle::RecordBatchDecoder::decode(&mut Bytes::from(batch)).unwrap();
        let values: Vec<_> = set.records.iter().map(|r| r.value.as_deref()).collect();
        prop_assert_eq!(values, records.iter().map(|r| r.value.as_deref()).collect::<Vec<_>>());
    }

    #[test]
    fn merging_equals_appending(first in any_records(), second in any_records(), third in any_records()) {
        let (mut merged, mut span) = fill(&first);
        for other in [&second, &third] {
            let (bytes, other_span) = fill(other);
            merge(&mut merged, &mut span, &bytes, &other_span).unwrap();
        }
        let all: Vec<_> = [first, second, third].concat();
        let (direct, direct_span) = fill(&all);
        prop_assert_eq!(&merged, &direct);
        prop_assert_eq!(span, direct_span);
        // An empty target becomes a copy, whether the source is sealed or not.
        let (mut copy, mut copy_span) = (Vec::new(), Span::starting(0));
        merge(&mut copy, &mut copy_span, &sealed(&all), &direct_span).unwrap();
        prop_assert_eq!(&copy[HEADER_LEN..], &direct[HEADER_LEN..]);
        prop_assert_eq!(copy_span, direct_span);
    }

    #[test]
    fn a_failed_merge_leaves_the_target_alone(first in any_records(), second in any_records(), cut in any::<prop::sample::Index>()) {
        let (mut target, mut span) = fill(&first);
        let (mut bytes, other_span) = fill(&second);
        bytes.truncate(cut.index(bytes.len()));
        let (before, span_before) = (target.clone(), span);
        prop_assert!(merge(&mut target, &mut span, &bytes, &other_span).is_err());
        prop_assert_eq!(target, before);
        prop_assert_eq!(span, span_before);
    }

    #[test]
    fn damaged_batches_are_errors_or_other_records_but_never_a_panic(
        records in any_records(), at in any::<prop::sample::Index>(), to: u8, cut: bool,
    ) {
        let mut batch = sealed(&records);
        let at = at.index(batch.len());
        if cut { batch.truncate(at) } else { batch[at] = to }
        let _ = read_leniently(&batch);
        if let Ok(header) = Header::parse(&batch) {
            let _ = header.check_crc(&batch);
            let span = Span { base_timestamp_ms: 0, max_timestamp_ms: 0, records: header.records };
            let _ = merge(&mut Vec::new(), &mut span.clone(), &batch, &span);
        }
    }
}

/// Walks everything without judging it.
fn read_leniently(batch: &[u8]) -> Result<usize, Error> {
    let mut bytes = 0;
    let mut scratch = Vec::new();
    for record in decompressed_records(batch, &mut scratch, 1 << 20)? {
        let record = record?;
        bytes += record.key.map_or(0, <[u8]>::len) + record.headers.map(|h| h.key.len()).sum::<usize>();
    }
    Ok(bytes)
}

fn oracle_batch(records: &[Owned], compression: oracle::Compression) -> Vec<u8> {
    let records: Vec<_> = records
        .iter()
        .enumerate()
        .map(|(n, record)| oracle::Record {
            transactional: false,
            control: false,
            delete_horizon: false,
            partition_leader_epoch: 0,
            producer_id: -1,
            producer_epoch: -1,
            timestamp_type: oracle::TimestampType::Creation,
            offset: n as i64,
            sequence: n as i32 - 1,
            timestamp: record.timestamp_ms,
            key: record.key.clone().map(Bytes::from),
            value: record.value.clone().map(Bytes::from),
            headers: record
                .headers
                .iter()
                .map(|(k, v)| (StrBytes::from_string(k.clone()), v.clone().map(Bytes::from)))
                .collect::<IndexMap<_, _>>(),
        })
        .collect();
    let mut out = Vec::new();
    let options = oracle::RecordEncodeOptions { version: 2, compression };
    oracle::RecordBatchEncoder::encode(&mut out, &records, &options).unwrap();
    out
}

#[test]
fn a_lone_record_has_the_size_that_was_said() {
    let mut headers = HeaderBlock::default();
    for (count, header_len) in [(0, 0), (1, 5), (70, 300)] {
        headers.clear();
        let value = vec![1; header_len];
        (0..count).for_each(|_| headers.push(RecordHeader { key: b"k", value: Some(&value) }));
        for len in (0..300).chain([8_000, 8_191, 8_192, 20_000, 1 << 20, (1 << 20) + 1]) {
            let bytes = vec![7; len];
            for (key, value) in
                [(None, Some(&bytes[..])), (Some(&bytes[..]), None), (Some(&bytes[..]), Some(&bytes[..]))]
            {
                let mut buf = Vec::new();
                append(&mut buf, 0, 0, key, value, headers.raw());
                assert_eq!(lone_record_bytes(key, value, headers.raw()), buf.len(), "{count} headers, {len} bytes");
            }
        }
    }
}
