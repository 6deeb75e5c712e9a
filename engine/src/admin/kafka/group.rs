//! The group coordinator's rules as a pure machine: members join, one of them divides the partitions, all learn their share,
//! and whoever falls silent is left out of the next round. The classic protocol, as consumers of every age speak it.
//!
//! ```text
//!            first member, leave, expiry, new subscription
//!   Preparing  ── every member has joined, or time is up ──>  Completing  ── the leader's SyncGroup ──>  Stable
//!       ^                                                         |                                        |
//!       └─────────── someone new, gone or different ──────────────┴────────────────────────────────────────┘
//! ```
//!
//! `now` comes in with each call; JoinGroup and SyncGroup are answered later, through [`Groups::poll_reply`], by the token
//! they came with. A group without members is forgotten here: what it committed is kept elsewhere, and its next members
//! begin with a new generation under names nobody held before.
//!
//! Left out: static members (KIP-345; an instance id is not looked at) and the protocol of KIP-848.

mod election;
mod member;

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;

use super::code;
use crate::clock::Mono;
use member::Member;

/// Names the request that a reply answers.
pub(super) type Token = u64;

/// Members of all groups together. Each costs a few hundred bytes and what it sent.
const MEMBERS_MAX: usize = 1_000;

/// What one member may say about itself; a subscription to thousands of topics fits.
const MEMBER_BYTES_MAX: usize = 64 << 10;

/// A longer name helps nobody, and it is kept with the offsets.
const GROUP_ID_BYTES_MAX: usize = 1_024;

/// Kafka's range is 6 s to 30 min; a shorter silence is allowed here because tests and demonstrations like it.
const SESSION_TIMEOUT_MS: std::ops::RangeInclusive<i32> = 1_000..=1_800_000;

/// A JoinGroup request.
#[derive(Debug, Clone, Default)]
pub(super) struct Join {
    pub(super) group: String,
    /// Empty for someone new.
    pub(super) member_id: String,
    pub(super) client_id: String,
    pub(super) client_host: String,
    pub(super) session_timeout_ms: i32,
    pub(super) rebalance_timeout_ms: i32,
    /// "consumer" for consumers.
    pub(super) protocol_type: String,
    /// Ways of dividing partitions, the preferred one first, each with what the member has to say for it.
    pub(super) protocols: Vec<(String, Bytes)>,
    /// Whether someone new gets a name first and joins with it in a second request (KIP-394).
    pub(super) named_first: bool,
}

/// The answer to a JoinGroup.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Joined {
    pub(super) error: i16,
    pub(super) generation: i32,
    pub(super) protocol_type: String,
    pub(super) protocol: String,
    pub(super) leader: String,
    pub(super) member_id: String,
    /// For the leader: every member and its word on the protocol. Empty for the others.
    pub(super) members: Vec<(String, Bytes)>,
}

/// A SyncGroup request.
#[derive(Debug, Clone, Default)]
pub(super) struct Sync {
    pub(super) group: String,
    pub(super) generation: i32,
    pub(super) member_id: String,
    pub(super) protocol_type: Option<String>,
    pub(super) protocol: Option<String>,
    /// From the leader: every member's share. Empty from the others.
    pub(super) assignments: Vec<(String, Bytes)>,
}

/// The answer to a SyncGroup.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Synced {
    pub(super) error: i16,
    pub(super) protocol_type: String,
    pub(super) protocol: String,
    pub(super) assignment: Bytes,
}

/// A later answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Reply {
    Joined(Joined),
    Synced(Synced),
}

/// A group as ListGroups and DescribeGroups show it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Described {
    pub(super) state: &'static str,
    pub(super) protocol_type: String,
    pub(super) protocol: String,
    pub(super) members: Vec<DescribedMember>,
}

/// A member as DescribeGroups shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct DescribedMember {
    pub(super) id: String,
    pub(super) client_id: String,
    pub(super) client_host: String,
    pub(super) metadata: Bytes,
    pub(super) assignment: Bytes,
}

/// All groups of the node.
#[derive(Debug)]
pub(super) struct Groups {
    groups: BTreeMap<String, Group>,
    replies: VecDeque<(Token, Reply)>,
    /// State of the names' generator.
    names: u64,
}

