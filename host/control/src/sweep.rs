//! The sweep of one backend: looks at the sessions that may have changed, in batches, again and again.
//!
//! ```text
//!   interval or hint --> inspect in batches --> take in what was found
//!                              |
//!                              `- left out: missing --> complete list, begun later --> not there either: gone
//! ```
//!
//! One task a backend. It alone takes in answers about sessions that no worker is acting on; an answer to a question
//! that was asked before the session last changed is dropped. A backend that loses a large part of its sessions at once
//! is not believed (E19).

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use seawall_backend::{Error, ExecutionBackend as _, trace};
use seawall_model::{Desired, Found, Incarnation, Key, SessionId, Status, TraceId, Workload};
use seawall_store::Write;
use tokio::time::Instant;

use crate::ControlError;
use crate::backend::{Backend, ConditionKind, call};
use crate::change::Change;
use crate::config::share;
use crate::core::Core;
use crate::draft::{is_live, key};
use crate::events::{Kind, of_backend};
use crate::hints::{Due, next_look};
use crate::listing::{Listing, listing};
use crate::look::{Look, LookKind, Seen};
use crate::observe::{is_news, observed, overtaken, vanished};
use crate::orphans;
use crate::state::{Cell, Entry};
use crate::worker::hand_over;

/// The most keys of one `inspect`: the contract of `wit/backend`.
const BATCH: usize = 1000;
/// A store that was put back is so many starts of a session behind, at most.
const MOST_AHEAD: u64 = 1_000_000;

pub(crate) struct Sweep {
    core: Arc<Core>,
    backend: Arc<Backend>,
    next_sweep: Instant,
    next_list: Instant,
    /// Sessions that ran before this backend was there were counted.
    adopted: bool,
    /// The one under way, or the last.
    look: Look,
}

/// A question about a session, and what its answer may not be older than.
struct Question {
    entry: Arc<Entry>,
    key: Key,
    version: u64,
}

/// What came of questions.
#[derive(Default)]
struct Asked {
    /// So many were left out.
    missing: usize,
    /// What went wrong.
    failed: Option<String>,
    /// Some were not asked about: the backend had its hands full.
    busy: bool,
}

/// What is known of one session after a question.
enum Sight {
    Found(Status),
    Missing,
    Gone,
    /// Not there, but a later start of it is.
    Ahead(Incarnation, Status),
}

fn span(backend: &Backend, kind: LookKind) -> tracing::Span {
    tracing::debug_span!("look", backend = %backend.name, ?kind)
}

impl Sweep {
    pub(crate) fn new(core: Arc<Core>, backend: Arc<Backend>) -> Self {
        let now = Instant::now();
        // Sessions of a backend that was restarted were met before.
        let adopted = backend.generation > 1;
        let look = Look { kind: LookKind::Full, number: Some(0), trace_id: TraceId::random() };
        Self { core, backend, next_sweep: now, next_list: now, adopted, look }
    }

    /// One look besides those of the backend's sweep task, within the trace of whoever asks.
    pub(crate) fn once(core: Arc<Core>, backend: Arc<Backend>, kind: LookKind) -> Self {
        Self { look: Look { kind, number: None, trace_id: trace::current_or_new() }, ..Self::new(core, backend) }
    }

    /// Until the backend is stopped. The first look is at once.
    pub(crate) async fn run(mut self) {
        let backend = Arc::clone(&self.backend);
        loop {
            // Cancel-safe: a pass that is cut off has taken in whole batches or nothing of them.
            tokio::select! {
                biased;
                () = backend.stopping() => return,
                () = self.turn() => {}
            }
        }
    }

