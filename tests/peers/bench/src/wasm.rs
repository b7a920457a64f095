//! wasmtime with nothing of Seawall's round it, but the same component: (b) called in an instance that is kept, (d) in a
//! new instance for every call. Answers are lifted and not checked.
//!
//! (d) is there twice: *plain* as a host would have it that trusts its plugins, called synchronously and without fuel or
//! epochs; *bounded* with fuel, epochs and calls that can be cut off, which is what any isolation needs.

use std::sync::{Mutex, MutexGuard};

use anyhow::{Context as _, Result, anyhow};
use async_trait::async_trait;
use seawall_model::Key;
use wasmtime::component::{Component, ComponentExportIndex, InstancePre, Linker, TypedFunc};
use wasmtime::{Config, Engine, InstanceAllocationStrategy, PoolingAllocationConfig, Store};

use crate::peer::Peer;

mod wit {
    wasmtime::component::bindgen!({
        path: ["../../../wit/host", "../../../wit/backend"],
        world: "seawall:backend/plugin",
    });
    pub(super) use seawall::backend::types::{Error, Found, Key, Report};
}

type Check = TypedFunc<(), (Result<wit::Report, wit::Error>,)>;
type Inspect = TypedFunc<(Vec<wit::Key>,), (Result<Vec<wit::Found>, wit::Error>,)>;

/// A compiled component and where its functions are.
#[derive(Clone)]
pub(crate) struct Compiled {
    pre: InstancePre<()>,
    check: ComponentExportIndex,
    inspect: ComponentExportIndex,
    bounded: bool,
}

/// wasmtime's errors are no standard errors.
fn said(error: wasmtime::Error) -> anyhow::Error {
    anyhow!("{error:#}")
}

impl Compiled {
    /// Compiles for an engine with a pool as large as Seawall's.
    pub(crate) fn new(wasm: &[u8], bounded: bool) -> Result<Self> {
        let mut pool = PoolingAllocationConfig::new();
        pool.total_component_instances(128)
            .total_stacks(128)
            .total_core_instances(1024)
            .total_memories(256)
            .total_tables(1024)
            .max_core_instances_per_component(48)
            .max_tables_per_component(48)
            .max_memories_per_component(8)
            .max_memory_size(256 << 20)
            .linear_memory_keep_resident(512 << 10)
            .table_keep_resident(64 << 10)
            .max_unused_warm_slots(16)
            .pagemap_scan(wasmtime::Enabled::Auto);
        let mut config = Config::new();
        config
            .allocation_strategy(InstanceAllocationStrategy::Pooling(pool))
            .concurrency_support(false)
            .consume_fuel(bounded)
            .epoch_interruption(bounded);
        let engine = Engine::new(&config).map_err(said).context("make an engine")?;
        let component = Component::new(&engine, wasm).map_err(said).context("compile the guest")?;
        let mut linker = Linker::new(&engine);
        // The guest calls none of its imports unless it panics.
        linker.define_unknown_imports_as_traps(&component).map_err(said).context("link the guest")?;
        let pre = linker.instantiate_pre(&component).map_err(said).context("link the guest")?;
        let interface = component
            .get_export_index(None, "seawall:backend/execution-backend@0.1.0")
            .context("the guest is no backend")?;
        let function =
            |name| component.get_export_index(Some(&interface), name).with_context(|| format!("find {name}"));
        let (check, inspect) = (function("check")?, function("inspect")?);
        Ok(Self { pre, check, inspect, bounded })
    }

    fn store(&self) -> Result<Store<()>> {
        let mut store = Store::new(self.pre.engine(), ());
        if self.bounded {
            store.set_fuel(u64::MAX).map_err(said)?;
            store.set_epoch_deadline(u64::MAX / 2);
        }
        Ok(store)
    }
}

fn asked(keys: &[Key]) -> Vec<wit::Key> {
    let key = |key: &Key| wit::Key {
        session: key.session.as_str().to_owned(),
        incarnation: key.incarnation,
        handle: key.handle.clone(),
    };
    keys.iter().map(key).collect()
}

fn answered<T>(answer: Result<T, wit::Error>) -> Result<T> {
    std::hint::black_box(answer).map_err(|error| anyhow!("{error:?}"))
}

/// (d)
pub(crate) struct Fresh(pub(crate) Compiled);

#[async_trait]
impl Peer for Fresh {
    async fn check(&self) -> Result<()> {
        let mut store = self.0.store()?;
        let (answer,) = if self.0.bounded {
            let instance = self.0.pre.instantiate_async(&mut store).await.map_err(said)?;
            let check: Check = instance.get_typed_func(&mut store, self.0.check).map_err(said)?;
            check.call_async(&mut store, ()).await.map_err(said)?
        } else {
            let instance = self.0.pre.instantiate(&mut store).map_err(said)?;
            let check: Check = instance.get_typed_func(&mut store, self.0.check).map_err(said)?;
            check.call(&mut store, ()).map_err(said)?
        };
        answered(answer)?;
        Ok(())
    }

    async fn inspect(&self, keys: &[Key]) -> Result<usize> {
        let mut store = self.0.store()?;
        let (answer,) = if self.0.bounded {
            let instance = self.0.pre.instantiate_async(&mut store).await.map_err(said)?;
            let inspect: Inspect = instance.get_typed_func(&mut store, self.0.inspect).map_err(said)?;
            inspect.call_async(&mut store, (asked(keys),)).await.map_err(said)?
        } else {
            let instance = self.0.pre.instantiate(&mut store).map_err(said)?;
            let inspect: Inspect = instance.get_typed_func(&mut store, self.0.inspect).map_err(said)?;
            inspect.call(&mut store, (asked(keys),)).map_err(said)?
        };
        Ok(answered(answer)?.len())
    }
}

/// An instance that is kept, and its functions.
struct Instance {
    store: Store<()>,
    check: Check,
    inspect: Inspect,
}

/// (b): one instance a core, since an instance does one thing at a time.
pub(crate) struct Kept(Vec<Mutex<Instance>>);

impl Kept {
    pub(crate) fn new(compiled: &Compiled, instances: usize) -> Result<Self> {
        let one = || -> Result<Mutex<Instance>> {
            let mut store = compiled.store()?;
            let instance = compiled.pre.instantiate(&mut store).map_err(said)?;
            let check = instance.get_typed_func(&mut store, compiled.check).map_err(said)?;
            let inspect = instance.get_typed_func(&mut store, compiled.inspect).map_err(said)?;
            Ok(Mutex::new(Instance { store, check, inspect }))
        };
        Ok(Self((0..instances).map(|_| one()).collect::<Result<_>>()?))
    }

    fn any(&self) -> Result<MutexGuard<'_, Instance>> {
        crate::free(&self.0)
    }
}

#[async_trait]
impl Peer for Kept {
    async fn check(&self) -> Result<()> {
        let mut kept = self.any()?;
        let Instance { store, check, .. } = &mut *kept;
        let (answer,) = check.call(store, ()).map_err(said)?;
        answered(answer)?;
        Ok(())
    }

    async fn inspect(&self, keys: &[Key]) -> Result<usize> {
        let mut kept = self.any()?;
        let Instance { store, inspect, .. } = &mut *kept;
        let (answer,) = inspect.call(store, (asked(keys),)).map_err(said)?;
        Ok(answered(answer)?.len())
    }
}
