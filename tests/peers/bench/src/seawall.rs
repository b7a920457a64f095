//! (c) Seawall's own road: `Bulkhead` round `WasmBackend`, with every limit at its default, as the daemon composes them.

use std::path::Path;

use anyhow::{Context as _, Result};
use seawall_backend::limit::Ceiling;
use seawall_backend::{Bulkhead, BulkheadConfig};
use seawall_runtime::{Plugin, Runtime, RuntimeConfig, Services, WasmBackend};
use seawall_store::Store;

/// A runtime with what plugins may be granted behind it.
pub(crate) struct Seawall {
    runtime: Runtime,
    services: Services,
    _dir: tempfile::TempDir,
}

impl Seawall {
    /// `cache` keeps what was compiled.
    pub(crate) async fn new(cache: Option<&Path>) -> Result<Self> {
        let dir = tempfile::tempdir().context("make a directory")?;
        let services = Services {
            store: Store::open(&dir.path().join("data")).await.context("open a store")?,
            runs: dir.path().join("runs"),
            supervisor: dir.path().join("none"),
            protected: Vec::new(),
        };
        let config = RuntimeConfig { cache: cache.map(Path::to_path_buf), ..RuntimeConfig::default() };
        let runtime = Runtime::new(config).context("make a runtime")?;
        Ok(Self { runtime, services, _dir: dir })
    }

    /// Loads the guest, with a bulkhead round it.
    pub(crate) async fn load(&self, wasm: &[u8]) -> Result<Bulkhead<WasmBackend>> {
        let plugin = Plugin::new("peer".parse().context("name the backend")?, wasm.to_vec());
        let backend = self.runtime.load(plugin, &self.services).await.context("load the plugin")?;
        Ok(Bulkhead::new(backend, &BulkheadConfig::default(), Ceiling::new(100)))
    }

    pub(crate) async fn close(self) {
        self.runtime.shutdown();
        self.services.store.close().await;
    }
}
