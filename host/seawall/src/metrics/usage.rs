//! What the sessions of each backend use together.
//!
//! It is asked at a scrape, once of each backend, no more often than every few seconds and for no longer than one: a scrape
//! that comes sooner, or whose backend is late, shows what is known. Sums that only go up go on over the ends of sessions;
//! what one used after it was last measured is not in them.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use seawall_backend::Interface;
use seawall_control::{Control, Overview, Sample, SessionUsage};
use seawall_model::{BackendName, Incarnation, SessionId, Timestamp, Transfer};
use tokio::time::Instant;

use super::write::{BYTES, SECONDS, Writer, and};

/// Backends are not asked again before this.
const AGE: Duration = Duration::from_secs(5);
/// No scrape is held up for longer.
const PATIENCE: Duration = Duration::from_secs(1);

/// What is known. Clones know the same.
#[derive(Clone, Debug, Default)]
pub(super) struct Used(Arc<Mutex<Known>>);

#[derive(Debug, Default)]
struct Known {
    asked: Option<Instant>,
    /// When the sample before was taken.
    sampled: Option<Timestamp>,
    sessions: HashMap<(SessionId, Incarnation), (BackendName, Counted)>,
    backends: BTreeMap<BackendName, Together>,
}

/// What only goes up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Counted {
    /// Nanoseconds.
    cpu: u64,
    network: Transfer,
    disk: Transfer,
}

/// The sessions of a backend.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Together {
    counted: Counted,
    /// What they use now; absent if the backend did not say.
    now: Option<Now>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Now {
    memory: u64,
    processes: u64,
}

