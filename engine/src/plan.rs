//! Every limit that follows from the configuration, computed in one place, and how the limits relate.
//!
//! ```text
//! memory_limit ── 20 % ──────────────── the program itself, kernel buffers, the control thread
//!            └─── 80 % ÷ shards ─┬ 50 % batches: what was read and has no outcome yet
//!                                ├ 20 % connections
//!                                ├ 20 % sessions and their queues
//!                                └ 10 % spare
//! ```
//!
//! A configuration whose limits contradict each other is refused with the sentence that says why. What is asserted
//! here the engine need not check again.

use crate::config::{Config, ConnectorKind, Machine, Problem, Problems, unit};

/// Shares of a shard's memory, in percent: batches, connections, sessions; the rest is spare.
const BATCHES_PERCENT: u64 = 50;
const CONNECTIONS_PERCENT: u64 = 20;
const SESSIONS_PERCENT: u64 = 20;

/// Part of the limit that shards do not plan with, in percent.
const OVERHEAD_PERCENT: u64 = 20;

/// Share of the batch budget that only keeps paused connections readable, in percent.
const RESERVE_PERCENT: u64 = 5;

/// What an idle connection is planned with, in bytes.
const CONNECTION_BYTES: u64 = 4 * unit::KB;

/// Most connections of a process, whatever its memory.
const CONNECTIONS_MAX: u64 = 1_000_000;

/// Descriptors in ten that clients may take; the others are for links, files and rings.
const DESCRIPTOR_TENTHS: u64 = 8;

/// Key, headers and framing of a record beside its value, in bytes; the topic and the client id are bounded too.
const RECORD_OVERHEAD_BYTES: u64 = 16 * unit::KB;

/// Publishes of an MQTT 3.1.1 client that may wait at least, in bytes: it knows no receive maximum.
const OPEN_BYTES_V3_MIN: u64 = 256 * unit::KB;

/// Idle buffers a shard keeps, as a divisor of its batch budget: enough for a burst, little beside it.
const POOL_DIVISOR: u64 = 4;

/// Idle buffers beyond this would only be memory: what rotates on a healthy path fits the cache.
const POOL_BYTES_MAX: usize = 32 << 20;

/// What may wait for Kafka at a shard while Kafka keeps up: enough that it never waits for us.
const AHEAD_BYTES_MAX: usize = 8 << 20;

/// Batches that may be under way from one shard to another; beyond, a batch is filled on.
const HANDOVER_CREDITS: u32 = 256;
/// Connections that may be moving from one shard to another.
const MOVE_CREDITS: u32 = 128;
/// Publications that may be under way from one shard to another for its subscribers.
const PARCEL_CREDITS: u32 = 256;
/// The token of a pair of shards.
const SHARE_TOKENS: u32 = 1;
/// Filter changes that may be under way from one shard to another.
const NOTICE_CREDITS: u32 = 128;

/// Every derived limit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// Shards, each a thread; at least 1.
    pub shards: u16,
    /// Clients of the whole process.
    pub connections_max: u32,
    /// What one shard may use.
    pub memory: ShardMemory,
    /// What may be under way between two shards.
    pub mesh: MeshPlan,
    /// Bytes that open tickets of one MQTT 3.1.1 client may hold before it is not read on.
    pub open_bytes_v3_max: usize,
    /// Bytes of the largest record a client can cause.
    pub record_bytes_max: usize,
}

/// The memory of one shard, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ShardMemory {
    /// All of it.
    pub total_bytes: usize,
    /// Batches that fill, wait or are under way, charged to the shard that filled them.
    pub batch_bytes: usize,
    /// The part of `batch_bytes` from which only paused connections are read.
    pub reserve_bytes: usize,
    /// Idle batch buffers kept for reuse; part of `batch_bytes`.
    pub pool_bytes: usize,
    /// What may wait for Kafka while Kafka keeps up; part of `batch_bytes`.
    pub ahead_bytes: usize,
    /// Connections: their state, their unread tails, their unsent bytes.
    pub connection_bytes: usize,
    /// Sessions: tickets, subscriptions, queues.
    pub session_bytes: usize,
}

/// What may be under way from one shard to another: the sender holds credits, the ring has room for all of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MeshPlan {
    /// Batches handed to their owner.
    pub handover_credits: u32,
    /// Connections moving home.
    pub move_credits: u32,
    /// Publications for subscribers.
    pub parcel_credits: u32,
    /// Pressure and filter changes.
    pub notice_credits: u32,
    /// Slots of the ring of one ordered pair.
    pub ring_slots: usize,
}

