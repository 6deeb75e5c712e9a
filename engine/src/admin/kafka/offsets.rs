//! What groups have committed, in memory and in one file that is replaced whole: written beside, synced, renamed, directory
//! synced. A commit is answered when a file that holds it is in place; commits that come while one is being written share
//! the next. The file is small (groups times partitions), so there is nothing to append to and nothing to compact.
//!
//! A file that cannot be read is set aside, not overwritten: its groups begin where their reset policy says, which is what
//! a consumer does that never committed.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde::{Deserialize, Serialize};
use tokio::sync::watch;

/// How the file is to be read; a later format has another number.
const FORMAT: u32 = 1;

/// One partition's committed position.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Committed {
    /// Offset of the next record to read.
    pub(super) offset: i64,
    /// What the consumer keeps with it.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub(super) metadata: String,
}

/// Positions by topic and partition.
pub(super) type Positions = BTreeMap<String, BTreeMap<i32, Committed>>;

#[derive(Debug, Default, Serialize, Deserialize)]
struct Group {
    /// Wall clock of the last commit, milliseconds since 1970.
    committed_ms: i64,
    topics: Positions,
}

#[derive(Debug, Default, Serialize, Deserialize)]
struct Contents {
    format: u32,
    groups: BTreeMap<String, Group>,
}

#[derive(Debug, Default)]
struct State {
    groups: BTreeMap<String, Group>,
    /// Counts changes.
    version: u64,
}

/// A version up to which changes are on disk, or were refused by it.
#[derive(Debug, Clone, Copy)]
struct Saved {
    version: u64,
    ok: bool,
}

/// The committed offsets of all groups.
#[derive(Debug)]
pub(super) struct Offsets {
    path: PathBuf,
    state: Mutex<State>,
    changed: watch::Sender<u64>,
    saved: watch::Sender<Saved>,
}

impl Offsets {
    /// Reads the file, if there is one.
    ///
    /// # Errors
    /// If the disk refuses. A file that makes no sense is set aside with a warning.
    pub(super) fn open(path: PathBuf) -> io::Result<Self> {
        let groups = match fs::read(&path) {
            Ok(text) => match parse(&text) {
                Ok(groups) => groups,
                Err(why) => {
                    let aside = path.with_extension("damaged");
                    fs::rename(&path, &aside)?;
                    tracing::warn!(
                        "the file of committed consumer offsets cannot be read ({why}); it was moved to {}, and consumer groups \
                         begin where their reset policy says",
                        aside.display()
                    );
                    BTreeMap::new()
                }
            },
            Err(error) if error.kind() == io::ErrorKind::NotFound => BTreeMap::new(),
            Err(error) => return Err(error),
        };
        let state = Mutex::new(State { groups, version: 0 });
        Ok(Self {
            path,
            state,
            changed: watch::Sender::new(0),
            saved: watch::Sender::new(Saved { version: 0, ok: true }),
        })
    }

    /// Takes positions of a group and waits until they are on disk; false if the disk refuses. They count at once: a
    /// consumer that tries again, or another commit, saves them too.
    pub(super) async fn commit(&self, group: &str, positions: Positions, wall_ms: i64) -> bool {
        let version = self.change(|groups| {
            let known = groups.entry(group.to_owned()).or_default();
            known.committed_ms = wall_ms;
            for (topic, partitions) in positions {
                known.topics.entry(topic).or_default().extend(partitions);
            }
        });
        self.on_disk(version).await
    }

    /// Forgets a group; `None` if it is not known, false if the disk refuses.
    pub(super) async fn delete(&self, group: &str) -> Option<bool> {
        if !self.lock().groups.contains_key(group) {
            return None;
        }
        let version = self.change(|groups| drop(groups.remove(group)));
        Some(self.on_disk(version).await)
    }

