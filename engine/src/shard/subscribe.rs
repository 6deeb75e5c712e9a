//! SUBSCRIBE and UNSUBSCRIBE, and how all shards come to know of them.
//!
//! The first subscriber of a shard to a filter, and the end of the last, are told to every other shard. A SUBACK leaves only
//! when all of them have confirmed: whatever is published anywhere from then on is delivered.
//!
//! ```text
//! SUBSCRIBE ─ own index ─ news ──(end of round)── Filters ─▶ each other shard: index, then FiltersKnown
//!    SUBACK ◀──────────── once every shard has confirmed as much as was told before it ◀──────┘
//! ```
//!
//! Messages that may be unconfirmed are bounded; what comes while all are out is told together with the next. UNSUBACKs wait
//! in the same line, so that a client's answers keep their order.

use std::collections::VecDeque;

use mqtt::{QoS, ReasonCode, Subscribe, Unsubscribe};

use super::io::{ConnKey, Io};
use super::mesh::{FilterChange, MeshMsg};
use super::packet::Flow;
use super::{Shard, ShardId, conn_mut};
use crate::hash::Keyed;
use crate::listener::connection::{Connection, Held};
use crate::session::filters::{Change, FilterId, FilterIndex};
use crate::session::subscription::Subscription;

/// Changes that may wait to be told before subscribers are held.
const CHANGES_MAX: usize = 4096;

/// What this shard knows of subscriptions everywhere.
#[derive(Debug)]
pub(super) struct Filters {
    index: FilterIndex,
    news: News,
    charged_bytes: usize,
}

impl Filters {
    pub(super) fn new(own: ShardId, shards: u16, keyed: Keyed) -> Self {
        Self { index: FilterIndex::new(own, keyed), news: News::new(own, shards), charged_bytes: 0 }
    }

    pub(super) fn index(&mut self) -> &mut FilterIndex {
        &mut self.index
    }

    pub(super) fn index_bytes(&self) -> usize {
        self.index.bytes()
    }

    /// Whether a subscriber anywhere matches `topic`.
    pub(super) fn matches(&mut self, topic: &str) -> bool {
        self.index.matches(topic)
    }

    /// Whether something is still to be told, and may be.
    pub(super) fn has_news(&self, credits: u32) -> bool {
        self.news.may_tell(credits)
    }
}

/// What the other shards have still to be told or to confirm.
#[derive(Debug)]
struct News {
    own: ShardId,
    changes: Vec<FilterChange>,
    /// Messages told to every other shard.
    told: u64,
    /// How many of them each shard has confirmed; our own entry is not used.
    confirmed: Vec<u64>,
    /// SUBACKs and UNSUBACKs, each with how much must be confirmed before it leaves; ascending.
    answers: VecDeque<Answer>,
}

#[derive(Debug)]
struct Answer {
    after: u64,
    conn: ConnKey,
    packet: Vec<u8>,
}

impl News {
    fn new(own: ShardId, shards: u16) -> Self {
        Self { own, changes: Vec::new(), told: 0, confirmed: vec![0; usize::from(shards)], answers: VecDeque::new() }
    }

    fn others(&self) -> impl Iterator<Item = usize> {
        let own = usize::from(self.own.0);
        (0..self.confirmed.len()).filter(move |&shard| shard != own)
    }

    fn add(&mut self, filter: &str, subscribes: bool) {
        if self.confirmed.len() > 1 {
            self.changes.push(FilterChange { filter: filter.into(), subscribes });
        }
    }

    /// How many messages every shard has confirmed.
    fn known(&self) -> u64 {
        self.others().map(|shard| self.confirmed[shard]).min().unwrap_or(self.told)
    }

    /// How many messages must be confirmed before all that has happened so far is known everywhere.
    fn awaited(&self) -> u64 {
        self.told + u64::from(!self.changes.is_empty())
    }

    fn may_tell(&self, credits: u32) -> bool {
        !self.changes.is_empty() && self.told - self.known() < u64::from(credits)
    }
}

impl Shard {
    pub(super) fn on_subscribe(&mut self, conn: &mut Connection, subscribe: &Subscribe<'_>) -> Flow {
        let (Some(slot), Some(version)) = (conn.session, conn.mqtt.version()) else { return Flow::End };
        if self.filters.news.changes.len() >= CHANGES_MAX {
            return Flow::Hold(Held::Filters);
        }
        let reasons: Vec<ReasonCode> = subscribe
            .subscriptions()
            .map(|s| self.subscribe(slot, s.filter, Subscription::new(&s.options, subscribe.subscription_id)))
            .collect();
        self.settle_filter_charge();
        let mut packet = Vec::new();
        // [MQTT-3.8.4-2], [MQTT-3.8.4-6]
        mqtt::encode_suback(version, subscribe.packet_id, &reasons, None, &mut packet);
        self.answer_when_known(conn, packet);
        Flow::Next
    }

    pub(super) fn on_unsubscribe(&mut self, conn: &mut Connection, unsubscribe: &Unsubscribe<'_>) -> Flow {
        let (Some(slot), Some(version)) = (conn.session, conn.mqtt.version()) else { return Flow::End };
        if self.filters.news.changes.len() >= CHANGES_MAX {
            return Flow::Hold(Held::Filters);
        }
        let reasons: Vec<ReasonCode> = unsubscribe.filters().map(|filter| self.unsubscribe(slot, filter)).collect();
        self.settle_filter_charge();
        let mut packet = Vec::new();
        mqtt::encode_unsuback(version, unsubscribe.packet_id, &reasons, None, &mut packet);
        self.answer_when_known(conn, packet);
        Flow::Next
    }

