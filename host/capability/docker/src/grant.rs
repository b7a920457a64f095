//! What a plugin may do with an Engine: the table `[backend.NAME.grants.docker]`.
//!
//! An empty table grants containers of its own, of any image that the Engine has or can fetch, with no file of the host, no
//! volume, no host network, no added privilege, and ports on loopback addresses only.

use std::net::IpAddr;
use std::path::{Component, Path, PathBuf};

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize};

use crate::endpoint::{Endpoint, InvalidEndpoint};

/// The grant. Everything is refused that is not named here.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(default, rename_all = "kebab-case", deny_unknown_fields)]
pub struct DockerGrant {
    /// `unix:///path` or `tcp://host:port` (not encrypted). Absent: the environment's `DOCKER_HOST`, else
    /// `unix:///var/run/docker.sock`.
    #[serde(deserialize_with = "endpoint", skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
    /// Directories of the host that may be mounted.
    pub mounts: Vec<MountGrant>,
    /// Named volumes of the `local` driver, any on the Engine.
    pub volumes: bool,
    /// The host's own network.
    pub host_network: bool,
    /// Privileged containers: as good as root on the Engine's machine.
    pub privileged: bool,
    /// Linux capabilities that may be added, such as `NET_ADMIN`.
    #[serde(deserialize_with = "capabilities")]
    pub capabilities: Vec<String>,
    /// Addresses that ports may be published on, besides loopback. `0.0.0.0` and `::` are addresses like any other.
    #[cfg_attr(feature = "schema", schema(value_type = Vec<String>))]
    pub publish: Vec<IpAddr>,
    /// Whether it may have the Engine fetch images from registries. Default: it may, as its containers reach networks too.
    pub pull: bool,
}

impl Default for DockerGrant {
    fn default() -> Self {
        Self {
            host: None,
            mounts: Vec::new(),
            volumes: false,
            host_network: false,
            privileged: false,
            capabilities: Vec::new(),
            publish: Vec::new(),
            pull: true,
        }
    }
}

impl DockerGrant {
    /// Puts something that may be written in every field, for the example of a configuration.
    pub fn illustrate(&mut self) {
        self.host = Some("unix:///run/docker.sock".to_owned());
        self.mounts = vec![
            MountGrant { path: "/srv/data".into(), write: false },
            MountGrant { path: "/srv/jobs/*".into(), write: true },
        ];
        self.capabilities = vec!["NET_ADMIN".to_owned()];
        self.publish = vec![IpAddr::from([192, 0, 2, 1])];
    }
}

/// A part of the host's file system that may be mounted.
///
/// Docker looks at a path when the container is started, long after it was checked. So nothing is mounted from within a
/// directory that a session may be given to write: it could put a link in its place. A directory that may be written
/// is mounted as a whole, or, written `/srv/jobs/*`, each of those in it by itself and never the whole. What only may
/// be read is mounted with everything below it; whoever else writes there should be trusted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct MountGrant {
    /// Absolute, and not `/`. With `/*` behind it: what lies in it, and not itself.
    #[serde(deserialize_with = "root")]
    #[cfg_attr(feature = "schema", schema(value_type = String))]
    pub path: PathBuf,
    /// Whether it may be mounted to be written. Absent: it may not.
    #[serde(default)]
    pub write: bool,
}

impl DockerGrant {
    /// Where the Engine is: as granted, else the environment's, else Docker's own default.
    ///
    /// # Errors
    /// `DOCKER_HOST` is no address.
    pub fn address(&self) -> Result<Endpoint, InvalidEndpoint> {
        Endpoint::choose(self.host.as_deref())
    }
}

fn endpoint<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    let host = Option::<String>::deserialize(deserializer)?;
    if let Some(host) = &host {
        Endpoint::parse(host).map_err(D::Error::custom)?;
    }
    Ok(host)
}

fn root<'de, D: Deserializer<'de>>(deserializer: D) -> Result<PathBuf, D::Error> {
    let path = PathBuf::deserialize(deserializer)?;
    let plain = path.components().all(|part| matches!(part, Component::RootDir | Component::Normal(_)));
    if path.is_absolute() && plain && directory(&path).0 != Path::new("/") {
        Ok(path)
    } else {
        let shown = path.display();
        Err(D::Error::custom(format!("{shown} cannot be granted: write an absolute path without `..`, other than /")))
    }
}

/// The directory that is granted, and whether only what lies in it is.
pub(crate) fn directory(path: &Path) -> (&Path, bool) {
    match path.parent().filter(|_| path.ends_with("*")) {
        Some(parent) => (parent, true),
        None => (path, false),
    }
}

fn capabilities<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    let given = Vec::<String>::deserialize(deserializer)?;
    given
        .iter()
        .map(|name| capability(name).ok_or_else(|| D::Error::custom(format!("{name:?} is no Linux capability"))))
        .collect()
}

/// The name of a Linux capability as Docker writes it, without `CAP_`.
pub(crate) fn capability(name: &str) -> Option<String> {
    let upper = name.to_ascii_uppercase();
    let plain = upper.strip_prefix("CAP_").unwrap_or(&upper);
    let valid = (2..=32).contains(&plain.len()) && plain.bytes().all(|b| b.is_ascii_uppercase() || b == b'_');
    valid.then(|| plain.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(json: serde_json::Value) -> Result<DockerGrant, String> {
        serde_json::from_value(json).map_err(|error| error.to_string())
    }

    #[test]
    fn an_empty_grant_grants_nothing_more() {
        assert_eq!(read(serde_json::json!({})), Ok(DockerGrant::default()));
    }

    #[test]
    fn a_full_grant_is_read() {
        let grant = read(serde_json::json!({
            "host": "unix:///run/docker.sock",
            "mounts": [{"path": "/srv/data"}, {"path": "/srv/out", "write": true}],
            "volumes": true,
            "host-network": true,
            "privileged": true,
            "capabilities": ["net_admin", "CAP_SYS_PTRACE"],
            "publish": ["0.0.0.0", "::"],
            "pull": false,
        }))
        .unwrap();
        assert_eq!(grant.capabilities, ["NET_ADMIN", "SYS_PTRACE"]);
        assert!(!grant.mounts[0].write && grant.mounts[1].write);
        assert_eq!((grant.publish.len(), grant.pull), (2, false));
    }

    #[test]
    fn what_makes_no_sense_is_refused_when_read() {
        for (bad, named) in [
            (serde_json::json!({"hosts": "x"}), "hosts"),
            (serde_json::json!({"host": "ssh://there"}), "ssh://there"),
            (serde_json::json!({"mounts": [{"path": "srv"}]}), "srv"),
            (serde_json::json!({"mounts": [{"path": "/"}]}), "/"),
            (serde_json::json!({"mounts": [{"path": "/*"}]}), "/*"),
            (serde_json::json!({"mounts": [{"path": "/srv/../etc"}]}), "/srv/../etc"),
            (serde_json::json!({"mounts": [{"path": "/srv", "writable": true}]}), "writable"),
            (serde_json::json!({"capabilities": ["net admin"]}), "net admin"),
            (serde_json::json!({"publish": ["everywhere"]}), "IP address"),
        ] {
            let error = read(bad).unwrap_err();
            assert!(error.contains(named), "{error}");
        }
    }
}
