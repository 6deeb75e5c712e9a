//! The group coordinator on the control thread: gives [`Groups`] its clock, holds the clients that wait for a round, and
//! joins what groups are with what they committed.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use tokio::sync::{Notify, oneshot};

use super::code;
use super::group::{Described, Groups, Join, Joined, Reply, Sync, Synced, Token};
use super::offsets::{Offsets, Positions};
use crate::clock::Mono;

/// Offsets of a group without members are kept this long after its last commit; Kafka's `offsets.retention.minutes`.
const OFFSETS_RETENTION: Duration = Duration::from_secs(7 * 24 * 3600);

/// How often that is looked at.
const EXPIRY_INTERVAL: Duration = Duration::from_secs(3600);

/// Groups that may have offsets. The file of all of them is written at every commit.
const GROUPS_MAX: usize = 1_000;

/// All consumer groups.
#[derive(Debug)]
pub(super) struct Coordinator {
    offsets: Arc<Offsets>,
    inner: Mutex<Inner>,
    /// Rung when the next deadline may have changed.
    rescheduled: Notify,
    started: Instant,
    /// Held by the one that keeps time and file, however many listeners there are.
    keeper: tokio::sync::Mutex<()>,
}

#[derive(Debug)]
struct Inner {
    groups: Groups,
    waiting: HashMap<Token, oneshot::Sender<Reply>>,
    next_token: Token,
}

