//! What the journal says of sessions and backends. The kinds are stable words that users match on.

use seawall_backend::trace;
use seawall_model::{BackendName, Timestamp};
use seawall_store::{Event, SessionRecord};

/// What happened, as a stable word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A session was asked for.
    SessionCreated,
    /// It runs.
    SessionStarted,
    /// It was asked to stop.
    SessionStopping,
    /// It ended with 0, or was asked to.
    SessionStopped,
    /// It ended in another way, or could not be made.
    SessionFailed,
    /// It was killed for want of memory; `session.failed` does not come besides.
    SessionOom,
    /// It ended and nobody can say how.
    SessionLost,
    /// The restart policy will start it again.
    SessionRestarting,
    /// An act failed and will be tried again.
    SessionRetrying,
    /// Its health check passes again.
    SessionHealthy,
    /// Its health check fails.
    SessionUnhealthy,
    /// A function of the plugin faulted about it too often, and is left alone about it for a while.
    SessionQuarantined,
    /// A function that was left alone about it answered about it.
    SessionReleased,
    /// It and its record are gone.
    SessionRemoved,
    /// A backend is there that was not.
    BackendAdded,
    /// One is there no longer; its sessions are `unknown`.
    BackendRemoved,
    /// One was replaced by another of its name; its sessions went on.
    BackendRestarted,
    /// The health of a backend, by what it became.
    BackendHealthy,
    /// See [`Kind::BackendHealthy`].
    BackendDegraded,
    /// See [`Kind::BackendHealthy`].
    BackendUnhealthy,
    /// See [`Kind::BackendHealthy`].
    BackendUnauthenticated,
    /// Its sessions could not be looked at; they are `unknown`.
    BackendUnreachable,
    /// Its sessions can be looked at again.
    BackendReachable,
    /// It left out so many sessions at once that it is not believed.
    BackendNotBelieved,
    /// Sessions that ran before their backend was there were met again.
    BackendAdopted,
    /// Its breaker, by what it became. While it goes to and fro between half-open and open, only the first of each.
    BackendBreakerOpen,
    /// See [`Kind::BackendBreakerOpen`].
    BackendBreakerHalfOpen,
    /// See [`Kind::BackendBreakerOpen`].
    BackendBreakerClosed,
    /// Calls are refused for want of permits. Told again only after a minute without a refusal.
    BackendFull,
    /// A workload of this host that no session owns.
    OrphanFound,
    /// It was removed.
    OrphanRemoved,
}

impl Kind {
    /// The word.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::SessionCreated => "session.created",
            Self::SessionStarted => "session.started",
            Self::SessionStopping => "session.stopping",
            Self::SessionStopped => "session.stopped",
            Self::SessionFailed => "session.failed",
            Self::SessionOom => "session.oom",
            Self::SessionLost => "session.lost",
            Self::SessionRestarting => "session.restarting",
            Self::SessionRetrying => "session.retrying",
            Self::SessionHealthy => "session.healthy",
            Self::SessionUnhealthy => "session.unhealthy",
            Self::SessionQuarantined => "session.quarantined",
            Self::SessionReleased => "session.released",
            Self::SessionRemoved => "session.removed",
            Self::BackendAdded => "backend.added",
            Self::BackendRemoved => "backend.removed",
            Self::BackendRestarted => "backend.restarted",
            Self::BackendHealthy => "backend.healthy",
            Self::BackendDegraded => "backend.degraded",
            Self::BackendUnhealthy => "backend.unhealthy",
            Self::BackendUnauthenticated => "backend.unauthenticated",
            Self::BackendUnreachable => "backend.unreachable",
            Self::BackendReachable => "backend.reachable",
            Self::BackendNotBelieved => "backend.not_believed",
            Self::BackendAdopted => "backend.adopted",
            Self::BackendBreakerOpen => "backend.breaker_open",
            Self::BackendBreakerHalfOpen => "backend.breaker_half_open",
            Self::BackendBreakerClosed => "backend.breaker_closed",
            Self::BackendFull => "backend.full",
            Self::OrphanFound => "orphan.found",
            Self::OrphanRemoved => "orphan.removed",
        }
    }
}

/// About a session as it is now.
pub(crate) fn of_session(record: &SessionRecord, kind: Kind, at: Timestamp, message: impl Into<String>) -> Event {
    Event {
        id: 0,
        at,
        kind: kind.as_str().to_owned(),
        session: Some(record.id.clone()),
        name: Some(record.name.clone()),
        backend: Some(record.backend().clone()),
        incarnation: Some(record.incarnation),
        message: message.into(),
        trace_id: trace::current(),
    }
}

/// About a backend.
pub(crate) fn of_backend(backend: &BackendName, kind: Kind, at: Timestamp, message: impl Into<String>) -> Event {
    Event {
        id: 0,
        at,
        kind: kind.as_str().to_owned(),
        session: None,
        name: None,
        backend: Some(backend.clone()),
        incarnation: None,
        message: message.into(),
        trace_id: trace::current(),
    }
}
