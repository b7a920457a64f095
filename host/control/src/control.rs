//! The handle: what the daemon's interfaces may ask for. Requests that change something are in `commands.rs`.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use seawall_backend::{Bulkhead, ExecutionBackend, Holding, Interface, LogStream, Preparation};
use seawall_model::{BackendName, LogOptions, Session, SessionId, SessionState};
use seawall_store::{Event, EventFilter, EventPage, Store};
use tokio::sync::broadcast;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::backend::{Backend, call};
use crate::backends::{Backends, not_configured};
use crate::clock::Clock;
use crate::core::Core;
use crate::counts::{Counts, EventCount};
use crate::departed::Departed;
use crate::draft::{Marks, is_live, key};
use crate::kept_logs::KeptLogs;
use crate::once::Keys;
use crate::pause::able;
use crate::plan::{Action, plan};
use crate::probe::beginning;
use crate::reader::Reader;
use crate::state::{Entry, Glance, Resolved, Sessions};
use crate::worker::kick;
use crate::{BackendStatus, ControlConfig, ControlError, Overview, StartError, retention};

/// A handle of the control plane; clones are cheap and mean the same. Dropping all of them ends nothing: see
/// [`Control::shutdown`].
#[derive(Clone)]
pub struct Control {
    pub(crate) core: Arc<Core>,
}

impl Control {
    /// Loads what is stored, adopts it, and starts the sweeps and checks. Waits for no backend.
    ///
    /// # Errors
    /// A setting is not valid, or the store cannot be read.
    pub async fn start(
        config: ControlConfig,
        store: Store,
        backends: BTreeMap<BackendName, Arc<Bulkhead<dyn ExecutionBackend>>>,
    ) -> Result<Self, StartError> {
        Self::start_at(Clock::System, config, store, backends).await
    }

    /// The same, by another clock.
    pub(crate) async fn start_at(
        clock: Clock,
        config: ControlConfig,
        store: Store,
        backends: BTreeMap<BackendName, Arc<Bulkhead<dyn ExecutionBackend>>>,
    ) -> Result<Self, StartError> {
        config.validate().map_err(StartError::Config)?;
        let kept = store.load().await.map_err(StartError::Store)?;
        let logs = KeptLogs::new(store.directory());
        let core = Arc::new(Core {
            config,
            store,
            clock,
            sessions: Sessions::default(),
            backends: Backends::default(),
            counts: Counts::default(),
            keys: Keys::default(),
            departed: Departed::default(),
            logs,
            tasks: TaskTracker::new(),
            soft: CancellationToken::new(),
            hard: CancellationToken::new(),
            closing: AtomicBool::new(false),
            #[cfg(test)]
            faults: Default::default(),
        });
        for (name, driver) in backends {
            core.backends.put(Backend::new(&core, name, driver, 1));
        }

        let mut intents: HashMap<_, _> =
            kept.intents.into_iter().map(|intent| (intent.session.clone(), intent)).collect();
        for record in kept.sessions {
            let backend = core.backends.get(record.backend());
            let doubt = if backend.is_none() {
                Some(not_configured(record.backend()))
            } else if is_live(record.state) {
                Some("its backend was not asked since the daemon started".to_owned())
            } else {
                None
            };
            let engine_checks = backend.is_some_and(|backend| backend.engine_checks());
            // What was concluded stands until there is a new conclusion.
            let probed = beginning(&record.spec, engine_checks).health.map(|_| record.health);
            let marks = Marks { doubt: doubt.map(Into::into), probed, ..Marks::default() };
            let intent = intents.remove(&record.id);
            core.sessions.insert(Entry::new(record, intent, marks));
        }
        for backend in core.backends.all() {
            backend.run(&core);
        }
        retention::run(&core);
        core.recall();
        core.tidy_logs();
        let context = core.context(true);
        for entry in core.sessions.all() {
            if entry.with(|cell| plan(&cell.draft(), &context)) != Action::Rest {
                kick(&core, &entry);
            }
        }
        Ok(Self { core })
    }

    /// Waits until `until` holds of a session. Dropping the future is safe.
    ///
    /// # Errors
    /// `NoSuchSession` when it is not there (any more), `ShuttingDown`.
    pub async fn wait(&self, id: &SessionId, until: impl Fn(&Session) -> bool + Send) -> Result<Session, ControlError> {
        let no_such = || ControlError::NoSuchSession(id.to_string());
        let entry = self.core.sessions.get(id).ok_or_else(no_such)?;
        let mut changed = entry.subscribe();
        loop {
            changed.mark_unchanged();
            let session = entry.with(|cell| (!cell.removed).then(|| cell.session())).ok_or_else(no_such)?;
            if until(&session) {
                return Ok(session);
            }
            tokio::select! {
                changed = changed.changed() => changed.map_err(|_| no_such())?,
                () = self.core.soft.cancelled() => return Err(ControlError::ShuttingDown),
            }
        }
    }

    /// Every session, oldest first.
    pub fn sessions(&self) -> Vec<Session> {
        self.core.sessions.by_age().iter().map(|entry| entry.with(|cell| cell.session())).collect()
    }

