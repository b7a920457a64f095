//! The whole bulkhead round a backend that does as it is told, with a paused clock.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use futures_util::{StreamExt, stream};
use seawall_backend::breaker::BreakerState;
use seawall_backend::limit::{Ceiling, LimitConfig};
use seawall_backend::{
    Bulkhead, BulkheadConfig, Deadlines, Error, ExecutionBackend, Fault, FaultKind, Info, Interface, LogChunk,
    LogStream, Source,
};
use seawall_model::{
    Found, Health, Inspection, Key, LogOptions, Page, Report, SessionId, SessionName, SessionSpec, Signal, State,
    Status,
};
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;

/// Answers every question, unless it was told otherwise.
struct Scripted {
    info: Info,
    calls: AtomicU32,
    unavailable: AtomicU32,
    poisonous: HashSet<SessionId>,
    /// `list` waits for one of these.
    gate: Semaphore,
}

impl Scripted {
    fn new() -> Self {
        Self {
            info: Info {
                name: "scripted".into(),
                version: "1.0.0".into(),
                description: String::new(),
                config_schema: String::new(),
                options_schema: String::new(),
                interfaces: vec![Interface::Logs],
            },
            calls: AtomicU32::new(0),
            unavailable: AtomicU32::new(0),
            poisonous: HashSet::new(),
            gate: Semaphore::new(Semaphore::MAX_PERMITS),
        }
    }

    fn calls(&self) -> u32 {
        self.calls.load(Ordering::SeqCst)
    }

    fn call(&self) -> Result<(), Error> {
        self.calls.fetch_add(1, Ordering::SeqCst);
        let left = self.unavailable.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1));
        if left.is_ok() { Err(Error::unavailable("away")) } else { Ok(()) }
    }

    async fn pass_gate(&self) -> Result<(), Error> {
        let permit = self.gate.acquire().await.map_err(|closed| Error::Other(closed.to_string()))?;
        permit.forget();
        Ok(())
    }

    fn about(&self, key: &Key) -> Result<(), Error> {
        self.call()?;
        if self.poisonous.contains(&key.session) { Err(trap()) } else { Ok(()) }
    }
}

fn trap() -> Error {
    let message = "trapped: unreachable".into();
    Error::Fault(Fault { kind: FaultKind::Trap, function: "inspect", message, backtrace: Vec::new() })
}

fn running() -> Status {
    Status {
        state: State::Running,
        health: Health::Healthy,
        exit: None,
        created_at: None,
        started_at: None,
        handle: None,
    }
}

#[derive(Clone)]
struct Shared(Arc<Scripted>);

impl std::ops::Deref for Shared {
    type Target = Scripted;

    fn deref(&self) -> &Scripted {
        &self.0
    }
}

#[async_trait]
impl ExecutionBackend for Shared {
    fn info(&self) -> &Info {
        &self.info
    }

    async fn check(&self) -> Result<Report, Error> {
        self.call()?;
        Ok(Report::default())
    }

    async fn create(&self, key: &Key, _: &SessionName, _: &SessionSpec) -> Result<Status, Error> {
        self.about(key).map(|()| running())
    }

    async fn start(&self, key: &Key) -> Result<Status, Error> {
        self.about(key).map(|()| running())
    }

    async fn signal(&self, key: &Key, _: Signal) -> Result<(), Error> {
        self.about(key)
    }

    async fn remove(&self, key: &Key, _: bool) -> Result<(), Error> {
        self.about(key)
    }

    async fn inspect(&self, keys: &[Key]) -> Result<Inspection, Error> {
        self.call()?;
        if keys.iter().any(|key| self.poisonous.contains(&key.session)) {
            return Err(trap());
        }
        let found = (0..keys.len()).map(|position| Found { position, status: running() }).collect();
        Ok(Inspection { found, unknown: Vec::new() })
    }

    async fn list(&self, _: Option<&str>) -> Result<Page, Error> {
        self.pass_gate().await?;
        self.call()?;
        Ok(Page::default())
    }

    async fn logs(&self, _: &Key, _: &LogOptions) -> Result<LogStream, Error> {
        self.call()?;
        Ok(Box::pin(stream::unfold(0_u64, |at| async move {
            tokio::time::sleep(Duration::from_secs(60)).await;
            let bytes = at.to_string().into();
            Some((Ok(LogChunk { source: Source::Stdout, bytes }), at + 1))
        })))
    }
}

fn key() -> Key {
    Key { session: SessionId::random(), incarnation: 1, handle: None }
}

fn bulkhead(backend: &Shared) -> Bulkhead<Shared> {
    Bulkhead::new(backend.clone(), &BulkheadConfig::default(), Ceiling::new(64))
}

/// A bulkhead with one permit, and the call that holds it for as long as the gate is shut.
async fn full() -> (Shared, Arc<Bulkhead<Shared>>, JoinHandle<Result<Page, Error>>) {
    let backend = Shared(Arc::new(Scripted { gate: Semaphore::new(0), ..Scripted::new() }));
    // Longer than any wait in these tests: this is not about deadlines.
    let deadlines = Deadlines { observe: Duration::from_secs(3600), ..Deadlines::default() };
    let limit = LimitConfig { permits: 1, ..LimitConfig::default() };
    let config = BulkheadConfig { limit, deadlines, ..<_>::default() };
    let bulkhead = Arc::new(Bulkhead::new(backend.clone(), &config, Ceiling::new(64)));
    let stuck = tokio::spawn({
        let bulkhead = bulkhead.clone();
        async move { bulkhead.list(None).await }
    });
    while bulkhead.limit().stats().in_flight == 0 {
        tokio::task::yield_now().await;
    }
    (backend, bulkhead, stuck)
}

