//! Lines for the operator, in the daemon's own log under the backend's name.

use crate::bindings::host::seawall::host::log;

pub use log::Level;

/// Writes one line. Never fails, never waits; what exceeds the call's byte limit is dropped and counted.
pub fn write(level: Level, message: &str) {
    log::write(level, message);
}

/// Something an operator may want to know.
pub fn info(message: &str) {
    write(Level::Info, message);
}

/// Something an operator should look at.
pub fn warn(message: &str) {
    write(Level::Warn, message);
}

/// Something that went wrong.
pub fn error(message: &str) {
    write(Level::Error, message);
}

/// A panic traps, and a trap carries no message: so the message goes to the log first. Called at the start of every
/// exported function, since an instance lives for one call.
pub(crate) fn report_panics() {
    std::panic::set_hook(Box::new(|panic| error(&panic.to_string())));
}
