//! What every handler is given.

use std::collections::BTreeMap;
use std::sync::Arc;

use seawall_control::Control;
use seawall_model::{BackendName, InvalidSpec, SessionSpec, Timestamp};
use serde::Serialize;
use tokio_util::sync::CancellationToken;

use crate::schema::Schema;

/// What every handler is given. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Api {
    /// The control plane.
    pub(crate) control: Control,
    /// Who the daemon is.
    pub(crate) version: Arc<Version>,
    /// Cancelled when streams must come to their end.
    pub(crate) drain: CancellationToken,
    options: Arc<BTreeMap<BackendName, Schema>>,
}

/// Who the daemon is: `GET /v1/version`.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Version {
    /// Of the program.
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
    pub(crate) fn new(control: Control, version: Version, options: BTreeMap<BackendName, Schema>) -> Self {
        Self { control, version: Arc::new(version), drain: CancellationToken::new(), options: Arc::new(options) }
    }

    /// Checks `options` against the schema of the backend's plugin.
    ///
    /// # Errors
    /// Each field at fault.
    pub(crate) fn check_options(&self, spec: &SessionSpec) -> Result<(), InvalidSpec> {
        // A backend that is not configured is refused by the control plane, in better words.
        let Some(schema) = self.options.get(&spec.backend) else { return Ok(()) };
        let problems = schema.problems("options", &serde_json::Value::Object(spec.options.clone()));
        if problems.is_empty() { Ok(()) } else { Err(InvalidSpec { problems }) }
    }
}
