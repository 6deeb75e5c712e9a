//! Who owns what: clients have a home shard, partitions an owner.
//!
//! With the default routing (key = client id) a client's home is the owner of its partition, as long as the partition count
//! is a multiple of the shard count, so its records never change shards.

use super::ShardId;
use crate::buffer::Batch;

/// The home shard of a client id: murmur2, as Kafka's default partitioner hashes keys.
#[inline]
pub fn home_of(client_id: &str, shards: u16) -> ShardId {
    let shard = kafka::partitioner::partition_for_key(client_id.as_bytes(), u32::from(shards));
    ShardId(u16::try_from(shard).unwrap_or(0))
}

/// By how many shards the owners of a topic's partitions are shifted. Topics that messages name are many, and mostly of few
/// partitions: without it the first shards would own most of them. Those of the configuration stand where they are, which is
/// what keeps a client and its partition together.
#[inline]
pub fn base_of(topic: &str, shards: u16) -> u16 {
    home_of(topic, shards).0
}

/// The owner of a partition of a topic with this base.
#[inline]
pub fn owner_in(base: u16, partition: u32, shards: u16) -> ShardId {
    owner_of(partition % u32::from(shards) + u32::from(base), shards)
}

/// The owner of the partition a batch goes to.
#[inline]
pub fn owner_of_batch(batch: &Batch, shards: u16) -> ShardId {
    match batch.topic_name.as_str() {
        "" => owner_of(batch.part.partition, shards),
        topic => owner_in(base_of(topic, shards), batch.part.partition, shards),
    }
}

/// The owner of a partition. Growth and leader changes never move a partition, because neither is asked for here.
#[inline]
pub fn owner_of(partition: u32, shards: u16) -> ShardId {
    let shard = partition % u32::from(shards);
    ShardId(u16::try_from(shard).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_lives_where_its_partition_is_owned() {
        for shards in [1u16, 2, 4] {
            for partitions in [4u32, 8, 12] {
                for n in 0..1000 {
                    let client = format!("device-{n}");
                    let partition = kafka::partitioner::partition_for_key(client.as_bytes(), partitions);
                    assert_eq!(home_of(&client, shards), owner_of(partition, shards));
                }
            }
        }
    }
}
