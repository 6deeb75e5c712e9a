//! What one seed draws: the size of the world, the configuration, the clients, and its own mix of faults (swarm testing).
//!
//! Most faults are off in most seeds, so that each is also met alone and with room to do its damage.

mod additions;

use std::fmt::Write as _;

pub use additions::Additions;

use crate::message::Kinds;
use crate::random::Random;
use crate::script;

const MS: u64 = 1_000_000;

/// PUBLISHes that a client may have without an answer.
const WINDOW_MAX: u64 = 20;

/// The records of so many: 200 bytes of payload and some more each.
const CLIENT_FLIGHT_BYTES: usize = 6 << 10;

/// The files of buffers on disk, where they are not small for copying forward.
const SEGMENT_BYTES_MAX: u64 = 64 << 10;

/// The sink that comes and goes, in worlds that have it.
pub(crate) const SECOND: usize = 1;

/// Where records go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Destination {
    /// A modelled cluster.
    Kafka,
    /// The embedded log on a modelled disk.
    Embedded,
}

/// Where records wait for Kafka.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Buffer {
    /// In memory.
    Memory,
    /// On a modelled disk.
    Disk,
    /// In memory, and on a modelled disk what exceeds its share.
    Hybrid,
}

/// One seed's world.
#[derive(Debug, Clone)]
pub struct Plan {
    /// The seed.
    pub seed: u64,
    /// Shards of the node.
    pub shards: u16,
    /// Where records go.
    pub destination: Destination,
    /// Where records wait.
    pub buffer: Buffer,
    /// Bytes of small batches that a buffer on disk hands over beyond `max_inflight`.
    pub merge_bytes: usize,
    /// Bytes that may wait for a partition, where that is not the configuration's.
    pub partition_bytes: Option<usize>,
    /// Length at which a file of a buffer is finished; `None`: as configured.
    pub segment_bytes: Option<u64>,
    /// Partitions of each topic.
    pub partitions: u32,
    /// Brokers of the cluster.
    pub brokers: u16,
    /// The configuration file.
    pub config: String,
    /// Number of sinks: the first takes everything, the second what lies below `b/`.
    pub sinks: usize,
    /// One more sink takes what these can never write, into one more topic.
    pub dead_letters: bool,
    /// Messages name the topics of all sinks but that of the dead letters: there is one for each QoS.
    pub live: bool,
    /// Of those the ones for QoS 2 do not exist.
    pub missing: bool,
    /// Batch bytes: most, and target.
    pub batch_bytes: (usize, usize),
    /// Most batches of a partition without an answer.
    pub inflight_max: u32,
    /// The configuration changes while the node runs.
    pub changes: bool,
    /// Batches are numbered.
    pub idempotent: bool,
    /// `required_acks` is "all_isr".
    pub acks_all: bool,
    /// An acknowledgement waits for the outcome.
    pub sync: bool,
    /// A publication that takes too long is answered with a failure though it may be stored.
    pub rejects_late: bool,
    /// Subscribers are served only after the outcome.
    pub deliver_after: bool,
    /// The keys' partition is fixed, so that a client's records keep their order.
    pub ordered: bool,
    /// Bytes a shard may hold.
    pub memory_bytes: usize,
    /// MQTT topics.
    pub topics: Vec<String>,
    /// Publications.
    pub kinds: Kinds,
    /// The clients.
    pub clients: Vec<ClientPlan>,
    /// Between two acts of a client, nanoseconds.
    pub think_ns: u64,
    /// Most between a client's bytes and the round that reads them, nanoseconds: under load a round has many inputs.
    pub wake_ns: u64,
    /// Faults of network, mesh, clocks and process.
    pub faults: Faults,
    /// Faults that were added later.
    pub additions: Additions,
    /// Strength of the cluster's faults, 0 to 3.
    pub kafka_trouble: u32,
    /// Strength of the disk's faults, 0 to 3.
    pub disk_trouble: u32,
}

/// Sinks there are at most, that of the dead letters included.
pub const SINKS_MAX: usize = 3;

/// Topics that the messages of a sink name.
const LIVE_TOPICS: usize = 3;

/// Topics of a cluster there are at most.
pub const TOPICS_MAX: usize = SINKS_MAX + 2 * LIVE_TOPICS;

