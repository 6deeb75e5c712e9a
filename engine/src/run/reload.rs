//! Reloads: another configuration for the node that runs, whole or not at all.
//!
//! ```text
//! read again ─ checked ─ planned ─ compared ─ slots ─ files ─ Prepare ─ every shard Prepared ─ Apply ─ every shard Applied
//!      └ refused ┴────────┴─ refused: needs a restart ┘ └ refused      └ too late: Withdraw, refused
//! ```
//!
//! The file is read with the flags, the variables and the profile that the node was started with. One reload at a time.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use miette::{GraphicalReportHandler, GraphicalTheme};
use serde_json::{Value, json};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{Instant, timeout_at};

use crate::config::{
    Config, Connector, Difference, Loaded, Log, Machine, Place, Problem, Problems, differences, refusals,
};
use crate::driver::{Shards, StartError};
use crate::log::journal::OpenedJournals;
use crate::metrics::{ConfigCounters, Health};
use crate::plan::Plan;
use crate::shard::ShardId;
use crate::shard::control::{Command, Preparation, Snapshot, Step};
use crate::shard::roster::{NeedsRestart, Roster, SlotName};

use super::buffers::{Buffers, Refusal};
use super::connectors::{Connectors, Fittings};

/// How long the clusters may take to tell of the topics of new sinks.
const PREPARED_WITHIN: Duration = Duration::from_secs(10);

/// What a reload needs beside what runs.
pub struct Reload {
    /// The configuration the node starts with.
    pub loaded: Loaded,
    /// The machine as it was found at start.
    pub machine: Machine,
    /// Reads the configuration again.
    pub resolve: Arc<dyn Fn() -> Result<Loaded, Problems> + Send + Sync>,
    /// Gives the log another level.
    pub set_log: Box<dyn Fn(&Log) + Send + Sync>,
}

impl std::fmt::Debug for Reload {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Reload").field("machine", &self.machine).finish_non_exhaustive()
    }
}

/// What came of a reload.
#[derive(Debug)]
pub(super) enum Answer {
    /// Nothing differs.
    Nothing,
    /// This has changed, and these are the warnings of the new configuration.
    Changed(Vec<Difference>, Vec<Problem>),
    /// The configuration in force stays.
    Refused(Problems),
}

/// What other parts of the control thread know of the configuration.
#[derive(Debug, Clone)]
pub(super) struct Live {
    /// The sinks by slot.
    pub(super) names: Arc<Vec<SlotName>>,
    /// The connectors by number.
    pub(super) connector_names: Arc<Vec<String>>,
    /// How long a drain may take.
    pub(super) shutdown_timeout: Duration,
    /// Memory in use above which sinks are told, if one wants to be.
    pub(super) memory_high_watermark_bytes: Option<u64>,
    /// What became of reloads.
    pub(super) reloads: ConfigCounters,
}

impl Live {
    /// As the node starts with it.
    fn new(config: &Config, roster: &Roster) -> Self {
        let reloads = ConfigCounters { last_reload_successful: 1, changed_s: wall_s(), ..ConfigCounters::default() };
        Self::with(config, roster, reloads)
    }

    fn with(config: &Config, roster: &Roster, reloads: ConfigCounters) -> Self {
        let acts = config.sinks.iter().any(|sink| sink.memory_overload_protection);
        Self {
            names: Arc::new(roster.names()),
            connector_names: Arc::new(roster.connector_names()),
            shutdown_timeout: Duration::from_millis(config.node.shutdown_timeout_ms),
            memory_high_watermark_bytes: acts.then_some(config.node.memory_high_watermark_bytes),
            reloads,
        }
    }
}

/// Asks for reloads; clones ask the same node.
#[derive(Debug, Clone)]
pub(super) struct Requests(mpsc::Sender<oneshot::Sender<Answer>>);

impl Requests {
    /// Reloads; `None` once the node ends.
    pub(super) async fn reload(&self) -> Option<Answer> {
        let (sender, answer) = oneshot::channel();
        self.0.send(sender).await.ok()?;
        answer.await.ok()
    }

