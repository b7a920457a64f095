//! One file for each target.

pub(crate) mod answers;
pub(crate) mod api;
pub(crate) mod cache;
pub(crate) mod config;
pub(crate) mod describe;
pub(crate) mod engine;
mod guest;
pub(crate) mod loader;
pub(crate) mod log;
pub(crate) mod protocol;
pub(crate) mod records;
pub(crate) mod schema;
pub(crate) mod spec;
pub(crate) mod stream;
pub(crate) mod units;

/// A text that people read of something that a stranger sent: bounded, and not able to steer a terminal.
fn assert_readable(what: &str, text: &str, longest: usize) {
    assert!(text.len() <= longest, "{what} has {} bytes", text.len());
    let steers = |c: char| c.is_control() && !matches!(c, '\n' | '\t');
    assert!(!text.contains(steers), "{what} can steer a terminal: {text:?}");
}
