//! What is so at the instant of asking: backends, sessions, permits, the store, the pool.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::DescriptorEncoder;
use seawall_backend::breaker::BreakerState;
use seawall_backend::limit::{LimitStats, PoolStats};
use seawall_control::{BackendHealth, BackendStatus, EventCount, Overview, Phase, WatchState, WatchStatus};
use seawall_model::{BackendName, SessionState, Timestamp};
use seawall_runtime::PoolUse;
use seawall_store::Stats;

use super::calls::Counted;
use super::requests::{self, Answered};
use super::usage::{self, Together};
use super::write::{BYTES, Labels, SECONDS, Writer, and};

/// What is so now.
#[derive(Debug)]
pub(super) struct Now {
    pub(super) overview: Overview,
    pub(super) used: BTreeMap<BackendName, Together>,
    pub(super) calls: Counted,
    pub(super) requests: Answered,
    pub(super) events: Vec<EventCount>,
    pub(super) store: Stats,
    pub(super) pool: Option<PoolUse>,
    pub(super) tasks: usize,
    pub(super) started_at: Timestamp,
}

impl Collector for Now {
    fn encode(&self, mut encoder: DescriptorEncoder) -> fmt::Result {
        let mut write = Writer(&mut encoder);
        write.one("start_time", "When the daemon started", SECONDS, seconds_of(self.started_at))?;
        write.one("tasks", "Tasks of the daemon that have not ended", None, float(self.tasks))?;
        self.backends(&mut write)?;
        self.checks(&mut write)?;
        self.watches(&mut write)?;
        self.sessions(&mut write)?;
        usage::encode(&self.used, &mut write)?;
        self.bulkheads(&mut write)?;
        self.calls.encode(&mut write)?;
        self.pool(&mut write)?;
        requests::encode(&self.requests, &mut write)?;
        let there = |event: &&EventCount| {
            let Overview { backends, unconfigured, .. } = &self.overview;
            unconfigured.contains_key(&event.backend) || backends.iter().any(|status| status.name == event.backend)
        };
        let events =
            || self.events.iter().filter(there).map(|event| (event, vec![("backend", event.backend.as_str())]));
        let restarts = events().filter(|(event, _)| event.kind == "session.restarting");
        let restarts = restarts.map(|(event, labels)| (labels, event.count));
        write.counters("session_restarts", "Restarts of sessions by their policy", None, restarts)?;
        let events = events().map(|(event, labels)| (and(labels, "kind", &event.kind), event.count));
        write.counters("events", "Events of the journal", None, events)?;
        let Stats { commits, failed_commits, queued, .. } = self.store;
        write.counters("store_commits", "Transactions of the store", None, [(Vec::new(), commits)])?;
        write.counters("store_failed_commits", "Transactions that failed", None, [(Vec::new(), failed_commits)])?;
        write.one("store_queue_length", "Writes that wait for the store", None, float(queued))
    }
}

impl Now {
    fn backends(&self, write: &mut Writer<'_, '_>) -> fmt::Result {
        let summary = &self.overview.summary;
        let phases = Phase::ALL.map(|phase| (vec![("phase", phase.as_str())], flag(phase == summary.phase)));
        write.gauges("phase", "1 for the phase that all backends together are in", None, phases)?;
        let counts = BackendHealth::ALL.map(|health| {
            (vec![("health", health.as_str())], float(summary.health.get(&health).copied().unwrap_or_default()))
        });
        write.gauges("backends", "Backends, by their health", None, counts)?;
        let health = self.each(|status, labels| {
            BackendHealth::ALL
                .map(|health| (and(labels.clone(), "health", health.as_str()), flag(health == status.health)))
        });
        write.gauges("backend_health", "1 for the health that a backend is in", None, health)?;
        let conditions = summary.conditions.iter().map(|condition| {
            (vec![("backend", condition.backend.as_str()), ("condition", condition.kind.as_str())], 1.0)
        });
        write.gauges("backend_condition", "1 for what an operator should know of a backend", None, conditions)
    }

    fn checks(&self, write: &mut Writer<'_, '_>) -> fmt::Result {
        let took = self.each(|status, labels| status.latency.map(|took| (labels, took.as_secs_f64())));
        write.gauges("backend_check_duration", "How long the last check took", SECONDS, took)?;
        let at = self.each(|status, labels| status.checked_at.map(|at| (labels, seconds_of(at))));
        write.gauges("backend_check_timestamp", "When the last check ended", SECONDS, at)?;
        let failures = self.each(|status, labels| [(labels, f64::from(status.failures))]);
        write.gauges("backend_check_failures", "Checks that failed in a row", None, failures)?;
        let at = self.each(|status, labels| status.swept_at.map(|at| (labels, seconds_of(at))));
        write.gauges("backend_sweep_timestamp", "When the last good sweep of all sessions ended", SECONDS, at)
    }

