//! What is counted: calls and the time they took, for each who was called. Of fixed size, so that counting takes no
//! memory that the process is later blamed for.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Calls of one kind.
#[derive(Debug, Default)]
pub(crate) struct Count {
    calls: AtomicU64,
    nanos: AtomicU64,
    longest: AtomicU64,
}

impl Count {
    pub(crate) fn add(&self, took: Duration) {
        let nanos = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
        self.calls.fetch_add(1, Ordering::Relaxed);
        self.nanos.fetch_add(nanos, Ordering::Relaxed);
        self.longest.fetch_max(nanos, Ordering::Relaxed);
    }

    pub(crate) fn row(&self, name: &'static str, ended: &'static str) -> Row {
        let calls = self.calls.load(Ordering::Relaxed);
        let mean = Duration::from_nanos(self.nanos.load(Ordering::Relaxed) / calls.max(1));
        Row { name, ended, calls, mean, longest: Duration::from_nanos(self.longest.load(Ordering::Relaxed)) }
    }
}

/// A line of the table.
#[derive(Clone, Debug)]
pub struct Row {
    /// Who was called.
    pub name: &'static str,
    /// How every one of these calls ended.
    pub ended: &'static str,
    /// How many.
    pub calls: u64,
    /// How long one took, waiting for a permit included.
    pub mean: Duration,
    /// The longest.
    pub longest: Duration,
}

impl fmt::Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let micros = |time: Duration| time.as_micros();
        let Self { name, ended, calls, mean, longest } = self;
        write!(f, "{name:<10}{ended:<12}{calls:>10}{:>12}{:>12}", micros(*mean), micros(*longest))
    }
}