    /// Each session that is wanted, oldest first, as the JSON that a [`Session`] is. It is kept from one time to the
    /// next, so that a list costs what was changed since the last one.
    ///
    /// # Errors
    /// Only a defect.
    pub fn documents(&self, wanted: impl Fn(Glance<'_>) -> bool) -> Result<Vec<Arc<str>>, serde_json::Error> {
        let entries = self.core.sessions.by_age();
        let document = |entry: &Arc<Entry>| entry.with(|cell| wanted(cell.glance()).then(|| cell.document()));
        entries.iter().filter_map(document).collect()
    }

    /// One session.
    pub fn session(&self, id: &SessionId) -> Option<Session> {
        self.core.sessions.get(id).map(|entry| entry.with(|cell| cell.session()))
    }

    /// The answer with which the backend refused the session's newest start for good, such as a field that it cannot
    /// carry out. Known until the next start, and while this daemon runs.
    pub fn refusal(&self, id: &SessionId) -> Option<seawall_backend::Error> {
        let refused = self.core.sessions.get(id)?.with(|cell| cell.marks.refused.clone())?;
        Some(seawall_backend::Error::clone(&refused))
    }

    /// Finds a session by its id, its name, or the beginning of its id (4 digits or more), in this order.
    ///
    /// # Errors
    /// `NoSuchSession`, `Ambiguous`.
    pub fn resolve(&self, text: &str) -> Result<SessionId, ControlError> {
        match self.core.sessions.resolve(text) {
            Resolved::One(id) => Ok(id),
            Resolved::Many(matches) => Err(ControlError::Ambiguous { prefix: text.to_owned(), matches }),
            // A reference of a megabyte must not become a message of a megabyte.
            Resolved::Nothing => Err(ControlError::NoSuchSession(text.chars().take(80).collect())),
        }
    }

    /// Opens what a session wrote. The stream is the backend's own: nothing here has to go on for it. A session that
    /// removes itself does not do so while there is such a stream.
    ///
    /// # Errors
    /// `NoSuchSession`, `NoSuchBackend`, `Conflict` if there is no workload yet, `Backend`.
    pub async fn logs(&self, id: &SessionId, options: LogOptions) -> Result<LogStream, ControlError> {
        let entry = self.core.sessions.get(id).ok_or_else(|| ControlError::NoSuchSession(id.to_string()))?;
        let backend = self.core.backend(&entry.backend)?;
        let (key, state, gone) = entry.with(|cell| (key(&cell.record), cell.record.state, cell.marks.gone));
        if state == SessionState::Pending || key.incarnation == 0 {
            return Err(ControlError::Conflict(format!("session {id} has written nothing: it was not made yet")));
        }
        if gone {
            return Err(ControlError::Conflict(format!(
                "session {id} has no output: its workload is not there, `seawall inspect {id}` says why"
            )));
        }
        let most = self.core.config.session_streams;
        let reader = Reader::new(entry, key.incarnation, most).ok_or_else(|| self.too_many(id))?;
        let logs = backend.driver.logs(&key, &options).await?;
        Ok(Box::pin(Holding::new(logs, reader)))
    }

    /// Has the engine behind a backend fetch an image; with `missing`, only if it has none of that name. The stream is the
    /// backend's own, as that of [`logs`](Self::logs) is: dropping it gives the image up.
    ///
    /// # Errors
    /// `NoSuchBackend`, `ShuttingDown`, `Backend`.
    pub async fn prepare(
        &self,
        backend: &BackendName,
        reference: &str,
        missing: bool,
    ) -> Result<Preparation, ControlError> {
        self.core.open()?;
        let backend = self.core.backend(backend)?;
        able(&backend, Interface::Images)?;
        Ok(call("images.prepare", backend.driver.prepare(reference, missing)).await?)
    }

    /// Every backend and what that comes to, from one look: sums and states agree.
    pub fn overview(&self) -> Overview {
        self.core.overview()
    }

    /// Every backend, in the order of names.
    pub fn backends(&self) -> Vec<BackendStatus> {
        self.overview().backends
    }

    /// One backend.
    pub fn backend(&self, name: &BackendName) -> Option<BackendStatus> {
        self.backends().into_iter().find(|status| status.name == *name)
    }

    /// How often each thing happened since the daemon started.
    pub fn event_counts(&self) -> Vec<EventCount> {
        self.core.counts.all()
    }

    /// How the store fares.
    pub fn store_stats(&self) -> seawall_store::Stats {
        self.core.store.stats()
    }

    /// Events of the journal, oldest first.
    ///
    /// # Errors
    /// `Store`.
    pub async fn events(&self, after: Option<u64>, limit: usize) -> Result<Vec<Event>, ControlError> {
        self.core.store.events(after, limit).await.map_err(ControlError::Store)
    }

    /// A page of the journal: up to `limit` events after the id `after` that are meant.
    ///
    /// # Errors
    /// `Store`.
    pub async fn event_page(&self, after: u64, limit: usize, filter: EventFilter) -> Result<EventPage, ControlError> {
        self.core.store.event_page(after, limit, filter).await.map_err(ControlError::Store)
    }

    /// Where to begin to read for the last `count` events that are meant: the id before them.
    ///
    /// # Errors
    /// `Store`.
    pub async fn before_last_events(&self, count: usize, filter: EventFilter) -> Result<u64, ControlError> {
        self.core.store.before_last_events(count, filter).await.map_err(ControlError::Store)
    }

    /// The id of the newest event; 0 if there never was one.
    pub fn last_event(&self) -> u64 {
        self.core.store.last_event()
    }

    /// Events as they happen. A receiver that falls behind is told how many it missed.
    pub fn subscribe(&self) -> broadcast::Receiver<Arc<Event>> {
        self.core.store.subscribe()
    }
}
