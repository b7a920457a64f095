//! What every task and every request shares.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use seawall_model::{BackendName, Session, SessionState};
use seawall_store::{Event, Store, Write};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::backend::Backend;
use crate::backends::Backends;
use crate::change::Change;
use crate::clock::Clock;
use crate::counts::Counts;
use crate::departed::Departed;
use crate::draft::{Context, Draft};
use crate::events::{Kind, of_session};
use crate::kept_logs::KeptLogs;
use crate::once::Keys;
use crate::state::{Entry, Sessions};
use crate::{ControlConfig, ControlError, Overview, Summary, caller};

pub(crate) struct Core {
    pub(crate) config: ControlConfig,
    pub(crate) store: Store,
    pub(crate) clock: Clock,
    pub(crate) sessions: Sessions,
    pub(crate) backends: Backends,
    pub(crate) counts: Counts,
    pub(crate) keys: Keys,
    pub(crate) departed: Departed,
    pub(crate) logs: KeptLogs,
    /// Every task, requests included.
    pub(crate) tasks: TaskTracker,
    /// Begin nothing more.
    pub(crate) soft: CancellationToken,
    /// Give up what is under way.
    pub(crate) hard: CancellationToken,
    /// Requests are refused.
    pub(crate) closing: AtomicBool,
    /// What is to go wrong with writes.
    #[cfg(test)]
    pub(crate) faults: crate::tests::writes::Faults,
}

impl Core {
    pub(crate) fn context(&self, usable: bool) -> Context<'_> {
        Context { now: self.clock.now(), jitter: rand::random(), usable, engine_checks: false, config: &self.config }
    }

    /// The same, for what is about sessions that this backend runs.
    pub(crate) fn context_of(&self, backend: &Backend) -> Context<'_> {
        Context { engine_checks: backend.engine_checks(), ..self.context(backend.health().usable()) }
    }

    pub(crate) fn backend(&self, name: &BackendName) -> Result<Arc<Backend>, ControlError> {
        self.backends.get(name).ok_or_else(|| ControlError::NoSuchBackend(name.clone()))
    }

    pub(crate) fn open(&self) -> Result<(), ControlError> {
        if self.closing.load(Ordering::Acquire) { Err(ControlError::ShuttingDown) } else { Ok(()) }
    }

    /// Stores, and logs what there is to tell.
    pub(crate) async fn write(&self, writes: Vec<Write>) -> Result<(), seawall_store::Error> {
        let events: Vec<Event> = writes
            .iter()
            .filter_map(|write| if let Write::Event(event) = write { Some(event.clone()) } else { None })
            .collect();
        if !writes.is_empty() {
            let write = self.store.write(writes);
            #[cfg(test)]
            let write = self.faults.around(write);
            write.await?;
        }
        for event in events {
            self.counts.count(&event);
            caller::log_later(move || {
                let session = event.session.as_ref().map(tracing::field::display);
                let backend = event.backend.as_ref().map(tracing::field::display);
                tracing::info!(kind = event.kind, session, backend, actor = event.actor, "{}", event.message);
            });
        }
        Ok(())
    }

    /// Changes a session: worked out by `change`, stored, then shown; gives it as it is right after that.
    pub(crate) async fn change(
        &self,
        entry: &Arc<Entry>,
        change: impl FnOnce(&mut Draft, &Context<'_>) -> Result<(), ControlError>,
    ) -> Result<Session, ControlError> {
        let begun = Change::begin(entry, entry.commit().await, |_| true);
        let mut begun = begun.ok_or_else(|| ControlError::NoSuchSession(entry.id.to_string()))?;
        caller::met(entry)?;
        change(&mut begun.draft, &self.context(true))?;
        self.write(begun.writes()).await.map_err(ControlError::Store)?;
        let shown = begun.publish_and(None, |cell| cell.session());
        Ok(shown)
    }

    /// Deletes a session's record, and says what became of the session.
    pub(crate) async fn bury(&self, change: Change, message: &str) -> Result<(), seawall_store::Error> {
        let entry = Arc::clone(&change.entry);
        let event = of_session(&change.draft.record, Kind::SessionRemoved, self.clock.now(), message);
        self.write(vec![Write::DeleteSession(entry.id.clone()), Write::Event(event)]).await?;
        if entry.with(|cell| cell.record.incarnation) > 1 {
            self.forget_logs(&entry.id).await;
        }
        if change.draft.record.spec.auto_remove {
            self.departed.put(entry.with(|cell| cell.session()));
        }
        self.sessions.remove(&entry);
        change.bury();
        Ok(())
    }

    /// Adds to the journal what is about no session's record. What happened has happened: if it cannot be written, the
    /// log has it.
    pub(crate) async fn tell(&self, event: Event) {
        let (kind, message) = (event.kind.clone(), event.message.clone());
        if let Err(error) = self.write(vec![Write::Event(event)]).await {
            tracing::error!(kind, %error, "an event could not be stored: {message}");
        }
    }

    /// Every backend and the states of its sessions, in one look at each.
    pub(crate) fn overview(&self) -> Overview {
        let mut counts: BTreeMap<BackendName, BTreeMap<SessionState, usize>> = BTreeMap::new();
        for entry in self.sessions.all() {
            let state = entry.with(|cell| cell.state());
            *counts.entry(entry.backend.clone()).or_default().entry(state).or_default() += 1;
        }
        let mut counted = |backend: &Backend| counts.remove(&backend.name).unwrap_or_default();
        let backends: Vec<_> = self.backends.all().iter().map(|backend| backend.status(counted(backend))).collect();
        Overview { summary: Summary::of(&backends), backends, unconfigured: counts }
    }
}
