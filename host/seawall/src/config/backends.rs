//! The backends that are there without any configuration, and where plugins come from.

use std::path::PathBuf;
use std::str::FromStr;

use seawall_runtime::Grants;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// The plugins that a release carries in its binary; each is a backend of its own name unless configured away.
pub(crate) const BUILT_IN: [&str; 3] = ["docker", "mock", "process"];

/// Where a plugin comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum PluginSource {
    /// One of [`BUILT_IN`].
    BuiltIn(&'static str),
    /// A component file. Relative to the configuration file.
    File(PathBuf),
}

impl FromStr for PluginSource {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.split_once(':') {
            Some(("builtin", name)) => match BUILT_IN.into_iter().find(|known| *known == name) {
                Some(known) => Ok(Self::BuiltIn(known)),
                None => Err(format!("there is no built-in plugin {name:?}; there are {}", BUILT_IN.join(", "))),
            },
            _ if text.is_empty() => Err("a plugin is `builtin:NAME` or the path of a component".to_owned()),
            _ => Ok(Self::File(PathBuf::from(text))),
        }
    }
}

impl std::fmt::Display for PluginSource {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::BuiltIn(name) => write!(f, "builtin:{name}"),
            Self::File(path) => write!(f, "{}", path.display()),
        }
    }
}

impl Serialize for PluginSource {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for PluginSource {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

/// What a built-in plugin needs, and has where its backend says nothing about grants.
pub(crate) fn default_grants(plugin: &PluginSource) -> Grants {
    let Grants { state, docker, process } = Grants::all();
    match plugin {
        PluginSource::BuiltIn("docker") => Grants { docker, ..Grants::default() },
        PluginSource::BuiltIn("process") => Grants { process, ..Grants::default() },
        PluginSource::BuiltIn("mock") => Grants { state, ..Grants::default() },
        PluginSource::BuiltIn(_) | PluginSource::File(_) => Grants::default(),
    }
}
