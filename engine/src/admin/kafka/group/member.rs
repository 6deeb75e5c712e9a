//! One member of a group.

use std::collections::VecDeque;

use bytes::Bytes;

use super::{Join, Joined, Reply, Synced, Token, code};
use crate::clock::Mono;

/// The longest a round may wait for a member; Java's default is `max.poll.interval.ms`, five minutes.
const REBALANCE_TIMEOUT_MAX_MS: u64 = 1_800_000;

/// A consumer that has joined.
#[derive(Debug)]
pub(super) struct Member {
    pub(super) id: String,
    pub(super) client_id: String,
    pub(super) client_host: String,
    session_timeout_ms: u64,
    pub(super) rebalance_timeout_ms: u64,
    /// The preferred one first.
    pub(super) protocols: Vec<(String, Bytes)>,
    /// Its share, in the generation that is stable.
    pub(super) assignment: Bytes,
    /// Its JoinGroup that waits.
    pub(super) joining: Option<Token>,
    /// Its SyncGroup that waits.
    pub(super) syncing: Option<Token>,
    /// Silence until then is forgiven.
    alive_until: Mono,
}

impl Member {
    pub(super) fn new(id: String, join: &Join) -> Self {
        let mut member = Self {
            id,
            client_id: join.client_id.clone(),
            client_host: join.client_host.clone(),
            session_timeout_ms: 0,
            rebalance_timeout_ms: 0,
            protocols: Vec::new(),
            assignment: Bytes::new(),
            joining: None,
            syncing: None,
            alive_until: Mono::default(),
        };
        member.update(join);
        member
    }

    /// Takes over what a member says when it joins again.
    pub(super) fn update(&mut self, join: &Join) {
        let ms = |value: i32| u64::try_from(value).unwrap_or(0);
        self.session_timeout_ms = ms(join.session_timeout_ms);
        self.rebalance_timeout_ms = ms(join.rebalance_timeout_ms).min(REBALANCE_TIMEOUT_MAX_MS);
        self.protocols.clone_from(&join.protocols);
    }

    /// What it has to say for a protocol, if it knows it.
    pub(super) fn metadata(&self, protocol: &str) -> Option<Bytes> {
        self.protocols.iter().find(|(name, _)| name == protocol).map(|(_, metadata)| metadata.clone())
    }

    /// A sign of life.
    pub(super) fn seen(&mut self, now: Mono) {
        self.alive_until = now.plus_ms(self.session_timeout_ms);
    }

    /// When its silence is too long; `None` while it waits for us.
    pub(super) fn deadline(&self) -> Option<Mono> {
        (self.joining.is_none() && self.syncing.is_none()).then_some(self.alive_until)
    }

    /// Answers the SyncGroup that waits, if one does.
    pub(super) fn answer_sync(&mut self, replies: &mut VecDeque<(Token, Reply)>, synced: Synced) {
        replies.extend(self.syncing.take().map(|token| (token, Reply::Synced(synced))));
    }

    /// Tells whoever waits that the member is not one any more.
    pub(super) fn refuse(&mut self, replies: &mut VecDeque<(Token, Reply)>) {
        let error = code::UNKNOWN_MEMBER_ID;
        self.answer_sync(replies, Synced { error, ..Synced::default() });
        let joined = Joined { error, generation: -1, ..Joined::default() };
        replies.extend(self.joining.take().map(|token| (token, Reply::Joined(joined))));
    }
}
