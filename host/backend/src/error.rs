//! How a call to a backend can end other than well.

use std::time::Duration;

use seawall_model::{InvalidSpec, Problem, SessionId};

use crate::limit::Full;

/// How a call to a backend ended, other than well.
///
/// Two kinds of things: what the backend *answered* (the variants of `error` in `wit/host/types.wit`), and what
/// became of the call itself ([`Fault`]): then nobody knows whether the engine did what was asked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The named thing does not exist; a definite answer.
    #[error("{0}")]
    NotFound(String),
    /// Something of that name is there and is not what was asked for.
    #[error("{message}")]
    Conflict {
        /// What is in the way.
        message: String,
        /// Not before this.
        retry_after: Option<Duration>,
    },
    /// The same request will never work.
    #[error(transparent)]
    Invalid(#[from] InvalidSpec),
    /// A grant is missing, or the engine refused the credentials.
    #[error("{0}")]
    Denied(String),
    /// A quota or a pool is used up.
    #[error("{message}")]
    Exhausted {
        /// Of what.
        message: String,
        /// Not before this.
        retry_after: Option<Duration>,
    },
    /// The engine cannot be reached. The only one worth a retry.
    #[error("{message}")]
    Unavailable {
        /// What cannot be reached, and why.
        message: String,
        /// Not before this.
        retry_after: Option<Duration>,
    },
    /// This backend cannot do that at all.
    #[error("{0}")]
    Unsupported(String),
    /// Anything else that the backend answered.
    #[error("{0}")]
    Other(String),
    /// The bulkhead is full: busy, not down (B8). Nothing was asked.
    #[error(transparent)]
    Full(#[from] Full),
    /// The breaker is open: the backend failed too often of late. Nothing was asked.
    #[error("the backend failed too often of late and is left alone for a while")]
    Open {
        /// When it is asked again.
        retry_after: Duration,
    },
    /// The plugin's function faulted too often about this session. Nothing was asked.
    #[error("the plugin's `{function}` faulted too often about session {session}, which is left alone for a while")]
    Quarantined {
        /// The function.
        function: &'static str,
        /// The session.
        session: SessionId,
        /// When it is asked again.
        retry_after: Duration,
    },
    /// The call itself went wrong.
    #[error(transparent)]
    Fault(#[from] Fault),
}

impl Error {
    /// Unavailable, with no hint when to try again.
    pub fn unavailable(message: impl Into<String>) -> Self {
        Self::Unavailable { message: message.into(), retry_after: None }
    }

    /// Conflict, with no hint when to try again.
    pub fn conflict(message: impl Into<String>) -> Self {
        Self::Conflict { message: message.into(), retry_after: None }
    }

    /// One field at fault.
    pub fn invalid(field: impl Into<String>, message: impl Into<String>) -> Self {
        Self::Invalid(InvalidSpec { problems: vec![Problem { field: field.into(), message: message.into() }] })
    }

    /// The request will never work, however often it is made: trying again is no use.
    pub fn is_permanent(&self) -> bool {
        match self {
            Self::Invalid(_) | Self::Denied(_) | Self::Unsupported(_) => true,
            Self::NotFound(_)
            | Self::Conflict { .. }
            | Self::Exhausted { .. }
            | Self::Unavailable { .. }
            | Self::Other(_)
            | Self::Full(_)
            | Self::Open { .. }
            | Self::Quarantined { .. }
            | Self::Fault(_) => false,
        }
    }

    /// The backend was not asked, since it has its hands full: busy, not down (B8).
    pub fn is_busy(&self) -> bool {
        matches!(self, Self::Full(_)) || matches!(self, Self::Fault(fault) if fault.kind == FaultKind::PoolFull)
    }

    /// When the host itself said that it is worth trying again, because it did not ask the backend at all.
    pub fn not_asked(&self) -> Option<Duration> {
        match self {
            Self::Full(full) => Some(full.retry_after),
            Self::Open { retry_after } | Self::Quarantined { retry_after, .. } => Some(*retry_after),
            Self::Fault(fault) if fault.kind == FaultKind::PoolFull => Some(Full::RETRY_AFTER),
            _ => None,
        }
    }

    /// The same error with each of its texts changed. What the bulkhead says has none.
    #[must_use]
    pub fn map_texts(self, mut map: impl FnMut(String) -> String) -> Self {
        match self {
            Self::NotFound(message) => Self::NotFound(map(message)),
            Self::Conflict { message, retry_after } => Self::Conflict { message: map(message), retry_after },
            Self::Invalid(InvalidSpec { problems }) => {
                let changed = |problem: Problem| Problem { field: map(problem.field), message: map(problem.message) };
                Self::Invalid(InvalidSpec { problems: problems.into_iter().map(changed).collect() })
            }
            Self::Denied(message) => Self::Denied(map(message)),
            Self::Exhausted { message, retry_after } => Self::Exhausted { message: map(message), retry_after },
            Self::Unavailable { message, retry_after } => Self::Unavailable { message: map(message), retry_after },
            Self::Unsupported(message) => Self::Unsupported(map(message)),
            Self::Other(message) => Self::Other(map(message)),
            Self::Fault(fault) => Self::Fault(Fault { message: map(fault.message), ..fault }),
            Self::Full(_) | Self::Open { .. } | Self::Quarantined { .. } => self,
        }
    }

    /// One word for logs, events and metrics.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::NotFound(_) => "not_found",
            Self::Conflict { .. } => "conflict",
            Self::Invalid(_) => "invalid",
            Self::Denied(_) => "denied",
            Self::Exhausted { .. } => "exhausted",
            Self::Unavailable { .. } => "unavailable",
            Self::Unsupported(_) => "unsupported",
            Self::Other(_) => "other",
            Self::Full(_) => "full",
            Self::Open { .. } => "open",
            Self::Quarantined { .. } => "quarantined",
            Self::Fault(fault) => fault.kind.as_str(),
        }
    }
}