#[derive(Debug)]
struct Group {
    generation: i32,
    protocol_type: String,
    /// Elected with the generation.
    protocol: String,
    leader: String,
    /// In the order in which they first joined.
    members: Vec<Member>,
    /// Names given out whose owners have not joined yet, with the time they are kept.
    named: Vec<(String, Mono)>,
    phase: Phase,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// Members are asked to join again; who has not by then is left out.
    Preparing { until: Mono },
    /// The leader divides; who has not asked for its share by then is left out.
    Completing { until: Mono },
    /// Everyone has a share.
    Stable,
}

impl Groups {
    /// No groups. `seed` keeps names of one run apart from those of another.
    pub(super) fn new(seed: u64) -> Self {
        Self { groups: BTreeMap::new(), replies: VecDeque::new(), names: seed }
    }

    /// JoinGroup; the answer comes out of [`Self::poll_reply`].
    pub(super) fn join(&mut self, now: Mono, join: Join, token: Token) {
        if let Err(error) = self.try_join(now, &join, token) {
            let joined = Joined { error, member_id: join.member_id, generation: -1, ..Joined::default() };
            self.replies.push_back((token, Reply::Joined(joined)));
        }
        self.forget_if_empty(&join.group);
    }

    fn try_join(&mut self, now: Mono, join: &Join, token: Token) -> Result<(), i16> {
        check(join)?;
        let is_new = join.member_id.is_empty();
        if is_new && self.members() >= MEMBERS_MAX {
            return Err(code::GROUP_MAX_SIZE_REACHED);
        }
        let name = is_new.then(|| self.name(&join.client_id));
        let group = match (is_new, self.groups.contains_key(&join.group)) {
            (false, false) => return Err(code::UNKNOWN_MEMBER_ID),
            _ => self.groups.entry(join.group.clone()).or_insert_with(|| Group::new(now, join)),
        };
        group.check_protocols(join)?;
        match name {
            Some(id) if join.named_first => {
                group.named.push((id.clone(), now.plus_ms(join.session_timeout_ms as u64)));
                let joined =
                    Joined { error: code::MEMBER_ID_REQUIRED, member_id: id, generation: -1, ..Joined::default() };
                self.replies.push_back((token, Reply::Joined(joined)));
                Ok(())
            }
            Some(id) => {
                group.admit(now, id, join, token, &mut self.replies);
                Ok(())
            }
            None => group.rejoin(now, join, token, &mut self.replies),
        }
    }

    /// SyncGroup; the answer comes out of [`Self::poll_reply`].
    pub(super) fn sync(&mut self, now: Mono, sync: Sync, token: Token) {
        let result = match self.groups.get_mut(&sync.group) {
            Some(group) => group.sync(now, sync, token, &mut self.replies),
            None => Err(code::UNKNOWN_MEMBER_ID),
        };
        if let Err(error) = result {
            self.replies.push_back((token, Reply::Synced(Synced { error, ..Synced::default() })));
        }
    }

    /// Heartbeat: 0, or the error that sends the member back to join.
    pub(super) fn heartbeat(&mut self, now: Mono, group: &str, generation: i32, member_id: &str) -> i16 {
        let Some(group) = self.groups.get_mut(group) else { return code::UNKNOWN_MEMBER_ID };
        match group.check_member(now, generation, member_id) {
            Ok(()) if matches!(group.phase, Phase::Preparing { .. }) => code::REBALANCE_IN_PROGRESS,
            Ok(()) => code::NONE,
            Err(error) => error,
        }
    }

    /// LeaveGroup of one member.
    pub(super) fn leave(&mut self, now: Mono, group_id: &str, member_id: &str) -> i16 {
        let Some(group) = self.groups.get_mut(group_id) else { return code::UNKNOWN_MEMBER_ID };
        let named = group.named.len();
        group.named.retain(|(id, _)| id != member_id);
        let left = match group.named.len() < named {
            true => {
                group.complete_if_joined(now, &mut self.replies);
                code::NONE
            }
            false if group.members.iter().any(|member| member.id == member_id) => {
                group.remove(now, &mut self.replies, |member| member.id == member_id);
                code::NONE
            }
            false => code::UNKNOWN_MEMBER_ID,
        };
        self.forget_if_empty(group_id);
        left
    }

