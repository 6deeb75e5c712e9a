//! The slots of sinks, through all changes of the configuration: who has which, and what the next change makes of them.
//!
//! A slot is a sink's number in batches, tickets and counters, at every shard. A sink keeps its slot through any change that
//! leaves it a way to Kafka: name, connector, topic (templates of topics are one way) and kind of buffer. Where one of these
//! changes, it gets another slot, and the old one leaves with what it has. A slot is given to another sink once no shard has
//! anything left of the one before, on disk neither. The files of a sink have one slot at a time.
//!
//! Connectors have numbers in the same way ([`numbers`]), which are never given to another.

mod numbers;

use super::control::{SlotState, Snapshot};
use super::settings::{BadTemplate, Settings};
use crate::config::{BufferMode, Config, Connector, ConnectorKind, Sink};
use crate::plan::Plan;

use numbers::Numbered;

/// Who has which slot.
#[derive(Debug, Clone)]
pub struct Roster {
    /// The configuration, its sinks by slot and its connectors by number.
    config: Config,
    slots: Vec<SlotState>,
    connectors: Vec<SlotState>,
    /// Number of the change that was begun last, and of the one that shards work by.
    number: u64,
    applied: u64,
    /// What the embedded logs were opened with: connectors and topics.
    logs: Vec<(String, String)>,
}

/// Sinks by slot, as a change wants them.
#[derive(Debug)]
struct Placed {
    sinks: Vec<Sink>,
    slots: Vec<SlotState>,
    /// Slots that are taken with it, ascending.
    fresh: Vec<u16>,
}

/// Why a sink or a connector cannot become what is wanted while the node runs.
#[derive(Debug, thiserror::Error)]
pub enum NeedsRestart {
    /// What lies on disk was written for another topic or connector.
    #[error("what lies in the buffer of sinks.{0} on disk belongs to the connector and topic it was written for")]
    Stored(String),
    /// What is to be on disk now may not overtake what is in memory.
    #[error("what sinks.{0} had in memory before has not all been sent")]
    Unsent(String),
    /// The embedded log is opened at start.
    #[error("the embedded log of connectors.{0} is opened and listened for at start")]
    Log(String),
    /// The embedded log opens its topics at start.
    #[error("the embedded log opens its topics at start, and the topic of sinks.{0} is none of them")]
    LogTopic(String),
    /// There are more sinks than numbers.
    #[error("sinks have come and gone so often that no numbers are left, and sinks.{0} needs one")]
    Numbers(String),
    /// There are more connectors than numbers.
    #[error("connectors have come and gone so often that no numbers are left, and connectors.{0} needs one")]
    ConnectorNumbers(String),
    /// A template, which was checked when the configuration was read.
    #[error(transparent)]
    Template(#[from] BadTemplate),
}

impl NeedsRestart {
    /// What is concerned: the section of the configuration, and the name there.
    pub fn object(&self) -> (&'static str, &str) {
        match self {
            Self::Stored(sink) | Self::Unsent(sink) | Self::LogTopic(sink) | Self::Numbers(sink) => ("sinks", sink),
            Self::Log(connector) | Self::ConnectorNumbers(connector) => ("connectors", connector),
            Self::Template(bad) => ("sinks", &bad.sink),
        }
    }
}

/// A sink as the control thread names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SlotName {
    /// The sink's name; empty in a vacant slot.
    pub sink: String,
    /// Its connector's.
    pub connector: String,
}

impl Roster {
    /// The roster of a node that starts.
    pub fn new(config: &Config) -> Self {
        let logs = config.sinks.iter().filter(|sink| is_embedded(config, sink));
        let logs = logs.map(|sink| (config.connectors[sink.connector].name.clone(), sink.topic.clone())).collect();
        let slots = vec![SlotState::Active; config.sinks.len()];
        let connectors = vec![SlotState::Active; config.connectors.len()];
        Self { config: config.clone(), slots, connectors, number: 0, applied: 0, logs }
    }

    /// The names of all slots.
    pub fn names(&self) -> Vec<SlotName> {
        let name = |(sink, &state): (&Sink, &SlotState)| match state {
            SlotState::Vacant => SlotName { sink: String::new(), connector: String::new() },
            _ => SlotName { sink: sink.name.clone(), connector: self.config.connectors[sink.connector].name.clone() },
        };
        self.config.sinks.iter().zip(&self.slots).map(name).collect()
    }

