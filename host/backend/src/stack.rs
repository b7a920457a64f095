//! The bulkhead round a backend: the one place where the mechanisms are put in order.
//!
//! ```text
//!   retry( quarantine -> breaker asked -> permit -> breaker admits -> deadline( the call ) )
//! ```
//!
//! - An open breaker and a quarantine answer before anything is waited for.
//! - The breaker is asked again when the permit is there, since it may have opened meanwhile; in half-open this is where
//!   one call gets the probe's place.
//! - The deadline runs from the first instruction of the call, not from the wait for a permit: waiting has a bound of its
//!   own, and a slow queue must not look like a slow backend.
//! - Everything that is held is a guard, so a caller that goes away gives everything back and counts as nothing.

use std::time::Duration;

use async_trait::async_trait;
use futures_util::{StreamExt, future::BoxFuture};
use seawall_model::{
    Inspection, Key, LogOptions, Page, Report, SessionId, SessionName, SessionSpec, Signal, Status, Unknown,
};
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use crate::breaker::{Breaker, BreakerConfig, Verdict};
use crate::deadline::within;
use crate::limit::{Ceiling, Limit, LimitConfig};
use crate::quarantine::{Quarantine, QuarantineConfig};
use crate::retry::{RetryConfig, retrying};
use crate::{Class, Deadlines, Error, ExecutionBackend, FaultKind, Info, LogStream};

/// The settings of one backend's bulkhead.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "kebab-case", deny_unknown_fields)]
pub struct BulkheadConfig {
    /// How long a call may take.
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

/// A backend behind a bulkhead.
#[derive(Debug)]
pub struct Bulkhead<B> {
    inner: B,
    deadlines: Deadlines,
    retry: RetryConfig,
    limit: Limit,
    breaker: Breaker,
    quarantine: Quarantine,
}

/// What the layers need to know of a call.
#[derive(Clone, Copy)]
struct Call<'a> {
    function: &'static str,
    class: Class,
    about: About<'a>,
}

/// Whose fault a fault may be.
#[derive(Clone, Copy)]
enum About<'a> {
    /// The backend as a whole.
    Backend,
    /// One session.
    Session(&'a SessionId),
    /// One of many sessions: halving the batch will tell which.
    Batch,
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
        Self {
            inner,
            deadlines: config.deadlines,
            retry: config.retry,
            limit: Limit::new(config.limit, ceiling),
            breaker: Breaker::new(config.breaker),
            quarantine: Quarantine::new(config.quarantine),
        }
    }

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

    /// Every call of the trait is idempotent, hence every one is retried when the engine was unavailable.
    async fn call<T, F>(&self, call: Call<'_>, make: impl Fn() -> F) -> Result<T, Error>
    where
        F: Future<Output = Result<T, Error>>,
    {
        let until = Instant::now() + self.deadlines.of(call.class);
        retrying(&self.retry, call.function, until, || self.once(call, make())).await
    }

    /// `made` has not begun: a future does nothing before it is polled, and it is dropped unpolled if it may not begin.
    async fn once<T>(&self, call: Call<'_>, made: impl Future<Output = Result<T, Error>>) -> Result<T, Error> {
        if let About::Session(session) = call.about
            && let Some(left) = self.quarantine.left(call.function, session)
        {
            return Err(quarantined(call.function, session, left));
        }
        self.breaker.ask()?;
        let _permit = self.limit.acquire(call.class).await?;
        let admission = self.breaker.admit()?;
        let answer = within(call.function, self.deadlines.of(call.class), made).await;
        if let About::Session(session) = call.about {
            match &answer {
                Err(error) if is_guests_fault(error) => self.quarantine.faulted(call.function, session),
                Err(Error::Unavailable { .. }) => {}
                _ => self.quarantine.answered(call.function, session),
            }
        }
        admission.settle(&verdict(&answer, call.about));
        answer
    }
}

impl<B: ExecutionBackend> Bulkhead<B> {
    /// Asks about a batch, and halves one that made the plugin fault until the sessions at fault are alone. These are
    /// `unknown`; the others are answered as if nothing had been.
    fn inspect_from<'a>(&'a self, keys: &'a [Key], offset: usize) -> BoxFuture<'a, Result<Inspection, Error>> {
        Box::pin(async move {
            let call = Call::of("inspect", Class::Observe);
            let call = if let [key] = keys { call.about(key) } else { Call { about: About::Batch, ..call } };
            match self.call(call, || self.inner.inspect(keys)).await {
                Ok(mut inspection) => {
                    inspection.shift(offset);
                    Ok(inspection)
                }
                Err(error) if keys.len() > 1 && is_worth_halving(&error) => {
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

    /// The batch without the sessions in quarantine, which are `unknown` without being asked about.
    async fn inspect_healthy(&self, keys: &[Key]) -> Result<Inspection, Error> {
        let mut asked = Vec::with_capacity(keys.len());
        let mut places = Vec::with_capacity(keys.len());
        let mut unknown = Vec::new();
        for (position, key) in keys.iter().enumerate() {
            match self.quarantine.left("inspect", &key.session) {
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
        Ok(inspection)
    }
}

#[async_trait]
impl<B: ExecutionBackend> ExecutionBackend for Bulkhead<B> {
    fn info(&self) -> &Info {
        self.inner.info()
    }

    async fn check(&self) -> Result<Report, Error> {
        self.call(Call::of("check", Class::Check), || self.inner.check()).await
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

    /// Opening is a call like any other; the stream then holds a permit of its own kind for as long as it lives, and has
    /// no deadline (E4).
    async fn logs(&self, key: &Key, options: &LogOptions) -> Result<LogStream, Error> {
        let permit = self.limit.open_stream()?;
        let call = Call::of("logs.open", Class::Stream).about(key);
        let stream = self.call(call, || self.inner.logs(key, options)).await?;
        Ok(Box::pin(stream.inspect(move |_| _ = &permit)))
    }
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
        | FaultKind::BadAnswer => true,
        FaultKind::Instantiate | FaultKind::Internal => false,
    }
}

/// A smaller batch may come through. Not after a deadline: an engine that hangs would make every half wait as long.
fn is_worth_halving(error: &Error) -> bool {
    is_guests_fault(error) && !matches!(error, Error::Fault(fault) if fault.kind == FaultKind::Deadline)
}

/// What an answer says about the backend. Whoever answers, if only "not found", is there (E14).
fn verdict<T>(answer: &Result<T, Error>, about: About<'_>) -> Verdict {
    match answer {
        Ok(_) => Verdict::Success,
        Err(error) => match error {
            Error::NotFound(_)
            | Error::Conflict { .. }
            | Error::Invalid(_)
            | Error::Denied(_)
            | Error::Exhausted { .. }
            | Error::Unsupported(_)
            | Error::Other(_) => Verdict::Success,
            Error::Unavailable { .. } => Verdict::Failure { culprit: None },
            Error::Full { .. } | Error::Open { .. } | Error::Quarantined { .. } => Verdict::Nothing,
            Error::Fault(_) if !is_guests_fault(error) => Verdict::Nothing,
            Error::Fault(_) => match about {
                About::Session(session) => Verdict::Failure { culprit: Some(session.clone()) },
                About::Batch if is_worth_halving(error) => Verdict::Nothing,
                About::Backend | About::Batch => Verdict::Failure { culprit: None },
            },
        },
    }
}
