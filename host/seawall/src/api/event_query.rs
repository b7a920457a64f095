//! What may be asked of the journal: the parameters of `GET /v1/events`.

use std::collections::BTreeSet;

use seawall_control::EVENT_KINDS;
use seawall_model::{BackendName, SessionName, Timestamp};
use seawall_store::EventFilter;

use utoipa::openapi::schema::{AnyOfBuilder, ObjectBuilder, Schema, Type};
use utoipa::openapi::{KnownFormat, RefOr, SchemaFormat};
use utoipa::{IntoParams, PartialSchema, ToSchema};

use super::extract::read_number;
use super::respond::shown;
use crate::config::{nearest, suggest};
use crate::problem::{Kind, Problem};

/// What was asked.
#[derive(Clone, Debug, Default)]
pub(super) struct EventQuery {
    /// Go on with what happens later.
    pub(super) follow: bool,
    /// Only what came after the event with this id. 0 is none: all that is kept.
    pub(super) after: Option<u64>,
    /// Only the last so many of what happened.
    pub(super) tail: Option<usize>,
    /// At most so many on a page.
    pub(super) limit: Option<usize>,
    /// Which.
    pub(super) filter: EventFilter,
}

/// The same as parameters of an address, for the description of the API.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "read by the derive")]
pub(super) struct Parameters {
    /// Go on with what happens later. Not with `until`, and not for a page.
    #[param(default = false)]
    follow: Option<bool>,
    /// Only what came after the event with this id, or at or after this RFC 3339 time.
    #[param(required = false, inline, example = "17")]
    since: Since,
    /// Only what happened before.
    until: Option<Timestamp>,
    /// Only the last so many of what happened.
    tail: Option<u64>,
    /// At most so many on a page; only for pages.
    #[param(minimum = 1, maximum = 1000, default = 500)]
    limit: Option<u64>,
    /// Only those of this session: an id, the beginning of one, or a name. May be given several times.
    session: Option<Vec<SessionName>>,
    /// Only those of this backend. May be given several times.
    backend: Option<Vec<BackendName>>,
    /// Only those whose kind begins so. May be given several times.
    #[param(example = "session.")]
    kind: Option<Vec<String>>,
}

/// The id of an event, or a time.
struct Since;

impl PartialSchema for Since {
    fn schema() -> RefOr<Schema> {
        let size = SchemaFormat::KnownFormat(KnownFormat::Int64);
        let id = ObjectBuilder::new().schema_type(Type::Integer).format(Some(size)).minimum(Some(0));
        AnyOfBuilder::new().item(id).item(Timestamp::schema()).into()
    }
}

impl ToSchema for Since {}

/// The largest page.
pub(super) const MOST_ON_A_PAGE: usize = 1000;
/// Values of one parameter that may be given several times.
const MOST_VALUES: usize = 100;

impl EventQuery {
    /// Reads the parameters. `session`, `backend` and `kind` may be given several times: any of them is meant.
    ///
    /// # Errors
    /// The parameter at fault.
    pub(super) fn read(pairs: &[(String, String)]) -> Result<Self, Problem> {
        let mut query = Self::default();
        for (at, (key, value)) in pairs.iter().enumerate() {
            let wrong = |message: String| Problem::field(Kind::Malformed, shown(key), message);
            let many = matches!(key.as_str(), "session" | "backend" | "kind");
            let before = pairs.iter().take(at).filter(|(other, _)| other == key).count();
            if before >= if many { MOST_VALUES } else { 1 } {
                return Err(wrong(if many {
                    format!("at most {MOST_VALUES} times")
                } else {
                    "given twice".to_owned()
                }));
            }
            match key.as_str() {
                "follow" => query.follow = value.parse().map_err(|_| wrong("true or false".to_owned()))?,
                "since" => query.since(value).map_err(wrong)?,
                "until" => query.filter.until = Some(time(value).map_err(wrong)?),
                "tail" => query.tail = Some(tail(value).map_err(wrong)?),
                "limit" => query.limit = Some(limit(value).map_err(wrong)?),
                "session" => query.filter.sessions.push(session(value).map_err(wrong)?),
                "backend" => query.filter.backends.push(backend(value).map_err(wrong)?),
                // Read it can be: which kinds there are, no description says.
                "kind" => {
                    let unknown = |message: String| Problem::field(Kind::Invalid, "kind", message);
                    query.filter.kinds.push(kind(value).map_err(unknown)?);
                }
                _ => return Err(wrong(suggest(&unknown(&shown(key))))),
            }
        }
        if query.follow && query.filter.until.is_some() {
            let message = "with `follow` there is no end: leave one of them out";
            return Err(Problem::field(Kind::Invalid, "until", message));
        }
        Ok(query)
    }

    fn since(&mut self, text: &str) -> Result<(), String> {
        match read_number(text) {
            Some(id) => self.after = Some(id),
            None => {
                let neither = |_| format!("{:?} is neither the id of an event nor an RFC 3339 time", shown(text));
                self.filter.since = Some(text.parse().map_err(neither)?);
            }
        }
        Ok(())
    }

    /// What an event source says when it connects again goes before `since`: it has seen everything up to there.
    ///
    /// # Errors
    /// It is no id.
    pub(super) fn resume(&mut self, id: &str) -> Result<(), Problem> {
        let message = || format!("Last-Event-ID: {:?} is not the id of an event", shown(id));
        self.after = Some(read_number(id).ok_or_else(|| Problem::field(Kind::Malformed, "Last-Event-ID", message()))?);
        Ok(())
    }
}

fn time(text: &str) -> Result<Timestamp, String> {
    text.parse().map_err(|_| format!("{:?} is no RFC 3339 time", shown(text)))
}

fn tail(text: &str) -> Result<usize, String> {
    read_number(text).and_then(|tail| tail.try_into().ok()).ok_or_else(|| "a number".to_owned())
}

fn limit(text: &str) -> Result<usize, String> {
    let limit = text.parse().ok().filter(|limit| (1..=MOST_ON_A_PAGE).contains(limit));
    limit.ok_or_else(|| format!("a number from 1 to {MOST_ON_A_PAGE}"))
}

/// Not looked up: what happened to a session that is gone can be asked for, too.
fn session(text: &str) -> Result<String, String> {
    match text.parse::<SessionName>() {
        Ok(_) => Ok(text.to_owned()),
        Err(_) => Err(format!("{:?} is neither an id, the beginning of one, nor a name", shown(text))),
    }
}

fn backend(text: &str) -> Result<BackendName, String> {
    text.parse().map_err(|error: seawall_model::InvalidName| error.to_string())
}

fn kind(text: &str) -> Result<String, String> {
    if !text.is_empty() && EVENT_KINDS.iter().any(|kind| kind.starts_with(text)) {
        return Ok(text.to_owned());
    }
    let near = nearest(text, EVENT_KINDS.iter().copied());
    let near = near.map_or_else(String::new, |near| format!("; did you mean `{near}`?"));
    let groups: BTreeSet<_> = EVENT_KINDS.iter().filter_map(|kind| kind.split_inclusive('.').next()).collect();
    let groups: Vec<_> = groups.into_iter().collect();
    Err(format!("no kind of event begins with {:?}{near} (all begin with one of: {})", shown(text), groups.join(", ")))
}

/// As serde says it.
fn unknown(key: &str) -> String {
    let known =
        ["follow", "since", "until", "tail", "limit", "session", "backend", "kind"].map(|key| format!("`{key}`"));
    format!("unknown field `{key}`, expected one of {}", known.join(", "))
}