impl From<crate::breaker::Open> for Error {
    fn from(open: crate::breaker::Open) -> Self {
        Self::Open { retry_after: open.retry_after }
    }
}

/// What cut a call off.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FaultKind {
    /// The plugin trapped: unreachable, out of bounds, a panic.
    Trap,
    /// It used up its fuel.
    Fuel,
    /// It was refused memory, tables or instances, and then failed.
    Memory,
    /// The whole call took longer than its deadline.
    Deadline,
    /// It broke another bound: handles, bytes or calls to the host.
    Limit,
    /// It answered something that cannot be true or is out of range.
    BadAnswer,
    /// The instance could not be made: its start function failed.
    Instantiate,
    /// There was no place for another instance: busy, and nobody's failure.
    PoolFull,
    /// A defect of the host.
    Internal,
}

impl FaultKind {
    /// All of them.
    pub const ALL: [Self; 9] = [
        Self::Trap,
        Self::Fuel,
        Self::Memory,
        Self::Deadline,
        Self::Limit,
        Self::BadAnswer,
        Self::Instantiate,
        Self::PoolFull,
        Self::Internal,
    ];

    /// The word used in logs, events and metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Trap => "trap",
            Self::Fuel => "fuel",
            Self::Memory => "memory",
            Self::Deadline => "deadline",
            Self::Limit => "limit",
            Self::BadAnswer => "bad_answer",
            Self::Instantiate => "instantiate",
            Self::PoolFull => "pool_full",
            Self::Internal => "internal",
        }
    }
}

/// A call that came to no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the plugin's `{function}` {message}")]
pub struct Fault {
    /// What cut it off.
    pub kind: FaultKind,
    /// The exported function, such as `execution-backend.inspect`.
    pub function: &'static str,
    /// What happened, as the rest of a sentence that begins with the function's name.
    pub message: String,
    /// The guest's frames, innermost first, with names where the component has them.
    pub backtrace: Vec<String>,
}