    /// As SIGHUP asks: the answer goes to the log.
    pub(super) async fn reload_and_log(&self) {
        match self.reload().await {
            Some(Answer::Nothing) => tracing::info!("SIGHUP: nothing has changed"),
            Some(Answer::Changed(changes, warnings)) => {
                tracing::info!("SIGHUP: the configuration has changed");
                changes.iter().for_each(|change| tracing::info!("{change}"));
                warnings.iter().for_each(|warning| tracing::warn!("{}", line(warning)));
            }
            Some(Answer::Refused(problems)) => {
                tracing::error!("SIGHUP: {problems}; nothing of it counts, the one in force stays");
                problems.iter().for_each(|problem| tracing::error!("{}", line(problem)));
            }
            None => {}
        }
    }

    /// As the control socket asks: the answer as its lines.
    pub(super) async fn answer(&self, question: &Value) -> Value {
        let theme = || match question.get("theme").and_then(Value::as_str) {
            Some("unicode") => GraphicalTheme::unicode(),
            Some("unicode_nocolor") => GraphicalTheme::unicode_nocolor(),
            _ => GraphicalTheme::none(),
        };
        let report = |problems: &mut dyn Iterator<Item = &Problem>| {
            let handler = GraphicalReportHandler::new_themed(theme());
            let mut shown = Vec::new();
            for problem in problems {
                let mut text = String::new();
                if handler.render_report(&mut text, problem).is_err() {
                    text = format!("{problem}\n");
                }
                shown.push(json!({ "message": problem.message(), "remedy": problem.remedy(), "text": text }));
            }
            shown
        };
        match self.reload().await {
            Some(Answer::Nothing) => json!({ "code": 0, "changes": [] }),
            Some(Answer::Changed(changes, warnings)) => {
                let changes: Vec<String> = changes.iter().map(ToString::to_string).collect();
                json!({ "code": 0, "changes": changes, "warnings": report(&mut warnings.iter()) })
            }
            Some(Answer::Refused(problems)) => {
                json!({ "code": 2, "error": problems.to_string(), "problems": report(&mut problems.iter()) })
            }
            None => json!({ "code": 1, "error": "the node is about to end" }),
        }
    }
}

/// A problem in one line, with the place of what is wrong.
fn line(problem: &Problem) -> String {
    let place = problem.shown_place().map(|place| format!("{place}: ")).unwrap_or_default();
    match problem.remedy() {
        "" => format!("{place}{}", problem.message()),
        remedy => format!("{place}{}; {remedy}", problem.message()),
    }
}

/// Carries out reloads.
#[derive(Debug)]
pub(super) struct Reloader {
    reload: Reload,
    roster: Roster,
    parts: Parts,
    steps: mpsc::UnboundedReceiver<(ShardId, Step)>,
    requests: mpsc::Receiver<oneshot::Sender<Answer>>,
    live: watch::Sender<Live>,
    /// Slots of sinks that left, and which shards have said so.
    left: Vec<(u16, Vec<ShardId>)>,
    /// What shards said while a change was under way.
    said_meanwhile: Vec<(ShardId, Step)>,
}

/// What a reload works on.
#[derive(Debug)]
pub(super) struct Parts {
    pub shards: Shards,
    pub buffers: Buffers,
    pub connectors: Connectors,
}

/// The reloader of a node, how to ask it, and what it tells.
pub(super) fn reloader(reload: Reload, parts: Parts) -> (Reloader, Requests, watch::Receiver<Live>) {
    let roster = Roster::new(&reload.loaded.config);
    let (sender, requests) = mpsc::channel(16);
    let (live, seen) = watch::channel(Live::new(&reload.loaded.config, &roster));
    let steps = parts.shards.steps();
    (
        Reloader { reload, roster, parts, steps, requests, live, left: Vec::new(), said_meanwhile: Vec::new() },
        Requests(sender),
        seen,
    )
}

impl Reloader {
    /// Serves for ever.
    pub(super) async fn serve(mut self) {
        loop {
            tokio::select! {
                Some(request) = self.requests.recv() => {
                    let answer = match self.reload().await {
                        Ok(answer) => answer,
                        Err(problems) => Answer::Refused(problems),
                    };
                    self.live.send_modify(|live| count(&mut live.reloads, &answer));
                    // Whoever asked may have gone.
                    let _ = request.send(answer);
                }
                Some((shard, step)) = self.steps.recv() => self.on_step(shard, step).await,
                else => return,
            }
        }
    }

