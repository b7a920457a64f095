//! From a backend's settings to a backend that can be called: its plugin is found, read, loaded, put behind a bulkhead,
//! and its configuration checked against the plugin's schema.
//!
//! Several are loaded at once, each in a task: compiling has more than one processor for it. All are over when
//! [`Loader::idle`] is.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use seawall_backend::limit::Ceiling;
use seawall_backend::{Bulkhead, ExecutionBackend, Info};
use seawall_model::{BackendName, InvalidSpec};
use seawall_runtime::{LoadError, Plugin, Runtime, Services, WasmBackend};
use tokio::task::JoinSet;
use tokio_util::task::TaskTracker;
use tracing::info;

use crate::app::StartError;
use crate::config::{Backend, PluginSource, Settings, Written};
use crate::embedded;
use crate::metrics::Metrics;
use crate::schema::Schema;

/// Every backend is behind a bulkhead before anybody else sees it.
pub(crate) type Driver = Arc<Bulkhead<dyn ExecutionBackend>>;

/// A plugin's component.
#[derive(Clone, Debug)]
pub(crate) struct Component {
    wasm: Cow<'static, [u8]>,
    /// What it is known again by.
    pub(crate) digest: blake3::Hash,
}

/// A backend that can be called.
pub(crate) struct Loaded {
    /// To call it.
    pub(crate) driver: Driver,
    /// What `options` of its sessions are checked against.
    pub(crate) options: Schema,
}

/// Loads backends.
#[derive(Clone)]
pub(crate) struct Loader {
    runtime: Runtime,
    services: Arc<Services>,
    ceiling: Ceiling,
    metrics: Metrics,
    tasks: TaskTracker,
}

impl Loader {
    /// With what plugins are given. The ceiling is over all that it loads, and their calls are counted.
    pub(crate) fn new(runtime: Runtime, services: Services, ceiling: Ceiling, metrics: Metrics) -> Self {
        let tasks = TaskTracker::new();
        tasks.close();
        Self { runtime, services: Arc::new(services), ceiling, metrics, tasks }
    }

    /// The ceiling over all that it loaded.
    pub(crate) fn ceiling(&self) -> &Ceiling {
        &self.ceiling
    }

    /// Waits until nothing is being loaded: until then the store may be used.
    pub(crate) async fn idle(&self) {
        self.tasks.wait().await;
    }

    /// Reads the component of every backend.
    ///
    /// # Errors
    /// One is not there, or cannot be read.
    pub(crate) async fn read(&self, settings: &Settings) -> Result<BTreeMap<BackendName, Component>, StartError> {
        let mut components = BTreeMap::new();
        for (name, backend) in &settings.backend {
            let found = embedded::find(&backend.plugin, settings.plugins_dir.as_deref());
            let found = found.ok_or_else(|| StartError::NoPlugin {
                place: settings.written.place_of_backend(name.as_str()),
                backend: name.clone(),
                plugin: match backend.plugin {
                    PluginSource::BuiltIn(plugin) => plugin,
                    PluginSource::File(_) => "",
                },
            })?;
            let read = tokio::task::spawn_blocking(move || {
                let wasm = found.read()?;
                let digest = blake3::hash(&wasm);
                std::io::Result::Ok(Component { wasm, digest })
            });
            let component = match read.await {
                Ok(read) => read.map_err(|error| not_loaded(&settings.written, name, &backend.plugin, error.into()))?,
                Err(panic) => std::panic::resume_unwind(panic.into_panic()),
            };
            components.insert(name.clone(), component);
        }
        Ok(components)
    }

