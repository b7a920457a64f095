//! The bulkhead round a backend: the one place where the mechanisms are put in order.
//!
//! ```text
//!   retry( quarantine -> breaker asked -> permit -> breaker admits -> redact( deadline( the call ) ) )
//! ```
//!
//! - An open breaker and a quarantine answer before anything is waited for.
//! - The breaker is asked again when the permit is there, since it may have opened meanwhile; in half-open this is where
//!   one call gets the probe's place.
//! - The deadline runs from the first instruction of the call, not from the wait for a permit: waiting has a bound of its
//!   own, and a slow queue must not look like a slow backend.
//! - What the backend says went wrong is redacted before anybody keeps a word of it.
//! - A health check goes round all but two: it has a permit of its own kind and the deadline. It is never refused by an
//!   open breaker nor by a quarantine, and is not retried, so that what it says is the engine's real answer; it speaks of
//!   the engine and of no session, so that it stands as it was said.
//! - Opening a watch goes round the retries, and what comes of it is nothing to the breaker.
//! - All tries of a call are within one trace: that of whoever calls, or else a new one.
//! - Everything that is held is a guard, so a caller that goes away gives everything back and counts as nothing.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures_util::future::BoxFuture;
use seawall_model::{
    AttachOptions, CheckResult, Endpoint, ExecOptions, Incarnation, Inspection, InvalidSpec, Key, LogOptions,
    Measurement, Page, Problem, Report, SessionId, SessionName, SessionSpec, Signal, Status, Unknown,
};
use serde::{Deserialize, Serialize};
use tokio::time::Instant;
use tracing::Instrument as _;

use crate::breaker::{Breaker, BreakerConfig, BreakerStatus, Failure, Verdict};
use crate::changes::Changes;
use crate::deadline::{all_within, within};
use crate::limit::{Ceiling, Limit, LimitConfig, LimitStats, PoolStats};
use crate::observer::{Observer, Try};
use crate::quarantine::{Quarantine, QuarantineConfig, Quarantined};
use crate::redact::{About, Redact};
use crate::retry::{RetryConfig, retrying};
use crate::{
    Attachment, Class, Deadlines, Error, Execution, ExecutionBackend, FaultKind, Holding, Info, Input, LogStream,
    Preparation, Wakes, trace,
};

/// The settings of one backend's bulkhead.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(default, rename_all = "kebab-case", deny_unknown_fields)]
pub struct BulkheadConfig {
    /// How long a call may take. Written in a table of its own, since the runtime needs it too.
    #[serde(skip)]
    pub deadlines: Deadlines,
    /// How many at once.
    pub limit: LimitConfig,
    /// When it is left alone.
    pub breaker: BreakerConfig,
    /// When one of its sessions is left alone.
    pub quarantine: QuarantineConfig,
    /// What is tried again.
    pub retry: RetryConfig,
}

impl BulkheadConfig {
    /// Checks what types cannot say. Every problem is found, not only the first; fields are named as in a file.
    ///
    /// # Errors
    /// A list of settings that cannot be as they are.
    pub fn validate(&self) -> Result<(), InvalidSpec> {
        let mut problems = Vec::new();
        let mut refuse = |field: &str, message: &str| {
            problems.push(Problem { field: field.to_owned(), message: message.to_owned() });
        };
        self.deadlines.check(&mut refuse);
        self.limit.check(&mut refuse);
        self.breaker.check(&mut refuse);
        self.quarantine.check(&mut refuse);
        self.retry.check(&mut refuse);
        if problems.is_empty() { Ok(()) } else { Err(InvalidSpec { problems }) }
    }
}

/// Takes the name of a setting that cannot be as it is, and what it may be.
pub(crate) type Refuse<'a> = &'a mut dyn FnMut(&str, &str);

/// A backend behind a bulkhead.
#[derive(Debug)]
pub struct Bulkhead<B: ?Sized> {
    deadlines: Deadlines,
    retry: RetryConfig,
    limit: Limit,
    breaker: Breaker,
    quarantine: Quarantine,
    redact: Redact,
    changes: Changes,
    observer: Option<Arc<dyn Observer>>,
    inner: B,
}

/// A bulkhead as `backend inspect` shows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct BulkheadStatus {
    /// Whether calls are let in.
    pub breaker: BreakerStatus,
    /// Permits of this backend, by kind.
    pub permits: LimitStats,
    /// Permits that all backends share.
    pub host: PoolStats,
    /// What is left alone now.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub quarantine: Vec<Quarantined>,
}

