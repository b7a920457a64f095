//! Classes of calls: what shares a budget.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::stack::Refuse;

/// What kind of call it is. Budgets and deadlines are set for each.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Class {
    /// `describe` and `check`.
    Check,
    /// `inspect` and `list`.
    Observe,
    /// `create`, `start`, `signal`, `remove`.
    Control,
    /// What may take minutes, such as pulling an image.
    Long,
    /// Opening a stream. The stream itself has no deadline.
    Stream,
}

impl Class {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Check, Self::Observe, Self::Control, Self::Long, Self::Stream];

    /// The word used in configuration, logs and metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Check => "check",
            Self::Observe => "observe",
            Self::Control => "control",
            Self::Long => "long",
            Self::Stream => "stream",
        }
    }
}

/// How long a whole call may take, host calls included, by class.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(default, deny_unknown_fields)]
pub struct Deadlines {
    /// `describe` and `check`. Default 10 s.
    #[serde(with = "humantime_serde")]
    #[cfg_attr(feature = "schema", schema(value_type = seawall_model::schema::Span))]
    pub check: Duration,
    /// `inspect` and `list`. Default 10 s.
    #[serde(with = "humantime_serde")]
    #[cfg_attr(feature = "schema", schema(value_type = seawall_model::schema::Span))]
    pub observe: Duration,
    /// `create`, `start`, `signal` and `remove`. Default 2 min.
    #[serde(with = "humantime_serde")]
    #[cfg_attr(feature = "schema", schema(value_type = seawall_model::schema::Span))]
    pub control: Duration,
    /// What may take minutes, such as pulling an image. Default 10 min.
    #[serde(with = "humantime_serde")]
    #[cfg_attr(feature = "schema", schema(value_type = seawall_model::schema::Span))]
    pub long: Duration,
    /// Opening a stream, which then has no deadline. Default 10 s.
    #[serde(with = "humantime_serde")]
    #[cfg_attr(feature = "schema", schema(value_type = seawall_model::schema::Span))]
    pub stream: Duration,
}

impl Default for Deadlines {
    fn default() -> Self {
        Self {
            check: Duration::from_secs(10),
            observe: Duration::from_secs(10),
            control: Duration::from_secs(120),
            long: Duration::from_secs(600),
            stream: Duration::from_secs(10),
        }
    }
}

impl Deadlines {
    pub(crate) fn check(&self, refuse: Refuse<'_>) {
        for class in Class::ALL {
            let deadline = self.of(class);
            if deadline < Duration::from_millis(1) || deadline > Duration::from_secs(24 * 3600) {
                refuse(&format!("deadlines.{}", class.as_str()), "between 1ms and 1 day");
            }
        }
    }

    /// The one for this class.
    pub fn of(&self, class: Class) -> Duration {
        match class {
            Class::Check => self.check,
            Class::Observe => self.observe,
            Class::Control => self.control,
            Class::Long => self.long,
            Class::Stream => self.stream,
        }
    }
}
