//! What one call has of the host. It lives in the call's store and ends with it.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use seawall_backend::Error;
use seawall_model::{Incarnation, Key, Redactor, SessionId};
use wasmtime::component::ResourceTable;
use wasmtime_wasi::{WasiCtx, WasiCtxView, WasiView};

use crate::bindings::types;
use crate::budget::{Breach, Budget};
use crate::convert::from_guest;
use crate::error::HostError;
use crate::grants::Granted;
use crate::log::Log;
use crate::wasi;

/// What a plugin may do now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Phase {
    /// At load: only `log` and `clock` work, and `config` answers nothing.
    Describe,
    /// It was asked something: it may look at its workloads, and change none.
    Look,
    /// It was asked to make or change this workload: it may change no other.
    Change(SessionId, Incarnation),
    /// It was asked to have an image fetched: it may, and changes no workload.
    Prepare,
}

/// What one call has of the host.
pub struct Context {
    pub(crate) granted: Arc<Granted>,
    pub(crate) phase: Phase,
    pub(crate) budget: Budget,
    pub(crate) table: ResourceTable,
    pub(crate) log: Arc<Mutex<Log>>,
    /// Made when a WASI function is called for the first time: most plugins call none.
    wasi: Option<Box<WasiCtx>>,
}

impl Context {
    /// For one call. `secrets` are redacted from what the plugin writes to its log.
    pub fn new(granted: Arc<Granted>, phase: Phase, budget: Budget, secrets: Option<Arc<Redactor>>) -> Self {
        let mut table = ResourceTable::new();
        table.set_max_capacity(budget.resources);
        let log = Log::new(granted.clone(), budget.log_bytes, secrets);
        Self { granted, phase, budget, table, log: Arc::new(Mutex::new(log)), wasi: None }
    }

    /// The streams and other resources that the call holds.
    pub fn table(&mut self) -> &mut ResourceTable {
        &mut self.table
    }

    /// Counts a host call that moves `bytes` of arguments.
    pub(crate) fn enter(&mut self, bytes: usize) -> Result<(), Breach> {
        self.budget.call()?;
        self.budget.bytes(bytes)
    }

    /// The same for a function that does not work while `describe` runs.
    pub(crate) fn enter_granted(&mut self, interface: &'static str, bytes: usize) -> Result<(), Breach> {
        if self.phase == Phase::Describe {
            return Err(Breach::NotNow(interface));
        }
        self.enter(bytes)
    }

    /// The key of a workload that the guest wants changed.
    pub(crate) fn changed(&self, key: types::Key) -> Result<Key, HostError> {
        let key = from_guest::key(key)?;
        self.may_change(&key)?;
        Ok(key)
    }

    /// Refuses to change a workload that this call is not about.
    pub(crate) fn may_change(&self, key: &Key) -> Result<(), Error> {
        match &self.phase {
            Phase::Change(session, incarnation) if (session, incarnation) == (&key.session, &key.incarnation) => Ok(()),
            Phase::Change(session, incarnation) => Err(Error::Denied(format!(
                "this call is about session {session}, incarnation {incarnation}: it changes no other workload"
            ))),
            Phase::Describe | Phase::Look | Phase::Prepare => Err(Error::Denied(
                "this call changes no workload: only those that make or change one do, each its own".to_owned(),
            )),
        }
    }

    /// Refuses to fetch anything while something else was asked.
    pub(crate) fn may_fetch(&self) -> Result<(), Error> {
        if self.phase == Phase::Prepare {
            return Ok(());
        }
        Err(Error::Denied("this call fetches no image: only `images.prepare` does".to_owned()))
    }

    /// Counts the bytes of an answer.
    pub(crate) fn answer(&mut self, bytes: usize) -> Result<(), Breach> {
        self.budget.bytes(bytes)
    }

    pub(crate) fn log(&self) -> MutexGuard<'_, Log> {
        // A line that panicked half-way leaves the counters usable.
        self.log.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl WasiView for Context {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        let log = &self.log;
        let ctx = self.wasi.get_or_insert_with(|| Box::new(wasi::inert(log)));
        WasiCtxView { ctx, table: &mut self.table }
    }
}
