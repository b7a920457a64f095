//! Sessions that are over are kept, with how they ended and what they wrote last, until there are too many of them or they
//! are too old, where bounds are configured. One task, and none without bounds.
//!
//! What it removes it removes as a user would, by a stored wish. A session whose log is being read, or whose backend is not
//! configured, is left to a later round.

use std::sync::Arc;
use std::time::Duration;

use seawall_backend::trace;
use seawall_model::{Desired, Timestamp, TraceId};
use serde::{Deserialize, Serialize};

use crate::ControlError;
use crate::commands::remove;
use crate::core::Core;
use crate::draft::{Context, Draft};
use crate::events::Kind;
use crate::observe::tell;
use crate::state::Entry;
use crate::worker::kick;

/// How long sessions that are over are kept: the table `[control.retention]`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct RetentionConfig {
    /// After so long they are removed. Default: never.
    #[serde(with = "humantime_serde::option", skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schema(value_type = Option<seawall_model::schema::Span>))]
    pub age: Option<Duration>,
    /// So many are kept, those that ended last. Default: any number.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sessions: Option<usize>,
}

impl RetentionConfig {
    /// Nothing is ever pruned.
    pub(crate) fn bounds_nothing(&self) -> bool {
        *self == Self::default()
    }
}

/// Between two rounds.
const EVERY: Duration = Duration::from_secs(60);

/// Starts the task, if there is anything to bound.
pub(crate) fn run(core: &Arc<Core>) {
    if core.config.retention.bounds_nothing() {
        return;
    }
    let core = Arc::clone(core);
    core.tasks.clone().spawn(async move {
        loop {
            // Cancel-safe, both.
            tokio::select! {
                () = core.clock.sleep_towards(core.clock.now() + EVERY) => {}
                () = core.soft.cancelled() => return,
            }
            trace::scope(TraceId::random(), round(&core)).await;
        }
    });
}

async fn round(core: &Arc<Core>) {
    let now = core.clock.now();
    for (entry, why) in beyond(core, now) {
        let pruned = core.change(&entry, |draft, context| prune(draft, why, context)).await;
        match pruned {
            Ok(_) => kick(core, &entry),
            // It is wanted again, or gone.
            Err(ControlError::Conflict(_) | ControlError::NoSuchSession(_)) => {}
            Err(error) => tracing::error!(session = %entry.id, %error, "a session that is over could not be pruned"),
        }
    }
}

/// Those that are beyond the bounds, and why.
fn beyond(core: &Core, now: Timestamp) -> Vec<(Arc<Entry>, String)> {
    let RetentionConfig { age, sessions } = core.config.retention;
    let over = |entry: &Arc<Entry>| {
        entry.with(|cell| {
            let record = &cell.record;
            let kept = !record.state.is_final() || record.desired == Desired::Removed || cell.readers > 0;
            (!kept).then(|| record.finished_at.unwrap_or(record.created_at))
        })
    };
    let mut ended: Vec<_> = core.sessions.all().into_iter().filter_map(|entry| Some((over(&entry)?, entry))).collect();
    ended.sort_by(|(one, _), (other, _)| other.cmp(one));
    let mut beyond = Vec::new();
    for (place, (at, entry)) in ended.into_iter().enumerate() {
        let why = match (age, sessions) {
            (Some(age), _) if now.since(at) > age => {
                format!("it has been over for more than {}", humantime::format_duration(age))
            }
            (_, Some(sessions)) if place >= sessions => format!("more than {sessions} sessions are over"),
            _ => continue,
        };
        if core.backends.get(&entry.backend).is_some() {
            beyond.push((entry, why));
        }
    }
    beyond
}

fn prune(draft: &mut Draft, why: String, context: &Context<'_>) -> Result<(), ControlError> {
    remove(draft, false)?;
    tell(draft, Kind::SessionPruned, why, context);
    Ok(())
}
