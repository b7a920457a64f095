//! The whole bulkhead round a backend that does as it is told, with a paused clock.

use std::collections::{BTreeMap, HashSet};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use futures_util::{StreamExt, stream};
use seawall_backend::breaker::{BreakerState, Failure, Verdict};
use seawall_backend::changes::Change;
use seawall_backend::limit::{Ceiling, LimitConfig};
use seawall_backend::{
    Bulkhead, BulkheadConfig, Deadlines, Error, ExecEvent, Execution, ExecutionBackend, Fault, FaultKind, Info,
    Interface, LogChunk, LogStream, Source, trace,
};
use seawall_model::{
    CommandEnd, ExecOptions, Found, Health, Inspection, Key, LogOptions, Page, Report, SessionId, SessionName,
    SessionSpec, Signal, State, Status, TraceId,
};
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;

/// Answers every question, unless it was told otherwise.
struct Scripted {
    info: Info,
    calls: AtomicU32,
    unavailable: AtomicU32,
    poisonous: HashSet<SessionId>,
    /// What is poisonous in a batch makes it hang rather than trap.
    hangs: bool,
    unavailable_checks: AtomicBool,
    /// Nobody is poisonous any more.
    well: AtomicBool,
    /// Whatever is asked about one session, this is the answer.
    answers: Option<Error>,
    /// Whatever is asked about one session, it panics, as a defect of the host would.
    panics: bool,
    /// `list` waits for one of these.
    gate: Semaphore,
    /// Within which trace each call was made.
    traces: Mutex<Vec<Option<TraceId>>>,
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
            hangs: false,
            unavailable_checks: AtomicBool::new(false),
            well: AtomicBool::new(false),
            answers: None,
            panics: false,
            gate: Semaphore::new(Semaphore::MAX_PERMITS),
            traces: Mutex::default(),
        }
    }

    fn calls(&self) -> u32 {
        self.calls.load(Ordering::SeqCst)
    }

    fn call(&self) -> Result<(), Error> {
        self.calls.fetch_add(1, Ordering::SeqCst);
        self.traces.lock().unwrap_or_else(PoisonError::into_inner).push(trace::current());
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
        assert!(!self.panics, "as a defect of the host would");
        if let Some(answer) = &self.answers {
            return Err(answer.clone());
        }
        let poisonous = self.poisonous.contains(&key.session) && !self.well.load(Ordering::SeqCst);
        if poisonous { Err(trap()) } else { Ok(()) }
    }
}

fn trap() -> Error {
    let message = "trapped: unreachable".into();
    Error::Fault(Fault { kind: FaultKind::Trap, function: "inspect", message, backtrace: Vec::new() })
}

