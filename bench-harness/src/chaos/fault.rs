//! The faults there are, as words: what each is called, what it needs, whom it strikes.
//!
//! ```text
//! kill | broker-kill=2 | broker-kill=leader | produce-error=6 | clock=+3600
//! ```

use std::fmt::{self, Display, Formatter};
use std::str::FromStr;

use miette::{Report, miette};

use crate::random::Random;
use crate::system::Connector;

/// Which broker is struck.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Who {
    /// This one, counted from 1.
    Broker(u32),
    /// Whoever leads the first partition when it happens.
    Leader,
}

/// One fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// kill -9 of the product; it is started again at the end.
    Kill,
    /// A shard of the product panics, at which all of it ends; it is started again at the end.
    ShardEnd,
    /// SIGTERM to the product; it is started again at the end.
    Term,
    /// No load.
    Idle,
    /// No load until the brokers have forgotten the product, which they soon do.
    Oblivion,
    /// All clients lose their network at once, of which nobody tells the product, and come back at once under the same ids.
    Storm,
    /// kill -9 of a broker; it is started again at the end.
    BrokerKill(Who),
    /// kill -9 of one broker after the other, each for the length of the fault, the next when all replicas are in sync again.
    BrokerRoll,
    /// kill -9 of all brokers.
    BrokerKillAll,
    /// SIGSTOP to a broker.
    BrokerPause(Who),
    /// The followers are stopped, the leader is killed, the followers go on without what they had not fetched.
    LeaderAlone,
    /// Nothing passes between the product and a broker, and nobody says so.
    Blackhole(Who),
    /// Every connection to a broker ends with RST.
    Reset(Who),
    /// 1 Mbit/s to and from a broker.
    SlowLink(Who),
    /// A broker's disk takes 1 MiB a second.
    SlowDisk(Who),
    /// Every Produce is refused with this error code while the cluster is as it was.
    ProduceError(i16),
    /// The product's disk is full.
    DiskFull,
    /// kill -9 of the product, and entries of its buffers are damaged; it is started again at the end.
    BitRot,
    /// The power of the product's machine fails: what was not synced is gone. It is started again at the end.
    PowerCut,
    /// Each sync of the product's fails with EIO.
    SyncError,
    /// The product may have so many MiB.
    Memory(u32),
    /// The product's wall clock is wrong by so many seconds.
    Clock(i64),
    /// The first topic gets so many partitions more, and keeps them.
    AddPartitions(u32),
    /// The first topic is deleted; it is made anew, and empty, at the end.
    DeleteTopic,
    /// The product may not write to the first topic, and may do everything else with it.
    DenyTopic,
    /// The user as whom the product writes to the first topic may not log in any more; each login lasts for seconds.
    ShutOut,
    /// Clients beside those of the ledger send what the first topic never takes.
    Poison,
    /// The product's certificate and its authorities are rubbish, and another certificate at the end. It writes over TLS.
    Certificates,
    /// A broker is started anew with a certificate that has ended, and at the end with a valid one. The product writes over TLS.
    CertificateEnds(Who),
    /// The power of all brokers fails at the end, and what came to the first topic from the beginning on is on no disk.
    RackPowerCut,
}

/// What is struck, so that one thing is not struck twice at a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Subject {
    /// The product's process, its disk or its memory.
    Product,
    /// One broker, or the way to it.
    Broker(Who),
    /// All of them.
    Brokers,
    /// The load, its company or the clock, which go with anything.
    Nothing,
}

/// The names, with a fault of each; arguments as [`Fault::drawn`] leaves them where they are not drawn.
pub const KINDS: [(&str, Fault); 30] = [
    ("kill", Fault::Kill),
    ("shard-end", Fault::ShardEnd),
    ("term", Fault::Term),
    ("idle", Fault::Idle),
    ("oblivion", Fault::Oblivion),
    ("storm", Fault::Storm),
    ("broker-kill", Fault::BrokerKill(Who::Leader)),
    ("broker-roll", Fault::BrokerRoll),
    ("broker-kill-all", Fault::BrokerKillAll),
    ("broker-pause", Fault::BrokerPause(Who::Leader)),
    ("leader-alone", Fault::LeaderAlone),
    ("blackhole", Fault::Blackhole(Who::Leader)),
    ("reset", Fault::Reset(Who::Leader)),
    ("slow-link", Fault::SlowLink(Who::Leader)),
    ("slow-disk", Fault::SlowDisk(Who::Leader)),
    ("produce-error", Fault::ProduceError(NOT_LEADER)),
    ("disk-full", Fault::DiskFull),
    ("bit-rot", Fault::BitRot),
    ("power-cut", Fault::PowerCut),
    ("sync-error", Fault::SyncError),
    ("memory", Fault::Memory(256)),
    ("clock", Fault::Clock(3_600)),
    ("add-partitions", Fault::AddPartitions(8)),
    ("delete-topic", Fault::DeleteTopic),
    ("deny-topic", Fault::DenyTopic),
    ("shut-out", Fault::ShutOut),
    ("poison", Fault::Poison),
    ("certificates", Fault::Certificates),
    ("certificate-ends", Fault::CertificateEnds(Who::Leader)),
    ("rack-power-cut", Fault::RackPowerCut),
];

