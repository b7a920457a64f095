//! What every handler is given.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock};

use seawall_control::Control;
use seawall_model::{BackendName, InvalidSpec, SessionSpec, Timestamp};
use serde::Serialize;
use tokio_util::sync::CancellationToken;
use utoipa::ToSchema;

use crate::metrics::Metrics;
use crate::reload::Reload;
use crate::schema::Schema;
use crate::tokens::Tokens;

/// What every handler is given. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Api {
    /// The control plane.
    pub(crate) control: Control,
    /// Who the daemon is.
    pub(crate) version: Arc<Version>,
    /// Cancelled when streams must come to their end.
    pub(crate) drain: CancellationToken,
    /// Has the configuration read again.
    pub(crate) reload: Reload,
    /// What is counted.
    pub(crate) metrics: Metrics,
    /// Who may come in over TCP.
    pub(crate) tokens: Tokens,
    /// By which names.
    pub(crate) hosts: Arc<[String]>,
    schemas: Schemas,
}

/// What `options` of new sessions are checked against, by backend. Clones are the same.
#[derive(Clone, Debug, Default)]
pub(crate) struct Schemas(Arc<RwLock<BTreeMap<BackendName, Arc<Schema>>>>);

impl Schemas {
    /// These take the place of those of their names.
    pub(crate) fn put(&self, schemas: BTreeMap<BackendName, Schema>) {
        let schemas = schemas.into_iter().map(|(name, schema)| (name, Arc::new(schema)));
        self.0.write().unwrap_or_else(PoisonError::into_inner).extend(schemas);
    }

    /// These backends are there no longer.
    pub(crate) fn remove(&self, names: &[BackendName]) {
        self.0.write().unwrap_or_else(PoisonError::into_inner).retain(|name, _| !names.contains(name));
    }

    fn get(&self, name: &BackendName) -> Option<Arc<Schema>> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).get(name).cloned()
    }
}

impl From<BTreeMap<BackendName, Schema>> for Schemas {
    fn from(schemas: BTreeMap<BackendName, Schema>) -> Self {
        let all = Self::default();
        all.put(schemas);
        all
    }
}

/// Who the daemon is: `GET /v1/version`.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(crate) struct Version {
    /// Of the program.
    #[schema(value_type = String)]
    pub(crate) version: &'static str,
    /// Of the API; a number that only grows when something old stops working.
    pub(crate) api: u32,
    /// The id of the data directory.
    pub(crate) store: String,
    /// Its process.
    pub(crate) pid: u32,
    /// Since when it runs.
    pub(crate) started_at: Timestamp,
}

impl Api {
    /// With the schemas that `options` of new sessions are checked against.
    pub(crate) fn new(
        control: Control,
        version: Version,
        schemas: Schemas,
        reload: Reload,
        metrics: Metrics,
        tokens: Tokens,
    ) -> Self {
        let (version, drain) = (Arc::new(version), CancellationToken::new());
        Self { control, version, drain, reload, metrics, tokens, hosts: Arc::default(), schemas }
    }

    /// Checks `options` against the schema of the backend's plugin.
    ///
    /// # Errors
    /// Each field at fault.
    pub(crate) fn check_options(&self, spec: &SessionSpec) -> Result<(), InvalidSpec> {
        // A backend that is not configured is refused by the control plane, in better words.
        let Some(schema) = self.schemas.get(&spec.backend) else { return Ok(()) };
        let problems = schema.problems("options", &serde_json::Value::Object(spec.options.clone()));
        if problems.is_empty() { Ok(()) } else { Err(InvalidSpec { problems }) }
    }
}
