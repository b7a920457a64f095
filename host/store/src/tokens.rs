//! Bearer tokens of the API. What is kept of the secret is a hash: who reads the store can use no token.

use std::str::FromStr;

use rusqlite::{Connection, Row};
use seawall_model::Timestamp;
use serde::{Deserialize, Serialize};

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
pub(crate) fn put(token: &Token, connection: &Connection) -> Result<(), Error> {
    let mut put = connection.prepare_cached(
        "INSERT INTO tokens (id, name, hash, scope, created_at, expires_at) VALUES (?1, ?2, ?3, ?4, ?5, ?6) \
         ON CONFLICT DO NOTHING",
    )?;
    let rows = put.execute((
        &token.id,
        &token.name,
        &token.hash,
        token.scope.as_str(),
        int(token.created_at.as_millis()),
        token.expires_at.map(|at| int(at.as_millis())),
    ))?;
    if rows == 0 { Err(Error::TokenTaken(token.name.clone())) } else { Ok(()) }
}

/// Remembers that a token was used.
pub(crate) fn used(id: &str, at: Timestamp, connection: &Connection) -> Result<(), rusqlite::Error> {
    let mut update = connection.prepare_cached("UPDATE tokens SET used_at = ?2 WHERE id = ?1")?;
    update.execute((id, int(at.as_millis()))).map(drop)
}

/// Removes a token.
pub(crate) fn delete(id: &str, connection: &Connection) -> Result<(), rusqlite::Error> {
    connection.prepare_cached("DELETE FROM tokens WHERE id = ?1")?.execute([id]).map(drop)
}

/// Every token.
pub(crate) fn all(connection: &Connection) -> Result<Vec<Token>, Error> {
    connection.prepare_cached("SELECT * FROM tokens")?.query_and_then((), read)?.collect()
}

fn read(row: &Row<'_>) -> Result<Token, Error> {
    let id: String = row.get("id")?;
    let bad = |why: String| Error::BadRecord { what: format!("token {id}"), why };
    let word: String = row.get("scope")?;
    let scope = word.parse().map_err(|_| bad(format!("{word:?} is no scope")))?;
    let hash = row.get("hash").map_err(|error| bad(error.to_string()))?;
    let time = |millis: i64| Timestamp::from_millis(millis.unsigned_abs());
    Ok(Token {
        name: row.get("name")?,
        hash,
        scope,
        created_at: time(row.get("created_at")?),
        expires_at: row.get::<_, Option<i64>>("expires_at")?.map(time),
        used_at: row.get::<_, Option<i64>>("used_at")?.map(time),
        id,
    })
}
