//! How often each thing happened since the daemon started: events, by kind and backend. Both are few.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use seawall_model::BackendName;
use seawall_store::Event;

/// Events of one kind about one backend or its sessions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EventCount {
    /// The backend.
    pub backend: BackendName,
    /// A kind of the journal.
    pub kind: String,
    /// How many since the daemon started.
    pub count: u64,
}

#[derive(Default)]
pub(crate) struct Counts(Mutex<BTreeMap<BackendName, BTreeMap<String, u64>>>);

impl Counts {
    pub(crate) fn count(&self, event: &Event) {
        let Some(backend) = &event.backend else { return };
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let count = counts.entry(backend.clone()).or_default().entry(event.kind.clone()).or_default();
        *count = count.saturating_add(1);
    }

    pub(crate) fn all(&self) -> Vec<EventCount> {
        let counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let of = |(backend, kinds): (&BackendName, &BTreeMap<String, u64>)| {
            let backend = backend.clone();
            let count = move |(kind, count): (&String, &u64)| EventCount {
                backend: backend.clone(),
                kind: kind.clone(),
                count: *count,
            };
            kinds.iter().map(count).collect::<Vec<_>>()
        };
        counts.iter().flat_map(of).collect()
    }
}