    async fn turn(&mut self) {
        let wake =
            [self.backend.hints.due(), Some(self.next_list)].into_iter().flatten().fold(self.next_sweep, Instant::min);
        tokio::select! {
            () = tokio::time::sleep_until(wake) => {}
            () = self.backend.hints.changed.notified() => return,
        }
        let Due { looks, woken, full, mut list } = self.backend.hints.take();
        let (now, backend) = (Instant::now(), Arc::clone(&self.backend));
        if full || now >= self.next_sweep {
            self.next_sweep = now + spread(self.core.config.sweep_interval);
            let id = self.begin(LookKind::Full);
            list |= trace::piece(id, || span(&backend, LookKind::Full), self.full()).await;
            self.look_again(&looks);
        } else if !looks.is_empty() || !woken.is_empty() {
            let id = self.begin(LookKind::Quick);
            list |= trace::piece(id, || span(&backend, LookKind::Quick), self.quick(&looks, woken)).await;
        }
        if list || now >= self.next_list {
            let id = self.begin(LookKind::List);
            trace::piece(id, || span(&backend, LookKind::List), self.list()).await;
        }
    }

    /// Each look is within a trace of its own.
    fn begin(&mut self, kind: LookKind) -> TraceId {
        let number = self.look.number.unwrap_or_default().saturating_add(1);
        self.look = Look { kind, number: Some(number), trace_id: TraceId::random() };
        self.look.trace_id
    }

    /// All sessions that may have changed. Says whether one is missing.
    async fn full(&mut self) -> bool {
        let begun = Instant::now();
        let questions = self.questions(None);
        let count = questions.len();
        let Asked { missing, failed, busy } = self.ask(questions).await;
        let now = self.core.clock.now();
        let name = &self.backend.name;
        match failed {
            // Busy is not down (B8): the next sweep comes.
            None if busy => {}
            None => {
                self.backend.swept(Seen { at: now, by: self.look }, begun.elapsed());
                if self.backend.clear(ConditionKind::SweepFailed) {
                    let message = "its sessions can be looked at again";
                    self.core.tell(of_backend(name, Kind::BackendReachable, now, message)).await;
                }
                if !self.backend.health().usable() {
                    self.backend.check_now.notify_one();
                }
                if !std::mem::replace(&mut self.adopted, true) && count > missing {
                    let message = format!("{} sessions that ran already were met again", count - missing);
                    self.core.tell(of_backend(name, Kind::BackendAdopted, now, message)).await;
                }
            }
            Some(error) => {
                if self.backend.raise(ConditionKind::SweepFailed, error.clone(), now) {
                    let message = format!("its sessions cannot be looked at, and are unknown: {error}");
                    self.core.tell(of_backend(name, Kind::BackendUnreachable, now, message)).await;
                }
            }
        }
        missing > 0
    }

    /// A few sessions: those of `looks` are about to change, the others have, as a watch says. Errors are left to the full
    /// sweep to report.
    async fn quick(&self, looks: &BTreeSet<SessionId>, mut sessions: BTreeSet<SessionId>) -> bool {
        sessions.extend(looks.iter().cloned());
        let Asked { missing, .. } = self.ask(self.questions(Some(&sessions))).await;
        self.look_again(looks);
        missing > 0
    }

    /// Those that still are about to change are looked at again, later each time.
    fn look_again(&self, looks: &BTreeSet<SessionId>) {
        for session in looks {
            let Some(entry) = self.core.sessions.get(session) else { continue };
            let next = entry.with(|cell| {
                cell.marks.looks = cell.marks.looks.saturating_add(1);
                next_look(cell)
            });
            if let Some(after) = next {
                self.backend.hints.look(session, after);
            }
        }
    }

    fn questions(&self, only: Option<&BTreeSet<SessionId>>) -> Vec<Question> {
        let look = |cell: &Cell| {
            let askable = is_live(cell.record.state) && !cell.acting && !cell.removed;
            askable.then(|| (key(&cell.record), cell.version))
        };
        let asked = match only {
            None => self.core.sessions.each_on(&self.backend.name, look),
            Some(sessions) => {
                let entries = sessions.iter().filter_map(|session| self.core.sessions.get(session));
                entries.filter_map(|entry| entry.with(|cell| look(cell)).map(|question| (entry, question))).collect()
            }
        };
        asked.into_iter().map(|(entry, (key, version))| Question { entry, key, version }).collect()
    }

