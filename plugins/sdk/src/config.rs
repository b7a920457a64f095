//! The backend's configuration and a session's options, as typed values.
//!
//! Both were checked against the plugin's JSON Schemas by the host. What does not fit the type all the same is a
//! defect of the schema, and is told as an error, never as a panic.

use serde::de::DeserializeOwned;

use crate::bindings::host::seawall::host::config as host;
use crate::{Error, Result, Spec};

/// The whole table `[backend.NAME.config]`. Ask for one key with [`config_key`] where a call is made often.
///
/// # Errors
/// If the table does not fit `T`.
pub fn config<T: DeserializeOwned>() -> Result<T> {
    serde_json::from_str(&host::all())
        .map_err(|error| Error::Other(format!("the configuration of this backend does not fit the plugin: {error}")))
}

/// One top-level key of the configuration; `None` if it is not set.
///
/// # Errors
/// If the value does not fit `T`.
pub fn config_key<T: DeserializeOwned>(key: &str) -> Result<Option<T>> {
    let Some(json) = host::get(key) else { return Ok(None) };
    serde_json::from_str(&json)
        .map(Some)
        .map_err(|error| Error::Other(format!("`{key}` in the configuration does not fit the plugin: {error}")))
}

/// Whether `options` of a spec, a mount or an attachment say nothing: what a backend that has none asks before it refuses.
pub fn no_options(options: &str) -> bool {
    matches!(options.trim(), "" | "{}")
}

/// The session's `options`.
///
/// # Errors
/// `invalid`, naming `options`, if they do not fit `T`.
pub fn options<T: DeserializeOwned>(spec: &Spec) -> Result<T> {
    let json = if spec.options.is_empty() { "{}" } else { &spec.options };
    serde_json::from_str(json).map_err(|error| Error::invalid("options", error.to_string()))
}
