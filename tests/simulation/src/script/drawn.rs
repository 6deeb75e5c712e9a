//! Scripts from seeds.
//!
//! Everything goes that leaves the outcome without a doubt. So a client subscribes before anybody publishes and does not come
//! back to subscribe again, nobody publishes at QoS 0 while a subscriber is away, and all settle before somebody comes or goes;
//! only a publisher that hears nothing is cut in the middle.

use super::{Act, Role, Script, TOO_LARGE_LEN};
use crate::random::Random;
use crate::wire::RUBBISH;

/// Numbers of drawn scripts begin here.
const FIRST: u16 = 100;

/// How long sessions are kept that are kept, seconds.
const HOUR_S: u32 = 3600;

#[derive(Debug, Clone, Copy, Default)]
struct Client {
    here: bool,
    filter: Option<u8>,
    kept: bool,
    lost: bool,
}

struct Draw {
    random: Random,
    roles: Vec<Role>,
    clients: Vec<Client>,
    acts: Vec<(usize, Act)>,
    large: bool,
}

/// The script of a seed, which is below 8,000.
pub fn drawn(seed: u16) -> Script {
    let mut random = Random::new(u64::from(seed) ^ 0x005c_7197);
    let roles: Vec<Role> = (0..random.between(1, 4))
        .map(|_| {
            let v5 = random.below(2) == 0;
            Role { v5, aliases: v5 && random.below(3) == 0 }
        })
        .collect();
    let large = random.below(4) == 0;
    let clients = vec![Client::default(); roles.len()];
    let mut draw = Draw { random, clients, roles, acts: Vec::new(), large };
    draw.begin();
    for _ in 0..draw.random.between(6, 24) {
        draw.step();
    }
    Script { number: FIRST + seed, roles: draw.roles, acts: draw.acts }
}

impl Draw {
    fn begin(&mut self) {
        for client in 0..self.roles.len() {
            self.connect(client);
            if self.random.below(3) == 0 {
                let filter = self.random.one_of(&["in/{}/#", "in/{}/a", "in/{}/+", "in/{}/b/#"]);
                // At QoS 0 it would be a matter of time what one that is away misses.
                let qos = self.random.between(1, 2) as u8;
                self.clients[client].filter = Some(qos);
                self.acts.push((client, Act::Subscribe { filter, qos }));
            }
        }
    }

    fn step(&mut self) {
        let client = self.random.below(self.roles.len() as u64) as usize;
        let Client { here, filter, .. } = self.clients[client];
        if !here {
            self.acts.push((client, Act::Settle));
            return self.connect(client);
        }
        match self.random.below(20) {
            0..12 => self.publish(client),
            12 => self.acts.push((client, Act::Settle)),
            13 => self.acts.push((client, Act::Ping)),
            14 => {
                // A takeover does not wait for what was sent before it; PINGRESP says that all of it has been read.
                self.acts.extend([(client, Act::Settle), (client, Act::Ping), (client, Act::Settle)]);
                self.connect(client);
            }
            15 => self.leave(client, Act::Disconnect),
            16 => {
                let kind = self.random.below(u64::from(RUBBISH)) as u8;
                self.leave(client, Act::Rubbish(kind));
            }
            17 if self.large => self.publish_large(client),
            _ => {
                self.acts.push((client, Act::Settle));
                if filter.is_none() {
                    self.publish(client);
                }
                self.cut(client);
            }
        }
    }

    fn connect(&mut self, client: usize) {
        let state = self.clients[client];
        // A subscriber whose session ends is one no more.
        let must_keep = state.filter.is_some() && !state.lost;
        let clean = !must_keep && self.random.below(3) == 0;
        let expiry_s = if must_keep { HOUR_S } else { self.random.one_of(&[0, HOUR_S]) };
        self.acts.push((client, Act::Connect { clean, expiry_s }));
        let kept = if self.roles[client].v5 { expiry_s > 0 } else { !clean };
        let state = &mut self.clients[client];
        (state.here, state.kept) = (true, kept);
        self.acts.push((client, Act::Resend));
    }

    fn publish(&mut self, client: usize) {
        let away = self.clients.iter().any(|other| other.filter.is_some() && !other.here);
        let qos = self.random.between(u64::from(away), 2) as u8;
        let topic = self.random.below(super::TOPICS.len() as u64) as usize;
        let len = self.random.one_of(&[16, 16, 100, 3_000, 9_000]);
        let count = self.random.between(1, 8) as u32;
        self.acts.push((client, Act::Publish { qos, topic, len, count }));
    }

    fn publish_large(&mut self, client: usize) {
        self.acts.push((client, Act::Settle));
        let qos = self.random.between(1, 2) as u8;
        self.acts.push((client, Act::Publish { qos, topic: 0, len: TOO_LARGE_LEN, count: 1 }));
        if !self.roles[client].v5 {
            self.acts.push((client, Act::Gone));
            self.gone(client);
        }
    }

    fn leave(&mut self, client: usize, how: Act) {
        self.acts.extend([(client, Act::Settle), (client, how)]);
        self.gone(client);
    }

    fn cut(&mut self, client: usize) {
        self.acts.push((client, Act::Cut));
        self.gone(client);
    }

    fn gone(&mut self, client: usize) {
        let state = &mut self.clients[client];
        state.here = false;
        state.lost |= !state.kept;
    }
}
