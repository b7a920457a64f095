//! The composition root: the one place that knows every part.
//!
//! [`App::start`] goes in this order, and each step undoes nothing of an earlier daemon before the lock is held:
//! the store with the data directory's lock, the runtime, the backends (all at once), the socket, the control plane,
//! and only then the API. [`App::shutdown`] goes back the same way.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use seawall_backend::limit::Ceiling;
use seawall_backend::{Bulkhead, ExecutionBackend, Info};
use seawall_control::{Control, Shutdown, ShutdownError};
use seawall_model::{BackendName, InvalidSpec, Session, SessionState, Timestamp};
use seawall_runtime::{LoadError, Plugin, Runtime, RuntimeConfig, RuntimeError, Services, WasmBackend};
use seawall_store::{OpenError, Store};
use tokio::task::JoinSet;
use tracing::info;

use crate::api::{self, Api, Server};
use crate::compiler;
use crate::config::{Backend, ConfigError, PluginSource, Settings, ShutdownMode};
use crate::embedded::{self, Found};
use crate::schema::Schema;

/// Why the daemon did not start. Nothing runs, and nothing of another daemon was touched.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StartError {
    /// Another daemon holds the data directory.
    #[error(transparent)]
    Locked(OpenError),
    /// The data directory cannot be used.
    #[error(transparent)]
    Store(OpenError),
    /// Something beside the store cannot be kept.
    #[error("{} cannot be used", .path.display())]
    Storage {
        /// What.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A backend's configuration is not what its plugin takes.
    #[error(transparent)]
    Config(ConfigError),
    /// The socket's path does not fit.
    #[error("the socket path {} has {length} bytes and at most {most} fit: name a shorter one with --socket", .path.display())]
    SocketTooLong {
        /// The path.
        path: PathBuf,
        /// Its bytes.
        length: usize,
        /// The system's bound.
        most: usize,
    },
    /// Somebody answers at the socket.
    #[error("another daemon answers at the socket {}: stop it, or name another one with --socket", .path.display())]
    SocketInUse {
        /// The path.
        path: PathBuf,
    },
    /// The socket cannot be bound.
    #[error("the socket {} cannot be bound", .path.display())]
    Socket {
        /// The path.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A backend's plugin cannot be loaded.
    #[error("backend {backend} cannot be loaded from {plugin}")]
    Plugin {
        /// The backend.
        backend: BackendName,
        /// Its plugin.
        plugin: String,
        /// Why.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The binary was built without plugins.
    #[error(
        "backend {backend} wants the built-in plugin {plugin}, which this binary does not carry: build the plugins with \
         `cargo xtask plugins` and build again, or name a folder that has them with --plugins-dir"
    )]
    NoPlugin {
        /// The backend.
        backend: BackendName,
        /// The plugin's name.
        plugin: &'static str,
    },
    /// The runtime cannot be made.
    #[error("the runtime of plugins cannot be set up")]
    Runtime(#[source] RuntimeError),
    /// The control plane cannot be started.
    #[error("the control plane cannot be started")]
    Control(#[source] seawall_control::StartError),
}

/// A daemon that runs.
pub(crate) struct App {
    server: Server,
    control: Control,
    runtime: Runtime,
    store: Store,
    mode: ShutdownMode,
    deadline: Duration,
}

impl App {
    /// Wires everything and starts it.
    ///
    /// # Errors
    /// See [`StartError`].
    pub(crate) async fn start(settings: &Settings) -> Result<Self, StartError> {
        api::check_path(&settings.socket)?;
        let store = Store::open(&settings.data_dir).await.map_err(|error| match error {
            OpenError::Locked { .. } => StartError::Locked(error),
            other => StartError::Store(other),
        })?;
        let config = RuntimeConfig { compiler: compiler::child(), ..settings.runtime.clone() };
        let runtime = Runtime::new(config).map_err(|error| match error {
            RuntimeError::Config { .. } | RuntimeError::Limits(_) => {
                StartError::Config(settings.wrong(&["runtime"], error.to_string()))
            }
            RuntimeError::Engine { .. } | RuntimeError::Thread(_) => StartError::Runtime(error),
        })?;
        let started = Self::assemble(settings, &store, &runtime).await;
        if started.is_err() {
            runtime.shutdown();
            store.close().await;
        }
        let (server, control) = started?;
        Ok(Self { server, control, runtime, store, mode: settings.shutdown, deadline: settings.shutdown_deadline })
    }

    async fn assemble(settings: &Settings, store: &Store, runtime: &Runtime) -> Result<(Server, Control), StartError> {
        let services = services(settings, store)?;
        let (backends, options) = load(settings, runtime, services).await?;
        let bound = api::bind(&settings.socket)?;
        let control = Control::start(settings.control.clone(), store.clone(), backends).await;
        let control = control.map_err(StartError::Control)?;
        let version = api::Version {
            version: env!("CARGO_PKG_VERSION"),
            api: 1,
            store: store.id().to_string(),
            pid: std::process::id(),
            started_at: Timestamp::now(),
        };
        let api = Api::new(control.clone(), version, options);
        let drain = api.drain.clone();
        Ok((Server::spawn(bound, api::router(api), drain), control))
    }

    /// Sessions that run, or may.
    pub(crate) fn running(&self) -> usize {
        self.control.sessions().iter().filter(|session| runs(session)).count()
    }

    /// How many backends there are.
    pub(crate) fn backends(&self) -> usize {
        self.control.backends().len()
    }

    /// What becomes of sessions when it ends.
    pub(crate) fn mode(&self) -> ShutdownMode {
        self.mode
    }

    /// Ends it: streams are told, sessions are left or stopped, every task is joined, the store is closed.
    ///
    /// # Errors
    /// Not everything was done in time. It is over all the same.
    pub(crate) async fn shutdown(self) -> Result<(), ShutdownError> {
        let mode = match self.mode {
            ShutdownMode::Leave => Shutdown::Leave,
            ShutdownMode::Stop => Shutdown::Stop,
        };
        self.server.drain();
        let ended = self.control.shutdown(mode, self.deadline).await;
        self.server.shutdown(LAST_ANSWERS).await;
        self.runtime.shutdown();
        self.store.close().await;
        ended
    }
}

/// Requests have so long to write their answers once everything else is over.
const LAST_ANSWERS: Duration = Duration::from_secs(2);

fn runs(session: &Session) -> bool {
    let known = session.last_state.filter(|_| session.state == SessionState::Unknown).unwrap_or(session.state);
    matches!(known, SessionState::Running | SessionState::Paused)
}

fn services(settings: &Settings, store: &Store) -> Result<Services, StartError> {
    let supervisor = match &settings.supervisor {
        Some(path) => path.clone(),
        None => beside_this_binary("seawall-supervisor")?,
    };
    let mut protected = vec![settings.data_dir.clone(), settings.socket.clone()];
    protected.extend(settings.runtime.cache.clone());
    Ok(Services { store: store.clone(), runs: settings.data_dir.join("runs"), supervisor, protected })
}

fn beside_this_binary(name: &str) -> Result<PathBuf, StartError> {
    let fail = |source| StartError::Storage { path: PathBuf::from(name), source };
    let own = std::env::current_exe().map_err(fail)?;
    Ok(own.parent().unwrap_or(Path::new("/")).join(name))
}

/// Every backend is behind a bulkhead before anybody else sees it.
type Driver = Arc<Bulkhead<dyn ExecutionBackend>>;

type Loaded = (BTreeMap<BackendName, Driver>, BTreeMap<BackendName, Schema>);

/// Loads every backend, all at once: the first start compiles, and has more than one processor for it.
async fn load(settings: &Settings, runtime: &Runtime, services: Services) -> Result<Loaded, StartError> {
    let services = Arc::new(services);
    let ceiling = Ceiling::new(settings.ceiling);
    let mut loading = JoinSet::new();
    for (name, backend) in &settings.backend {
        let found = find(name, backend, settings.plugins_dir.as_deref())?;
        let one = load_one(name.clone(), backend.clone(), found, runtime.clone(), Arc::clone(&services));
        let (bulkhead, ceiling) = (backend.bulkhead, ceiling.clone());
        loading.spawn(async move {
            let (name, loaded) = one.await?;
            // The bulkhead has a deadline for every kind of backend: the plugin's own timer would race it.
            let driver: Driver = Arc::new(Bulkhead::new(loaded.untimed(), &bulkhead, ceiling));
            Ok((name, driver))
        });
    }
    let mut backends: BTreeMap<BackendName, Driver> = BTreeMap::new();
    let mut options = BTreeMap::new();
    // All are joined, also after one failed: none may still use the store when it closes.
    let mut failed = None;
    while let Some(joined) = loading.join_next().await {
        match joined {
            Ok(Ok((name, backend))) => {
                match check(settings, &name, backend.info()) {
                    Ok(schema) => options.insert(name.clone(), schema),
                    Err(error) => {
                        failed.get_or_insert(error);
                        continue;
                    }
                };
                backends.insert(name, backend);
            }
            Ok(Err(error)) => {
                failed.get_or_insert(error);
            }
            Err(panic) => std::panic::resume_unwind(panic.into_panic()),
        }
    }
    match failed {
        Some(error) => Err(error),
        None => Ok((backends, options)),
    }
}

fn find(name: &BackendName, backend: &Backend, folder: Option<&Path>) -> Result<Found, StartError> {
    embedded::find(&backend.plugin, folder).ok_or_else(|| StartError::NoPlugin {
        backend: name.clone(),
        plugin: match backend.plugin {
            PluginSource::BuiltIn(plugin) => plugin,
            PluginSource::File(_) => "",
        },
    })
}

async fn load_one(
    name: BackendName,
    backend: Backend,
    found: Found,
    runtime: Runtime,
    services: Arc<Services>,
) -> Result<(BackendName, WasmBackend), StartError> {
    let began = Instant::now();
    let plugin = backend.plugin.to_string();
    let fail = |source: Box<dyn std::error::Error + Send + Sync>| StartError::Plugin {
        backend: name.clone(),
        plugin: plugin.clone(),
        source,
    };
    let wasm = match tokio::task::spawn_blocking(move || found.read()).await {
        Ok(read) => read.map_err(|error| fail(error.into()))?,
        Err(panic) => std::panic::resume_unwind(panic.into_panic()),
    };
    let config = as_json(&backend.config).map_err(|error| fail(error.into()))?;
    let given = Plugin {
        backend: name.clone(),
        wasm,
        config,
        grants: backend.grants,
        limits: backend.limits,
        deadlines: Some(backend.deadlines),
    };
    let loaded = runtime.load(given, &services).await.map_err(|error: LoadError| fail(error.into()))?;
    let about = loaded.info();
    info!(
        backend = %name,
        plugin = %format_args!("{} {}", about.name, about.version),
        millis = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX),
        "backend loaded"
    );
    Ok((name, loaded))
}

/// Checks the backend's configuration against its plugin's schema, and makes the schema of options ready.
fn check(settings: &Settings, name: &BackendName, about: &Info) -> Result<Schema, StartError> {
    let schema = |what: &str, text: &str| {
        Schema::new(text).map_err(|error| StartError::Plugin {
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
