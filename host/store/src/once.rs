//! Which session was made for which key: a request that is sent again with the same key makes nothing again.
//!
//! A key is written in the commit that makes the session, so that there is never one without the other. It is kept for a
//! day, whatever becomes of the session.

use std::time::Duration;

use seawall_model::{SessionId, Timestamp};
use sqlx::{Row as _, SqliteConnection};

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
pub(crate) async fn put(once: &Once, connection: &mut SqliteConnection) -> Result<(), Error> {
    let done = sqlx::query(
        "INSERT INTO idempotency (key, request, session, at) VALUES (?1, ?2, ?3, ?4) \
         ON CONFLICT DO UPDATE SET request = ?2, session = ?3, at = ?4 WHERE at < ?5",
    )
    .bind(once.key.as_str())
    .bind(&once.request[..])
    .bind(once.session.as_str())
    .bind(int(once.at.as_millis()))
    .bind(oldest(once.at))
    .execute(connection)
    .await?;
    if done.rows_affected() == 0 { Err(Error::KeyTaken(once.key.clone())) } else { Ok(()) }
}

/// What was made for a key, if it is still kept.
pub(crate) async fn get(key: &str, now: Timestamp, connection: &mut SqliteConnection) -> Result<Option<Once>, Error> {
    let row = sqlx::query("SELECT request, session, at FROM idempotency WHERE key = ?1 AND at >= ?2")
        .bind(key)
        .bind(oldest(now))
        .fetch_optional(connection)
        .await?;
    let Some(row) = row else { return Ok(None) };
    let bad = |why: String| Error::BadRecord { what: "idempotency key".to_owned(), why };
    let request = <[u8; 32]>::try_from(row.try_get::<&[u8], _>("request")?).map_err(|error| bad(error.to_string()))?;
    let session = row.try_get::<&str, _>("session")?.parse().map_err(|error| bad(format!("{error}")))?;
    let at = Timestamp::from_millis(row.try_get::<i64, _>("at")?.unsigned_abs());
    Ok(Some(Once { key: key.to_owned(), request, session, at }))
}

/// Forgets a key.
pub(crate) async fn forget(key: &str, connection: &mut SqliteConnection) -> Result<(), sqlx::Error> {
    sqlx::query("DELETE FROM idempotency WHERE key = ?1").bind(key).execute(connection).await.map(drop)
}

/// Forgets keys that are too old.
pub(crate) async fn prune(now: Timestamp, connection: &mut SqliteConnection) -> Result<(), sqlx::Error> {
    sqlx::query("DELETE FROM idempotency WHERE at < ?1").bind(oldest(now)).execute(connection).await.map(drop)
}
