//! The composition root: the one place that knows every part.
//!
//! [`App::start`] goes in this order, and each step undoes nothing of an earlier daemon before the lock is held:
//! the store with the data directory's lock, the runtime, the backends (all at once), the socket, the control plane,
//! what reads the configuration again, and only then the API. [`App::shutdown`] goes back the same way.

use std::collections::BTreeMap;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use seawall_backend::limit::Ceiling;
use seawall_control::{Control, Shutdown, ShutdownError};
use seawall_model::{BackendName, Timestamp};
use seawall_runtime::{Runtime, RuntimeConfig, RuntimeError, Services};
use seawall_store::{OpenError, Store, StoreConfig};

use crate::api::{self, Api, Door, Schemas, Server};
use crate::compiler;
use crate::config::{ConfigError, Settings, ShutdownMode};
use crate::loading::{Loaded, Loader};
use crate::metrics::Metrics;
use crate::reload::{Reload, Reloader};
use crate::tokens::Tokens;

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
    /// Others could put a socket of their own in its place.
    #[error(
        "the socket {} would lie in {}, which {why}: make it a directory that only the daemon's user may write, or name \
         another socket with --socket", .path.display(), .directory.display()
    )]
    SocketExposed {
        /// The path.
        path: PathBuf,
        /// Where it lies.
        directory: PathBuf,
        /// Why not there.
        why: String,
    },
    /// The API's address cannot be listened at.
    #[error("nobody can listen at {address} (api.tcp.listen)")]
    Listen {
        /// The address.
        address: std::net::SocketAddr,
        /// Why.
        source: std::io::Error,
    },
    /// Certificate or key cannot be used.
    #[error("{} (api.tcp.tls): {why}", .file.display())]
    Tls {
        /// Which of them.
        file: PathBuf,
        /// Why.
        why: String,
    },
    /// The tokens cannot be read.
    #[error("the tokens of the API cannot be read")]
    Tokens(#[source] seawall_store::Error),
    /// The socket cannot be bound.
    #[error("the socket {} cannot be bound", .path.display())]
    Socket {
        /// The path.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A backend's plugin cannot be loaded.
    #[error("{place}backend {backend} cannot be loaded from {plugin}")]
    Plugin {
        /// Where the configuration has it; empty where it does not.
        place: String,
        /// The backend.
        backend: BackendName,
        /// Its plugin.
        plugin: String,
        /// Why.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The binary was built without plugins.
    #[error(
        "{place}backend {backend} wants the built-in plugin {plugin}, which this binary does not carry: build the plugins with \
         `cargo xtask plugins` and build again, or name a folder that has them with --plugins-dir"
    )]
    NoPlugin {
        /// Where the configuration has it; empty where it does not.
        place: String,
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
    url: Option<String>,
    reloader: Reloader,
    reload: Reload,
    control: Control,
    runtime: Runtime,
    store: Store,
}

/// Everything above runtime and store.
struct Assembled {
    server: Server,
    url: Option<String>,
    reloader: Reloader,
    reload: Reload,
    control: Control,
}

impl App {
    /// Wires everything and starts it.
    ///
    /// # Errors
    /// See [`StartError`].
    pub(crate) async fn start(settings: &Settings) -> Result<Self, StartError> {
        api::check_path(&settings.socket)?;
        let bounds = StoreConfig { journal: settings.journal, ..StoreConfig::default() };
        let store = Store::open_with(&settings.data_dir, bounds).await.map_err(|error| match error {
            OpenError::Locked { .. } => StartError::Locked(error),
            other => StartError::Store(other),
        })?;
        let runtime = runtime(settings, settings.runtime.cache.clone())?;
        let started = Self::assemble(settings, &store, &runtime).await;
        if started.is_err() {
            runtime.shutdown();
            store.close().await;
        }
        let Assembled { server, url, reloader, reload, control } = started?;
        Ok(Self { server, url, reloader, reload, control, runtime, store })
    }

    async fn assemble(settings: &Settings, store: &Store, runtime: &Runtime) -> Result<Assembled, StartError> {
        let services = services(settings, store)?;
        let metrics = Metrics::of_runtime(runtime.clone());
        let loader = Loader::new(runtime.clone(), services, Ceiling::new(settings.ceiling), metrics.clone());
        let components = loader.read(settings).await?;
        let digests = components.iter().map(|(name, component)| (name.clone(), component.digest)).collect();
        let (mut backends, mut options) = (BTreeMap::new(), BTreeMap::new());
        for (name, loaded) in loader.load(settings, components).await? {
            let Loaded { driver, options: schema } = loaded;
            backends.insert(name.clone(), driver);
            options.insert(name, schema);
        }
        let schemas = Schemas::from(options);
        let mut doors = vec![Door::Unix(api::bind(&settings.socket)?)];
        let (mut url, mut hosts, mut certificate) = (None, Vec::new(), None);
        if let Some(tcp) = &settings.api.tcp {
            let listener = api::listen(tcp).await?;
            url = Some(listener.url());
            certificate = listener.certificate();
            doors.push(Door::Tcp(listener));
            hosts.clone_from(&tcp.hosts);
        }
        let tokens = Tokens::load(store.clone()).await.map_err(StartError::Tokens)?;
        let control = Control::start(settings.control.clone(), store.clone(), backends).await;
        let control = control.map_err(StartError::Control)?;
        let (in_use, schemas_too) = (control.clone(), schemas.clone());
        let (reloader, reload) = Reloader::spawn(settings.clone(), digests, loader, in_use, schemas_too, certificate);
        let version = api::Version {
            version: env!("CARGO_PKG_VERSION"),
            api: 1,
            store: store.id().to_string(),
            pid: std::process::id(),
            started_at: Timestamp::now(),
        };
        let mut api = Api::new(control.clone(), version, schemas, reload.clone(), metrics, tokens);
        api.hosts = hosts.into();
        let drain = api.drain.clone();
        let server = Server::spawn(doors, api::router(api), drain, api::WRITE_TIMEOUT);
        Ok(Assembled { server, url, reloader, reload, control })
    }

    /// What is to be done now and then while nothing happens.
    pub(crate) fn keep_house(&self) {
        self.store.prune();
    }

    /// Sessions that run, or may.
    pub(crate) fn running(&self) -> usize {
        self.control.sessions().iter().filter(|session| session.runs()).count()
    }

    /// Where it is found over TCP, if it listens there.
    pub(crate) fn url(&self) -> Option<&str> {
        self.url.as_deref()
    }

    /// How many backends there are.
    pub(crate) fn backends(&self) -> usize {
        self.control.backends().len()
    }

    /// What becomes of sessions when it ends.
    pub(crate) fn mode(&self) -> ShutdownMode {
        self.reloader.settings.borrow().shutdown
    }

    /// Has the configuration read again; the log says what comes of it.
    pub(crate) fn reload(&self) {
        self.reload.ask();
    }

    /// Ends it: streams are told, sessions are left or stopped, every task is joined, the store is closed.
    ///
    /// # Errors
    /// Not everything was done in time. It is over all the same.
    pub(crate) async fn shutdown(self) -> Result<(), ShutdownError> {
        self.server.drain();
        let settings = self.reloader.settings.clone();
        self.reloader.shutdown().await;
        let (mode, deadline) = {
            let settings = settings.borrow();
            let mode = match settings.shutdown {
                ShutdownMode::Leave => Shutdown::Leave,
                ShutdownMode::Stop => Shutdown::Stop,
            };
            (mode, settings.shutdown_deadline)
        };
        let ended = self.control.shutdown(mode, deadline).await;
        self.server.shutdown(LAST_ANSWERS).await;
        self.runtime.shutdown();
        self.store.close().await;
        ended
    }
}

/// All that is checked at a start, with nothing of it left behind: every plugin is loaded with its grants and its
/// configuration, over a store of its own, and dropped again. A daemon may be running with the same settings.
///
/// # Errors
/// What would keep a daemon from starting with these settings, whatever is on the machine beside them.
pub(crate) async fn check(settings: &Settings) -> Result<(), StartError> {
    api::check_socket(&settings.socket)?;
    let scratch = Scratch::new()?;
    let store = Store::open(&scratch.0).await.map_err(StartError::Store)?;
    let checked = match runtime(settings, settings.runtime.cache.clone().filter(|cache| cache.is_dir())) {
        Ok(runtime) => {
            let checked = check_backends(settings, &store, &runtime, &scratch.0).await;
            runtime.shutdown();
            checked
        }
        Err(error) => Err(error),
    };
    store.close().await;
    checked
}

async fn check_backends(
    settings: &Settings,
    store: &Store,
    runtime: &Runtime,
    scratch: &Path,
) -> Result<(), StartError> {
    let services = Services { runs: scratch.join("runs"), ..services(settings, store)? };
    let loader = Loader::new(runtime.clone(), services, Ceiling::new(settings.ceiling), Metrics::default());
    let checked = match loader.read(settings).await {
        Ok(components) => loader.load(settings, components).await.map(drop),
        Err(error) => Err(error),
    };
    loader.idle().await;
    checked
}

/// A directory of our own that goes when this does.
struct Scratch(PathBuf);

impl Scratch {
    fn new() -> Result<Self, StartError> {
        let path = std::env::temp_dir().join(format!("seawall-check-{:016x}", rand::random::<u64>()));
        let made = std::fs::DirBuilder::new().mode(0o700).create(&path);
        made.map_err(|source| StartError::Storage { path: path.clone(), source })?;
        Ok(Self(path))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// The runtime of these settings, with this cache.
fn runtime(settings: &Settings, cache: Option<PathBuf>) -> Result<Runtime, StartError> {
    let config = RuntimeConfig { compiler: compiler::child(), cache, ..settings.runtime.clone() };
    Runtime::new(config).map_err(|error| match error {
        RuntimeError::Config { .. } | RuntimeError::Limits(_) => {
            // They begin with the key at fault, dotted.
            let text = error.to_string();
            let keys: Vec<&str> = text.split(':').next().unwrap_or_default().split('.').collect();
            StartError::Config(settings.wrong(&keys, text.clone()))
        }
        RuntimeError::Engine { .. } | RuntimeError::Thread(_) => StartError::Runtime(error),
    })
}

/// Requests have so long to write their answers once everything else is over.
const LAST_ANSWERS: Duration = Duration::from_secs(2);

fn services(settings: &Settings, store: &Store) -> Result<Services, StartError> {
    let supervisor = settings.supervisor().ok_or_else(|| {
        let source = std::io::Error::other("nobody knows where this binary is: name one with --supervisor");
        StartError::Storage { path: PathBuf::from("seawall-supervisor"), source }
    })?;
    let mut protected = vec![settings.data_dir.clone(), settings.socket.clone()];
    protected.extend(settings.runtime.cache.clone());
    Ok(Services { store: store.clone(), runs: settings.data_dir.join("runs"), supervisor, protected })
}
