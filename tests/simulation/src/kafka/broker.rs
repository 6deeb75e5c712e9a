//! Brokers: up, dead or standing still; what each knows of the cluster; followers that copy.
//!
//! A broker hears all news that there are at once, after a while. Between two decisions that it hears together it never
//! leads.

use aqueduct::clock::Mono;

use super::controller::{Led, News, Seen};
use super::faults::code;
use super::held::{Held, Token, Waits};
use super::timeline::Event;
use super::{Cluster, Handled, Released};

/// A follower asks again after so long when its leader did not answer.
const RETRY_NS: u64 = 10_000_000;

/// Heartbeats go to the controller about so often.
const HEARTBEAT_NS: u64 = 20_000_000;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    Up,
    /// It stands still, and with it its host or not.
    Frozen {
        host: bool,
    },
    Dead,
}

#[derive(Debug)]
pub(super) struct Broker {
    pub(super) state: State,
    /// Changes with the state.
    pub(super) life: u32,
    /// How much of the news it knows.
    pub(super) heard: usize,
    news_planned: bool,
    /// By partition, as it knows them.
    pub(super) leds: Vec<Led>,
    pub(super) topics: Vec<Option<Seen>>,
    /// Brokers that it knows to be up, a bit each.
    pub(super) up: u16,
    /// Partitions of which it copies what is new.
    to_fetch: Vec<u32>,
    fetch_planned: bool,
    pub(super) stalled_until: Mono,
    /// Requests that reached it while it stood still.
    pub(super) unread: Vec<Token>,
}

impl Broker {
    pub(super) fn new(topics: usize) -> Self {
        Self {
            state: State::Up,
            life: 0,
            heard: 0,
            news_planned: false,
            leds: Vec::new(),
            topics: vec![None; topics],
            up: 0,
            to_fetch: Vec::new(),
            fetch_planned: false,
            stalled_until: Mono::default(),
            unread: Vec::new(),
        }
    }

    pub(super) fn is_up(&self) -> bool {
        self.state == State::Up
    }

    fn turn(&mut self, state: State) {
        self.state = state;
        self.life += 1;
        (self.news_planned, self.fetch_planned) = (false, false);
    }
}

impl Cluster {
    /// Carries out what was planned, unless its broker has changed since.
    pub(super) fn happen(&mut self, now: Mono, event: Event) {
        match event {
            Event::News { broker, life } if self.lives(broker, life) => self.hear_news(now, usize::from(broker)),
            Event::Fetch { broker, life } if self.lives(broker, life) => self.fetch(now, usize::from(broker)),
            Event::Fence { broker, life } if self.lives(broker, life) => self.fence(now, usize::from(broker)),
            Event::Unfence { broker, life } if self.lives(broker, life) => self.unfence(now, usize::from(broker)),
            Event::Restart { broker, life } if self.lives(broker, life) => self.restart(now, usize::from(broker)),
            Event::Thaw { broker, life } if self.lives(broker, life) => self.thaw(now, usize::from(broker)),
            Event::Lag => self.look_for_lag(now),
            Event::Recreate { topic } => self.recreate(now, usize::from(topic)),
            Event::Nemesis => self.nemesis(now),
            _ => {}
        }
    }

    fn lives(&self, broker: u8, life: u32) -> bool {
        self.brokers[usize::from(broker)].life == life
    }

    /// The process dies: connections break, what waited is gone, the log stays.
    pub(super) fn kill(&mut self, now: Mono, broker: usize, dead_ns: u64) {
        self.brokers[broker].turn(State::Dead);
        self.counts.kills += 1;
        self.broken.push(broker);
        for token in self.waiting.at(broker) {
            self.waiting.end(token);
        }
        self.brokers[broker].unread.clear();
        for partition in &mut self.partitions {
            partition.follow(broker);
        }
        let life = self.brokers[broker].life;
        self.timeline.plan(now + self.plan.session_ns, Event::Fence { broker: broker as u8, life });
        self.timeline.plan(now + dead_ns, Event::Restart { broker: broker as u8, life });
    }

    /// The process starts. The controller, which may not have missed it, takes it for a new one.
    pub(super) fn restart(&mut self, now: Mono, broker: usize) {
        self.fence(now, broker);
        self.brokers[broker].turn(State::Up);
        self.hear_news(now, broker);
        self.plan_fetch(now, broker, 0);
        self.plan_unfence(now, broker);
    }

    pub(super) fn freeze(&mut self, now: Mono, broker: usize, host: bool, frozen_ns: u64) {
        self.brokers[broker].turn(State::Frozen { host });
        self.counts.freezes += 1;
        let life = self.brokers[broker].life;
        self.timeline.plan(now + self.plan.session_ns, Event::Fence { broker: broker as u8, life });
        self.timeline.plan(now + frozen_ns, Event::Thaw { broker: broker as u8, life });
    }