    async fn reload(&mut self) -> Result<Answer, Problems> {
        let resolve = Arc::clone(&self.reload.resolve);
        let read = tokio::task::spawn_blocking(move || resolve()).await;
        let loaded =
            read.unwrap_or_else(|_| Err(one("the configuration was not read: the node is about to end", "")))?;
        let plan = Plan::new(&loaded.config, &self.reload.machine)?;
        let changes = differences(&self.reload.loaded, &loaded);
        if changes.is_empty() {
            return Ok(Answer::Nothing);
        }
        let refused = refusals(&changes, &loaded);
        if !refused.is_empty() {
            return Err(Problems::new(refused));
        }
        let snapshot = self.roster.next(&loaded.config, &plan).map_err(|why| needs_restart(&why, &changes, &loaded))?;
        let (fresh, changed) = self.read_fittings(&snapshot, &loaded).await?;
        let nonce_key = super::random_bytes().map_err(|why| one(why.to_string().trim_end_matches('.'), ""))?;
        let found = self.open_buffers(&snapshot, &loaded).await?;
        self.prepare(&snapshot, found, fresh, nonce_key).await?;
        self.apply(snapshot, changed).await;
        let reloads = self.live.borrow().reloads;
        self.live.send_replace(Live::with(&loaded.config, &self.roster, reloads));
        (self.reload.set_log)(&loaded.config.log);
        let warnings = loaded.warnings.clone();
        self.reload.loaded = loaded;
        Ok(Answer::Changed(changes, warnings))
    }

    /// What connectors that are new, and those that change, have outside the shards; reads the files that they name.
    async fn read_fittings(
        &self,
        snapshot: &Snapshot,
        loaded: &Loaded,
    ) -> Result<(Vec<Fittings>, Vec<Fittings>), Problems> {
        let wanted = |&number: &u16| (number, snapshot.config.connectors[usize::from(number)].clone());
        let fresh: Vec<(u16, Connector)> = snapshot.fresh_connectors.iter().map(wanted).collect();
        let before = |number: &u16| Some((self.roster.connector(*number)?.clone(), wanted(number)));
        let changed: Vec<_> = snapshot.changed_connectors.iter().filter_map(before).collect();
        let watched = self.parts.connectors.tls.clone();
        let read = tokio::task::spawn_blocking(move || {
            let in_vain = |connector: &Connector| {
                let name = connector.name.clone();
                move |why: StartError| (name, why)
            };
            let fresh = fresh.iter().map(|(number, new)| Fittings::of(*number, new).map_err(in_vain(new)));
            let changed = changed
                .iter()
                .map(|(old, (number, new))| Fittings::after(old, *number, new, &watched).map_err(in_vain(new)));
            Ok((fresh.collect::<Result<_, _>>()?, changed.collect::<Result<_, _>>()?))
        });
        match read.await {
            Ok(Ok(fittings)) => Ok(fittings),
            Ok(Err((connector, why))) => {
                let place = loaded.place("connectors", &connector, &[]);
                Err(Problems::new(vec![sentence(&why, place, "it cannot be made")]))
            }
            Err(_) => Err(one("the files of connectors were not read: the node is about to end", "")),
        }
    }

    /// Opens the buffers of new sinks.
    async fn open_buffers(&self, snapshot: &Snapshot, loaded: &Loaded) -> Result<OpenedJournals, Problems> {
        let (buffers, config, fresh) = (self.parts.buffers.clone(), snapshot.config.clone(), snapshot.fresh.clone());
        let opened = tokio::task::spawn_blocking(move || buffers.open(&config, fresh)).await;
        match opened {
            Ok(Ok(found)) => {
                found.notes.iter().for_each(|note| tracing::warn!("{note}"));
                Ok(found)
            }
            Ok(Err(Refusal { sink, why })) => {
                self.withdraw_buffers(snapshot).await;
                let name = &snapshot.config.sinks[usize::from(sink)].name;
                Err(Problems::new(vec![no_buffer(name, &why, loaded)]))
            }
            Err(_) => Err(one("the buffers were not opened: the node is about to end", "")),
        }
    }

