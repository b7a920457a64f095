//! What the operator allows a backend (`[backend.NAME.grants]`), and the same made ready to use.

use std::fmt;
use std::path::PathBuf;
use std::time::Instant;

use seawall_backend::Error;
use seawall_docker::{Docker, DockerGrant};
use seawall_model::{BackendName, Incarnation, SessionId, Size};
use seawall_process::{Process, ProcessGrant};
use seawall_store::{StateMap, StateQuota, Store};
use serde::de::{Error as _, MapAccess, Visitor, value::MapAccessDeserializer};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::{Map, Value};

use crate::config::ConfigText;

/// What a backend may use. Nothing, unless it is named.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(default, rename_all = "kebab-case", deny_unknown_fields)]
pub struct Grants {
    /// A persistent map of its own: `state = true`, or a table with `bytes` and `keys`.
    #[cfg_attr(feature = "schema", schema(value_type = bool))]
    pub state: StateGrant,
    /// Containers on a Docker Engine.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub docker: Option<DockerGrant>,
    /// Processes of this machine.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub process: Option<ProcessGrant>,
}

impl Grants {
    /// Everything, as an inspection of a plugin needs: nothing of it is ever used there.
    pub fn all() -> Self {
        Self {
            state: StateGrant::Granted(StateQuota::default()),
            docker: Some(DockerGrant::default()),
            process: Some(ProcessGrant::default()),
        }
    }

    /// Whether the interface of this name is granted.
    pub fn has(&self, interface: &str) -> bool {
        match interface {
            "state" => self.state != StateGrant::Refused,
            "docker" => self.docker.is_some(),
            "process" => self.process.is_some(),
            _ => false,
        }
    }
}

/// The grant of `state`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum StateGrant {
    /// Absent, or `false`.
    #[default]
    Refused,
    /// `true`, or a table.
    Granted(StateQuota),
}

/// What is granted of it, as a file has it.
#[derive(Serialize, Deserialize)]
#[serde(default, rename_all = "kebab-case", deny_unknown_fields)]
struct Quota {
    bytes: Size,
    keys: u64,
}

impl From<StateQuota> for Quota {
    fn from(StateQuota { bytes, keys }: StateQuota) -> Self {
        Self { bytes: Size(bytes), keys }
    }
}

impl Default for Quota {
    fn default() -> Self {
        StateQuota::default().into()
    }
}

impl Serialize for StateGrant {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Refused => serializer.serialize_bool(false),
            Self::Granted(quota) => Quota::from(*quota).serialize(serializer),
        }
    }
}

impl<'de> Deserialize<'de> for StateGrant {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Either;

        impl<'de> Visitor<'de> for Either {
            type Value = StateGrant;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("true, false, or a table with `bytes` and `keys`")
            }

            fn visit_bool<E>(self, granted: bool) -> Result<StateGrant, E> {
                Ok(if granted { StateGrant::Granted(StateQuota::default()) } else { StateGrant::Refused })
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<StateGrant, A::Error> {
                let Quota { bytes: Size(bytes), keys } = Quota::deserialize(MapAccessDeserializer::new(map))?;
                if keys == 0 {
                    return Err(A::Error::custom("`keys` is at least 1; write `state = false` to grant nothing"));
                }
                Ok(StateGrant::Granted(StateQuota { bytes, keys }))
            }
        }

        deserializer.deserialize_any(Either)
    }
}

/// What the daemon has to build capabilities of.
#[derive(Clone, Debug)]
pub struct Services {
    /// For `state`, and for the id that every workload is stamped with.
    pub store: Store,
    /// The directory of processes' run directories.
    pub runs: PathBuf,
    /// The `seawall-supervisor` executable.
    pub supervisor: PathBuf,
    /// What no session may be given: the data directory, the cache, the API socket.
    pub protected: Vec<PathBuf>,
}

/// Why a grant cannot be carried out on this machine.
#[derive(Debug, thiserror::Error)]
pub enum GrantError {
    /// The `state` of the backend cannot be read.
    #[error("the state of backend {backend} could not be read")]
    State {
        /// Which.
        backend: BackendName,
        /// Why.
        source: seawall_store::Error,
    },
    /// The `process` grant makes no sense here.
    #[error("the processes of backend {backend} cannot be set up")]
    Process {
        /// Which.
        backend: BackendName,
        /// Why.
        source: seawall_process::SetupError,
    },
}

impl GrantError {
    /// The key of the backend's configuration at fault, if the configuration is: `grants.process.user`.
    pub fn key(&self) -> Option<String> {
        match self {
            Self::Process { source: seawall_process::SetupError::Grant { field, .. }, .. } => {
                Some(format!("grants.process.{field}"))
            }
            Self::Process { .. } | Self::State { .. } => None,
        }
    }
}