    /// The names of all connectors by number; empty where nobody has it any more.
    pub fn connector_names(&self) -> Vec<String> {
        let name = |(connector, &state): (&Connector, &SlotState)| match state {
            SlotState::Vacant => String::new(),
            _ => connector.name.clone(),
        };
        self.config.connectors.iter().zip(&self.connectors).map(name).collect()
    }

    /// The connector with this number, in the configuration that shards work by.
    pub fn connector(&self, number: u16) -> Option<&Connector> {
        self.config.connectors.get(usize::from(number))
    }

    /// Who has a slot.
    pub fn state(&self, slot: u16) -> SlotState {
        self.slots.get(usize::from(slot)).copied().unwrap_or(SlotState::Vacant)
    }

    /// The number of the change that shards work by.
    pub fn applied_number(&self) -> u64 {
        self.applied
    }

    /// What every shard is to be told so that the node works by `wanted`.
    ///
    /// # Errors
    /// If a sink or a connector cannot become what is wanted without a restart.
    pub fn next(&self, wanted: &Config, plan: &Plan) -> Result<Snapshot, NeedsRestart> {
        let Numbered { list, states, numbers, fresh: fresh_connectors, changed } = self.number_connectors(wanted)?;
        // From here on sinks name their connectors by number.
        let mut wanted = wanted.clone();
        wanted.sinks.iter_mut().for_each(|sink| sink.connector = numbers[sink.connector]);
        wanted.connectors = list;
        let Placed { sinks, slots, fresh } = self.place_sinks(&wanted)?;
        let (number, config) = (self.number + 1, Config { sinks, ..wanted });
        let snapshot = Snapshot {
            number,
            config,
            plan: plan.clone(),
            slots,
            fresh,
            connectors: states,
            fresh_connectors,
            changed_connectors: changed,
        };
        Settings::of(&snapshot, None)?;
        Ok(snapshot)
    }

    fn place_sinks(&self, wanted: &Config) -> Result<Placed, NeedsRestart> {
        let mut slots = self.slots.clone();
        let mut sinks = self.config.sinks.clone();
        let mut taken = Vec::with_capacity(wanted.sinks.len());
        for sink in &wanted.sinks {
            let old = self.slot_of(sink);
            if old.is_none() {
                self.may_be_new(wanted, sink)?;
            }
            taken.push(old);
        }
        for (at, state) in slots.iter_mut().enumerate().filter(|(_, state)| **state == SlotState::Active) {
            if !taken.contains(&Some(at)) {
                *state = SlotState::Leaving;
                sinks[at].source_topics.clear();
            }
        }
        let mut fresh = Vec::new();
        for (sink, slot) in wanted.sinks.iter().zip(&mut taken) {
            let at = slot.unwrap_or_else(|| slots.iter().position(|s| *s == SlotState::Vacant).unwrap_or(slots.len()));
            if slot.is_none() {
                fresh.push(u16::try_from(at).map_err(|_| NeedsRestart::Numbers(sink.name.clone()))?);
            }
            if at == slots.len() {
                slots.push(SlotState::Vacant);
                sinks.push(sink.clone());
            }
            slots[at] = SlotState::Active;
            *slot = Some(at);
        }
        for (sink, slot) in wanted.sinks.iter().zip(&taken) {
            let Some(at) = *slot else { continue };
            let dead_letter = sink.dead_letter.and_then(|grave| taken.get(grave).copied().flatten());
            sinks[at] = Sink { dead_letter, ..sink.clone() };
        }
        fresh.sort_unstable();
        Ok(Placed { sinks, slots, fresh })
    }

    /// Every shard works by `snapshot`.
    pub fn applied(&mut self, snapshot: Snapshot) {
        (self.number, self.applied) = (snapshot.number, snapshot.number);
        (self.config, self.slots, self.connectors) = (snapshot.config, snapshot.slots, snapshot.connectors);
    }

    /// `snapshot` was withdrawn. The slots that shards have made for it are vacant.
    pub fn withdrawn(&mut self, snapshot: Snapshot) {
        let own = self.slots.len();
        let mut sinks = snapshot.config.sinks;
        // Shards have made these, in slots that nobody had.
        for slot in snapshot.fresh.iter().map(|&slot| usize::from(slot)).filter(|&slot| slot < own) {
            self.config.sinks[slot] = Sink { dead_letter: None, ..sinks[slot].clone() };
        }
        sinks.drain(..own);
        self.config.sinks.extend(sinks);
        self.slots.resize(self.config.sinks.len(), SlotState::Vacant);
        let gone = snapshot.config.connectors.into_iter().skip(self.connectors.len()).map(|connector| connector.bare());
        self.config.connectors.extend(gone);
        self.connectors.resize(self.config.connectors.len(), SlotState::Vacant);
        self.number = snapshot.number;
    }

