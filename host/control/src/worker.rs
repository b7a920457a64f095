//! The worker of a session with work: plan, store the intent, call the backend, settle. Nobody else calls a backend to
//! change that session's workload, hence two acts on one session never overlap.
//!
//! There is a worker while there is something to do or to wait for; it ends when the planner says that there is
//! nothing. What wakes it: a changed wish, news from a sweep, the time it waits for.

use std::sync::Arc;
use std::time::Duration;

use seawall_backend::trace::{self, Cause};
use seawall_backend::{Error, ExecutionBackend as _};
use seawall_model::{Desired, Key, Status, Timestamp, TraceId};
use tracing::Instrument as _;

use crate::backend::{Backend, call};
use crate::backends::not_configured;
use crate::caller;
use crate::change::Change;
use crate::core::Core;
use crate::draft::{Context, key};
use crate::hints::next_look;
use crate::look::Seen;
use crate::plan::{Action, plan};
use crate::probe::for_backend;
use crate::settle::{Call, Outcome, Step, advance, settle};
use crate::state::{Cell, Entry};
use crate::turns::Turn;

/// How often a worker asks whether its backend can be used again, or its readers are gone, should nobody wake it.
const AWAIT_BACKEND: Duration = Duration::from_secs(5);

/// Sees to it that a session's work is done: wakes its worker, or starts one as soon as whoever asked has the answer.
pub(crate) fn kick(core: &Arc<Core>, entry: &Arc<Entry>) {
    let Some(backend) = core.backends.get(&entry.backend) else { return };
    let start = entry.with(|cell| {
        cell.kicked = true;
        cell.cause = trace::cause().or(cell.cause);
        !std::mem::replace(&mut cell.working, true)
    });
    if start {
        let (core, entry) = (Arc::clone(core), Arc::clone(entry));
        caller::after_the_answer(move || {
            let span = tracing::info_span!(parent: None, "worker", session = %entry.id, backend = %backend.name);
            core.tasks.clone().spawn(async move { Worker { core, entry, backend }.run().await }.instrument(span));
        });
    } else {
        entry.work.notify_one();
    }
}

/// Shows a change that was not made by the session's worker, and wakes the worker if there is one, or if something is to
/// be done now.
pub(crate) fn hand_over(core: &Arc<Core>, change: Change, context: &Context<'_>) {
    let entry = Arc::clone(&change.entry);
    let work = plan(&change.draft, context) != Action::Rest;
    change.publish(None);
    if work || entry.with(|cell| cell.working) {
        kick(core, &entry);
    }
}

struct Worker {
    core: Arc<Core>,
    entry: Arc<Entry>,
    /// The session's, as it was at the last turn.
    backend: Arc<Backend>,
}

/// However a worker ends, by a panic too, the session can have another.
struct Shift<'a> {
    entry: &'a Entry,
    over: bool,
}

impl Drop for Shift<'_> {
    fn drop(&mut self) {
        if !self.over {
            self.entry.with(|cell| {
                cell.working = false;
                cell.acting = false;
            });
        }
    }
}

/// While a session's call waits for its turn.
struct Queued<'a>(&'a Entry);

impl<'a> Queued<'a> {
    fn mark(entry: &'a Entry) -> Self {
        entry.with(|cell| cell.queued = true);
        Self(entry)
    }
}

impl Drop for Queued<'_> {
    fn drop(&mut self) {
        self.0.with(|cell| cell.queued = false);
    }
}