impl Used {
    /// Asks, if it is time to, and gives what is known of these backends.
    pub(super) async fn look(&self, control: &Control, overview: &Overview) -> BTreeMap<BackendName, Together> {
        let able = overview.backends.iter().filter(|status| status.info.has(Interface::Stats));
        let able: BTreeSet<&BackendName> = able.map(|status| &status.name).collect();
        if !able.is_empty() && self.known().is_due(Instant::now()) {
            let sample = control.usage(|session| able.contains(session.backend), PATIENCE).await;
            self.known().take(&sample, &able, Timestamp::now());
        }
        let mut known = self.known();
        known.forget_all_but(&able);
        known.backends.clone()
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Known {
    /// Whether to ask now; whoever comes next need not.
    fn is_due(&mut self, now: Instant) -> bool {
        let due = self.asked.is_none_or(|asked| now.duration_since(asked) >= AGE);
        if due {
            self.asked = Some(now);
        }
        due
    }

    fn take(&mut self, sample: &Sample, able: &BTreeSet<&BackendName>, at: Timestamp) {
        let silent: BTreeSet<&BackendName> = sample.errors.iter().map(|error| &error.backend).collect();
        for name in able {
            let now = (!silent.contains(name)).then(Now::default);
            self.backends.entry((*name).clone()).or_default().now = now;
        }
        // Of one that did not answer, nothing has changed.
        let mut before = std::mem::take(&mut self.sessions);
        self.sessions = before.extract_if(|_, (backend, _)| silent.contains(backend)).collect();
        for session in &sample.sessions {
            let counted = Counted::of(session);
            let key = (session.id.clone(), session.incarnation);
            // One that is met for the first time and ran before did not use all that since then.
            let fresh = self.sampled.is_some() && session.started_at > self.sampled;
            let since = before.remove(&key).map(|(_, counted)| counted).or_else(|| fresh.then(Counted::default));
            let together = self.backends.entry(session.backend.clone()).or_default();
            together.counted.add(counted.since(since.unwrap_or(counted)));
            if let Some(now) = &mut together.now {
                now.memory = now.memory.saturating_add(session.usage.memory.unwrap_or_default());
                now.processes = now.processes.saturating_add(session.usage.processes.unwrap_or_default());
            }
            self.sessions.insert(key, (session.backend.clone(), counted));
        }
        self.sampled = Some(at);
    }

    fn forget_all_but(&mut self, backends: &BTreeSet<&BackendName>) {
        self.backends.retain(|name, _| backends.contains(name));
        self.sessions.retain(|_, (name, _)| backends.contains(name));
    }
}

impl Counted {
    fn of(session: &SessionUsage) -> Self {
        let usage = &session.usage;
        Self {
            cpu: usage.cpu_time.unwrap_or_default(),
            network: usage.network.unwrap_or_default(),
            disk: usage.disk.unwrap_or_default(),
        }
    }

    fn both(self, other: Self, with: fn(u64, u64) -> u64) -> Self {
        let transfer = |one: Transfer, other: Transfer| Transfer {
            incoming: with(one.incoming, other.incoming),
            outgoing: with(one.outgoing, other.outgoing),
        };
        Self {
            cpu: with(self.cpu, other.cpu),
            network: transfer(self.network, other.network),
            disk: transfer(self.disk, other.disk),
        }
    }

    fn since(self, before: Self) -> Self {
        self.both(before, u64::saturating_sub)
    }

    fn add(&mut self, more: Self) {
        *self = self.both(more, u64::saturating_add);
    }
}

/// Writes the families.
pub(super) fn encode(used: &BTreeMap<BackendName, Together>, write: &mut Writer<'_, '_>) -> fmt::Result {
    let each = || used.iter().map(|(name, together)| (vec![("backend", name.as_str())], together));
    let cpu = each().map(|(labels, together)| (labels, Duration::from_nanos(together.counted.cpu).as_secs_f64()));
    write.counters("sessions_cpu", "Processor time of sessions, since they were first measured", SECONDS, cpu)?;
    let transfers = |of: fn(&Counted) -> Transfer| {
        each().flat_map(move |(labels, together)| {
            let Transfer { incoming, outgoing } = of(&together.counted);
            [("in", incoming), ("out", outgoing)]
                .map(|(way, bytes)| (and(labels.clone(), "direction", way), bytes as f64))
        })
    };
    let network = transfers(|counted| counted.network);
    write.counters(
        "sessions_network",
        "Bytes of sessions over networks, since they were first measured",
        BYTES,
        network,
    )?;
    let disk = transfers(|counted| counted.disk);
    write.counters(
        "sessions_disk",
        "Bytes of sessions from and to disks, since they were first measured",
        BYTES,
        disk,
    )?;
    let now = || each().filter_map(|(labels, together)| Some((labels, together.now?)));
    let memory = now().map(|(labels, now)| (labels, now.memory as f64));
    write.gauges("sessions_memory", "Memory of sessions, without what the kernel could drop", BYTES, memory)?;
    let processes = now().map(|(labels, now)| (labels, now.processes as f64));
    write.gauges("sessions_processes", "Tasks of sessions", None, processes)
}

#[cfg(test)]
mod tests {
    use seawall_control::Unmeasured;
    use seawall_model::{SessionState, Usage};

    use super::*;

    fn name() -> BackendName {
        "docker".parse().unwrap()
    }

    fn session(number: u64, incarnation: Incarnation, started_at: u64, cpu: u64) -> SessionUsage {
        SessionUsage {
            id: format!("{number:016x}").parse().unwrap(),
            name: "it".parse().unwrap(),
            backend: name(),
            incarnation,
            state: SessionState::Running,
            started_at: Some(Timestamp::from_millis(started_at)),
            usage: Usage {
                at: Timestamp::from_millis(1),
                cpu_time: Some(cpu),
                memory: Some(10),
                memory_limit: None,
                processes: Some(1),
                processes_limit: None,
                network: Some(Transfer { incoming: cpu, outgoing: 1 }),
                disk: None,
            },
        }
    }

    fn after(known: &mut Known, at: u64, sessions: Vec<SessionUsage>, failed: bool) -> Together {
        let error = Unmeasured { backend: name(), sessions: 1, kind: "open".into(), reason: "why".into() };
        let sample = Sample { sessions, errors: failed.then_some(error).into_iter().collect() };
        let docker = name();
        known.take(&sample, &BTreeSet::from([&docker]), Timestamp::from_millis(at));
        known.backends[&docker]
    }

    #[test]
    fn sums_go_up_over_the_ends_of_sessions_and_begin_with_what_is_seen() {
        let mut known = Known::default();
        let first = after(&mut known, 100, vec![session(1, 1, 50, 1000)], false);
        assert_eq!((first.counted.cpu, first.now), (0, Some(Now { memory: 10, processes: 1 })), "it ran before");
        let second = after(&mut known, 200, vec![session(1, 1, 50, 1500), session(2, 1, 150, 70)], false);
        assert_eq!(second.counted.cpu, 570, "the second began since");
        assert_eq!(second.counted.network, Transfer { incoming: 570, outgoing: 1 });
        assert_eq!(second.now, Some(Now { memory: 20, processes: 2 }));
        let third = after(&mut known, 300, vec![session(1, 2, 250, 5)], false);
        assert_eq!((third.counted.cpu, third.now), (575, Some(Now { memory: 10, processes: 1 })));
    }

    #[test]
    fn a_backend_that_does_not_answer_shows_nothing_of_now_and_loses_nothing() {
        let mut known = Known::default();
        after(&mut known, 100, vec![session(1, 1, 50, 1000)], false);
        let silent = after(&mut known, 200, Vec::new(), true);
        assert_eq!((silent.counted.cpu, silent.now), (0, None));
        let again = after(&mut known, 300, vec![session(1, 1, 50, 1600)], false);
        assert_eq!((again.counted.cpu, again.now.unwrap().memory), (600, 10));
    }

    #[test]
    fn backends_are_asked_once_in_a_while() {
        let (mut known, now) = (Known::default(), Instant::now());
        assert!(known.is_due(now) && !known.is_due(now) && !known.is_due(now + AGE / 2));
        assert!(known.is_due(now + AGE));
    }
}
