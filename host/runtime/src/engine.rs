//! The engine: one for the daemon, with the pool that every call takes its instance from.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use seawall_backend::Deadlines;
use seawall_model::Size;
use serde::{Deserialize, Serialize};
use wasmtime::{Config, Enabled, Engine, InstanceAllocationStrategy, PoolingAllocationConfig, WasmBacktraceDetails};

use crate::cache::Cache;
use crate::compiler::{CompileConfig, Compiler, Compiling};
use crate::cpu::{self, Cpu};
use crate::limits::{ClassOverrides, InvalidLimits, LimitsByClass, MOST_MEMORIES, MOST_TABLE_ELEMENTS};
use crate::ticker::Ticker;

/// More cores than any machine has.
const MOST_PERMITS: usize = 1024;

/// What a runtime is made with: `[runtime]`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(default, rename_all = "kebab-case", deny_unknown_fields)]
pub struct RuntimeConfig {
    /// How much is set aside for calls.
    pub pool: Pool,
    /// Bounds on calls of every backend, where they differ from the defaults.
    pub limits: ClassOverrides,
    /// How long calls of every backend may take.
    pub deadlines: Deadlines,
    /// Where components are compiled. The embedding says it, no file does.
    #[serde(skip)]
    pub compiler: Compiler,
    /// Bounds on compiling.
    pub compile: CompileConfig,
    /// Where compiled code is kept. Absent: nowhere, and every start compiles anew.
    #[cfg_attr(feature = "schema", schema(value_type = String))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cache: Option<PathBuf>,
    /// Permits to run guest code, which backends share. Default: as many as there are cores.
    pub cpu: usize,
    /// How long a call runs before it gives up its permit to one that waits; as fuel, five units for each nanosecond.
    /// Default 200 µs.
    #[serde(with = "humantime_serde")]
    #[cfg_attr(feature = "schema", schema(value_type = seawall_model::schema::Span))]
    pub quantum: Duration,
}

impl Default for RuntimeConfig {
    fn default() -> Self {
        Self {
            pool: Pool::default(),
            limits: ClassOverrides::default(),
            deadlines: Deadlines::default(),
            compiler: Compiler::default(),
            compile: CompileConfig::default(),
            cache: None,
            cpu: std::thread::available_parallelism().map_or(1, usize::from),
            quantum: Duration::from_micros(200),
        }
    }
}

impl RuntimeConfig {
    /// An executor for the calls and for the host's own tasks: a thread for each core that guests may have, and looks at
    /// timers and sockets between any few turns of theirs.
    pub fn executor(&self) -> tokio::runtime::Builder {
        let mut executor = tokio::runtime::Builder::new_multi_thread();
        executor.worker_threads(cpu::threads(self.cpu)).event_interval(4).enable_all();
        executor
    }
}

/// The pool of instances. Its address space is reserved at once; memory is taken when it is used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(default, rename_all = "kebab-case", deny_unknown_fields)]
pub struct Pool {
    /// Calls that can run at one time, of all backends. Default 128.
    pub calls: u32,
    /// Core instances of one component. One written in Rust has 1 to 3, one in Python 38. Default 48.
    pub instances_per_call: u32,
    /// The most that one linear memory can grow to. Default 256 MiB.
    pub memory: Size,
    /// What a linear memory's slot keeps between two calls instead of giving it back to the system. Default 512 KiB.
    pub keep_resident: Size,
}

impl Default for Pool {
    fn default() -> Self {
        Self { calls: 128, instances_per_call: 48, memory: Size(256 << 20), keep_resident: Size(512 << 10) }
    }
}

/// What of the pool is in use at one instant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PoolUse {
    /// Calls that have an instance of their component.
    pub components: Slots,
    /// Core instances.
    pub instances: Slots,
    /// Linear memories.
    pub memories: Slots,
    /// Stacks that guests run on.
    pub stacks: Slots,
    /// What memories that are free keep instead of giving it back to the system.
    pub resident: Size,
}

/// Places of one kind in the pool.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Slots {
    /// Taken.
    pub used: u64,
    /// That there are.
    pub all: u64,
}