    /// Asks, and takes in the answers.
    async fn ask(&self, questions: Vec<Question>) -> Asked {
        let mut asked = Asked::default();
        let mut questions = questions.into_iter();
        loop {
            let batch: Vec<Question> = questions.by_ref().take(BATCH).collect();
            if batch.is_empty() {
                return asked;
            }
            let error = match self.ask_batch(batch).await {
                Ok(more) => {
                    asked.missing += more;
                    continue;
                }
                Err(error) => error,
            };
            if error.is_busy() {
                asked.busy = true;
                continue;
            }
            asked.failed = Some(error.to_string());
            if matches!(error, Error::Unavailable { .. } | Error::Open { .. }) {
                // The next batch would fare no better, and may cost its whole deadline.
                let why: Arc<str> = error.to_string().into();
                questions.by_ref().for_each(|question| question.entry.doubt(&why));
            }
        }
    }

    async fn ask_batch(&self, batch: Vec<Question>) -> Result<usize, Error> {
        let keys: Vec<Key> = batch.iter().map(|question| question.key.clone()).collect();
        let answer = match call("inspect", self.backend.driver.inspect(&keys)).await {
            Ok(answer) => answer,
            Err(error) => {
                // Busy is not down: nothing was asked, and what is known is as good as it was.
                if !error.is_busy() {
                    let why: Arc<str> = error.to_string().into();
                    batch.iter().for_each(|question| question.entry.doubt(&why));
                }
                return Err(error);
            }
        };
        let mut found: Vec<Option<Status>> = Vec::new();
        found.resize_with(batch.len(), || None);
        for Found { position, status } in answer.found {
            if let Some(place) = found.get_mut(position) {
                *place = Some(status);
            }
        }
        let unknown: HashMap<usize, String> =
            answer.unknown.into_iter().map(|unknown| (unknown.position, unknown.reason)).collect();
        let mut missing = 0;
        let mut sights = Vec::with_capacity(batch.len());
        for (position, (question, found)) in batch.into_iter().zip(found).enumerate() {
            if let Some(why) = unknown.get(&position) {
                let now = self.core.clock.now();
                question.entry.with(|cell| cell.erred("inspect", why, now));
                question.entry.doubt(&why.as_str().into());
            } else if let Some(status) = found {
                sights.push((question, Sight::Found(status)));
            } else {
                missing += 1;
                sights.push((question, Sight::Missing));
            }
        }
        self.take_in(sights).await;
        Ok(missing)
    }

    /// Takes in what was seen. What cannot be stored is seen again by the next sweep.
    async fn take_in(&self, sights: Vec<(Question, Sight)>) {
        if let Err(error) = self.try_take_in(sights).await {
            // Nothing is shown that is not stored.
            tracing::error!(backend = %self.backend.name, %error, "what a sweep saw could not be stored");
        }
    }

    /// Takes in what was seen, all changes in one write, and gives the sessions that have changed by it. A session that
    /// changed since, or is about to, is left out: its worker knows better, and the next sweep comes.
    async fn try_take_in(&self, sights: Vec<(Question, Sight)>) -> Result<Vec<SessionId>, seawall_store::Error> {
        let context = self.core.context_of(&self.backend);
        let (mut writes, mut changes) = (Vec::new(), Vec::new());
        for (Question { entry, version, .. }, sight) in sights {
            let current = |cell: &Cell| cell.version == version && !cell.acting;
            let news = entry.with(|cell| {
                if current(cell) && matches!(sight, Sight::Found(_)) {
                    cell.seen = Some(Seen { at: context.now, by: self.look });
                }
                current(cell)
                    && !cell.removed
                    && match &sight {
                        Sight::Found(status) => is_news(cell, status),
                        Sight::Missing => !cell.marks.missing,
                        Sight::Gone | Sight::Ahead(..) => true,
                    }
            });
            if !news {
                continue;
            }
            let Some(mut change) = entry.try_commit().and_then(|right| Change::begin(&entry, right, current)) else {
                continue;
            };
            match &sight {
                Sight::Found(status) => observed(&mut change.draft, status, &context),
                Sight::Missing => change.draft.marks.missing = true,
                Sight::Gone => vanished(&mut change.draft, &context),
                Sight::Ahead(incarnation, status) => overtaken(&mut change.draft, *incarnation, status, &context),
            }
            writes.extend(change.writes());
            changes.push(change);
        }
        if changes.is_empty() {
            return Ok(Vec::new());
        }
        let changed = changes.iter().map(|change| change.entry.id.clone()).collect();
        // A task of its own: a sweep that is cut off leaves nothing that is stored and not shown.
        let keep = keep(Arc::clone(&self.core), Arc::clone(&self.backend), writes, changes);
        let keep = trace::scope(self.look.trace_id, keep);
        match self.backend.spawn(&self.core, keep).await {
            Ok(kept) => kept.map(|()| changed),
            Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
            // Only a runtime that ends cancels it.
            Err(_) => Ok(Vec::new()),
        }
    }