/// Index of the topic that a batch of `sink` goes to, by the name that messages gave it.
pub fn topic_index(sink: u16, name: &str) -> u16 {
    match name.bytes().last() {
        None => sink,
        Some(qos) => (SINKS_MAX + usize::from(sink) * LIVE_TOPICS) as u16 + u16::from(qos - b'0'),
    }
}

/// One client.
#[derive(Debug, Clone)]
pub struct ClientPlan {
    /// Its identifier.
    pub name: String,
    /// MQTT 5, else 3.1.1.
    pub v5: bool,
    /// Begins every connection with a clean start.
    pub clean: bool,
    /// How long its session outlives its connections, seconds.
    pub expiry_s: u32,
    /// Keep-alive, seconds.
    pub keepalive_s: u16,
    /// Most open publications.
    pub window: usize,
    /// Whether it publishes.
    pub publishes: bool,
    /// What it subscribes to: filter and QoS.
    pub filter: Option<(String, u8)>,
    /// MQTT 5: uses topic aliases.
    pub aliases: bool,
    /// Has a will, which at MQTT 5 waits so many seconds.
    pub will_delay_s: Option<u32>,
}

impl ClientPlan {
    /// Whether a client that is back in time keeps its will from being published: one whose CONNECT does not end its session.
    pub fn puts_off(&self) -> bool {
        self.v5 && self.will_delay_s.is_some_and(|delay_s| delay_s > 0) && self.expiry_s > 0 && !self.clean
    }

    /// When a will that is put off is published: after its delay, or with the end of its session.
    pub fn will_delay_ns(&self) -> u64 {
        u64::from(self.will_delay_s.unwrap_or_default().min(self.expiry_s)) * 1_000 * MS
    }
}

/// Chances are of a million, for each act or message they can strike.
#[derive(Debug, Clone, Default)]
pub struct Faults {
    /// A client's read brings fewer bytes than are there.
    pub short_recv: u32,
    /// A client's socket takes fewer bytes than given.
    pub short_send: u32,
    /// A client resets its connection.
    pub reset: u32,
    /// A client closes its sending half and listens on.
    pub half_close: u32,
    /// A client vanishes without a word.
    pub vanish: u32,
    /// A client connects again while its connection stands.
    pub takeover: u32,
    /// A client breaks the protocol.
    pub bad_packet: u32,
    /// A client stops reading for a while.
    pub stop_reading: u32,
    /// A shard is told of a connection that is gone.
    pub stale_key: u32,
    /// A shard is told that a socket is writable or readable which is not.
    pub spurious: u32,
    /// Longest delay of a message between shards, nanoseconds.
    pub mesh_delay_ns: u64,
    /// A message between shards rings no bell.
    pub lost_wakeup: u32,
    /// Most by which a shard wakes late, nanoseconds.
    pub timer_late_ns: u64,
    /// Longest delay on the way to and from a broker, nanoseconds.
    pub link_delay_ns: u64,
    /// A link breaks when a request is given to it.
    pub link_break: u32,
    /// A dial is refused.
    pub dial_refused: u32,
    /// The wall clock jumps, for each round.
    pub wall_jump: u32,
    /// The node is killed and started again, for each act of a client.
    pub kill: u32,
}

