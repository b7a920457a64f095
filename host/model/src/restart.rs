//! What happens when a session ends by itself: whether it is started again, how soon, and how often.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::SessionSpec;

/// What happens when a session ends by itself. Written `never`, `on-failure`, `on-failure:5` or `always`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum RestartPolicy {
    /// It stays as it ended.
    #[default]
    Never,
    /// Another incarnation unless it ended with 0.
    OnFailure {
        /// At most this many in a row; `None` is no bound.
        max: Option<u32>,
    },
    /// Another incarnation however it ended.
    Always,
}

impl FromStr for RestartPolicy {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.split_once(':') {
            None if text == "never" || text == "no" => Ok(Self::Never),
            None if text == "on-failure" => Ok(Self::OnFailure { max: None }),
            None if text == "always" => Ok(Self::Always),
            Some(("on-failure", max)) => match max.parse() {
                Ok(max) if max > 0 => Ok(Self::OnFailure { max: Some(max) }),
                _ => Err(format!("{max:?} is no number of restarts: write on-failure:5")),
            },
            _ if text == "unless-stopped" => Err(
                "unless-stopped: write always, which does not bring back what was stopped by hand, also not when the \
                 daemon starts"
                    .to_owned(),
            ),
            _ => Err(format!("{text:?} is no restart policy: write never, on-failure, on-failure:5 or always")),
        }
    }
}

impl fmt::Display for RestartPolicy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Never => f.write_str("never"),
            Self::OnFailure { max: None } => f.write_str("on-failure"),
            Self::OnFailure { max: Some(max) } => write!(f, "on-failure:{max}"),
            Self::Always => f.write_str("always"),
        }
    }
}

impl Serialize for RestartPolicy {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for RestartPolicy {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

/// How long the restart policy waits between two starts: drawn between zero and a delay that doubles with each failure.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(default, deny_unknown_fields)]
pub struct RestartBackoff {
    /// The delay after the first failure.
    #[serde(with = "humantime_serde::option", skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schema(value_type = Option<crate::schema::Span>))]
    pub first: Option<Duration>,
    /// Never more than this.
    #[serde(with = "humantime_serde::option", skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schema(value_type = Option<crate::schema::Span>))]
    pub most: Option<Duration>,
    /// One that ran for so long begins anew, also with the count of `on-failure:N`.
    #[serde(with = "humantime_serde::option", skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schema(value_type = Option<crate::schema::Span>))]
    pub reset: Option<Duration>,
}

impl RestartBackoff {
    pub(crate) fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// How often the restart policy may start a session, however long it ran each time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct RestartBudget {
    /// So many restarts; one more leaves it as it ended.
    #[cfg_attr(feature = "schema", schema(minimum = 1, maximum = 100))]
    pub restarts: u32,
    /// Within any time as long as this.
    #[serde(with = "humantime_serde")]
    #[cfg_attr(feature = "schema", schema(value_type = crate::schema::Span))]
    pub within: Duration,
}

/// The times of as many restarts are kept.
const MOST_RESTARTS: u32 = 100;
/// Anything shorter is a busy loop.
const SHORTEST: Duration = Duration::from_millis(10);
const DAY: Duration = Duration::from_secs(24 * 3600);

/// Checks what types cannot say.
pub(crate) fn check(spec: &SessionSpec, refuse: &mut impl FnMut(String, &str)) {
    let RestartBackoff { first, most, reset } = spec.restart_backoff;
    for (field, value) in [("first", first), ("most", most)] {
        if value.is_some_and(|value| !(SHORTEST..=DAY).contains(&value)) {
            refuse(format!("restart_backoff.{field}"), "between 10ms and 1 day");
        }
    }
    if first > most && most.is_some() {
        refuse("restart_backoff.most".to_owned(), "at least `first`");
    }
    if reset.is_some_and(|reset| reset > DAY) {
        refuse("restart_backoff.reset".to_owned(), "at most 1 day");
    }
    if let Some(RestartBudget { restarts, within }) = spec.restart_budget {
        if !(1..=MOST_RESTARTS).contains(&restarts) {
            refuse("restart_budget.restarts".to_owned(), "between 1 and 100; `restart = \"never\"` is none");
        }
        if !(Duration::from_secs(1)..=30 * DAY).contains(&within) {
            refuse("restart_budget.within".to_owned(), "between 1s and 30 days");
        }
    }
    if spec.restart == RestartPolicy::Never {
        let nothing = "nothing restarts it: `restart` is never";
        if !spec.restart_backoff.is_empty() {
            refuse("restart_backoff".to_owned(), nothing);
        }
        if spec.restart_budget.is_some() {
            refuse("restart_budget".to_owned(), nothing);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn restart_policies_read_back() {
        for text in ["never", "on-failure", "on-failure:3", "always"] {
            assert_eq!(text.parse::<RestartPolicy>().unwrap().to_string(), text);
        }
        for bad in ["", "sometimes", "on-failure:0", "on-failure:-1", "on-failure:x", "always:3"] {
            assert!(bad.parse::<RestartPolicy>().is_err(), "{bad}");
        }
        let refused = "unless-stopped".parse::<RestartPolicy>().unwrap_err();
        assert!(refused.starts_with("unless-stopped: write always"), "{refused}");
    }

    fn fields(json: serde_json::Value) -> Vec<String> {
        let mut spec = serde_json::json!({"backend": "mock"});
        spec.as_object_mut().unwrap().extend(json.as_object().unwrap().clone());
        let spec: SessionSpec = serde_json::from_value(spec).unwrap();
        let problems = spec.validate().err().map(|invalid| invalid.problems).unwrap_or_default();
        problems.into_iter().map(|problem| problem.field).collect()
    }

    #[test]
    fn backoff_and_budget_have_bounds_and_something_to_bound() {
        let (backoff, budget) = ("restart_backoff", "restart_budget");
        let good = serde_json::json!({"restart": "always", backoff: {"first": "1s", "most": "1s", "reset": "0s"},
                                      budget: {"restarts": 1, "within": "30days"}});
        assert_eq!(fields(good), [""; 0]);
        let idle = serde_json::json!({backoff: {"first": "1s"}, budget: {"restarts": 1, "within": "1m"}});
        assert_eq!(fields(idle), [backoff, budget]);
        let bad = serde_json::json!({"restart": "on-failure", backoff: {"first": "1ms", "most": "2days", "reset": "2days"},
                                     budget: {"restarts": 0, "within": "0s"}});
        let said = fields(bad);
        let all = [
            "restart_backoff.first",
            "restart_backoff.most",
            "restart_backoff.reset",
            "restart_budget.restarts",
            "restart_budget.within",
        ];
        assert_eq!(said, all);
        let turned = serde_json::json!({"restart": "always", backoff: {"first": "2s", "most": "1s"}});
        assert_eq!(fields(turned), ["restart_backoff.most"]);
    }
}
