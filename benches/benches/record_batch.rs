//! Appending records to a batch, compressing it, and sealing it (header and CRC-32C).

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use kafka::compression::{Compression, Compressor};
use kafka::record_batch::{self, Span, Stamp};

fn fill(buf: &mut Vec<u8>, records: u32, value: &[u8]) {
    record_batch::begin(buf);
    for offset in 0..records {
        record_batch::append(buf, offset, 0, Some(b"client-17"), Some(value), record_batch::RawHeaders::NONE);
    }
}

fn record_batches(c: &mut Criterion) {
    let mut group = c.benchmark_group("record_batch");
    for value_bytes in [256usize, 1024] {
        let records = (128 << 10) / value_bytes as u32;
        let value = vec![b'x'; value_bytes];
        let mut buf = Vec::new();
        group.throughput(Throughput::Elements(u64::from(records)));
        group.bench_function(format!("append_{value_bytes}B"), |b| {
            b.iter(|| fill(&mut buf, records, black_box(&value)));
        });
        let stamp = Stamp::plain(&Span { base_timestamp_ms: 0, max_timestamp_ms: 0, records });
        group.bench_function(format!("seal_{value_bytes}B"), |b| {
            b.iter(|| record_batch::seal(black_box(&mut buf), &stamp));
        });
    }
    group.finish();
}

/// What a device might send: 256 bytes of JSON, of which names repeat from record to record and readings do not.
fn telemetry(number: u32) -> Vec<u8> {
    let mut state = u64::from(number).wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let mut reading = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state % 100_000) as f64 / 100.0
    };
    let (device, at) = (number % 50, 1_760_000_000_000_u64 + u64::from(number) * 20);
    let mut json = format!(
        r#"{{"device":"dev-{device:05}","ts":{at},"temperature":{},"humidity":{},"pressure":{},"voltage":{},"current":{},"rssi":-{}"#,
        reading(),
        reading(),
        reading(),
        reading(),
        reading(),
        number % 90,
    );
    json += r#","site":"north","firmware":"4.12.3","state":"running","note":""#;
    json.extend(std::iter::repeat_n('.', 254_usize.saturating_sub(json.len())));
    json += "\"}";
    json.into_bytes()
}

fn compression(c: &mut Criterion) {
    const RECORDS: u32 = 512;
    let mut batch = Vec::new();
    record_batch::begin(&mut batch);
    for offset in 0..RECORDS {
        let value = telemetry(offset);
        record_batch::append(&mut batch, offset, 0, Some(b"client-17"), Some(&value), record_batch::RawHeaders::NONE);
    }
    let records = &batch[record_batch::HEADER_LEN..];
    let mut group = c.benchmark_group("compress_json_256B");
    group.throughput(Throughput::Elements(u64::from(RECORDS)));
    for codec in [Compression::Gzip, Compression::Snappy, Compression::Lz4, Compression::Zstd] {
        let mut compressor = Compressor::new(codec, None).expect("it can be had");
        let mut out = Vec::new();
        compressor.compress(records, &mut out).expect("it compresses");
        println!("{}: {} of {} bytes", codec.name(), out.len(), records.len());
        group.bench_function(codec.name(), |b| {
            b.iter(|| {
                out.clear();
                compressor.compress(black_box(records), &mut out)
            });
        });
    }
    group.finish();
}

criterion_group!(benches, record_batches, compression);
criterion_main!(benches);