    /// No shard has anything left of a sink. Whether its slot is vacant now.
    pub fn left(&mut self, slot: u16) -> bool {
        let at = usize::from(slot);
        if self.state(slot) != SlotState::Leaving {
            return false;
        }
        self.slots[at] = SlotState::Vacant;
        self.config.sinks[at].dead_letter = None;
        true
    }

    /// The slot that a sink has, or had and can go on with.
    fn slot_of(&self, sink: &Sink) -> Option<usize> {
        let is_it = |(old, state): (&Sink, &SlotState)| {
            *state != SlotState::Vacant
                && old.name == sink.name
                && old.connector == sink.connector
                && old.is_topic_live() == sink.is_topic_live()
                && (old.is_topic_live() || old.topic == sink.topic)
                && (old.buffer_mode, &old.buffer_dir) == (sink.buffer_mode, &sink.buffer_dir)
        };
        self.config.sinks.iter().zip(&self.slots).position(is_it)
    }

    /// Whether a sink can get a slot while the node runs.
    fn may_be_new(&self, wanted: &Config, sink: &Sink) -> Result<(), NeedsRestart> {
        let slots = self.config.sinks.iter().zip(&self.slots);
        let mut own = slots.filter(|(old, state)| **state != SlotState::Vacant && old.name == sink.name).peekable();
        let is_unsent = sink.buffer_mode != BufferMode::Memory && own.peek().is_some();
        if own.any(|(old, _)| old.buffer_mode != BufferMode::Memory) {
            return Err(NeedsRestart::Stored(sink.name.clone()));
        }
        if is_unsent {
            return Err(NeedsRestart::Unsent(sink.name.clone()));
        }
        let connector = &wanted.connectors[sink.connector].name;
        if is_embedded(wanted, sink) && !self.logs.iter().any(|(of, topic)| of == connector && *topic == sink.topic) {
            return Err(NeedsRestart::LogTopic(sink.name.clone()));
        }
        Ok(())
    }
}

fn is_embedded(config: &Config, sink: &Sink) -> bool {
    config.connectors.get(sink.connector).is_some_and(is_embedded_kind)
}