const NOT_LEADER: i16 = 6;
/// NOT_LEADER_OR_FOLLOWER, OUT_OF_ORDER_SEQUENCE_NUMBER, KAFKA_STORAGE_ERROR: refused before anything is written.
const PRODUCE_ERRORS: [i16; 3] = [NOT_LEADER, 45, 56];
const CLOCK_JUMPS: [i64; 4] = [-86_400, -3_600, 600, 1_500];

impl Fault {
    /// What it is called, without its argument.
    pub fn name(self) -> &'static str {
        let same = |known: Fault| std::mem::discriminant(&known) == std::mem::discriminant(&self);
        KINDS.iter().find(|(_, known)| same(*known)).map_or("", |(name, _)| name)
    }

    /// The same fault with arguments drawn from the seed.
    pub fn drawn(self, brokers: u32, random: &mut Random) -> Self {
        let mut who = || Who::Broker(1 + random.below(u64::from(brokers)) as u32);
        match self {
            Self::BrokerKill(_) => Self::BrokerKill(who()),
            Self::BrokerPause(_) => Self::BrokerPause(who()),
            Self::Blackhole(_) => Self::Blackhole(who()),
            Self::Reset(_) => Self::Reset(who()),
            Self::SlowLink(_) => Self::SlowLink(who()),
            Self::SlowDisk(_) => Self::SlowDisk(who()),
            Self::CertificateEnds(_) => Self::CertificateEnds(who()),
            Self::ProduceError(_) => Self::ProduceError(PRODUCE_ERRORS[random.below(3) as usize]),
            Self::Clock(_) => Self::Clock(CLOCK_JUMPS[random.below(4) as usize]),
            Self::AddPartitions(_) => Self::AddPartitions(1 + random.below(4) as u32),
            other => other,
        }
    }

    /// Whom it strikes.
    pub fn subject(self) -> Subject {
        match self {
            Self::Kill | Self::ShardEnd | Self::Term | Self::Memory(_) => Subject::Product,
            Self::DiskFull | Self::BitRot | Self::PowerCut | Self::SyncError => Subject::Product,
            Self::BrokerKill(who)
            | Self::BrokerPause(who)
            | Self::Blackhole(who)
            | Self::Reset(who)
            | Self::SlowLink(who)
            | Self::SlowDisk(who)
            | Self::CertificateEnds(who) => Subject::Broker(who),
            Self::BrokerRoll | Self::BrokerKillAll | Self::LeaderAlone | Self::RackPowerCut | Self::ProduceError(_) => {
                Subject::Brokers
            }
            // All of them have to agree to it.
            Self::AddPartitions(_) | Self::DeleteTopic | Self::DenyTopic | Self::ShutOut => Subject::Brokers,
            Self::Idle | Self::Oblivion | Self::Storm | Self::Clock(_) => Subject::Nothing,
            Self::Poison | Self::Certificates => Subject::Nothing,
        }
    }

    /// Whether the product's sessions end with it.
    pub fn restarts_product(self) -> bool {
        matches!(self, Self::Kill | Self::ShardEnd | Self::Term | Self::BitRot | Self::PowerCut)
    }

    /// Whether the product's data has to lie on a file system of its own.
    pub fn needs_disk(self) -> bool {
        matches!(self, Self::DiskFull | Self::PowerCut)
    }

    /// Whether only what the product writes to a disk of its own feels it.
    pub fn strikes_disk(self) -> bool {
        matches!(self, Self::DiskFull | Self::BitRot | Self::PowerCut | Self::SyncError)
    }

    /// Whether the product has to write over TLS.
    pub fn needs_tls(self) -> bool {
        matches!(self, Self::Certificates | Self::CertificateEnds(_))
    }

    /// Whether it is to be drawn where nobody asks for it by name.
    pub fn is_drawn_unasked(self) -> bool {
        match self {
            // A clock that is wrong for longer than Kafka accepts is a matter of its own.
            Self::Idle | Self::Memory(_) | Self::Clock(_) => false,
            // Brokers that forget so soon do not recognise what is sent again later than that.
            Self::Oblivion => false,
            // Clients at QoS 2 all have sessions then.
            Self::Storm => false,
            // Clients are sent away, and those without a session send anew what may already be stored.
            Self::DenyTopic => false,
            // The product's two sinks have a connector each then, and what strikes one strikes the other.
            Self::ShutOut => false,
            // Its clients do not come back from the product's end.
            Self::Poison => false,
            // Nothing that goes wrong on the way to a broker can go wrong over TLS.
            Self::Certificates | Self::CertificateEnds(_) => false,
            // All brokers write through to disks of their own then, which is slower for all of them.
            Self::SlowDisk(_) => false,
            // What was acknowledged is gone.
            Self::DeleteTopic | Self::RackPowerCut | Self::BitRot => false,
            _ => true,
        }
    }

    /// Whether it makes sense there at all, as the product is by default.
    pub fn fits(self, connector: Connector, brokers: u32) -> bool {
        let kafka = connector == Connector::Kafka;
        match self {
            Self::BrokerRoll | Self::LeaderAlone => kafka && brokers > 1,
            // There is no buffer.
            Self::BitRot => false,
            _ if self.strikes_disk() => !kafka,
            Self::Kill | Self::ShardEnd | Self::Term | Self::Idle | Self::Storm | Self::Memory(_) | Self::Clock(_) => {
                true
            }
            _ => kafka,
        }
    }

    /// Why it cannot be done on this machine.
    pub fn obstacle(self) -> Option<Obstacle> {
        let needs_root = self.needs_disk() || matches!(self, Self::Memory(_) | Self::SlowDisk(_));
        if needs_root && !rustix::process::geteuid().is_root() {
            return Some(Obstacle::Root);
        }
        match self {
            Self::SyncError | Self::ShardEnd if !on_path("strace") => Some(Obstacle::Tool("strace")),
            Self::Clock(_) if super::clock::library().is_none() => Some(Obstacle::Tool("faketime")),
            Self::PowerCut if !on_path("perl") => Some(Obstacle::Tool("perl")),
            _ => None,
        }
    }
}

