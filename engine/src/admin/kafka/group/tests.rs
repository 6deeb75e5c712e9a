//! The rules of groups, with a clock that is set by hand.

use super::*;

const T0: Mono = Mono(0);

fn t(seconds: u64) -> Mono {
    Mono::from_ms(seconds * 1_000)
}

fn join_request(group: &str, member_id: &str, protocols: &[&str]) -> Join {
    Join {
        group: group.into(),
        member_id: member_id.into(),
        client_id: "c".into(),
        client_host: "/127.0.0.1".into(),
        session_timeout_ms: 10_000,
        rebalance_timeout_ms: 60_000,
        protocol_type: "consumer".into(),
        protocols: protocols.iter().map(|name| ((*name).into(), Bytes::from(format!("words on {name}")))).collect(),
        named_first: false,
    }
}

/// Groups with a token counter; replies wait by token.
struct Rig {
    groups: Groups,
    next: Token,
    replies: BTreeMap<Token, Reply>,
}

impl Rig {
    fn new() -> Self {
        Self { groups: Groups::new(1), next: 0, replies: BTreeMap::new() }
    }

    fn collect(&mut self) {
        while let Some((token, reply)) = self.groups.poll_reply() {
            assert!(self.replies.insert(token, reply).is_none(), "one reply to each request");
        }
    }

    fn ask_join(&mut self, now: Mono, join: Join) -> Token {
        self.next += 1;
        self.groups.join(now, join, self.next);
        self.collect();
        self.next
    }

    fn joined(&mut self, token: Token) -> Joined {
        match self.replies.remove(&token) {
            Some(Reply::Joined(joined)) => joined,
            other => panic!("{other:?}"),
        }
    }

    fn join(&mut self, now: Mono, member_id: &str) -> Joined {
        let token = self.ask_join(now, join_request("g", member_id, &["range"]));
        self.joined(token)
    }

    fn ask_sync(&mut self, now: Mono, member: &Joined, shares: &[(&str, &str)]) -> Token {
        self.next += 1;
        let assignments = shares.iter().map(|&(id, share)| (id.into(), Bytes::from(share.to_owned()))).collect();
        let (generation, member_id) = (member.generation, member.member_id.clone());
        let sync = Sync { group: "g".into(), generation, member_id, assignments, ..Sync::default() };
        self.groups.sync(now, sync, self.next);
        self.collect();
        self.next
    }

    fn synced(&mut self, token: Token) -> (i16, String) {
        match self.replies.remove(&token) {
            Some(Reply::Synced(synced)) => (synced.error, String::from_utf8(synced.assignment.to_vec()).unwrap()),
            other => panic!("{other:?}"),
        }
    }

    fn on_time(&mut self, now: Mono) {
        self.groups.on_time(now);
        self.collect();
    }

    fn beat(&mut self, now: Mono, member: &Joined) -> i16 {
        self.groups.heartbeat(now, "g", member.generation, &member.member_id)
    }

    /// One member, stable.
    fn alone(&mut self, now: Mono) -> Joined {
        let member = self.join(now, "");
        let token = self.ask_sync(now, &member, &[(&member.member_id, "all")]);
        assert_eq!(self.synced(token), (0, "all".into()));
        member
    }

    /// Two members, stable; the first leads.
    fn pair(&mut self, now: Mono) -> (Joined, Joined) {
        let first = self.alone(now);
        let second = self.ask_join(now, join_request("g", "", &["range"]));
        assert_eq!(self.beat(now, &first), code::REBALANCE_IN_PROGRESS);
        let first = self.join(now, &first.member_id);
        let second = self.joined(second);
        let waits = self.ask_sync(now, &second, &[]);
        let leads = self.ask_sync(now, &first, &[(&first.member_id, "one"), (&second.member_id, "two")]);
        assert_eq!((self.synced(leads), self.synced(waits)), ((0, "one".into()), (0, "two".into())));
        (first, second)
    }

    fn state(&self) -> Option<&'static str> {
        self.groups.describe("g").map(|described| described.state)
    }
}

