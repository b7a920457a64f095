//! The places used where nothing is said.

use std::path::{Path, PathBuf};

use super::error::ConfigError;

/// The socket's name in the data directory.
const SOCKET: &str = "seawall.sock";

/// Where everything is kept: `/var/lib/seawall` for root, else `seawall` under the XDG data directory.
pub(crate) fn default_data_dir() -> Result<PathBuf, ConfigError> {
    if is_root() {
        return Ok(PathBuf::from("/var/lib/seawall"));
    }
    xdg("XDG_DATA_HOME", ".local/share")
        .map(|base| base.join("seawall"))
        .ok_or(ConfigError::NoHome("neither XDG_DATA_HOME nor HOME is an absolute path"))
}

/// The file that is read if it is there and no other is named.
pub(crate) fn default_config() -> Option<PathBuf> {
    if is_root() {
        return Some(PathBuf::from("/etc/seawall/seawall.toml"));
    }
    xdg("XDG_CONFIG_HOME", ".config").map(|base| base.join("seawall/seawall.toml"))
}

/// What is compiled may be lost. It is in the data directory, since that is private.
pub(crate) fn cache_of(data_dir: &Path) -> PathBuf {
    data_dir.join("cache")
}

/// The socket of a data directory, which is private and whose lock decides who may bind there.
pub(crate) fn socket_of(data_dir: &Path) -> PathBuf {
    data_dir.join(SOCKET)
}

/// Where a client looks for the daemon when no socket is named: in `SEAWALL_DATA_DIR`, else in the default one.
pub(crate) fn default_socket() -> Result<PathBuf, ConfigError> {
    let data_dir = std::env::var_os("SEAWALL_DATA_DIR").filter(|dir| !dir.is_empty()).map(PathBuf::from);
    Ok(socket_of(&data_dir.map_or_else(default_data_dir, Ok)?))
}

fn xdg(variable: &str, under_home: &str) -> Option<PathBuf> {
    // The XDG rule: a relative path is to be ignored.
    let absolute = |name: &str| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    absolute(variable).or_else(|| absolute("HOME").map(|home| home.join(under_home)))
}

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}
