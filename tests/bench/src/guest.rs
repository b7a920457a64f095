//! A built-in plugin, loaded as the daemon loads it.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use seawall_backend::Deadlines;
use seawall_runtime::{Plugin, Runtime, RuntimeConfig, RuntimeError, Services, WasmBackend};
use seawall_store::Store;
use serde_json::{Value, json};

/// A runtime with a store of its own.
pub(crate) struct Host {
    runtime: Runtime,
    services: Services,
    dir: tempfile::TempDir,
}

impl Host {
    pub(crate) async fn new() -> Result<Self> {
        Self::with(Runtime::new).await
    }

    /// With a runtime of another make.
    pub(crate) async fn with(make: impl FnOnce(RuntimeConfig) -> Result<Runtime, RuntimeError>) -> Result<Self> {
        let dir = tempfile::tempdir().context("make a directory")?;
        let services = Services {
            store: Store::open(&dir.path().join("data")).await.context("open a store")?,
            runs: dir.path().join("runs"),
            supervisor: dir.path().join("none"),
            protected: Vec::new(),
        };
        // What was compiled once need not be compiled for each of the loads that look for the fuel.
        let cache = Some(dir.path().join("cache"));
        let runtime = make(RuntimeConfig { cache, ..RuntimeConfig::default() }).context("make a runtime")?;
        Ok(Self { runtime, services, dir })
    }

    /// The id that workloads are stamped with.
    pub(crate) fn store_id(&self) -> String {
        self.services.store.id().to_string()
    }

    /// A directory for sockets.
    pub(crate) fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// Loads a built-in plugin as the backend of its name.
    pub(crate) async fn load(&self, name: &str, grants: Value, limits: Value) -> Result<WasmBackend> {
        self.load_from(&PathBuf::from("plugins/dist").join(name), name, grants, limits).await
    }

    /// Loads one of the guests that misbehave, in `check`.
    pub(crate) async fn load_fixture(&self, name: &str) -> Result<WasmBackend> {
        self.load_from(&PathBuf::from("tests/fixtures/dist").join(name), name, json!({}), json!({})).await
    }

    async fn load_from(&self, file: &Path, name: &str, grants: Value, limits: Value) -> Result<WasmBackend> {
        let plugin = Plugin {
            grants: serde_json::from_value(grants).context("read the grants")?,
            limits: serde_json::from_value(limits).context("read the limits")?,
            deadlines: Some(Deadlines::default()),
            ..Plugin::new(name.parse().context("name the backend")?, wasm(&file.with_extension("wasm"))?)
        };
        self.runtime.load(plugin, &self.services).await.with_context(|| format!("load plugin {name}"))
    }

    /// Ends the runtime and the store.
    pub(crate) async fn close(self) {
        self.runtime.shutdown();
        self.services.store.close().await;
    }
}

fn wasm(file: &Path) -> Result<Vec<u8>> {
    std::fs::read(file).with_context(|| format!("read {}: `cargo xtask plugins` builds it", file.display()))
}
