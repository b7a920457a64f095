//! The set of backends, which changes while the daemon runs (B3): one is added, removed, or replaced by another of its
//! name.
//!
//! Sessions are not touched by that. Those of a backend that is gone are `unknown` until it is there again. A worker that
//! waits for an answer of a backend that was replaced has it for a few seconds more; then it gives up and goes on with the
//! new one, which acts being idempotent allows.
//!
//! Changes are made one at a time, each to its end. Where they come from is not known here.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock};

use seawall_backend::{Bulkhead, ExecutionBackend};
use seawall_model::BackendName;

use crate::ControlError;
use crate::backend::Backend;
use crate::change::Change;
use crate::control::Control;
use crate::core::Core;
use crate::draft::{Draft, is_live};
use crate::events::{Kind, of_backend};
use crate::health::wake;
use crate::worker::hand_over;

/// The backends that are there.
#[derive(Default)]
pub(crate) struct Backends {
    by_name: RwLock<BTreeMap<BackendName, Arc<Backend>>>,
    /// Held by whoever changes the set.
    changing: tokio::sync::Mutex<()>,
}

/// What becomes of one backend. The message is for the journal.
#[derive(Clone)]
pub enum BackendChange {
    /// It is there from now on, in place of the one of its name, if there is one.
    Put {
        /// Who to call.
        driver: Arc<Bulkhead<dyn ExecutionBackend>>,
        /// Why.
        message: String,
    },
    /// It is there no longer.
    Remove {
        /// Why.
        message: String,
    },
}

impl Backends {
    pub(crate) fn get(&self, name: &BackendName) -> Option<Arc<Backend>> {
        self.by_name.read().unwrap_or_else(PoisonError::into_inner).get(name).cloned()
    }

    /// All of them, in the order of names.
    pub(crate) fn all(&self) -> Vec<Arc<Backend>> {
        self.by_name.read().unwrap_or_else(PoisonError::into_inner).values().cloned().collect()
    }

    /// Puts it in place of the one of its name.
    pub(crate) fn put(&self, backend: Arc<Backend>) {
        let mut by_name = self.by_name.write().unwrap_or_else(PoisonError::into_inner);
        by_name.insert(backend.name.clone(), backend);
    }

    fn take(&self, name: &BackendName) -> Option<Arc<Backend>> {
        self.by_name.write().unwrap_or_else(PoisonError::into_inner).remove(name)
    }
}

impl Control {
    /// Adds, replaces and removes backends. Those that are not named are left alone, and so is every workload. What was
    /// begun is carried to its end, also when the caller goes away.
    ///
    /// # Errors
    /// `ShuttingDown`: nothing was changed.
    pub async fn change_backends(&self, changes: BTreeMap<BackendName, BackendChange>) -> Result<(), ControlError> {
        self.request(|core| async move {
            let _one_at_a_time = core.backends.changing.lock().await;
            core.open()?;
            for (name, change) in changes {
                match change {
                    BackendChange::Put { driver, message } => core.put_backend(name, driver, message).await,
                    BackendChange::Remove { message } => core.remove_backend(&name, message).await,
                }
            }
            Ok(())
        })
        .await
    }
}

impl Core {
    async fn put_backend(
        self: &Arc<Self>,
        name: BackendName,
        driver: Arc<Bulkhead<dyn ExecutionBackend>>,
        message: String,
    ) {
        let now = self.clock.now();
        let Some(old) = self.backends.get(&name) else {
            let backend = Backend::new(self, name.clone(), driver, 1);
            self.backends.put(Arc::clone(&backend));
            self.tell(of_backend(&name, Kind::BackendAdded, now, message)).await;
            // Before its first sweep, which says better.
            self.doubt_all(&name, |session| {
                is_live(session.record.state).then(|| "its backend was not asked since it was added".into())
            })
            .await;
            backend.run(self);
            return;
        };
        old.stop().await;
        let backend = Backend::new(self, name.clone(), driver, old.generation + 1);
        self.backends.put(Arc::clone(&backend));
        old.retire();
        self.tell(of_backend(&name, Kind::BackendRestarted, now, message)).await;
        backend.run(self);
        wake(self, &backend);
    }

    async fn remove_backend(self: &Arc<Self>, name: &BackendName, message: String) {
        let Some(backend) = self.backends.take(name) else { return };
        backend.stop().await;
        backend.retire();
        self.tell(of_backend(name, Kind::BackendRemoved, self.clock.now(), message)).await;
        let why: Arc<str> = not_configured(name).into();
        self.doubt_all(name, |_| Some(Arc::clone(&why))).await;
    }

    /// Says of every session of a backend why what is recorded may not be so, and has its worker look again. A worker that
    /// is about to change one is waited for: it must not take back what is said here.
    async fn doubt_all(self: &Arc<Self>, name: &BackendName, why: impl Fn(&Draft) -> Option<Arc<str>>) {
        let context = self.context(true);
        for entry in self.sessions.on(name, |_| true) {
            let Some(mut change) = Change::begin(&entry, entry.commit().await, |_| true) else { continue };
            change.draft.marks.doubt = why(&change.draft);
            hand_over(self, change, &context);
        }
    }
}

/// Why a session of a backend that is not there is unknown.
pub(crate) fn not_configured(name: &BackendName) -> String {
    format!(
        "the backend {name} is not configured: add it to the configuration, or remove the session with `seawall rm \
         --break-glass`"
    )
}
