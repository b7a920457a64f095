//! Bounds on what is kept.

use std::time::Duration;

/// Bounds on what a [`Store`](crate::Store) keeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StoreConfig {
    /// The newest events that the journal keeps; older ones are pruned now and then.
    pub journal_events: u64,
    /// Events older than this are pruned.
    pub journal_age: Duration,
    /// The most bytes that the database file may take; writes that need more fail with
    /// [`Error::Full`](crate::Error::Full). `None`: what the disk has.
    pub max_bytes: Option<u64>,
}

impl Default for StoreConfig {
    fn default() -> Self {
        Self { journal_events: 10_000, journal_age: Duration::from_secs(7 * 24 * 3600), max_bytes: None }
    }
}

/// Bounds on what one backend may keep in its [`StateMap`](crate::StateMap).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StateQuota {
    /// Bytes of all keys and values together.
    pub bytes: u64,
    /// Keys.
    pub keys: u64,
}

impl Default for StateQuota {
    fn default() -> Self {
        Self { bytes: 16 << 20, keys: 100_000 }
    }
}
