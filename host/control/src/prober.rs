//! The probes of a backend's sessions: one task for all of them, which asks up to a bounded number at a time, those that
//! have waited longest first.
//!
//! It owns every probe that is under way, and dropping it ends them. It is told of sessions that changed (`Notes`), so
//! that it looks at none that has no probes; an answer about an incarnation that no longer runs is dropped.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, PoisonError};

use futures_util::future::BoxFuture;
use futures_util::stream::{FuturesUnordered, StreamExt as _};
use seawall_model::{Desired, HealthCheck, Incarnation, SessionId, SessionState};
use seawall_store::Act;
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::backend::Backend;
use crate::change::Change;
use crate::core::Core;
use crate::draft::key;
use crate::observe::probed;
use crate::probe::{Outcome, Question, Recorded, Role, Verdict, Watch};
use crate::probe_run::ask;
use crate::state::{Cell, Entry};
use crate::why::LastProbe;
use crate::worker::hand_over;

/// Sessions that changed, and whose probes may have to begin or to end.
#[derive(Default)]
pub(crate) struct Notes {
    sessions: Mutex<BTreeSet<SessionId>>,
    /// Told when there are some. One listener.
    changed: Notify,
}

impl Notes {
    /// A session changed.
    pub(crate) fn changed(&self, entry: &Entry) {
        if entry.with(|cell| has_probes(cell)) {
            self.sessions.lock().unwrap_or_else(PoisonError::into_inner).insert(entry.id.clone());
            self.changed.notify_one();
        }
    }

