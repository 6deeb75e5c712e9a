//! Wills: published in a client's name when its connection ends without a word.
//!
//! A will goes the way of a PUBLISH, without a client who would be told: its records are placed and counted, its subscribers
//! see it after its outcomes. One without room waits here. A delayed will is published when its delay has passed or its
//! session ends, whichever comes first [MQTT-3.1.3-9]; a client that is back before keeps it from being published.

use mqtt::{Connect, Publish};

use super::Shard;
use super::io::CloseReason;
use super::place::{NoPlace, Placed, Placing};
use crate::clock::{Mono, Now};
use crate::event::Event;
use crate::publication::Publication;
use crate::session::Will;
use crate::sink::route::RouteMemo;

/// A will to be published, with what is known of its client, whose session may have ended.
#[derive(Debug)]
pub(super) struct DueWill {
    will: Box<Will>,
    client_id: Box<str>,
    username: Option<Box<str>>,
    /// Its session, if that goes on.
    publisher: Option<u32>,
}

impl DueWill {
    pub(super) fn bytes(&self) -> usize {
        self.will.bytes()
    }
}

impl Will {
    /// The will of a CONNECT from `peer`, if it has one.
    pub(super) fn of(connect: &Connect<'_>, peer: &str, now: Mono) -> Option<Box<Self>> {
        let will = connect.will.as_ref()?;
        let publication = Publication::new(will.topic, &will.publish(), now)?;
        let delay_ms = u64::from(will.delay_s) * 1_000;
        Some(Box::new(Self { publication, delay_ms, version: connect.version, peer: peer.into() }))
    }

    pub(super) fn bytes(&self) -> usize {
        self.publication.bytes() + size_of::<Self>() + self.peer.len()
    }
}

impl Shard {
    /// Whether the will of a CONNECT fits the budget; charges it.
    pub(super) fn charge_will(&mut self, will: Option<&Will>) -> bool {
        will.is_none_or(|will| self.deliver.budget.try_charge(will.bytes()))
    }

    /// Forgets the will of a session [MQTT-3.14.4-3].
    pub(super) fn forget_will(&mut self, slot: u32) {
        let Some(session) = self.sessions.get_mut(slot) else { return };
        session.will_due = None;
        if let Some(will) = session.will.take() {
            self.release_delivered(will.bytes());
        }
    }

    /// The connection of a session has ended; says when its will is due, if it is delayed.
    pub(super) fn end_will(&mut self, now: Now, slot: u32, said_goodbye: bool, why: CloseReason) -> Option<Mono> {
        // A server that shuts down may put wills off, and those that are lost with it have no one to hear them here.
        if said_goodbye || why == CloseReason::Shutdown {
            self.forget_will(slot);
            return None;
        }
        let session = self.sessions.get_mut(slot)?;
        let delay_ms = session.will.as_ref()?.delay_ms;
        if delay_ms == 0 {
            self.publish_will(now, slot);
            return None;
        }
        let due = now.mono.plus_ms(delay_ms);
        session.will_due = Some(due);
        Some(due)
    }

    /// Publishes the will of a session, if it has one.
    pub(super) fn publish_will(&mut self, now: Now, slot: u32) {
        let Some(session) = self.sessions.get_mut(slot) else { return };
        session.will_due = None;
        let Some(will) = session.will.take() else { return };
        let (client_id, username) = (session.client_id.clone(), session.username.clone());
        self.deliver.wills.push_back(DueWill { will, client_id, username, publisher: Some(slot) });
        self.publish_wills(now);
    }

    /// A session ends: a will of its that still waits keeps its name only.
    pub(super) fn orphan_wills(&mut self, slot: u32) {
        for due in self.deliver.wills.iter_mut().filter(|due| due.publisher == Some(slot)) {
            due.publisher = None;
        }
    }

    /// Publishes wills, the oldest first, until one finds no room.
    pub(super) fn publish_wills(&mut self, now: Now) {
        while let Some(due) = self.deliver.wills.pop_front() {
            let placed = due.will.publication.with(|publish| self.place_will(now, &due, publish));
            if matches!(placed, Some(Err(NoPlace::Hold | NoPlace::Wait))) {
                return self.deliver.wills.push_front(due);
            }
            self.release_delivered(due.will.bytes());
        }
    }

    fn place_will(&mut self, now: Now, due: &DueWill, publish: &Publish<'_>) -> Result<(), NoPlace> {
        let mut memo = RouteMemo::default();
        self.remember_route(&mut memo, publish.topic);
        let copied = match memo.subscribed {
            true => self.copy_publication(now, due.publisher, publish.topic, publish)?,
            false => None,
        };
        let Placing { mut placer, ids, scratch, .. } = self.placing(now, copied.as_ref());
        let event = Event {
            id: ids.next(now.wall_ms),
            client_id: &due.client_id,
            username: due.username.as_deref(),
            peer: &due.will.peer,
            topic: publish.topic,
            payload: publish.payload,
            qos: publish.qos,
            retain: publish.retain,
            dup: false,
            packet_id: 0,
            version: due.will.version,
            properties: &publish.properties,
            received_ms: now.wall_ms,
            node: &placer.settings.node,
        };
        let mut placed = Placed::default();
        let done = placer.place_all(&mut memo, &event, None, scratch, &mut placed);
        if let Some(copied) = copied {
            self.hold_publication(copied, done.is_ok().then_some(&placed));
        }
        done
    }
}
