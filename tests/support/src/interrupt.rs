//! Ctrl-C while the demo or a drill runs: it ends at the next step, and everything it made is cleaned up as after a good
//! end.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

/// Whether somebody asked to end.
#[derive(Clone, Debug, Default)]
pub struct Interrupt(Arc<AtomicBool>);

impl Interrupt {
    /// From now on SIGINT and SIGTERM set it instead of ending the program; the second of them ends it.
    ///
    /// # Errors
    /// Signals cannot be watched.
    pub fn watch() -> Result<Self> {
        let flag = Arc::new(AtomicBool::new(false));
        for signal in [signal_hook::consts::SIGINT, signal_hook::consts::SIGTERM] {
            // In this order: the first signal finds the flag unset and only sets it.
            signal_hook::flag::register_conditional_shutdown(signal, 130, Arc::clone(&flag))
                .context("watch for signals")?;
            signal_hook::flag::register(signal, Arc::clone(&flag)).context("watch for signals")?;
        }
        Ok(Self(flag))
    }

    /// Goes on as long as nobody asked.
    ///
    /// # Errors
    /// Somebody did.
    pub fn check(&self) -> Result<()> {
        if self.0.load(Ordering::Relaxed) {
            bail!("interrupted");
        }
        Ok(())
    }

    /// Asks `look` until it has something.
    ///
    /// # Errors
    /// The time is up, somebody asked to end, or looking failed.
    pub fn wait_for<T>(&self, what: &str, at_most: Duration, mut look: impl FnMut() -> Result<Option<T>>) -> Result<T> {
        let until = Instant::now() + at_most;
        loop {
            self.check()?;
            if let Some(found) = look()? {
                return Ok(found);
            }
            if Instant::now() > until {
                bail!("waited {at_most:?} in vain: {what}");
            }
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}