impl Plan {
    /// The plan of a seed.
    pub fn draw(seed: u64) -> Self {
        let mut random = Random::new(seed);
        let r = &mut random;
        let shards = r.one_of(&[1, 1, 2, 2, 3, 4]);
        let destination = if r.below(5) == 0 { Destination::Embedded } else { Destination::Kafka };
        let kafka = destination == Destination::Kafka;
        let sinks = 1 + usize::from(r.below(4) == 0);
        let acks_all = !kafka || r.below(10) > 0;
        let idempotent = kafka && acks_all && r.below(10) > 0;
        let sync = r.below(6) > 0;
        let inflight_max = r.between(1, 5) as u32;
        let on_late = r.one_of(&["wait", "wait", "reject", "close"]);
        let target = r.one_of(&[256, 512, 1024, 4096]);
        let batch_bytes = (r.one_of(&[1024, 4096, 16 << 10]).max(target), target);
        let strategy = r.one_of(&["key_dispatch", "key_dispatch", "clientid", "topic", "sticky", "random"]);
        // Drawn apart, so that seeds that found something without a disk still find it.
        let mut apart = Random::new(seed ^ 0xb0ff_e7ed);
        let buffer = match apart.below(6) {
            0 | 1 if kafka => Buffer::Disk,
            2 if kafka => Buffer::Hybrid,
            _ => Buffer::Memory,
        };
        let sync = if buffer == Buffer::Memory { sync } else { apart.below(2) == 0 };
        let partition_bytes = apart.one_of(&[2 << 10, 8 << 10, 64 << 10, 1 << 20]);
        let merge_bytes = apart.one_of(&[0, 2 << 10, 128 << 10]);
        let segment_bytes =
            Random::new(seed ^ 0x5e6e_b17e).one_of(&[4 * target as u64, 8 * target as u64, SEGMENT_BYTES_MAX]);
        let mut plan = Self {
            seed,
            shards,
            destination,
            buffer,
            partitions: r.between(1, 6) as u32,
            merge_bytes,
            partition_bytes: (buffer != Buffer::Memory).then_some(partition_bytes),
            segment_bytes: (buffer != Buffer::Memory).then_some(segment_bytes),
            brokers: r.one_of(&[1, 3, 3, 3, 4]),
            config: String::new(),
            sinks,
            dead_letters: kafka && r.below(3) == 0,
            live: match buffer {
                Buffer::Memory => kafka && r.below(3) == 0,
                Buffer::Disk | Buffer::Hybrid => Random::new(seed ^ 0x70b1_c5ed).below(3) == 0,
            },
            missing: r.below(3) == 0,
            batch_bytes,
            inflight_max,
            changes: Random::new(seed ^ 0x0011_4e5c).below(2) == 0,
            idempotent,
            acks_all,
            sync,
            rejects_late: on_late == "reject",
            deliver_after: sync,
            ordered: matches!(strategy, "key_dispatch" | "clientid"),
            memory_bytes: r.one_of(&[768 << 10, 2 << 20, 8 << 20]),
            topics: ["a/0", "a/1", "b/0", "b/1/x"].map(str::to_string).to_vec(),
            kinds: draw_kinds(r, batch_bytes.0),
            clients: Vec::new(),
            think_ns: r.one_of(&[200_000, MS, MS, 3 * MS]),
            wake_ns: r.one_of(&[20_000, 300_000, MS]),
            faults: Faults::draw(r),
            additions: Additions::default(),
            kafka_trouble: r.one_of(&[0, 1, 1, 2, 2, 3]),
            disk_trouble: r.one_of(&[0, 1, 2, 3]),
        };
        if plan.tells_displaced() {
            // So small that there is something to tell.
            plan.partition_bytes = Some(CLIENT_FLIGHT_BYTES);
        }
        if buffer != Buffer::Memory {
            // What a buffer on disk is for.
            plan.faults.kill = apart.one_of(&[20, 200, 1_000]);
        }
        if kafka {
            plan.additions = Additions::draw(seed, plan.brokers, plan.sync, plan.live);
            // Where files are small, what waits is to be copied, not given up.
            if !plan.tells_displaced() && plan.segment_bytes.is_none_or(|bytes| bytes == SEGMENT_BYTES_MAX) {
                plan.additions.draw_patience(&mut Random::new(seed ^ 0x9a71_e4ce));
            }
        }
        plan.draw_clients(r);
        plan.additions.draw_absences(&mut Random::new(seed ^ 0xab5e_7ce5), &mut plan.clients);
        plan.config = plan.draw_config(r, strategy, on_late);
        plan
    }

    /// Whether changes of `max_inflight` break no promise: without numbers, order needs that there is one.
    pub fn changes_inflight(&self) -> bool {
        self.changes && (self.idempotent || self.destination == Destination::Embedded)
    }

    /// Whether it can be known which partition a record goes to, and that it was acknowledged when it was durable: so that of what
    /// gives way to newer records it can be told whether it was the oldest.
    pub fn tells_displaced(&self) -> bool {
        let is_kept = self.buffer == Buffer::Disk && !self.sync && self.acks_all;
        is_kept && self.ordered && !self.changes && self.destination == Destination::Kafka
    }

