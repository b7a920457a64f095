//! `seawall:host/clock`.

use std::time::Duration;

use seawall_model::Timestamp;

use crate::bindings::clock;
use crate::context::Context;

/// No call lives this long; the deadline of the call ends a longer wait.
const LONGEST_SLEEP: Duration = Duration::from_secs(24 * 3600);

impl clock::Host for Context {
    fn now(&mut self) -> wasmtime::Result<u64> {
        self.enter(8)?;
        Ok(Timestamp::now().as_millis())
    }

    fn monotonic(&mut self) -> wasmtime::Result<u64> {
        self.enter(8)?;
        Ok(u64::try_from(self.granted.loaded_at().elapsed().as_nanos()).unwrap_or(u64::MAX))
    }

    async fn sleep(&mut self, duration: u64) -> wasmtime::Result<()> {
        self.enter(8)?;
        tokio::time::sleep(Duration::from_millis(duration).min(LONGEST_SLEEP)).await;
        Ok(())
    }
}