    /// Loads the backends of these components. Dropped, it is given up.
    ///
    /// # Errors
    /// One cannot be loaded; then none is.
    pub(crate) async fn load(
        &self,
        settings: &Settings,
        components: BTreeMap<BackendName, Component>,
    ) -> Result<BTreeMap<BackendName, Loaded>, StartError> {
        let mut loading = JoinSet::new();
        for (name, component) in components {
            let Some(backend) = settings.backend.get(&name).cloned() else { continue };
            let loader = self.clone();
            let written = settings.written.clone();
            loading.spawn(self.tasks.track_future(async move {
                let bulkhead = backend.bulkhead;
                let loaded = loader.load_one(&name, backend, component, &written).await?;
                let observer = loader.metrics.of(&name);
                let loaded = loaded.observed_by(Arc::clone(&observer));
                // The bulkhead has a deadline for every kind of backend: the plugin's own timer would race it.
                let driver = Bulkhead::new(loaded.untimed(), &bulkhead, loader.ceiling.clone());
                let driver: Driver = Arc::new(driver.observed_by(observer));
                Ok((name, driver))
            }));
        }
        let mut backends = BTreeMap::new();
        // All are joined, also after one failed: none may still use the store when it closes.
        let mut failed = None;
        while let Some(joined) = loading.join_next().await {
            match joined {
                Ok(Ok((name, driver))) => match check(settings, &name, driver.info()) {
                    Ok(options) => {
                        backends.insert(name, Loaded { driver, options });
                    }
                    Err(error) => {
                        failed.get_or_insert(error);
                    }
                },
                Ok(Err(error)) => {
                    failed.get_or_insert(error);
                }
                Err(panic) => std::panic::resume_unwind(panic.into_panic()),
            }
        }
        match failed {
            Some(error) => Err(error),
            None => Ok(backends),
        }
    }

    async fn load_one(
        &self,
        name: &BackendName,
        backend: Backend,
        component: Component,
        written: &Written,
    ) -> Result<WasmBackend, StartError> {
        let began = Instant::now();
        let config =
            as_json(&backend.config).map_err(|error| not_loaded(written, name, &backend.plugin, error.into()))?;
        let given = Plugin {
            backend: name.clone(),
            wasm: component.wasm,
            config,
            grants: backend.grants,
            limits: backend.limits,
            deadlines: Some(backend.deadlines),
        };
        let loaded = self.runtime.load(given, &self.services).await;
        let loaded = loaded.map_err(|error: LoadError| match error.key() {
            // Something that the configuration says of this backend, by its place there.
            Some(key) => {
                let keys: Vec<&str> = ["backend", name.as_str()].into_iter().chain(key.split('.')).collect();
                let text = format!("backend.{name}.{}", crate::exit::chain(error.innermost()));
                StartError::Config(written.wrong(&keys, text))
            }
            None => not_loaded(written, name, &backend.plugin, error.into()),
        })?;
        let about = loaded.info();
        info!(
            backend = %name,
            plugin = %format_args!("{} {}", about.name, about.version),
            millis = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX),
            "backend loaded"
        );
        Ok(loaded)
    }
}

fn not_loaded(
    written: &Written,
    backend: &BackendName,
    plugin: &PluginSource,
    source: Box<dyn std::error::Error + Send + Sync>,
) -> StartError {
    let place = written.place_of_backend(backend.as_str());
    StartError::Plugin { place, backend: backend.clone(), plugin: plugin.to_string(), source }
}

/// Checks the backend's configuration against its plugin's schema, and makes the schema of options ready.
fn check(settings: &Settings, name: &BackendName, about: &Info) -> Result<Schema, StartError> {
    let schema = |what: &str, text: &str| {
        Schema::new(text).map_err(|error| StartError::Plugin {
            place: settings.written.place_of_backend(name.as_str()),
            backend: name.clone(),
            plugin: about.name.clone(),
            source: format!("its {what} schema is no JSON Schema: {error}").into(),
        })
    };
    let options = schema("options", &about.options_schema)?;
    let config = schema("config", &about.config_schema)?;
    let written = settings.backend.get(name).map(|backend| &backend.config);
    let value = written.and_then(|table| as_json(table).ok()).map(serde_json::Value::Object).unwrap_or_default();
    let root = format!("backend.{name}.config");
    let problems = config.problems(&root, &value);
    match problems.first() {
        None => Ok(options),
        Some(first) => {
            let keys: Vec<&str> = first.field.split('.').collect();
            let message = InvalidSpec { problems: problems.clone() }.to_string();
            Err(StartError::Config(settings.wrong(&keys, message)))
        }
    }
}

fn as_json(table: &toml::Table) -> Result<serde_json::Map<String, serde_json::Value>, serde_json::Error> {
    let value = serde_json::to_value(table)?;
    serde_json::from_value(value)
}