    /// Whether a full buffer may refuse records. Where it holds less than one client has in flight, a 3.1.1 client could go on for
    /// ever: it is closed for the record that gave way, comes back, and sends all of them again.
    pub fn refuses_overflow(&self) -> bool {
        self.partition_bytes.is_none_or(|bytes| bytes >= CLIENT_FLIGHT_BYTES)
    }

    /// Partitions that a topic may grow to.
    pub fn partitions_max(&self) -> u32 {
        self.partitions + 2
    }

    /// Sinks of the configuration: that of the dead letters is the last.
    pub fn sinks_in_all(&self) -> usize {
        self.sinks + usize::from(self.dead_letters)
    }

    /// The sink in a slot of a shard: each in its own, but for the one that comes and goes, which has what others do not.
    pub fn sink_in(&self, slot: u16) -> usize {
        let slot = usize::from(slot);
        if slot < self.sinks_in_all() { slot } else { SECOND }
    }

    /// Topics of the cluster, by their index: one for each sink, then those that messages name, a few for each sink.
    pub fn kafka_topics(&self) -> Vec<String> {
        if !self.live {
            return (0..self.sinks_in_all()).map(|sink| format!("t{sink}")).collect();
        }
        // Without dead letters nobody could say what became of a record that has no topic.
        let missing = self.missing && self.dead_letters;
        let named = |at: usize| match (at / LIVE_TOPICS, at % LIVE_TOPICS) {
            (sink, 2) if missing => format!("unused-{sink}"),
            (sink, qos) => format!("t{sink}-{qos}"),
        };
        let fixed = (0..SINKS_MAX).map(|sink| format!("t{sink}"));
        fixed.chain((0..self.sinks * LIVE_TOPICS).map(named)).collect()
    }

    /// The sink whose records lie in the topic with this index.
    pub fn sink_of(&self, topic: usize) -> usize {
        if topic < SINKS_MAX { topic } else { (topic - SINKS_MAX) / LIVE_TOPICS }
    }

    /// A plan for scripts: nobody but their clients, and of faults only these.
    pub fn scripted(destination: Destination, shards: u16, faults: Faults, seed: u64) -> Self {
        let mut config = format!("[node]\nname = \"sim\"\nshards = {shards}\npin = false\n[connectors.c]\n");
        config += match destination {
            Destination::Kafka => "type = \"kafka\"\nbootstrap_hosts = [\"kafka:9092\"]\n",
            Destination::Embedded => "type = \"embedded\"\nsegment_bytes = \"1MB\"\nretention_bytes = \"1GB\"\n",
        };
        if destination == Destination::Embedded {
            let _ = writeln!(config, "partitions = {}", script::PARTITIONS);
        }
        for (topic, lines) in script::SINKS {
            let common = script::SINK;
            let _ = writeln!(config, "[sinks.{topic}]\nconnector = \"c\"\ntopic = \"{topic}\"\n{lines}\n{common}");
        }
        config += script::MQTT;
        Self {
            seed,
            shards,
            destination,
            buffer: Buffer::Memory,
            merge_bytes: 128 << 10,
            partition_bytes: None,
            segment_bytes: None,
            partitions: script::PARTITIONS,
            brokers: 1,
            config,
            sinks: script::SINKS.len(),
            dead_letters: false,
            live: false,
            missing: false,
            batch_bytes: (32 << 10, 16 << 10),
            inflight_max: 5,
            changes: false,
            idempotent: true,
            acks_all: true,
            sync: true,
            rejects_late: false,
            deliver_after: true,
            ordered: true,
            memory_bytes: 64 << 20,
            topics: Vec::new(),
            kinds: Kinds {
                salt: 0,
                topics: 0,
                qos_weights: [0, 1, 0],
                len_max: 0,
                large_per_million: 0,
                large_len: 0,
                poison_per_million: 0,
            },
            clients: Vec::new(),
            think_ns: MS,
            wake_ns: 100_000,
            faults,
            additions: Additions::default(),
            kafka_trouble: 0,
            disk_trouble: 0,
        }
    }

