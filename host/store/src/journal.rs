//! The journal of events: bounded, with ids that only grow.

use std::time::Duration;

use seawall_model::Timestamp;
use sqlx::sqlite::SqliteRow;
use sqlx::{Row as _, SqliteConnection};

use crate::{Error, Event, StoreConfig};

/// The most events that one read gives.
const MAX_READ: usize = 10_000;
/// Old events go at least this often while there are writes.
const PRUNE_EVERY: Duration = Duration::from_secs(3600);

/// When to prune, and by which bounds.
#[derive(Debug)]
pub(crate) struct Pruning {
    config: StoreConfig,
    added: u64,
    last: Option<Timestamp>,
}

impl Pruning {
    pub(crate) fn new(config: StoreConfig) -> Self {
        Self { config, added: 0, last: None }
    }

    /// Counts events, and prunes when enough came or enough time went by.
    pub(crate) async fn after(&mut self, events: u64, connection: &mut SqliteConnection) -> Result<(), sqlx::Error> {
        let now = Timestamp::now();
        self.added = self.added.saturating_add(events);
        let many = self.added >= (self.config.journal_events / 10).clamp(1, 256);
        // A clock that was set back must not put pruning off for as long.
        let long = self.last.is_none_or(|last| now < last || now.since(last) >= PRUNE_EVERY);
        if !many && !long {
            return Ok(());
        }
        let age = u64::try_from(self.config.journal_age.as_millis()).unwrap_or(u64::MAX);
        sqlx::query("DELETE FROM events WHERE id <= (SELECT max(id) FROM events) - ?1 OR at < ?2")
            .bind(int(self.config.journal_events))
            .bind(int(now.as_millis().saturating_sub(age)))
            .execute(connection)
            .await?;
        self.added = 0;
        self.last = Some(now);
        Ok(())
    }
}

/// Adds an event and gives it its id.
pub(crate) async fn add(event: &Event, connection: &mut SqliteConnection) -> Result<Event, Error> {
    let added = sqlx::query(
        "INSERT INTO events (at, kind, session, name, backend, incarnation, message, trace) \
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
    )
    .bind(int(event.at.as_millis()))
    .bind(event.kind.as_str())
    .bind(event.session.as_ref().map(|id| id.as_str()))
    .bind(event.name.as_ref().map(|name| name.as_str()))
    .bind(event.backend.as_ref().map(|name| name.as_str()))
    .bind(event.incarnation.map(int))
    .bind(event.message.as_str())
    .bind(event.trace_id.map(|id| id.to_string()))
    .execute(connection)
    .await?;
    Ok(Event { id: added.last_insert_rowid().unsigned_abs(), ..event.clone() })
}

/// The id of the newest event that was ever added; 0 if none was.
pub(crate) async fn last(connection: &mut SqliteConnection) -> Result<u64, sqlx::Error> {
    let last: Option<i64> =
        sqlx::query_scalar("SELECT seq FROM sqlite_sequence WHERE name = 'events'").fetch_optional(connection).await?;
    Ok(last.unwrap_or(0).unsigned_abs())
}

/// Events after `after`, oldest first.
pub(crate) async fn read(after: u64, limit: usize, connection: &mut SqliteConnection) -> Result<Vec<Event>, Error> {
    let rows = sqlx::query("SELECT * FROM events WHERE id > ?1 ORDER BY id LIMIT ?2")
        .bind(int(after))
        .bind(int(limit.min(MAX_READ) as u64))
        .fetch_all(connection)
        .await?;
    rows.iter()
        .map(|row| {
            let id = row.try_get::<i64, _>("id")?.unsigned_abs();
            event(id, row).map_err(|error| Error::BadRecord { what: format!("event {id}"), why: error.to_string() })
        })
        .collect()
}

fn event(id: u64, row: &SqliteRow) -> Result<Event, Box<dyn std::error::Error + Send + Sync>> {
    Ok(Event {
        id,
        at: Timestamp::from_millis(row.try_get::<i64, _>("at")?.unsigned_abs()),
        kind: row.try_get("kind")?,
        session: row.try_get::<Option<&str>, _>("session")?.map(str::parse).transpose()?,
        name: row.try_get::<Option<&str>, _>("name")?.map(str::parse).transpose()?,
        backend: row.try_get::<Option<&str>, _>("backend")?.map(str::parse).transpose()?,
        incarnation: row.try_get::<Option<i64>, _>("incarnation")?.map(i64::unsigned_abs),
        message: row.try_get("message")?,
        trace_id: row.try_get::<Option<&str>, _>("trace")?.map(str::parse).transpose()?,
    })
}

/// SQLite's integers are signed; what is out of reach is the largest.
pub(crate) fn int(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}