    /// Forgets groups that have committed nothing since `before_ms`, except those that are `alive`.
    pub(super) fn expire(&self, before_ms: i64, alive: impl Fn(&str) -> bool) {
        let is_dead = |(name, group): (&String, &Group)| group.committed_ms < before_ms && !alive(name);
        let has_dead = self.lock().groups.iter().any(is_dead);
        if has_dead {
            self.change(|groups| groups.retain(|name, group| !is_dead((name, group))));
        }
    }

    /// What a group has committed; empty if nothing.
    pub(super) fn positions(&self, group: &str) -> Positions {
        self.lock().groups.get(group).map(|group| group.topics.clone()).unwrap_or_default()
    }

    /// Whether a group has committed something.
    pub(super) fn knows(&self, group: &str) -> bool {
        self.lock().groups.contains_key(group)
    }

    /// The groups that have committed something, ascending.
    pub(super) fn names(&self) -> Vec<String> {
        self.lock().groups.keys().cloned().collect()
    }

    /// Writes the file whenever something has changed. Runs as long as the listener does.
    pub(super) async fn keep(self: Arc<Self>) {
        let mut changed = self.changed.subscribe();
        loop {
            let version = *changed.borrow_and_update();
            // Looked at before the first wait: a commit may have come before this task did.
            if version > self.saved.borrow().version {
                let offsets = Arc::clone(&self);
                let saved = tokio::task::spawn_blocking(move || offsets.save()).await;
                self.saved.send_replace(saved.unwrap_or(Saved { version, ok: false }));
            }
            if changed.changed().await.is_err() {
                return;
            }
        }
    }

    /// Replaces the file by what there is now.
    fn save(&self) -> Saved {
        let (version, text) = {
            let state = self.lock();
            (state.version, render(&state.groups))
        };
        let result = text.and_then(|text| replace(&self.path, &text));
        if let Err(error) = &result {
            tracing::warn!("cannot save the committed consumer offsets to {}: {error}", self.path.display());
        }
        Saved { version, ok: result.is_ok() }
    }

    fn change(&self, change: impl FnOnce(&mut BTreeMap<String, Group>)) -> u64 {
        let mut state = self.lock();
        change(&mut state.groups);
        state.version += 1;
        self.changed.send_replace(state.version);
        state.version
    }

