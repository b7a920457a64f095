//! What is counted and measured, for Prometheus: `GET /metrics`.
//!
//! Calls are counted as they end, by the [`Observer`] that every bulkhead and every plugin has ([`calls`]), and requests
//! as they are answered ([`requests`]). All else is read when it is asked for ([`now`]): backends and sessions from the same
//! `Overview` as everybody shows, so that no number contradicts another. What sessions use is asked of their backends
//! ([`usage`]).
//!
//! A label is a configured name or a word from a fixed list, never a session's: the number of series is bounded. Those of
//! a backend go when it goes.

mod calls;
mod histogram;
mod now;
mod requests;
mod usage;
mod write;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use prometheus_client::encoding::text;
use prometheus_client::registry::Registry;
use seawall_backend::observer::Observer;
use seawall_control::Control;
use seawall_model::{BackendName, Timestamp};
use seawall_runtime::Runtime;
use tokio::runtime::Handle;

use calls::Calls;
use now::Now;
use requests::Requests;
use usage::Used;

/// The media type of [`Metrics::text`].
pub(crate) const MEDIA_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// What is counted as it happens. Clones count together.
#[derive(Clone, Debug, Default)]
pub(crate) struct Metrics {
    calls: Calls,
    requests: Requests,
    used: Used,
    /// Whose pool is looked at.
    runtime: Option<Runtime>,
}

impl Metrics {
    /// With the pool of this runtime.
    pub(crate) fn of_runtime(runtime: Runtime) -> Self {
        Self { runtime: Some(runtime), ..Self::default() }
    }

    /// Counts the calls of this backend.
    pub(crate) fn of(&self, backend: &BackendName) -> Arc<dyn Observer> {
        self.calls.of(backend)
    }

    /// A request was answered; see [`Requests::answered`].
    pub(crate) fn answered(&self, method: &str, route: &str, status: u16, took: Duration) {
        self.requests.answered(method, route, status, took);
    }

    /// Everything, as Prometheus reads it. Within the daemon's executor, whose tasks are counted.
    ///
    /// # Errors
    /// Only a defect.
    pub(crate) async fn text(&self, control: &Control, started_at: Timestamp) -> Result<String, fmt::Error> {
        let used = self.used.look(control, &control.overview()).await;
        let overview = control.overview();
        let names = overview.backends.iter().map(|status| &status.name);
        let now = Now {
            calls: self.calls.counted(names),
            requests: self.requests.counted(),
            events: control.event_counts(),
            store: control.store_stats(),
            pool: self.runtime.as_ref().map(Runtime::pool_use),
            tasks: Handle::current().metrics().num_alive_tasks(),
            started_at,
            overview,
            used,
        };
        let mut registry = Registry::with_prefix("seawall");
        registry.register_collector(Box::new(now));
        let mut written = String::new();
        text::encode(&mut written, &registry)?;
        Ok(written)
    }
}
