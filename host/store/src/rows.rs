//! Between records and rows.
//!
//! Records are turned into rows in the caller's task, so that the writer only writes. A row that cannot be turned back
//! is an error that names it, never a session less (E8).

use rusqlite::{Connection, Row as Found};
use seawall_model::{
    BackendName, Desired, Exit, Health, Incarnation, SessionId, SessionName, SessionSpec, SessionState, Timestamp,
};
use serde::{Deserialize, Serialize};

use crate::{Error, Event, Intent, Once, SessionRecord, Snapshot, Token, Write};

/// A [`Write`], ready to be written.
#[derive(Debug)]
pub(crate) enum Row {
    InsertSession(SessionRow),
    UpdateSession(SessionRow),
    DeleteSession(SessionId),
    /// `None`: it is settled.
    Intent {
        session: SessionId,
        intent: Option<String>,
    },
    PutOnce(Once),
    ForgetOnce(String),
    PutToken(Token),
    UseToken {
        id: String,
        at: Timestamp,
    },
    DeleteToken(String),
    Event(Event),
}

/// A session as a row of its table.
#[derive(Debug)]
pub(crate) struct SessionRow {
    pub(crate) id: SessionId,
    pub(crate) name: SessionName,
    pub(crate) backend: BackendName,
    pub(crate) spec: String,
    pub(crate) status: String,
    pub(crate) handle: Option<Vec<u8>>,
    /// What becomes of its intent; `None`: nothing.
    pub(crate) intent: Option<Option<String>>,
}

/// What the column `status` holds.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Status {
    desired: Desired,
    incarnation: Incarnation,
    restarts: u64,
    failures: u32,
    state: SessionState,
    health: Health,
    #[serde(default)]
    started: bool,
    #[serde(default)]
    ready: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    exit: Option<Exit>,
    created_at: Timestamp,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    started_at: Option<Timestamp>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    finished_at: Option<Timestamp>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    restart_at: Option<Timestamp>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    restarted: Vec<Timestamp>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
}

/// Turns writes into rows. An intent that comes with its session's record is written with it, in one statement.
pub(crate) fn encode_all(writes: Vec<Write>) -> Result<Vec<Row>, Error> {
    let mut rows = Vec::with_capacity(writes.len());
    for write in writes {
        let row = encode(write)?;
        match (rows.last_mut(), row) {
            (Some(Row::InsertSession(record) | Row::UpdateSession(record)), Row::Intent { session, intent })
                if record.id == session =>
            {
                record.intent = Some(intent)
            }
            (_, row) => rows.push(row),
        }
    }
    Ok(rows)
}

/// Turns a write into a row.
fn encode(write: Write) -> Result<Row, Error> {
    Ok(match write {
        Write::InsertSession(record) => Row::InsertSession(session_row(*record)?),
        Write::UpdateSession(record) => Row::UpdateSession(session_row(*record)?),
        Write::DeleteSession(id) => Row::DeleteSession(id),
        Write::PutIntent(intent) => {
            let text = json(&intent, || format!("intent of session {}", intent.session))?;
            Row::Intent { session: intent.session, intent: Some(text) }
        }
        Write::SettleIntent(session) => Row::Intent { session, intent: None },
        Write::PutOnce(once) => Row::PutOnce(once),
        Write::ForgetOnce(key) => Row::ForgetOnce(key),
        Write::PutToken(token) => Row::PutToken(token),
        Write::UseToken { id, at } => Row::UseToken { id, at },
        Write::DeleteToken(id) => Row::DeleteToken(id),
        Write::Event(event) => Row::Event(event),
    })
}

fn session_row(record: SessionRecord) -> Result<SessionRow, Error> {
    let what = || format!("session {}", record.id);
    let spec = json(&record.spec, what)?;
    let status = Status {
        desired: record.desired,
        incarnation: record.incarnation,
        restarts: record.restarts,
        failures: record.failures,
        state: record.state,
        health: record.health,
        started: record.started,
        ready: record.ready,
        exit: record.exit.clone(),
        created_at: record.created_at,
        started_at: record.started_at,
        finished_at: record.finished_at,
        restart_at: record.restart_at,
        restarted: record.restarted.clone(),
        reason: record.reason.clone(),
    };
    let status = json(&status, what)?;
    Ok(SessionRow {
        id: record.id,
        name: record.name,
        backend: record.spec.backend,
        spec,
        status,
        handle: record.handle,
        intent: None,
    })
}

fn json<T: Serialize>(value: &T, what: impl FnOnce() -> String) -> Result<String, Error> {
    serde_json::to_string(value).map_err(|error| Error::Unstorable { what: what(), why: error.to_string() })
}

/// Everything that the control loop begins with.
pub(crate) fn snapshot(connection: &Connection) -> Result<Snapshot, Error> {
    let mut sessions =
        connection.prepare_cached("SELECT id, name, spec, status, handle, intent FROM sessions ORDER BY rowid")?;
    let mut rows = sessions.query(())?;
    let mut snapshot = Snapshot::default();
    while let Some(row) = rows.next()? {
        let id: String = row.get("id")?;
        let bad = |error: BadRow| Error::BadRecord { what: format!("session {id:?}"), why: error.to_string() };
        snapshot.sessions.push(session(row).map_err(bad)?);
        snapshot.intents.extend(intent(row).map_err(bad)?);
    }
    Ok(snapshot)
}

type BadRow = Box<dyn std::error::Error + Send + Sync>;

fn session(row: &Found<'_>) -> Result<SessionRecord, BadRow> {
    let id: SessionId = row.get_ref("id")?.as_str()?.parse()?;
    let name: SessionName = row.get_ref("name")?.as_str()?.parse()?;
    let spec: SessionSpec = serde_json::from_str(row.get_ref("spec")?.as_str()?)?;
    let status: Status = serde_json::from_str(row.get_ref("status")?.as_str()?)?;
    Ok(SessionRecord {
        id,
        name,
        spec,
        desired: status.desired,
        incarnation: status.incarnation,
        restarts: status.restarts,
        failures: status.failures,
        state: status.state,
        health: status.health,
        started: status.started,
        ready: status.ready,
        exit: status.exit,
        handle: row.get("handle")?,
        created_at: status.created_at,
        started_at: status.started_at,
        finished_at: status.finished_at,
        restart_at: status.restart_at,
        restarted: status.restarted,
        reason: status.reason,
    })
}

fn intent(row: &Found<'_>) -> Result<Option<Intent>, BadRow> {
    let text = row.get_ref("intent")?.as_str_or_null()?;
    let intent: Option<Intent> = text.map(serde_json::from_str).transpose()?;
    match intent {
        Some(intent) if intent.session.as_str() != row.get_ref("id")?.as_str()? => {
            Err(format!("its intent is of session {}", intent.session).into())
        }
        intent => Ok(intent),
    }
}
