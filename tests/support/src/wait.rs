//! Waiting for a state instead of sleeping a guess.

use std::time::{Duration, Instant};

/// How long a test waits for anything, on a machine that may be busy with other things. It costs nothing where all is well.
pub const PATIENCE: Duration = Duration::from_secs(180);

/// Asks every 10 ms whether it is so, and returns when it is.
///
/// # Panics
/// When it is not so after `timeout`; says what was waited for.
#[expect(clippy::panic, reason = "this is how a test fails")]
pub fn wait_until(what: &str, timeout: Duration, mut condition: impl FnMut() -> bool) {
    let start = Instant::now();
    while !condition() {
        if start.elapsed() > timeout {
            panic!("waited {timeout:?} for this, and it did not come: {what}");
        }
        std::thread::sleep(Duration::from_millis(10));
    }
}