impl Plan {
    /// Derives every limit, or says why the configuration cannot be planned.
    pub fn new(config: &Config, machine: &Machine) -> Result<Self, Problems> {
        let shards = if config.node.shards == 0 { machine.cores } else { config.node.shards };
        let shards = u16::try_from(shards.max(1)).unwrap_or(u16::MAX);
        let memory = shard_memory(config.node.memory_limit_bytes, shards);
        let packet_bytes = u64::from(config.mqtt.packet_bytes_max);
        let by_memory = memory.connection_bytes as u64 * u64::from(shards) / CONNECTION_BYTES;
        let by_descriptors = machine.descriptors / 10 * DESCRIPTOR_TENTHS;
        let plan = Self {
            shards,
            connections_max: CONNECTIONS_MAX.min(by_memory).min(by_descriptors) as u32,
            memory,
            mesh: MeshPlan::new(),
            open_bytes_v3_max: OPEN_BYTES_V3_MIN.max(2 * packet_bytes) as usize,
            record_bytes_max: (packet_bytes + RECORD_OVERHEAD_BYTES) as usize,
        };
        let problems = plan.contradictions(config);
        if problems.is_empty() { Ok(plan) } else { Err(Problems::new(problems)) }
    }

    /// What cannot hold together, each with its sentence.
    fn contradictions(&self, config: &Config) -> Vec<Problem> {
        let mut problems = Vec::new();
        let usable = (self.memory.batch_bytes - self.memory.reserve_bytes) as u64;
        let shares = format!(
            "node.memory_limit of {} MB over {} shards leaves {} KB for the batches of each",
            config.node.memory_limit_bytes / unit::MB,
            self.shards,
            usable / unit::KB
        );
        // The largest PUBLISH must fit an empty budget, as it is read and as a record of every sink, or its client would be
        // held for ever.
        let record = self.record_bytes_max as u64;
        let largest = u64::from(config.mqtt.packet_bytes_max) + record * config.sinks.len() as u64;
        if largest > usable {
            problems.push(Problem::error(
                format!(
                    "{shares}, and one packet of mqtt.max_packet_size, as it is read and as a record of each sink, \
                     needs {} KB",
                    largest / unit::KB
                ),
                "raise node.memory_limit, lower mqtt.max_packet_size, or run fewer shards",
            ));
        }
        for sink in &config.sinks {
            // One batch fills while another is under way.
            let two = 2 * u64::from(sink.batch_bytes_max);
            if two > usable {
                problems.push(Problem::error(
                    format!(
                        "{shares}, and two batches of sinks.{}.max_batch_bytes need {} KB",
                        sink.name,
                        two / unit::KB
                    ),
                    "raise node.memory_limit, lower max_batch_bytes, or run fewer shards",
                ));
            }
            let Some(ConnectorKind::Embedded(embedded)) = config.connectors.get(sink.connector).map(|c| &c.kind) else {
                continue;
            };
            // A segment holds whole batches, and a record larger than max_batch_bytes travels alone.
            let largest = record.max(u64::from(sink.batch_bytes_max));
            if largest > embedded.segment_bytes {
                problems.push(Problem::error(
                    format!(
                        "a batch of the sink {} may have {} KB, and a segment of its embedded log ends at {} KB",
                        sink.name,
                        largest / unit::KB,
                        embedded.segment_bytes / unit::KB
                    ),
                    "raise segment_bytes of the connector, or lower mqtt.max_packet_size and max_batch_bytes",
                ));
            }
        }
        if self.connections_max == 0 {
            problems.push(Problem::error(
                format!(
                    "node.memory_limit of {} MB leaves no room for a client",
                    config.node.memory_limit_bytes / unit::MB
                ),
                "raise node.memory_limit, or the limit of open files (ulimit -n)",
            ));
        }
        problems
    }
}

impl MeshPlan {
    fn new() -> Self {
        // What is handed over comes back, and what is told is confirmed, through the other ring of the pair, which so needs
        // room for both directions.
        let messages = MOVE_CREDITS + SHARE_TOKENS + 2 * (HANDOVER_CREDITS + PARCEL_CREDITS + NOTICE_CREDITS);
        let plan = Self {
            handover_credits: HANDOVER_CREDITS,
            move_credits: MOVE_CREDITS,
            parcel_credits: PARCEL_CREDITS,
            notice_credits: NOTICE_CREDITS,
            ring_slots: messages.next_power_of_two() as usize,
        };
        assert!(messages as usize <= plan.ring_slots, "every credit has a slot: a sender with a credit never waits");
        plan
    }
}

