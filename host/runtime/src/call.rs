//! One call: a fresh store, all limits, a fresh instance, one function, in turns. Its deadline is applied by whoever calls
//! (see `backend.rs`): that no turn begins after it is only the backstop of it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use seawall_backend::observer::{Observer, Used};
use seawall_backend::{Deadlines, Fault};
use seawall_capability::{Context, Granted, Phase};
use seawall_model::Redactor;
use tracing::Instrument as _;
use wasmtime::component::{ComponentNamedList, InstancePre, Lift, Lower};
use wasmtime::{Engine, Store};
use wasmtime_wasi::{WasiCtxView, WasiView};

use crate::cpu::Share;
use crate::engine::Shared;
use crate::exports::{Exports, Function};
use crate::fault;
use crate::limits::{Growth, Limits, LimitsByClass};

/// By how much the timer of a deadline is to be first.
const GRACE: Duration = Duration::from_secs(1);

/// What the store of a call holds.
pub(crate) struct CallState {
    pub(crate) context: Context,
    pub(crate) growth: Growth,
}

impl WasiView for CallState {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        self.context.ctx()
    }
}

/// How far a call came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stage {
    /// Making the instance.
    Instantiate,
    /// Running the function.
    Run,
}

/// A component that was loaded: everything that calls need, and nothing that one changes.
pub(crate) struct Loaded {
    pub(crate) pre: InstancePre<CallState>,
    pub(crate) exports: Exports,
    pub(crate) granted: Arc<Granted>,
    pub(crate) limits: LimitsByClass,
    pub(crate) deadlines: Deadlines,
    /// Its share of the cores.
    pub(crate) share: Share,
    /// Keeps the epoch thread while there is a backend that relies on it.
    pub(crate) runtime: Arc<Shared>,
}

impl Loaded {
    fn engine(&self) -> &Engine {
        self.pre.engine()
    }

    /// What a call has of the host.
    pub(crate) fn context(&self, limits: &Limits, phase: Phase, secrets: Option<Arc<Redactor>>) -> Context {
        Context::new(self.granted.clone(), phase, limits.budget(), secrets)
    }

    /// A store with every limit set.
    pub(crate) fn store(
        &self,
        function: &Function,
        phase: Phase,
        secrets: Option<Arc<Redactor>>,
    ) -> Result<Store<CallState>, Fault> {
        let limits = self.limits.of(function.class);
        let context = self.context(limits, phase, secrets);
        let mut store = Store::new(self.engine(), CallState { context, growth: limits.growth() });
        let applied = limits.apply(&mut store, self.runtime.quantum, self.runtime.fuel);
        applied.map_err(|error| fault::internal(function.name, &error))?;
        Ok(store)
    }

    /// Calls a function in an instance of its own, and takes of the answer what outlives the instance: what it refers to
    /// is in the store, which ends in the call's last turn. What it took is told to the observer, however it ends.
    ///
    /// Cancel-safe in the sense that dropping the future ends the call; what the guest had asked for may still happen.
    pub(crate) async fn call<P, R, T>(
        &self,
        function: &Function,
        observer: Option<&Arc<dyn Observer>>,
        phase: Phase,
        secrets: Option<Arc<Redactor>>,
        params: P,
        take: impl FnOnce(R, &mut Store<CallState>) -> T,
    ) -> Result<T, Fault>
    where
        P: ComponentNamedList + Lower + Send + Sync,
        R: ComponentNamedList + Lift + Send + Sync + 'static,
    {
        let store = self.store(function, phase, secrets)?;
        let fuel = self.runtime.fuel.then(|| self.limits.of(function.class).fuel);
        let mut metered = Metered { store, function, fuel, observer };
        let running = async move {
            let store = &mut metered.store;
            let mut stage = Stage::Instantiate;
            let called = async {
                let instance = self.pre.instantiate_async(&mut *store).await?;
                stage = Stage::Run;
                let typed = instance.get_typed_func::<P, R>(&mut *store, function.index)?;
                typed.call_async(&mut *store, params).await
            };
            match called.await {
                Ok(answer) => Ok(take(answer, store)),
                Err(error) => Err(fault::classify(function.name, stage, &error, store)),
            }
        };
        let span = tracing::debug_span!("plugin.call", function = function.name);
        self.in_turns(function, running).instrument(span).await
    }

    /// Runs guest code while a core is this backend's. If threads are too busy for timers, the first turn that begins
    /// after the deadline ends it.
    pub(crate) async fn in_turns<T>(
        &self,
        function: &Function,
        running: impl Future<Output = Result<T, Fault>>,
    ) -> Result<T, Fault> {
        let deadline = self.deadlines.of(function.class);
        let until = Instant::now().checked_add(deadline.saturating_add(GRACE));
        let ended = self.share.run(until, running).await;
        ended.unwrap_or_else(|| Err(fault::overrun(function.name, deadline)))
    }
}

/// A call's store. When it goes, it is told what the call took: a call that is cut off only ever gets as far as that.
struct Metered<'a> {
    store: Store<CallState>,
    function: &'a Function,
    /// What it had at first, if guests burn any.
    fuel: Option<u64>,
    observer: Option<&'a Arc<dyn Observer>>,
}

impl Drop for Metered<'_> {
    fn drop(&mut self) {
        let Some(observer) = self.observer else { return };
        let left = self.store.get_fuel().unwrap_or_default();
        observer.used(Used {
            function: self.function.short_name(),
            fuel: self.fuel.map_or(0, |fuel| fuel.saturating_sub(left)),
            memory: self.store.data().growth.memory(),
        });
    }
}
