//! The secrets of a backend's sessions, for its bulkhead to take out of errors (A9): engines like to repeat what they were
//! given, and a plugin may.

use std::sync::{Arc, Weak};

use seawall_backend::redact::{About, Secrets};
use seawall_model::{BackendName, Redactor, SessionId};

use crate::core::Core;
use crate::state::Entry;

pub(crate) struct SessionSecrets {
    /// The core owns the bulkhead that this is lent to.
    core: Weak<Core>,
    backend: BackendName,
}

impl SessionSecrets {
    pub(crate) fn new(core: &Arc<Core>, backend: &BackendName) -> Self {
        Self { core: Arc::downgrade(core), backend: backend.clone() }
    }
}

impl Secrets for SessionSecrets {
    fn of(&self, about: About<'_>) -> Option<Redactor> {
        let core = self.core.upgrade()?;
        let entry = |session: &SessionId| core.sessions.get(session);
        let entries: Vec<Arc<Entry>> = match about {
            About::Backend => core.sessions.on(&self.backend, |_| true),
            About::Session(session) => entry(session).into_iter().collect(),
            About::Batch(keys) => keys.iter().filter_map(|key| entry(&key.session)).collect(),
        };
        let of = |entry: &Arc<Entry>| entry.with(|cell| (Arc::clone(&cell.record), Arc::clone(&cell.given)));
        let secrets: Vec<_> = entries.iter().map(of).collect();
        Redactor::of_values(secrets.iter().flat_map(|(record, given)| record.spec.env.values().chain(given.iter())))
    }
}