    fn draw_clients(&mut self, r: &mut Random) {
        let count = r.between(2, 12);
        for index in 0..count {
            let v5 = r.below(2) == 0;
            let subscribes = index > 0 && r.below(5) == 0;
            let filters = ["#", "a/#", "b/+", "a/1", "+/0"];
            self.clients.push(ClientPlan {
                name: format!("client-{index}"),
                v5,
                clean: r.below(3) == 0,
                expiry_s: r.one_of(&[0, 2, 3600]),
                keepalive_s: r.one_of(&[2, 10, 60]),
                window: r.between(1, WINDOW_MAX) as usize,
                publishes: index == 0 || !subscribes || r.below(2) == 0,
                filter: subscribes.then(|| (r.one_of(&filters).to_string(), r.below(3) as u8)),
                aliases: v5 && r.below(3) == 0,
                will_delay_s: (r.below(3) == 0).then(|| r.one_of(&[0, 0, 1])),
            });
        }
    }

    fn draw_config(&self, r: &mut Random, strategy: &str, on_late: &str) -> String {
        let mut text = format!("[node]\nname = \"sim\"\nshards = {}\npin = false\n[connectors.c]\n", self.shards);
        match self.destination {
            Destination::Kafka => {
                let hosts: Vec<String> = (0..self.brokers).map(|b| format!("\"kafka:{}\"", 9092 + b)).collect();
                let _ = writeln!(text, "type = \"kafka\"\nbootstrap_hosts = [{}]", hosts.join(", "));
                let timeouts = r.one_of(&[("800ms", "300ms"), ("2s", "1s"), ("10s", "3s")]);
                let _ = writeln!(
                    text,
                    "request_timeout = \"{}\"\nmetadata_request_timeout = \"{}\"",
                    timeouts.0, timeouts.1
                );
                let refresh = r.one_of(&["10ms", "100ms", "1s"]);
                let _ = writeln!(text, "connect_timeout = \"500ms\"\nreconnect_delay = \"200ms\"");
                let _ = writeln!(text, "min_metadata_refresh_interval = \"{refresh}\"");
                let _ = writeln!(text, "connections_per_broker = {}", r.one_of(&[1, 1, 2]));
                let _ = writeln!(
                    text,
                    "connection_strategy = \"{}\"",
                    r.one_of(&["per_broker", "per_broker", "per_partition"])
                );
            }
            Destination::Embedded => {
                let _ = writeln!(text, "type = \"embedded\"\npartitions = {}", self.partitions);
                let _ = writeln!(text, "segment_bytes = \"64KB\"\nretention_bytes = \"1GB\"");
            }
        }
        for sink in 0..self.sinks_in_all() {
            let live = self.live && sink < self.sinks;
            let topic = if live { format!("t{sink}-${{qos}}") } else { format!("t{sink}") };
            let _ = writeln!(text, "[sinks.s{sink}]\nconnector = \"c\"\ntopic = \"{topic}\"");
            if live {
                let _ = writeln!(text, "live_topics_max = {}", r.one_of(&[1, 2, 3]));
            }
            if let Some(filter) = ["#", "b/#"][..self.sinks].get(sink) {
                let _ = writeln!(text, "source_topics = [\"{filter}\"]");
                if self.dead_letters {
                    let _ = writeln!(text, "dead_letter = \"s{}\"", self.sinks);
                }
                if let Some((age_s, retries)) = self.additions.patience {
                    let _ = writeln!(text, "max_batch_age = \"{age_s}s\"");
                    if self.sync {
                        let _ = writeln!(text, "max_retries = {retries}");
                    }
                }
            }
            let _ = writeln!(text, "value = \"${{payload}}\"\npartition_strategy = \"{strategy}\"");
            // To the engine all codecs are alike, and each is tried to the full elsewhere; here the two that count how often each
            // byte occurs would take a tenth of the time.
            let codec = match r.below(100) {
                0 => "gzip",
                1 => "zstd",
                2..=15 => r.one_of(&["snappy", "lz4"]),
                _ => "none",
            };
            let _ = writeln!(text, "compression = \"{codec}\"");
            let _ = writeln!(text, "linger = \"{}\"", r.one_of(&["0ms", "1ms", "5ms"]));
            let _ = writeln!(text, "max_inflight = {}", self.inflight_max);
            let _ =
                writeln!(text, "max_batch_bytes = \"{}KB\"\nbatch_target_bytes = \"1KB\"", self.batch_bytes.0 >> 10);
            // Whoever gives up sooner than Kafka can answer sends the same again for ever.
            let timeouts = if on_late == "wait" { ["50ms", "1s", "5s"] } else { ["1s", "2s", "5s"] };
            let _ = writeln!(text, "sync_timeout = \"{}\"", r.one_of(&timeouts));
            let _ = writeln!(text, "on_sync_timeout = \"{on_late}\"");
            let _ = writeln!(text, "query_mode = \"{}\"", if self.sync { "sync" } else { "async" });
            let overflow = r.one_of(&["backpressure", "backpressure", "drop_oldest", "reject"]);
            let overflow = if self.tells_displaced() { "drop_oldest" } else { overflow };
            let overflow = if self.refuses_overflow() { overflow } else { "backpressure" };
            let _ = writeln!(
                text,
                "buffer.overflow = \"{overflow}\"\nbuffer.per_partition_limit = \"{}\"",
                r.one_of(&["64KB", "1MB"])
            );
            text += match self.buffer {
                Buffer::Memory => "",
                Buffer::Disk => "buffer.mode = \"disk\"\nbuffer.segment_bytes = \"64KB\"\n",
                Buffer::Hybrid => "buffer.mode = \"hybrid\"\nbuffer.segment_bytes = \"64KB\"\n",
            };
            if self.destination == Destination::Kafka {
                let acks = if self.acks_all { "all_isr" } else { r.one_of(&["leader_only", "none"]) };
                let _ = writeln!(text, "required_acks = \"{acks}\"\nidempotence = {}", self.idempotent);
                let _ = writeln!(text, "ack_timeout = \"{}\"", r.one_of(&["100ms", "500ms"]));
                let _ = writeln!(text, "partition_count_refresh_interval = \"1s\"");
            }
        }
        let _ = writeln!(
            text,
            "[mqtt]\nreceive_maximum = 20\nqos2_max = 20\ntopic_alias_maximum = 4\nmax_packet_size = \"32KB\""
        );
        let _ = writeln!(text, "qos0_on_full = \"{}\"", r.one_of(&["drop", "backpressure"]));
        text
    }
}

