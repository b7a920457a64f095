//! Bounds on what is kept.

use std::time::Duration;

use seawall_model::{InvalidSpec, Problem};
use serde::{Deserialize, Serialize};

/// Bounds on what a [`Store`](crate::Store) keeps.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StoreConfig {
    /// Of the journal of events.
    pub journal: JournalConfig,
    /// The most bytes that the database file may take; writes that need more fail with
    /// [`Error::Full`](crate::Error::Full). `None`: what the disk has.
    pub max_bytes: Option<u64>,
}

/// Bounds on the journal of events: the table `[journal]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct JournalConfig {
    /// So many events are kept; what goes first is what the loudest session or backend said first. Default 10,000.
    pub events: u64,
    /// Events older than this go in any case. Default 7 days.
    #[serde(with = "humantime_serde")]
    #[cfg_attr(feature = "schema", schema(value_type = seawall_model::schema::Span))]
    pub age: Duration,
}

impl Default for JournalConfig {
    fn default() -> Self {
        Self { events: 10_000, age: Duration::from_secs(7 * 24 * 3600) }
    }
}

impl JournalConfig {
    /// Checks what types cannot say; fields are named as in the file.
    ///
    /// # Errors
    /// A list of settings that cannot be as they are.
    pub fn validate(&self) -> Result<(), InvalidSpec> {
        let mut problems = Vec::new();
        let mut refuse = |field: &str, message: &str| {
            problems.push(Problem { field: field.to_owned(), message: message.to_owned() });
        };
        // A reader looks through all of them, and so does pruning.
        if !(100..=1_000_000).contains(&self.events) {
            refuse("journal.events", "between 100 and 1000000");
        }
        if !(Duration::from_secs(60)..=Duration::from_secs(3660 * 24 * 3600)).contains(&self.age) {
            refuse("journal.age", "between 1m and 10 years");
        }
        if problems.is_empty() { Ok(()) } else { Err(InvalidSpec { problems }) }
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
