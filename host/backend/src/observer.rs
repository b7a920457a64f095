//! What is told of each try of a call: for whoever counts them. Deliberately absent: what they are counted with.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use crate::{Error, FaultKind};

/// Is told of each try of a call of one backend, refused ones included.
pub trait Observer: fmt::Debug + Send + Sync {
    /// It is over.
    fn called(&self, called: Called);

    /// What a plugin's function took of the host, also if it was cut off. A backend that is no plugin takes nothing.
    fn used(&self, _used: Used) {}

    /// Every session of it was looked at without an error, in this time.
    fn swept(&self, _took: Duration) {}
}

/// A try of a call that is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Called {
    /// The function.
    pub function: &'static str,
    /// `ok`, a word of [`Error::kind`], or `cancelled`: its caller went away.
    pub outcome: &'static str,
    /// From when it was asked for, the wait for a permit included.
    pub took: Duration,
}

/// What one run of a plugin's function took of the host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Used {
    /// The function, by the name that [`Called`] has for it.
    pub function: &'static str,
    /// Units of fuel: about one an instruction.
    pub fuel: u64,
    /// Bytes of all its linear memories together when they were largest, which is at the end: they never shrink.
    pub memory: u64,
}

/// A try that is under way. Dropped before its end, it was cancelled.
pub(crate) struct Try<'a> {
    observer: Option<&'a Arc<dyn Observer>>,
    function: &'static str,
    outcome: &'static str,
    begun: Instant,
}

impl<'a> Try<'a> {
    pub(crate) fn begin(observer: Option<&'a Arc<dyn Observer>>, function: &'static str) -> Self {
        Self { observer, function, outcome: "cancelled", begun: Instant::now() }
    }

    pub(crate) fn end<T>(mut self, answer: &Result<T, Error>) {
        self.outcome = answer.as_ref().map_or_else(Error::kind, |_| "ok");
    }
}

impl Drop for Try<'_> {
    fn drop(&mut self) {
        if let Some(observer) = self.observer {
            let outcome = if std::thread::panicking() { FaultKind::Internal.as_str() } else { self.outcome };
            observer.called(Called { function: self.function, outcome, took: self.begun.elapsed() });
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;

    #[derive(Debug, Default)]
    struct Told(Mutex<Vec<Called>>);

    impl Observer for Told {
        fn called(&self, called: Called) {
            self.0.lock().unwrap().push(called);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn every_try_is_told_with_its_outcome_and_time() {
        let told = Arc::new(Told::default());
        let observer: Arc<dyn Observer> = told.clone();
        let answers = [Ok(()), Err(Error::Denied("no".to_owned()))];
        for answer in &answers {
            let under_way = Try::begin(Some(&observer), "check");
            tokio::time::advance(Duration::from_secs(1)).await;
            under_way.end(answer);
        }
        drop(Try::begin(Some(&observer), "list"));
        let caught = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            let _under_way = Try::begin(Some(&observer), "start");
            panic!("the test says so");
        }));
        assert!(caught.is_err());
        let told: Vec<_> = told.0.lock().unwrap().iter().map(|c| (c.function, c.outcome, c.took.as_secs())).collect();
        assert_eq!(
            told,
            [("check", "ok", 1), ("check", "denied", 1), ("list", "cancelled", 0), ("start", "internal", 0)]
        );
    }
}