    fn take(&self) -> BTreeSet<SessionId> {
        std::mem::take(&mut self.sessions.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

fn has_probes(cell: &Cell) -> bool {
    let spec = &cell.record.spec;
    !spec.probes.is_empty() || matches!(spec.health_check, Some(HealthCheck::Command(_)))
}

/// The incarnation that is to be asked, if there is one: it runs, and is not about to end.
fn asked(cell: &Cell) -> Option<Incarnation> {
    let record = &cell.record;
    let runs = record.state.runs() && !cell.removed;
    let ending = record.desired != Desired::Running
        || matches!(
            cell.intent.as_ref().map(|intent| intent.act),
            Some(Act::Stop { .. } | Act::Restart { .. } | Act::Remove)
        );
    (runs && !ending).then_some(record.incarnation)
}

pub(crate) struct Prober {
    core: Arc<Core>,
    backend: Arc<Backend>,
    watched: HashMap<SessionId, Watched>,
    /// When each watched session is to be asked next; the oldest first.
    due: BTreeSet<(Instant, SessionId)>,
    under_way: FuturesUnordered<BoxFuture<'static, Answer>>,
}

struct Watched {
    entry: Arc<Entry>,
    incarnation: Incarnation,
    watch: Watch,
    due: Option<Instant>,
    /// What is on record.
    published: Option<Verdict>,
}

struct Answer {
    session: SessionId,
    incarnation: Incarnation,
    role: Role,
    /// `None`: the incarnation ended meanwhile.
    outcome: Option<Outcome>,
}

enum Event {
    Stop,
    Noted,
    Due,
    Answered(Answer),
}

impl Prober {
    pub(crate) fn new(core: Arc<Core>, backend: Arc<Backend>) -> Self {
        let (watched, due, under_way) = (HashMap::new(), BTreeSet::new(), FuturesUnordered::new());
        Self { core, backend, watched, due, under_way }
    }

    /// Until the backend ends.
    pub(crate) async fn run(mut self) {
        for entry in self.core.sessions.on(&self.backend.name, |cell| has_probes(cell) && asked(cell).is_some()) {
            self.meet(&entry.id, true);
        }
        loop {
            self.begin();
            match self.next().await {
                Event::Stop => return,
                Event::Noted => self.backend.probes.take().iter().for_each(|session| self.meet(session, false)),
                Event::Due => {}
                Event::Answered(answer) => self.settle(answer).await,
            }
        }
    }

    async fn next(&mut self) -> Event {
        let room = self.under_way.len() < self.core.config.probes_at_once;
        let due = self.due.first().map(|(at, _)| *at).filter(|_| room);
        let wake = async {
            match due {
                Some(at) => tokio::time::sleep_until(at).await,
                None => std::future::pending().await,
            }
        };
        // Cancel-safe, all arms.
        tokio::select! {
            () = self.backend.stopping() => Event::Stop,
            () = self.backend.probes.changed.notified() => Event::Noted,
            Some(answer) = self.under_way.next() => Event::Answered(answer),
            () = wake => Event::Due,
        }
    }

    /// Begins to watch a session, or its new incarnation, or ceases to.
    fn meet(&mut self, session: &SessionId, adopted: bool) {
        let entry = self.core.sessions.get(session);
        let incarnation = entry.as_ref().and_then(|entry| entry.with(|cell| asked(cell)));
        let (Some(entry), Some(incarnation)) = (entry, incarnation) else {
            self.leave(session);
            return;
        };
        if self.watched.get(session).is_some_and(|watched| watched.incarnation == incarnation) {
            return;
        }
        self.leave(session);
        let engine_checks = self.backend.engine_checks();
        let (spec, recorded) = entry.with(|cell| {
            let record = &cell.record;
            let age = record.started_at.map(|at| self.core.clock.now().since(at)).unwrap_or_default();
            let (health, started, ready) = (record.health, record.started, record.ready);
            (Arc::clone(record), Recorded { health, started, ready, age, adopted })
        });
        let watch = Watch::new(&spec.spec, engine_checks, recorded, Instant::now(), rand::random);
        let Some(watch) = watch else { return };
        let published = None;
        self.watched.insert(session.clone(), Watched { entry, incarnation, watch, due: None, published });
        self.schedule(session);
    }

    fn leave(&mut self, session: &SessionId) {
        if let Some(Watched { due: Some(due), .. }) = self.watched.remove(session) {
            self.due.remove(&(due, session.clone()));
        }
    }

    fn schedule(&mut self, session: &SessionId) {
        let Some(watched) = self.watched.get_mut(session) else { return };
        if let Some(before) = watched.due.take() {
            self.due.remove(&(before, session.clone()));
        }
        watched.due = watched.watch.due();
        self.due.extend(watched.due.map(|due| (due, session.clone())));
    }

    /// Asks those who are due, as long as there is room.
    fn begin(&mut self) {
        let now = Instant::now();
        while self.under_way.len() < self.core.config.probes_at_once
            && let Some((at, session)) = self.due.first().cloned()
            && at <= now
        {
            let Some(watched) = self.watched.get_mut(&session) else {
                self.due.remove(&(at, session));
                continue;
            };
            for question in watched.watch.take(now) {
                let (entry, incarnation) = (Arc::clone(&watched.entry), watched.incarnation);
                let probe = probe(Arc::clone(&self.backend), entry, incarnation, question);
                self.under_way.push(Box::pin(probe));
            }
            self.schedule(&session);
        }
    }

    async fn settle(&mut self, answer: Answer) {
        let Answer { session, incarnation, role, outcome } = answer;
        let Some(watched) = self.watched.get_mut(&session).filter(|watched| watched.incarnation == incarnation) else {
            return;
        };
        let Some(outcome) = outcome else {
            self.leave(&session);
            return;
        };
        let (successes, failures) = watched.watch.settle(role, &outcome, Instant::now());
        let last = LastProbe::new(role, &outcome, self.core.clock.now(), successes, failures);
        watched.entry.with(|cell| cell.probed(incarnation, last));
        let verdict = watched.watch.verdict();
        let news = watched.published.as_ref() != Some(&verdict);
        if news && publish(&self.core, &self.backend, &watched.entry, incarnation, &verdict).await {
            watched.published = Some(verdict);
        }
        self.schedule(&session);
    }
}

/// Puts a verdict on record. `false`: it has to be tried again.
async fn publish(
    core: &Arc<Core>,
    backend: &Backend,
    entry: &Arc<Entry>,
    incarnation: Incarnation,
    verdict: &Verdict,
) -> bool {
    let current = |cell: &Cell| asked(cell) == Some(incarnation);
    let Some(mut change) = Change::begin(entry, entry.commit().await, current) else { return true };
    let context = core.context_of(backend);
    probed(&mut change.draft, verdict, &context);
    if let Err(error) = core.write(change.writes()).await {
        // Nothing is shown that is not stored; the next answer tries again.
        tracing::error!(session = %entry.id, %error, "what probes found could not be stored");
        return false;
    }
    hand_over(core, change, &context);
    true
}

/// Carries out one probe, and gives it up when the incarnation is over. While nobody knows whether it runs it is not
/// asked.
async fn probe(backend: Arc<Backend>, entry: Arc<Entry>, incarnation: Incarnation, question: Question) -> Answer {
    let answer = |outcome| Answer { session: entry.id.clone(), incarnation, role: question.role, outcome };
    let (record, secrets, state) = entry.with(|cell| (Arc::clone(&cell.record), cell.redactor(), cell.state()));
    if state != SessionState::Running {
        return answer(Some(Outcome::Unknown(format!("it was not asked, since the session is {state}"))));
    }
    let pauses = entry.with(|cell| cell.marks.pauses);
    let key = key(&record);
    let outcome = tokio::select! {
        outcome = ask(&backend.driver, &key, &record.spec, secrets.as_ref(), &question) => Some(outcome),
        () = over(&entry, incarnation) => None,
    };
    let stood_still = entry.with(|cell| cell.marks.pauses != pauses || cell.marks.freeze.is_some());
    answer(outcome.map(|outcome| match outcome {
        Outcome::Failed(_) if stood_still => Outcome::Unknown("it was paused meanwhile".to_owned()),
        other => other,
    }))
}

/// Ends when this incarnation is not to be asked any more.
async fn over(entry: &Entry, incarnation: Incarnation) {
    let mut changed = entry.subscribe();
    while entry.with(|cell| asked(cell)) == Some(incarnation) {
        if changed.changed().await.is_err() {
            return;
        }
    }
}
