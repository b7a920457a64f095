//! A backend's own persistent map, as `wit/host/state.wit` describes it.
//!
//! The whole map is in memory, within its quota, so that reads never wait for the disk. A commit is checked against
//! memory, written by the store's writer, and shown in memory by the writer once it is durable: a caller that goes away
//! in the middle leaves memory and disk agreeing. Commits on one map follow each other; the guard that makes them do so
//! travels with the commit, not with its caller.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::{Arc, PoisonError, RwLock};

use seawall_model::BackendName;
use tokio::sync::OwnedMutexGuard;

use crate::StateQuota;
use crate::writer::{Submit, Work};

/// The longest key, in bytes.
const MAX_KEY: usize = 256;
/// The most entries that one scan gives.
const MAX_SCAN: usize = 1000;

/// A value and its version.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Versioned {
    /// The value.
    pub value: Arc<[u8]>,
    /// Grows with each write of the key, also over a delete in between.
    pub version: u64,
}

/// A key with its value and version.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The key.
    pub key: String,
    /// The value.
    pub value: Arc<[u8]>,
    /// Grows with each write of the key, also over a delete in between.
    pub version: u64,
}

/// What must hold for a write to happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expectation {
    /// Nothing.
    Anything,
    /// The key is not there.
    Absent,
    /// The key is there, in this version.
    Version(u64),
}

/// One write to the map.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// The key.
    pub key: String,
    /// What must hold.
    pub expect: Expectation,
    /// `None` deletes; deleting what is not there is no error.
    pub value: Option<Vec<u8>>,
}

/// Why a call on the map failed. Nothing was written.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StateError {
    /// An expectation did not hold.
    #[error("conflict on key {0:?}")]
    Conflict(String),
    /// The quota would be exceeded.
    #[error("quota exceeded: {0}")]
    Quota(String),
    /// A key is out of range, or stands in the batch twice.
    #[error("invalid key: {0}")]
    Invalid(String),
    /// The store could not write.
    #[error("the state could not be written: {0}")]
    Unavailable(String),
}

/// A backend's own map. Clones share it. Reads are answered from memory; a commit is durable when it returns.
#[derive(Clone, Debug)]
pub struct StateMap {
    shared: Arc<Shared>,
    submit: Submit,
    quota: StateQuota,
}

/// The map itself; one for each backend, however often it was asked for.
#[derive(Debug)]
pub(crate) struct Shared {
    backend: BackendName,
    memory: RwLock<Memory>,
    /// Held from the check of a commit until it shows in memory.
    turn: Arc<tokio::sync::Mutex<()>>,
}

/// What is known in memory.
#[derive(Debug, Default)]
struct Memory {
    entries: BTreeMap<String, Versioned>,
    /// The version of the newest commit.
    version: u64,
    /// Bytes of all keys and values.
    bytes: u64,
}

/// A checked commit on its way to the disk.
#[derive(Debug)]
pub(crate) struct Commit {
    shared: Arc<Shared>,
    version: u64,
    changes: Vec<(String, Option<Arc<[u8]>>)>,
    _turn: OwnedMutexGuard<()>,
}

impl StateMap {
    pub(crate) fn new(shared: Arc<Shared>, submit: Submit, quota: StateQuota) -> Self {
        Self { shared, submit, quota }
    }

    /// The values of these keys, in the order asked.
    ///
    /// # Errors
    /// [`StateError::Invalid`] if a key is out of range.
    pub fn get(&self, keys: &[String]) -> Result<Vec<Option<Versioned>>, StateError> {
        keys.iter().try_for_each(|key| check_key(key))?;
        let memory = self.shared.read();
        Ok(keys.iter().map(|key| memory.entries.get(key).cloned()).collect())
    }

    /// Up to `limit` entries, 1000 at most, whose key begins with `prefix` and comes after `after`, in byte order.
    ///
    /// # Errors
    /// None today; a map that is not in memory could have some.
    pub fn scan(&self, prefix: &str, after: Option<&str>, limit: usize) -> Result<Vec<Entry>, StateError> {
        let from = match after {
            Some(after) if after >= prefix => Bound::Excluded(after),
            _ => Bound::Included(prefix),
        };
        let memory = self.shared.read();
        Ok(memory
            .entries
            .range::<str, _>((from, Bound::Unbounded))
            .take_while(|(key, _)| key.starts_with(prefix))
            .take(limit.min(MAX_SCAN))
            .map(|(key, found)| Entry { key: key.clone(), value: Arc::clone(&found.value), version: found.version })
            .collect())
    }