fn failure() -> Verdict {
    Verdict::Failure(Failure { function: "start".into(), culprit: None, reason: "away".to_owned() })
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

#[async_trait]
impl ExecutionBackend for Scripted {
    fn info(&self) -> &Info {
        &self.info
    }

    async fn check(&self) -> Result<Report, Error> {
        self.call()?;
        if self.unavailable_checks.load(Ordering::SeqCst) {
            return Err(Error::unavailable("away"));
        }
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
            if self.hangs {
                std::future::pending::<()>().await;
            }
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

    async fn exec(&self, _: &Key, _: &ExecOptions) -> Result<Execution, Error> {
        self.call()?;
        let ended = stream::once(async {
            tokio::time::sleep(Duration::from_secs(60)).await;
            Ok(ExecEvent::Ended(CommandEnd::Code(3)))
        });
        Ok(Execution::deaf(Box::pin(ended)))
    }
}

fn key() -> Key {
    Key { session: SessionId::random(), incarnation: 1, handle: None }
}

fn bulkhead(backend: &Arc<Scripted>) -> Bulkhead<Arc<Scripted>> {
    Bulkhead::new(backend.clone(), &BulkheadConfig::default(), Ceiling::new(64))
}

/// A bulkhead with one permit, and the call that holds it for as long as the gate is shut.
async fn full() -> (Arc<Scripted>, Arc<Bulkhead<Arc<Scripted>>>, JoinHandle<Result<Page, Error>>) {
    let backend = Arc::new(Scripted { gate: Semaphore::new(0), ..Scripted::new() });
    // Longer than any wait in these tests: this is not about deadlines.
    let deadlines = Deadlines { observe: Duration::from_secs(3600), ..Deadlines::default() };
    let limit = LimitConfig { calls: 1, ..LimitConfig::default() };
    let config = BulkheadConfig { limit, deadlines, ..<_>::default() };
    let bulkhead = Arc::new(Bulkhead::new(backend.clone(), &config, Ceiling::new(64)));
    let stuck = tokio::spawn({
        let bulkhead = bulkhead.clone();
        async move { bulkhead.list(None).await }
    });
    while bulkhead.limit().stats().calls.in_flight == 0 {
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
        let backend = Arc::new(scripted);
        let bulkhead = bulkhead(&backend);
        // It is found among the others, then asked about alone, then not at all.
        for most in [21, 2, 1] {
            let answer = bulkhead.inspect(&keys).await.unwrap();
            let positions: HashSet<_> = answer.found.iter().map(|found| found.position).collect();
            assert_eq!(answer.found.len(), 999);
            assert_eq!(positions.len(), 999);
            assert!(!positions.contains(&at));
            assert_eq!(answer.unknown.iter().map(|unknown| unknown.position).collect::<Vec<_>>(), [at]);
            // The whole, and both halves of what is left ten times: 2 log2(n) + 1.
            assert!(backend.calls.swap(0, Ordering::SeqCst) <= most, "more than {most} calls");
        }
        assert_eq!(bulkhead.breaker().state(), BreakerState::Closed);
        assert_eq!(bulkhead.quarantine().list().len(), 1);
        let before = backend.calls();
        bulkhead.inspect(&keys).await.unwrap();
        assert_eq!(backend.calls(), before + 1);
    }
}

#[tokio::test(start_paused = true)]
async fn a_session_that_hangs_is_found_too_if_the_engine_answers() {
    let keys: Vec<_> = (0..1000).map(|_| key()).collect();
    let mut scripted = Scripted { hangs: true, ..Scripted::new() };
    scripted.poisonous.insert(keys[300].session.clone());
    let backend = Arc::new(scripted);
    let bulkhead = bulkhead(&backend);
    for _ in 0..2 {
        let answer = bulkhead.inspect(&keys).await.unwrap();
        assert_eq!((answer.found.len(), answer.unknown.len(), answer.unknown[0].position), (999, 1, 300));
    }
    assert_eq!((bulkhead.breaker().state(), bulkhead.quarantine().list().len()), (BreakerState::Closed, 1));
}

#[tokio::test(start_paused = true)]
async fn an_engine_that_hangs_is_not_asked_about_every_half() {
    let keys: Vec<_> = (0..1000).map(|_| key()).collect();
    let mut scripted = Scripted { hangs: true, ..Scripted::new() };
    scripted.poisonous.insert(keys[300].session.clone());
    let backend = Arc::new(scripted);
    let bulkhead = bulkhead(&backend);
    // One check and one batch each time, until it is left alone.
    backend.unavailable_checks.store(true, Ordering::SeqCst);
    for _ in 0..5 {
        assert!(matches!(bulkhead.inspect(&keys).await, Err(Error::Fault(_))));
    }
    assert!(matches!(bulkhead.inspect(&keys).await, Err(Error::Open { .. })));
    assert_eq!(backend.calls(), 10);
}

#[tokio::test(start_paused = true)]
async fn a_backend_that_fails_for_every_session_is_opened_not_bisected_for_ever() {
    let keys: Vec<_> = (0..1000).map(|_| key()).collect();
    let mut scripted = Scripted::new();
    scripted.poisonous.extend(keys.iter().map(|key| key.session.clone()));
    let backend = Arc::new(scripted);
    let bulkhead = bulkhead(&backend);
    assert!(matches!(bulkhead.inspect(&keys).await, Err(Error::Open { .. })));
    assert!(backend.calls() < 50, "{} calls", backend.calls());
}

/// E15.
#[tokio::test(start_paused = true)]
async fn an_open_breaker_answers_at_once_though_every_permit_is_taken() {
    let (backend, bulkhead, stuck) = full().await;
    open(&bulkhead);
    let begun = tokio::time::Instant::now();
    assert!(matches!(bulkhead.start(&key()).await, Err(Error::Open { .. })));
    assert_eq!(begun.elapsed(), Duration::ZERO);
    assert_eq!(backend.calls(), 0);
    stuck.abort();
}

/// E12.
#[tokio::test(start_paused = true)]
async fn a_full_bulkhead_is_busy_and_not_down() {
    let (_, bulkhead, stuck) = full().await;
    for _ in 0..10 {
        assert!(matches!(bulkhead.start(&key()).await, Err(Error::Full(_))));
    }
    assert_eq!(bulkhead.breaker().state(), BreakerState::Closed);
    assert!(bulkhead.check().await.is_ok(), "a probe was kept out by a full bulkhead");
    stuck.abort();
}

/// E3.
#[tokio::test(start_paused = true)]
async fn no_work_starts_for_a_caller_that_is_gone() {
    let backend = Arc::new(Scripted::new());
    let idle = bulkhead(&backend);
    drop(idle.start(&key()));
    assert_eq!(backend.calls(), 0);
    assert_eq!(idle.limit().stats().calls.in_flight, 0);
}

/// E3, E17.
#[tokio::test(start_paused = true)]
async fn a_caller_that_leaves_the_queue_starts_nothing_when_a_permit_comes_free() {
    let (backend, bulkhead, stuck) = full().await;
    let waiting = tokio::spawn({
        let bulkhead = bulkhead.clone();
        async move { bulkhead.start(&key()).await }
    });
    while bulkhead.limit().stats().calls.queued == 0 {
        tokio::task::yield_now().await;
    }
    waiting.abort();
    assert!(waiting.await.unwrap_err().is_cancelled());
    backend.gate.add_permits(1);
    assert!(stuck.await.unwrap().is_ok());
    assert_eq!(backend.calls(), 1, "only the call that held the permit was made");
    assert_eq!(bulkhead.limit().stats().calls.in_flight, 0);
}

/// E1: through the whole stack.
#[tokio::test(start_paused = true)]
async fn a_call_that_finds_out_and_is_cancelled_or_panics_lets_the_next_one_find_out() {
    let backend = Arc::new(Scripted { gate: Semaphore::new(0), panics: true, ..Scripted::new() });
    let bulkhead = Arc::new(bulkhead(&backend));
    open(&bulkhead);
    tokio::time::advance(Duration::from_secs(30)).await;
    assert!(tokio::time::timeout(Duration::from_secs(1), bulkhead.list(None)).await.is_err());
    assert_eq!(bulkhead.breaker().state(), BreakerState::HalfOpen);
    let inside = bulkhead.clone();
    let panicked = tokio::spawn(async move { inside.start(&key()).await });
    assert!(panicked.await.unwrap_err().is_panic());
    for _ in 0..2 {
        backend.gate.add_permits(1);
        assert!(bulkhead.list(None).await.is_ok());
    }
    assert_eq!(bulkhead.breaker().state(), BreakerState::Closed);
}

fn open(bulkhead: &Bulkhead<Arc<Scripted>>) {
    while let Ok(admission) = bulkhead.breaker().admit() {
        admission.settle(failure());
    }
    assert_eq!(bulkhead.breaker().state(), BreakerState::Open);
}

/// E14.
#[tokio::test(start_paused = true)]
async fn the_callers_own_mistakes_are_answers_and_no_failures() {
    let answers = [
        Error::NotFound("no such workload".into()),
        Error::conflict("it runs"),
        Error::invalid("image", "missing"),
        Error::Denied("not granted".into()),
        Error::Unsupported("no logs".into()),
        Error::Exhausted { message: "quota".into(), retry_after: None },
        Error::Other("a bad day".into()),
    ];
    for answer in answers {
        let backend = Arc::new(Scripted { answers: Some(answer.clone()), ..Scripted::new() });
        let bulkhead = bulkhead(&backend);
        for _ in 0..100 {
            assert_eq!(bulkhead.start(&key()).await, Err(answer.clone()));
        }
        assert_eq!(bulkhead.breaker().state(), BreakerState::Closed, "{answer}");
        assert_eq!(backend.calls(), 100, "{answer} was tried again");
    }
}

/// E13: through the whole stack.
#[tokio::test(start_paused = true)]
async fn an_answer_to_a_call_from_before_the_breaker_opened_changes_nothing() {
    let backend = Arc::new(Scripted { gate: Semaphore::new(0), ..Scripted::new() });
    let bulkhead = Arc::new(bulkhead(&backend));
    let late = tokio::spawn({
        let bulkhead = bulkhead.clone();
        async move { bulkhead.list(None).await }
    });
    while bulkhead.limit().stats().calls.in_flight == 0 {
        tokio::task::yield_now().await;
    }
    open(&bulkhead);
    backend.gate.add_permits(1);
    assert!(late.await.unwrap().is_ok());
    assert_eq!(bulkhead.breaker().state(), BreakerState::Open);
}

#[tokio::test(start_paused = true)]
async fn a_check_always_tells_how_the_engine_is_and_is_asked_once() {
    let (backend, bulkhead, stuck) = full().await;
    open(&bulkhead);
    backend.unavailable.store(1, Ordering::SeqCst);
    assert_eq!(bulkhead.check().await, Err(Error::unavailable("away")));
    assert_eq!(backend.calls(), 1, "it was tried again");
    assert_eq!(bulkhead.breaker().state(), BreakerState::Open);
    assert!(bulkhead.check().await.is_ok());
    assert_eq!(bulkhead.breaker().state(), BreakerState::HalfOpen);
    stuck.abort();
}

#[tokio::test(start_paused = true)]
async fn failed_checks_open_nothing() {
    let backend = Arc::new(Scripted::new());
    let bulkhead = bulkhead(&backend);
    backend.unavailable.store(u32::MAX, Ordering::SeqCst);
    for _ in 0..100 {
        assert!(bulkhead.check().await.is_err());
    }
    assert_eq!(bulkhead.breaker().state(), BreakerState::Closed);
}

#[tokio::test(start_paused = true)]
async fn a_poisonous_session_is_left_alone_for_longer_each_time_and_released_when_it_is_well() {
    let poisonous = key();
    let mut scripted = Scripted::new();
    scripted.poisonous.insert(poisonous.session.clone());
    let backend = Arc::new(scripted);
    let bulkhead = bulkhead(&backend);
    let mut told = bulkhead.changes().subscribe();
    let mut refused_for = Vec::new();
    for _ in 0..8 {
        match bulkhead.start(&poisonous).await {
            Err(Error::Quarantined { function: "start", retry_after, .. }) => {
                refused_for.push(retry_after.as_secs());
                assert!(bulkhead.start(&key()).await.is_ok(), "a neighbour was refused");
                tokio::time::advance(retry_after).await;
                if refused_for.len() == 3 {
                    break;
                }
            }
            Err(Error::Fault(_)) => {}
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(refused_for, [5, 10, 20]);
    assert_eq!(bulkhead.breaker().state(), BreakerState::Closed);
    backend.well.store(true, Ordering::SeqCst);
    assert!(bulkhead.start(&poisonous).await.is_ok());
    assert_eq!(bulkhead.status().quarantine, []);
    let mut changes = Vec::new();
    while let Ok(change) = told.try_recv() {
        changes.push(change);
    }
    let begun = changes.iter().filter(|change| matches!(change, Change::Quarantined(_))).count();
    assert_eq!((begun, changes.len()), (3, 4));
    assert!(matches!(&changes[3], Change::Released { function: "start", session } if *session == poisonous.session));
}

#[tokio::test(start_paused = true)]
async fn a_listener_that_is_behind_finds_the_last_state_in_the_status() {
    let backend = Arc::new(Scripted::new());
    let bulkhead = bulkhead(&backend);
    let mut told = bulkhead.changes().subscribe();
    for _ in 0..200 {
        open(&bulkhead);
        tokio::time::advance(Duration::from_secs(30)).await;
        bulkhead.start(&key()).await.unwrap();
        bulkhead.start(&key()).await.unwrap();
    }
    assert!(told.try_recv().is_err_and(|error| error.to_string().contains("lagged")));
    assert_eq!(bulkhead.status().breaker.state, BreakerState::Closed);
}

/// A subscriber that keeps what spans and events say.
#[derive(Clone, Default)]
struct Trace(Arc<Mutex<Vec<BTreeMap<&'static str, String>>>>);

impl Trace {
    fn keep(&self, name: &'static str, record: impl FnOnce(&mut Fields)) {
        let mut fields = Fields(BTreeMap::from([("name", name.to_owned())]));
        record(&mut fields);
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(fields.0);
    }
}

struct Fields(BTreeMap<&'static str, String>);

impl tracing::field::Visit for Fields {
    fn record_debug(&mut self, field: &tracing::field::Field, value: &dyn std::fmt::Debug) {
        self.0.insert(field.name(), format!("{value:?}").trim_matches('"').to_owned());
    }
}

impl tracing::Subscriber for Trace {
    fn enabled(&self, metadata: &tracing::Metadata<'_>) -> bool {
        metadata.target().starts_with("seawall_backend")
    }

    fn new_span(&self, span: &tracing::span::Attributes<'_>) -> tracing::span::Id {
        self.keep(span.metadata().name(), |fields| span.record(fields));
        tracing::span::Id::from_u64(1)
    }

    fn record(&self, _: &tracing::span::Id, _: &tracing::span::Record<'_>) {}

    fn record_follows_from(&self, _: &tracing::span::Id, _: &tracing::span::Id) {}

    fn event(&self, event: &tracing::Event<'_>) {
        self.keep("event", |fields| event.record(fields));
    }

    fn enter(&self, _: &tracing::span::Id) {}

    fn exit(&self, _: &tracing::span::Id) {}
}

#[tokio::test(start_paused = true)]
async fn each_try_is_in_the_trace_with_its_number_and_the_wait_before_the_next() {
    let trace = Trace::default();
    let _guard = tracing::subscriber::set_default(trace.clone());
    let backend = Arc::new(Scripted::new());
    backend.unavailable.store(2, Ordering::SeqCst);
    assert!(bulkhead(&backend).start(&key()).await.is_ok());
    let mut kept = trace.0.lock().unwrap().clone();
    // The span of the call as a whole.
    kept.retain(|fields| fields["name"] != "backend.call");
    let said: Vec<_> = kept.iter().map(|fields| (fields["name"].as_str(), fields["number"].as_str())).collect();
    assert_eq!(said, [("try", "1"), ("event", "1"), ("try", "2"), ("event", "2"), ("try", "3")]);
    assert!(kept.iter().all(|fields| fields["function"] == "start"), "{kept:?}");
    assert!(kept.iter().filter(|fields| fields["name"] == "event").all(|fields| fields.contains_key("wait")));
}

/// E14.
#[tokio::test(start_paused = true)]
async fn a_cancelled_call_gives_its_permit_back_and_is_no_failure() {
    let backend = Arc::new(Scripted { gate: Semaphore::new(0), ..Scripted::new() });
    let bulkhead = bulkhead(&backend);
    for _ in 0..20 {
        let cancelled = tokio::time::timeout(Duration::from_millis(1), bulkhead.list(None)).await;
        assert!(cancelled.is_err());
    }
    assert_eq!(bulkhead.limit().stats().calls.in_flight, 0);
    assert_eq!(bulkhead.breaker().state(), BreakerState::Closed);
}

#[tokio::test(start_paused = true)]
async fn a_short_outage_is_retried_and_a_long_one_opens_the_breaker() {
    let backend = Arc::new(Scripted::new());
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
async fn a_command_is_not_repeated_and_keeps_a_streams_permit_until_it_is_dropped() {
    let backend = Arc::new(Scripted::new());
    let bulkhead = bulkhead(&backend);
    backend.unavailable.store(1, Ordering::SeqCst);
    let lost = bulkhead.exec(&key(), &ExecOptions::default()).await.unwrap_err();
    assert!(matches!(lost, Error::Unavailable { .. }), "{lost}");
    assert_eq!(backend.calls(), 1, "it may have run");
    assert_eq!(bulkhead.limit().stats().streams.in_flight, 0);

    let execution = bulkhead.exec(&key(), &ExecOptions::default()).await.unwrap();
    let stats = bulkhead.limit().stats();
    assert_eq!((stats.streams.in_flight, stats.calls.in_flight), (1, 0));
    assert_eq!(execution.finish(0).await.unwrap(), (Vec::new(), CommandEnd::Code(3)));
    assert_eq!(bulkhead.limit().stats().streams.in_flight, 0);
}

/// E4.
#[tokio::test(start_paused = true)]
async fn a_stream_outlives_the_deadline_and_keeps_its_permit_until_it_is_dropped() {
    let backend = Arc::new(Scripted::new());
    let bulkhead = bulkhead(&backend);
    let mut stream = bulkhead.logs(&key(), &LogOptions::default()).await.unwrap();
    for at in 0..10 {
        assert_eq!(stream.next().await.unwrap().unwrap().bytes, at.to_string());
    }
    assert_eq!(bulkhead.limit().stats().streams.in_flight, 1);
    assert_eq!(bulkhead.limit().stats().calls.in_flight, 0);
    drop(stream);
    assert_eq!(bulkhead.limit().stats().streams.in_flight, 0);
}

#[tokio::test(start_paused = true)]
async fn all_tries_of_a_call_are_within_one_trace() {
    let backend = Arc::new(Scripted::new());
    let bulkhead = bulkhead(&backend);
    let seen = || std::mem::take(&mut *backend.traces.lock().unwrap_or_else(PoisonError::into_inner));

    backend.unavailable.store(2, Ordering::SeqCst);
    let id = TraceId::random();
    trace::scope(id, bulkhead.start(&key())).await.unwrap();
    assert_eq!(seen(), [Some(id); 3], "that of the caller");

    bulkhead.check().await.unwrap();
    bulkhead.start(&key()).await.unwrap();
    let own = seen();
    assert!(own.iter().all(Option::is_some) && own[0] != own[1], "one of its own each: {own:?}");
    assert_eq!(trace::current(), None);
}
