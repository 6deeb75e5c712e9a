//! What a broker sends over one link, from the handshake on: frames, correlation, and the bodies behind them.
//!
//! Promises: no panic; frames are the same wherever a read ends; only the oldest open request is answered; after an error nothing more
//! is asked of the link.

use kafka::connection::{BrokerConnection, Event, Taken};
use kafka::message::{ApiKey, api_versions, init_producer_id, metadata, produce};

use crate::trail;

/// Requests that are kept open once the link is ready.
const OPEN: [ApiKey; 4] = [ApiKey::Metadata, ApiKey::InitProducerId, ApiKey::Produce, ApiKey::Produce];

/// Feeds the link.
pub(super) fn run(bytes: &[u8]) {
    let mut link = BrokerConnection::new("c", "1");
    link.handle_connected();
    let mut rest = bytes;
    let mut asked = 0;
    while link.poll_transmit().is_some() || link.open_requests() > 0 {
        let open = link.open_requests();
        for n in 0..rest.len().min(4) {
            assert!(matches!(link.handle_bytes(&rest[..n]), Ok(Taken::Need(more)) if more == 4 - n));
        }
        match link.handle_bytes(rest) {
            Ok(Taken::Need(more)) => {
                assert!(more > 0 && link.open_requests() == open);
                return;
            }
            Ok(Taken::Frame(len, event)) => {
                assert!((4..=rest.len()).contains(&len));
                answered(&event);
                rest = &rest[len..];
            }
            Err(error) => {
                trail::mark_text(40, &error.to_string());
                return;
            }
        }
        if link.versions().is_some() {
            while link.open_requests() < OPEN.len() {
                // A broker may lack what is not needed for the handshake.
                if link.begin(OPEN[asked % OPEN.len()]).is_err() && asked > 64 {
                    return;
                }
                asked += 1;
            }
        }
    }
}

fn answered(event: &Event<'_>) {
    let Event::Response(response) = event else { return trail::mark(41, u64::from(*event == Event::Ready)) };
    let (version, body) = (response.version, response.body);
    let is_ok = match response.api {
        ApiKey::Produce => produce::decode_response(version, body).is_ok(),
        ApiKey::Metadata => metadata::decode_response(version, body).is_ok(),
        ApiKey::ApiVersions => api_versions::decode_response(version, body).is_ok(),
        ApiKey::InitProducerId => init_producer_id::decode_response(version, body).is_ok(),
        // Not asked on this link.
        ApiKey::SaslHandshake | ApiKey::SaslAuthenticate | ApiKey::DescribeConfigs => return,
    };
    trail::mark(42, (response.api as u64) << 16 | (version as u64) << 8 | u64::from(is_ok));
}
