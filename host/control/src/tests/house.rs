//! A daemon's inside in a directory of its own, that can be ended, killed and started again.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::AtomicI64;
use std::time::Duration;

use seawall_backend::breaker::BreakerConfig;
use seawall_backend::limit::{Ceiling, LimitConfig};
use seawall_backend::quarantine::QuarantineConfig;
use seawall_backend::retry::RetryConfig;
use seawall_backend::{Bulkhead, BulkheadConfig, Deadlines, ExecutionBackend};
use seawall_model::{BackendName, RestartPolicy, Session, SessionId, SessionSpec, SessionState, Timestamp};
use seawall_store::Store;
use tempfile::TempDir;
use tokio::time::Instant;

use super::fake::Fake;
use crate::clock::Clock;
use crate::{Control, ControlConfig, Shutdown};

/// What looks after a backend: a check, a sweep, a prober and a listener to its bulkhead.
pub(super) const TASKS: usize = 4;

/// Long enough for everything that is to happen; with a paused clock it costs nothing.
const LONG: Duration = Duration::from_secs(24 * 3600);

pub(super) struct House {
    pub(super) control: Control,
    pub(super) fake: Arc<Fake>,
    pub(super) store: Store,
    clock: Clock,
    dir: TempDir,
}

pub(super) fn name(text: &str) -> BackendName {
    text.parse().unwrap()
}

pub(super) fn spec() -> SessionSpec {
    SessionSpec::new(name("fake"))
}

pub(super) fn restarting(policy: &str) -> SessionSpec {
    SessionSpec { restart: policy.parse::<RestartPolicy>().unwrap(), ..spec() }
}

pub(super) fn code(code: u8) -> seawall_model::Exit {
    seawall_model::Exit { code: Some(code), ..Default::default() }
}

pub(super) type Drivers = BTreeMap<BackendName, Arc<Bulkhead<dyn ExecutionBackend>>>;

/// Behind a bulkhead that stops nothing, for what is not about bulkheads.
pub(super) fn drivers(fake: &Arc<Fake>) -> Drivers {
    drivers_with(fake, LONG)
}

/// The same, but for a deadline of each call.
pub(super) fn drivers_with(fake: &Arc<Fake>, deadline: Duration) -> Drivers {
    let deadlines =
        Deadlines { check: deadline, observe: deadline, control: deadline, long: deadline, stream: deadline };
    let limit = LimitConfig { calls: 100_000, ..LimitConfig::default() };
    let breaker = BreakerConfig { failures: u32::MAX, ..BreakerConfig::default() };
    let quarantine = QuarantineConfig { faults: u32::MAX, ..QuarantineConfig::default() };
    let retry = RetryConfig { retries: 0, ..RetryConfig::default() };
    behind(fake, &BulkheadConfig { deadlines, limit, breaker, quarantine, retry })
}

pub(super) fn behind(fake: &Arc<Fake>, config: &BulkheadConfig) -> Drivers {
    let driver = Bulkhead::new(Arc::clone(fake), config, Ceiling::new(100_000));
    BTreeMap::from([(name("fake"), Arc::new(driver) as Arc<Bulkhead<dyn ExecutionBackend>>)])
}

fn steady() -> Clock {
    Clock::Tokio { base: Timestamp::from_millis(1_800_000_000_000), since: Instant::now() }
}

impl House {
    pub(super) async fn new() -> Self {
        Self::with(ControlConfig::default(), Fake::new()).await
    }

    pub(super) async fn with(config: ControlConfig, fake: Arc<Fake>) -> Self {
        let drivers = drivers(&fake);
        Self::on(steady(), config, fake, drivers).await
    }

    /// By a clock that is put forward or back by so many milliseconds.
    pub(super) async fn by_the_clock(by: &'static AtomicI64) -> Self {
        let Clock::Tokio { base, since } = steady() else { panic!("a steady clock") };
        let fake = Fake::new();
        let drivers = drivers(&fake);
        Self::on(Clock::Stepped { base, since, by }, ControlConfig::default(), fake, drivers).await
    }

