//! `seawall:host/state`: the backend's own persistent map.

use seawall_store::{Change, Expectation, StateError, StateMap};
use tracing::Instrument as _;

use crate::bindings::state;
use crate::context::Context;
use crate::error::StateFailure;
use crate::weight::Weight as _;

const NAME: &str = "state";

/// The most keys of one call of `get` and the most changes of one `commit`.
const LARGEST_BATCH: usize = 4096;

/// What an entry costs of the budget of bytes besides key and value.
const ENTRY: usize = size_of::<state::Entry>();

impl From<StateError> for StateFailure {
    fn from(error: StateError) -> Self {
        Self::Answer(match error {
            StateError::Conflict(key) => state::StateError::Conflict(key),
            StateError::Quota(message) => state::StateError::Quota(message),
            StateError::Invalid(message) => state::StateError::Invalid(message),
            StateError::Unavailable(message) => state::StateError::Unavailable(message),
        })
    }
}

impl Context {
    fn state(&mut self, bytes: usize) -> Result<StateMap, StateFailure> {
        self.enter_granted(NAME, bytes)?;
        // Linked only where it is granted; that it is not there would be a defect of the host.
        self.granted
            .state
            .clone()
            .ok_or_else(|| StateFailure::Trap(wasmtime::Error::msg("`state` is linked, not granted")))
    }
}

fn batch(size: usize) -> Result<(), StateFailure> {
    if size > LARGEST_BATCH {
        let message = format!("{size} in one batch, where {LARGEST_BATCH} is the most");
        return Err(StateFailure::Answer(state::StateError::Invalid(message)));
    }
    Ok(())
}

impl state::Host for Context {
    fn get(&mut self, keys: Vec<String>) -> Result<Vec<Option<state::Versioned>>, StateFailure> {
        let map = self.state(keys.weight())?;
        batch(keys.len())?;
        let found = map.get(&keys)?;
        self.answer(found.iter().flatten().map(|found| found.value.len() + ENTRY).sum())?;
        let copy =
            |found: seawall_store::Versioned| state::Versioned { value: found.value.to_vec(), version: found.version };
        Ok(found.into_iter().map(|found| found.map(copy)).collect())
    }

    fn scan(&mut self, prefix: String, after: Option<String>, limit: u32) -> Result<Vec<state::Entry>, StateFailure> {
        let map = self.state(prefix.weight() + after.weight())?;
        let limit = usize::try_from(limit).unwrap_or(usize::MAX);
        let entries = map.scan(&prefix, after.as_deref(), limit)?;
        self.answer(entries.iter().map(|entry| entry.key.len() + entry.value.len() + ENTRY).sum())?;
        let copy = |entry: seawall_store::Entry| state::Entry {
            key: entry.key,
            value: entry.value.to_vec(),
            version: entry.version,
        };
        Ok(entries.into_iter().map(copy).collect())
    }

    async fn commit(&mut self, changes: Vec<state::Change>) -> Result<(), StateFailure> {
        let size = |change: &state::Change| {
            size_of::<state::Change>() + change.key.len() + change.value.as_ref().map_or(0, Vec::len)
        };
        let map = self.state(changes.iter().map(size).sum())?;
        batch(changes.len())?;
        let changes = changes.into_iter().map(|change| Change {
            key: change.key,
            expect: match change.expect {
                state::Expectation::Anything => Expectation::Anything,
                state::Expectation::Absent => Expectation::Absent,
                state::Expectation::Version(version) => Expectation::Version(version),
            },
            value: change.value,
        });
        let span = tracing::debug_span!("state", operation = "commit");
        Ok(map.commit(changes.collect()).instrument(span).await?)
    }

    fn convert_state_error(&mut self, failure: StateFailure) -> wasmtime::Result<state::StateError> {
        match failure {
            StateFailure::Answer(answer) => Ok(answer),
            StateFailure::Trap(trap) => Err(trap),
        }
    }
}