    /// Whether a commit may be taken: from a member of this generation, or from someone outside while the group has no
    /// members. A commit is a sign of life.
    pub(super) fn check_commit(&mut self, now: Mono, group: &str, generation: i32, member_id: &str) -> i16 {
        let Some(group) = self.groups.get_mut(group) else {
            return if generation < 0 { code::NONE } else { code::ILLEGAL_GENERATION };
        };
        match group.check_member(now, generation, member_id) {
            Ok(()) if matches!(group.phase, Phase::Completing { .. }) => code::REBALANCE_IN_PROGRESS,
            Ok(()) => code::NONE,
            Err(error) => error,
        }
    }

    /// Takes out whoever has been silent for too long, and ends rounds whose time is up.
    pub(super) fn on_time(&mut self, now: Mono) {
        for group in self.groups.values_mut() {
            group.on_time(now, &mut self.replies);
        }
        self.groups.retain(|_, group| !group.is_empty());
    }

    /// When [`Self::on_time`] has something to do.
    pub(super) fn deadline(&self) -> Option<Mono> {
        self.groups.values().filter_map(Group::deadline).min()
    }

    /// The next answer to a JoinGroup or SyncGroup.
    pub(super) fn poll_reply(&mut self) -> Option<(Token, Reply)> {
        self.replies.pop_front()
    }

    /// The groups that have members, ascending.
    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.groups.keys().map(String::as_str)
    }

    /// A group that has members.
    pub(super) fn describe(&self, group: &str) -> Option<Described> {
        self.groups.get(group).map(Group::describe)
    }

    fn members(&self) -> usize {
        self.groups.values().map(|group| group.members.len() + group.named.len()).sum()
    }

    fn forget_if_empty(&mut self, group: &str) {
        if self.groups.get(group).is_some_and(Group::is_empty) {
            self.groups.remove(group);
        }
    }

    /// A member's name: unique for this run, and no other run's. (SplitMix64: a walk through all of 2^64, well mixed.)
    fn name(&mut self, client_id: &str) -> String {
        self.names = self.names.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.names;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        format!("{client_id}-{:016x}", mixed ^ (mixed >> 31))
    }
}

/// What can be judged without knowing the group.
fn check(join: &Join) -> Result<(), i16> {
    let said: usize = join.protocols.iter().map(|(name, metadata)| name.len() + metadata.len()).sum();
    if join.group.is_empty() || join.group.len() > GROUP_ID_BYTES_MAX {
        Err(code::INVALID_GROUP_ID)
    } else if !SESSION_TIMEOUT_MS.contains(&join.session_timeout_ms) {
        Err(code::INVALID_SESSION_TIMEOUT)
    } else if join.protocol_type.is_empty() || join.protocols.is_empty() {
        Err(code::INCONSISTENT_GROUP_PROTOCOL)
    } else if said + join.client_id.len() > MEMBER_BYTES_MAX {
        Err(code::INVALID_REQUEST)
    } else {
        Ok(())
    }
}

impl Group {
    fn new(now: Mono, join: &Join) -> Self {
        Self {
            generation: 0,
            protocol_type: join.protocol_type.clone(),
            protocol: String::new(),
            leader: String::new(),
            members: Vec::new(),
            named: Vec::new(),
            phase: Phase::Preparing { until: now },
        }
    }

    fn is_empty(&self) -> bool {
        self.members.is_empty() && self.named.is_empty()
    }

    /// Whoever joins must have a way of dividing that all others have too.
    fn check_protocols(&self, join: &Join) -> Result<(), i16> {
        let others: Vec<_> = self.members.iter().filter(|member| member.id != join.member_id).collect();
        let shared = join.protocols.iter().any(|(name, _)| others.iter().all(|other| other.metadata(name).is_some()));
        let same_type = join.protocol_type == self.protocol_type;
        if same_type && shared { Ok(()) } else { Err(code::INCONSISTENT_GROUP_PROTOCOL) }
    }

    fn admit(&mut self, now: Mono, id: String, join: &Join, token: Token, replies: &mut VecDeque<(Token, Reply)>) {
        let mut member = Member::new(id, join);
        member.seen(now);
        member.joining = Some(token);
        self.members.push(member);
        self.prepare(now, replies);
    }

