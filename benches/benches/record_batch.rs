//! Appending records to a batch and sealing it (header and CRC-32C).

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
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

criterion_group!(benches, record_batches);
criterion_main!(benches);