/// What a fault lacks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Obstacle {
    /// To be root.
    Root,
    /// A program of that name.
    Tool(&'static str),
}

fn on_path(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|folder| folder.join(program).is_file())
}

impl Display for Obstacle {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::Root => f.write_str("root"),
            Self::Tool(name) => write!(f, "the program {name}"),
        }
    }
}

impl Display for Who {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::Broker(id) => write!(f, "{id}"),
            Self::Leader => f.write_str("leader"),
        }
    }
}

impl Display for Fault {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())?;
        match self {
            Self::BrokerKill(who)
            | Self::BrokerPause(who)
            | Self::Blackhole(who)
            | Self::Reset(who)
            | Self::SlowLink(who)
            | Self::SlowDisk(who)
            | Self::CertificateEnds(who) => write!(f, "={who}"),
            Self::ProduceError(code) => write!(f, "={code}"),
            Self::Memory(mebibytes) => write!(f, "={mebibytes}"),
            Self::Clock(seconds) => write!(f, "={seconds:+}"),
            Self::AddPartitions(count) => write!(f, "={count}"),
            _ => Ok(()),
        }
    }
}

impl FromStr for Fault {
    type Err = Report;

    fn from_str(text: &str) -> Result<Self, Report> {
        let (name, argument) = text.split_once('=').map_or((text, None), |(name, argument)| (name, Some(argument)));
        let known = KINDS.iter().find(|(known, _)| *known == name);
        let names = || KINDS.map(|(name, _)| name).join(", ");
        let (_, kind) = known.ok_or_else(|| miette!("no fault '{name}'; there are {}", names()))?;
        let Some(argument) = argument else { return Ok(*kind) };
        let wrong = || miette!("'{argument}' is no argument of '{name}'");
        let who = || match argument {
            "leader" => Ok(Who::Leader),
            number => number.parse().ok().filter(|id| *id > 0).map(Who::Broker).ok_or_else(wrong),
        };
        Ok(match kind {
            Self::BrokerKill(_) => Self::BrokerKill(who()?),
            Self::BrokerPause(_) => Self::BrokerPause(who()?),
            Self::Blackhole(_) => Self::Blackhole(who()?),
            Self::Reset(_) => Self::Reset(who()?),
            Self::SlowLink(_) => Self::SlowLink(who()?),
            Self::SlowDisk(_) => Self::SlowDisk(who()?),
            Self::CertificateEnds(_) => Self::CertificateEnds(who()?),
            Self::ProduceError(_) => Self::ProduceError(argument.parse().map_err(|_| wrong())?),
            Self::Memory(_) => Self::Memory(argument.parse().map_err(|_| wrong())?),
            Self::Clock(_) => Self::Clock(argument.parse().map_err(|_| wrong())?),
            Self::AddPartitions(_) => {
                let count = argument.parse().ok().filter(|count| (1..=1_000).contains(count));
                Self::AddPartitions(count.ok_or_else(wrong)?)
            }
            _ => return Err(wrong()),
        })
    }
}