#[test]
fn the_first_member_leads_and_begins_at_once() {
    let mut rig = Rig::new();
    let member = rig.join(T0, "");
    assert_eq!((member.error, member.generation, member.protocol.as_str()), (0, 1, "range"));
    assert_eq!(member.leader, member.member_id);
    assert_eq!(member.members, [(member.member_id.clone(), Bytes::from_static(b"words on range"))]);
    assert_eq!(rig.state(), Some("CompletingRebalance"));
    let token = rig.ask_sync(T0, &member, &[(&member.member_id, "share")]);
    assert_eq!(rig.synced(token), (0, "share".into()));
    assert_eq!((rig.beat(T0, &member), rig.state()), (0, Some("Stable")));
}

#[test]
fn who_is_new_gets_a_name_first_where_the_protocol_asks_for_it() {
    let mut rig = Rig::new();
    let named_first = Join { named_first: true, ..join_request("g", "", &["range"]) };
    let token = rig.ask_join(T0, named_first.clone());
    let named = rig.joined(token);
    assert_eq!((named.error, named.generation), (code::MEMBER_ID_REQUIRED, -1));
    assert!(named.member_id.starts_with("c-") && named.member_id.len() == 18, "{}", named.member_id);
    let token = rig.ask_join(T0, Join { member_id: named.member_id.clone(), ..named_first.clone() });
    assert_eq!((rig.joined(token).error, rig.groups.members()), (0, 1));
    // A name that is not used is forgotten, and the group with it.
    let other = Join { group: "other".into(), ..named_first };
    rig.ask_join(T0, other);
    assert_eq!(rig.groups.names().collect::<Vec<_>>(), ["g", "other"]);
    rig.on_time(t(10));
    assert!(!rig.groups.names().any(|name| name == "other"));
}

#[test]
fn a_second_member_makes_everyone_join_again() {
    let mut rig = Rig::new();
    let (first, second) = rig.pair(T0);
    assert_eq!((first.generation, second.generation), (2, 2));
    assert_eq!((second.leader.as_str(), first.members.len(), second.members.len()), (first.member_id.as_str(), 2, 0));
    assert_eq!((rig.beat(T0, &first), rig.beat(T0, &second)), (0, 0));
}

#[test]
fn who_does_not_join_again_is_left_out_when_time_is_up() {
    let mut rig = Rig::new();
    let (first, second) = rig.pair(T0);
    let third = rig.ask_join(t(1), join_request("g", "", &["range"]));
    let rejoined = rig.ask_join(t(1), join_request("g", &second.member_id, &["range"]));
    // The first keeps sending heartbeats, so its silence is not the reason.
    for seconds in (0..60).step_by(5) {
        assert_eq!(rig.beat(t(1 + seconds), &first), code::REBALANCE_IN_PROGRESS);
        rig.on_time(t(1 + seconds));
        assert!(rig.replies.is_empty());
    }
    assert_eq!(rig.groups.deadline(), Some(t(61)));
    rig.on_time(t(61));
    let (second, third) = (rig.joined(rejoined), rig.joined(third));
    assert_eq!((second.generation, second.leader.clone()), (3, second.member_id.clone()));
    assert_eq!((second.members.len(), third.members.len()), (2, 0));
    assert_eq!(rig.beat(t(61), &first), code::UNKNOWN_MEMBER_ID);
}

#[test]
fn silence_takes_a_member_out_and_its_share_goes_round() {
    let mut rig = Rig::new();
    let (first, second) = rig.pair(T0);
    assert_eq!(rig.beat(t(5), &first), 0);
    assert_eq!(rig.groups.deadline(), Some(t(10)));
    rig.on_time(t(10));
    assert_eq!(rig.beat(t(10), &second), code::UNKNOWN_MEMBER_ID);
    assert_eq!(rig.beat(t(10), &first), code::REBALANCE_IN_PROGRESS);
    let alone = rig.join(t(10), &first.member_id);
    assert_eq!((alone.generation, alone.members.len()), (3, 1));
    let token = rig.ask_sync(t(10), &alone, &[(&alone.member_id, "all")]);
    assert_eq!(rig.synced(token), (0, "all".into()));
    // When the last one falls silent the group is forgotten.
    rig.on_time(t(20));
    assert_eq!((rig.state(), rig.groups.deadline()), (None, None));
}