/// Splits the limit over the shards and their purposes.
fn shard_memory(limit_bytes: u64, shards: u16) -> ShardMemory {
    let total = limit_bytes / 100 * (100 - OVERHEAD_PERCENT) / u64::from(shards);
    let share = |percent: u64| (total / 100 * percent) as usize;
    let batch_bytes = share(BATCHES_PERCENT);
    let memory = ShardMemory {
        total_bytes: total as usize,
        batch_bytes,
        reserve_bytes: batch_bytes / 100 * RESERVE_PERCENT as usize,
        pool_bytes: (batch_bytes / POOL_DIVISOR as usize).min(POOL_BYTES_MAX),
        ahead_bytes: (batch_bytes / POOL_DIVISOR as usize).min(AHEAD_BYTES_MAX),
        connection_bytes: share(CONNECTIONS_PERCENT),
        session_bytes: share(SESSIONS_PERCENT),
    };
    let planned = memory.batch_bytes + memory.connection_bytes + memory.session_bytes;
    assert!(planned <= memory.total_bytes, "the parts of a shard's memory fit the whole");
    assert!(
        memory.reserve_bytes + memory.pool_bytes <= memory.batch_bytes,
        "reserve and pool are parts of the batches"
    );
    memory
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Document, Loaded, Profile, Sources};

    const MACHINE: Machine = Machine { memory_bytes: 8 * unit::GB, cores: 4, descriptors: 1_000_000 };

    fn plan(settings: &str) -> Result<Plan, String> {
        let text =
            format!("{settings}\n[connectors.k]\ntype = \"embedded\"\n[sinks.s]\nconnector = \"k\"\ntopic = \"t\"\n");
        let loaded = Loaded::load(&Sources::file(Document::new("test", &text)), &MACHINE).map_err(|p| p.to_string())?;
        Plan::new(&loaded.config, &MACHINE)
            .map_err(|problems| problems.iter().map(|p| p.message().to_string()).collect::<Vec<_>>().join("\n"))
    }

    #[test]
    fn a_shard_gets_its_part_of_four_fifths() {
        let plan = plan("[node]\nmemory_limit = \"1GB\"\nshards = 2").unwrap();
        assert_eq!(plan.shards, 2);
        assert!(plan.memory.total_bytes.abs_diff((unit::GB / 10 * 4) as usize) < 1000);
        assert!(plan.memory.batch_bytes.abs_diff((unit::GB / 10 * 2) as usize) < 1000);
        assert!(plan.connections_max > 30_000);
    }

    #[test]
    fn every_profile_fits_a_small_machine() {
        let machine = Machine { memory_bytes: unit::GB, cores: 2, descriptors: 1024 };
        for name in Profile::names() {
            let mut sources = Sources::embedded();
            sources.profile = Profile::find(name).ok();
            let loaded = Loaded::load(&sources, &machine).unwrap();
            assert!(Plan::new(&loaded.config, &machine).is_ok(), "{name}");
        }
    }

    #[test]
    fn zero_shards_is_one_a_core() {
        assert_eq!(plan("[node]\nmemory_limit = \"1GB\"").unwrap().shards, 4);
    }

    #[test]
    fn a_packet_that_could_never_be_read_is_refused() {
        let error = plan("[node]\nmemory_limit = \"64MB\"\nshards = 4\n[mqtt]\nmax_packet_size = \"8MB\"").unwrap_err();
        assert_eq!(
            error,
            "node.memory_limit of 64 MB over 4 shards leaves 6225 KB for the batches of each, and one packet of \
             mqtt.max_packet_size, as it is read and as a record of each sink, needs 16400 KB"
        );
    }

    #[test]
    fn a_batch_larger_than_a_segment_is_refused() {
        let text = "[mqtt]\nmax_packet_size = \"8MB\"\n[node]\nmemory_limit = \"4GB\"";
        assert!(plan(text).is_ok());
        let error = plan("[mqtt]\nmax_packet_size = \"200MB\"\n[node]\nmemory_limit = \"8GB\"").unwrap_err();
        assert!(error.contains("a segment of its embedded log ends at 102400 KB"), "{error}");
    }
}
