//! What goes wrong, as the API says it: one problem document (RFC 9457) whatever the cause.
//!
//! Every error of the parts below is turned into a [`Problem`] here, and [`Kind::status`] is the one place that gives
//! it an HTTP status. The exit codes of the command line are given in [`crate::exit`].

use std::borrow::Cow;
use std::time::Duration;

use seawall_backend::{Error as BackendError, Fault, FaultKind};
use seawall_model::{InvalidSpec, TraceId};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use utoipa::openapi::RefOr;
use utoipa::openapi::schema::{ObjectBuilder, Type};
use utoipa::{PartialSchema, ToSchema};

use crate::app::StartError;
use crate::exit::chain;
use crate::reload::ReloadError;

/// What kind of problem it is: a stable word that programs may act on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Kind {
    /// The request cannot be read: bad JSON, an unknown field, a bad query.
    Malformed,
    /// The request was read and can never be carried out; `problems` names the fields.
    Invalid,
    /// A grant is missing, or the engine refused the credentials.
    Denied,
    /// No such session, backend or address.
    NotFound,
    /// That address knows other methods.
    MethodNotAllowed,
    /// It contradicts what is there: a name that is taken, a session that runs.
    Conflict,
    /// The prefix of an id fits several sessions.
    Ambiguous,
    /// The body is larger than the API takes.
    TooLarge,
    /// The body is not JSON.
    UnsupportedMedia,
    /// The body took too long to come.
    TooSlow,
    /// The session is not as the client saw it any more.
    Changed,
    /// Nobody knows who asks.
    Unauthenticated,
    /// It is meant for somebody else.
    Misdirected,
    /// It is answered only to a client that goes on in another protocol.
    UpgradeRequired,
    /// There was no answer in time.
    TimedOut,
    /// A pool or quota is used up for now.
    Exhausted,
    /// The bulkhead round the backend is full: nothing was asked.
    Full,
    /// The backend failed too often and is left alone for a while: nothing was asked.
    Open,
    /// The plugin failed too often about this session, which is left alone for a while: nothing was asked.
    Quarantined,
    /// The backend cannot do that at all.
    Unsupported,
    /// The plugin's call came to no answer.
    Fault,
    /// The plugin's call took longer than its deadline.
    Deadline,
    /// The engine behind the backend cannot be reached.
    Unavailable,
    /// The backend is unhealthy, so that nothing new is placed on it.
    Unhealthy,
    /// The configuration cannot be used.
    Config,
    /// Settings that are only read at the start are other ones.
    NeedsRestart,
    /// A plugin cannot be loaded.
    Plugin,
    /// The daemon is going down.
    ShuttingDown,
    /// What the daemon keeps cannot be read or written.
    Store,
    /// A defect of Seawall.
    Internal,
}

impl Kind {
    const ALL: [Self; 30] = [
        Self::Malformed,
        Self::Invalid,
        Self::Denied,
        Self::NotFound,
        Self::MethodNotAllowed,
        Self::Conflict,
        Self::Ambiguous,
        Self::TooLarge,
        Self::UnsupportedMedia,
        Self::TooSlow,
        Self::Changed,
        Self::Unauthenticated,
        Self::Misdirected,
        Self::UpgradeRequired,
        Self::TimedOut,
        Self::Exhausted,
        Self::Full,
        Self::Open,
        Self::Quarantined,
        Self::Unsupported,
        Self::Fault,
        Self::Deadline,
        Self::Unavailable,
        Self::Unhealthy,
        Self::Config,
        Self::NeedsRestart,
        Self::Plugin,
        Self::ShuttingDown,
        Self::Store,
        Self::Internal,
    ];

    /// The HTTP status of each kind: the one place where it is decided.
    pub(crate) fn status(self) -> u16 {
        match self {
            Self::Malformed => 400,
            Self::Unauthenticated => 401,
            Self::Denied => 403,
            Self::NotFound => 404,
            Self::MethodNotAllowed => 405,
            Self::Conflict | Self::Ambiguous | Self::NeedsRestart => 409,
            Self::TooSlow => 408,
            Self::Changed => 412,
            Self::TooLarge => 413,
            Self::UnsupportedMedia => 415,
            Self::Misdirected => 421,
            Self::UpgradeRequired => 426,
            Self::Invalid | Self::Config | Self::Plugin => 422,
            Self::Exhausted => 429,
            Self::Store | Self::Internal => 500,
            Self::Unsupported => 501,
            Self::Fault => 502,
            Self::Full | Self::Open | Self::Quarantined | Self::Unavailable | Self::Unhealthy | Self::ShuttingDown => {
                503
            }
            Self::Deadline | Self::TimedOut => 504,
        }
    }

