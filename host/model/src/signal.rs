//! Signals, by Linux number or by name.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A Linux signal, 1 to 64. Reads as `TERM`, `SIGTERM` or `15`; writes as `SIGTERM`.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Signal(u8);

/// Not a signal.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no signal: write a name such as TERM or a number from 1 to 64")]
pub struct InvalidSignal(String);

/// signal(7), the numbers of x86 and ARM.
pub(crate) const NAMES: [&str; 31] = [
    "HUP", "INT", "QUIT", "ILL", "TRAP", "ABRT", "BUS", "FPE", "KILL", "USR1", "SEGV", "USR2", "PIPE", "ALRM", "TERM",
    "STKFLT", "CHLD", "CONT", "STOP", "TSTP", "TTIN", "TTOU", "URG", "XCPU", "XFSZ", "VTALRM", "PROF", "WINCH", "IO",
    "PWR", "SYS",
];

impl Signal {
    /// What daemons read their configuration again for.
    pub const HUP: Self = Self(1);
    /// What a polite stop begins with.
    pub const TERM: Self = Self(15);
    /// What cannot be refused.
    pub const KILL: Self = Self(9);

    /// The Linux number.
    pub fn number(self) -> u8 {
        self.0
    }

    /// From a Linux number.
    ///
    /// # Errors
    /// Outside 1 to 64.
    pub fn from_number(number: u32) -> Result<Self, InvalidSignal> {
        match u8::try_from(number) {
            Ok(n @ 1..=64) => Ok(Self(n)),
            _ => Err(InvalidSignal(number.to_string())),
        }
    }
}

impl FromStr for Signal {
    type Err = InvalidSignal;

    fn from_str(text: &str) -> Result<Self, InvalidSignal> {
        let refuse = || InvalidSignal(text.chars().take(40).collect());
        if let Ok(number) = text.parse::<u32>() {
            return Self::from_number(number);
        }
        let upper = text.to_ascii_uppercase();
        let name = upper.strip_prefix("SIG").unwrap_or(&upper);
        let at = NAMES.iter().position(|known| *known == name).ok_or_else(refuse)?;
        u8::try_from(at + 1).map(Self).map_err(|_| refuse())
    }
}

impl fmt::Display for Signal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match NAMES.get(usize::from(self.0) - 1) {
            Some(name) => write!(f, "SIG{name}"),
            None => write!(f, "{}", self.0),
        }
    }
}

impl fmt::Debug for Signal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for Signal {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Signal {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_signal_reads_back_as_it_is_written() {
        for number in 1..=64 {
            let signal = Signal::from_number(number).unwrap();
            assert_eq!(signal.to_string().parse(), Ok(signal));
        }
        assert_eq!("kill".parse(), Ok(Signal::KILL));
        assert_eq!("SIGTERM".parse(), Ok(Signal::TERM));
        for bad in ["", "0", "65", "-9", "SIGFOO", "99999999999"] {
            assert!(bad.parse::<Signal>().is_err(), "{bad}");
        }
    }
}
