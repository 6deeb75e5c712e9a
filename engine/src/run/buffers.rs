//! Buffers of sinks on disk: opened at start and when a sink comes, closed when one is gone. Each is this process's alone
//! meanwhile.

use std::fs::DirBuilder;
use std::os::unix::fs::DirBuilderExt;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::lock::Lock;
use super::random;
use crate::config::{BufferMode, Config, Sink};
use crate::driver::StartError;
use crate::log::OpenError;
use crate::log::journal::{JournalId, JournalSpec, JournalStart, OpenedJournals, open_journals, remove_passed};

/// The buffers of a node; clones share everything. Locks are held until the last of them is gone.
#[derive(Debug, Clone)]
pub(super) struct Buffers {
    data_dir: PathBuf,
    shards: u16,
    shared: Arc<Mutex<Shared>>,
}

#[derive(Debug, Default)]
struct Shared {
    held: Vec<Held>,
    /// Journals are numbered through the whole life of a process.
    next: u32,
}

/// A buffer that this process has.
#[derive(Debug)]
struct Held {
    spec: JournalSpec,
    _lock: Lock,
}

/// Why a buffer cannot be opened.
#[derive(Debug)]
pub(super) struct Refusal {
    /// Slot of its sink.
    pub(super) sink: u16,
    /// What failed, why, and what to do.
    pub(super) why: StartError,
}

impl Buffers {
    /// None is open yet.
    pub(super) fn new(data_dir: PathBuf, shards: u16) -> Self {
        Self { data_dir, shards, shared: Arc::default() }
    }

    /// Opens those of `sinks` that have a buffer on disk, or had one and left something there. Takes as long as the disk does.
    ///
    /// # Errors
    /// The first that cannot be opened. The ones before it are open.
    pub(super) fn open(
        &self,
        config: &Config,
        sinks: impl IntoIterator<Item = u16>,
    ) -> Result<OpenedJournals, Refusal> {
        let starts = vec![Vec::new(); usize::from(self.shards)];
        let mut all = OpenedJournals { starts, ..OpenedJournals::default() };
        for sink in sinks {
            let Some(of) = config.sinks.get(usize::from(sink)) else { continue };
            let one = self.open_one(sink, of).map_err(|why| Refusal { sink, why })?;
            all.journals.add(one.journals);
            all.starts.iter_mut().zip(one.starts).for_each(|(all, one)| all.extend(one));
            all.notes.extend(one.notes);
        }
        Ok(all)
    }

    fn open_one(&self, sink: u16, of: &Sink) -> Result<OpenedJournals, StartError> {
        let root = of.buffer_dir.clone().unwrap_or_else(|| self.data_dir.join("buffer"));
        let spec = JournalSpec { sink, dir: root.join(&of.name) };
        let mut shared = self.shared();
        // What was found for a sink of this name is being sent by the one that leaves.
        let is_open = shared.held.iter().any(|held| held.spec.dir == spec.dir);
        if of.buffer_mode == BufferMode::Memory && (is_open || !spec.dir.is_dir()) {
            return Ok(OpenedJournals::default());
        }
        let lock = lock(of, &spec)?;
        let mut marks = Vec::new();
        for _ in 0..self.shards {
            marks.push(u32::from_ne_bytes(random::bytes()?));
        }
        let first = JournalId(shared.next);
        let opened = open_journals(std::slice::from_ref(&spec), self.shards, first, || marks.pop().unwrap_or_default())
            .map_err(|error| refuse(of, &error))?;
        opened.starts.iter().flatten().try_for_each(|start| refuse_unnamed(of, &spec, start))?;
        shared.next = opened.journals.places().last().map_or(shared.next, |(journal, _)| journal.0 + 1);
        shared.held.push(Held { spec, _lock: lock });
        Ok(opened)
    }

    /// The sink in this slot is gone. Its files may be anybody's from here on; those that nobody needs are removed.
    pub(super) fn close(&self, sink: u16) -> Option<String> {
        let mut shared = self.shared();
        let at = shared.held.iter().position(|held| held.spec.sink == sink)?;
        let held = shared.held.swap_remove(at);
        let removed = remove_passed(&held.spec);
        removed.err().map(|e| format!("{e}; what it holds has been sent, the next start of its sink tries again"))
    }

    /// The sink in this slot did not come after all: its files stay as they are.
    pub(super) fn withdraw(&self, sink: u16) {
        self.shared().held.retain(|held| held.spec.sink != sink);
    }

    fn shared(&self) -> MutexGuard<'_, Shared> {
        // A list of locks is whole whatever happened to the thread that held it.
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What was buffered for the one topic of a sink does not name it: if the topic is a template now, nobody knows where it belongs.
fn refuse_unnamed(of: &Sink, spec: &JournalSpec, start: &JournalStart) -> Result<(), StartError> {
    if !of.is_topic_live() || !start.has_unnamed() {
        return Ok(());
    }
    Err(StartError::new(format!(
        "the buffer of sinks.{name} in {dir} holds records of the one topic that the sink had before, and `sinks.{name}.topic` is a \
         template now. Start with that topic until aqueduct_sink_buffer_disk_records is 0, or give the sink another name: what lies \
         there stays until a sink is called {name} again.",
        name = of.name,
        dir = spec.dir.display(),
    )))
}

/// Too many open files, or too little memory, pass; a file that nobody can read any more is for people to put away.
fn refuse(of: &Sink, error: &OpenError) -> StartError {
    let (name, option) = (&of.name, option(of));
    StartError::new(match error {
        OpenError::Unread { .. } => format!(
            "{error}. The buffer of sinks.{name} lies in `{option}`, and nothing of it was sent or removed. Start again when it can \
             be read: check the rights of this user, the limit of open files, the memory, and the disk. If that does not help, move \
             what cannot be read to another place and start without it: what it holds is not sent then."
        ),
        _ => format!("{error}. The buffer of sinks.{name} lies in `{option}`: see that it can."),
    })
}

fn option(of: &Sink) -> String {
    format!("sinks.{}.buffer.dir", of.name)
}

/// A directory of its own may lie where other nodes look too, on a disk they share say.
fn lock(of: &Sink, spec: &JournalSpec) -> Result<Lock, StartError> {
    let mut builder = DirBuilder::new();
    builder.recursive(true).mode(0o700);
    let option = option(of);
    let refuse = |e| {
        StartError::new(format!(
            "cannot create {} ({option}): {e}. Give this user write access there, or set `{option}` to another directory.",
            spec.dir.display()
        ))
    };
    builder.create(&spec.dir).map_err(refuse)?;
    Lock::take(&spec.dir, "buffer directory", &option)
}