    fn watches(&self, write: &mut Writer<'_, '_>) -> fmt::Result {
        let states = self.each(|status, labels| {
            WatchState::ALL
                .map(|state| (and(labels.clone(), "state", state.as_str()), flag(state == status.watch.state)))
        });
        write.gauges("backend_watch_state", "1 for the state that a backend's watch is in", None, states)?;
        let count = |of: fn(&WatchStatus) -> u64| {
            let backends = self.overview.backends.iter();
            backends.map(move |status| (vec![("backend", status.name.as_str())], of(&status.watch)))
        };
        let wakes = count(|watch| watch.wakes);
        write.counters("backend_watch_wakes", "How often a watch said that something may have changed", None, wakes)?;
        let openings = count(|watch| watch.openings);
        write.counters("backend_watch_openings", "How often a watch was opened", None, openings)
    }

    fn sessions(&self, write: &mut Writer<'_, '_>) -> fmt::Result {
        let Overview { backends, unconfigured, .. } = &self.overview;
        let configured = backends.iter().map(|status| (&status.name, &status.sessions));
        let counts = configured.chain(unconfigured).flat_map(|(name, counts)| {
            SessionState::ALL.map(|state| {
                let labels = vec![("backend", name.as_str()), ("state", state.as_str())];
                (labels, float(counts.get(&state).copied().unwrap_or_default()))
            })
        });
        write.gauges("sessions", "Sessions, by their state", None, counts)
    }

    fn bulkheads(&self, write: &mut Writer<'_, '_>) -> fmt::Result {
        let states = [BreakerState::Closed, BreakerState::HalfOpen, BreakerState::Open];
        let breakers = self.each(|status, labels| {
            let now = status.bulkhead.breaker.state;
            states.map(|state| (and(labels.clone(), "state", state.as_str()), flag(state == now)))
        });
        write.gauges("breaker_state", "1 for the state that a backend's breaker is in", None, breakers)?;
        let quarantined = self.each(|status, labels| [(labels, float(status.bulkhead.quarantine.len()))]);
        write.gauges("quarantines", "Functions that are not called about a session for now", None, quarantined)?;

        let permits = self.pools(|pool| float(pool.permits));
        write.gauges("permits", "Permits that there are", None, permits)?;
        let taken = self.pools(|pool| float(pool.in_flight));
        write.gauges("permits_in_use", "Permits that are taken", None, taken)?;
        let queued = self.pools(|pool| float(pool.queued));
        write.gauges("permits_queue_length", "Callers that wait for a permit", None, queued)?;
        let refused = self.pools(|pool| pool.refused);
        write.counters("permits_refused", "Callers that were turned away for want of a permit", None, refused)?;
        // The same one is above every backend.
        let host = self.overview.backends.first().map(|status| status.bulkhead.host).unwrap_or_default();
        write.one("host_permits", "Calls that all backends together may have", None, float(host.permits))?;
        write.one("host_permits_in_use", "Calls that all backends together have", None, float(host.in_flight))
    }

    fn pool(&self, write: &mut Writer<'_, '_>) -> fmt::Result {
        let Some(PoolUse { components, instances, memories, stacks, resident }) = self.pool else { return Ok(()) };
        let kinds = [("components", components), ("instances", instances), ("memories", memories), ("stacks", stacks)];
        let all = kinds.map(|(kind, slots)| (vec![("kind", kind)], long(slots.all)));
        write.gauges("pool_slots", "Places in the pool that calls of plugins take theirs from", None, all)?;
        let used = kinds.map(|(kind, slots)| (vec![("kind", kind)], long(slots.used)));
        write.gauges("pool_slots_in_use", "Places of the pool that are taken", None, used)?;
        write.one("pool_resident", "What free memories of the pool keep for the next call", BYTES, long(resident.0))
    }

    /// Samples of each backend, which begin with its name.
    fn each<'a, I: IntoIterator<Item = (Labels<'a>, f64)>>(
        &'a self,
        samples: impl Fn(&'a BackendStatus, Labels<'a>) -> I,
    ) -> impl Iterator<Item = (Labels<'a>, f64)> {
        let backends = self.overview.backends.iter();
        backends.flat_map(move |status| samples(status, vec![("backend", status.name.as_str())]))
    }

    /// A sample of each pool of permits.
    fn pools<'a, V>(&'a self, of: impl Fn(&PoolStats) -> V) -> impl Iterator<Item = (Labels<'a>, V)> {
        let pools = self.overview.backends.iter().flat_map(|status| {
            let LimitStats { calls, long, probes, streams } = &status.bulkhead.permits;
            let kinds = [("calls", calls), ("long", long), ("probes", probes), ("streams", streams)];
            kinds.map(|(kind, pool)| (vec![("backend", status.name.as_str()), ("kind", kind)], pool))
        });
        pools.map(move |(labels, pool)| (labels, of(pool)))
    }
}

fn flag(holds: bool) -> f64 {
    f64::from(u8::from(holds))
}

/// No count here comes near to where a float leaves numbers out.
fn float(count: usize) -> f64 {
    f64::from(u32::try_from(count).unwrap_or(u32::MAX))
}

/// As above.
fn long(count: u64) -> f64 {
    count as f64
}

fn seconds_of(at: Timestamp) -> f64 {
    Duration::from_millis(at.as_millis()).as_secs_f64()
}
