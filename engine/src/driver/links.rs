//! The links of one shard: a slab with generations, what is due to each, and what the shard has yet to be told.

use std::collections::VecDeque;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::AsFd;

use rustix::event::epoll::EventFlags;
use rustix::net::sockopt;

use super::dial::SocketOptions;
use super::link::{Dialled, Frames, Link, ReadEnd, Scratch, State, reason};
use super::mailbox::{ControlPort, Letter};
use super::poller::Poller;
use super::tls::Session;
use crate::clock::Mono;
use crate::shard::io::{BrokerAddr, LinkKey, Request};

/// A fact about a link that the next round tells the shard.
#[derive(Debug)]
pub(super) enum Fact {
    Up(LinkKey),
    /// The link's remains are collected when the fact is told, so that a request given in between is among them.
    Down(LinkKey),
    Sent(LinkKey, Request),
    /// A request for a link the shard has already seen go down; it comes back as a second end of that link.
    Stray(LinkKey, Request),
}

#[derive(Debug, Default)]
struct Slot {
    generation: u32,
    link: Option<Link>,
}

/// The links of one shard.
#[derive(Debug)]
pub(super) struct Links {
    slots: Vec<Slot>,
    free: Vec<u32>,
    /// By connector.
    options: Vec<SocketOptions>,
    /// Links with something to send.
    dirty: Vec<LinkKey>,
    /// Links whose read was cut short by the round's share.
    pub unread: Vec<LinkKey>,
    /// Links being dialled.
    dialling: usize,
    facts: VecDeque<Fact>,
    /// Where ciphertext is received.
    scratch: Scratch,
}

impl Links {
    pub(super) fn new(options: Vec<SocketOptions>) -> Self {
        let (slots, free, dirty, unread) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        Self { slots, free, options, dirty, unread, dialling: 0, facts: VecDeque::new(), scratch: Scratch::default() }
    }

    /// Has later links of a connector dialled like this.
    pub(super) fn set_options(&mut self, connector: u16, options: SocketOptions) {
        let at = usize::from(connector);
        if self.options.len() <= at {
            self.options.resize_with(at + 1, SocketOptions::default);
        }
        self.options[at] = options;
    }

    /// Starts a dial: at once for an address, after a look-up for a name.
    pub(super) fn dial(&mut self, to: &BrokerAddr, now: Mono, poller: &Poller, control: &mut ControlPort) -> LinkKey {
        let options = self.options.get(usize::from(to.connector)).cloned().unwrap_or_default();
        let index = self.free.pop().unwrap_or_else(|| {
            self.slots.push(Slot::default());
            (self.slots.len() - 1) as u32
        });
        let slot = &mut self.slots[index as usize];
        slot.link = Some(Link::new(&to.host, options, now));
        self.dialling += 1;
        let key = LinkKey { index, generation: slot.generation };
        match to.host.parse::<IpAddr>() {
            Ok(ip) => self.resolved(key, Ok(vec![SocketAddr::new(ip, to.port)]), now, poller),
            Err(_) => control.send(Letter::LookUp { link: key, host: to.host.clone(), port: to.port }),
        }
        key
    }

    /// A look-up has ended.
    pub(super) fn resolved(
        &mut self,
        key: LinkKey,
        result: Result<Vec<SocketAddr>, String>,
        now: Mono,
        poller: &Poller,
    ) {
        let Some(link) = self.get_mut(key) else { return };
        if !matches!(link.state, State::Resolving) {
            return;
        }
        match result {
            Ok(addresses) => self.try_next(key, addresses.into(), "the name has no address".to_string(), now, poller),
            Err(why) => self.fail(key, why),
        }
    }

    fn try_next(&mut self, key: LinkKey, others: VecDeque<SocketAddr>, last_error: String, now: Mono, poller: &Poller) {
        let Some(link) = self.get_mut(key) else { return };
        match link.dial(others, now, last_error) {
            Dialled::Failed(why) => self.fail(key, why),
            Dialled::Trying => {
                if let State::Connecting { fd, .. } = &link.state
                    && let Err(e) = poller.add_link(fd.as_fd(), key)
                {
                    self.fail(key, reason(&e));
                }
            }
        }
    }

