//! The end of a world: everything works again, everything that was begun comes to its end, and nothing is left.

use aqueduct::shard::control::Command;

use super::rounds::Service;
use super::{World, trace};
use crate::client::Client;
use crate::message::MessageId;
use crate::random::Random;

/// How long it may take until every publication has its answer once nothing fails any more, simulated nanoseconds. The longest
/// timeout of a plan is 10 s, a partition that no answer names is waited for for a minute, and some wait for others.
const LIVENESS_NS: u64 = 400_000_000_000;
/// By then the brokers have copied from each other what nobody waits for.
const QUIET_NS: u64 = 2_000_000_000;
/// By then everything is delivered: as long as a partition may be waited for, of what nobody has an answer to wait for (QoS 0).
const DELIVERED_NS: u64 = 100_000_000_000;
/// Between two looks at that.
const LOOK_NS: u64 = 200_000_000;
/// How long a drain may take then: as long as a partition that no answer names is waited for, and whoever waits behind it.
const DRAIN_NS: u64 = 100_000_000_000;

impl World {
    /// Heals the world and draws the verdict.
    ///
    /// # Panics
    /// If something does not end, or is wrong at the end.
    pub(crate) fn end(&mut self) {
        self.come_to_rest();
        self.judge();
    }

    /// Heals the world and waits until nothing that was begun is open.
    ///
    /// # Panics
    /// If something does not end.
    pub(super) fn come_to_rest(&mut self) {
        self.heal();
        self.run_until("every publication has its answer", LIVENESS_NS, |world| {
            !world.down && world.clients.iter().all(|client| client.is_done())
        });
        self.run_until("every buffer on disk has been sent", LIVENESS_NS, |world| {
            world.nodes.iter().all(|node| node.shard.stored_records() == 0)
        });
        self.run_until("no change is under way", LIVENESS_NS, World::is_unchanging);
        let missing = self.wait_for_deliveries();
        self.drain();
        self.run_until("all shards are drained", DRAIN_NS, |world| {
            world.nodes.iter().all(|node| node.drained.is_some())
        });
        if self.cluster.is_some() {
            let quiet = self.now + QUIET_NS;
            self.run_until("the cluster is whole", DRAIN_NS, |world| world.now >= quiet && world.is_whole());
        }
        self.judge_shards();
        let dropped: u64 = self.nodes.iter().map(|node| node.deliveries_dropped).sum();
        let lost = missing.len() as u64;
        let first = missing.first();
        assert!(lost <= dropped, "VIOLATION {lost} deliveries are missing, {dropped} gave way; the first: {first:?}");
    }

    /// Until everybody has what he is to have, or it is clear that he will not get it. Clients and messages that are missing.
    fn wait_for_deliveries(&mut self) -> Vec<(usize, MessageId)> {
        let end = self.now + DELIVERED_NS;
        loop {
            let missing = |client: &Client| {
                let index = client.index;
                client.missing(&self.plan, &self.ledger).into_iter().map(move |id| (index, id))
            };
            let missing: Vec<_> = self.clients.iter().flat_map(missing).collect();
            if missing.is_empty() || self.now > end {
                return missing;
            }
            let next = self.now + LOOK_NS;
            self.run_until("some time has passed", LIVENESS_NS, |world| world.now >= next);
        }
    }

    fn is_whole(&self) -> bool {
        self.zombies.is_empty() && self.cluster.as_ref().is_none_or(|cluster| cluster.is_whole())
    }

    fn heal(&mut self) {
        trace!(self, "everything works again");
        self.faults = self.faults.none();
        self.healing = true;
        for node in &mut self.nodes {
            node.ports.short = (0, 0);
        }
        let now = self.brokers_clock();
        if let Some(cluster) = &mut self.cluster {
            cluster.heal(now);
            self.look_at_cluster();
        }
        if let Some(disks) = &mut self.disks {
            disks.heal();
        }
        for client in 0..self.clients.len() {
            self.clients[client].deaf_until = 0;
            let at = self.now + self.random.below(1_000_000);
            self.wake_client(client, at);
        }
    }

    fn run_until(&mut self, what: &str, within_ns: u64, is_so: impl Fn(&World) -> bool) {
        let end = self.now + within_ns;
        let mut steps: u64 = 0;
        while !is_so(self) {
            steps += 1;
            let alive = self.step();
            if !alive || self.now > end || steps > 20_000_000 {
                panic!("VIOLATION {} s were not enough until {what}:\n{}", within_ns / 1_000_000_000, self.open_text());
            }
        }
    }

    fn drain(&mut self) {
        trace!(self, "the shards drain");
        self.closing = true;
        // A server that shuts down keeps wills to itself.
        self.clients.iter_mut().for_each(Client::forget_will);
        for shard in 0..self.nodes.len() {
            self.nodes[shard].services.push_back(Service::Command(Command::Scrape { token: 1 }));
            self.nodes[shard].services.push_back(Service::Command(Command::Drain));
            self.wake_shard(shard, self.now);
        }
    }

    fn judge_shards(&self) {
        for shard in 0..self.nodes.len() {
            let (acked, unacked) = self.nodes[shard].drained.unwrap_or_default();
            assert!(
                acked == 0 && unacked == 0,
                "VIOLATION shard {shard} dropped {acked} and {unacked} records of a drain"
            );
            self.audit(shard);
            let (used, _) = self.nodes[shard].shard.charged_bytes();
            let used = used - self.nodes[shard].shard.index_bytes();
            assert!(used == 0, "VIOLATION shard {shard} holds {used} bytes after its drain");
        }
    }

    fn judge(&mut self) {
        self.take_committed();
        let admitted = self.admitted + self.possible_duplicates();
        self.ledger.judge(&self.plan, admitted, self.cluster.as_ref());
        if self.plan.acks_all && self.has_kept() {
            self.ledger.judge_wills(&self.plan);
        }
        if self.plan.acks_all {
            let (told, lost) = (self.losses_told(), self.losses());
            assert!(
                told <= lost,
                "VIOLATION the node says that {told} acknowledged records are gone, of which this cluster keeps all but {lost}"
            );
        }
        let mut found = self.ledger.counts();
        self.count_cluster(&mut found);
        if let Some(disks) = &self.disks {
            disks.count(|sink, id| found.count(sink, id, None));
        }
        let mut given_up = self.given_up;
        given_up.add(&self.records_given_up());
        self.ledger.judge_logs(&self.plan, &found, &given_up);
        let now = self.clock();
        if let Some(disks) = &mut self.disks {
            disks.rot(now);
        }
        trace!(
            self,
            "{} acknowledged, {} stored, {admitted} possible duplicates", self.ledger.acked, self.ledger.stored
        );
    }

    fn open_text(&self) -> String {
        let open = self.clients.iter().zip(&self.plan.clients).filter(|(client, _)| !client.is_done());
        open.map(|(client, plan)| format!("  {} {}\n", plan.name, client.open_text())).collect()
    }

    /// Two runs that were the same have the same.
    pub(crate) fn digest(&self) -> u64 {
        let (acked, stored) = self.totals();
        let chance = self.random.clone().next_u64();
        [self.now, self.mix.steps(), acked, stored]
            .into_iter()
            .fold(chance, |digest, n| Random::new(digest ^ n).next_u64())
    }

    /// Messages acknowledged, and records stored.
    pub(crate) fn totals(&self) -> (u64, u64) {
        (self.ledger.acked, self.ledger.stored)
    }
}
