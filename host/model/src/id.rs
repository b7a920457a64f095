//! Identifiers. Each is checked once, where it enters, and is valid for ever after.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize};

/// Why a text is no identifier.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{what} {given:?} is not valid: it must be {rule}")]
pub struct InvalidName {
    what: &'static str,
    given: String,
    rule: &'static str,
}

impl InvalidName {
    pub(crate) fn new(what: &'static str, given: &str, rule: &'static str) -> Self {
        // A name of a megabyte must not become a message of a megabyte.
        let given = given.chars().take(80).collect();
        Self { what, given, rule }
    }
}

macro_rules! text_id {
    ($(#[$doc:meta])* $name:ident, $what:literal, $rule:literal, $pattern:literal, $valid:expr) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
        #[cfg_attr(feature = "schema", derive(utoipa::ToSchema), schema(value_type = String, pattern = $pattern))]
        #[serde(transparent)]
        pub struct $name(Arc<str>);

        impl $name {
            /// The text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $name {
            type Err = InvalidName;

            fn from_str(text: &str) -> Result<Self, InvalidName> {
                let valid: fn(&str) -> bool = $valid;
                if valid(text) { Ok(Self(text.into())) } else { Err(InvalidName::new($what, text, $rule)) }
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Debug::fmt(&self.0, f)
            }
        }
    };
}

text_id!(
    /// Names a session for ever: 16 lower-case hexadecimal digits, chosen at random by the host.
    SessionId, "session id", "16 lower-case hexadecimal digits", "^[0-9a-f]{16}$", |t| is_hex(t, 16)
);

text_id!(
    /// A user's name for a session; unique on one host while the session exists. The rule is Docker's for container
    /// names, with an upper bound.
    SessionName,
    "session name",
    "2 to 63 characters of a-z A-Z 0-9 _ . - that begin with a letter or digit",
    "^[a-zA-Z0-9][a-zA-Z0-9_.-]{1,62}$",
    |t| (2..=63).contains(&t.len())
        && t.starts_with(|c: char| c.is_ascii_alphanumeric())
        && t.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'-'))
);

text_id!(
    /// The name of a configured backend, as in `[backend.docker]`.
    BackendName,
    "backend name",
    "1 to 32 characters of a-z 0-9 - that begin with a letter",
    "^[a-z][a-z0-9-]{0,31}$",
    |t| (1..=32).contains(&t.len())
        && t.starts_with(|c: char| c.is_ascii_lowercase())
        && t.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
);

text_id!(
    /// Born with a data directory: 8 lower-case hexadecimal digits. It is part of the name and the stamp of every
    /// workload, so that two daemons on one engine never take each other's for their own.
    StoreId, "store id", "8 lower-case hexadecimal digits", "^[0-9a-f]{8}$", |t| is_hex(t, 8)
);

fn is_hex(text: &str, digits: usize) -> bool {
    text.len() == digits && text.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
}

impl SessionId {
    /// A new one. 64 random bits; the store refuses the improbable second use.
    pub fn random() -> Self {
        Self(format!("{:016x}", rand::random::<u64>()).into())
    }

    /// The first 12 digits, as people are shown them.
    pub fn short(&self) -> &str {
        self.0.get(..12).unwrap_or(&self.0)
    }
}

impl StoreId {
    /// A new one.
    pub fn random() -> Self {
        Self(format!("{:08x}", rand::random::<u32>()).into())
    }
}

/// Counts the starts of a session, from 1. 0 means that it was never started.
pub type Incarnation = u64;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_follow_their_rules() {
        for good in ["ab", "a.b_c-d", "0x", &"a".repeat(63)] {
            assert!(good.parse::<SessionName>().is_ok(), "{good}");
        }
        for bad in ["", "a", "-a", "a b", "a/b", "a\n", "ä1", &"a".repeat(64)] {
            assert!(bad.parse::<SessionName>().is_err(), "{bad:?}");
        }
        for bad in ["", "A", "1a", "a_b", "a.b", &"a".repeat(33)] {
            assert!(bad.parse::<BackendName>().is_err(), "{bad:?}");
        }
        for bad in ["", "0123456789abcdeF", "0123456789abcde", "0123456789abcdef0", "../../../../etc/"] {
            assert!(bad.parse::<SessionId>().is_err(), "{bad:?}");
        }
        assert!(SessionId::random().as_str().parse::<SessionId>().is_ok());
        assert!(StoreId::random().as_str().parse::<StoreId>().is_ok());
    }

    #[test]
    fn a_huge_name_gives_a_small_message() {
        let error = "x y".repeat(1 << 20).parse::<SessionName>().unwrap_err();
        assert!(error.to_string().len() < 300);
    }
}
