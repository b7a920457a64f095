//! The id by which what was done for one cause is found again, in the log and in answers.

use std::fmt;
use std::num::NonZeroU128;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::InvalidName;

/// Names a trace: everything that a request, a sweep, a check or a worker did for one cause. As in W3C Trace Context: 16
/// bytes that are not all zero, written as 32 lower-case hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema), schema(value_type = String, pattern = "^[0-9a-f]{32}$"))]
pub struct TraceId(NonZeroU128);

impl TraceId {
    /// A new one.
    pub fn random() -> Self {
        Self(NonZeroU128::new(rand::random()).unwrap_or(NonZeroU128::MIN))
    }

    /// As it is sent.
    pub fn to_bytes(self) -> [u8; 16] {
        self.0.get().to_be_bytes()
    }
}

impl FromStr for TraceId {
    type Err = InvalidName;

    fn from_str(text: &str) -> Result<Self, InvalidName> {
        let digits = text.len() == 32 && text.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
        let number = if digits { u128::from_str_radix(text, 16).ok() } else { None };
        let rule = "32 lower-case hexadecimal digits that are not all 0";
        number.and_then(NonZeroU128::new).map(Self).ok_or_else(|| InvalidName::new("trace id", text, rule))
    }
}

impl fmt::Display for TraceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

impl fmt::Debug for TraceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for TraceId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for TraceId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_trace_id_reads_back_and_nothing_else_is_one() {
        let id = TraceId::random();
        assert_eq!(id.to_string().parse(), Ok(id));
        assert_eq!(format!("{:0>32}", "7").parse::<TraceId>().unwrap().to_string(), format!("{:0>32}", "7"));
        let zeros = "0".repeat(32);
        let capitals = "A".repeat(32);
        let sign = format!("+{}", "a".repeat(31));
        for text in ["", "7", &zeros, &capitals, &sign, &"a".repeat(33), &"ä".repeat(16)] {
            assert!(text.parse::<TraceId>().is_err(), "{text}");
        }
    }
}
