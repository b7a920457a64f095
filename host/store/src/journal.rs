//! The journal of events: ids that only grow, read page by page. What it forgets is decided in `pruning`.

use rusqlite::{Connection, Row};
use seawall_model::Timestamp;

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

/// Adds an event with this id.
pub(crate) fn add(event: &Event, id: u64, connection: &Connection) -> Result<Event, Error> {
    let mut insert = connection.prepare_cached(
        "INSERT INTO events (id, at, kind, session, name, backend, incarnation, message, trace, actor) \
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)",
    )?;
    insert.execute((
        int(id),
        int(event.at.as_millis()),
        &event.kind,
        event.session.as_ref().map(|id| id.as_str()),
        event.name.as_ref().map(|name| name.as_str()),
        event.backend.as_ref().map(|name| name.as_str()),
        event.incarnation.map(int),
        &event.message,
        event.trace_id.map(|id| id.to_string()),
        &event.actor,
    ))?;
    Ok(Event { id, ..event.clone() })
}

/// The id of the newest event that was ever added; 0 if none was.
pub(crate) fn last(connection: &Connection) -> Result<u64, rusqlite::Error> {
    let last = "SELECT max(coalesce((SELECT max(id) FROM events), 0), \
                coalesce((SELECT CAST(value AS INTEGER) FROM meta WHERE key = 'event'), 0))";
    connection.query_row(last, (), |row| row.get::<_, i64>(0)).map(i64::unsigned_abs)
}

/// Keeps the id of the newest event, for when there is none left that has it.
pub(crate) fn keep_last(connection: &Connection) -> Result<(), rusqlite::Error> {
    let mut keep = connection.prepare_cached("INSERT OR REPLACE INTO meta (key, value) VALUES ('event', ?1)")?;
    keep.execute([last(connection)?.to_string()]).map(drop)
}

/// Up to `limit` events after `after` that are meant, oldest first.
pub(crate) fn page(
    after: u64,
    limit: usize,
    filter: &EventFilter,
    connection: &Connection,
) -> Result<EventPage, Error> {
    let mut page = EventPage { after, ..EventPage::default() };
    let mut events = connection.prepare_cached("SELECT * FROM events WHERE id > ?1 ORDER BY id LIMIT ?2")?;
    let mut rows = events.query((int(after), int(MAX_READ as u64 + 1)))?;
    let mut looked = 0;
    while let Some(row) = rows.next()? {
        if looked >= MAX_READ || page.events.len() >= limit {
            page.more = true;
            break;
        }
        looked += 1;
        let event = read(row)?;
        page.missed += event.id.saturating_sub(page.after + 1);
        page.after = event.id;
        if filter.matches(&event) {
            page.events.push(event);
        }
    }
    Ok(page)
}

/// The id after which the last `count` events come that are meant; 0 if there are fewer.
pub(crate) fn before_last(count: usize, filter: &EventFilter, connection: &Connection) -> Result<u64, Error> {
    let mut events = connection.prepare_cached("SELECT * FROM events ORDER BY id DESC")?;
    let mut rows = events.query(())?;
    let mut found = 0;
    while let Some(row) = rows.next()? {
        let event = read(row)?;
        if found == count {
            return Ok(event.id);
        }
        found += usize::from(filter.matches(&event));
    }
    Ok(0)
}

fn read(row: &Row<'_>) -> Result<Event, Error> {
    let id = row.get::<_, i64>("id")?.unsigned_abs();
    event(id, row).map_err(|error| Error::BadRecord { what: format!("event {id}"), why: error.to_string() })
}

type BadRow = Box<dyn std::error::Error + Send + Sync>;

fn event(id: u64, row: &Row<'_>) -> Result<Event, BadRow> {
    let text = |column| Ok::<_, BadRow>(row.get_ref(column)?.as_str_or_null()?);
    Ok(Event {
        id,
        at: Timestamp::from_millis(row.get::<_, i64>("at")?.unsigned_abs()),
        kind: row.get("kind")?,
        session: text("session")?.map(str::parse).transpose()?,
        name: text("name")?.map(str::parse).transpose()?,
        backend: text("backend")?.map(str::parse).transpose()?,
        incarnation: row.get::<_, Option<i64>>("incarnation")?.map(i64::unsigned_abs),
        message: row.get("message")?,
        trace_id: text("trace")?.map(str::parse).transpose()?,
        actor: row.get("actor")?,
    })
}

/// SQLite's integers are signed; what is out of reach is the largest.
pub(crate) fn int(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}
