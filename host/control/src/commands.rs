//! Requests that change what is wanted. Each is stored before it is answered, and carried out by the session's worker.
//!
//! A request goes on when its caller goes away: it is a task of its own, so that memory and store always agree.

use std::sync::Arc;
use std::time::Duration;

use seawall_backend::breaker::BreakerState;
use seawall_backend::{ExecutionBackend as _, Interface};
use seawall_model::{
    BackendName, Desired, Health, HealthCheck, InvalidName, InvalidSpec, ProbeCheck, Problem, Session, SessionId,
    SessionName, SessionSpec, SessionState, Signal,
};
use seawall_store::{Act, Intent, Once, SessionRecord, Write};

use crate::backend::Backend;
use crate::backends::not_configured;
use crate::change::Change;
use crate::control::Control;
use crate::core::Core;
use crate::draft::{Context, Draft, Marks};
use crate::events::{Kind, of_session};
use crate::kill::earlier;
use crate::observe::tell;
use crate::state::{Cell, Entry};
use crate::worker::kick;
use crate::{BackendHealth, ControlError, caller};

/// Ids are 64 random bits; names that the host makes have 32 of them.
const TRIES: u32 = 5;

impl Control {
    /// Stores a new session, to be made and started; returns at once, with its state `pending`.
    ///
    /// # Errors
    /// `Invalid`, `NoSuchBackend`, `BackendUnhealthy`, `NameTaken`, `Store`, `ShuttingDown`.
    pub async fn create(&self, spec: SessionSpec) -> Result<Session, ControlError> {
        self.request(|core| async move { core.create(spec, None, false).await }).await
    }

    /// The same, for somebody who is going to read what it writes: if it removes itself, it gives him 10 s after its end
    /// to begin with what its last incarnation wrote.
    ///
    /// # Errors
    /// As [`Control::create`].
    pub async fn create_attended(&self, spec: SessionSpec) -> Result<Session, ControlError> {
        self.request(|core| async move { core.create(spec, None, true).await }).await
    }

    /// Wants a session to run that does not: a new incarnation. One that runs, or is about to, is left alone.
    ///
    /// # Errors
    /// `NoSuchSession`, `NoSuchBackend`, `BackendUnhealthy`, `Conflict` while it is being stopped or removed, `Store`,
    /// `ShuttingDown`.
    pub async fn start_session(&self, id: &SessionId) -> Result<Session, ControlError> {
        let entry = self.entry(id)?;
        self.request(|core| async move {
            let backend = core.backend(&entry.backend)?;
            let (health, error) = (backend.health(), backend.error());
            let_in(&backend)?;
            if !entry.with(|cell| cell.record.state.runs()) {
                core.readable_by(&entry).await?;
            }
            let session = core.change(&entry, |draft, _| start(draft, health, error)).await?;
            kick(&core, &entry);
            Ok(session)
        })
        .await
    }

    /// Wants a session not to run. It gets its stop signal, and SIGKILL after `grace` (absent: the spec's). Asking
    /// again while it is being stopped can only shorten the grace. One that is not running stays as it is.
    ///
    /// # Errors
    /// `NoSuchSession`, `NoSuchBackend`, `Conflict` while it is being removed, `Store`, `ShuttingDown`.
    pub async fn stop(&self, id: &SessionId, grace: Option<Duration>) -> Result<Session, ControlError> {
        let entry = self.entry(id)?;
        self.request(|core| async move {
            let over = entry.with(|cell| cell.record.state.is_final());
            if !over {
                core.backend(&entry.backend)?;
            }
            let session = core.change(&entry, |draft, context| stop(draft, grace, context)).await?;
            kick(&core, &entry);
            Ok(session)
        })
        .await
    }

    /// Wants every session not to run, as [`Control::stop`] does for each; gives those that still ran or might have.
    ///
    /// # Errors
    /// `Store`: then none was changed.
    pub async fn stop_all(&self, grace: Option<Duration>) -> Result<Vec<SessionId>, ControlError> {
        let core = Arc::clone(&self.core);
        caller::to_its_end(async move { core.stop_all(grace).await }, &self.core.tasks).await
    }

    /// Wants a session to be gone, workload and record. [`Control::wait`] then ends with `NoSuchSession`. One that is
    /// not over only with `force`: it is killed without grace.
    ///
    /// # Errors
    /// `NoSuchSession`, `Conflict` without `force` or where its backend is not configured, `Store`, `ShuttingDown`.
    pub async fn remove(&self, id: &SessionId, force: bool) -> Result<(), ControlError> {
        let entry = self.entry(id)?;
        self.request(|core| async move {
            if core.backends.get(&entry.backend).is_none() {
                return Err(ControlError::Conflict(not_configured(&entry.backend)));
            }
            core.change(&entry, |draft, _| remove(draft, force)).await?;
            kick(&core, &entry);
            Ok(())
        })
        .await
    }

