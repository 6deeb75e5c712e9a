//! Several shards whose messages meet in random order, in order for each pair; a seed replays it.

use std::collections::VecDeque;

use super::mqtt_client::{connect_with, read};
use super::rig::{Rig, packet};
use crate::config::{Deliver, PartitionStrategy};
use crate::shard::io::{ConnKey, Input, Machine as _, ShardId};
use crate::shard::mesh::MeshMsg;
use crate::shard::placement::home_of;
use crate::shard::{Settings, SinkSettings};
use crate::sink::Writer;
use crate::sink::discard::Discard;
use crate::sink::partitioning::Random;
use crate::ticket::{FailReason, Outcome};

use super::rig::{settings, sink};

/// Shards and what is on its way between them.
pub(super) struct Cluster {
    pub(super) rigs: Vec<Rig>,
    /// `from * shards + to`.
    pairs: Vec<VecDeque<MeshMsg>>,
    pub(super) random: Random,
    /// One in so many outcomes that cross a pair becomes a failure; 0: none.
    pub(super) refuse_one_in: u32,
    /// Parcels do not arrive.
    pub(super) parcels_stop: bool,
}

/// A client of a cluster, and all it has read.
pub(super) struct Client {
    shard: usize,
    conn: ConnKey,
    level: u8,
    pub(super) texts: Vec<String>,
}

/// Settings of one sink whose records go to random partitions, and so to random owners.
pub(super) fn scattered(shards: u16, deliver: Deliver) -> Settings {
    let sink = SinkSettings { partition_strategy: PartitionStrategy::Random, deliver, ..sink() };
    Settings { shards, qos2_max: 1000, ..settings(vec![sink]) }
}

impl Cluster {
    pub(super) fn new(settings: &Settings, seed: u64) -> Self {
        let shards = usize::from(settings.shards);
        let writer = || Writer::Discard(Discard::new(7));
        Self {
            rigs: (0..settings.shards).map(|id| Rig::at(ShardId(id), settings.clone(), writer())).collect(),
            pairs: (0..shards * shards).map(|_| VecDeque::new()).collect(),
            random: Random::new(seed),
            refuse_one_in: 0,
            parcels_stop: false,
        }
    }

    /// A client with this name and MQTT version, at home, with a clean start.
    pub(super) fn connect(&mut self, client_id: &str, level: u8) -> Client {
        let shard = usize::from(home_of(client_id, self.rigs.len() as u16).0);
        let conn = self.rigs[shard].accept();
        let mut client = Client { shard, conn, level, texts: Vec::new() };
        self.say(&mut client, &connect_with(client_id, level, |connect| connect.properties.receive_maximum = 1000));
        self.settle();
        self.read(&mut client);
        assert!(client.texts.remove(0).starts_with("connack"));
        client
    }

    /// A client whose home is that shard.
    pub(super) fn connect_at(&mut self, shard: u16, name: &str, level: u8) -> Client {
        let shards = self.rigs.len() as u16;
        let at_home = |id: &String| home_of(id, shards) == ShardId(shard);
        let client_id = (0..).map(|n| format!("{name}-{n}")).find(at_home).expect("one in so many");
        self.connect(&client_id, level)
    }

    /// Bytes of a client arrive at its shard.
    pub(super) fn say(&mut self, client: &mut Client, bytes: &[u8]) {
        self.rigs[client.shard].feed(client.conn, bytes);
    }

    /// What has been sent to a client so far; it answers what asks for an answer.
    pub(super) fn read(&mut self, client: &mut Client) {
        let sent = self.rigs[client.shard].sent(client.conn);
        for text in read(client.level, &sent) {
            let id = |mark: &str| text.split_once(mark).and_then(|(_, id)| id.split(' ').next()?.parse::<u16>().ok());
            let acks = [("@1#", 0x40), ("@2#", 0x50), ("pubrel ", 0x70), ("pubrec ", 0x62)];
            if let Some((id, first)) = acks.into_iter().find_map(|(mark, first)| Some((id(mark)?, first)))
                && !text.ends_with(" 0x83")
            {
                self.say(client, &packet(first, &id.to_be_bytes()));
            }
            client.texts.push(text);
        }
    }

    /// One thing happens: a round of some shard ends, or a message of some pair arrives. False if no message is left.
    pub(super) fn step(&mut self) -> bool {
        self.rigs.iter().for_each(|rig| rig.shard.audit_deliveries());
        let shards = self.rigs.len();
        let waiting: Vec<usize> = (0..self.pairs.len()).filter(|&pair| self.can_arrive(pair)).collect();
        let choice = self.random.below((waiting.len() + shards) as u32) as usize;
        if let Some(&pair) = waiting.get(choice) {
            self.arrive(pair);
        } else {
            self.round(choice - waiting.len());
        }
        !waiting.is_empty()
    }

    /// Everything that can happen has happened.
    pub(super) fn settle(&mut self) {
        let mut quiet = 0;
        while quiet < 20 * self.rigs.len() {
            quiet = if self.step() { 0 } else { quiet + 1 };
        }
    }

    pub(super) fn round(&mut self, shard: usize) {
        self.rigs[shard].round();
        let shards = self.rigs.len();
        for (to, message) in self.rigs[shard].world.mesh.drain(..) {
            self.pairs[shard * shards + usize::from(to.0)].push_back(message);
        }
    }

    fn can_arrive(&self, pair: usize) -> bool {
        self.pairs[pair].front().is_some_and(|m| !self.parcels_stop || !matches!(m, MeshMsg::Parcel(_)))
    }

    fn arrive(&mut self, pair: usize) {
        let (from, to) = (pair / self.rigs.len(), pair % self.rigs.len());
        let Some(mut message) = self.pairs[pair].pop_front() else { return };
        if let MeshMsg::Return(_, outcome) = &mut message
            && self.refuse_one_in > 0
            && self.random.below(self.refuse_one_in) == 0
        {
            *outcome = Outcome::Failed(FailReason::Invalid);
        }
        let Rig { shard, world, now, .. } = &mut self.rigs[to];
        shard.on(*now, Input::Mesh(ShardId(from as u16), message), world);
        // What it says while it takes a message in is on its way at once, before the messages of its round.
        self.collect(to);
    }

    fn collect(&mut self, shard: usize) {
        let shards = self.rigs.len();
        for (to, message) in self.rigs[shard].world.mesh.drain(..) {
            self.pairs[shard * shards + usize::from(to.0)].push_back(message);
        }
    }

    /// What every shard holds in the end.
    pub(super) fn assert_nothing_held(&self) {
        self.rigs.iter().for_each(Rig::assert_nothing_held);
        assert!(self.pairs.iter().all(VecDeque::is_empty));
    }
}

impl Client {
    /// Its connection, at its shard.
    pub(super) fn conn(&self) -> ConnKey {
        self.conn
    }

    /// Payloads of the publications it has read.
    pub(super) fn payloads(&self) -> Vec<&str> {
        super::mqtt_client::payloads(&self.texts)
    }
}
