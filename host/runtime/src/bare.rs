//! A backend's calls as nobody but a benchmark or a fuzz target makes them: with nothing of Seawall's round them, or
//! with another configuration each time.

use std::sync::Arc;
use std::time::{Duration, Instant};

use seawall_backend::ExecutionBackend as _;
use seawall_capability::{Granted, Phase};
use serde_json::{Map, Value};
use wasmtime::Store;

use crate::backend::WasmBackend;
use crate::bindings::wit;
use crate::call::{CallState, Loaded};
use crate::exports::signature;

impl WasmBackend {
    /// Calls `check` as bare wasmtime would: a store, an instance from the same pool, the function by its
    /// index, and nothing checked. Fuel and epoch are compiled into the code and are set to what nothing can use up.
    /// Gives how long that took, from making the store to dropping it; making what the capabilities need is not
    /// counted.
    ///
    /// # Errors
    /// What wasmtime says. The plugin's own error is not looked at.
    #[doc(hidden)]
    pub async fn bare_check(&self) -> wasmtime::Result<Duration> {
        let loaded = self.loaded();
        let function = &loaded.exports.check;
        let limits = loaded.limits.of(function.class);
        let state = CallState { context: loaded.context(limits, Phase::Look, None), growth: limits.growth() };

        let begun = Instant::now();
        let mut store = Store::new(loaded.pre.engine(), state);
        store.set_fuel(u64::MAX)?;
        store.set_epoch_deadline(u64::MAX / 2);
        let instance = loaded.pre.instantiate_async(&mut store).await?;
        let typed = instance.get_typed_func::<(), signature::Answer<wit::Report>>(&mut store, function.index)?;
        let answer = typed.call_async(&mut store, ()).await?;
        drop(store);
        let took = begun.elapsed();
        drop(answer);
        Ok(took)
    }

    /// The same plugin, compiled once, granted nothing, with another configuration: which is how a fuzz target brings
    /// its bytes to a guest.
    #[doc(hidden)]
    #[must_use]
    pub fn reconfigured(&self, config: &Map<String, Value>) -> Self {
        let loaded = self.loaded();
        let other = Loaded {
            pre: loaded.pre.clone(),
            exports: loaded.exports.clone(),
            granted: Arc::new(Granted::inert(loaded.granted.backend().clone(), config)),
            limits: loaded.limits,
            deadlines: loaded.deadlines,
            share: loaded.runtime.cpu.share(),
            runtime: loaded.runtime.clone(),
        };
        Self::new(other, self.info().clone())
    }
}