    /// The new sinks do not come after all.
    async fn withdraw_buffers(&self, snapshot: &Snapshot) {
        for &sink in &snapshot.fresh {
            self.parts.shards.remove_journals(sink).await;
            self.parts.buffers.withdraw(sink);
        }
    }

    /// Has every shard make ready; takes it all back if one is not ready in time.
    async fn prepare(
        &mut self,
        snapshot: &Snapshot,
        mut found: OpenedJournals,
        fittings: Vec<Fittings>,
        nonce_key: [u8; 32],
    ) -> Result<(), Problems> {
        self.parts.shards.add_journals(&found.journals).await;
        for fittings in &fittings {
            self.parts.connectors.set_options(fittings).await;
        }
        let preparation = |shard: ShardId| {
            let starts = found.starts.get_mut(usize::from(shard.0)).map(std::mem::take).unwrap_or_default();
            Command::Prepare(Box::new(Preparation { snapshot: snapshot.clone(), starts, nonce_key }))
        };
        self.parts.shards.tell_each(preparation).await;
        fittings.into_iter().for_each(|fittings| self.parts.connectors.keep(fittings));
        let until = Instant::now() + PREPARED_WITHIN;
        if self.all_say(Step::Prepared(snapshot.number), Some(until)).await {
            return Ok(());
        }
        let problems = self.unknown(snapshot).await;
        self.parts.shards.tell(|| Command::Withdraw { number: snapshot.number }).await;
        self.withdraw_buffers(snapshot).await;
        for &connector in &snapshot.fresh_connectors {
            self.parts.connectors.close(connector).await;
        }
        self.roster.withdrawn(snapshot.clone());
        for (shard, step) in std::mem::take(&mut self.said_meanwhile) {
            self.on_step(shard, step).await;
        }
        Err(problems)
    }

    /// Has every shard work by it. There is no way back, and none is needed: a shard does it in its next round.
    async fn apply(&mut self, snapshot: Snapshot, changed: Vec<Fittings>) {
        let number = snapshot.number;
        for fittings in &changed {
            self.parts.connectors.set_options(fittings).await;
        }
        self.parts.shards.tell(|| Command::Apply { number }).await;
        changed.into_iter().for_each(|fittings| self.parts.connectors.keep(fittings));
        self.all_say(Step::Applied(number), None).await;
        self.left.clear();
        self.roster.applied(snapshot);
        self.close_connectors().await;
        // Those of before count no more: who has left says so again, unless it is back.
        for (shard, step) in std::mem::take(&mut self.said_meanwhile) {
            self.on_step(shard, step).await;
        }
    }

    /// Waits until every shard has said so. What else they say has to wait: a sink that has left everywhere is not forgotten
    /// while a change may bring it back.
    async fn all_say(&mut self, wanted: Step, until: Option<Instant>) -> bool {
        let mut waits_for: Vec<ShardId> = (0..self.parts.shards.count()).map(|shard| ShardId(shard as u16)).collect();
        while !waits_for.is_empty() {
            let step = match until {
                Some(until) => timeout_at(until, self.steps.recv()).await.ok().flatten(),
                None => self.steps.recv().await,
            };
            let Some((shard, step)) = step else { return false };
            if step == wanted {
                waits_for.retain(|waited| *waited != shard);
            } else {
                self.said_meanwhile.push((shard, step));
            }
        }
        true
    }

    /// A sink that has left every shard is forgotten.
    async fn on_step(&mut self, shard: ShardId, step: Step) {
        let Step::Left { number, sink } = step else { return };
        if number != self.roster.applied_number() {
            return;
        }
        if !self.left.iter().any(|(slot, _)| *slot == sink) {
            self.left.push((sink, Vec::new()));
        }
        let Some((_, said)) = self.left.iter_mut().find(|(slot, _)| *slot == sink) else { return };
        if !said.contains(&shard) {
            said.push(shard);
        }
        if said.len() == self.parts.shards.count() && self.roster.left(sink) {
            self.parts.shards.tell(|| Command::Forget { sink }).await;
            self.parts.shards.remove_journals(sink).await;
            self.close_buffer(sink).await;
            self.close_connectors().await;
            self.live.send_modify(|live| {
                live.names = Arc::new(self.roster.names());
                live.connector_names = Arc::new(self.roster.connector_names());
            });
        }
    }