    /// The word in `type`.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Malformed => "malformed",
            Self::Invalid => "invalid",
            Self::Denied => "denied",
            Self::NotFound => "not_found",
            Self::MethodNotAllowed => "method_not_allowed",
            Self::Conflict => "conflict",
            Self::Ambiguous => "ambiguous",
            Self::TooLarge => "too_large",
            Self::UnsupportedMedia => "unsupported_media",
            Self::TooSlow => "too_slow",
            Self::Changed => "changed",
            Self::Unauthenticated => "unauthenticated",
            Self::Misdirected => "misdirected",
            Self::UpgradeRequired => "upgrade_required",
            Self::TimedOut => "timed_out",
            Self::Exhausted => "exhausted",
            Self::Full => "full",
            Self::Open => "open",
            Self::Quarantined => "quarantined",
            Self::Unsupported => "unsupported",
            Self::Fault => "fault",
            Self::Deadline => "deadline",
            Self::Unavailable => "unavailable",
            Self::Unhealthy => "unhealthy",
            Self::Config => "config",
            Self::NeedsRestart => "needs_restart",
            Self::Plugin => "plugin",
            Self::ShuttingDown => "shutting_down",
            Self::Store => "store",
            Self::Internal => "internal",
        }
    }

    fn title(self) -> &'static str {
        match self {
            Self::Malformed => "The request cannot be read",
            Self::Invalid => "The request cannot be carried out as it is",
            Self::Denied => "Not allowed",
            Self::NotFound => "Not found",
            Self::MethodNotAllowed => "Method not allowed",
            Self::Conflict => "In conflict with what is there",
            Self::Ambiguous => "More than one session is meant",
            Self::TooLarge => "The request is too large",
            Self::UnsupportedMedia => "The body must be JSON",
            Self::TooSlow => "The body took too long",
            Self::Changed => "The session is another one by now",
            Self::Unauthenticated => "A token is needed",
            Self::Misdirected => "Meant for another host",
            Self::UpgradeRequired => "Another protocol is needed",
            Self::TimedOut => "There was no answer in time",
            Self::Exhausted => "Busy",
            Self::Full => "The backend has as many calls as it may have",
            Self::Open => "The backend is left alone for a while",
            Self::Quarantined => "The session is left alone for a while",
            Self::Unsupported => "The backend cannot do that",
            Self::Fault => "The plugin's call came to no answer",
            Self::Deadline => "The plugin's call took too long",
            Self::Unavailable => "The engine cannot be reached",
            Self::Unhealthy => "The backend is unhealthy",
            Self::Config => "The configuration cannot be used",
            Self::NeedsRestart => "The daemon has to be restarted for that",
            Self::Plugin => "A plugin cannot be loaded",
            Self::ShuttingDown => "The daemon is shutting down",
            Self::Store => "The daemon's store failed",
            Self::Internal => "Internal error",
        }
    }
}

/// RFC 9457 wants a URI; this one names the kind and leads nowhere.
const TYPE_PREFIX: &str = "urn:seawall:problem:";

impl Serialize for Kind {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&format_args!("{TYPE_PREFIX}{}", self.as_str()))
    }
}

impl<'de> Deserialize<'de> for Kind {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let word = text.strip_prefix(TYPE_PREFIX).unwrap_or_default();
        // A newer daemon may know kinds that this client does not; its words are shown all the same.
        Ok(Self::ALL.into_iter().find(|kind| kind.as_str() == word).unwrap_or(Self::Internal))
    }
}

impl PartialSchema for Kind {
    fn schema() -> RefOr<utoipa::openapi::Schema> {
        let table: Vec<_> =
            Self::ALL.iter().map(|kind| format!("| `{}` | {} |", kind.as_str(), kind.status())).collect();
        let description = format!(
            "What kind of problem it is, behind `{TYPE_PREFIX}`: a stable word that programs may act on. Newer daemons may \
             have more.\n\n| kind | status |\n|---|---|\n{}",
            table.join("\n")
        );
        let text = ObjectBuilder::new().schema_type(Type::String).description(Some(description));
        text.pattern(Some(format!("^{TYPE_PREFIX}[a-z_]+$"))).into()
    }
}