    /// All of the changes, durably, or none. If the caller goes away in the middle, either may be the case.
    ///
    /// # Errors
    /// See [`StateError`]; nothing was written.
    pub async fn commit(&self, changes: Vec<Change>) -> Result<(), StateError> {
        for change in &changes {
            check_key(&change.key)?;
        }
        let turn = Arc::clone(&self.shared.turn).lock_owned().await;
        let version = self.shared.read().check(&changes, self.quota)?;
        if changes.is_empty() {
            return Ok(());
        }
        let changes = changes.into_iter().map(|change| (change.key, change.value.map(Arc::from))).collect();
        let commit = Commit { shared: Arc::clone(&self.shared), version, changes, _turn: turn };
        self.submit.submit(Work::State(commit)).await.map_err(|error| StateError::Unavailable(error.to_string()))
    }
}

impl Shared {
    pub(crate) fn new(backend: BackendName, entries: BTreeMap<String, Versioned>, version: u64) -> Self {
        let bytes = entries.iter().map(|(key, found)| size(key, Some(&found.value))).sum();
        let memory = RwLock::new(Memory { entries, version, bytes });
        Self { backend, memory, turn: Arc::default() }
    }

    fn read(&self) -> std::sync::RwLockReadGuard<'_, Memory> {
        // Nothing panics while it writes to the map, and whole entries are all that is ever in it.
        self.memory.read().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Memory {
    /// Checks a batch and gives the version that it will have.
    fn check(&self, changes: &[Change], quota: StateQuota) -> Result<u64, StateError> {
        let mut seen = std::collections::BTreeSet::new();
        let (mut added, mut freed, mut keys) = (0, 0, self.entries.len() as u64);
        for change in changes {
            if !seen.insert(change.key.as_str()) {
                return Err(StateError::Invalid(format!("{:?} stands in the batch twice", change.key)));
            }
            let found = self.entries.get(&change.key);
            let holds = match change.expect {
                Expectation::Anything => true,
                Expectation::Absent => found.is_none(),
                Expectation::Version(version) => found.is_some_and(|found| found.version == version),
            };
            if !holds {
                return Err(StateError::Conflict(change.key.clone()));
            }
            freed += found.map_or(0, |found| size(&change.key, Some(&found.value)));
            added += change.value.as_ref().map_or(0, |value| size(&change.key, Some(value)));
            keys = keys + u64::from(change.value.is_some()) - u64::from(found.is_some());
        }
        let bytes = self.bytes + added - freed;
        // What is above a quota that was lowered may still shrink.
        if bytes > quota.bytes && bytes > self.bytes {
            return Err(StateError::Quota(format!("{bytes} bytes, and {} are allowed", quota.bytes)));
        }
        if keys > quota.keys && keys > self.entries.len() as u64 {
            return Err(StateError::Quota(format!("{keys} keys, and {} are allowed", quota.keys)));
        }
        Ok(self.version + 1)
    }
}

impl Commit {
    pub(crate) fn backend(&self) -> &BackendName {
        &self.shared.backend
    }

    pub(crate) fn version(&self) -> u64 {
        self.version
    }

    pub(crate) fn changes(&self) -> &[(String, Option<Arc<[u8]>>)] {
        &self.changes
    }

    /// Shows the commit in memory, once it is durable, and lets the next one have its turn.
    pub(crate) fn show(self) {
        let mut memory = self.shared.memory.write().unwrap_or_else(PoisonError::into_inner);
        for (key, value) in self.changes {
            let added = value.as_ref().map_or(0, |value| size(&key, Some(value)));
            let freed = memory.entries.get(&key).map_or(0, |found| size(&key, Some(&found.value)));
            match value {
                Some(value) => drop(memory.entries.insert(key, Versioned { value, version: self.version })),
                None => drop(memory.entries.remove(&key)),
            }
            memory.bytes = memory.bytes + added - freed;
        }
        memory.version = self.version;
    }
}

fn size(key: &str, value: Option<&[u8]>) -> u64 {
    (key.len() + value.map_or(0, <[u8]>::len)) as u64
}

fn check_key(key: &str) -> Result<(), StateError> {
    if key.is_empty() {
        return Err(StateError::Invalid("a key has at least one byte".to_owned()));
    }
    if key.len() > MAX_KEY {
        return Err(StateError::Invalid(format!("{} bytes, and {MAX_KEY} are allowed", key.len())));
    }
    if key.contains(char::is_control) {
        return Err(StateError::Invalid(format!("{key:?} contains a control character")));
    }
    Ok(())
}