/// What the layers need to know of a call.
#[derive(Clone, Copy)]
struct Call<'a> {
    function: &'static str,
    class: Class,
    about: About<'a>,
}

impl<'a> Call<'a> {
    fn of(function: &'static str, class: Class) -> Self {
        Self { function, class, about: About::Backend }
    }

    fn about(self, key: &'a Key) -> Self {
        Self { about: About::Session(&key.session), ..self }
    }
}

impl<B> Bulkhead<B> {
    /// Puts a bulkhead round `inner`.
    pub fn new(inner: B, config: &BulkheadConfig, ceiling: Ceiling) -> Self {
        let changes = Changes::default();
        Self {
            deadlines: config.deadlines,
            retry: config.retry,
            limit: Limit::new(config.limit, ceiling, changes.clone()),
            breaker: Breaker::new(config.breaker, changes.clone()),
            quarantine: Quarantine::new(config.quarantine, changes.clone()),
            redact: Redact::default(),
            changes,
            observer: None,
            inner,
        }
    }

    /// Tells of each try of a call there.
    #[must_use]
    pub fn observed_by(self, observer: Arc<dyn Observer>) -> Self {
        Self { observer: Some(observer), ..self }
    }
}

impl<B: ?Sized> Bulkhead<B> {
    /// Its breaker.
    pub fn breaker(&self) -> &Breaker {
        &self.breaker
    }

    /// Its permits.
    pub fn limit(&self) -> &Limit {
        &self.limit
    }

    /// Its quarantine.
    pub fn quarantine(&self) -> &Quarantine {
        &self.quarantine
    }

    /// What its errors do not repeat.
    pub fn redact(&self) -> &Redact {
        &self.redact
    }

    /// What it tells of itself.
    pub fn changes(&self) -> &Changes {
        &self.changes
    }

    /// Tells whoever counts that all its sessions were looked at, in this time.
    pub fn swept(&self, took: Duration) {
        self.observer.iter().for_each(|observer| observer.swept(took));
    }

    /// Everything that is to be shown of it.
    pub fn status(&self) -> BulkheadStatus {
        BulkheadStatus {
            breaker: self.breaker.status(),
            permits: self.limit.stats(),
            host: self.limit.ceiling().stats(),
            quarantine: self.quarantine.list(),
        }
    }

