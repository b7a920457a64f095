//! A component as an [`ExecutionBackend`]: questions in the guest's words, answers checked before anyone sees them.

use std::sync::Arc;

use async_trait::async_trait;
use seawall_backend::observer::Observer;
use seawall_backend::{
    Attachment, Error, Execution, ExecutionBackend, Info, Input, Interface, LogStream, Preparation, Wakes, within,
};
use seawall_capability::convert::{LARGEST_BATCH, Refusal, from_guest, to_guest};
use seawall_capability::{ByteSink, ByteStream, Duplex, Phase, Prepared, WakeSource};
use seawall_model::{
    AttachOptions, CheckResult, Endpoint, ExecOptions, Found, Incarnation, Inspection, Key, LogOptions, Measurement,
    Page, Redactor, Report, SessionId, SessionName, SessionSpec, Signal, Status,
};
use wasmtime::Store;
use wasmtime::component::{ComponentNamedList, Lift, Lower, Resource};

use crate::bindings::wit;
use crate::call::{CallState, Loaded};
use crate::exports::Function;
use crate::key::BorrowedKey;
use crate::{answer, fault, spec};

/// A loaded plugin. Cheap to clone; calls share nothing but the compiled code and the capabilities.
#[derive(Clone)]
pub struct WasmBackend {
    loaded: Arc<Loaded>,
    info: Arc<Info>,
    /// Calls end at the deadline of their class.
    timed: bool,
    observer: Option<Arc<dyn Observer>>,
}

impl WasmBackend {
    pub(crate) fn new(loaded: Loaded, info: Info) -> Self {
        Self { loaded: Arc::new(loaded), info: Arc::new(info), timed: true, observer: None }
    }

    /// The same, with deadlines left to whoever calls: the [`Bulkhead`](seawall_backend::Bulkhead) has one for every kind
    /// of backend, and two timers on one call would race. A guest that runs on is still ended: no turn of it begins after its deadline.
    #[must_use]
    pub fn untimed(self) -> Self {
        Self { timed: false, ..self }
    }

    /// Tells there what each call takes of the host. Calls themselves are told of by the bulkhead.
    #[must_use]
    pub fn observed_by(self, observer: Arc<dyn Observer>) -> Self {
        Self { observer: Some(observer), ..self }
    }

    pub(crate) fn loaded(&self) -> &Loaded {
        &self.loaded
    }

    /// Calls a function that answers with a result. `Err` is the plugin's own error, or the fault that ended the call.
    async fn ask<P, T>(&self, function: &Function, params: P) -> Result<T, Error>
    where
        P: ComponentNamedList + Lower + Send + Sync,
        T: Lift + Send + Sync + 'static,
        (Result<T, wit::Error>,): ComponentNamedList,
    {
        self.ask_with(function, Phase::Look, params, None, |answer, _| answer).await
    }

    /// The same of a function that makes or changes the workload of this key.
    async fn order<P, T>(&self, function: &Function, key: &Key, params: P) -> Result<T, Error>
    where
        P: ComponentNamedList + Lower + Send + Sync,
        T: Lift + Send + Sync + 'static,
        (Result<T, wit::Error>,): ComponentNamedList,
    {
        self.ask_with(function, change(key), params, None, |answer, _| answer).await
    }

    /// The same, with values to redact from everything that the plugin says, and with the store that the answer may
    /// refer to, before it ends.
    async fn ask_with<P, T, U>(
        &self,
        function: &Function,
        phase: Phase,
        params: P,
        secrets: Option<Arc<Redactor>>,
        take: impl FnOnce(T, &mut Store<CallState>) -> U,
    ) -> Result<U, Error>
    where
        P: ComponentNamedList + Lower + Send + Sync,
        T: Lift + Send + Sync + 'static,
        (Result<T, wit::Error>,): ComponentNamedList,
    {
        let taken = |(answer,): (Result<T, wit::Error>,), store: &mut Store<CallState>| {
            answer.map(|answer| take(answer, store))
        };
        let called = self.loaded.call(function, self.observer.as_ref(), phase, secrets.clone(), params, taken);
        let called = if self.timed {
            within(function.name, self.loaded.deadlines.of(function.class), called).await
        } else {
            called.await
        };
        called?.map_err(|error| match secrets {
            Some(secrets) => from_guest::error_with(error, |text| secrets.clean(text)),
            None => from_guest::error(error),
        })
    }