impl Worker {
    async fn run(&mut self) {
        let entry = Arc::clone(&self.entry);
        let mut shift = Shift { entry: &entry, over: false };
        let mut ended: Option<(Call, Outcome)> = None;
        let mut failed_writes = 0;
        // That of the request or sweep which gave it something to do: all tries of an act are within one trace.
        let mut cause = Cause::from(TraceId::random());
        loop {
            let last = self.core.soft.is_cancelled();
            if last && ended.is_none() {
                return;
            }
            cause = self.entry.with(|cell| {
                cell.kicked = false;
                cell.cause.take().unwrap_or(cause)
            });
            let step = match trace::scope(cause, self.step(ended.take(), last)).await {
                Ok(step) => step,
                Err(error) => {
                    // Nothing was shown and nothing begun. The act that was to be settled is made again: acts may be.
                    failed_writes += 1;
                    let delay = self.core.config.retry.delay(failed_writes, rand::random());
                    tracing::error!(session = %self.entry.id, %error, ?delay, "a change could not be stored");
                    self.nap(self.core.clock.now() + delay).await;
                    continue;
                }
            };
            failed_writes = 0;
            match step {
                Some(Step::Rest) => {
                    shift.over = entry.with(|cell| {
                        cell.working = cell.kicked;
                        !cell.kicked
                    });
                    if shift.over {
                        return;
                    }
                }
                None | Some(Step::Forget) => return,
                Some(Step::WaitUntil(at)) => self.nap(at).await,
                Some(Step::AwaitBackend | Step::AwaitReaders) => self.nap(self.core.clock.now() + AWAIT_BACKEND).await,
                Some(Step::Call(call)) => match trace::piece(cause, || self.span(), self.perform(&call)).await {
                    Some(outcome) => ended = Some((call, outcome)),
                    None => return,
                },
            }
        }
    }

    fn span(&self) -> tracing::Span {
        tracing::debug_span!("act", session = %self.entry.id, backend = %self.backend.name)
    }

    /// Cancel-safe, all arms.
    async fn nap(&self, until: Timestamp) {
        tokio::select! {
            () = self.core.clock.sleep_towards(until) => {}
            () = self.entry.work.notified() => {}
            () = self.core.soft.cancelled() => {}
        }
    }

    /// Settles the last call and opens the next, in one write. `None`: the session is gone, or this was the `last`.
    async fn step(&mut self, ended: Option<(Call, Outcome)>, last: bool) -> Result<Option<Step>, seawall_store::Error> {
        let (core, entry) = (&self.core, &self.entry);
        let Some(mut change) = Change::begin(entry, entry.commit().await, |_| true) else { return Ok(None) };
        // Once the session cannot be changed by others: who removes the backend changes it afterwards.
        let there = core.backends.get(&entry.backend).map(|backend| self.backend = backend).is_some();
        let context = core.context_of(&self.backend);

        let mut missing = false;
        if let Some((call, outcome)) = ended {
            settle(&mut change.draft, &call, outcome, &context);
            missing = call == Call::Look && change.draft.marks.missing;
        }
        let step = match there {
            _ if last => None,
            true => Some(advance(&mut change.draft, &context)),
            false => {
                change.draft.marks.doubt = Some(not_configured(&entry.backend).into());
                Some(Step::Rest)
            }
        };

        if step == Some(Step::Forget) {
            let message = match change.draft.marks.break_glass {
                true => "the host removed its workload without the plugin, and its record",
                false => "workload and record are gone",
            };
            core.bury(change, message).await?;
            self.backend.probes.changed(entry);
            return Ok(step);
        }
        core.write(change.writes()).await?;
        change.publish(Some(matches!(step, Some(Step::Call(_)))));
        self.backend.probes.changed(entry);
        if missing {
            self.backend.hints.list();
        }
        if let Some(after) = entry.with(|cell| next_look(cell)) {
            self.backend.hints.look(&entry.id, after);
        }
        Ok(step)
    }

    /// Makes the call. `None`: it was cut off, since the daemon ends.
    async fn perform(&self, what: &Call) -> Option<Outcome> {
        let answer = async {
            let _turn = self.turn(what).await?;
            Some(self.ask(what).await)
        };
        // Only a create may take long (an image). Cancel-safe: what a dropped call did is found out by the next.
        tokio::select! {
            answer = answer => {
                let Some(answer) = answer else { return Some(Outcome::GivenUp) };
                let now = self.core.clock.now();
                self.entry.with(|cell| match &answer {
                    Ok(Some(_)) => cell.seen = Some(Seen::by_act(now)),
                    Ok(None) => {}
                    Err(error) => cell.erred(what.function(), &error.to_string(), now),
                });
                Some(Outcome::Answer(answer))
            }
            () = self.unwanted(), if *what == Call::Create => Some(Outcome::GivenUp),
            () = self.glass_broken(), if *what != Call::Expunge => Some(Outcome::GivenUp),
            () = self.backend.given_up() => Some(Outcome::GivenUp),
            () = self.core.hard.cancelled() => None,
        }
    }