fn is_embedded_kind(connector: &Connector) -> bool {
    matches!(connector.kind, ConnectorKind::Embedded(_))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Document, Loaded, Machine, Sources};

    const TWO: &str = "[connectors.k]\n[sinks.a]\nconnector = \"k\"\ntopic = \"a\"\n\
                       [sinks.b]\nconnector = \"k\"\ntopic = \"b\"\n";

    pub(super) fn read(text: &str) -> (Config, Plan) {
        let machine = Machine { memory_bytes: 1 << 30, cores: 1, descriptors: 1024 };
        let loaded = Loaded::load(&Sources::file(Document::new("a.toml", text)), &machine).expect("a configuration");
        let plan = Plan::new(&loaded.config, &machine).expect("a plan");
        (loaded.config, plan)
    }

    pub(super) fn next(roster: &Roster, text: &str) -> Result<Snapshot, NeedsRestart> {
        let (config, plan) = read(text);
        roster.next(&config, &plan)
    }

    #[test]
    fn a_sink_keeps_its_slot_whatever_stands_before_it() {
        let roster = Roster::new(&read(TWO).0);
        let more = format!("[sinks.c]\nconnector = \"k\"\ntopic = \"c\"\ndead_letter = \"b\"\n{TWO}");
        let snapshot = next(&roster, &more).expect("a change");
        let names: Vec<&str> = snapshot.config.sinks.iter().map(|sink| sink.name.as_str()).collect();
        assert_eq!((names, snapshot.fresh.as_slice()), (vec!["a", "b", "c"], [2].as_slice()));
        assert_eq!(snapshot.config.sinks[2].dead_letter, Some(1));
    }

    #[test]
    fn a_slot_is_given_away_when_its_sink_has_left_everywhere() {
        use SlotState::{Active, Leaving, Vacant};
        let mut roster = Roster::new(&read(TWO).0);
        let without = TWO.replace("sinks.b", "sinks.c").replace("topic = \"b\"", "topic = \"c\"");
        let snapshot = next(&roster, &without).expect("a change");
        assert_eq!(
            (snapshot.slots.as_slice(), snapshot.fresh.as_slice()),
            ([Active, Leaving, Active].as_slice(), [2].as_slice())
        );
        roster.applied(snapshot);
        let again = next(&roster, TWO).expect("a change");
        assert_eq!((again.slots.as_slice(), again.fresh.is_empty()), ([Active, Active, Leaving].as_slice(), true));
        assert!(roster.left(1) && !roster.left(0));
        let other = next(&roster, TWO).expect("a change");
        assert_eq!(
            (other.slots.as_slice(), other.fresh.as_slice()),
            ([Active, Active, Leaving].as_slice(), [1].as_slice())
        );
        roster.withdrawn(other);
        assert_eq!(roster.state(1), Vacant);
    }

    #[test]
    fn another_topic_is_another_slot_and_another_template_is_not() {
        let roster = Roster::new(&read(TWO).0);
        let moved = next(&roster, &TWO.replace("topic = \"a\"", "topic = \"z\"")).expect("a change");
        assert_eq!((moved.slots[0], moved.fresh.as_slice()), (SlotState::Leaving, [2].as_slice()));
        let template = TWO.replace("topic = \"a\"", "topic = \"t-${qos}\"");
        let roster = Roster::new(&read(&template).0);
        let same = next(&roster, &template.replace("t-", "u-")).expect("a change");
        assert!(same.fresh.is_empty());
    }

    #[test]
    fn what_lies_on_disk_stays_what_it_is() {
        let disk = TWO.replace("topic = \"a\"", "topic = \"a\"\nbuffer.mode = \"disk\"");
        let roster = Roster::new(&read(&disk).0);
        let moved = next(&roster, &disk.replace("topic = \"a\"", "topic = \"z\""));
        assert!(matches!(moved, Err(NeedsRestart::Stored(sink)) if sink == "a"));
        let mut roster = roster;
        let none = &TWO[..TWO.find("[sinks.a]").unwrap_or_default()];
        let gone = next(&roster, none).expect("a change");
        roster.applied(gone);
        let moved = next(&roster, &disk.replace("topic = \"a\"", "topic = \"z\""));
        assert!(matches!(moved, Err(NeedsRestart::Stored(_))), "it has not been sent");
        let back = next(&roster, &disk).expect("a change");
        assert_eq!((back.slots[0], back.fresh.is_empty()), (SlotState::Active, true), "it goes on where it was");
        assert!(roster.left(0));
        let moved = next(&roster, &disk.replace("topic = \"a\"", "topic = \"z\"")).expect("a change");
        assert_eq!((moved.slots[0], moved.fresh.as_slice()), (SlotState::Active, [0].as_slice()));
    }

    #[test]
    fn a_sink_comes_with_its_files_once_nothing_of_its_name_is_in_memory() {
        let disk = TWO.replace("topic = \"a\"", "topic = \"a\"\nbuffer.mode = \"disk\"");
        let none = &TWO[..TWO.find("[sinks.a]").unwrap_or_default()];
        let added = next(&Roster::new(&read(none).0), &disk).expect("a change");
        assert_eq!(added.fresh, [0, 1]);
        let mut roster = Roster::new(&read(TWO).0);
        assert!(matches!(next(&roster, &disk), Err(NeedsRestart::Unsent(sink)) if sink == "a"));
        let gone = next(&roster, none).expect("a change");
        roster.applied(gone);
        assert!(matches!(next(&roster, &disk), Err(NeedsRestart::Unsent(_))));
        assert!(roster.left(0));
        assert_eq!(next(&roster, &disk).expect("a change").fresh, [0]);
    }

    #[test]
    fn the_embedded_log_has_the_topics_of_its_start() {
        let log = TWO.replace("[connectors.k]", "[connectors.k]\ntype = \"embedded\"");
        let roster = Roster::new(&read(&log).0);
        let known = format!("{log}[sinks.c]\nconnector = \"k\"\ntopic = \"a\"\n");
        assert_eq!(next(&roster, &known).expect("a change").fresh, [2]);
        let unknown = next(
            &roster,
            &known
                .replace("[sinks.c]\nconnector = \"k\"\ntopic = \"a\"", "[sinks.c]\nconnector = \"k\"\ntopic = \"c\""),
        );
        assert!(matches!(unknown, Err(NeedsRestart::LogTopic(sink)) if sink == "c"));
    }
}