    fn rejoin(
        &mut self,
        now: Mono,
        join: &Join,
        token: Token,
        replies: &mut VecDeque<(Token, Reply)>,
    ) -> Result<(), i16> {
        if let Some(n) = self.named.iter().position(|(id, _)| *id == join.member_id) {
            let (id, _) = self.named.swap_remove(n);
            self.admit(now, id, join, token, replies);
            return Ok(());
        }
        let is_leader = join.member_id == self.leader;
        let member =
            self.members.iter_mut().find(|member| member.id == join.member_id).ok_or(code::UNKNOWN_MEMBER_ID)?;
        let unchanged = member.protocols == join.protocols;
        member.update(join);
        member.seen(now);
        match self.phase {
            // It asks again because its answer was lost.
            Phase::Completing { .. } if unchanged => {
                let joined = self.joined(&join.member_id);
                replies.push_back((token, Reply::Joined(joined)));
            }
            // A leader that joins again wants to divide again.
            Phase::Stable if unchanged && !is_leader => {
                let joined = self.joined(&join.member_id);
                replies.push_back((token, Reply::Joined(joined)));
            }
            _ => {
                if let Some(earlier) = member.joining.replace(token) {
                    let error = code::REBALANCE_IN_PROGRESS;
                    replies.push_back((earlier, Reply::Joined(Joined { error, generation: -1, ..Joined::default() })));
                }
                self.prepare(now, replies);
            }
        }
        Ok(())
    }

    /// Begins a round, or lets the one that has begun see whether it can end.
    fn prepare(&mut self, now: Mono, replies: &mut VecDeque<(Token, Reply)>) {
        if !matches!(self.phase, Phase::Preparing { .. }) || self.generation == 0 {
            for member in &mut self.members {
                member.answer_sync(replies, Synced { error: code::REBALANCE_IN_PROGRESS, ..Synced::default() });
            }
            self.phase = Phase::Preparing { until: now.plus_ms(self.rebalance_timeout_ms()) };
        }
        self.complete_if_joined(now, replies);
    }

    fn complete_if_joined(&mut self, now: Mono, replies: &mut VecDeque<(Token, Reply)>) {
        let waits = matches!(self.phase, Phase::Preparing { .. });
        if waits && self.named.is_empty() && self.members.iter().all(|member| member.joining.is_some()) {
            self.complete(now, replies);
        }
    }

    /// A new generation of those who have joined.
    fn complete(&mut self, now: Mono, replies: &mut VecDeque<(Token, Reply)>) {
        self.members.retain(|member| member.joining.is_some());
        let Some(first) = self.members.first() else { return };
        if !self.members.iter().any(|member| member.id == self.leader) {
            self.leader = first.id.clone();
        }
        self.generation = self.generation.checked_add(1).unwrap_or(1);
        self.protocol = election::elect(&self.members);
        self.phase = Phase::Completing { until: now.plus_ms(self.rebalance_timeout_ms()) };
        for n in 0..self.members.len() {
            let joined = self.joined(&self.members[n].id);
            let member = &mut self.members[n];
            member.assignment = Bytes::new();
            member.seen(now);
            replies.extend(member.joining.take().map(|token| (token, Reply::Joined(joined))));
        }
    }

    fn joined(&self, member_id: &str) -> Joined {
        let word = |member: &Member| (member.id.clone(), member.metadata(&self.protocol).unwrap_or_default());
        let is_leader = member_id == self.leader;
        Joined {
            error: code::NONE,
            generation: self.generation,
            protocol_type: self.protocol_type.clone(),
            protocol: self.protocol.clone(),
            leader: self.leader.clone(),
            member_id: member_id.to_owned(),
            members: if is_leader { self.members.iter().map(word).collect() } else { Vec::new() },
        }
    }

    fn sync(&mut self, now: Mono, sync: Sync, token: Token, replies: &mut VecDeque<(Token, Reply)>) -> Result<(), i16> {
        self.check_member(now, sync.generation, &sync.member_id)?;
        let differs = |said: &Option<String>, known: &str| said.as_deref().is_some_and(|said| said != known);
        if differs(&sync.protocol_type, &self.protocol_type) || differs(&sync.protocol, &self.protocol) {
            return Err(code::INCONSISTENT_GROUP_PROTOCOL);
        }
        let is_leader = sync.member_id == self.leader;
        let stable = match self.phase {
            Phase::Preparing { .. } => return Err(code::REBALANCE_IN_PROGRESS),
            Phase::Completing { .. } => false,
            Phase::Stable => true,
        };
        let member =
            self.members.iter_mut().find(|member| member.id == sync.member_id).ok_or(code::UNKNOWN_MEMBER_ID)?;
        member.answer_sync(replies, Synced { error: code::REBALANCE_IN_PROGRESS, ..Synced::default() });
        member.syncing = Some(token);
        if is_leader && !stable {
            for (id, share) in sync.assignments {
                if let Some(member) = self.members.iter_mut().find(|member| member.id == id) {
                    member.assignment = share;
                }
            }
            self.phase = Phase::Stable;
        }
        if self.phase == Phase::Stable {
            self.hand_out(now, replies);
        }
        Ok(())
    }

