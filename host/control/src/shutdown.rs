//! The end: what becomes of sessions, and of every task (A8, E9).

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::time::{Instant, timeout_at};

use crate::control::Control;
use crate::core::Core;
use crate::state::Entry;
use crate::{ControlError, ShutdownError};

/// What becomes of sessions when the daemon ends (A8).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shutdown {
    /// They run on, and are adopted at the next start.
    Leave,
    /// They are stopped first, each with its grace, and stay stopped.
    Stop,
}

impl Control {
    /// Ends every task. With [`Shutdown::Stop`] sessions are stopped first. Calls to backends that are under way are
    /// awaited; what is not done at the deadline is cut off, and settled at the next start. Requests made meanwhile
    /// get `ShuttingDown`. A second call, with a shorter deadline, cuts the first one short.
    ///
    /// # Errors
    /// Not everything was done in time; every task is over all the same.
    pub async fn shutdown(&self, mode: Shutdown, deadline: Duration) -> Result<(), ShutdownError> {
        let core = &self.core;
        let until = Instant::now() + deadline;
        core.closing.store(true, Ordering::Release);
        let stopped = match mode {
            Shutdown::Leave => Ok(()),
            Shutdown::Stop => core.stop_and_wait(until, deadline).await,
        };
        core.soft.cancel();
        core.tasks.close();
        if timeout_at(until, core.tasks.wait()).await.is_err() {
            core.hard.cancel();
            core.tasks.wait().await;
            return stopped.and(Err(ShutdownError::CutOff { after: deadline }));
        }
        stopped
    }
}

impl Core {
    async fn stop_and_wait(self: &Arc<Self>, until: Instant, deadline: Duration) -> Result<(), ShutdownError> {
        if let Err(error) = self.stop_all(None).await {
            let why = match error {
                ControlError::Store(error) => error.to_string(),
                other => other.to_string(),
            };
            return Err(ShutdownError::Store(why));
        }
        // Those whose backend is not configured are out of reach.
        let mut left: Vec<Arc<Entry>> = self.sessions.all();
        left.retain(|entry| self.backends.get(&entry.backend).is_some());
        for entry in &left {
            let mut changed = entry.subscribe();
            while !is_over(entry) {
                tokio::select! {
                    changed = changed.changed() => if changed.is_err() { break },
                    () = tokio::time::sleep_until(until) => break,
                    () = self.soft.cancelled() => break,
                }
            }
        }
        match left.iter().filter(|entry| !is_over(entry)).count() {
            0 => Ok(()),
            running => Err(ShutdownError::StillRunning { running, after: deadline }),
        }
    }
}

fn is_over(entry: &Entry) -> bool {
    entry.with(|cell| cell.removed || cell.record.state.is_final())
}