    pub(crate) fn entry(&self, id: &SessionId) -> Result<Arc<Entry>, ControlError> {
        self.core.sessions.get(id).ok_or_else(|| ControlError::NoSuchSession(id.to_string()))
    }

    /// Runs a request to its end, whether or not the caller stays.
    pub(crate) async fn request<T, F>(&self, request: impl FnOnce(Arc<Core>) -> F) -> Result<T, ControlError>
    where
        T: Send + 'static,
        F: Future<Output = Result<T, ControlError>> + Send + 'static,
    {
        self.core.open()?;
        caller::to_its_end(request(Arc::clone(&self.core)), &self.core.tasks).await
    }
}

impl Core {
    /// With the key that it is asked for with, and a hash of the request, if it has one; `attended`: somebody is going to read
    /// what it writes.
    pub(crate) async fn create(
        self: &Arc<Self>,
        mut spec: SessionSpec,
        once: Option<(String, [u8; 32])>,
        attended: bool,
    ) -> Result<Session, ControlError> {
        spec.validate()?;
        let backend = self.backend(&spec.backend)?;
        can_check(&spec, &backend)?;
        usable(&spec.backend, backend.health(), backend.error())?;
        let_in(&backend)?;
        self.readable(&spec).await?;
        let given = spec.name.is_some();
        let mut attempt = 0;
        loop {
            attempt += 1;
            let id = SessionId::random();
            let name = match &spec.name {
                Some(name) if given => name.clone(),
                _ => made_name(&spec.backend, &id)?,
            };
            spec.name = Some(name.clone());
            let record = self.pending(id, name, spec.clone());
            let intent =
                Intent { session: record.id.clone(), incarnation: 1, act: Act::Create, since: record.created_at };
            let event = of_session(&record, Kind::SessionCreated, record.created_at, "it was asked for");
            let once = once.clone().map(|(key, request)| {
                Write::PutOnce(Once { key, request, session: record.id.clone(), at: record.created_at })
            });
            let mut writes = vec![
                Write::InsertSession(Box::new(record.clone())),
                Write::PutIntent(intent.clone()),
                Write::Event(event),
            ];
            writes.extend(once);
            match self.write(writes).await {
                Ok(()) => {
                    let entry = Entry::new(record, Some(intent), Marks { previous_gone: true, ..Marks::default() });
                    entry.with(|cell| cell.attended = attended);
                    let session = entry.with(|cell| cell.session());
                    self.sessions.insert(Arc::clone(&entry));
                    if self.backends.get(&entry.backend).is_none() {
                        // It was removed meanwhile, with all the sessions that it had until then.
                        entry.doubt(&not_configured(&entry.backend).into());
                    }
                    kick(self, &entry);
                    return Ok(session);
                }
                Err(seawall_store::Error::IdTaken(_)) if attempt < TRIES => {}
                Err(seawall_store::Error::NameTaken { .. }) if !given && attempt < TRIES => {}
                Err(seawall_store::Error::NameTaken { name, by }) => return Err(ControlError::NameTaken { name, by }),
                Err(error) => return Err(ControlError::Store(error)),
            }
        }
    }

    fn pending(&self, id: SessionId, name: SessionName, spec: SessionSpec) -> SessionRecord {
        SessionRecord {
            id,
            name,
            spec,
            desired: Desired::Running,
            incarnation: 1,
            restarts: 0,
            failures: 0,
            state: SessionState::Pending,
            health: Health::Unknown,
            started: false,
            ready: false,
            exit: None,
            handle: None,
            created_at: self.clock.now(),
            started_at: None,
            finished_at: None,
            restart_at: None,
            restarted: Vec::new(),
            reason: None,
        }
    }

    pub(crate) async fn stop_all(self: &Arc<Self>, grace: Option<Duration>) -> Result<Vec<SessionId>, ControlError> {
        let (mut changes, mut stopping) = (Vec::new(), Vec::new());
        let context = self.context(true);
        for entry in self.sessions.all() {
            let right = entry.commit().await;
            // One that was sent a signal to end, and no more, may not do so.
            let wanted = |cell: &Cell| cell.record.desired == Desired::Running || runs_on(cell);
            let Some(mut change) = Change::begin(&entry, right, wanted) else { continue };
            if !change.draft.record.state.is_final() {
                stopping.push(entry.id.clone());
            }
            stop(&mut change.draft, grace, &context)?;
            changes.push(change);
        }
        let writes = changes.iter().flat_map(Change::writes).collect();
        self.write(writes).await.map_err(ControlError::Store)?;
        for change in changes {
            let entry = Arc::clone(&change.entry);
            change.publish(None);
            kick(self, &entry);
        }
        Ok(stopping)
    }
}

/// It is wanted stopped, and only asked to end.
fn runs_on(cell: &Cell) -> bool {
    let act = cell.intent.as_ref().map(|intent| intent.act);
    matches!((cell.record.desired, act), (Desired::Stopped, Some(Act::Stop { kill_at: None, .. })))
}