/// What a loaded backend may use, ready to use. Shared by all its calls.
#[derive(Debug)]
pub struct Granted {
    backend: BackendName,
    config: ConfigText,
    loaded_at: Instant,
    pub(crate) state: Option<StateMap>,
    pub(crate) docker: Option<Docker>,
    pub(crate) process: Option<Process>,
}

impl Granted {
    /// Makes the capabilities that are granted. Nothing is connected to: an engine may come later.
    ///
    /// # Errors
    /// See [`GrantError`].
    pub async fn new(
        backend: BackendName,
        config: &Map<String, Value>,
        grants: &Grants,
        services: &Services,
    ) -> Result<Self, GrantError> {
        let store = services.store.id().clone();
        let state = match grants.state {
            StateGrant::Refused => None,
            StateGrant::Granted(quota) => {
                let state = services.store.state(&backend, quota).await;
                Some(state.map_err(|source| GrantError::State { backend: backend.clone(), source })?)
            }
        };
        let docker = grants.docker.clone().map(|grant| {
            let protected = services.protected.clone();
            Docker::new(seawall_docker::Scope { store: store.clone(), backend: backend.clone(), protected }, grant)
        });
        let process = match grants.process.clone() {
            None => None,
            Some(grant) => {
                let scope = seawall_process::Scope {
                    store,
                    backend: backend.clone(),
                    runs: services.runs.clone(),
                    supervisor: services.supervisor.clone(),
                };
                let process = Process::new(scope, grant);
                Some(process.map_err(|source| GrantError::Process { backend: backend.clone(), source })?)
            }
        };
        Ok(Self { state, docker, process, ..Self::inert(backend, config) })
    }

    /// Nothing but `log`, `clock` and `config`: enough for `describe`, and for plugins that need no more.
    pub fn inert(backend: BackendName, config: &Map<String, Value>) -> Self {
        Self {
            backend,
            config: ConfigText::new(config),
            loaded_at: Instant::now(),
            state: None,
            docker: None,
            process: None,
        }
    }

    /// The backend's configured name.
    pub fn backend(&self) -> &BackendName {
        &self.backend
    }

    /// Whether the host itself can reach what the backend makes: by every capability that makes workloads.
    pub fn can_expunge(&self) -> bool {
        self.docker.is_some() || self.process.is_some()
    }

    /// Ends and removes every workload of a session without the plugin, by its stamp; gives the incarnations that there
    /// were.
    ///
    /// # Errors
    /// `Unavailable` when an engine cannot be reached or something could not be removed.
    pub async fn expunge(&self, session: &SessionId) -> Result<Vec<Incarnation>, Error> {
        let mut gone = Vec::new();
        if let Some(process) = &self.process {
            gone.extend(process.expunge(session).await?);
        }
        if let Some(docker) = &self.docker {
            gone.extend(docker.expunge(session).await?);
        }
        Ok(gone)
    }

    pub(crate) fn config(&self) -> &ConfigText {
        &self.config
    }

    /// What the plugin's monotonic clock counts from.
    pub(crate) fn loaded_at(&self) -> Instant {
        self.loaded_at
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(json: Value) -> Result<Grants, String> {
        serde_json::from_value(json).map_err(|error| error.to_string())
    }

    #[test]
    fn nothing_is_granted_that_is_not_named() {
        let grants = read(serde_json::json!({})).unwrap();
        for interface in ["state", "docker", "process", "gpu"] {
            assert!(!grants.has(interface), "{interface}");
        }
        assert!(!read(serde_json::json!({"state": false})).unwrap().has("state"));
    }

    #[test]
    fn a_grant_is_a_switch_or_a_table() {
        let grants = read(serde_json::json!({"state": {"bytes": "1MiB"}, "docker": {}, "process": {}})).unwrap();
        let quota = StateQuota { bytes: 1 << 20, ..StateQuota::default() };
        assert_eq!(grants.state, StateGrant::Granted(quota));
        assert!(grants.has("docker") && grants.has("process"));
        assert!(read(serde_json::json!({"state": true})).unwrap().has("state"));
    }

    #[test]
    fn an_unknown_grant_is_refused_by_name() {
        for (json, named) in [
            (serde_json::json!({"gpu": true}), "gpu"),
            (serde_json::json!({"state": {"size": 1}}), "size"),
            (serde_json::json!({"state": "yes"}), "true, false, or a table"),
        ] {
            let error = read(json).unwrap_err();
            assert!(error.contains(named), "{error}");
        }
    }
}