    /// Lists everything: confirms what is missing, and finds orphans.
    async fn list(&mut self) {
        // Before the listing begins: what changes while it goes on is not judged by it.
        let missing = self.missing();
        let interval = spread(self.core.config.list_interval);
        match listing(&self.backend).await {
            Ok(listing) => {
                self.backend.clear(ConditionKind::ListFailed);
                self.take_in(self.ahead(&listing)).await;
                self.confirm(missing, &listing).await;
                self.next_list = Instant::now() + interval;
                if orphans::clean_up(&self.core, &self.backend, &listing).await {
                    let soon = self.core.config.orphan_grace.div_f64(2.0).max(self.core.config.sweep_interval);
                    self.next_list = Instant::now() + soon.min(interval);
                }
            }
            Err(error) => {
                if !error.is_busy() {
                    self.backend.raise(ConditionKind::ListFailed, error.to_string(), self.core.clock.now());
                }
                // What is missing waits for this. A partial listing confirms nothing.
                self.next_list = Instant::now() + interval.min(spread(self.core.config.sweep_interval));
            }
        }
    }

    /// Sessions of which a later start is there than the store knows, in place of the one that it knows: the store was put
    /// back to an earlier day, since every start is stored before it is made. Starts that are too many to have been made
    /// are a backend's invention.
    fn ahead(&self, listing: &Listing) -> Vec<(Question, Sight)> {
        let mut newest: HashMap<&SessionId, &Workload> = HashMap::new();
        for workload in listing.values() {
            let known = newest.entry(&workload.session).or_insert(workload);
            if workload.incarnation > known.incarnation {
                *known = workload;
            }
        }
        let ahead = newest.into_values().filter_map(|workload| {
            let entry = self.core.sessions.get(&workload.session).filter(|entry| entry.backend == self.backend.name)?;
            let (key, version) = entry.with(|cell| {
                let more = workload.incarnation.checked_sub(cell.record.incarnation)?;
                let askable = (1..=MOST_AHEAD).contains(&more) && !cell.acting && !cell.removed;
                askable.then(|| (key(&cell.record), cell.version))
            })?;
            let there = listing.contains_key(&(key.session.clone(), key.incarnation));
            let sight = Sight::Ahead(workload.incarnation, workload.status.clone());
            (!there).then_some((Question { entry, key, version }, sight))
        });
        ahead.collect()
    }

    /// Sessions that an answer left out.
    fn missing(&self) -> Vec<Question> {
        self.questions(None).into_iter().filter(|asked| asked.entry.with(|cell| cell.marks.missing)).collect()
    }