#[test]
fn a_member_that_waits_for_us_is_not_silent() {
    let mut rig = Rig::new();
    let first = rig.alone(T0);
    let second = rig.ask_join(T0, join_request("g", "", &["range"]));
    for seconds in (5..=50).step_by(5) {
        rig.beat(t(seconds), &first);
        rig.on_time(t(seconds));
    }
    let first = rig.join(t(50), &first.member_id);
    let second = rig.joined(second);
    let waits = rig.ask_sync(t(51), &second, &[]);
    rig.beat(t(59), &first);
    rig.on_time(t(65));
    assert!(!rig.replies.contains_key(&waits));
    rig.ask_sync(t(66), &first, &[(&second.member_id, "two")]);
    assert_eq!(rig.synced(waits), (0, "two".into()));
    rig.on_time(t(75));
    assert_eq!(rig.beat(t(75), &second), 0, "its clock began with the answer");
}

#[test]
fn a_leader_that_never_divides_is_left_out() {
    let mut rig = Rig::new();
    let first = rig.alone(T0);
    let second = rig.ask_join(T0, join_request("g", "", &["range"]));
    let first = rig.join(T0, &first.member_id);
    let second = rig.joined(second);
    let waits = rig.ask_sync(T0, &second, &[]);
    for seconds in (5..60).step_by(5) {
        assert_eq!(rig.beat(t(seconds), &first), 0);
        rig.on_time(t(seconds));
    }
    rig.on_time(t(60));
    assert_eq!(rig.synced(waits).0, code::REBALANCE_IN_PROGRESS);
    assert_eq!(rig.beat(t(60), &first), code::UNKNOWN_MEMBER_ID);
    let second = rig.join(t(60), &second.member_id);
    assert_eq!((second.leader.clone(), second.generation), (second.member_id.clone(), 3));
}

#[test]
fn leaving_is_news_for_the_others() {
    let mut rig = Rig::new();
    let (first, second) = rig.pair(T0);
    assert_eq!(rig.groups.leave(T0, "g", &first.member_id), 0);
    assert_eq!(rig.groups.leave(T0, "g", &first.member_id), code::UNKNOWN_MEMBER_ID);
    assert_eq!(rig.beat(T0, &second), code::REBALANCE_IN_PROGRESS);
    let second = rig.join(T0, &second.member_id);
    assert_eq!(second.leader, second.member_id);
    assert_eq!(rig.groups.leave(T0, "g", &second.member_id), 0);
    assert_eq!(rig.state(), None);
    assert_eq!(rig.groups.leave(T0, "g", "x"), code::UNKNOWN_MEMBER_ID);
}

#[test]
fn an_answer_that_was_lost_is_given_again() {
    let mut rig = Rig::new();
    let member = rig.join(T0, "");
    let again = rig.join(T0, &member.member_id);
    assert_eq!((again.generation, again.members.len()), (1, 1), "the round goes on");
    let mut rig = Rig::new();
    let (first, second) = rig.pair(T0);
    // A follower that joins again with the same words is given the generation there is.
    let again = rig.join(T0, &second.member_id);
    assert_eq!((again.error, again.generation, rig.state()), (0, second.generation, Some("Stable")));
    let token = rig.ask_sync(T0, &again, &[]);
    assert_eq!(rig.synced(token), (0, "two".into()));
    // A leader that does so wants to divide anew.
    let token = rig.ask_join(T0, join_request("g", &first.member_id, &["range"]));
    assert!(!rig.replies.contains_key(&token));
    assert_eq!(rig.state(), Some("PreparingRebalance"));
    // Asked twice, the earlier request is let go.
    let twice = rig.ask_join(T0, join_request("g", &first.member_id, &["range"]));
    assert_eq!(rig.joined(token).error, code::REBALANCE_IN_PROGRESS);
    assert!(!rig.replies.contains_key(&twice));
}

#[test]
fn a_changed_subscription_begins_a_round() {
    let mut rig = Rig::new();
    let (_, second) = rig.pair(T0);
    let mut changed = join_request("g", &second.member_id, &["range"]);
    changed.protocols[0].1 = Bytes::from_static(b"other topics");
    rig.ask_join(T0, changed);
    assert_eq!(rig.state(), Some("PreparingRebalance"));
}