    /// An event on a link's socket. True: it should be read.
    pub(super) fn on_event(&mut self, key: LinkKey, flags: EventFlags, now: Mono, poller: &Poller) -> bool {
        let Some(link) = self.get_mut(key) else { return false };
        if matches!(link.state, State::Connecting { .. }) {
            if flags.intersects(EventFlags::OUT | EventFlags::ERR | EventFlags::HUP) {
                self.on_connect(key, now, poller);
            }
            // What the broker may have sent already comes with this same edge.
            return self.get_mut(key).is_some_and(|link| link.is_up());
        }
        if matches!(link.state, State::Shaking { .. }) {
            link.ended |= flags.intersects(EventFlags::RDHUP | EventFlags::HUP | EventFlags::ERR);
            self.on_shake(key);
            return self.get_mut(key).is_some_and(|link| link.is_up());
        }
        link.ended |= flags.intersects(EventFlags::RDHUP | EventFlags::HUP | EventFlags::ERR);
        let ended = link.ended;
        if flags.contains(EventFlags::OUT) && link.unblock() {
            self.dirty.push(key);
        }
        ended || flags.contains(EventFlags::IN)
    }

    /// A connect has ended, well or not.
    fn on_connect(&mut self, key: LinkKey, now: Mono, poller: &Poller) {
        let Some(link) = self.get_mut(key) else { return };
        let (fd, trying, others) = match std::mem::replace(&mut link.state, State::Resolving) {
            State::Connecting { fd, trying, others, .. } => (fd, trying, others),
            other => {
                link.state = other;
                return;
            }
        };
        match sockopt::socket_error(&fd) {
            Ok(Ok(())) => match link.options.tls.as_ref().map(|tls| tls.connect(&link.host)) {
                None => {
                    link.state = State::Up { fd, tls: None };
                    self.come_up(key);
                }
                Some(Ok(tls)) => {
                    link.state = State::Shaking { fd, tls: Session::client(tls) };
                    self.on_shake(key);
                }
                Some(Err(why)) => self.fail(key, why),
            },
            Ok(Err(errno)) | Err(errno) => {
                drop(fd);
                let why = format!("{trying}: {}", reason(&errno.into()));
                self.try_next(key, others, why, now, poller);
            }
        }
    }

    /// The TLS handshake goes on.
    fn on_shake(&mut self, key: LinkKey) {
        let slot = self.slots.get_mut(key.index as usize).filter(|slot| slot.generation == key.generation);
        let Some(link) = slot.and_then(|slot| slot.link.as_mut()) else { return };
        match link.shake(&mut self.scratch) {
            Ok(true) => self.come_up(key),
            Ok(false) => {}
            Err(why) => self.fail(key, why),
        }
    }

    /// A dial has succeeded.
    fn come_up(&mut self, key: LinkKey) {
        self.dialling -= 1;
        self.facts.push_back(Fact::Up(key));
        self.dirty.push(key);
    }

    /// When the next dial runs out of time.
    pub(super) fn deadline(&self) -> Option<Mono> {
        if self.dialling == 0 {
            return None;
        }
        let until = |link: &Link| match &link.state {
            State::Resolving | State::Shaking { .. } => Some(link.dial_until),
            State::Connecting { until, .. } => Some(*until),
            State::Up { .. } | State::Down { .. } => None,
        };
        self.slots.iter().filter_map(|slot| slot.link.as_ref().and_then(until)).min()
    }

    /// Gives up on addresses and names whose time is over.
    pub(super) fn expire(&mut self, now: Mono, poller: &Poller) {
        if self.deadline().is_none_or(|deadline| deadline > now) {
            return;
        }
        for index in 0..self.slots.len() {
            let slot = &mut self.slots[index];
            let key = LinkKey { index: index as u32, generation: slot.generation };
            let Some(link) = slot.link.as_mut() else { continue };
            match &mut link.state {
                State::Resolving if link.dial_until <= now => {
                    self.fail(key, "looking up the name timed out".to_string())
                }
                State::Shaking { .. } if link.dial_until <= now => {
                    self.fail(key, "the TLS handshake timed out".to_string())
                }
                State::Connecting { until, trying, others, .. } if *until <= now => {
                    let why = format!("{trying}: connect timed out");
                    let others = std::mem::take(others);
                    self.try_next(key, others, why, now, poller);
                }
                _ => {}
            }
        }
    }

