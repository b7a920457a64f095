//! `seawall:host/log`: the plugin's lines in the daemon's own log, under the backend's name.
//!
//! A plugin cannot flood it (a bound on bytes over the whole call; what exceeds it is dropped and counted), forge lines
//! in it (control characters are escaped), or give secrets away in it.

use std::fmt::Write as _;
use std::sync::Arc;

use tracing::Level;

use crate::bindings::log;
use crate::context::Context;
use crate::grants::Granted;
use crate::redact::Redactor;

/// One line is cut here.
const LONGEST_LINE: usize = 8 << 10;

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

    pub(crate) fn write(&mut self, level: Level, message: String) {
        let size = u64::try_from(message.len()).unwrap_or(u64::MAX);
        let Some(left) = self.left.checked_sub(size) else {
            self.dropped_lines += 1;
            self.dropped_bytes = self.dropped_bytes.saturating_add(size);
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
        Level::TRACE => tracing::trace!(target: "seawall::plugin", backend, "{message}"),
        Level::DEBUG => tracing::debug!(target: "seawall::plugin", backend, "{message}"),
        Level::INFO => tracing::info!(target: "seawall::plugin", backend, "{message}"),
        Level::WARN => tracing::warn!(target: "seawall::plugin", backend, "{message}"),
        Level::ERROR => tracing::error!(target: "seawall::plugin", backend, "{message}"),
    }
}

/// One line, without control characters, bounded.
pub(crate) fn printable(text: &str) -> String {
    let mut line = String::with_capacity(text.len().min(LONGEST_LINE));
    for c in text.trim_end().chars() {
        if line.len() >= LONGEST_LINE {
            line.push('…');
            break;
        }
        if c.is_control() {
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
        // Bytes of the log have a budget of their own, whose end drops lines and not the call.
        self.enter(0)?;
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
    }

    #[test]
    fn a_long_line_is_cut() {
        assert!(printable(&"ä".repeat(1 << 20)).len() < LONGEST_LINE + 8);
    }
}
