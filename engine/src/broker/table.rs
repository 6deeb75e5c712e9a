//! The brokers of a cluster: their ids, where they are, and the links to each.

use kafka::message::metadata;

use super::link::Link;
use crate::shard::io::{BrokerAddr, LinkKey};

/// A link to a broker that stores records: which broker, which of the links to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Slot {
    /// Index among the brokers.
    pub broker: u16,
    /// Which of the links to it.
    pub link: u16,
}

/// A broker we have heard of.
#[derive(Debug)]
pub(super) struct Broker {
    id: i32,
    pub(super) addr: BrokerAddr,
    pub(super) links: Vec<Link>,
}

impl Broker {
    /// For people.
    pub(super) fn name(&self) -> String {
        format!("broker {} at {}:{}", self.id, self.addr.host, self.addr.port)
    }
}

/// All brokers we have heard of. They are never forgotten, so that an index stays what it is.
#[derive(Debug, Default)]
pub(super) struct Brokers {
    brokers: Vec<Broker>,
}

impl Brokers {
    /// Takes in what a broker says of another one, or of itself, to be reached as `connector` says.
    pub(super) fn learn(&mut self, told: &metadata::Broker, connector: u16) {
        let addr = BrokerAddr { connector, host: told.host.clone(), port: told.port };
        let room = self.brokers.len() < usize::from(u16::MAX);
        match self.brokers.iter_mut().find(|broker| broker.id == told.id) {
            Some(known) if known.addr == addr => {}
            // A new address counts from the next dial on.
            Some(known) => {
                known.addr = addr;
                known.links.iter_mut().for_each(Link::rest_no_more);
            }
            None if room => self.brokers.push(Broker { id: told.id, addr, links: Vec::new() }),
            None => {}
        }
    }

    /// The index of a broker id.
    pub(super) fn index(&self, id: i32) -> Option<u16> {
        self.brokers.iter().position(|broker| broker.id == id).map(|at| at as u16)
    }

    #[inline]
    pub(super) fn get(&self, broker: u16) -> Option<&Broker> {
        self.brokers.get(usize::from(broker))
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Broker> {
        self.brokers.iter()
    }

    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = &mut Broker> {
        self.brokers.iter_mut()
    }

    /// Every link, with its broker.
    pub(super) fn links(&self) -> impl Iterator<Item = (&Broker, &Link)> {
        self.brokers.iter().flat_map(|broker| broker.links.iter().map(move |link| (broker, link)))
    }

    /// The link in a slot.
    #[inline]
    pub(super) fn link(&self, slot: Slot) -> Option<&Link> {
        self.get(slot.broker)?.links.get(usize::from(slot.link))
    }

    /// The link in a slot.
    #[inline]
    pub(super) fn link_mut(&mut self, slot: Slot) -> Option<&mut Link> {
        self.brokers.get_mut(usize::from(slot.broker))?.links.get_mut(usize::from(slot.link))
    }

    /// The link in a slot of a known broker; one that has never been needed before is made.
    pub(super) fn link_or_new(&mut self, slot: Slot) -> Option<&mut Link> {
        let links = &mut self.brokers.get_mut(usize::from(slot.broker))?.links;
        let at = usize::from(slot.link);
        if at >= links.len() {
            links.resize_with(at + 1, Link::default);
        }
        links.get_mut(at)
    }

    /// The slot of the link with this key.
    pub(super) fn slot_of(&self, key: LinkKey) -> Option<Slot> {
        self.brokers.iter().enumerate().find_map(|(at, broker)| {
            let link = broker.links.iter().position(|link| link.is(key))?;
            Some(Slot { broker: at as u16, link: link as u16 })
        })
    }
}

/// Which links of a broker partitions have for their own: a number is the same at every broker, and given again when its
/// partition is gone.
#[derive(Debug, Default)]
pub(super) struct LinkNumbers {
    next: u16,
    free: Vec<u16>,
}

impl LinkNumbers {
    /// A number that no other partition has, or the last one once there are no more.
    pub(super) fn take(&mut self) -> u16 {
        self.free.pop().unwrap_or_else(|| {
            let number = self.next;
            self.next = self.next.saturating_add(1);
            number
        })
    }

    /// The partition is gone.
    pub(super) fn give(&mut self, number: u16) {
        if number < u16::MAX {
            self.free.push(number);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_is_given_again_when_its_partition_is_gone() {
        let mut numbers = LinkNumbers::default();
        assert_eq!([numbers.take(), numbers.take()], [0, 1]);
        numbers.give(0);
        assert_eq!([numbers.take(), numbers.take()], [0, 2]);
        let last = (0..70_000).map(|_| numbers.take()).last();
        assert_eq!(last, Some(u16::MAX), "partitions share the last link rather than have none");
    }
}
