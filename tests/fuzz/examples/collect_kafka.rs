//! Collects what a real broker answers, in every version that we speak, as inputs of `kafka_response` and `kafka_frames`:
//! `cargo run -p aqueduct-fuzz --example collect_kafka -- HOST:PORT TOPIC`, with a topic that the broker leads.

use std::error::Error;
use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::PathBuf;

use aqueduct_fuzz::target::kafka_response::APIS;
use kafka::message::produce::{Acks, PartitionData};
use kafka::message::{ApiKey, api_versions, describe_configs, init_producer_id, metadata, produce, sasl_handshake};
use kafka::record_batch::{self, Span, Stamp};

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let (Some(broker), Some(topic)) = (arguments.next(), arguments.next()) else {
        return Err("usage: collect_kafka HOST:PORT TOPIC".into());
    };
    for (n, key) in APIS.into_iter().enumerate().filter(|(_, key)| *key != ApiKey::SaslAuthenticate) {
        let api = key.api();
        for version in api.version_min..=api.version_max {
            let frame = ask(&mut TcpStream::connect(&broker)?, &request(api.key, version, 0, &topic))?;
            let tags = usize::from(api.key.has_response_tags(version));
            let choice = [n as u8, (version - api.version_min) as u8];
            keep("kafka_response", &format!("{}-v{version}", api.key.name()), &[&choice, &frame[8 + tags..]].concat())?;
        }
    }
    // A link from its handshake on, with the requests and versions that the target asks for.
    let mut stream = TcpStream::connect(&broker)?;
    let mut all = Vec::new();
    let asked = [ApiKey::ApiVersions, ApiKey::Metadata, ApiKey::InitProducerId, ApiKey::Produce, ApiKey::Produce];
    for (correlation, api) in asked.into_iter().enumerate() {
        all.extend(ask(&mut stream, &request(api, api.api().version_max, correlation as i32, &topic))?);
        keep("kafka_frames", &format!("link-of-{}", correlation + 1), &all)?;
    }
    Ok(())
}

fn request(api: ApiKey, version: i16, correlation: i32, topic: &str) -> Vec<u8> {
    let mut out = Vec::new();
    match api {
        ApiKey::ApiVersions => api_versions::encode_request(version, correlation, "c", "fuzz", "1", &mut out),
        ApiKey::InitProducerId => init_producer_id::encode_request(version, correlation, "c", &mut out),
        ApiKey::Metadata => {
            let topics = [topic, "no-such-topic"];
            metadata::encode_request(version, correlation, "c", Some(&topics), false, &mut out);
        }
        ApiKey::DescribeConfigs => {
            let keys = ["min.insync.replicas", "max.message.bytes"];
            describe_configs::encode_request(version, correlation, "c", &[topic, "no-such-topic"], &keys, &mut out);
        }
        // Out of place on a link that is not logged in; the broker answers all the same.
        ApiKey::SaslHandshake | ApiKey::SaslAuthenticate => {
            sasl_handshake::encode_request(version, correlation, "c", "PLAIN", &mut out);
        }
        ApiKey::Produce => {
            let (mut batch, mut cuts) = (Vec::new(), Vec::new());
            record_batch::begin(&mut batch);
            record_batch::append(&mut batch, 0, 0, None, Some(b"v"), record_batch::RawHeaders::NONE);
            let span = Span { base_timestamp_ms: 1, max_timestamp_ms: 1, records: 1 };
            record_batch::seal(&mut batch, &Stamp::plain(&span));
            // The second partition does not exist.
            let data = [0, 99].map(|partition| PartitionData { partition, batch_len: batch.len() as u32 });
            let topics = [(topic, &data[..])];
            let mut head = Vec::new();
            produce::encode_head(
                version,
                correlation,
                "c",
                Acks::AllIsr,
                5_000,
                topics.into_iter(),
                &mut head,
                &mut cuts,
            );
            let mut at = 0;
            for cut in cuts {
                out.extend_from_slice(&head[at..cut as usize]);
                out.extend_from_slice(&batch);
                at = cut as usize;
            }
            out.extend_from_slice(&head[at..]);
        }
    }
    out
}

/// The whole frame of the answer.
fn ask(stream: &mut TcpStream, request: &[u8]) -> Result<Vec<u8>, Box<dyn Error>> {
    stream.write_all(request)?;
    let mut frame = vec![0; 4];
    stream.read_exact(&mut frame)?;
    let length = u32::from_be_bytes([frame[0], frame[1], frame[2], frame[3]]) as usize;
    frame.resize(4 + length, 0);
    stream.read_exact(&mut frame[4..])?;
    Ok(frame)
}

fn keep(target: &str, name: &str, bytes: &[u8]) -> Result<(), Box<dyn Error>> {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("corpus").join(target);
    fs::create_dir_all(&folder)?;
    Ok(fs::write(folder.join(name), bytes)?)
}
