//! DescribeCluster, versions 0 and 1: the one node there is. Administration tools ask before anything else.
//!
//! 1: brokers or controllers (the node is both).

use kafka::primitive::ReadKafka;
use kafka_protocol::messages::describe_cluster_response::DescribeClusterBroker;
use kafka_protocol::messages::{BrokerId, DescribeClusterResponse};
use kafka_protocol::protocol::StrBytes;

use super::NODE_ID;
use super::api::{Call, Refusal};
use super::metadata::CLUSTER_ID;

/// The endpoint type every version means unless it says otherwise: brokers.
const BROKERS: i8 = 1;

pub(super) fn answer(call: &mut Call<'_>) -> Result<Vec<u8>, Refusal> {
    call.body.boolean()?; // whether to tell authorized operations
    let endpoint_type = if call.version >= 1 { call.body.i8()? } else { BROKERS };
    let node = DescribeClusterBroker::default()
        .with_broker_id(BrokerId(NODE_ID))
        .with_host(StrBytes::from_string(call.local.ip().to_string()))
        .with_port(i32::from(call.local.port()));
    let response = DescribeClusterResponse::default()
        .with_endpoint_type(endpoint_type)
        .with_cluster_id(StrBytes::from_static_str(CLUSTER_ID))
        .with_controller_id(BrokerId(NODE_ID))
        .with_brokers(vec![node]);
    call.reply(&response)
}
