//! The same call with nothing of Seawall's round it, for benchmarks to compare with.

use std::time::{Duration, Instant};

use seawall_capability::Phase;
use wasmtime::Store;

use crate::backend::WasmBackend;
use crate::bindings::wit;
use crate::call::CallState;
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
        let state = CallState { context: loaded.context(limits, Phase::Serve, None), growth: limits.growth() };

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
}
