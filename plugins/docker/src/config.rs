//! The backend's configuration: what a session is given that asks for no limit of its own.

use seawall_sdk::Size;
use serde::de::{Deserializer, Error as _, Visitor};
use serde::{Deserialize, de};

/// The table `[backend.NAME.config]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Memory of a session that names no limit; `none` for no limit.
    #[serde(deserialize_with = "memory")]
    pub memory: Option<u64>,
    /// Processors, in thousandths; `none` for no limit.
    #[serde(rename = "cpus", deserialize_with = "cpus")]
    pub cpu_millis: Option<u32>,
}

impl Default for Config {
    /// 2 GiB and 2 processors, as in the system that this backend replaces.
    fn default() -> Self {
        Self { memory: Some(2 << 30), cpu_millis: Some(2_000) }
    }
}

/// The word for no limit.
const NONE: &str = "none";

fn memory<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<u64>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Given<'a> {
        Bytes(u64),
        Text(std::borrow::Cow<'a, str>),
    }
    match Given::deserialize(deserializer)? {
        Given::Bytes(bytes) => Ok(Some(bytes)),
        Given::Text(text) if text == NONE => Ok(None),
        Given::Text(text) => text.parse().map(|size: Size| Some(size.0)).map_err(D::Error::custom),
    }
}

fn cpus<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<u32>, D::Error> {
    struct Cpus;

    impl Visitor<'_> for Cpus {
        type Value = Option<u32>;

        fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str("a number of processors such as 1.5, or \"none\"")
        }

        fn visit_u64<E: de::Error>(self, cpus: u64) -> Result<Option<u32>, E> {
            let millis = cpus.checked_mul(1_000).and_then(|millis| u32::try_from(millis).ok()).filter(|n| *n > 0);
            millis.map(Some).ok_or_else(|| E::custom("the number of processors is out of range"))
        }

        fn visit_f64<E: de::Error>(self, cpus: f64) -> Result<Option<u32>, E> {
            if !(0.001..=100_000.0).contains(&cpus) {
                return Err(E::custom("the number of processors is out of range"));
            }
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "the range was just checked")]
            let millis = (cpus * 1_000.0) as u32;
            Ok(Some(millis))
        }

        fn visit_str<E: de::Error>(self, text: &str) -> Result<Option<u32>, E> {
            if text == NONE { Ok(None) } else { Err(E::invalid_value(de::Unexpected::Str(text), &self)) }
        }
    }

    deserializer.deserialize_any(Cpus)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(json: &str) -> Result<Config, serde_json::Error> {
        serde_json::from_str(json)
    }

    #[test]
    fn limits_have_defaults_that_can_be_changed_and_taken_away() {
        assert_eq!(read("{}").unwrap(), Config { memory: Some(2 << 30), cpu_millis: Some(2_000) });
        let changed = read(r#"{"memory": "512MiB", "cpus": 0.5}"#).unwrap();
        assert_eq!(changed, Config { memory: Some(512 << 20), cpu_millis: Some(500) });
        let none = read(r#"{"memory": "none", "cpus": "none"}"#).unwrap();
        assert_eq!(none, Config { memory: None, cpu_millis: None });
        assert_eq!(read(r#"{"memory": 1024, "cpus": 4}"#).unwrap().cpu_millis, Some(4_000));
    }

    #[test]
    fn what_is_no_limit_is_refused() {
        for bad in [r#"{"memory": "lots"}"#, r#"{"cpus": 0}"#, r#"{"cpus": -1}"#, r#"{"cpus": "2"}"#, r#"{"cpu": 2}"#] {
            assert!(read(bad).is_err(), "{bad}");
        }
    }
}