fn draw_kinds(r: &mut Random, batch_bytes_max: usize) -> Kinds {
    Kinds {
        salt: r.next_u64(),
        topics: 4,
        qos_weights: r.one_of(&[[1, 6, 1], [0, 1, 0], [1, 1, 1], [0, 1, 2], [2, 3, 0]]),
        len_max: r.one_of(&[16, 40, 200]),
        large_per_million: r.one_of(&[0, 0, 3_000]),
        large_len: batch_bytes_max + 3_000,
        poison_per_million: r.one_of(&[0, 0, 0, 1_000]),
    }
}

impl Faults {
    fn draw(r: &mut Random) -> Self {
        let mut of = |strengths: &[u32]| if r.below(2) == 0 { 0 } else { r.one_of(strengths) };
        let mut faults = Self {
            short_recv: of(&[20_000, 300_000]),
            short_send: of(&[20_000, 300_000]),
            reset: of(&[500, 5_000]),
            half_close: of(&[500, 3_000]),
            vanish: of(&[500, 3_000]),
            takeover: of(&[500, 3_000]),
            bad_packet: of(&[500, 3_000]),
            stop_reading: of(&[500, 5_000]),
            stale_key: of(&[5_000, 50_000]),
            spurious: of(&[5_000, 50_000]),
            lost_wakeup: of(&[10_000, 300_000]),
            link_break: of(&[500, 5_000]),
            dial_refused: of(&[10_000, 200_000]),
            wall_jump: of(&[100, 2_000]),
            kill: of(&[20, 100]),
            ..Self::default()
        };
        faults.mesh_delay_ns = r.one_of(&[0, 100_000, 5 * MS]);
        faults.timer_late_ns = r.one_of(&[0, 0, MS, 50 * MS]);
        faults.link_delay_ns = r.one_of(&[50_000, MS, 20 * MS]);
        faults
    }

    /// Nothing goes wrong any more.
    pub fn none(&self) -> Self {
        Self { mesh_delay_ns: 100_000, link_delay_ns: 500_000, ..Self::default() }
    }
}
