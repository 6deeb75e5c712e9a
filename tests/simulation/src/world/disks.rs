//! The disk under the embedded log, and the writers of a shard.

use aqueduct::config::{Config, ConnectorKind};
use aqueduct::shard::ShardId;
use aqueduct::sink::Writer;
use aqueduct::sink::kafka::Produce;

use super::World;
use crate::message::MessageId;
use crate::plan::Plan;
use crate::random::Random;

#[derive(Debug)]
pub(super) struct Disks;
#[derive(Debug)]
pub(super) struct Opened;

impl Disks {
    pub(super) fn new(_: &Plan, _: &mut Random) -> Self {
        Self
    }
    pub(super) fn open(&mut self) -> Opened {
        Opened
    }
    pub(super) fn crash(&mut self, _: &mut Random) {}
    pub(super) fn heal(&mut self) {}
    pub(super) fn charged_bytes(&self, _: ShardId) -> usize {
        0
    }
    pub(super) fn count(&self, _: impl FnMut(usize, MessageId)) {}
}

/// The writers of a shard, one for each connector.
pub(super) fn writers(config: &Config, shard: ShardId, shards: u16, _opened: Option<&Opened>) -> Vec<Writer> {
    let writer = |(index, connector): (usize, &aqueduct::config::Connector)| match &connector.kind {
        ConnectorKind::Kafka(_) => {
            Writer::Kafka(Box::new(Produce::new(shard, shards, index, config).expect("a Kafka connector")))
        }
        _ => panic!(),
    };
    config.connectors.iter().enumerate().map(writer).collect()
}

impl World {
    pub(super) fn carry_out_disk(&mut self, _shard: usize) {}
    pub(super) fn on_disks(&mut self, _at: u64) {}
}