#[tokio::test(start_paused = true)]
async fn one_poisonous_session_is_found_and_the_others_are_answered() {
    let keys: Vec<_> = (0..1000).map(|_| key()).collect();
    for at in [0, 1, 499, 500, 999] {
        let mut scripted = Scripted::new();
        scripted.poisonous.insert(keys[at].session.clone());
        let backend = Shared(Arc::new(scripted));
        let bulkhead = bulkhead(&backend);
        for _ in 0..3 {
            let answer = bulkhead.inspect(&keys).await.unwrap();
            let positions: HashSet<_> = answer.found.iter().map(|found| found.position).collect();
            assert_eq!(answer.found.len(), 999);
            assert_eq!(positions.len(), 999);
            assert!(!positions.contains(&at));
            assert_eq!(answer.unknown.iter().map(|unknown| unknown.position).collect::<Vec<_>>(), [at]);
        }
        assert_eq!(bulkhead.breaker().state(), BreakerState::Closed);
        // Two sweeps of at most 21 calls find and confirm it; the third does not ask about it at all.
        assert_eq!(bulkhead.quarantine().list().len(), 1);
        let before = backend.calls();
        bulkhead.inspect(&keys).await.unwrap();
        assert_eq!(backend.calls(), before + 1);
    }
}

#[tokio::test(start_paused = true)]
async fn a_backend_that_fails_for_every_session_is_opened_not_bisected_for_ever() {
    let keys: Vec<_> = (0..1000).map(|_| key()).collect();
    let mut scripted = Scripted::new();
    scripted.poisonous.extend(keys.iter().map(|key| key.session.clone()));
    let backend = Shared(Arc::new(scripted));
    let bulkhead = bulkhead(&backend);
    assert!(matches!(bulkhead.inspect(&keys).await, Err(Error::Open { .. })));
    assert!(backend.calls() < 50, "{} calls", backend.calls());
}

#[tokio::test(start_paused = true)]
async fn an_open_breaker_answers_at_once_though_every_permit_is_taken() {
    let (backend, bulkhead, stuck) = full().await;
    for _ in 0..5 {
        let failure = seawall_backend::breaker::Verdict::Failure { culprit: None };
        bulkhead.breaker().admit().unwrap().settle(&failure);
    }
    let begun = tokio::time::Instant::now();
    assert!(matches!(bulkhead.start(&key()).await, Err(Error::Open { .. })));
    assert_eq!(begun.elapsed(), Duration::ZERO);
    assert_eq!(backend.calls(), 0);
    stuck.abort();
}

#[tokio::test(start_paused = true)]
async fn a_full_bulkhead_is_busy_and_not_down() {
    let (_, bulkhead, stuck) = full().await;
    for _ in 0..10 {
        assert!(matches!(bulkhead.start(&key()).await, Err(Error::Full { .. })));
    }
    assert_eq!(bulkhead.breaker().state(), BreakerState::Closed);
    assert!(bulkhead.check().await.is_ok(), "a probe was kept out by a full bulkhead");
    stuck.abort();
}

#[tokio::test(start_paused = true)]
async fn no_work_starts_for_a_caller_that_is_gone() {
    let backend = Shared(Arc::new(Scripted::new()));
    let bulkhead = bulkhead(&backend);
    drop(bulkhead.start(&key()));
    assert_eq!(backend.calls(), 0);
    assert_eq!(bulkhead.limit().stats().in_flight, 0);
}

#[tokio::test(start_paused = true)]
async fn a_cancelled_call_gives_its_permit_back_and_is_no_failure() {
    let backend = Shared(Arc::new(Scripted { gate: Semaphore::new(0), ..Scripted::new() }));
    let bulkhead = bulkhead(&backend);
    for _ in 0..20 {
        let cancelled = tokio::time::timeout(Duration::from_millis(1), bulkhead.list(None)).await;
        assert!(cancelled.is_err());
    }
    assert_eq!(bulkhead.limit().stats().in_flight, 0);
    assert_eq!(bulkhead.breaker().state(), BreakerState::Closed);
}

#[tokio::test(start_paused = true)]
async fn a_short_outage_is_retried_and_a_long_one_opens_the_breaker() {
    let backend = Shared(Arc::new(Scripted::new()));
    let bulkhead = bulkhead(&backend);
    backend.unavailable.store(2, Ordering::SeqCst);
    assert!(bulkhead.start(&key()).await.is_ok());
    backend.unavailable.store(u32::MAX, Ordering::SeqCst);
    assert!(bulkhead.start(&key()).await.is_err());
    assert!(matches!(bulkhead.start(&key()).await, Err(Error::Open { .. })));
    backend.unavailable.store(0, Ordering::SeqCst);
    tokio::time::advance(Duration::from_secs(30)).await;
    assert!(bulkhead.start(&key()).await.is_ok());
    assert!(bulkhead.start(&key()).await.is_ok());
    assert_eq!(bulkhead.breaker().state(), BreakerState::Closed);
}

#[tokio::test(start_paused = true)]
async fn a_stream_outlives_the_deadline_and_keeps_its_permit_until_it_is_dropped() {
    let backend = Shared(Arc::new(Scripted::new()));
    let bulkhead = bulkhead(&backend);
    let mut stream = bulkhead.logs(&key(), &LogOptions::default()).await.unwrap();
    for at in 0..10 {
        assert_eq!(stream.next().await.unwrap().unwrap().bytes, at.to_string());
    }
    assert_eq!(bulkhead.limit().stats().streams, 1);
    assert_eq!(bulkhead.limit().stats().in_flight, 0);
    drop(stream);
    assert_eq!(bulkhead.limit().stats().streams, 0);
}