    /// A function of an interface that not every plugin exports.
    fn optional<'a>(&self, function: &'a Option<Function>, interface: Interface) -> Result<&'a Function, Error> {
        function.as_ref().ok_or_else(|| {
            Error::Unsupported(format!("the plugin {} does not export `{}`", self.info.name, interface.as_str()))
        })
    }

    /// Calls a function that hands over a resource of the host's. Out of the table it belongs to nobody but the caller.
    async fn take<P, R>(
        &self,
        function: &Function,
        phase: Phase,
        params: P,
        secrets: Option<Arc<Redactor>>,
    ) -> Result<R, Error>
    where
        P: ComponentNamedList + Lower + Send + Sync,
        R: Send + 'static,
        (Result<Resource<R>, wit::Error>,): ComponentNamedList,
    {
        let taken = self.ask_with(function, phase, params, secrets, |handle: Resource<R>, store| {
            store.data_mut().context.table().delete(handle)
        });
        taken.await?.map_err(|error| fault::bad_answer(function.name, error).into())
    }

    /// Up to [`LARGEST_BATCH`] keys.
    async fn inspect_batch(&self, keys: &[Key]) -> Result<Vec<Found>, Error> {
        let function = &self.loaded.exports.inspect;
        let asked: Vec<BorrowedKey> = keys.iter().map(BorrowedKey::from).collect();
        let found: Vec<wit::Found> = self.ask(function, (asked,)).await?;
        from_guest::found(found, keys.len()).map_err(|refusal| refuse(function, &refusal))
    }
}

fn change(key: &Key) -> Phase {
    Phase::Change(key.session.clone(), key.incarnation)
}

/// An answer that failed its check.
fn refuse(function: &Function, refusal: &Refusal) -> Error {
    fault::bad_answer(function.name, refusal).into()
}

fn status(function: &Function, status: wit::Status) -> Result<Status, Error> {
    from_guest::status(status).map_err(|refusal| refuse(function, &refusal))
}

/// Whether a resource that was handed over is of the workload that was asked about.
fn check_workload(
    function: &Function,
    resource: &str,
    (session, incarnation): &(SessionId, Incarnation),
    key: &Key,
) -> Result<(), Error> {
    if *session == key.session && *incarnation == key.incarnation {
        return Ok(());
    }
    let message = format!("is of session {session}, incarnation {incarnation}");
    Err(refuse(function, &Refusal::new(resource, message)))
}

#[async_trait]
impl ExecutionBackend for WasmBackend {
    fn info(&self) -> &Info {
        &self.info
    }

    async fn check(&self) -> Result<Report, Error> {
        Ok(answer::report(self.ask(&self.loaded.exports.check, ()).await?))
    }

    async fn create(&self, key: &Key, name: &SessionName, spec: &SessionSpec) -> Result<Status, Error> {
        let function = &self.loaded.exports.create;
        let secrets = Redactor::of(spec).map(Arc::new);
        let params = (spec::to_guest(key, name, spec),);
        let asked = self.ask_with(function, change(key), params, secrets.clone(), |answer, _| answer);
        let mut answer: wit::Status = asked.await?;
        if let (Some(secrets), Some(exit)) = (secrets, &mut answer.exit) {
            exit.message = exit.message.take().map(|message| secrets.clean(message));
        }
        status(function, answer)
    }

    async fn start(&self, key: &Key) -> Result<Status, Error> {
        let function = &self.loaded.exports.start;
        status(function, self.order(function, key, (BorrowedKey::from(key),)).await?)
    }

    async fn signal(&self, key: &Key, signal: Signal) -> Result<(), Error> {
        let params = (BorrowedKey::from(key), u32::from(signal.number()));
        self.order(&self.loaded.exports.signal, key, params).await
    }

    async fn remove(&self, key: &Key, force: bool) -> Result<(), Error> {
        self.order(&self.loaded.exports.remove, key, (BorrowedKey::from(key), force)).await
    }

    async fn inspect(&self, keys: &[Key]) -> Result<Inspection, Error> {
        let mut all = Inspection::default();
        for (batch, keys) in keys.chunks(LARGEST_BATCH).enumerate() {
            let found = self.inspect_batch(keys).await?;
            let mut part = Inspection { found, unknown: Vec::new() };
            part.shift(batch * LARGEST_BATCH);
            all.append(part);
        }
        Ok(all)
    }

    async fn list(&self, cursor: Option<&str>) -> Result<Page, Error> {
        let function = &self.loaded.exports.list;
        let page = self.ask(function, (cursor.map(str::to_owned),)).await?;
        let page = from_guest::page(page).map_err(|refusal| refuse(function, &refusal))?;
        if page.next.is_some() && page.next.as_deref() == cursor {
            // Whoever follows it would never come to the end.
            return Err(refuse(function, &Refusal::new("page.next", "is the cursor that was asked with")));
        }
        Ok(page)
    }

    fn can_expunge(&self) -> bool {
        self.loaded.granted.can_expunge()
    }

    async fn expunge(&self, session: &SessionId) -> Result<Vec<Incarnation>, Error> {
        self.loaded.granted.expunge(session).await
    }