    /// It goes on where it stood, and does not know yet what has happened since.
    pub(super) fn thaw(&mut self, now: Mono, broker: usize) {
        self.brokers[broker].turn(State::Up);
        for token in std::mem::take(&mut self.brokers[broker].unread) {
            let Some(Held { waits: Waits::Unread(unread), .. }) = self.waiting.take(token) else { continue };
            let mut frame = self.spare_frames.pop().unwrap_or_default();
            let batches = unread.batches.iter().map(Vec::as_slice);
            match self.handle(now, broker, &unread.head, &unread.cuts, batches, &mut frame) {
                Handled::Done(reply) => {
                    self.waiting.end(token);
                    let told = self.told();
                    self.released.push(Released { token, reply, frame, told });
                }
                Handled::Waits(waits) => {
                    self.waiting.replace(token, Held { broker, waits });
                    self.await_replicas(broker, token);
                }
            }
        }
        // Timers that ran out meanwhile.
        self.waiting.until = Some(now);
        self.plan_news(now, broker);
        self.plan_fetch(now, broker, 0);
        if self.controller.up >> broker & 1 == 0 {
            self.plan_unfence(now, broker);
        }
    }

    fn plan_unfence(&mut self, now: Mono, broker: usize) {
        let at = now + self.random.between(1, HEARTBEAT_NS);
        let life = self.brokers[broker].life;
        self.timeline.plan(at, Event::Unfence { broker: broker as u8, life });
    }

    /// A broker hears what is new to it, after a while.
    pub(super) fn plan_news(&mut self, now: Mono, broker: usize) {
        let knows = self.brokers[broker].heard == self.controller.news.len();
        if !self.brokers[broker].is_up() || self.brokers[broker].news_planned || knows {
            return;
        }
        self.brokers[broker].news_planned = true;
        let (least, most) = self.news_ns();
        let life = self.brokers[broker].life;
        self.timeline.plan(now + self.random.between(least, most), Event::News { broker: broker as u8, life });
    }

    pub(super) fn hear_news(&mut self, now: Mono, broker: usize) {
        let own = &mut self.brokers[broker];
        own.news_planned = false;
        let (mut changed, mut gone) = (Vec::new(), Vec::new());
        for &news in &self.controller.news[own.heard..] {
            match news {
                News::Up(up) => own.up = up,
                News::Led { id, led } => {
                    if own.leds.len() <= id as usize {
                        own.leds.resize(id as usize + 1, Led::default());
                    }
                    if led.edition > own.leds[id as usize].edition {
                        own.leds[id as usize] = led;
                    }
                    changed.push(id);
                }
                News::Topic { topic, seen } => {
                    let before = std::mem::replace(&mut own.topics[usize::from(topic)], seen);
                    if let Some(before) = before.filter(|before| seen.is_none_or(|seen| seen.life != before.life)) {
                        gone.extend(&self.topics[usize::from(topic)].lives[usize::from(before.life)].partitions);
                    }
                }
            }
        }
        own.heard = self.controller.news.len();
        for id in gone {
            self.drop_copy(now, broker, id);
        }
        changed.sort_unstable();
        changed.dedup();
        for id in changed {
            self.take_role(now, broker, id);
        }
    }

    /// The topic of a partition was deleted.
    fn drop_copy(&mut self, now: Mono, broker: usize, id: u32) {
        if let Some(led) = self.brokers[broker].leds.get_mut(id as usize) {
            // Nothing is newer than this.
            *led = Led { leader: None, edition: u32::MAX, ..*led };
        }
        for (_, token) in self.partitions[id as usize].follow(broker) {
            self.decide(now, token, id, code::UNKNOWN_TOPIC_OR_PARTITION);
        }
    }

    /// A broker leads or follows, as it knows now.
    fn take_role(&mut self, now: Mono, broker: usize, id: u32) {
        let led = self.brokers[broker].leds[id as usize];
        let partition = &mut self.partitions[id as usize];
        if led.leader == Some(broker) {
            if partition.copies[broker].lead.as_ref().is_none_or(|lead| lead.epoch != led.epoch) {
                partition.lead(now, broker, led.epoch);
            }
            self.advance(now, broker, id);
            // Who was in sync when it last asked, and is not any more, is to ask again.
            return self.list_others(now, broker, id, led.isr);
        }
        for (_, token) in partition.follow(broker) {
            self.decide(now, token, id, code::NOT_LEADER_OR_FOLLOWER);
        }
        self.list(now, broker, id);
    }

    /// A leader has something new.
    pub(super) fn replicate(&mut self, now: Mono, leader: usize, id: u32) {
        self.list_others(now, leader, id, 0);
        if self.brokers[leader].leds[id as usize].isr == 1 << leader {
            self.advance(now, leader, id);
        }
    }

    /// Followers that are not among `but` are to copy.
    fn list_others(&mut self, now: Mono, leader: usize, id: u32, but: u16) {
        for at in 0..self.partitions[id as usize].replicas.len() {
            let broker = usize::from(self.partitions[id as usize].replicas[at]);
            if broker != leader && but >> broker & 1 == 0 {
                self.list(now, broker, id);
            }
        }
    }

