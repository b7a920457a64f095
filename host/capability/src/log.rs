//! `seawall:host/log`: the plugin's lines in the daemon's own log, under the backend's name.
//!
//! A plugin cannot flood it (a bound on bytes over the whole call; what exceeds it is dropped and counted), forge lines
//! or fields in it (control characters are escaped, and the backend's name comes before what the plugin wrote), or repeat
//! secrets in it.

use std::fmt::Write as _;
use std::sync::Arc;

use seawall_model::{Redactor, is_deceptive};
use tracing::Level;

use crate::bindings::log;
use crate::context::Context;
use crate::grants::Granted;

/// One line is cut here.
const LONGEST_LINE: usize = 8 << 10;

/// What each line costs of the budget besides its text: time, level and name are bytes too, and a line of nothing is one.
const LINE_COST: u64 = 32;

/// The log of one call.
pub(crate) struct Log {
    granted: Arc<Granted>,
    secrets: Option<Arc<Redactor>>,
    left: u64,
    dropped_lines: u64,
    dropped_bytes: u64,
}

impl Log {
    pub(crate) fn new(granted: Arc<Granted>, bytes: u64, secrets: Option<Arc<Redactor>>) -> Self {
        Self { granted, secrets, left: bytes, dropped_lines: 0, dropped_bytes: 0 }
    }

    /// As many bytes a line may have now.
    pub(crate) fn room(&self) -> usize {
        usize::try_from(self.left.saturating_sub(LINE_COST)).unwrap_or(usize::MAX)
    }

    /// Counts a line that is not written.
    pub(crate) fn drop_line(&mut self, bytes: usize) {
        self.dropped_lines += 1;
        self.dropped_bytes = self.dropped_bytes.saturating_add(u64::try_from(bytes).unwrap_or(u64::MAX));
    }

    pub(crate) fn write(&mut self, level: Level, message: String) {
        let size = u64::try_from(message.len()).unwrap_or(u64::MAX);
        let Some(left) = self.left.checked_sub(size.saturating_add(LINE_COST)) else {
            self.drop_line(message.len());
            return;
        };
        self.left = left;
        // Redacted before it is cut: half a secret at the end of a line would not be found.
        let message = match &self.secrets {
            Some(secrets) => secrets.clean(message),
            None => message,
        };
        emit(level, self.granted.backend().as_str(), &printable(&message));
    }
}

impl Drop for Log {
    fn drop(&mut self) {
        if self.dropped_lines > 0 {
            let text = format!("{} lines of its log ({} bytes) were dropped", self.dropped_lines, self.dropped_bytes);
            emit(Level::WARN, self.granted.backend().as_str(), &text);
        }
    }
}

/// tracing's level is part of the call site.
fn emit(level: Level, backend: &str, message: &str) {
    match level {
        Level::TRACE => tracing::trace!(target: "seawall::plugin", backend, "{backend}: {message}"),
        Level::DEBUG => tracing::debug!(target: "seawall::plugin", backend, "{backend}: {message}"),
        Level::INFO => tracing::info!(target: "seawall::plugin", backend, "{backend}: {message}"),
        Level::WARN => tracing::warn!(target: "seawall::plugin", backend, "{backend}: {message}"),
        Level::ERROR => tracing::error!(target: "seawall::plugin", backend, "{backend}: {message}"),
    }
}

/// One line, in which every character can be seen, bounded.
pub(crate) fn printable(text: &str) -> String {
    let mut line = String::with_capacity(text.len().min(LONGEST_LINE));
    for c in text.trim_end().chars() {
        if line.len() >= LONGEST_LINE {
            line.push('…');
            break;
        }
        if is_deceptive(c) {
            // Writing to a String cannot fail.
            let _ = write!(line, "{}", c.escape_default());
        } else {
            line.push(c);
        }
    }
    line
}

impl log::Host for Context {
    fn write(&mut self, level: log::Level, message: String) -> wasmtime::Result<()> {
        // What is written has a budget of its own, whose end drops lines and not the call. What is dropped was copied
        // out of the guest all the same, and that counts like everything that crosses.
        self.enter(message.len())?;
        let level = match level {
            log::Level::Trace => Level::TRACE,
            log::Level::Debug => Level::DEBUG,
            log::Level::Info => Level::INFO,
            log::Level::Warn => Level::WARN,
            log::Level::Error => Level::ERROR,
        };
        self.log().write(level, message);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_cannot_forge_another() {
        assert_eq!(printable("a\nERROR b\u{1b}[31m\n"), "a\\nERROR b\\u{1b}[31m");
        assert_eq!(printable("gpj.\u{202e}exe\u{2028}\u{9b}\0"), "gpj.\\u{202e}exe\\u{2028}\\u{9b}\\u{0}");
    }

    #[test]
    fn a_long_line_is_cut() {
        assert!(printable(&"ä".repeat(1 << 20)).len() < LONGEST_LINE + 8);
    }
}
