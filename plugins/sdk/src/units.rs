//! Durations and sizes as people write them in configuration and options.

use core::fmt;

use serde::de::{Deserialize, Deserializer, Error as _, Visitor};

/// Not a number with a known unit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnitError(&'static str);

impl fmt::Display for UnitError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

impl core::error::Error for UnitError {}

/// A duration in milliseconds. Reads a number of milliseconds, or text such as `250ms`, `2s`, `1m 30s`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Millis(pub u64);

/// A number of bytes. Reads a number, or text such as `64MiB`, `1.5GB`, `512m`; as in Docker, the short units are binary.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Size(pub u64);

impl core::str::FromStr for Millis {
    type Err = UnitError;

    fn from_str(text: &str) -> Result<Self, UnitError> {
        const BAD: UnitError = UnitError("not a duration: write it like 250ms, 2s or 1m 30s");
        let mut rest = text.trim();
        if rest.is_empty() {
            return Err(BAD);
        }
        let mut total = 0u64;
        while !rest.is_empty() {
            let digits = rest.find(|c: char| !c.is_ascii_digit()).ok_or(BAD)?;
            let (number, after) = rest.split_at(digits);
            let number: u64 = number.parse().map_err(|_| BAD)?;
            let end = after.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(after.len());
            let (unit, after) = after.split_at(end);
            let millis = match unit {
                "ms" => 1,
                "s" | "sec" => 1_000,
                "m" | "min" => 60_000,
                "h" => 3_600_000,
                "d" => 86_400_000,
                _ => return Err(BAD),
            };
            total = number.checked_mul(millis).and_then(|part| total.checked_add(part)).ok_or(BAD)?;
            rest = after.trim_start();
        }
        Ok(Self(total))
    }
}

impl core::str::FromStr for Size {
    type Err = UnitError;

    fn from_str(text: &str) -> Result<Self, UnitError> {
        const BAD: UnitError = UnitError("not a size: write it like 64MiB, 1GB or 4096");
        let text = text.trim();
        let end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
        let (number, unit) = text.split_at(end);
        let scale: u64 = match unit.trim_start().to_ascii_lowercase().as_str() {
            "" | "b" => 1,
            "k" | "kib" => 1 << 10,
            "m" | "mib" => 1 << 20,
            "g" | "gib" => 1 << 30,
            "t" | "tib" => 1 << 40,
            "kb" => 1_000,
            "mb" => 1_000_000,
            "gb" => 1_000_000_000,
            "tb" => 1_000_000_000_000,
            _ => return Err(BAD),
        };
        // Exact, without floating point: whole units, and up to nine digits of a fraction.
        let (whole, fraction) = number.split_once('.').unwrap_or((number, "0"));
        let whole: u64 = whole.parse().map_err(|_| BAD)?;
        let fraction_digits = u32::try_from(fraction.len()).map_err(|_| BAD)?;
        if !(1..=9).contains(&fraction_digits) {
            return Err(BAD);
        }
        let fraction: u64 = fraction.parse().map_err(|_| BAD)?;
        let part = u128::from(fraction) * u128::from(scale) / u128::from(10u64.pow(fraction_digits));
        let part = u64::try_from(part).map_err(|_| BAD)?;
        whole.checked_mul(scale).and_then(|bytes| bytes.checked_add(part)).map(Self).ok_or(BAD)
    }
}

macro_rules! number_or_text {
    ($ty:ident, $expecting:literal) => {
        impl<'de> Deserialize<'de> for $ty {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                struct NumberOrText;

                impl Visitor<'_> for NumberOrText {
                    type Value = $ty;

                    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                        f.write_str($expecting)
                    }

                    fn visit_u64<E: serde::de::Error>(self, number: u64) -> Result<$ty, E> {
                        Ok($ty(number))
                    }

                    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<$ty, E> {
                        text.parse().map_err(E::custom)
                    }
                }

                deserializer.deserialize_any(NumberOrText).map_err(D::Error::custom)
            }
        }
    };
}

number_or_text!(Millis, "a duration such as \"2s\" or a number of milliseconds");
number_or_text!(Size, "a size such as \"64MiB\" or a number of bytes");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_read_as_people_write_them() {
        for (text, millis) in [("0s", 0), ("250ms", 250), ("2s", 2_000), ("1m 30s", 90_000), ("1m30s", 90_000)] {
            assert_eq!(text.parse(), Ok(Millis(millis)), "{text}");
        }
        for bad in ["", "5", "s", "1.5s", "-1s", "5 s", "99999999999999999999s", "18446744073709551615d"] {
            assert!(bad.parse::<Millis>().is_err(), "{bad}");
        }
        assert_eq!(serde_json::from_str::<Millis>("1500").unwrap(), Millis(1500));
        assert_eq!(serde_json::from_str::<Millis>("\"2s\"").unwrap(), Millis(2000));
        assert!(serde_json::from_str::<Millis>("-1").is_err());
    }

    #[test]
    fn sizes_read_as_docker_reads_them() {
        for (text, bytes) in [
            ("0", 0),
            ("4096", 4096),
            ("64MiB", 64 << 20),
            ("64m", 64 << 20),
            ("1GB", 1_000_000_000),
            ("1.5g", 3 << 29),
        ] {
            assert_eq!(text.parse(), Ok(Size(bytes)), "{text}");
        }
        for bad in ["", "MiB", "-1", "12 parsecs", "1.", ".5g", "99999999999g", "1.0000000000g"] {
            assert!(bad.parse::<Size>().is_err(), "{bad}");
        }
    }
}
