//! How to talk to the Engine: found out at the first call, and again after it went and came back.
//!
//! bollard opens a connection for each call, so nothing here breaks when the Engine goes; what can get stale is what
//! was negotiated with it. Any failure that is not an answer of the Engine drops that.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use bollard::errors::Error as Bollard;
use bollard::models::{SystemInfo, SystemInfoCgroupVersionEnum};
use bollard::{API_DEFAULT_VERSION, Docker};
use seawall_backend::Error;
use tokio::sync::OnceCell;

use crate::container::Engine;
use crate::endpoint::{Endpoint, InvalidEndpoint};
use crate::fault;

/// bollard's own limit on a call, in seconds: out of the way, since the caller's deadline ends a call by dropping it.
const NO_TIMEOUT: u64 = 24 * 60 * 60;

/// The API of Docker 25.
const START_INTERVAL: (usize, usize) = (1, 44);

/// What an Engine can do, as far as we need it before asking.
#[derive(Debug)]
pub(crate) struct Facts {
    pub(crate) cpus: u32,
    pub(crate) memory: u64,
    pub(crate) limits_memory: bool,
    pub(crate) limits_swap: bool,
    pub(crate) limits_cpus: bool,
    pub(crate) limits_processes: bool,
    /// Whether a health check may have a start interval.
    pub(crate) start_interval: bool,
    /// Where the Engine keeps images and containers.
    pub(crate) root: Option<PathBuf>,
    attributes: Vec<(String, String)>,
}

/// A negotiated way to talk to the Engine.
#[derive(Debug)]
pub(crate) struct Client {
    pub(crate) api: Docker,
    pub(crate) endpoint: Endpoint,
    facts: OnceCell<Facts>,
}

impl Client {
    /// `/v1.41`, before the path of a request that is not made by bollard.
    pub(crate) fn prefix(&self) -> String {
        format!("/v{}", self.api.client_version())
    }
}

/// The one connection of a capability.
#[derive(Debug)]
pub(crate) struct Connection {
    endpoint: Result<Endpoint, InvalidEndpoint>,
    client: Mutex<Option<Arc<Client>>>,
}

impl Connection {
    pub(crate) fn new(host: Option<&str>) -> Self {
        Self { endpoint: Endpoint::choose(host), client: Mutex::new(None) }
    }

    pub(crate) fn endpoint(&self) -> Result<&Endpoint, Error> {
        self.endpoint.as_ref().map_err(|error| Error::Unsupported(error.to_string()))
    }

    /// The client, made and negotiated if there is none. Two calls at once may both make one; the later is kept.
    pub(crate) async fn client(&self) -> Result<Arc<Client>, Error> {
        if let Some(client) = self.lock().as_ref() {
            return Ok(Arc::clone(client));
        }
        let endpoint = self.endpoint()?;
        let connect = async {
            let api = match endpoint {
                Endpoint::Unix(path) => {
                    Docker::connect_with_unix(&path.to_string_lossy(), NO_TIMEOUT, API_DEFAULT_VERSION)?
                }
                Endpoint::Tcp(address) => Docker::connect_with_http(address, NO_TIMEOUT, API_DEFAULT_VERSION)?,
            };
            api.negotiate_version().await
        };
        let api = connect.await.map_err(|error| fault::translate(endpoint, "say its version", &error))?;
        let client = Arc::new(Client { api, endpoint: endpoint.clone(), facts: OnceCell::new() });
        *self.lock() = Some(Arc::clone(&client));
        Ok(client)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Option<Arc<Client>>> {
        self.client.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What a failure means; drops what was negotiated unless the Engine answered.
    pub(crate) fn failed(&self, client: &Arc<Client>, doing: &str, error: &Bollard) -> Error {
        if !fault::is_answer(error) {
            let mut current = self.lock();
            if current.as_ref().is_some_and(|current| Arc::ptr_eq(current, client)) {
                *current = None;
            }
        }
        fault::translate(&client.endpoint, doing, error)
    }

    /// What the Engine can do; asked once for each connection.
    pub(crate) async fn facts<'a>(&self, client: &'a Arc<Client>) -> Result<&'a Facts, Error> {
        let ask = || async { client.api.info().await.map(|info| Facts::new(info, &client.api)) };
        client.facts.get_or_try_init(ask).await.map_err(|error| self.failed(client, "say what it can do", &error))
    }

    /// Asks the Engine who it is.
    pub(crate) async fn ping(&self) -> Result<Engine, Error> {
        let client = self.client().await?;
        let version = client.api.version().await.map_err(|error| self.failed(&client, "say its version", &error))?;
        let facts = self.facts(&client).await?;
        Ok(Engine {
            version: version.version.unwrap_or_default(),
            api_version: client.api.client_version().to_string(),
            attributes: facts.attributes.clone(),
            cpus: facts.cpus,
            memory: facts.memory,
        })
    }
}

impl Facts {
    fn new(info: SystemInfo, api: &Docker) -> Self {
        let cgroup = info.cgroup_version.and_then(|version| match version {
            SystemInfoCgroupVersionEnum::_1 => Some("1".to_owned()),
            SystemInfoCgroupVersionEnum::_2 => Some("2".to_owned()),
            SystemInfoCgroupVersionEnum::EMPTY => None,
        });
        let attributes = [
            ("os", info.operating_system),
            ("kernel", info.kernel_version),
            ("architecture", info.architecture),
            ("cgroup_version", cgroup),
            ("storage_driver", info.driver),
        ];
        let version = api.client_version();
        let attributes = attributes.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?)));
        Self {
            cpus: info.ncpu.and_then(|cpus| u32::try_from(cpus).ok()).unwrap_or(1).max(1),
            memory: info.mem_total.and_then(|bytes| u64::try_from(bytes).ok()).unwrap_or(0),
            limits_memory: info.memory_limit.unwrap_or(false),
            limits_swap: info.swap_limit.unwrap_or(false),
            limits_cpus: info.cpu_cfs_quota.unwrap_or(false),
            limits_processes: info.pids_limit.unwrap_or(false),
            start_interval: (version.major_version, version.minor_version) >= START_INTERVAL,
            root: info.docker_root_dir.filter(|dir| dir.len() > 1).map(PathBuf::from),
            attributes: attributes.collect(),
        }
    }
}