impl ToSchema for Kind {
    fn name() -> Cow<'static, str> {
        Cow::Borrowed("ProblemKind")
    }
}

/// The document, `application/problem+json`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub(crate) struct Problem {
    /// What kind.
    #[serde(rename = "type")]
    pub(crate) kind: Kind,
    /// The kind in words.
    #[schema(value_type = String)]
    pub(crate) title: Box<str>,
    /// The HTTP status, again.
    pub(crate) status: u16,
    /// What happened, to what, and what to do next.
    pub(crate) detail: String,
    /// Each field at fault, where fields are at fault.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) problems: Vec<seawall_model::Problem>,
    /// Trying again sooner is no use.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) retry_after_ms: Option<u64>,
    /// What cut the plugin's call off.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<FaultDetail>)]
    pub(crate) fault: Option<Box<FaultDetail>>,
    /// Within which trace it was met: lines of the daemon's log carry it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) trace_id: Option<TraceId>,
}

/// What cut a plugin's call off.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub(crate) struct FaultDetail {
    /// `trap`, `fuel`, `memory`, `deadline`, `limit`, `bad_answer`, `instantiate`, `pool_full` or `internal`.
    pub(crate) kind: String,
    /// The exported function.
    pub(crate) function: String,
    /// The guest's frames, innermost first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) backtrace: Vec<String>,
}

impl Problem {
    /// A problem of this kind.
    pub(crate) fn new(kind: Kind, detail: impl Into<String>) -> Self {
        Self {
            kind,
            title: kind.title().into(),
            status: kind.status(),
            detail: detail.into(),
            problems: Vec::new(),
            retry_after_ms: None,
            fault: None,
            trace_id: None,
        }
    }

    /// One field of the request at fault.
    pub(crate) fn field(kind: Kind, field: impl Into<String>, message: impl Into<String>) -> Self {
        let problem = seawall_model::Problem { field: field.into(), message: message.into() };
        let detail = format!("{}: {}", problem.field, problem.message);
        Self { problems: vec![problem], ..Self::new(kind, detail) }
    }

    fn retry_after(mut self, after: Option<Duration>) -> Self {
        // Rounded up: who comes back then is not too early.
        let millis = |after: Duration| u64::try_from(after.as_nanos().div_ceil(1_000_000)).unwrap_or(u64::MAX);
        self.retry_after_ms = after.map(millis);
        self
    }

    /// The host did not ask the backend, and knows when it may again.
    fn not_asked(kind: Kind, text: &str, retry_after: Duration) -> Self {
        let seconds = retry_after.as_nanos().div_ceil(1_000_000_000);
        Self::new(kind, format!("{text}; it is worth trying again in {seconds} s")).retry_after(Some(retry_after))
    }
}

impl From<InvalidSpec> for Problem {
    fn from(invalid: InvalidSpec) -> Self {
        Self { problems: invalid.problems.clone(), ..Self::new(Kind::Invalid, invalid.to_string()) }
    }
}

impl From<Fault> for Problem {
    fn from(fault: Fault) -> Self {
        let kind = match fault.kind {
            FaultKind::Deadline => Kind::Deadline,
            FaultKind::Trap
            | FaultKind::Fuel
            | FaultKind::Memory
            | FaultKind::Limit
            | FaultKind::BadAnswer
            | FaultKind::Instantiate => Kind::Fault,
            FaultKind::PoolFull => Kind::Full,
            FaultKind::Internal => Kind::Internal,
        };
        let detail = FaultDetail {
            kind: fault.kind.as_str().to_owned(),
            function: fault.function.to_owned(),
            backtrace: fault.backtrace.clone(),
        };
        Self { fault: Some(Box::new(detail)), ..Self::new(kind, fault.to_string()) }
    }
}

impl From<BackendError> for Problem {
    fn from(error: BackendError) -> Self {
        let text = error.to_string();
        match error {
            BackendError::NotFound(message) => Self::new(Kind::NotFound, message),
            BackendError::Conflict { message, retry_after } => {
                Self::new(Kind::Conflict, message).retry_after(retry_after)
            }
            BackendError::Invalid(invalid) => invalid.into(),
            BackendError::Denied(message) => Self::new(Kind::Denied, message),
            BackendError::Exhausted { message, retry_after } => {
                Self::new(Kind::Exhausted, message).retry_after(retry_after)
            }
            BackendError::Unavailable { message, retry_after } => {
                Self::new(Kind::Unavailable, message).retry_after(retry_after)
            }
            BackendError::Unsupported(message) => Self::new(Kind::Unsupported, message),
            BackendError::Other(message) => Self::new(Kind::Internal, message),
            BackendError::Full(full) => Self::not_asked(Kind::Full, &text, full.retry_after),
            BackendError::Open { retry_after } => Self::not_asked(Kind::Open, &text, retry_after),
            BackendError::Quarantined { retry_after, .. } => Self::not_asked(Kind::Quarantined, &text, retry_after),
            BackendError::Fault(fault) => fault.into(),
        }
    }
}