/// Why there is no runtime.
#[derive(Debug, thiserror::Error)]
pub enum RuntimeError {
    /// A value of the configuration makes no sense.
    #[error("runtime.{field}: {message}")]
    Config {
        /// Which.
        field: &'static str,
        /// What is wrong with it.
        message: String,
    },
    /// The limits make no sense.
    #[error("runtime.{0}")]
    Limits(#[from] InvalidLimits),
    /// The engine refused its configuration, or the system refused the address space.
    #[error(
        "the pool for {calls} calls cannot be set up; a smaller `runtime.pool.calls` needs less address space: {reason}"
    )]
    Engine {
        /// As configured.
        calls: u32,
        /// wasmtime's words.
        reason: String,
    },
    /// The epoch thread did not start.
    #[error("the epoch thread cannot be started")]
    Thread(#[source] std::io::Error),
}

/// The engine and what belongs to it. Cheap to clone; clones are one runtime.
#[derive(Clone)]
pub struct Runtime {
    pub(crate) shared: Arc<Shared>,
}

pub(crate) struct Shared {
    pub(crate) engine: Engine,
    pub(crate) compiling: Compiling,
    pub(crate) cache: Option<Cache>,
    pub(crate) limits: LimitsByClass,
    pub(crate) deadlines: Deadlines,
    pub(crate) pool: Pool,
    pub(crate) cpu: Arc<Cpu>,
    pub(crate) quantum: Duration,
    /// Guests burn fuel.
    pub(crate) fuel: bool,
    ticker: Ticker,
}

impl Runtime {
    /// Reserves the pool and starts the epoch thread. A cache directory that cannot be trusted is not used, and a
    /// warning says why.
    ///
    /// # Errors
    /// See [`RuntimeError`].
    pub fn new(config: RuntimeConfig) -> Result<Self, RuntimeError> {
        Self::make(config, true)
    }

    /// One whose guests are compiled without fuel: for benchmarks to compare with, since nothing but a deadline ends a
    /// guest there.
    ///
    /// # Errors
    /// See [`RuntimeError`].
    #[doc(hidden)]
    pub fn without_fuel(config: RuntimeConfig) -> Result<Self, RuntimeError> {
        Self::make(config, false)
    }

    fn make(config: RuntimeConfig, fuel: bool) -> Result<Self, RuntimeError> {
        let limits = LimitsByClass::default().with(&config.limits);
        limits.validate(config.pool.memory)?;
        let invalid = |field, message: &str| RuntimeError::Config { field, message: message.to_owned() };
        if config.pool.calls == 0 || config.pool.instances_per_call == 0 {
            return Err(invalid("pool", "`calls` and `instances-per-call` are each at least 1"));
        }
        if config.cpu == 0 || config.cpu > MOST_PERMITS {
            return Err(invalid("cpu", "between 1 and 1024"));
        }
        if config.quantum < Duration::from_micros(50) || config.quantum > Duration::from_millis(100) {
            return Err(invalid("quantum", "between 50us and 100ms"));
        }
        config.compile.check().map_err(|(field, message)| RuntimeError::Config { field, message })?;
        let engine = Engine::new(wasmtime_config(&config.pool).consume_fuel(fuel))
            .map_err(|error| RuntimeError::Engine { calls: config.pool.calls, reason: format!("{error:#}") })?;
        let cache = config.cache.and_then(|dir| match Cache::open(&dir, &engine) {
            Ok(cache) => Some(cache),
            Err(error) => {
                let dir = dir.display().to_string();
                tracing::warn!(dir, error = chain(&error), "compiled code is not kept: the cache cannot be trusted");
                None
            }
        });
        let (pool, deadlines, quantum) = (config.pool, config.deadlines, config.quantum);
        let cpu = Arc::new(Cpu::new(config.cpu, quantum));
        let ticker = Ticker::start(cpu.clone(), engine.weak()).map_err(RuntimeError::Thread)?;
        let compiling = Compiling::new(config.compiler, config.compile);
        let shared = Shared { engine, compiling, cache, limits, deadlines, pool, cpu, quantum, fuel, ticker };
        Ok(Self { shared: Arc::new(shared) })
    }