fn made_name(backend: &BackendName, id: &SessionId) -> Result<SessionName, ControlError> {
    let digits = id.as_str().get(..8).unwrap_or(id.as_str());
    format!("{backend}-{digits}").parse().map_err(|error: InvalidName| {
        ControlError::Invalid(InvalidSpec {
            problems: vec![Problem { field: "name".into(), message: error.to_string() }],
        })
    })
}

/// Nothing new is placed on a backend while its breaker is open. Whether it is full is seen by the call itself.
pub(crate) fn let_in(backend: &Backend) -> Result<(), ControlError> {
    let breaker = backend.driver.breaker();
    if breaker.state() == BreakerState::Open {
        breaker.ask().map_err(seawall_backend::Error::from)?;
    }
    Ok(())
}

/// What is to be asked of a session has to be something that its backend can ask (A5).
fn can_check(spec: &SessionSpec, backend: &Backend) -> Result<(), ControlError> {
    let info = backend.driver.info();
    if info.has(Interface::Exec) {
        return Ok(());
    }
    let health_check = matches!(spec.health_check, Some(HealthCheck::Command(_))) && !backend.engine_checks();
    let health_check = health_check.then(|| "health_check".to_owned());
    let execs = spec.probes.named().filter(|(_, probe)| matches!(probe.check, ProbeCheck::Exec(_)));
    let fields = health_check.into_iter().chain(execs.map(|(name, _)| format!("probes.{name}.check.exec")));
    let message = format!("the backend {} cannot run a command in a session (it does not export `exec`)", backend.name);
    let problems: Vec<_> = fields.map(|field| Problem { field, message: message.clone() }).collect();
    if problems.is_empty() { Ok(()) } else { Err(InvalidSpec { problems }.into()) }
}

/// B9.
fn usable(backend: &BackendName, health: BackendHealth, error: Option<String>) -> Result<(), ControlError> {
    if health.usable() {
        Ok(())
    } else {
        Err(ControlError::BackendUnhealthy { backend: backend.clone(), health, error })
    }
}

pub(crate) fn start(draft: &mut Draft, health: BackendHealth, error: Option<String>) -> Result<(), ControlError> {
    let id = &draft.record.id;
    match draft.record.desired {
        Desired::Removed => return Err(ControlError::Conflict(format!("session {id} is being removed"))),
        Desired::Stopped if !draft.record.state.is_final() => {
            return Err(ControlError::Conflict(format!(
                "session {id} is being stopped: wait until it is (`seawall wait {id}`), then start it"
            )));
        }
        Desired::Stopped | Desired::Running => {}
    }
    draft.marks.retry_at = None;
    draft.marks.attempts = 0;
    if draft.record.state.is_final() || draft.record.state == SessionState::Restarting {
        usable(draft.record.backend(), health, error)?;
        draft.record.desired = Desired::Running;
        draft.forgive();
        draft.next_incarnation();
    }
    Ok(())
}

pub(crate) fn stop(draft: &mut Draft, grace: Option<Duration>, context: &Context<'_>) -> Result<(), ControlError> {
    if draft.record.desired == Desired::Removed {
        return Err(ControlError::Conflict(format!("session {} is being removed", draft.record.id)));
    }
    draft.record.desired = Desired::Stopped;
    if draft.record.state.is_final() {
        return Ok(());
    }
    draft.marks.retry_at = None;
    draft.marks.attempts = 0;
    let spec = &draft.record.spec;
    let kill_at = context.now + grace.or(spec.stop_grace).unwrap_or(SessionSpec::STOP_GRACE);
    let signal = spec.stop_signal.unwrap_or(Signal::TERM);
    match draft.ending() {
        Some((signal, before)) => {
            let kill_at = earlier(before, Some(kill_at));
            draft.intend(draft.record.incarnation, Act::Stop { signal, kill_at }, context.now);
        }
        _ if draft.record.state.runs() => {
            draft.marks.signalled = false;
            draft.marks.killed_at = None;
            draft.intend(draft.record.incarnation, Act::Stop { signal, kill_at: Some(kill_at) }, context.now);
            tell(draft, Kind::SessionStopping, format!("SIGKILL follows at {kill_at}"), context);
        }
        // It may be starting. If it runs when that is over, it gets what was asked for here.
        _ => draft.marks.grace = grace,
    }
    Ok(())
}

pub(crate) fn remove(draft: &mut Draft, force: bool) -> Result<(), ControlError> {
    if !force && !draft.record.state.is_final() && draft.record.desired != Desired::Removed {
        let (id, state) = (&draft.record.id, draft.record.state);
        return Err(ControlError::Conflict(format!(
            "session {id} is {state}: stop it first (`seawall stop {id}`), or remove it by force"
        )));
    }
    draft.record.desired = Desired::Removed;
    draft.marks.retry_at = None;
    draft.marks.attempts = 0;
    Ok(())
}