impl From<ReloadError> for Problem {
    fn from(error: ReloadError) -> Self {
        let text = chain(&error);
        let wrong = |kind, field: String, message: String| {
            let problems = vec![seawall_model::Problem { field, message }];
            Self { problems, ..Self::new(kind, text.clone()) }
        };
        match error {
            ReloadError::Config(error) | ReloadError::Load(StartError::Config(error)) => match error.key() {
                Some(key) => wrong(Kind::Config, key.to_owned(), error.to_string()),
                None => Self::new(Kind::Config, text),
            },
            ReloadError::NeedsRestart(names) => {
                let message = "it cannot change while the daemon runs";
                let problem = |field| seawall_model::Problem { field, message: message.to_owned() };
                let problems = names.into_iter().map(problem).collect();
                Self { problems, ..Self::new(Kind::NeedsRestart, text) }
            }
            ReloadError::Load(
                ref error @ (StartError::Plugin { ref backend, .. } | StartError::NoPlugin { ref backend, .. }),
            ) => wrong(Kind::Plugin, format!("backend.{backend}.plugin"), chain(error)),
            ReloadError::Load(StartError::Tls { .. }) => wrong(Kind::Config, "api.tcp.tls".to_owned(), text.clone()),
            ReloadError::Load(
                StartError::Locked(_)
                | StartError::Store(_)
                | StartError::Storage { .. }
                | StartError::SocketTooLong { .. }
                | StartError::SocketInUse { .. }
                | StartError::SocketExposed { .. }
                | StartError::Listen { .. }
                | StartError::Tokens(_)
                | StartError::Socket { .. }
                | StartError::Runtime(_)
                | StartError::Control(_),
            ) => Self::new(Kind::Internal, text),
            ReloadError::ShuttingDown => Self::new(Kind::ShuttingDown, text),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_reads_back_and_has_an_error_status() {
        for kind in Kind::ALL {
            assert!((400..600).contains(&kind.status()), "{kind:?}");
            let problem = Problem::new(kind, "what happened");
            let text = serde_json::to_string(&problem).unwrap();
            assert_eq!(serde_json::from_str::<Problem>(&text).unwrap(), problem);
        }
    }

    #[test]
    fn what_was_not_asked_says_when_to_come_back() {
        let session = seawall_model::SessionId::random();
        let retry_after = Duration::from_micros(1_500_100);
        let full = seawall_backend::limit::Full {
            kind: seawall_backend::limit::Kind::Stream,
            permits: 200,
            waited: Duration::ZERO,
            retry_after,
        };
        let answers = [
            (BackendError::Full(full), Kind::Full),
            (BackendError::Open { retry_after }, Kind::Open),
            (BackendError::Quarantined { function: "start", session, retry_after }, Kind::Quarantined),
        ];
        for (error, kind) in answers {
            let problem = Problem::from(error);
            assert_eq!((problem.kind, problem.status, problem.retry_after_ms), (kind, 503, Some(1501)));
            assert!(problem.detail.ends_with("in 2 s"), "{}", problem.detail);
        }
    }

    #[test]
    fn a_kind_of_a_newer_daemon_keeps_its_words() {
        let text = r#"{"type":"urn:seawall:problem:tides","title":"T","status":418,"detail":"the tide is out"}"#;
        let problem: Problem = serde_json::from_str(text).unwrap();
        assert_eq!((problem.kind, problem.detail.as_str()), (Kind::Internal, "the tide is out"));
    }

    #[test]
    fn a_fault_names_its_function_and_frames() {
        let fault = Fault {
            kind: FaultKind::Fuel,
            function: "execution-backend.check",
            message: "used up its fuel".to_owned(),
            backtrace: vec!["spin".to_owned()],
        };
        insta::assert_json_snapshot!(Problem::from(BackendError::Fault(fault)));
    }
}