#[test]
fn members_must_understand_each_other() {
    let mut rig = Rig::new();
    rig.ask_join(T0, join_request("g", "", &["sticky", "range"]));
    let mut check = |join: Join, expected: i16| {
        let token = rig.ask_join(T0, join);
        let joined = rig.joined(token);
        assert_eq!((joined.error, joined.generation), (expected, -1));
    };
    check(join_request("g", "", &["other"]), code::INCONSISTENT_GROUP_PROTOCOL);
    let connect = Join { protocol_type: "connect".into(), ..join_request("g", "", &["range"]) };
    check(connect, code::INCONSISTENT_GROUP_PROTOCOL);
    check(join_request("g", "", &[]), code::INCONSISTENT_GROUP_PROTOCOL);
    check(join_request("", "", &["range"]), code::INVALID_GROUP_ID);
    check(join_request(&"g".repeat(1_025), "", &["range"]), code::INVALID_GROUP_ID);
    check(join_request("g", "stranger", &["range"]), code::UNKNOWN_MEMBER_ID);
    check(join_request("none", "stranger", &["range"]), code::UNKNOWN_MEMBER_ID);
    for session_timeout_ms in [-1, 0, 999, 1_800_001] {
        check(Join { session_timeout_ms, ..join_request("g", "", &["range"]) }, code::INVALID_SESSION_TIMEOUT);
    }
    let mut wordy = join_request("g", "", &["range"]);
    wordy.protocols[0].1 = Bytes::from(vec![0; 65 << 10]);
    check(wordy, code::INVALID_REQUEST);
}

#[test]
fn requests_of_another_generation_are_refused() {
    let mut rig = Rig::new();
    let old = rig.alone(T0);
    let (first, _) = rig.pair_after(&old);
    assert_eq!(rig.beat(T0, &old), code::ILLEGAL_GENERATION);
    let token = rig.ask_sync(T0, &old, &[]);
    assert_eq!(rig.synced(token).0, code::ILLEGAL_GENERATION);
    assert_eq!(rig.groups.check_commit(T0, "g", old.generation, &old.member_id), code::ILLEGAL_GENERATION);
    assert_eq!(rig.groups.check_commit(T0, "g", first.generation, &first.member_id), 0);
    let wrong = Sync {
        group: "g".into(),
        generation: first.generation,
        member_id: first.member_id.clone(),
        protocol: Some("sticky".into()),
        ..Sync::default()
    };
    rig.groups.sync(T0, wrong, 99);
    rig.collect();
    assert_eq!(rig.synced(99).0, code::INCONSISTENT_GROUP_PROTOCOL);
}

impl Rig {
    /// A second member joins a stable first one.
    fn pair_after(&mut self, first: &Joined) -> (Joined, Joined) {
        let second = self.ask_join(T0, join_request("g", "", &["range"]));
        let first = self.join(T0, &first.member_id);
        let second = self.joined(second);
        self.ask_sync(T0, &first, &[]);
        self.ask_sync(T0, &second, &[]);
        self.replies.clear();
        (first, second)
    }
}

#[test]
fn commits_come_from_members_or_while_there_are_none() {
    let mut rig = Rig::new();
    assert_eq!(rig.groups.check_commit(T0, "g", -1, ""), 0);
    assert_eq!(rig.groups.check_commit(T0, "g", 3, "someone"), code::ILLEGAL_GENERATION);
    let member = rig.join(T0, "");
    let commit = |rig: &mut Rig| rig.groups.check_commit(T0, "g", member.generation, &member.member_id);
    assert_eq!(commit(&mut rig), code::REBALANCE_IN_PROGRESS);
    rig.ask_sync(T0, &member, &[]);
    assert_eq!(commit(&mut rig), 0);
    assert_eq!(rig.groups.check_commit(T0, "g", -1, ""), code::UNKNOWN_MEMBER_ID);
    // While others join, what was read under the old generation may still be committed.
    rig.ask_join(T0, join_request("g", "", &["range"]));
    assert_eq!(commit(&mut rig), 0);
}

#[test]
fn members_are_limited() {
    let mut rig = Rig::new();
    for n in 0..MEMBERS_MAX {
        rig.ask_join(T0, join_request(&format!("g{n}"), "", &["range"]));
    }
    let token = rig.ask_join(T0, join_request("one more", "", &["range"]));
    assert_eq!(rig.joined(token).error, code::GROUP_MAX_SIZE_REACHED);
    assert_eq!(rig.groups.names().count(), MEMBERS_MAX);
}
