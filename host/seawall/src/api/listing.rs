//! Which sessions `GET /v1/sessions` gives, and in which pages.

use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;

use axum::http::HeaderValue;
use seawall_control::Glance;
use seawall_model::{BackendName, Health, SessionId, SessionState, Timestamp};
use serde::de::IntoDeserializer as _;
use serde::de::value::Error as NoSuchWord;
use utoipa::IntoParams;

use super::respond::shown;
use crate::config::suggest;
use crate::problem::{Kind, Problem};

/// Which sessions are asked for. Of `state`, `backend`, `health` and `name` any value fits; of `label` each has to.
#[derive(Clone, Debug, Default, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct Listing {
    /// Those that are over as well.
    #[param(required = false, default = false)]
    all: bool,
    /// Those in this state, over or not. May be given several times.
    #[param(required = false)]
    state: Vec<SessionState>,
    /// Those of this backend. May be given several times.
    #[param(required = false)]
    backend: Vec<BackendName>,
    /// Those that have this label (`key`), or have it with this value (`key=value`). May be given several times.
    #[param(required = false)]
    label: Vec<String>,
    /// Those of this health. May be given several times.
    #[param(required = false)]
    health: Vec<Health>,
    /// Those whose name has this in it. May be given several times.
    #[param(required = false)]
    name: Vec<String>,
    /// At most so many; the header `Link` then leads to the next page. Absent: all of them.
    #[param(required = false, minimum = 1, maximum = 1000)]
    limit: Option<usize>,
    /// Where the page before ended, as its `Link` says.
    #[param(
        required = false, value_type = Option<String>, pattern = "^[0-9]{1,18}-[0-9a-f]{16}$",
        example = "1769860800000-45aa47856c6865a3"
    )]
    after: Option<Place>,
}

/// Where a page ends: sessions are in the order of when they were asked for.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Place(Timestamp, SessionId);

/// The largest page.
const MOST_ON_A_PAGE: usize = 1000;
/// Values of one parameter that may be given several times.
const MOST_VALUES: usize = 100;

impl Listing {
    /// Reads the parameters.
    ///
    /// # Errors
    /// The parameter at fault.
    pub(super) fn read(pairs: &[(String, String)]) -> Result<Self, Problem> {
        let mut listing = Self::default();
        let mut once = BTreeSet::new();
        for (key, value) in pairs {
            let wrong = |message: String| Problem::field(Kind::Malformed, shown(key), message);
            if matches!(key.as_str(), "all" | "limit" | "after") && !once.insert(key.as_str()) {
                return Err(wrong("given twice".to_owned()));
            }
            match key.as_str() {
                "all" => listing.all = value.parse().map_err(|_| wrong("true or false".to_owned()))?,
                "state" => listing.state.push(word(value).map_err(wrong)?),
                "backend" => {
                    listing.backend.push(value.parse().map_err(|e: seawall_model::InvalidName| wrong(e.to_string()))?);
                }
                "label" => listing.label.push(value.clone()),
                "health" => listing.health.push(word(value).map_err(wrong)?),
                "name" => listing.name.push(value.clone()),
                "limit" => {
                    let limit = value.parse().ok().filter(|limit| (1..=MOST_ON_A_PAGE).contains(limit));
                    let message = || wrong(format!("a number from 1 to {MOST_ON_A_PAGE}"));
                    listing.limit = Some(limit.ok_or_else(message)?);
                }
                "after" => {
                    let message = || wrong(format!("{:?} is not what a page's `Link` has", shown(value)));
                    listing.after = Some(Place::read(value).ok_or_else(message)?);
                }
                _ => return Err(wrong(suggest(&unknown(&shown(key))))),
            }
            let values = [listing.state.len(), listing.backend.len(), listing.label.len(), listing.health.len()];
            if values.into_iter().chain([listing.name.len()]).any(|values| values > MOST_VALUES) {
                return Err(wrong(format!("at most {MOST_VALUES} times")));
            }
        }
        Ok(listing)
    }

