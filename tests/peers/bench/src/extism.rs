//! (f) Extism: the host's SDK and the guest's PDK, with the messages of (e) as bytes.
//!
//! Extism isolates plugins from each other and from the host, not calls: its own way is a plugin that is kept, whose
//! memory and globals go from call to call. Isolation as Seawall has it takes a new plugin for every call; both are
//! measured. The module is compiled once for both, and instances come from a pool, which Extism does not do by itself.

use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard};

use anyhow::{Context as _, Result, anyhow, ensure};
use async_trait::async_trait;
use extism::{CompiledPlugin, Plugin, PluginBuilder};
use prost::Message as _;
use seawall_model::Key;

use crate::grpc;
use crate::peer::Peer;

/// Compiles the guest. `cache` keeps what was compiled, for whoever does not want to measure compilation.
pub(crate) fn compile(wasm: &[u8], cache: Option<&Path>) -> Result<CompiledPlugin> {
    let mut config = wasmtime43::Config::new();
    let mut pool = wasmtime43::PoolingAllocationConfig::new();
    pool.total_memories(256)
        .total_core_instances(256)
        .max_memory_size(256 << 20)
        .linear_memory_keep_resident(512 << 10)
        .table_keep_resident(64 << 10)
        .max_unused_warm_slots(16)
        .pagemap_scan(wasmtime43::Enabled::Auto);
    config.allocation_strategy(wasmtime43::InstanceAllocationStrategy::Pooling(pool));
    let builder = PluginBuilder::new(wasm).with_wasmtime_config(config);
    let builder = match cache {
        Some(config) => builder.with_cache_config(config),
        None => builder.with_cache_disabled(),
    };
    builder.compile().context("compile Extism's guest")
}

fn call(plugin: &mut Plugin, function: &str, input: &[u8]) -> Result<Vec<u8>> {
    plugin.call::<&[u8], Vec<u8>>(function, input).map_err(|error| anyhow!("{error:#}"))
}

fn check(plugin: &mut Plugin) -> Result<()> {
    let answer = call(plugin, "check", &[])?;
    std::hint::black_box(grpc::report(peers_proto::Report::decode(answer.as_slice())?));
    Ok(())
}

fn inspect(plugin: &mut Plugin, keys: &[Key]) -> Result<usize> {
    let answer = call(plugin, "inspect", &grpc::request(keys))?;
    let reply = peers_proto::InspectReply::decode(answer.as_slice())?;
    Ok(std::hint::black_box(grpc::inspection(reply, keys.len())?).found.len())
}

/// A new plugin for every call.
pub(crate) struct Fresh(pub(crate) CompiledPlugin);

impl Fresh {
    fn plugin(&self) -> Result<Plugin> {
        Plugin::new_from_compiled(&self.0).context("make a plugin")
    }
}

#[async_trait]
impl Peer for Fresh {
    async fn check(&self) -> Result<()> {
        check(&mut self.plugin()?)
    }

    async fn inspect(&self, keys: &[Key]) -> Result<usize> {
        inspect(&mut self.plugin()?, keys)
    }
}

/// Plugins that are kept, one a core.
pub(crate) struct Kept(Vec<Mutex<Plugin>>);

impl Kept {
    pub(crate) fn new(compiled: &CompiledPlugin, plugins: usize) -> Result<Self> {
        let one = || Plugin::new_from_compiled(compiled).map(Mutex::new).context("make a plugin");
        Ok(Self((0..plugins).map(|_| one()).collect::<Result<_>>()?))
    }

    fn any(&self) -> Result<MutexGuard<'_, Plugin>> {
        crate::free(&self.0)
    }
}

#[async_trait]
impl Peer for Kept {
    async fn check(&self) -> Result<()> {
        check(&mut *self.any()?)
    }

    async fn inspect(&self, keys: &[Key]) -> Result<usize> {
        inspect(&mut *self.any()?, keys)
    }
}

/// A call that is held in flight, on a thread of its own.
pub(crate) struct Held {
    thread: std::thread::JoinHandle<Result<usize>>,
    cancel: extism::CancelHandle,
}

impl Held {
    /// Begins a call that only [`end`](Self::end) ends.
    pub(crate) fn start(compiled: &CompiledPlugin, keys: Arc<[Key]>) -> Result<Self> {
        let mut plugin = Plugin::new_from_compiled(compiled).context("make a plugin")?;
        let cancel = plugin.cancel_handle();
        let thread = std::thread::spawn(move || inspect(&mut plugin, &keys));
        Ok(Self { thread, cancel })
    }

    /// Fails if it has come to an end.
    pub(crate) fn lasts(&self) -> Result<()> {
        ensure!(!self.thread.is_finished(), "a call that is held came to an end");
        Ok(())
    }

    /// Cuts it off, and with it every other call of plugins that were compiled as one.
    pub(crate) fn end(self) -> Result<()> {
        self.cancel.cancel().map_err(|error| anyhow!("{error:#}"))?;
        _ = self.thread.join();
        Ok(())
    }
}