impl Coordinator {
    /// A coordinator of the groups whose offsets these are.
    pub(super) fn new(offsets: Offsets) -> Self {
        // Names of members must differ from those of the run before, whose members may still be around.
        let seed = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_nanos() as u64);
        let inner = Inner { groups: Groups::new(seed), waiting: HashMap::new(), next_token: 0 };
        Self {
            offsets: Arc::new(offsets),
            inner: Mutex::new(inner),
            rescheduled: Notify::new(),
            started: Instant::now(),
            keeper: tokio::sync::Mutex::new(()),
        }
    }

    /// Keeps time and file for as long as a listener runs. Asked twice, one waits to take over from the other.
    pub(super) async fn run(self: Arc<Self>) {
        let _keeper = self.keeper.lock().await;
        tokio::join!(Arc::clone(&self.offsets).keep(), self.keep_time(), self.keep_clean());
    }

    /// JoinGroup; waits for the round.
    pub(super) async fn join(&self, join: Join) -> Joined {
        let member_id = join.member_id.clone();
        match self.ask(|groups, now, token| groups.join(now, join, token)).await {
            Some(Reply::Joined(joined)) => joined,
            _ => Joined { error: code::COORDINATOR_NOT_AVAILABLE, member_id, generation: -1, ..Joined::default() },
        }
    }

    /// SyncGroup; waits for the leader.
    pub(super) async fn sync(&self, sync: Sync) -> Synced {
        match self.ask(|groups, now, token| groups.sync(now, sync, token)).await {
            Some(Reply::Synced(synced)) => synced,
            _ => Synced { error: code::COORDINATOR_NOT_AVAILABLE, ..Synced::default() },
        }
    }

    /// Heartbeat.
    pub(super) fn heartbeat(&self, group: &str, generation: i32, member_id: &str) -> i16 {
        self.with(|groups, now| groups.heartbeat(now, group, generation, member_id))
    }

    /// LeaveGroup of one member.
    pub(super) fn leave(&self, group: &str, member_id: &str) -> i16 {
        self.with(|groups, now| groups.leave(now, group, member_id))
    }

    /// OffsetCommit: 0 once the positions are on disk.
    pub(super) async fn commit(&self, group: &str, generation: i32, member_id: &str, positions: Positions) -> i16 {
        let error = self.with(|groups, now| groups.check_commit(now, group, generation, member_id));
        if error != code::NONE || positions.is_empty() {
            return error;
        }
        if !self.offsets.knows(group) && self.offsets.names().len() >= GROUPS_MAX {
            return code::GROUP_MAX_SIZE_REACHED;
        }
        match self.offsets.commit(group, positions, wall_ms()).await {
            true => code::NONE,
            false => code::COORDINATOR_NOT_AVAILABLE,
        }
    }

    /// What a group has committed.
    pub(super) fn positions(&self, group: &str) -> Positions {
        self.offsets.positions(group)
    }

    /// Forgets a group that has no members.
    pub(super) async fn delete(&self, group: &str) -> i16 {
        if self.lock().groups.describe(group).is_some() {
            return code::NON_EMPTY_GROUP;
        }
        match self.offsets.delete(group).await {
            Some(true) => code::NONE,
            Some(false) => code::COORDINATOR_NOT_AVAILABLE,
            None => code::GROUP_ID_NOT_FOUND,
        }
    }

    /// Every group there is, with members or with offsets alone.
    pub(super) fn list(&self) -> Vec<(String, Described)> {
        let mut names = self.offsets.names();
        names.extend(self.lock().groups.names().map(str::to_owned));
        names.sort_unstable();
        names.dedup();
        names.into_iter().filter_map(|name| self.describe(&name).map(|described| (name, described))).collect()
    }

    /// A group; `None` if nothing is known of it.
    pub(super) fn describe(&self, group: &str) -> Option<Described> {
        let without_members = || Described {
            state: "Empty",
            protocol_type: "consumer".to_owned(),
            protocol: String::new(),
            members: Vec::new(),
        };
        let alive = self.lock().groups.describe(group);
        alive.or_else(|| self.offsets.knows(group).then(without_members))
    }

    /// Ends rounds and silent members when their time comes.
    async fn keep_time(&self) {
        loop {
            let deadline = self.lock().groups.deadline();
            let until = deadline.map(|at| tokio::time::Instant::from_std(self.started + Duration::from_nanos(at.0)));
            let far = tokio::time::Instant::now() + EXPIRY_INTERVAL;
            tokio::select! {
                () = tokio::time::sleep_until(until.unwrap_or(far)) => self.with(|groups, now| groups.on_time(now)),
                () = self.rescheduled.notified() => {}
            }
        }
    }

    /// Forgets the offsets of groups nobody has been in for long.
    async fn keep_clean(&self) {
        let mut interval = tokio::time::interval(EXPIRY_INTERVAL);
        loop {
            interval.tick().await;
            let alive: Vec<String> = self.lock().groups.names().map(str::to_owned).collect();
            let retention_ms = i64::try_from(OFFSETS_RETENTION.as_millis()).unwrap_or(i64::MAX);
            self.offsets.expire(wall_ms().saturating_sub(retention_ms), |name| alive.iter().any(|other| other == name));
        }
    }

    /// Asks for something that is answered later; `None` if it never is.
    async fn ask(&self, ask: impl FnOnce(&mut Groups, Mono, Token)) -> Option<Reply> {
        let (sender, receiver) = oneshot::channel();
        let now = self.now();
        {
            let mut inner = self.lock();
            let token = inner.next_token;
            inner.next_token += 1;
            inner.waiting.insert(token, sender);
            ask(&mut inner.groups, now, token);
            inner.deliver();
        }
        self.rescheduled.notify_one();
        receiver.await.ok()
    }

    fn with<T>(&self, call: impl FnOnce(&mut Groups, Mono) -> T) -> T {
        let now = self.now();
        let mut inner = self.lock();
        let result = call(&mut inner.groups, now);
        inner.deliver();
        drop(inner);
        self.rescheduled.notify_one();
        result
    }

    fn now(&self) -> Mono {
        Mono(u64::try_from(self.started.elapsed().as_nanos()).unwrap_or(u64::MAX))
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    fn deliver(&mut self) {
        while let Some((token, reply)) = self.groups.poll_reply() {
            // A client that has gone takes no answer; its membership ends by silence.
            if let Some(client) = self.waiting.remove(&token) {
                let _ = client.send(reply);
            }
        }
    }
}

fn wall_ms() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
}