    /// Connectors end once their last sink has left.
    async fn close_connectors(&mut self) {
        for connector in self.roster.close_connectors() {
            self.parts.shards.tell(|| Command::CloseConnector { connector }).await;
            self.parts.connectors.close(connector).await;
        }
    }

    async fn close_buffer(&self, sink: u16) {
        let buffers = self.parts.buffers.clone();
        if let Ok(Some(note)) = tokio::task::spawn_blocking(move || buffers.close(sink)).await {
            tracing::warn!("{note}");
        }
    }

    /// Which new sinks have topics that are not known.
    async fn unknown(&self, snapshot: &Snapshot) -> Problems {
        let samples = self.parts.shards.scrape().await;
        let mut problems = Vec::new();
        for &slot in &snapshot.fresh {
            let sink = &snapshot.config.sinks[usize::from(slot)];
            let views = samples.iter().filter_map(|sample| sample.health.get(usize::from(slot)));
            let health = views.fold(&Health::Connected, Health::worse);
            let Some(why) = health.reason().filter(|_| !sink.is_topic_live()) else { continue };
            let fault =
                format!("the topic of sinks.{} is not known after {} s: {why}", sink.name, PREPARED_WITHIN.as_secs());
            let remedy = match snapshot.changed_connectors.contains(&(sink.connector as u16)) {
                true => {
                    "new sinks are tried with the connector as it was: reload its change first, and then add the sink"
                }
                false => {
                    "make the topic, or see why its cluster does not answer, and reload; clients would have to wait for it"
                }
            };
            problems.push(Problem::error(fault, remedy));
        }
        match problems.is_empty() {
            true => one("the shards were not ready in time", "reload again"),
            false => Problems::new(problems),
        }
    }
}

fn one(fault: &str, remedy: &str) -> Problems {
    Problems::new(vec![Problem::error(fault, remedy)])
}

fn count(reloads: &mut ConfigCounters, answer: &Answer) {
    match answer {
        Answer::Changed(..) => {
            reloads.reloads_changed += 1;
            reloads.changed_s = wall_s();
        }
        Answer::Nothing => reloads.reloads_unchanged += 1,
        Answer::Refused(_) => reloads.reloads_refused += 1,
    }
    reloads.last_reload_successful = u64::from(!matches!(answer, Answer::Refused(_)));
}

fn wall_s() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

/// The buffer of a new sink cannot be opened.
fn no_buffer(sink: &str, why: &StartError, loaded: &Loaded) -> Problem {
    let place = loaded.place("sinks", sink, &["buffer.dir", "buffer.mode"]);
    sentence(why, place, "its buffer cannot be opened")
}

/// What a start would have refused, with its remedy behind it.
fn sentence(why: &StartError, place: Option<Place>, label: &'static str) -> Problem {
    let sentence = why.to_string();
    let (fault, remedy) = sentence.split_once(". ").unwrap_or((sentence.trim_end_matches('.'), ""));
    Problem::error(fault, remedy.trim_end_matches('.')).at(place, label)
}

fn needs_restart(why: &NeedsRestart, changes: &[Difference], loaded: &Loaded) -> Problems {
    let (section, name) = why.object();
    let object = format!("{section}.{name}");
    let own = changes.iter().find(|change| change.path == object || change.path.starts_with(&format!("{object}.")));
    let place = own.and_then(|change| change.place(loaded));
    let fault = match own {
        Some(change) => format!("a running node cannot change this: {change}: {why}"),
        None => why.to_string(),
    };
    let remedy = match why {
        NeedsRestart::Unsent(_) => "reload again in a moment, or restart the node".to_string(),
        NeedsRestart::Stored(_) => format!(
            "remove `{object}` and reload, then add it when `aqueduct_sink_buffer_disk_bytes` no longer shows it; or restart \
             the node"
        ),
        _ => format!("take `{object}` back and reload, or restart the node"),
    };
    Problems::new(vec![Problem::error(fault, remedy).at(place, "needs a restart")])
}