    /// What of the pool is in use now.
    pub fn pool_use(&self) -> PoolUse {
        let Shared { engine, pool, .. } = &*self.shared;
        let live = engine.pooling_allocator_metrics();
        let live = |count: fn(&wasmtime::PoolingAllocatorMetrics) -> u64| live.as_ref().map_or(0, count);
        let calls = u64::from(pool.calls);
        PoolUse {
            components: Slots { used: live(|pool| pool.component_instances()), all: calls },
            instances: Slots {
                used: live(|pool| pool.core_instances()),
                all: calls.saturating_mul(pool.instances_per_call.into()),
            },
            memories: Slots {
                used: live(|pool| pool.memories() as u64),
                all: calls.saturating_mul(MOST_MEMORIES.into()),
            },
            stacks: Slots { used: live(|pool| pool.stacks() as u64), all: calls },
            resident: Size(live(|pool| pool.unused_memory_bytes_resident() as u64)),
        }
    }

    /// Ends and joins the epoch thread. Backends that are still loaded go on to work; only fuel ends their turns.
    pub fn shutdown(&self) {
        self.shared.ticker.stop();
    }
}

impl std::fmt::Debug for Runtime {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Runtime").field("pool", &self.shared.pool).finish_non_exhaustive()
    }
}

fn wasmtime_config(pool: &Pool) -> Config {
    // There is room for every call to take as much as one call may: a plugin that takes all of it leaves no other's call
    // without. A memory reserves more than 4 GiB of address space, so that code needs no bounds checks; nearly every
    // component has one, however many core instances it has.
    let instances = pool.calls.saturating_mul(pool.instances_per_call);
    let memories = pool.calls.saturating_mul(MOST_MEMORIES);
    let memory = usize::try_from(pool.memory.0).unwrap_or(usize::MAX);
    let resident = usize::try_from(pool.keep_resident.0).unwrap_or(usize::MAX);

    let mut pooling = PoolingAllocationConfig::new();
    pooling
        .total_component_instances(pool.calls)
        .total_stacks(pool.calls)
        .total_core_instances(instances)
        .total_memories(memories)
        .total_tables(instances)
        .max_core_instances_per_component(pool.instances_per_call)
        .max_memories_per_component(MOST_MEMORIES)
        .max_tables_per_component(pool.instances_per_call)
        .max_memory_size(memory)
        .table_elements(MOST_TABLE_ELEMENTS)
        .linear_memory_keep_resident(resident)
        .table_keep_resident(64 << 10)
        .max_unused_warm_slots(16)
        // Where the kernel has it (6.7 and later), only what was written is reset.
        .pagemap_scan(Enabled::Auto);

    let mut config = code_config();
    config.allocation_strategy(InstanceAllocationStrategy::Pooling(pooling));
    config
}

/// What compiled code depends on: the same for the engine that compiles and for the one that runs, which may be in
/// different processes.
pub(crate) fn code_config() -> Config {
    let mut config = Config::new();
    config
        // Halves the cost of a call; the async component model is not stable yet, and no interface here uses it.
        .concurrency_support(false)
        .consume_fuel(true)
        .epoch_interruption(true)
        .memory_init_cow(true)
        // Frames have the names of functions. Files and lines would be read from the guest's own debug information, at
        // each trap anew and for each frame, without any bound on what that costs.
        .wasm_backtrace_details(WasmBacktraceDetails::Disable)
        .wasm_backtrace_max_frames(std::num::NonZeroUsize::new(32));
    config
}

/// An error with its sources.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        text.push_str(": ");
        text.push_str(&error.to_string());
        source = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_runtime_joins_its_thread() {
        let runtime = Runtime::new(RuntimeConfig::default()).unwrap();
        runtime.shutdown();
        runtime.shutdown();
    }

    #[test]
    fn a_config_that_makes_no_sense_is_refused_by_name() {
        let pool = Pool { calls: 0, ..Pool::default() };
        let error = Runtime::new(RuntimeConfig { pool, ..RuntimeConfig::default() }).unwrap_err();
        assert!(error.to_string().starts_with("runtime.pool"), "{error}");
        let error = Runtime::new(RuntimeConfig { quantum: Duration::ZERO, ..RuntimeConfig::default() }).unwrap_err();
        assert!(error.to_string().starts_with("runtime.quantum"), "{error}");
    }
}
