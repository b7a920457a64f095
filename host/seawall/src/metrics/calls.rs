//! The calls of each backend and the sweeps over its sessions, counted as they end.
//!
//! What was counted of a backend lives as long as somebody may still count: a backend that is replaced goes on where it
//! was, and with one that is removed its series go.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use seawall_backend::FaultKind;
use seawall_backend::observer::{Called, Observer, Used};
use seawall_model::BackendName;

use super::histogram::{FUEL, Histogram, MEMORY, SECONDS};
use super::write::{self, BYTES, Labels, Writer};

/// Of all backends. Clones count together.
#[derive(Clone, Debug, Default)]
pub(super) struct Calls(Arc<Mutex<BTreeMap<BackendName, Weak<Of>>>>);

/// Of one backend.
#[derive(Debug, Default)]
struct Of(Mutex<Tally>);

#[derive(Clone, Debug, Default)]
struct Tally {
    /// By function and outcome.
    took: BTreeMap<(&'static str, &'static str), Histogram>,
    /// By function.
    used: BTreeMap<&'static str, Spent>,
    /// Absent: there was none yet.
    sweeps: Option<Histogram>,
}

#[derive(Clone, Debug)]
struct Spent {
    fuel: Histogram,
    memory: Histogram,
    peak: f64,
}

impl Default for Spent {
    fn default() -> Self {
        Self { fuel: Histogram::new(FUEL), memory: Histogram::new(MEMORY), peak: 0.0 }
    }
}

impl Observer for Of {
    fn called(&self, called: Called) {
        let Called { function, outcome, took } = called;
        let mut tally = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let took_before = tally.took.entry((function, outcome)).or_insert_with(|| Histogram::new(SECONDS));
        took_before.observe(took.as_secs_f64());
    }

    fn used(&self, used: Used) {
        let Used { function, fuel, memory } = used;
        let (fuel, memory) = (float(fuel), float(memory));
        let mut tally = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let spent = tally.used.entry(function).or_default();
        spent.fuel.observe(fuel);
        spent.memory.observe(memory);
        spent.peak = spent.peak.max(memory);
    }

    fn swept(&self, took: Duration) {
        let mut tally = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        tally.sweeps.get_or_insert_with(|| Histogram::new(SECONDS)).observe(took.as_secs_f64());
    }
}

/// Neither fuel nor bytes of one call come to where a float leaves numbers out.
fn float(count: u64) -> f64 {
    count as f64
}

impl Calls {
    /// Counts those of this backend.
    pub(super) fn of(&self, backend: &BackendName) -> Arc<dyn Observer> {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.retain(|_, of| of.strong_count() > 0);
        if let Some(there) = all.get(backend).and_then(Weak::upgrade) {
            return there;
        }
        let new = Arc::new(Of::default());
        all.insert(backend.clone(), Arc::downgrade(&new));
        new
    }

    /// What was counted of these backends by now.
    pub(super) fn counted<'a>(&self, backends: impl IntoIterator<Item = &'a BackendName>) -> Counted {
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let of = |name: &BackendName| {
            let of = all.get(name)?.upgrade()?;
            let tally = of.0.lock().unwrap_or_else(PoisonError::into_inner).clone();
            Some((name.clone(), tally))
        };
        Counted(backends.into_iter().filter_map(of).collect())
    }
}

/// What was counted.
#[derive(Debug)]
pub(super) struct Counted(Vec<(BackendName, Tally)>);

impl Counted {
    pub(super) fn encode(&self, write: &mut Writer<'_, '_>) -> fmt::Result {
        let took = || {
            self.0.iter().flat_map(|(name, tally)| {
                tally.took.iter().map(|((function, outcome), took)| (of(name, function), *outcome, took))
            })
        };
        let help = "Tries of calls of backends, the wait for a permit included";
        let durations = took().map(|(labels, outcome, took)| (write::and(labels, "outcome", outcome), took));
        write.histograms("call_duration", help, write::SECONDS, durations)?;
        let words = FaultKind::ALL.map(FaultKind::as_str);
        let faults = took().filter(|(_, outcome, _)| words.contains(outcome));
        let faults = faults.map(|(labels, kind, took)| (write::and(labels, "kind", kind), took.count()));
        write.counters("faults", "Tries of calls that came to no answer, by what cut them off", None, faults)?;

        let spent = || {
            self.0
                .iter()
                .flat_map(|(name, tally)| tally.used.iter().map(|(function, spent)| (of(name, function), spent)))
        };
        let fuel = spent().map(|(labels, spent)| (labels, &spent.fuel));
        write.histograms("call_fuel", "Units of fuel that a run of a plugin's function burned", None, fuel)?;
        let memory = spent().map(|(labels, spent)| (labels, &spent.memory));
        let help = "Linear memory of a run of a plugin's function when it was largest";
        write.histograms("call_memory", help, BYTES, memory)?;
        let peak = spent().map(|(labels, spent)| (labels, spent.peak));
        write.gauges("call_memory_peak", "The most linear memory that any run of the function had", BYTES, peak)?;

        let sweeps =
            self.0.iter().filter_map(|(name, tally)| Some((vec![("backend", name.as_str())], tally.sweeps.as_ref()?)));
        write.histograms("backend_sweep_duration", "Sweeps of all sessions that met no error", write::SECONDS, sweeps)
    }
}

fn of<'a>(backend: &'a BackendName, function: &'a str) -> Labels<'a> {
    vec![("backend", backend.as_str()), ("function", function)]
}
