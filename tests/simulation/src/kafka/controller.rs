//! Who leads what, by decision of the controller: elections, fencing, sets of replicas in sync. It never fails, and brokers
//! hear of its decisions late.
//!
//! Rules of KRaft: who leads was in sync and is up; a broker that is fenced leaves every set but the one it is alone in; each
//! change of leader, also to none, begins a leader epoch; a leader changes its set only if it knows the newest edition of the
//! partition's state.

use aqueduct::clock::Mono;

use super::partition::{Partition, Place};
use super::{Cluster, Life};

/// The state of a partition as somebody knows it.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Led {
    pub(super) leader: Option<usize>,
    pub(super) epoch: i32,
    /// Counts changes of any kind; 0: nothing is known.
    pub(super) edition: u32,
    /// Replicas in sync, a bit each.
    pub(super) isr: u16,
}

/// A topic as somebody knows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Seen {
    pub(super) life: u16,
    pub(super) partitions: u32,
}

/// A decision, as brokers hear it.
#[derive(Debug, Clone, Copy)]
pub(super) enum News {
    Led { id: u32, led: Led },
    Topic { topic: u16, seen: Option<Seen> },
    Up(u16),
}

#[derive(Debug)]
pub(super) struct Controller {
    pub(super) news: Vec<News>,
    pub(super) leds: Vec<Led>,
    pub(super) topics: Vec<Option<Seen>>,
    /// Brokers that are not fenced, a bit each.
    pub(super) up: u16,
}

impl Controller {
    pub(super) fn new(brokers: usize, topics: usize) -> Self {
        let up = (0..brokers).fold(0, |up, broker| up | 1 << broker);
        Self { news: vec![News::Up(up)], leds: Vec::new(), topics: vec![None; topics], up }
    }
}

impl Cluster {
    /// A topic is made, or made anew under another id.
    pub(super) fn create(&mut self, now: Mono, topic: usize) {
        let id = u128::from(self.random.next_u64()) << 64 | u128::from(self.random.next_u64());
        let (planned, before) = (self.topics[topic].plan.partitions, self.partitions(topic));
        if !self.topics[topic].lives.is_empty() {
            self.renewed.push(topic);
            self.counts.renewed += 1;
        }
        self.topics[topic].lives.push(Life { id, partitions: Vec::new() });
        let count = if self.plan.shrinks { planned } else { planned.max(before) };
        self.counts.shrunk += u64::from(count < before);
        for _ in 0..count {
            self.add_partition(now, topic);
        }
    }

    /// A topic gets one partition more.
    pub(super) fn add_partition(&mut self, now: Mono, topic: usize) {
        let (count, brokers) = (self.topics[topic].lives.len(), self.brokers.len());
        let life = self.topics[topic].lives.last_mut().expect("a topic that is there");
        let (id, partition) = (self.partitions.len() as u32, life.partitions.len());
        life.partitions.push(id);
        let copies = self.topics[topic].plan.replicas.clamp(1, brokers);
        let replicas: Vec<u8> = (0..copies).map(|copy| ((topic + partition + copy) % brokers) as u8).collect();
        let up = replicas.iter().copied().filter(|broker| self.controller.up >> broker & 1 == 1);
        let isr = up.clone().fold(0, |isr, broker| isr | 1 << broker);
        let leader = up.clone().next().map(usize::from);
        // Who is not up will be in sync, and lead, when it is.
        let isr = if isr == 0 { 1 << replicas[0] } else { isr };
        let place = Place { topic: topic as u16, life: (count - 1) as u16, partition: partition as u32 };
        self.partitions.push(Partition::new(place, replicas, brokers));
        self.controller.leds.push(Led::default());
        self.decide_led(now, id, Led { leader, epoch: 0, edition: 0, isr });
        let seen = Some(Seen { life: place.life, partitions: place.partition + 1 });
        self.controller.topics[topic] = seen;
        self.publish(now, News::Topic { topic: place.topic, seen });
    }