    /// Behind a bulkhead as a daemon has it.
    pub(super) async fn behind(bulkhead: &BulkheadConfig) -> Self {
        let fake = Fake::new();
        let drivers = behind(&fake, bulkhead);
        Self::on(steady(), ControlConfig::default(), fake, drivers).await
    }

    async fn on(clock: Clock, config: ControlConfig, fake: Arc<Fake>, drivers: Drivers) -> Self {
        let dir = TempDir::new().unwrap();
        let store = Store::open(&dir.path().join("data")).await.unwrap();
        let control = Control::start_at(clock, config, store.clone(), drivers).await.unwrap();
        Self { control, fake, store, clock, dir }
    }

    /// Ends the daemon's inside and starts it again, on the same store and engine.
    pub(super) async fn restart(self) -> Self {
        self.control.shutdown(Shutdown::Leave, LONG).await.unwrap();
        self.store.close().await;
        self.again(ControlConfig::default()).await
    }

    pub(super) async fn again(self, config: ControlConfig) -> Self {
        let drivers = drivers(&self.fake);
        self.again_with(config, drivers).await
    }

    pub(super) async fn again_with(self, config: ControlConfig, drivers: Drivers) -> Self {
        let Self { fake, clock, dir, control, store } = self;
        drop((control, store));
        let store = Store::open(&dir.path().join("data")).await.unwrap();
        let control = Control::start_at(clock, config, store.clone(), drivers).await.unwrap();
        Self { control, fake, store, clock, dir }
    }

    /// A session that runs.
    pub(super) async fn running(&self, spec: SessionSpec) -> Session {
        let id = self.control.create(spec).await.unwrap().id;
        self.until(&id, SessionState::Running).await
    }

    pub(super) async fn until(&self, id: &SessionId, state: SessionState) -> Session {
        self.when(id, |session| session.state == state).await
    }

    pub(super) async fn when(&self, id: &SessionId, until: impl Fn(&Session) -> bool + Send) -> Session {
        match tokio::time::timeout(LONG, self.control.wait(id, until)).await {
            Ok(session) => session.unwrap(),
            Err(_) => panic!("it never came to that: {:#?}", self.control.session(id)),
        }
    }

    pub(super) async fn until_gone(&self, id: &SessionId) {
        let gone = tokio::time::timeout(LONG, self.control.wait(id, |_| false)).await.unwrap();
        assert!(matches!(gone, Err(crate::ControlError::NoSuchSession(_))), "{gone:?}");
    }

    /// Lets everything go on for a time.
    pub(super) async fn later(&self, time: Duration) {
        tokio::time::sleep(time).await;
    }

    /// Waits until a condition holds, looking at it again and again.
    pub(super) async fn eventually(&self, what: &str, holds: impl Fn() -> bool) {
        let until = Instant::now() + LONG;
        while !holds() {
            assert!(Instant::now() < until, "never came true: {what}");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// The kinds of all events so far.
    pub(super) async fn kinds(&self) -> Vec<String> {
        let events = self.control.events(None, 10_000).await.unwrap();
        events.into_iter().map(|event| event.kind).collect()
    }

    /// Waits until the journal has events of this kind, and makes sure that there are so many.
    pub(super) async fn told(&self, kind: &str, times: usize) {
        let until = Instant::now() + LONG;
        loop {
            let kinds = self.kinds().await;
            let count = kinds.iter().filter(|told| *told == kind).count();
            if count >= times {
                assert_eq!(count, times, "{kind}: {kinds:?}");
                return;
            }
            assert!(Instant::now() < until, "never told: {kind}: {kinds:?}");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    /// No rule was broken, and everything can be ended.
    pub(super) async fn done(self) {
        assert_eq!(self.fake.violations(), Vec::<String>::new());
        self.control.shutdown(Shutdown::Leave, LONG).await.unwrap();
        assert!(self.control.core.tasks.is_empty(), "a task was left");
        self.store.close().await;
    }
}