    /// Waits until it is this session's turn. `None`: the daemon ends first.
    async fn turn(&self, what: &Call) -> Option<Turn<'_>> {
        let turns = &self.backend.turns;
        if let Some(turn) = turns.now(what) {
            return Some(turn);
        }
        let _queued = Queued::mark(&self.entry);
        // Cancel-safe, both: a place in a queue is all that is lost.
        tokio::select! {
            turn = turns.wait(what) => Some(turn),
            () = self.core.soft.cancelled() => None,
        }
    }

    async fn ask(&self, what: &Call) -> Result<Option<Status>, Error> {
        let (driver, record) = (&self.backend.driver, self.entry.with(|cell| Arc::clone(&cell.record)));
        let key = key(&record);
        match what {
            Call::Create => {
                let filled = self.core.filled(&self.entry, &record.spec).await;
                // It was there when the session was asked for: it may be there again.
                let filled = filled.map_err(|invalid| Error::unavailable(invalid.to_string()))?;
                let spec = for_backend(filled.as_ref().unwrap_or(&record.spec), self.backend.engine_checks());
                call("create", driver.create(&key, &record.name, &spec)).await.map(Some)
            }
            Call::Start => {
                self.core.attach_early(&self.entry, &self.backend, &key).await;
                call("start", driver.start(&key)).await.map(Some)
            }
            Call::Signal(signal) => call("signal", driver.signal(&key, *signal)).await.map(|()| None),
            Call::Pause => call("pause.pause", driver.pause(&key)).await.map(|()| None),
            Call::Unpause => call("pause.unpause", driver.unpause(&key)).await.map(|()| None),
            Call::Remove(incarnation) => {
                // Of a pending session the recorded handle is that of the incarnation before.
                let previous = *incarnation != record.incarnation;
                let handle = if previous { record.handle.clone() } else { key.handle };
                let key = Key { session: key.session, incarnation: *incarnation, handle };
                if previous && record.desired != Desired::Removed {
                    self.core.keep_log(&self.backend, &key).await;
                }
                call("remove", driver.remove(&key, true)).await.map(|()| None)
            }
            Call::Expunge => {
                let gone = call("expunge", driver.expunge(&key.session)).await?;
                tracing::info!(session = %key.session, incarnations = ?gone, "removed without the plugin");
                Ok(None)
            }
            Call::Look => {
                let answer = call("inspect", driver.inspect(std::slice::from_ref(&key))).await?;
                if let Some(unknown) = answer.unknown.into_iter().next() {
                    return Err(match driver.quarantine().left("inspect", &key.session) {
                        Some(retry_after) => {
                            Error::Quarantined { function: "inspect", session: key.session, retry_after }
                        }
                        None => Error::unavailable(unknown.reason),
                    });
                }
                Ok(answer.found.into_iter().next().map(|found| found.status))
            }
        }
    }

    /// Ends when the session is no longer wanted to run.
    async fn unwanted(&self) {
        self.until(|cell| cell.record.desired != Desired::Running).await;
    }

    /// Ends when the session is removed by the host's own hand: the plugin is waited for no longer.
    async fn glass_broken(&self) {
        self.until(|cell| cell.marks.break_glass).await;
    }

    async fn until(&self, so: impl Fn(&Cell) -> bool) {
        let mut changed = self.entry.subscribe();
        while !self.entry.with(|cell| so(cell)) {
            if changed.changed().await.is_err() {
                return;
            }
        }
    }
}
