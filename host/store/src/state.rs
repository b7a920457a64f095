//! A backend's own persistent map, as `wit/host/state.wit` describes it.
//!
//! The whole map is in memory, within its quota, so that reads never wait for the disk. The store's writer alone changes
//! it: it checks a commit against the map and against those that are before it in the same transaction, which nobody sees
//! yet, writes it, and shows it once the transaction is durable. So commits on one map follow each other and share
//! transactions all the same, and a caller that goes away in the middle leaves memory and disk agreeing.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use seawall_model::BackendName;

use crate::StateQuota;
use crate::writer::Submit;

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
    /// What the writer's transaction changes. Nobody else's.
    staged: Mutex<Option<Staged>>,
}

/// What is known in memory.
#[derive(Debug, Default)]
struct Memory {
    entries: BTreeMap<String, Versioned>,
    totals: Totals,
}

/// What there is of all entries together.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Totals {
    /// The version of the newest commit.
    pub(crate) version: u64,
    /// Bytes of all keys and values.
    bytes: u64,
    keys: u64,
}

/// Written, and not durable yet.
#[derive(Debug)]
struct Staged {
    /// `None` is deleted.
    entries: BTreeMap<String, Option<Versioned>>,
    totals: Totals,
}

/// A commit on its way to the disk.
#[derive(Debug)]
pub(crate) struct Commit {
    shared: Arc<Shared>,
    quota: StateQuota,
    changes: Vec<Checked>,
}

/// A change that can be made, if what is expected holds.
#[derive(Debug)]
pub(crate) struct Checked {
    pub(crate) key: String,
    expect: Expectation,
    /// `None` deletes; deleting what is not there is no error.
    pub(crate) value: Option<Arc<[u8]>>,
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
        let mut seen = BTreeSet::new();
        for change in &changes {
            check_key(&change.key)?;
            if !seen.insert(change.key.as_str()) {
                return Err(StateError::Invalid(format!("{:?} stands in the batch twice", change.key)));
            }
        }
        let checked = |change: Change| {
            let Change { key, expect, value } = change;
            Checked { key, expect, value: value.map(Arc::from) }
        };
        let changes: Vec<_> = changes.into_iter().map(checked).collect();
        // What is durable never comes undone: what it refuses costs no transaction.
        self.shared.read().check(None, &changes, self.quota)?;
        if changes.is_empty() {
            return Ok(());
        }
        let commit = Commit { shared: Arc::clone(&self.shared), quota: self.quota, changes };
        self.submit.commit(commit).await
    }
}

impl Shared {
    pub(crate) fn new(backend: BackendName, entries: BTreeMap<String, Versioned>, version: u64) -> Self {
        let bytes = entries.iter().map(|(key, found)| size(key, Some(&found.value))).sum();
        let totals = Totals { version, bytes, keys: entries.len() as u64 };
        Self { backend, memory: RwLock::new(Memory { entries, totals }), staged: Mutex::default() }
    }

    fn read(&self) -> std::sync::RwLockReadGuard<'_, Memory> {
        // Nothing panics while it writes to the map, and whole entries are all that is ever in it.
        self.memory.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn staged(&self) -> MutexGuard<'_, Option<Staged>> {
        self.staged.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Memory {
    /// Checks a batch, on top of what is staged, and gives what there is of all entries after it.
    fn check(&self, staged: Option<&Staged>, changes: &[Checked], quota: StateQuota) -> Result<Totals, StateError> {
        let before = staged.map_or(self.totals, |staged| staged.totals);
        let (mut added, mut freed, mut keys) = (0, 0, before.keys);
        for change in changes {
            let found = match staged.and_then(|staged| staged.entries.get(&change.key)) {
                Some(staged) => staged.as_ref(),
                None => self.entries.get(&change.key),
            };
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
        let bytes = before.bytes + added - freed;
        // What is above a quota that was lowered may still shrink.
        if bytes > quota.bytes && bytes > before.bytes {
            return Err(StateError::Quota(format!("{bytes} bytes, and {} are allowed", quota.bytes)));
        }
        if keys > quota.keys && keys > before.keys {
            return Err(StateError::Quota(format!("{keys} keys, and {} are allowed", quota.keys)));
        }
        Ok(Totals { version: before.version + 1, bytes, keys })
    }
}

impl Commit {
    pub(crate) fn backend(&self) -> &BackendName {
        &self.shared.backend
    }

    pub(crate) fn changes(&self) -> &[Checked] {
        &self.changes
    }

    /// Whether it can be made after what the transaction has written already; what there is of all entries then.
    pub(crate) fn check(&self) -> Result<Totals, StateError> {
        self.shared.read().check(self.shared.staged().as_ref(), &self.changes, self.quota)
    }

    /// It is written, and nobody sees it yet.
    pub(crate) fn stage(&self, totals: Totals) {
        let mut staged = self.shared.staged();
        let staged = staged.get_or_insert_with(|| Staged { entries: BTreeMap::new(), totals });
        staged.totals = totals;
        let written = self.changes.iter().map(|Checked { key, value, .. }| {
            let value = value.as_ref().map(|value| Versioned { value: Arc::clone(value), version: totals.version });
            (key.clone(), value)
        });
        staged.entries.extend(written);
    }

    /// The transaction is durable: what was staged on its map shows in memory.
    pub(crate) fn show(&self) {
        let Some(Staged { entries, totals }) = self.shared.staged().take() else { return };
        let mut memory = self.shared.memory.write().unwrap_or_else(PoisonError::into_inner);
        for (key, value) in entries {
            match value {
                Some(value) => drop(memory.entries.insert(key, value)),
                None => drop(memory.entries.remove(&key)),
            }
        }
        memory.totals = totals;
    }

    /// The transaction is lost, and what was staged on its map with it.
    pub(crate) fn unstage(&self) {
        self.shared.staged().take();
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
