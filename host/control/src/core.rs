//! What every task and every request shares.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use seawall_model::{BackendName, SessionState};
use seawall_store::{Event, Store, Write};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::backend::Backend;
use crate::clock::Clock;
use crate::draft::{Context, Draft};
use crate::state::{Entry, Sessions};
use crate::{BackendStatus, ControlConfig, ControlError};

pub(crate) struct Core {
    pub(crate) config: ControlConfig,
    pub(crate) store: Store,
    pub(crate) clock: Clock,
    pub(crate) sessions: Sessions,
    pub(crate) backends: BTreeMap<BackendName, Arc<Backend>>,
    /// Every task, requests included.
    pub(crate) tasks: TaskTracker,
    /// Begin nothing more.
    pub(crate) soft: CancellationToken,
    /// Give up what is under way.
    pub(crate) hard: CancellationToken,
    /// Requests are refused.
    pub(crate) closing: AtomicBool,
}

impl Core {
    pub(crate) fn context(&self, usable: bool) -> Context<'_> {
        Context { now: self.clock.now(), jitter: rand::random(), usable, config: &self.config }
    }

    pub(crate) fn backend(&self, name: &BackendName) -> Result<&Arc<Backend>, ControlError> {
        self.backends.get(name).ok_or_else(|| ControlError::NoSuchBackend(name.clone()))
    }

    pub(crate) fn open(&self) -> Result<(), ControlError> {
        if self.closing.load(Ordering::Acquire) { Err(ControlError::ShuttingDown) } else { Ok(()) }
    }

    /// Changes a session: worked out by `change`, stored, then shown.
    pub(crate) async fn change(
        &self,
        entry: &Entry,
        change: impl FnOnce(&mut Draft, &Context<'_>) -> Result<(), ControlError>,
    ) -> Result<(), ControlError> {
        let right = entry.commit().await;
        let before = entry.with(|cell| (!cell.removed).then(|| (cell.draft(), Arc::clone(&cell.record))));
        let (mut draft, record) = before.ok_or_else(|| ControlError::NoSuchSession(entry.id.to_string()))?;
        let intent = draft.intent.clone();
        change(&mut draft, &self.context(true))?;
        let writes = draft.writes((&record, intent.as_ref()));
        if !writes.is_empty() {
            self.store.write(writes).await.map_err(ControlError::Store)?;
        }
        entry.publish(&right, &draft, None);
        Ok(())
    }

    /// Adds to the journal what is about no session's record. What happened has happened: if it cannot be written, the
    /// log has it.
    pub(crate) async fn tell(&self, event: Event) {
        let (kind, message) = (event.kind.clone(), event.message.clone());
        tracing::info!(kind, backend = event.backend.as_ref().map(BackendName::as_str), "{message}");
        if let Err(error) = self.store.write(vec![Write::Event(event)]).await {
            tracing::error!(kind, %error, "an event could not be stored: {message}");
        }
    }

    /// Every backend and the states of its sessions, from one look at the sessions.
    pub(crate) fn backend_statuses(&self) -> Vec<BackendStatus> {
        let mut counts: BTreeMap<&BackendName, BTreeMap<SessionState, usize>> = BTreeMap::new();
        let sessions = self.sessions.all();
        for entry in &sessions {
            *counts.entry(&entry.backend).or_default().entry(entry.with(|cell| cell.state())).or_default() += 1;
        }
        let mut counted = |backend: &Backend| counts.remove(&backend.name).unwrap_or_default();
        self.backends.values().map(|backend| backend.status(counted(backend))).collect()
    }
}