    /// Queues a request; it leaves at the end of the round, with all others of the round.
    pub(super) fn request(&mut self, key: LinkKey, request: Request) {
        match self.get_mut(key) {
            Some(link) => {
                link.queue(request);
                if link.is_up() {
                    self.dirty.push(key);
                }
            }
            None => self.facts.push_back(Fact::Stray(key, request)),
        }
    }

    /// Sends what was queued.
    pub(super) fn flush(&mut self) {
        while let Some(key) = self.dirty.pop() {
            let slot = self.slots.get_mut(key.index as usize).filter(|slot| slot.generation == key.generation);
            let Some(link) = slot.and_then(|slot| slot.link.as_mut()) else { continue };
            let facts = &mut self.facts;
            let result = link.flush(|request| {
                facts.push_back(Fact::Sent(key, request));
            });
            if let Err(why) = result {
                self.fail(key, why);
            }
        }
    }

    /// Closes a link; the shard is told in the next round. The first reason counts.
    pub(super) fn fail(&mut self, key: LinkKey, why: String) {
        let Some(link) = self.get_mut(key) else { return };
        match link.state {
            State::Down { .. } => return,
            State::Up { .. } => {}
            State::Resolving | State::Connecting { .. } | State::Shaking { .. } => self.dialling -= 1,
        }
        let Some(link) = self.get_mut(key) else { return };
        link.go_down(why);
        self.facts.push_back(Fact::Down(key));
    }

    /// Reads a link into its frames, which the caller has taken out.
    pub(super) fn read(&mut self, key: LinkKey, frames: &mut Frames) -> ReadEnd {
        let slot = self.slots.get_mut(key.index as usize).filter(|slot| slot.generation == key.generation);
        let Some(link) = slot.and_then(|slot| slot.link.as_mut()) else { return ReadEnd::Drained };
        let end = link.read(frames, &mut self.scratch);
        if link.has_more_to_send() {
            self.dirty.push(key);
        }
        end
    }

    /// Takes the frames out, so that a response can be delivered from them while the shard uses the links.
    pub(super) fn take_frames(&mut self, key: LinkKey) -> Option<Frames> {
        self.get_mut(key).filter(|link| link.is_up()).map(|link| std::mem::take(&mut link.frames))
    }

    /// Puts the frames back, unless the link is gone.
    pub(super) fn put_frames(&mut self, key: LinkKey, frames: Frames) {
        if let Some(link) = self.get_mut(key).filter(|link| link.is_up()) {
            link.frames = frames;
        }
    }

    /// The request that a response of this correlation answers.
    pub(super) fn answer(&mut self, key: LinkKey, correlation: i32) -> Result<Request, String> {
        self.get_mut(key).map_or(Err("dropped".to_string()), |link| link.answer(correlation))
    }

    /// Whether the link is connected.
    pub(super) fn is_up(&mut self, key: LinkKey) -> bool {
        self.get_mut(key).is_some_and(|link| link.is_up())
    }

    /// The next thing to tell the shard.
    pub(super) fn next_fact(&mut self) -> Option<Fact> {
        self.facts.pop_front()
    }

    /// Whether there is something to tell or to read without waiting.
    pub(super) fn has_news(&self) -> bool {
        !self.facts.is_empty() || !self.unread.is_empty()
    }

    /// Ends the key of a link that is down: its open requests in order, and why it ended.
    pub(super) fn bury(&mut self, key: LinkKey) -> Option<(Vec<Request>, String)> {
        let slot = self.slots.get_mut(key.index as usize).filter(|slot| slot.generation == key.generation)?;
        let link = slot.link.take()?;
        slot.generation = slot.generation.wrapping_add(1);
        self.free.push(key.index);
        Some(link.into_remains())
    }

    #[inline]
    fn get_mut(&mut self, key: LinkKey) -> Option<&mut Link> {
        let slot = self.slots.get_mut(key.index as usize).filter(|slot| slot.generation == key.generation)?;
        slot.link.as_mut()
    }
}
