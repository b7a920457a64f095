//! What a file is, for `seawall plugin inspect`: shown as far as it can be known, and why no further.

use std::borrow::Cow;

use seawall_backend::{Info, Interface};
use seawall_capability::{Grants, Offer};
use seawall_model::BackendName;
use serde::Serialize;

use crate::engine::{Runtime, chain};
use crate::exports::{self, Exports};
use crate::loader::{self, LoadError};

/// What is known of a component.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct PluginInspection {
    /// In bytes.
    pub size: usize,
    /// What it imports, and on what condition it gets it.
    pub imports: Vec<InspectedImport>,
    /// What it exports.
    pub exports: Vec<String>,
    /// Optional interfaces of a backend among its exports.
    pub interfaces: Vec<Interface>,
    /// What it says of itself, if it could be asked.
    pub info: Option<Info>,
    /// Why it could not be loaded as a backend, whatever it is granted.
    pub problem: Option<String>,
}

/// An import and its condition.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct InspectedImport {
    /// As the component names it.
    pub name: String,
    /// Whether this host has it at all.
    pub offered: bool,
    /// The grant that it needs, if it needs one: `docker`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub grant: Option<String>,
}

impl Runtime {
    /// Looks at a component: its type, and what `describe` answers. It is granted nothing, and nothing is asked of any
    /// engine.
    ///
    /// # Errors
    /// Only for what is no component or does not compile; what is a component but no good backend is an
    /// [`PluginInspection`] with a `problem`.
    pub async fn inspect(&self, wasm: Cow<'static, [u8]>) -> Result<PluginInspection, LoadError> {
        let size = wasm.len();
        let component = self.compile(wasm).await?;
        let engine = &self.shared.engine;
        let imports = loader::imports(engine, &component).into_iter().map(|import| InspectedImport {
            offered: !matches!(import.offer, Offer::Never | Offer::OtherVersion),
            grant: match import.offer {
                Offer::Granted(grant) => Some(grant.to_owned()),
                Offer::Always | Offer::Wasi | Offer::OtherVersion | Offer::Never => None,
            },
            name: import.name,
        });
        let mut inspection = PluginInspection {
            size,
            imports: imports.collect(),
            exports: exports::names(engine, &component),
            interfaces: Exports::find(engine, &component).map(|exports| exports.interfaces()).unwrap_or_default(),
            info: None,
            problem: None,
        };
        // The name only stands in messages.
        let backend: BackendName = "name".parse().map_err(|error| LoadError::Internal(format!("{error}")))?;
        // Linked as if all were granted: while it describes itself none of it works.
        let described = match self.link(&component, &backend, &Grants::all()) {
            Ok(linked) => self.describe_only(backend, linked).await,
            Err(error) => Err(error),
        };
        match described {
            Ok(info) => inspection.info = Some(info),
            Err(error) => inspection.problem = Some(chain(&error)),
        }
        Ok(inspection)
    }
}
