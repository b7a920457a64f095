//! What sessions use, and where they are reached: asked when somebody wants to know, and not kept.
//!
//! Each backend is asked once about all of its sessions, all backends at the same time. One that fails, hangs, or cannot
//! tell costs its own figures only.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use seawall_backend::{Error, ExecutionBackend as _, Interface};
use seawall_model::{BackendName, Endpoint, Incarnation, Key, SessionId, SessionName, SessionState, Timestamp, Usage};
use serde::{Deserialize, Serialize};

use crate::ControlError;
use crate::backend::{Backend, call};
use crate::backends::not_configured;
use crate::control::Control;
use crate::draft::key;
use crate::hands::running;
use crate::pause::able;
use crate::state::{Entry, Glance};

/// What one session uses.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct SessionUsage {
    /// Which.
    pub id: SessionId,
    /// Its name.
    pub name: SessionName,
    /// The backend it is on.
    pub backend: BackendName,
    /// Which start of it was measured: the figures begin anew with each.
    pub incarnation: Incarnation,
    /// `running` or `paused`.
    pub state: SessionState,
    /// When it was started.
    pub started_at: Option<Timestamp>,
    /// The figures.
    pub usage: Usage,
}

/// A backend whose sessions were not measured.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct Unmeasured {
    /// Which.
    pub backend: BackendName,
    /// So many of its sessions were asked about.
    pub sessions: usize,
    /// Why, in a word: `unsupported`, `unavailable` and the other kinds of a backend's errors.
    pub kind: String,
    /// Why.
    pub reason: String,
}

/// What sessions use, as far as their backends say.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct Sample {
    /// Those that were measured, the oldest first.
    pub sessions: Vec<SessionUsage>,
    /// Backends that gave no figures.
    pub errors: Vec<Unmeasured>,
}

impl Control {
    /// What each session that runs and is wanted uses now, as far as its backend says within `patience`. What has ended
    /// meanwhile is left out.
    pub async fn usage(&self, wanted: impl Fn(Glance<'_>) -> bool, patience: Duration) -> Sample {
        let runs = |entry: &Arc<Entry>| entry.with(|cell| cell.record.state.runs() && wanted(cell.glance()));
        let asked: Vec<_> = self.core.sessions.by_age().into_iter().filter(runs).enumerate().collect();
        let mut names: Vec<_> = asked.iter().map(|(_, entry)| entry.backend.clone()).collect();
        names.sort_unstable();
        names.dedup();
        let answers = join_all(names.into_iter().map(async |name| {
            let (places, entries): (Vec<usize>, Vec<Arc<Entry>>) =
                asked.iter().filter(|(_, entry)| entry.backend == name).cloned().unzip();
            let Some(backend) = self.core.backends.get(&name) else {
                let error = Error::unavailable(not_configured(&name));
                return Err((name, entries.len(), error));
            };
            let measured = tokio::time::timeout(patience, measure(&backend, &entries)).await;
            let late = |_| {
                let patience = humantime::format_duration(patience);
                Error::unavailable(format!("it gave no figures within {patience}"))
            };
            match measured.map_err(late).and_then(|measured| measured) {
                Ok(measured) => Ok(places.into_iter().zip(measured).filter_map(|(at, usage)| Some((at, usage?)))),
                Err(error) => Err((name, entries.len(), error)),
            }
        }))
        .await;
        let (mut sessions, mut errors) = (Vec::with_capacity(asked.len()), Vec::new());
        for answer in answers {
            match answer {
                Ok(measured) => sessions.extend(measured),
                Err((backend, sessions, error)) => {
                    let (kind, reason) = (error.kind().to_owned(), error.to_string());
                    errors.push(Unmeasured { backend, sessions, kind, reason });
                }
            }
        }
        sessions.sort_unstable_by_key(|(at, _)| *at);
        Sample { sessions: sessions.into_iter().map(|(_, usage)| usage).collect(), errors }
    }

    /// What one session uses now.
    ///
    /// # Errors
    /// `NoSuchSession`, `NoSuchBackend`, `Conflict` if it does not run, `Backend`.
    pub async fn usage_of(&self, id: &SessionId) -> Result<SessionUsage, ControlError> {
        let entry = self.entry(id)?;
        let backend = self.core.backend(&entry.backend)?;
        running(&entry)?;
        let measured = measure(&backend, std::slice::from_ref(&entry)).await?;
        measured.into_iter().flatten().next().ok_or_else(|| {
            ControlError::Conflict(format!("session {id} could not be measured: it has ended, or is about to"))
        })
    }

    /// Where the ports of a session are reached.
    ///
    /// # Errors
    /// `NoSuchSession`, `NoSuchBackend`, `Conflict` if it does not run, `Backend`.
    pub async fn endpoints(&self, id: &SessionId) -> Result<Vec<Endpoint>, ControlError> {
        let entry = self.entry(id)?;
        let backend = self.core.backend(&entry.backend)?;
        able(&backend, Interface::Endpoint)?;
        let key = running(&entry)?;
        Ok(call("endpoint.list", backend.driver.endpoints(&key)).await?)
    }
}

/// One call about all of them; in their order, `None` where there is no figure.
async fn measure(backend: &Backend, entries: &[Arc<Entry>]) -> Result<Vec<Option<SessionUsage>>, Error> {
    able(backend, Interface::Stats)?;
    let (keys, mut rows): (Vec<Key>, Vec<Option<SessionUsage>>) =
        entries.iter().map(|entry| (entry.with(|cell| key(&cell.record)), None)).unzip();
    for measured in call("stats.sample", backend.driver.stats(&keys)).await? {
        let (Some(entry), Some(row)) = (entries.get(measured.position), rows.get_mut(measured.position)) else {
            continue;
        };
        let incarnation = keys.get(measured.position).map(|key| key.incarnation);
        *row = entry.with(|cell| {
            let record = &cell.record;
            // Another one follows already: these figures are of the one before.
            (Some(record.incarnation) == incarnation).then(|| SessionUsage {
                id: record.id.clone(),
                name: record.name.clone(),
                backend: record.backend().clone(),
                incarnation: record.incarnation,
                state: cell.state(),
                started_at: record.started_at,
                usage: measured.usage,
            })
        });
    }
    Ok(rows)
}
