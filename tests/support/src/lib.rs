//! What tests, drills, demo and benchmarks need of the machine: a private Docker Engine, a private daemon, the process table,
//! plain HTTP, and waiting for a state. It blocks and has few dependencies: `cargo xtask` is built with it. A backend in
//! memory is there for whoever asks for the feature `memory`.
//!
//! Whatever is started here is ended here, even if the test is killed: see [`docker`].

pub mod daemon;
pub mod docker;
pub mod exposition;
pub mod http;
pub mod interrupt;
#[cfg(feature = "memory")]
pub mod memory;
pub mod processes;
pub mod recorder;
pub mod registry;
pub mod terminal;
mod wait;
pub mod workloads;

pub use wait::{PATIENCE, wait_until};

/// Whether a missing tool or privilege must fail a test instead of skipping it: `CI=true`.
pub fn skips_are_failures() -> bool {
    std::env::var("CI").is_ok_and(|value| value == "true" || value == "1")
}

/// Says loudly, on the standard error that even a captured test shows, that something was not tested.
///
/// # Panics
/// Where [skips are failures](skips_are_failures).
#[expect(clippy::panic, reason = "this is how a test fails")]
pub fn skipped(what: &str, because: &str) {
    if skips_are_failures() {
        panic!("{what} cannot be tested here: {because} (CI=true makes this a failure)");
    }
    // Not `eprintln!`: the test harness would capture it, and a test that was not made would look like one that passed.
    let line = format!("\n*** SKIPPED {what}: {because}\n");
    let _ = std::io::Write::write_all(&mut std::io::stderr(), line.as_bytes());
}
