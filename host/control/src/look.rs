//! Looks at a backend: which one an observation came from.

use std::fmt;

use seawall_backend::trace;
use seawall_model::{Timestamp, TraceId};
use serde::{Deserialize, Serialize};

/// One look at a backend.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct Look {
    /// What kind.
    pub kind: LookKind,
    /// Counts the looks of the backend's sweep task, of all kinds together, since the daemon started or the backend was
    /// restarted. Absent: an act, or a look that an operator asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub number: Option<u64>,
    /// What it did is found by this.
    pub trace_id: TraceId,
}

/// What a look was for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum LookKind {
    /// The sweep of every session of the backend that may have changed.
    Full,
    /// Of the few that are about to change.
    Quick,
    /// The listing of all that the backend has.
    List,
    /// The answer to an act of the session's worker.
    Act,
}

impl fmt::Display for Look {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match self.kind {
            LookKind::Full => "full sweep",
            LookKind::Quick => "quick sweep",
            LookKind::List => "listing",
            LookKind::Act => "an act",
        };
        match self.number {
            Some(number) => write!(f, "{kind} {number}"),
            None => f.write_str(kind),
        }
    }
}

/// That something was seen.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Seen {
    pub(crate) at: Timestamp,
    pub(crate) by: Look,
}

impl Seen {
    /// By an answer to an act.
    pub(crate) fn by_act(at: Timestamp) -> Self {
        Self { at, by: Look { kind: LookKind::Act, number: None, trace_id: trace::current_or_new() } }
    }
}
