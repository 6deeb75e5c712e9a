//! Faults of the whole cluster, drawn period by period; and the end of all faults.

use aqueduct::clock::Mono;

use super::Cluster;
use super::broker::State;
use super::timeline::Event;

impl Cluster {
    /// Draws what goes wrong in this period.
    pub(super) fn nemesis(&mut self, now: Mono) {
        self.timeline.plan(now + self.plan.nemesis_ns, Event::Nemesis);
        let faults = self.faults;
        if self.random.chance(faults.leader_move) {
            let id = self.random.below(self.partitions.len().max(1) as u64) as u32;
            if (id as usize) < self.partitions.len() {
                self.move_leader(now, id);
            }
        }
        if self.random.chance(faults.kill) {
            let (broker, ns) = (self.any_broker(), self.random.below(faults.dead_ns_max + 1));
            if self.brokers[broker].state != State::Dead {
                self.kill(now, broker, ns);
            }
        }
        if self.random.chance(faults.freeze) {
            let (broker, ns) = (self.any_broker(), self.random.below(faults.frozen_ns_max + 1));
            let host = self.random.chance(500_000);
            if self.brokers[broker].is_up() {
                self.freeze(now, broker, host, ns);
            }
        }
        if self.random.chance(faults.stall) {
            let broker = self.any_broker();
            self.brokers[broker].stalled_until = now + self.random.below(faults.stalled_ns_max + 1);
            if self.random.chance(faults.shrink) {
                self.drop_from_sync(now, broker);
            }
        }
        if self.random.chance(faults.outage) {
            self.lose_power(now);
        }
        self.change_topics(now);
    }

    /// All brokers are without power, as one rack is; of what they had acknowledged some was not written yet.
    fn lose_power(&mut self, now: Mono) {
        for broker in 0..self.brokers.len() {
            let ns = self.random.below(self.faults.dead_ns_max.max(1) + 1);
            if self.brokers[broker].state != State::Dead {
                self.kill(now, broker, ns);
            }
        }
        for id in 0..self.partitions.len() {
            let topic = usize::from(self.partitions[id].place.topic);
            // Who buries a record, and where, is judged one by one.
            if self.topics[topic].plan.takes_poison || self.random.below(2) == 0 {
                continue;
            }
            let committed = self.partitions[id].committed() as u64;
            let gone = self.random.below(u64::from(self.faults.lost_batches_max) + 1).min(committed);
            for batch in self.partitions[id].lose((committed - gone) as usize) {
                let fresh = self.committed.iter().position(|&committed| committed == (id as u32, batch));
                if let Some(at) = fresh {
                    // Nobody has looked at it yet.
                    self.committed.remove(at);
                } else {
                    self.lost.push((id as u32, batch));
                }
                self.counts.lost += u64::from(self.partitions[id].show(batch).records);
            }
        }
    }

    fn change_topics(&mut self, now: Mono) {
        let faults = self.faults;
        if self.topics.is_empty() {
            return;
        }
        let topic = self.random.below(self.topics.len() as u64) as usize;
        if self.random.chance(faults.resize) {
            let (least, most) = (u64::from(faults.batch_bytes_min), u64::from(self.plan.batch_bytes_max));
            self.topics[topic].batch_bytes_max = self.random.between(least.min(most), most) as usize;
        }
        let Some(seen) = self.controller.topics[topic] else { return };
        if seen.partitions < faults.partitions_max && self.random.chance(faults.grow) {
            self.counts.grown += 1;
            self.add_partition(now, topic);
        }
        if self.random.chance(faults.delete) {
            self.delete(now, topic);
            let at = now + self.random.below(faults.deleted_ns_max + 1);
            self.timeline.plan(at, Event::Recreate { topic: topic as u16 });
        }
    }

    pub(super) fn recreate(&mut self, now: Mono, topic: usize) {
        if self.controller.topics[topic].is_none() {
            self.create(now, topic);
        }
    }

    /// How late brokers hear news at the moment.
    pub(super) fn news_ns(&mut self) -> (u64, u64) {
        let (least, most) = self.plan.news_ns;
        if self.random.chance(self.faults.slow_news) {
            (least, most.max(self.faults.news_ns_max))
        } else {
            (least, most)
        }
    }

    /// Ends everything that is wrong with brokers and topics.
    pub(super) fn rescue(&mut self, now: Mono) {
        for broker in 0..self.brokers.len() {
            self.brokers[broker].stalled_until = now;
            match self.brokers[broker].state {
                State::Up => {}
                State::Dead => self.restart(now, broker),
                State::Frozen { .. } => self.thaw(now, broker),
            }
            self.hurry(now, broker);
        }
        for topic in 0..self.topics.len() {
            self.topics[topic].batch_bytes_max = self.plan.batch_bytes_max as usize;
            self.recreate(now, topic);
        }
    }

    /// Leaders take a follower for out of sync that is slow to copy.
    fn drop_from_sync(&mut self, now: Mono, broker: usize) {
        for id in 0..self.partitions.len() as u32 {
            let Some(leader) = self.controller.leds[id as usize].leader else { continue };
            let isr = self.brokers[leader].leds.get(id as usize).map_or(0, |led| led.isr);
            if leader != broker
                && self.brokers[leader].is_up()
                && isr >> broker & 1 == 1
                && self.alter_isr(now, leader, id, isr & !(1 << broker))
            {
                self.advance(now, leader, id);
                self.list(now, broker, id);
            }
        }
    }

    fn any_broker(&mut self) -> usize {
        self.random.below(self.brokers.len() as u64) as usize
    }
}