    /// What is not in the listing either is gone, unless it is too much to be true.
    async fn confirm(&self, missing: Vec<Question>, listing: &Listing) {
        let Absent { found, wanted, ended } = Absent::of(missing, listing);
        let live = |cell: &Cell| is_live(cell.record.state) && cell.record.desired == Desired::Running;
        let live = self.core.sessions.on(&self.backend.name, live).len();
        let config = &self.core.config;
        let most = share(live, config.missing_percent, config.missing_minimum);
        // One that is to end anyway may be gone: nothing follows from believing it.
        let mut sights: Vec<_> = found.into_iter().chain(gone(ended)).collect();
        if wanted.len() <= most {
            self.backend.clear(ConditionKind::NotBelieved);
            sights.extend(gone(wanted));
            self.take_in(sights).await;
            return;
        }
        let name = &self.backend.name;
        let why: Arc<str> = format!(
            "missing together with many others, which is not believed: `seawall backend confirm-lost {name}` says that \
             they are gone"
        )
        .into();
        wanted.iter().for_each(|question| question.entry.doubt(&why));
        self.take_in(sights).await;
        let now = self.core.clock.now();
        let message = format!(
            "{} of its {live} running sessions are missing at once, more than is believed: they are unknown until they \
             are met again, or stopped; if they are gone, say so with `seawall backend confirm-lost {name}`",
            wanted.len()
        );
        if self.backend.raise(ConditionKind::NotBelieved, message.clone(), now) {
            self.core.tell(of_backend(name, Kind::BackendNotBelieved, now, message)).await;
        }
    }

    /// What an operator says is gone: sessions that an answer left out, and a listing that is begun now too, however many
    /// they are. With `show` nothing is changed. Gives them, without those that have changed meanwhile: the next sweep
    /// looks at these.
    pub(crate) async fn confirm_lost(&self, show: bool) -> Result<Vec<SessionId>, ControlError> {
        let missing = self.missing();
        let Absent { found, wanted, ended } = Absent::of(missing, &listing(&self.backend).await?);
        if show {
            return Ok(wanted.into_iter().map(|question| question.entry.id.clone()).collect());
        }
        self.take_in(found.into_iter().chain(gone(ended)).collect()).await;
        let count = wanted.len();
        let lost = self.try_take_in(gone(wanted).collect()).await.map_err(ControlError::Store)?;
        if lost.len() == count {
            self.backend.clear(ConditionKind::NotBelieved);
        }
        if !lost.is_empty() {
            let message = format!("{} sessions are taken as gone, as an operator says", lost.len());
            let now = self.core.clock.now();
            self.core.tell(of_backend(&self.backend.name, Kind::BackendLossConfirmed, now, message)).await;
        }
        Ok(lost)
    }
}

/// What a complete listing says of sessions that an answer left out before it began.
struct Absent {
    /// It has them.
    found: Vec<(Question, Sight)>,
    /// It has them not, and they are wanted to run.
    wanted: Vec<Question>,
    /// It has them not, and they are to end.
    ended: Vec<Question>,
}

impl Absent {
    fn of(missing: Vec<Question>, listing: &Listing) -> Self {
        let mut absent = Self { found: Vec::new(), wanted: Vec::new(), ended: Vec::new() };
        for question in missing {
            if let Some(workload) = listing.get(&(question.key.session.clone(), question.key.incarnation)) {
                absent.found.push((question, Sight::Found(workload.status.clone())));
            } else if question.entry.with(|cell| cell.record.desired == Desired::Running) {
                absent.wanted.push(question);
            } else {
                absent.ended.push(question);
            }
        }
        absent
    }
}

fn gone(questions: Vec<Question>) -> impl Iterator<Item = (Question, Sight)> {
    questions.into_iter().map(|question| (question, Sight::Gone))
}

/// Stores what a sweep saw, and shows it.
async fn keep(
    core: Arc<Core>,
    backend: Arc<Backend>,
    writes: Vec<Write>,
    changes: Vec<Change>,
) -> Result<(), seawall_store::Error> {
    if let Err(error) = core.write(writes).await {
        backend.raise(ConditionKind::StoreFailed, error.to_string(), core.clock.now());
        return Err(error);
    }
    backend.clear(ConditionKind::StoreFailed);
    let context = core.context_of(&backend);
    for change in changes {
        let entry = Arc::clone(&change.entry);
        hand_over(&core, change, &context);
        backend.probes.changed(&entry);
    }
    Ok(())
}

/// Moved by up to a tenth, so that backends and hosts do not fall into step.
pub(crate) fn spread(interval: Duration) -> Duration {
    interval.mul_f64(0.9 + 0.2 * rand::random::<f64>())
}
