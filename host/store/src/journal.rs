//! The journal of events: ids that only grow, read page by page. What it forgets is decided in `pruning`.

use futures_util::TryStreamExt as _;
use seawall_model::Timestamp;
use sqlx::sqlite::SqliteRow;
use sqlx::{Row as _, SqliteConnection};

use crate::{Error, Event, EventFilter};

/// The most events that one read gives or looks at.
const MAX_READ: usize = 10_000;

/// A part of the journal.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct EventPage {
    /// Oldest first.
    pub events: Vec<Event>,
    /// Everything up to this id was looked at: the next page comes after it.
    pub after: u64,
    /// There is more to look at now.
    pub more: bool,
    /// So many events, of any kind, that were between where the page begins and `after` are no longer kept.
    pub missed: u64,
}

/// Adds an event and gives it its id.
pub(crate) async fn add(event: &Event, connection: &mut SqliteConnection) -> Result<Event, Error> {
    let added = sqlx::query(
        "INSERT INTO events (at, kind, session, name, backend, incarnation, message, trace, actor) \
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)",
    )
    .bind(int(event.at.as_millis()))
    .bind(event.kind.as_str())
    .bind(event.session.as_ref().map(|id| id.as_str()))
    .bind(event.name.as_ref().map(|name| name.as_str()))
    .bind(event.backend.as_ref().map(|name| name.as_str()))
    .bind(event.incarnation.map(int))
    .bind(event.message.as_str())
    .bind(event.trace_id.map(|id| id.to_string()))
    .bind(event.actor.as_deref())
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

/// Up to `limit` events after `after` that are meant, oldest first.
pub(crate) async fn page(
    after: u64,
    limit: usize,
    filter: &EventFilter,
    connection: &mut SqliteConnection,
) -> Result<EventPage, Error> {
    let mut page = EventPage { after, ..EventPage::default() };
    let mut rows = sqlx::query("SELECT * FROM events WHERE id > ?1 ORDER BY id LIMIT ?2")
        .bind(int(after))
        .bind(int(MAX_READ as u64 + 1))
        .fetch(connection);
    let mut looked = 0;
    while let Some(row) = rows.try_next().await? {
        if looked >= MAX_READ || page.events.len() >= limit {
            page.more = true;
            break;
        }
        looked += 1;
        let event = read(&row)?;
        page.missed += event.id.saturating_sub(page.after + 1);
        page.after = event.id;
        if filter.matches(&event) {
            page.events.push(event);
        }
    }
    Ok(page)
}

/// The id after which the last `count` events come that are meant; 0 if there are fewer.
pub(crate) async fn before_last(
    count: usize,
    filter: &EventFilter,
    connection: &mut SqliteConnection,
) -> Result<u64, Error> {
    let mut rows = sqlx::query("SELECT * FROM events ORDER BY id DESC").fetch(connection);
    let mut found = 0;
    while let Some(row) = rows.try_next().await? {
        let event = read(&row)?;
        if found == count {
            return Ok(event.id);
        }
        found += usize::from(filter.matches(&event));
    }
    Ok(0)
}

fn read(row: &SqliteRow) -> Result<Event, Error> {
    let id = row.try_get::<i64, _>("id")?.unsigned_abs();
    event(id, row).map_err(|error| Error::BadRecord { what: format!("event {id}"), why: error.to_string() })
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
        actor: row.try_get("actor")?,
    })
}

/// SQLite's integers are signed; what is out of reach is the largest.
pub(crate) fn int(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}