    /// Every call of the trait but `exec` is idempotent, hence every one is retried when the engine was unavailable.
    async fn call<T, F>(&self, call: Call<'_>, make: impl Fn() -> F) -> Result<T, Error>
    where
        F: Future<Output = Result<T, Error>>,
    {
        let until = Instant::now() + self.deadlines.of(call.class);
        let tries =
            retrying(&self.retry, call.function, until, || self.observed(call.function, self.once(call, &make)));
        within_trace(call, tries).await
    }

    async fn observed<T>(
        &self,
        function: &'static str,
        made: impl Future<Output = Result<T, Error>>,
    ) -> Result<T, Error> {
        let begun = Try::begin(self.observer.as_ref(), function);
        let answer = made.await;
        begun.end(&answer);
        answer
    }

    async fn once<T, F>(&self, call: Call<'_>, make: impl FnOnce() -> F) -> Result<T, Error>
    where
        F: Future<Output = Result<T, Error>>,
    {
        if let About::Session(session) = call.about
            && let Some(left) = self.quarantine.left(call.function, session)
        {
            return Err(quarantined(call.function, session, left));
        }
        self.breaker.ask()?;
        // Boxed here: the future of a call is large, and moving it through the layers costs more than a refusal does.
        Box::pin(self.admitted(call, make)).await
    }

    async fn admitted<T, F>(&self, call: Call<'_>, make: impl FnOnce() -> F) -> Result<T, Error>
    where
        F: Future<Output = Result<T, Error>>,
    {
        let _permit = self.limit.acquire(call.class).await?;
        let admission = self.breaker.admit()?;
        let answer = within(call.function, self.deadlines.of(call.class), make()).await;
        let answer = answer.map_err(|error| self.redact.error(call.about, error));
        if let About::Session(session) = call.about {
            match &answer {
                Err(error) if is_guests_fault(error) => {
                    self.quarantine.faulted(call.function, session, error.to_string());
                }
                Err(Error::Unavailable { .. }) => {}
                _ => self.quarantine.answered(call.function, session),
            }
        }
        admission.settle(verdict(&answer, call));
        answer
    }
}

impl<B: ExecutionBackend + ?Sized> Bulkhead<B> {
    /// Asks about a batch, and halves one that made the plugin fault until the sessions at fault are alone. These are
    /// `unknown`; the others are answered as if nothing had been.
    fn inspect_from<'a>(&'a self, keys: &'a [Key], offset: usize) -> BoxFuture<'a, Result<Inspection, Error>> {
        Box::pin(async move {
            let call = Call::of("inspect", Class::Observe);
            let call = if let [key] = keys { call.about(key) } else { Call { about: About::Batch(keys), ..call } };
            match self.call(call, || self.inner.inspect(keys)).await {
                Ok(mut inspection) => {
                    inspection.shift(offset);
                    Ok(inspection)
                }
                Err(error) if keys.len() > 1 && self.is_worth_halving(&error).await => {
                    let (left, right) = keys.split_at(keys.len() / 2);
                    let mut inspection = self.inspect_from(left, offset).await?;
                    inspection.append(self.inspect_from(right, offset + left.len()).await?);
                    Ok(inspection)
                }
                Err(error @ (Error::Fault(_) | Error::Quarantined { .. })) if keys.len() == 1 => {
                    let unknown = Unknown { position: offset, reason: error.to_string() };
                    Ok(Inspection { found: Vec::new(), unknown: vec![unknown] })
                }
                Err(error) => Err(error),
            }
        })
    }

    /// A smaller batch may come through. After a deadline only if the engine answers: one that hangs would make every
    /// half wait as long, and has failed.
    async fn is_worth_halving(&self, error: &Error) -> bool {
        if !is_guests_fault(error) || !is_deadline(error) {
            return is_guests_fault(error);
        }
        if self.check().await.is_ok() {
            return true;
        }
        if let Ok(admission) = self.breaker.admit() {
            let (function, reason) = ("inspect".into(), error.to_string());
            admission.settle(Verdict::Failure(Failure { function, culprit: None, reason }));
        }
        false
    }

    /// The batch without the sessions in quarantine, which are `unknown` without being asked about, and those that the
    /// plugin faulted about before, each of which is asked about alone.
    async fn inspect_healthy(&self, keys: &[Key]) -> Result<Inspection, Error> {
        let mut asked = Vec::with_capacity(keys.len());
        let mut places = Vec::with_capacity(keys.len());
        let mut unknown = Vec::new();
        let mut suspects = Vec::new();
        for (position, key) in keys.iter().enumerate() {
            match self.quarantine.left("inspect", &key.session) {
                None if self.quarantine.suspects("inspect", &key.session) => suspects.push((position, key)),
                None => {
                    asked.push(key.clone());
                    places.push(position);
                }
                Some(left) => {
                    let reason = quarantined("inspect", &key.session, left).to_string();
                    unknown.push(Unknown { position, reason });
                }
            }
        }
        let mut inspection =
            if asked.is_empty() { Inspection::default() } else { self.inspect_from(&asked, 0).await? };
        inspection.place(&places);
        inspection.unknown.extend(unknown);
        for (position, key) in suspects {
            match self.inspect_from(std::slice::from_ref(key), position).await {
                Ok(answer) => inspection.append(answer),
                // The others were answered about: that is not lost for the sake of a suspect.
                Err(error) => inspection.unknown.push(Unknown { position, reason: error.to_string() }),
            }
        }
        Ok(inspection)
    }
}

#[async_trait]
impl<B: ExecutionBackend + ?Sized> ExecutionBackend for Bulkhead<B> {
    fn info(&self) -> &Info {
        self.inner.info()
    }

    async fn check(&self) -> Result<Report, Error> {
        let check = self.observed("check", async {
            let _permit = self.limit.acquire(Class::Check).await?;
            let check = self.breaker.check();
            let report = within("check", self.deadlines.of(Class::Check), self.inner.check()).await?;
            check.answered();
            Ok(report)
        });
        within_trace(Call::of("check", Class::Check), check).await
    }

    async fn create(&self, key: &Key, name: &SessionName, spec: &SessionSpec) -> Result<Status, Error> {
        let call = Call::of("create", Class::Control).about(key);
        self.call(call, || self.inner.create(key, name, spec)).await
    }

    async fn start(&self, key: &Key) -> Result<Status, Error> {
        self.call(Call::of("start", Class::Control).about(key), || self.inner.start(key)).await
    }

    async fn signal(&self, key: &Key, signal: Signal) -> Result<(), Error> {
        self.call(Call::of("signal", Class::Control).about(key), || self.inner.signal(key, signal)).await
    }

    async fn remove(&self, key: &Key, force: bool) -> Result<(), Error> {
        self.call(Call::of("remove", Class::Control).about(key), || self.inner.remove(key, force)).await?;
        self.quarantine.forget(&key.session);
        Ok(())
    }

    async fn inspect(&self, keys: &[Key]) -> Result<Inspection, Error> {
        // With nothing in quarantine, which is nearly always, no key is copied.
        if self.quarantine.is_empty() { self.inspect_from(keys, 0).await } else { self.inspect_healthy(keys).await }
    }

    async fn list(&self, cursor: Option<&str>) -> Result<Page, Error> {
        self.call(Call::of("list", Class::Observe), || self.inner.list(cursor)).await
    }

    fn can_expunge(&self) -> bool {
        self.inner.can_expunge()
    }

    /// It does not go through the plugin: neither an open breaker nor a quarantine is in its way, and it needs no permit.
    async fn expunge(&self, session: &SessionId) -> Result<Vec<Incarnation>, Error> {
        let limit = self.deadlines.of(Class::Control);
        let late =
            |_| Error::unavailable(format!("the host was not done with removing session {session} after {limit:?}"));
        let gone = tokio::time::timeout(limit, self.inner.expunge(session)).await.map_err(late)??;
        self.quarantine.forget(session);
        Ok(gone)
    }

    /// Opening is a call like any other; the stream then holds a permit of its own kind for as long as it lives, and has
    /// no deadline (E4).
    async fn logs(&self, key: &Key, options: &LogOptions) -> Result<LogStream, Error> {
        let permit = self.limit.open_stream()?;
        let call = Call::of("logs.open", Class::Stream).about(key);
        let stream = self.call(call, || self.inner.logs(key, options)).await?;
        Ok(Box::pin(Holding::new(stream, permit)))
    }

    /// As `logs`, and not retried: a command whose answer was lost may have run.
    async fn exec(&self, key: &Key, options: &ExecOptions) -> Result<Execution, Error> {
        let permit = self.limit.open_stream()?;
        let call = Call::of("exec.run", Class::Stream).about(key);
        let begun = self.once(call, || self.inner.exec(key, options));
        let Execution { events, input } = within_trace(call, begun).await?;
        Ok(Execution { events: Box::pin(Holding::new(events, permit)), input })
    }

    async fn last_health_check(&self, key: &Key) -> Result<Option<CheckResult>, Error> {
        let call = Call::of("health-checks.last", Class::Observe).about(key);
        self.call(call, || self.inner.last_health_check(key)).await
    }

    /// As `logs`.
    async fn attach(&self, key: &Key, options: &AttachOptions) -> Result<Attachment, Error> {
        let permit = self.limit.open_stream()?;
        let call = Call::of("attach.open", Class::Stream).about(key);
        let Attachment { output, input } = self.call(call, || self.inner.attach(key, options)).await?;
        Ok(Attachment { output: Box::pin(Holding::new(output, permit)), input })
    }

    /// As `logs`.
    async fn input(&self, key: &Key) -> Result<Box<dyn Input>, Error> {
        let permit = self.limit.open_stream()?;
        let call = Call::of("input.open", Class::Stream).about(key);
        let input = self.call(call, || self.inner.input(key)).await?;
        Ok(Box::new(Holding::new(input, permit)))
    }

    async fn stats(&self, keys: &[Key]) -> Result<Vec<Measurement>, Error> {
        let call = Call { about: About::Batch(keys), ..Call::of("stats.sample", Class::Observe) };
        self.call(call, || self.inner.stats(keys)).await
    }

    async fn endpoints(&self, key: &Key) -> Result<Vec<Endpoint>, Error> {
        let call = Call::of("endpoint.list", Class::Observe).about(key);
        self.call(call, || self.inner.endpoints(key)).await
    }

    async fn pause(&self, key: &Key) -> Result<(), Error> {
        self.call(Call::of("pause.pause", Class::Control).about(key), || self.inner.pause(key)).await
    }

    async fn unpause(&self, key: &Key) -> Result<(), Error> {
        self.call(Call::of("pause.unpause", Class::Control).about(key), || self.inner.unpause(key)).await
    }

    /// The permit of a long call, and the deadline of one, are for all of it: it goes on after this has answered.
    async fn prepare(&self, reference: &str, missing: bool) -> Result<Preparation, Error> {
        let permit = self.limit.acquire(Class::Long).await?;
        let call = Call::of("images.prepare", Class::Stream);
        let progress = self.call(call, || self.inner.prepare(reference, missing)).await?;
        let progress = all_within(call.function, self.deadlines.of(Class::Long), progress);
        Ok(Box::pin(Holding::new(Box::pin(progress), permit)))
    }

    /// It takes no permit of the streams, which are for users. A watch is worth nothing but time: one that cannot be
    /// opened opens no breaker, and whoever wants it tries again.
    async fn watch(&self) -> Result<Wakes, Error> {
        let call = Call::of("watch.open", Class::Stream);
        let opened = self.observed(call.function, async {
            self.breaker.ask()?;
            let _permit = self.limit.acquire(call.class).await?;
            let opened = within(call.function, self.deadlines.of(call.class), self.inner.watch()).await;
            opened.map_err(|error| self.redact.error(call.about, error))
        });
        within_trace(call, opened).await
    }
}

/// Within the trace of whoever calls, or else a new one, with a span over all tries.
async fn within_trace<T>(call: Call<'_>, tries: impl Future<Output = Result<T, Error>>) -> Result<T, Error> {
    trace::scope(trace::cause_or_new(), async {
        let span = tracing::debug_span!(
            "backend.call",
            function = call.function,
            class = call.class.as_str(),
            session = tracing::field::Empty,
            outcome = tracing::field::Empty,
            otel.status_code = tracing::field::Empty,
        );
        if let About::Session(session) = call.about {
            span.record("session", session.as_str());
        }
        let answer = tries.instrument(span.clone()).await;
        span.record("outcome", answer.as_ref().map_or_else(Error::kind, |_| "ok"));
        if answer.is_err() {
            span.record("otel.status_code", "ERROR");
        }
        answer
    })
    .await
}

fn quarantined(function: &'static str, session: &SessionId, left: Duration) -> Error {
    Error::Quarantined { function, session: session.clone(), retry_after: left }
}

/// The plugin itself failed, as opposed to the engine behind it, the host, or the caller.
fn is_guests_fault(error: &Error) -> bool {
    let Error::Fault(fault) = error else { return false };
    match fault.kind {
        FaultKind::Trap
        | FaultKind::Fuel
        | FaultKind::Memory
        | FaultKind::Deadline
        | FaultKind::Limit
        | FaultKind::BadAnswer
        | FaultKind::Instantiate => true,
        FaultKind::PoolFull | FaultKind::Internal => false,
    }
}

fn is_deadline(error: &Error) -> bool {
    matches!(error, Error::Fault(fault) if fault.kind == FaultKind::Deadline)
}

/// What an answer says about the backend. Whoever answers, if only "not found", is there (E14).
fn verdict<T>(answer: &Result<T, Error>, call: Call<'_>) -> Verdict {
    let Err(error) = answer else { return Verdict::Success };
    let failure = |culprit: Option<&SessionId>| {
        let (function, culprit) = (call.function.into(), culprit.cloned());
        Verdict::Failure(Failure { function, culprit, reason: error.to_string() })
    };
    match error {
        Error::NotFound(_)
        | Error::Conflict { .. }
        | Error::Invalid(_)
        | Error::Denied(_)
        | Error::Exhausted { .. }
        | Error::Unsupported(_)
        | Error::Other(_) => Verdict::Success,
        Error::Unavailable { .. } => failure(None),
        Error::Full(_) | Error::Open { .. } | Error::Quarantined { .. } => Verdict::Nothing,
        Error::Fault(_) if !is_guests_fault(error) => Verdict::Nothing,
        Error::Fault(_) => match call.about {
            About::Session(session) => failure(Some(session)),
            // Halving will tell.
            About::Batch(_) => Verdict::Nothing,
            About::Backend => failure(None),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_are_valid_and_every_bad_setting_is_named_at_once() {
        assert_eq!(BulkheadConfig::default().validate(), Ok(()));
        let zero = Duration::ZERO;
        let bad = BulkheadConfig {
            deadlines: Deadlines { check: zero, ..Deadlines::default() },
            limit: LimitConfig { calls: 0, calls_wait: Duration::MAX, ..LimitConfig::default() },
            breaker: BreakerConfig { failures: 0, open_for: zero, successes: 0 },
            quarantine: QuarantineConfig { faults: 0, first: zero, longest: Duration::MAX },
            retry: RetryConfig { retries: 101, backoff: zero, max_backoff: Duration::MAX },
        };
        let problems = bad.validate().unwrap_err().problems;
        let fields: Vec<_> = problems.iter().map(|problem| problem.field.as_str()).collect();
        assert_eq!(
            fields,
            [
                "deadlines.check",
                "limit.calls",
                "limit.calls-wait",
                "breaker.failures",
                "breaker.successes",
                "breaker.open-for",
                "quarantine.faults",
                "quarantine.first",
                "quarantine.longest",
                "retry.retries",
                "retry.backoff",
                "retry.max-backoff",
            ]
        );
    }
}
