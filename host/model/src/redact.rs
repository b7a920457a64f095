//! Values that must not be shown.

use std::fmt;

use serde::{Deserialize, Serialize};

/// A text that `Debug` and `Display` do not give away. Serialising does: the store needs it. What is shown to users
/// goes through [`SessionSpec::redacted`](crate::SessionSpec::redacted) first.
#[derive(Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema), schema(value_type = String))]
#[serde(transparent)]
pub struct Secret(Box<str>);

impl Secret {
    /// What stands in its place.
    pub const REDACTED: &'static str = "[redacted]";

    /// Wraps a text.
    pub fn new(text: impl Into<Box<str>>) -> Self {
        Self(text.into())
    }

    /// The text itself. Only for handing it to the workload.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(Self::REDACTED)
    }
}

impl fmt::Display for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(Self::REDACTED)
    }
}
