//! Which session was made for which key: a request that is sent again with the same key makes nothing again.
//!
//! A key is written in the commit that makes the session, so that there is never one without the other. It is kept for a
//! day, whatever becomes of the session.

use std::time::Duration;

use rusqlite::{Connection, OptionalExtension as _};
use seawall_model::{SessionId, Timestamp};

use crate::Error;
use crate::journal::int;

/// So long a key is kept.
const KEPT: Duration = Duration::from_secs(24 * 3600);

/// What was made for a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Once {
    /// As the client gave it.
    pub key: String,
    /// A hash of what was asked for.
    pub request: [u8; 32],
    /// What was made.
    pub session: SessionId,
    /// When.
    pub at: Timestamp,
}

/// Keys that were written before this are forgotten.
fn oldest(now: Timestamp) -> i64 {
    int(now.as_millis().saturating_sub(u64::try_from(KEPT.as_millis()).unwrap_or(u64::MAX)))
}

/// Keeps a key. One that is kept already and not too old is an error.
pub(crate) fn put(once: &Once, connection: &Connection) -> Result<(), Error> {
    let mut put = connection.prepare_cached(
        "INSERT INTO idempotency (key, request, session, at) VALUES (?1, ?2, ?3, ?4) \
         ON CONFLICT DO UPDATE SET request = ?2, session = ?3, at = ?4 WHERE at < ?5",
    )?;
    let at = int(once.at.as_millis());
    let rows = put.execute((&once.key, &once.request, once.session.as_str(), at, oldest(once.at)))?;
    if rows == 0 { Err(Error::KeyTaken(once.key.clone())) } else { Ok(()) }
}

/// What was made for a key, if it is still kept.
pub(crate) fn get(key: &str, now: Timestamp, connection: &Connection) -> Result<Option<Once>, Error> {
    let mut get =
        connection.prepare_cached("SELECT request, session, at FROM idempotency WHERE key = ?1 AND at >= ?2")?;
    let found = get.query_row((key, oldest(now)), |row| {
        Ok((row.get::<_, [u8; 32]>("request")?, row.get::<_, String>("session")?, row.get::<_, i64>("at")?))
    });
    let Some((request, session, at)) = found.optional()? else { return Ok(None) };
    let session = session
        .parse()
        .map_err(|error| Error::BadRecord { what: "idempotency key".to_owned(), why: format!("{error}") })?;
    Ok(Some(Once { key: key.to_owned(), request, session, at: Timestamp::from_millis(at.unsigned_abs()) }))
}

/// Forgets a key.
pub(crate) fn forget(key: &str, connection: &Connection) -> Result<(), rusqlite::Error> {
    connection.prepare_cached("DELETE FROM idempotency WHERE key = ?1")?.execute([key]).map(drop)
}

/// Forgets keys that are too old.
pub(crate) fn prune(now: Timestamp, connection: &Connection) -> Result<(), rusqlite::Error> {
    connection.prepare_cached("DELETE FROM idempotency WHERE at < ?1")?.execute([oldest(now)]).map(drop)
}
