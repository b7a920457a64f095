//! What the bulkhead round a backend tells of itself becomes events of the journal, and wakes those who wait for it.
//!
//! One task a backend. Events are told one by one while it keeps up. A listener that fell behind goes by the state
//! instead, so that the last word of the journal about a breaker is always true.
//!
//! An engine that is away for a day has its breaker half-open, and open again, thousands of times. The journal has the
//! first of each after the breaker opened, and then that it closed; the rest is in the log.

use std::sync::Arc;

use seawall_backend::breaker::{BreakerState, BreakerStatus};
use seawall_backend::changes::Change;
use seawall_backend::quarantine::Quarantined;
use seawall_model::SessionId;
use seawall_store::Event;
use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::{RecvError, TryRecvError};

use crate::backend::Backend;
use crate::core::Core;
use crate::events::{Kind, of_backend, of_session};
use crate::health::wake;

/// Until the backend is stopped. `changes` was subscribed to before the first call.
pub(crate) async fn listen(core: Arc<Core>, backend: Arc<Backend>, changes: Receiver<Change>) {
    let mut listener = Listener { told: BreakerState::Closed, tried: 0, core, backend };
    listener.run(changes).await;
}

struct Listener {
    core: Arc<Core>,
    backend: Arc<Backend>,
    /// What the journal says of the breaker.
    told: BreakerState,
    /// How often it was half-open since it was closed.
    tried: u32,
}

impl Listener {
    async fn run(&mut self, mut changes: Receiver<Change>) {
        loop {
            // Cancel-safe, both: a change that was not received stays in the channel.
            let change = tokio::select! {
                change = changes.recv() => change,
                () = self.backend.stopping() => break,
            };
            match change {
                Ok(change) => self.tell(change).await,
                Err(RecvError::Lagged(missed)) => {
                    changes = changes.resubscribe();
                    self.catch_up(missed).await;
                }
                Err(RecvError::Closed) => return,
            }
        }
        // What happened before the end is told; it is the store that closes last.
        loop {
            match changes.try_recv() {
                Ok(change) => self.tell(change).await,
                Err(TryRecvError::Lagged(_)) => {}
                Err(TryRecvError::Empty | TryRecvError::Closed) => return,
            }
        }
    }

    async fn tell(&mut self, change: Change) {
        match change {
            Change::Breaker(status) => self.breaker(&status).await,
            Change::Quarantined(quarantined) => self.quarantined(&quarantined).await,
            Change::Released { function, session } => {
                let message = format!("the plugin's `{function}` answers about it again");
                self.about(&session, Kind::SessionReleased, message).await;
            }
            Change::Full { full, .. } => {
                let message = format!("calls are refused: {full}");
                self.event(of_backend(&self.backend.name, Kind::BackendFull, self.core.clock.now(), message)).await;
            }
        }
    }

    /// After changes were missed: what is so now and was not told.
    async fn catch_up(&mut self, missed: u64) {
        tracing::warn!(backend = %self.backend.name, missed, "changes of the bulkhead came too fast to be told one by one");
        let status = self.backend.driver.status();
        if status.breaker.state != self.told {
            self.breaker(&status.breaker).await;
        }
        for quarantined in &status.quarantine {
            self.quarantined(quarantined).await;
        }
    }

    async fn breaker(&mut self, status: &BreakerStatus) {
        let first = std::mem::replace(&mut self.told, status.state) == BreakerState::Closed;
        match status.state {
            BreakerState::HalfOpen => self.tried = self.tried.saturating_add(1),
            BreakerState::Open if first => self.tried = 0,
            BreakerState::Open | BreakerState::Closed => {}
        }
        let why = match &status.last_failure {
            Some(failure) => format!("`{}`: {}", failure.function, failure.reason),
            None => "no failure is known".to_owned(),
        };
        let (kind, message) = match status.state {
            BreakerState::Open => {
                let left = humantime::format_duration(status.retry_after.unwrap_or_default());
                (Kind::BackendBreakerOpen, format!("it failed too often and is left alone for {left}; at last {why}"))
            }
            BreakerState::HalfOpen => (Kind::BackendBreakerHalfOpen, "one call at a time is let in".to_owned()),
            BreakerState::Closed => (Kind::BackendBreakerClosed, "it answers, and calls flow again".to_owned()),
        };
        let mut event = of_backend(&self.backend.name, kind, self.core.clock.now(), message);
        if status.state == BreakerState::Open {
            event.session = status.last_failure.as_ref().and_then(|failure| failure.culprit.clone());
        }
        if self.tried > 1 && status.state != BreakerState::Closed {
            tracing::debug!(backend = %self.backend.name, kind = event.kind, "{}", event.message);
        } else {
            self.event(event).await;
        }
        if status.state != BreakerState::Open {
            wake(&self.core, &self.backend);
        }
    }

    async fn quarantined(&self, quarantined: &Quarantined) {
        let Quarantined { function, session, faults, left, reason } = quarantined;
        let left = humantime::format_duration(*left);
        let message =
            format!("{reason}: `{function}` is left alone about it for {left}, after {faults} faults in a row");
        self.about(session, Kind::SessionQuarantined, message).await;
    }

    async fn about(&self, session: &SessionId, kind: Kind, message: String) {
        let now = self.core.clock.now();
        let event = match self.core.sessions.get(session) {
            Some(entry) => of_session(&entry.with(|cell| Arc::clone(&cell.record)), kind, now, message),
            // A workload that no session owns.
            None => Event { session: Some(session.clone()), ..of_backend(&self.backend.name, kind, now, message) },
        };
        self.event(event).await;
    }

    async fn event(&self, event: Event) {
        self.core.tell(event).await;
    }
}