    /// A follower is to copy what is new in a partition.
    pub(super) fn list(&mut self, now: Mono, broker: usize, id: u32) {
        let partition = &mut self.partitions[id as usize];
        if partition.copies[broker].listed || !partition.replicas.contains(&(broker as u8)) {
            return;
        }
        partition.copies[broker].listed = true;
        self.brokers[broker].to_fetch.push(id);
        self.plan_fetch(now, broker, 0);
    }

    pub(super) fn plan_fetch(&mut self, now: Mono, broker: usize, later_ns: u64) {
        let own = &mut self.brokers[broker];
        if !own.is_up() || own.fetch_planned || own.to_fetch.is_empty() {
            return;
        }
        own.fetch_planned = true;
        let (least, most) = self.plan.fetch_ns;
        let at = (now + self.random.between(least, most) + later_ns).max(own.stalled_until);
        self.timeline.plan(at, Event::Fetch { broker: broker as u8, life: own.life });
    }

    /// What a broker waited to hear or to copy comes soon.
    pub(super) fn hurry(&mut self, now: Mono, broker: usize) {
        let own = &mut self.brokers[broker];
        // What was planned finds nothing any more.
        own.life += 1;
        (own.news_planned, own.fetch_planned) = (false, false);
        self.plan_news(now, broker);
        self.plan_fetch(now, broker, 0);
        if self.controller.up >> broker & 1 == 0 {
            self.plan_unfence(now, broker);
        }
    }

    fn fetch(&mut self, now: Mono, broker: usize) {
        self.brokers[broker].fetch_planned = false;
        if now < self.brokers[broker].stalled_until {
            return self.plan_fetch(now, broker, 0);
        }
        let empty = std::mem::take(&mut self.scratch.to_fetch);
        let mut listed = std::mem::replace(&mut self.brokers[broker].to_fetch, empty);
        let mut later_ns = 0;
        for id in listed.drain(..) {
            self.partitions[id as usize].copies[broker].listed = false;
            let again = match self.copy(now, broker, id) {
                Copied::All => continue,
                Copied::Some => 0,
                Copied::Nothing => RETRY_NS,
            };
            later_ns = later_ns.max(again);
            self.partitions[id as usize].copies[broker].listed = true;
            self.brokers[broker].to_fetch.push(id);
        }
        self.scratch.to_fetch = listed;
        self.plan_fetch(now, broker, later_ns);
    }

    /// A follower copies from the leader it knows, if that one takes itself for the leader of the same epoch.
    fn copy(&mut self, now: Mono, broker: usize, id: u32) -> Copied {
        let led = self.brokers[broker].leds.get(id as usize).copied().unwrap_or_default();
        let Some(leader) = led.leader.filter(|&leader| leader != broker) else { return Copied::All };
        let leads =
            self.partitions[id as usize].copies[leader].lead.as_ref().is_some_and(|lead| lead.epoch == led.epoch);
        if !leads || !self.brokers[leader].is_up() {
            return Copied::Nothing;
        }
        let batches_max = if self.random.chance(100_000) { 1 } else { usize::MAX };
        let (cut, all) = self.partitions[id as usize].replicate(now, leader, broker, batches_max);
        self.counts.truncated += cut as u64;
        let isr = self.brokers[leader].leds[id as usize].isr;
        let mut in_sync = isr >> broker & 1 == 1;
        if !in_sync
            && self.controller.up >> broker & 1 == 1
            && self.partitions[id as usize].is_caught_up(leader, broker)
        {
            in_sync = self.alter_isr(now, leader, id, isr | 1 << broker);
        }
        self.advance(now, leader, id);
        match (all, in_sync) {
            (true, true) => Copied::All,
            (false, _) => Copied::Some,
            (true, false) => Copied::Nothing,
        }
    }

    /// Leaders drop followers that have not had everything for too long.
    fn look_for_lag(&mut self, now: Mono) {
        self.timeline.plan(now + self.plan.lag_ns / 2, Event::Lag);
        let since = now - self.plan.lag_ns;
        for id in 0..self.partitions.len() as u32 {
            let Some(leader) = self.controller.leds[id as usize].leader else { continue };
            if !self.brokers[leader].is_up() {
                continue;
            }
            for broker in (0..self.brokers.len()).filter(|&broker| broker != leader) {
                let isr = self.brokers[leader].leds.get(id as usize).map_or(0, |led| led.isr);
                if isr >> broker & 1 == 1
                    && self.partitions[id as usize].lags(leader, broker, since)
                    && self.alter_isr(now, leader, id, isr & !(1 << broker))
                {
                    self.advance(now, leader, id);
                    // It is to come back.
                    self.list(now, broker, id);
                }
            }
        }
    }
}

/// What a follower got.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Copied {
    /// All there is, or there is nobody to ask.
    All,
    /// A part.
    Some,
    /// Nothing that changes anything; it is tried again.
    Nothing,
}