    async fn logs(&self, key: &Key, options: &LogOptions) -> Result<LogStream, Error> {
        let function = self.optional(&self.loaded.exports.logs, Interface::Logs)?;
        let params = (BorrowedKey::from(key), to_guest::log_options(options));
        let ByteStream { stream, workload } = self.take(function, Phase::Look, params, None).await?;
        check_workload(function, "byte-stream", &workload, key)?;
        Ok(stream)
    }

    async fn exec(&self, key: &Key, options: &ExecOptions) -> Result<Execution, Error> {
        let function = self.optional(&self.loaded.exports.exec, Interface::Exec)?;
        let secrets = Redactor::of_values(options.env.iter().map(|(_, value)| value)).map(Arc::new);
        let params = (BorrowedKey::from(key), to_guest::exec_options(options));
        let taken: seawall_capability::Execution = self.take(function, change(key), params, secrets).await?;
        check_workload(function, "execution", &taken.workload, key)?;
        Ok(taken.execution)
    }

    async fn last_health_check(&self, key: &Key) -> Result<Option<CheckResult>, Error> {
        let function = self.optional(&self.loaded.exports.last_health_check, Interface::HealthChecks)?;
        let last: Option<wit::CheckResult> = self.ask(function, (BorrowedKey::from(key),)).await?;
        let last = last.map(from_guest::check_result).transpose();
        last.map_err(|refusal| refuse(function, &refusal))
    }

    async fn attach(&self, key: &Key, options: &AttachOptions) -> Result<Attachment, Error> {
        let function = self.optional(&self.loaded.exports.attach, Interface::Attach)?;
        let params = (BorrowedKey::from(key), to_guest::attach_options(options));
        let Duplex { attachment, workload } = self.take(function, change(key), params, None).await?;
        check_workload(function, "duplex", &workload, key)?;
        Ok(attachment)
    }

    async fn input(&self, key: &Key) -> Result<Box<dyn Input>, Error> {
        let function = self.optional(&self.loaded.exports.input, Interface::Input)?;
        let ByteSink { input, workload } = self.take(function, change(key), (BorrowedKey::from(key),), None).await?;
        check_workload(function, "byte-sink", &workload, key)?;
        Ok(input)
    }

    async fn stats(&self, keys: &[Key]) -> Result<Vec<Measurement>, Error> {
        let function = self.optional(&self.loaded.exports.stats, Interface::Stats)?;
        let mut all = Vec::with_capacity(keys.len());
        for (batch, keys) in keys.chunks(LARGEST_BATCH).enumerate() {
            let asked: Vec<BorrowedKey> = keys.iter().map(BorrowedKey::from).collect();
            let measurements: Vec<wit::Measurement> = self.ask(function, (asked,)).await?;
            let measurements =
                from_guest::measurements(measurements, keys.len()).map_err(|refusal| refuse(function, &refusal))?;
            all.extend(
                measurements
                    .into_iter()
                    .map(|found| Measurement { position: batch * LARGEST_BATCH + found.position, ..found }),
            );
        }
        Ok(all)
    }

    async fn endpoints(&self, key: &Key) -> Result<Vec<Endpoint>, Error> {
        let function = self.optional(&self.loaded.exports.endpoints, Interface::Endpoint)?;
        let endpoints: Vec<wit::Endpoint> = self.ask(function, (BorrowedKey::from(key),)).await?;
        from_guest::endpoints(endpoints).map_err(|refusal| refuse(function, &refusal))
    }

    async fn pause(&self, key: &Key) -> Result<(), Error> {
        let function = self.optional(&self.loaded.exports.pause, Interface::Pause)?;
        self.order(function, key, (BorrowedKey::from(key),)).await
    }

    async fn unpause(&self, key: &Key) -> Result<(), Error> {
        let function = self.optional(&self.loaded.exports.unpause, Interface::Pause)?;
        self.order(function, key, (BorrowedKey::from(key),)).await
    }

    async fn prepare(&self, reference: &str, missing: bool) -> Result<Preparation, Error> {
        let function = self.optional(&self.loaded.exports.prepare, Interface::Images)?;
        let prepared: Prepared = self.take(function, Phase::Prepare, (reference, missing), None).await?;
        if prepared.reference != reference {
            let message = format!("is of {:?}", prepared.reference);
            return Err(refuse(function, &Refusal::new("preparation", message)));
        }
        Ok(prepared.progress)
    }

    async fn watch(&self) -> Result<Wakes, Error> {
        let function = self.optional(&self.loaded.exports.watch, Interface::Watch)?;
        let WakeSource { wakes } = self.take(function, Phase::Look, (), None).await?;
        Ok(wakes)
    }
}

impl std::fmt::Debug for WasmBackend {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("WasmBackend").field("info", &self.info).finish_non_exhaustive()
    }
}
