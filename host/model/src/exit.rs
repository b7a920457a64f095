//! How a workload ended (A3).

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::Timestamp;

/// How a workload ended. Without code and signal nobody can say: never 0, never -1.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct Exit {
    /// What the first process returned, 0 to 255.
    pub code: Option<u8>,
    /// The signal that ended it, 1 to 64.
    pub signal: Option<u8>,
    /// The kernel killed it for want of memory.
    pub oom: bool,
    /// In words, where there are any.
    pub message: Option<String>,
    /// When. Shown as `finished_at` of the session.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at: Option<Timestamp>,
}

impl Exit {
    /// Ended with 0, and nobody had to kill it.
    pub fn success(&self) -> bool {
        self.code == Some(0) && self.signal.is_none() && !self.oom
    }

    /// Nobody can say how it ended.
    pub fn unknown(&self) -> bool {
        self.code.is_none() && self.signal.is_none() && !self.oom
    }

    /// What a shell would return for it: the code, or 128 and the signal. `None` if nobody can say.
    pub fn shell_code(&self) -> Option<u8> {
        self.code.or_else(|| self.signal.map(|signal| 128 + (signal & 0x7f)))
    }
}

impl fmt::Display for Exit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.code, self.signal) {
            _ if self.oom => f.write_str("killed for want of memory"),
            (_, Some(signal)) => write!(f, "killed by signal {signal}"),
            (Some(code), None) => write!(f, "exit code {code}"),
            (None, None) => f.write_str("ended, nobody can say how"),
        }?;
        match &self.message {
            Some(message) if !message.is_empty() => write!(f, ": {message}"),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_plain_zero_is_success() {
        let zero = Exit { code: Some(0), ..Exit::default() };
        assert!(zero.success());
        assert!(!Exit { oom: true, ..zero.clone() }.success());
        assert!(!Exit { signal: Some(15), ..zero }.success());
        assert!(!Exit::default().success());
        assert!(Exit::default().unknown());
        assert_eq!(Exit { signal: Some(9), ..Exit::default() }.shell_code(), Some(137));
    }
}