    fn wants(&self, session: &Glance<'_>) -> bool {
        let any = |empty: bool, fits: bool| empty || fits;
        (self.all || !self.state.is_empty() || !session.state.is_final())
            && any(self.state.is_empty(), self.state.contains(&session.state))
            && any(self.backend.is_empty(), self.backend.contains(session.backend))
            && any(self.health.is_empty(), self.health.contains(&session.health))
            && any(self.name.is_empty(), self.name.iter().any(|part| session.name.as_str().contains(part.as_str())))
            && self.label.iter().all(|label| match label.split_once('=') {
                Some((key, value)) => session.labels.get(key).is_some_and(|has| has == value),
                None => session.labels.contains_key(label),
            })
    }

    /// An empty page.
    pub(super) fn page(&self) -> Page<'_> {
        Page { listing: self, taken: Cell::new(0), last: RefCell::new(None), more: Cell::new(false) }
    }

    /// The same question about what comes later, as RFC 8288 has it.
    fn link(&self, after: &Place) -> Option<HeaderValue> {
        let mut query = form(&[("after", &format!("{}-{}", after.0.as_millis(), after.1))]);
        let mut add = |key: &str, value: &str| {
            query.push('&');
            query.push_str(&form(&[(key, value)]));
        };
        if self.all {
            add("all", "true");
        }
        self.state.iter().for_each(|state| add("state", state.as_str()));
        self.backend.iter().for_each(|backend| add("backend", backend.as_str()));
        self.label.iter().for_each(|label| add("label", label));
        self.health.iter().for_each(|health| add("health", spelt(*health)));
        self.name.iter().for_each(|name| add("name", name));
        self.limit.iter().for_each(|limit| add("limit", &limit.to_string()));
        HeaderValue::from_str(&format!("</v1/sessions?{query}>; rel=\"next\"")).ok()
    }
}

/// A page that is being filled with sessions, oldest first.
pub(super) struct Page<'a> {
    listing: &'a Listing,
    taken: Cell<usize>,
    last: RefCell<Option<Place>>,
    more: Cell<bool>,
}

impl Page<'_> {
    /// Whether this session is on it.
    pub(super) fn takes(&self, session: &Glance<'_>) -> bool {
        let place = (session.created_at, session.id);
        let before = self.listing.after.as_ref().is_some_and(|after| place <= (after.0, &after.1));
        if self.more.get() || before || !self.listing.wants(session) {
            return false;
        }
        let Some(limit) = self.listing.limit else { return true };
        if self.taken.get() >= limit {
            self.more.set(true);
            return false;
        }
        self.taken.set(self.taken.get() + 1);
        if self.taken.get() == limit {
            self.last.replace(Some(Place(session.created_at, session.id.clone())));
        }
        true
    }

    /// `Link` to the next page, if there is one.
    pub(super) fn next(&self) -> Option<HeaderValue> {
        let last = self.last.borrow();
        last.as_ref().filter(|_| self.more.get()).and_then(|last| self.listing.link(last))
    }
}

impl Place {
    fn read(text: &str) -> Option<Self> {
        let (millis, id) = text.split_once('-')?;
        let digits = millis.len() <= 18 && millis.bytes().all(|byte| byte.is_ascii_digit());
        let millis = if digits { millis.parse().ok()? } else { return None };
        Some(Self(Timestamp::from_millis(millis), id.parse().ok()?))
    }
}

/// A word of an enum, as in the answers.
fn word<T: for<'de> serde::Deserialize<'de>>(text: &str) -> Result<T, String> {
    let read = T::deserialize(text.into_deserializer());
    read.map_err(|error: NoSuchWord| shown(&suggest(&error.to_string())))
}

fn spelt(health: Health) -> &'static str {
    match health {
        Health::Healthy => "healthy",
        Health::Unhealthy => "unhealthy",
        Health::Starting => "starting",
        Health::Unknown => "unknown",
    }
}

/// `key=value`, with everything escaped that a query or a `Link` would read in another way.
fn form(pairs: &[(&str, &str)]) -> String {
    let escape = |text: &str| -> String {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.' | b'~');
        text.bytes().map(|b| if plain(b) { char::from(b).to_string() } else { format!("%{b:02X}") }).collect()
    };
    let pairs: Vec<_> = pairs.iter().map(|(key, value)| format!("{}={}", escape(key), escape(value))).collect();
    pairs.join("&")
}

/// As serde says it.
fn unknown(key: &str) -> String {
    let known = ["all", "state", "backend", "label", "health", "name", "limit", "after"].map(|key| format!("`{key}`"));
    format!("unknown field `{key}`, expected one of {}", known.join(", "))
}
