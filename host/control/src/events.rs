//! What the journal says of sessions and backends. The kinds are stable words that users match on.

use seawall_backend::trace;
use seawall_model::{BackendName, Timestamp};
use seawall_store::{Event, SessionRecord};

use crate::caller;

macro_rules! kinds {
    ($($(#[$doc:meta])* $name:ident = $word:literal,)+) => {
        /// What happened, as a stable word.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub(crate) enum Kind {
            $($(#[$doc])* $name,)+
        }

        /// The kinds of events, as users match on them.
        pub const EVENT_KINDS: &[&str] = &[$($word),+];

        impl Kind {
            /// The word.
            pub(crate) fn as_str(self) -> &'static str {
                match self {
                    $(Self::$name => $word,)+
                }
            }
        }
    };
}

kinds! {
    /// A session was asked for.
    SessionCreated = "session.created",
    /// It runs.
    SessionStarted = "session.started",
    /// It was asked to stop.
    SessionStopping = "session.stopping",
    /// A signal was sent to it that does not ask it to end.
    SessionSignalled = "session.signalled",
    /// It stands still, as it was asked to or as somebody had its engine do.
    SessionPaused = "session.paused",
    /// It runs on.
    SessionUnpaused = "session.unpaused",
    /// It ended with 0, or was asked to.
    SessionStopped = "session.stopped",
    /// It ended in another way, or could not be made.
    SessionFailed = "session.failed",
    /// It was killed for want of memory; `session.failed` does not come besides.
    SessionOom = "session.oom",
    /// It ended and nobody can say how.
    SessionLost = "session.lost",
    /// The restart policy will start it again.
    SessionRestarting = "session.restarting",
    /// The restart policy has no more starts for it.
    SessionGaveUp = "session.gave_up",
    /// An act failed and will be tried again.
    SessionRetrying = "session.retrying",
    /// Its health check passes again.
    SessionHealthy = "session.healthy",
    /// Its health check fails.
    SessionUnhealthy = "session.unhealthy",
    /// Its probes say that it may be given work.
    SessionReady = "session.ready",
    /// Its readiness probe says that it may not.
    SessionNotReady = "session.not_ready",
    /// A function of the plugin faulted about it too often, and is left alone about it for a while.
    SessionQuarantined = "session.quarantined",
    /// A function that was left alone about it answered about it.
    SessionReleased = "session.released",
    /// It is over, and there are bounds to how long such are kept; `session.removed` follows.
    SessionPruned = "session.pruned",
    /// It and its record are gone.
    SessionRemoved = "session.removed",
    /// A backend is there that was not.
    BackendAdded = "backend.added",
    /// One is there no longer; its sessions are `unknown`.
    BackendRemoved = "backend.removed",
    /// One was replaced by another of its name; its sessions went on.
    BackendRestarted = "backend.restarted",
    /// The health of a backend, by what it became.
    BackendHealthy = "backend.healthy",
    /// See [`Kind::BackendHealthy`].
    BackendDegraded = "backend.degraded",
    /// See [`Kind::BackendHealthy`].
    BackendUnhealthy = "backend.unhealthy",
    /// See [`Kind::BackendHealthy`].
    BackendUnauthenticated = "backend.unauthenticated",
    /// Its sessions could not be looked at; they are `unknown`.
    BackendUnreachable = "backend.unreachable",
    /// Its sessions can be looked at again.
    BackendReachable = "backend.reachable",
    /// It left out so many sessions at once that it is not believed.
    BackendNotBelieved = "backend.not_believed",
    /// An operator says that sessions which it left out are gone.
    BackendLossConfirmed = "backend.loss_confirmed",
    /// Its watch broke or cannot be opened: news of its sessions comes with the sweeps. Told again only after it was back.
    BackendWatchLost = "backend.watch_lost",
    /// Its watch is open again, and stays so.
    BackendWatchRestored = "backend.watch_restored",
    /// Sessions that ran before their backend was there were met again.
    BackendAdopted = "backend.adopted",
    /// Its breaker, by what it became. While it goes to and fro between half-open and open, only the first of each.
    BackendBreakerOpen = "backend.breaker_open",
    /// See [`Kind::BackendBreakerOpen`].
    BackendBreakerHalfOpen = "backend.breaker_half_open",
    /// See [`Kind::BackendBreakerOpen`].
    BackendBreakerClosed = "backend.breaker_closed",
    /// Calls are refused for want of permits. Told again only after a minute without a refusal.
    BackendFull = "backend.full",
    /// A workload of this host that no session owns.
    OrphanFound = "orphan.found",
    /// Such are too many to be removed unasked. Told again only after they were few.
    OrphanHeld = "orphan.held",
    /// It was removed.
    OrphanRemoved = "orphan.removed",
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
        actor: caller::actor(),
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
        actor: caller::actor(),
    }
}