    pub(super) fn delete(&mut self, now: Mono, topic: usize) {
        self.controller.topics[topic] = None;
        self.publish(now, News::Topic { topic: topic as u16, seen: None });
        self.counts.deleted += 1;
    }

    /// The controller misses a broker, or it registers anew.
    pub(super) fn fence(&mut self, now: Mono, broker: usize) {
        if self.controller.up >> broker & 1 == 0 {
            return;
        }
        self.controller.up &= !(1 << broker);
        self.publish(now, News::Up(self.controller.up));
        for id in 0..self.controller.leds.len() as u32 {
            let led = self.controller.leds[id as usize];
            if led.leader == Some(broker) {
                self.elect(now, id);
            } else if led.isr >> broker & 1 == 1 && led.isr.count_ones() > 1 {
                self.counts.shrinks += 1;
                self.decide_led(now, id, Led { isr: led.isr & !(1 << broker), ..led });
            }
        }
    }

    /// The controller takes a broker back.
    pub(super) fn unfence(&mut self, now: Mono, broker: usize) {
        self.controller.up |= 1 << broker;
        self.publish(now, News::Up(self.controller.up));
        for id in 0..self.controller.leds.len() as u32 {
            let led = self.controller.leds[id as usize];
            if led.leader.is_none() && led.isr >> broker & 1 == 1 {
                self.elect(now, id);
            }
        }
    }

    /// The first replica that is in sync and up leads; without one, nobody does.
    fn elect(&mut self, now: Mono, id: u32) {
        let led = self.controller.leds[id as usize];
        let up = led.isr & self.controller.up;
        let mut candidates = self.partitions[id as usize].replicas.iter().map(|&broker| usize::from(broker));
        let leader = candidates.find(|broker| up >> broker & 1 == 1);
        let isr = if up == 0 { led.isr } else { up };
        match leader {
            Some(_) => self.counts.elections += 1,
            None => self.counts.leaderless += 1,
        }
        self.decide_led(now, id, Led { leader, epoch: led.epoch + 1, isr, ..led });
    }

    /// Another replica in sync leads, if there is one.
    pub(super) fn move_leader(&mut self, now: Mono, id: u32) {
        let led = self.controller.leds[id as usize];
        let others = led.isr & self.controller.up & !led.leader.map_or(0, |leader| 1 << leader);
        if others == 0 {
            return;
        }
        let nth = self.random.below(u64::from(others.count_ones())) as usize;
        let leader = (0..self.brokers.len()).filter(|broker| others >> broker & 1 == 1).nth(nth);
        self.counts.elections += 1;
        self.decide_led(now, id, Led { leader, epoch: led.epoch + 1, ..led });
    }

    /// A leader asks for another set of replicas in sync. Whether it gets it.
    pub(super) fn alter_isr(&mut self, now: Mono, broker: usize, id: u32, isr: u16) -> bool {
        let (decided, known) = (self.controller.leds[id as usize], self.brokers[broker].leds[id as usize]);
        if decided.leader != Some(broker) || decided.edition != known.edition {
            return false;
        }
        if isr.count_ones() < decided.isr.count_ones() {
            self.counts.shrinks += 1;
        } else {
            self.counts.expands += 1;
        }
        self.decide_led(now, id, Led { isr, ..decided });
        self.brokers[broker].leds[id as usize] = self.controller.leds[id as usize];
        true
    }

    fn decide_led(&mut self, now: Mono, id: u32, led: Led) {
        let led = Led { edition: led.edition + 1, ..led };
        self.controller.leds[id as usize] = led;
        self.publish(now, News::Led { id, led });
    }

    fn publish(&mut self, now: Mono, news: News) {
        self.controller.news.push(news);
        for broker in 0..self.brokers.len() {
            self.plan_news(now, broker);
        }
    }
}
