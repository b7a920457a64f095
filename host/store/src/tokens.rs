//! Bearer tokens of the API. What is kept of the secret is a hash: who reads the store can use no token.

use std::str::FromStr;

use seawall_model::Timestamp;
use serde::{Deserialize, Serialize};
use sqlx::sqlite::SqliteRow;
use sqlx::{Row as _, SqliteConnection};

use crate::Error;
use crate::journal::int;

/// What the bearer of a token may do: each may do what those before it may.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum Scope {
    /// Look.
    Read,
    /// Look, and change what is there.
    Write,
    /// All that, and make and revoke tokens.
    Admin,
}

impl Scope {
    /// The word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Write => "write",
            Self::Admin => "admin",
        }
    }
}

impl FromStr for Scope {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let all = [Self::Read, Self::Write, Self::Admin];
        all.into_iter().find(|scope| scope.as_str() == text).ok_or_else(|| "write read, write or admin".to_owned())
    }
}

/// A token, without its secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Token {
    /// Its id: the part of the token that is no secret.
    pub id: String,
    /// What it is called; no two have the same.
    pub name: String,
    /// Of its secret.
    pub hash: [u8; 32],
    /// What its bearer may do.
    pub scope: Scope,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it ceases to be good. Absent: never.
    pub expires_at: Option<Timestamp>,
    /// When it was last used, to within a minute.
    pub used_at: Option<Timestamp>,
}

/// Adds a token.
pub(crate) async fn put(token: &Token, connection: &mut SqliteConnection) -> Result<(), Error> {
    let done = sqlx::query(
        "INSERT INTO tokens (id, name, hash, scope, created_at, expires_at) VALUES (?1, ?2, ?3, ?4, ?5, ?6) \
         ON CONFLICT DO NOTHING",
    )
    .bind(token.id.as_str())
    .bind(token.name.as_str())
    .bind(&token.hash[..])
    .bind(token.scope.as_str())
    .bind(int(token.created_at.as_millis()))
    .bind(token.expires_at.map(|at| int(at.as_millis())))
    .execute(connection)
    .await?;
    if done.rows_affected() == 0 { Err(Error::TokenTaken(token.name.clone())) } else { Ok(()) }
}

/// Remembers that a token was used.
pub(crate) async fn used(id: &str, at: Timestamp, connection: &mut SqliteConnection) -> Result<(), sqlx::Error> {
    let update = sqlx::query("UPDATE tokens SET used_at = ?2 WHERE id = ?1").bind(id).bind(int(at.as_millis()));
    update.execute(connection).await.map(drop)
}

/// Removes a token.
pub(crate) async fn delete(id: &str, connection: &mut SqliteConnection) -> Result<(), sqlx::Error> {
    sqlx::query("DELETE FROM tokens WHERE id = ?1").bind(id).execute(connection).await.map(drop)
}

/// Every token.
pub(crate) async fn all(connection: &mut SqliteConnection) -> Result<Vec<Token>, Error> {
    let rows = sqlx::query("SELECT * FROM tokens").fetch_all(connection).await?;
    rows.iter().map(read).collect()
}

fn read(row: &SqliteRow) -> Result<Token, Error> {
    let id: String = row.try_get("id")?;
    let bad = |why: String| Error::BadRecord { what: format!("token {id}"), why };
    let word: &str = row.try_get("scope")?;
    let scope = word.parse().map_err(|_| bad(format!("{word:?} is no scope")))?;
    let hash = <[u8; 32]>::try_from(row.try_get::<&[u8], _>("hash")?).map_err(|error| bad(error.to_string()))?;
    let time = |millis: i64| Timestamp::from_millis(millis.unsigned_abs());
    Ok(Token {
        name: row.try_get("name")?,
        hash,
        scope,
        created_at: time(row.try_get("created_at")?),
        expires_at: row.try_get::<Option<i64>, _>("expires_at")?.map(time),
        used_at: row.try_get::<Option<i64>, _>("used_at")?.map(time),
        id,
    })
}
