//! FindCoordinator, versions 0 to 6: this node coordinates every group.
//!
//! 1: groups or transactions · 3: flexible · 4: several keys at once · 5 and 6: new error codes and share groups only.

use kafka::primitive::ReadKafka;
use kafka_protocol::messages::find_coordinator_response::Coordinator;
use kafka_protocol::messages::{BrokerId, FindCoordinatorResponse};
use kafka_protocol::protocol::StrBytes;

use super::api::{Call, Refusal};
use super::read::list;
use super::{NODE_ID, code};

const GROUP: i8 = 0;
const TRANSACTION: i8 = 1;

pub(super) fn answer(call: &mut Call<'_>) -> Result<Vec<u8>, Refusal> {
    let (version, flexible, r) = (call.version, call.flexible, &mut call.body);
    let single = if version < 4 { Some(r.string(flexible)?) } else { None };
    let key_type = if version >= 1 { r.i8()? } else { GROUP };
    let (error, message) = match key_type {
        GROUP => (code::NONE, None),
        TRANSACTION => (code::TRANSACTIONAL_ID_AUTHORIZATION_FAILED, Some("this log has no transactions")),
        _ => (code::INVALID_REQUEST, Some("this log coordinates consumer groups only")),
    };
    let message = message.map(StrBytes::from_static_str);
    let host = StrBytes::from_string(call.local.ip().to_string());
    let port = i32::from(call.local.port());
    let response = FindCoordinatorResponse::default();
    let response = match single {
        Some(_) => response
            .with_error_code(error)
            .with_error_message(message)
            .with_node_id(BrokerId(NODE_ID))
            .with_host(host)
            .with_port(port),
        None => response.with_coordinators(list(r, flexible, |r| {
            let key = StrBytes::from_string(r.string(flexible)?.to_owned());
            Ok(Coordinator::default()
                .with_key(key)
                .with_error_code(error)
                .with_error_message(message.clone())
                .with_node_id(BrokerId(NODE_ID))
                .with_host(host.clone())
                .with_port(port))
        })?),
    };
    call.reply(&response)
}