    /// Subscribes a session to one filter, or says why not.
    fn subscribe(&mut self, slot: u32, filter: &str, subscription: Subscription) -> ReasonCode {
        // MQTT 5 clients were told so and have been disconnected by now; older ones get a failure.
        if filter.starts_with("$share/") {
            return ReasonCode::SharedSubscriptionsNotSupported;
        }
        let Some(session) = self.sessions.get_mut(slot) else { return ReasonCode::UnspecifiedError };
        let known = self.filters.index.find(filter).is_some_and(|id| self.filters.index.holds(id, slot));
        if !known {
            let full = session.subscriptions.len() >= self.settings.subscribers.subscriptions_max;
            if full || FilterIndex::bytes_for(filter) > self.deliver.budget.free_bytes() {
                return ReasonCode::QuotaExceeded;
            }
        }
        let (id, change) = self.filters.index.subscribe(filter, slot, subscription);
        if !known {
            session.subscriptions.push(id);
            self.counters.subscriptions += 1;
        }
        self.note_change(filter, change, true);
        self.settle_filter_charge();
        match subscription.qos {
            QoS::AtMostOnce => ReasonCode::Success,
            QoS::AtLeastOnce => ReasonCode::GrantedQoS1,
            QoS::ExactlyOnce => ReasonCode::GrantedQoS2,
        }
    }

    fn unsubscribe(&mut self, slot: u32, filter: &str) -> ReasonCode {
        let Some(session) = self.sessions.get_mut(slot) else { return ReasonCode::UnspecifiedError };
        // [MQTT-3.10.4-1]
        let found = self.filters.index.find(filter);
        let Some((at, id)) = found.and_then(|id| Some((session.subscriptions.iter().position(|&s| s == id)?, id)))
        else {
            return ReasonCode::NoSubscriptionExisted;
        };
        session.subscriptions.swap_remove(at);
        self.end_subscription(slot, id, filter);
        ReasonCode::Success
    }

    /// Ends all subscriptions of a session that ends.
    pub(super) fn unsubscribe_all(&mut self, slot: u32, subscriptions: &[FilterId]) {
        for &id in subscriptions {
            let filter = self.filters.index.filter(id);
            self.end_subscription(slot, id, &filter);
        }
        self.settle_filter_charge();
    }

    fn end_subscription(&mut self, slot: u32, id: FilterId, filter: &str) {
        let change = self.filters.index.unsubscribe(id, slot);
        self.counters.subscriptions -= 1;
        self.note_change(filter, change, false);
    }

    fn note_change(&mut self, filter: &str, change: Change, subscribes: bool) {
        if change.shard {
            self.filters.news.add(filter, subscribes);
        }
        if change.filter {
            self.route_generation += 1;
        }
    }

    /// Sends an answer once every shard knows what has happened so far.
    fn answer_when_known(&mut self, conn: &mut Connection, packet: Vec<u8>) {
        let news = &mut self.filters.news;
        let after = news.awaited();
        if after > news.known() {
            conn.answers_due += 1;
            return news.answers.push_back(Answer { after, conn: conn.key, packet });
        }
        conn.out.extend_from_slice(&packet);
        Self::mark_dirty(&mut self.lists, conn);
    }

    /// Tells the other shards what has changed.
    pub(super) fn tell_filters(&mut self, io: &mut impl Io) {
        let news = &mut self.filters.news;
        if !news.may_tell(self.settings.subscribers.notice_credits) {
            return;
        }
        let changes: Box<[FilterChange]> = std::mem::take(&mut news.changes).into();
        for shard in news.others() {
            io.mesh(ShardId(shard as u16), MeshMsg::Filters(changes.clone()));
        }
        news.told += 1;
    }

    /// Another shard subscribes to more, or less.
    pub(super) fn on_filters(&mut self, from: ShardId, changes: &[FilterChange], io: &mut impl Io) {
        for FilterChange { filter, subscribes } in changes {
            if self.filters.index.note(filter, from, *subscribes) {
                self.route_generation += 1;
            }
        }
        self.settle_filter_charge();
        io.mesh(from, MeshMsg::FiltersKnown);
    }

    /// Another shard has confirmed one more message: answers may leave, held clients may go on.
    pub(super) fn on_filters_known(&mut self, from: ShardId) {
        let news = &mut self.filters.news;
        news.confirmed[usize::from(from.0)] += 1;
        let known = news.known();
        while let Some(answer) = news.answers.pop_front_if(|answer| answer.after <= known) {
            let Some(conn) = conn_mut(&mut self.conns, answer.conn) else { continue };
            conn.answers_due -= 1;
            conn.out.extend_from_slice(&answer.packet);
            Self::mark_dirty(&mut self.lists, conn);
            if let Some(slot) = conn.session {
                self.deliver.send_soon(&mut self.sessions, slot);
            }
        }
        self.round.released = true;
    }

    /// Keeps the budget equal to what the index takes. Other shards' filters are not ours to refuse.
    fn settle_filter_charge(&mut self) {
        let bytes = self.filters.index.bytes();
        let charged_bytes = std::mem::replace(&mut self.filters.charged_bytes, bytes);
        if bytes > charged_bytes {
            self.deliver.budget.charge(bytes - charged_bytes);
        } else {
            self.deliver.budget.release(charged_bytes - bytes);
        }
    }
}