    /// Gives their shares to those who asked.
    fn hand_out(&mut self, now: Mono, replies: &mut VecDeque<(Token, Reply)>) {
        for member in &mut self.members {
            if member.syncing.is_some() {
                // Its clock begins with the answer: while it waited it could not have sent a heartbeat.
                member.seen(now);
            }
            let synced = Synced {
                error: code::NONE,
                protocol_type: self.protocol_type.clone(),
                protocol: self.protocol.clone(),
                assignment: member.assignment.clone(),
            };
            member.answer_sync(replies, synced);
        }
    }

    /// A sign of life of a member of this generation.
    fn check_member(&mut self, now: Mono, generation: i32, member_id: &str) -> Result<(), i16> {
        let member = self.members.iter_mut().find(|member| member.id == member_id).ok_or(code::UNKNOWN_MEMBER_ID)?;
        if generation != self.generation {
            return Err(code::ILLEGAL_GENERATION);
        }
        member.seen(now);
        Ok(())
    }

    /// Takes members out, which is news for the others.
    fn remove(&mut self, now: Mono, replies: &mut VecDeque<(Token, Reply)>, mut which: impl FnMut(&Member) -> bool) {
        let before = self.members.len();
        self.members.retain_mut(|member| {
            let goes = which(member);
            if goes {
                member.refuse(replies);
            }
            !goes
        });
        if self.members.len() < before {
            self.prepare(now, replies);
        }
    }

    fn on_time(&mut self, now: Mono, replies: &mut VecDeque<(Token, Reply)>) {
        self.named.retain(|&(_, until)| until > now);
        self.remove(now, replies, |member| member.deadline().is_some_and(|until| until <= now));
        match self.phase {
            Phase::Preparing { until } if until <= now => self.complete(now, replies),
            Phase::Preparing { .. } => self.complete_if_joined(now, replies),
            Phase::Completing { until } if until <= now => self.remove(now, replies, |member| member.syncing.is_none()),
            Phase::Completing { .. } | Phase::Stable => {}
        }
    }

    fn deadline(&self) -> Option<Mono> {
        let phase = match self.phase {
            // Nobody waits for this round yet.
            Phase::Preparing { .. } if self.members.is_empty() => None,
            Phase::Preparing { until } | Phase::Completing { until } => Some(until),
            Phase::Stable => None,
        };
        let members = self.members.iter().filter_map(Member::deadline);
        members.chain(self.named.iter().map(|&(_, until)| until)).chain(phase).min()
    }

    /// The patience of the most patient member.
    fn rebalance_timeout_ms(&self) -> u64 {
        self.members.iter().map(|member| member.rebalance_timeout_ms).max().unwrap_or(0)
    }

    fn describe(&self) -> Described {
        let state = match self.phase {
            Phase::Preparing { .. } => "PreparingRebalance",
            Phase::Completing { .. } => "CompletingRebalance",
            Phase::Stable => "Stable",
        };
        let is_stable = self.phase == Phase::Stable;
        let members = self.members.iter().map(|member| DescribedMember {
            id: member.id.clone(),
            client_id: member.client_id.clone(),
            client_host: member.client_host.clone(),
            // Without an elected protocol there is no word that all would understand.
            metadata: if is_stable { member.metadata(&self.protocol).unwrap_or_default() } else { Bytes::new() },
            assignment: if is_stable { member.assignment.clone() } else { Bytes::new() },
        });
        Described {
            state,
            protocol_type: self.protocol_type.clone(),
            protocol: if is_stable { self.protocol.clone() } else { String::new() },
            members: members.collect(),
        }
    }
}

#[cfg(test)]
mod tests;