    async fn on_disk(&self, version: u64) -> bool {
        let mut saved = self.saved.subscribe();
        let saved = saved.wait_for(|saved| saved.version >= version).await;
        saved.is_ok_and(|saved| saved.ok)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Reads a file of committed offsets, and writes what it says as this program would.
///
/// # Errors
/// Why it makes no sense.
pub fn rewritten(text: &[u8]) -> Result<Vec<u8>, String> {
    render(&parse(text)?).map_err(|error| error.to_string())
}

fn parse(text: &[u8]) -> Result<BTreeMap<String, Group>, String> {
    let contents: Contents = serde_json::from_slice(text).map_err(|error| error.to_string())?;
    match contents.format {
        FORMAT => Ok(contents.groups),
        other => Err(format!("format {other}, this program knows {FORMAT}")),
    }
}

fn render(groups: &BTreeMap<String, Group>) -> io::Result<Vec<u8>> {
    #[derive(Serialize)]
    struct View<'a> {
        format: u32,
        groups: &'a BTreeMap<String, Group>,
    }
    serde_json::to_vec_pretty(&View { format: FORMAT, groups }).map_err(io::Error::from)
}

fn replace(path: &Path, text: &[u8]) -> io::Result<()> {
    let beside = path.with_extension("new");
    let mut file = File::create(&beside)?;
    file.write_all(text)?;
    file.sync_all()?;
    fs::rename(&beside, path)?;
    match path.parent() {
        Some(dir) => File::open(dir)?.sync_all(),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Folder(PathBuf);

    impl Folder {
        fn new(name: &str) -> Self {
            let dir = std::env::temp_dir().join(format!("aqueduct-offsets-{name}-{}", std::process::id()));
            let _ = fs::remove_dir_all(&dir);
            fs::create_dir_all(&dir).unwrap();
            Self(dir)
        }

        /// The offsets as a process that starts now finds them.
        fn open(&self) -> Arc<Offsets> {
            let offsets = Arc::new(Offsets::open(self.0.join("groups.json")).unwrap());
            tokio::spawn(Arc::clone(&offsets).keep());
            offsets
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    fn at(topic: &str, partition: i32, offset: i64) -> Positions {
        let committed = Committed { offset, metadata: "note".into() };
        Positions::from([(topic.into(), BTreeMap::from([(partition, committed)]))])
    }

    fn offset(offsets: &Offsets, group: &str, partition: i32) -> Option<i64> {
        offsets.positions(group).get("t").and_then(|partitions| partitions.get(&partition)).map(|found| found.offset)
    }

    #[tokio::test]
    async fn commits_outlive_the_process() {
        let folder = Folder::new("restart");
        let offsets = folder.open();
        assert!(offsets.commit("g", at("t", 0, 5), 1).await);
        assert!(offsets.commit("g", at("t", 1, 7), 1).await);
        assert!(offsets.commit("g", at("t", 0, 6), 1).await);
        assert!(offsets.commit("h", at("t", 0, 1), 1).await);
        let again = folder.open();
        assert_eq!(
            (offset(&again, "g", 0), offset(&again, "g", 1), offset(&again, "h", 0)),
            (Some(6), Some(7), Some(1))
        );
        assert_eq!(again.positions("g"), offsets.positions("g"));
        assert_eq!(again.names(), ["g", "h"]);
        assert_eq!((again.delete("g").await, again.delete("g").await), (Some(true), None));
        assert!(!folder.open().knows("g"));
    }

    #[tokio::test]
    async fn commits_at_once_share_files() {
        let folder = Folder::new("share");
        let offsets = folder.open();
        let mut commits = tokio::task::JoinSet::new();
        for n in 0..100 {
            let offsets = Arc::clone(&offsets);
            commits.spawn(async move { offsets.commit("g", at("t", n, n.into()), 1).await });
        }
        assert!(commits.join_all().await.into_iter().all(|ok| ok));
        assert_eq!(folder.open().positions("g")["t"].len(), 100);
    }

    #[tokio::test]
    async fn what_cannot_be_read_is_set_aside() {
        for (name, bad) in
            [("torn", &b"{\"format\":1,\"groups\":{\"g\""[..]), ("later", b"{\"format\":2,\"groups\":{}}")]
        {
            let folder = Folder::new(name);
            fs::write(folder.0.join("groups.json"), bad).unwrap();
            let offsets = folder.open();
            assert!(offsets.names().is_empty());
            assert_eq!(fs::read(folder.0.join("groups.damaged")).unwrap(), bad);
            assert!(offsets.commit("g", at("t", 0, 5), 1).await);
            assert_eq!(offset(&folder.open(), "g", 0), Some(5));
        }
    }

    #[tokio::test]
    async fn a_disk_that_refuses_fails_the_commit_and_a_later_one_saves_it() {
        let folder = Folder::new("refuse");
        let offsets = folder.open();
        // A directory in the place of the file that is written beside.
        fs::create_dir(folder.0.join("groups.new")).unwrap();
        assert!(!offsets.commit("g", at("t", 0, 5), 1).await);
        fs::remove_dir(folder.0.join("groups.new")).unwrap();
        assert!(offsets.commit("g", at("t", 1, 6), 1).await);
        assert_eq!(offset(&folder.open(), "g", 0), Some(5));
    }

    #[tokio::test]
    async fn groups_without_members_are_forgotten_after_a_while() {
        let folder = Folder::new("expire");
        let offsets = folder.open();
        for (group, at_ms) in [("old", 10), ("old but alive", 10), ("young", 20)] {
            assert!(offsets.commit(group, at("t", 0, 1), at_ms).await);
        }
        offsets.expire(20, |name| name == "old but alive");
        assert_eq!(offsets.names(), ["old but alive", "young"]);
    }
}
