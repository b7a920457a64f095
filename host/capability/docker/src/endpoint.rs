//! Where the Engine is: a Unix socket or a plain TCP address.

use std::fmt;
use std::path::PathBuf;

/// Where Docker listens when nobody says otherwise.
const DEFAULT: &str = "unix:///var/run/docker.sock";

/// An address that no Engine can be reached at.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{given:?} is no address of a Docker Engine: write unix:///run/docker.sock or tcp://127.0.0.1:2375 ({reason})")]
pub struct InvalidEndpoint {
    given: String,
    reason: &'static str,
}

/// Where the Engine is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Endpoint {
    /// An absolute path.
    Unix(PathBuf),
    /// `host:port`, without encryption: only for a loopback address or a network that is trusted.
    Tcp(String),
}

impl Endpoint {
    /// Reads `unix://PATH`, `tcp://HOST:PORT` or `http://HOST:PORT`.
    pub(crate) fn parse(text: &str) -> Result<Self, InvalidEndpoint> {
        let refuse = |reason| InvalidEndpoint { given: text.chars().take(200).collect(), reason };
        if let Some(path) = text.strip_prefix("unix://") {
            if !path.starts_with('/') || path.contains('\0') {
                return Err(refuse("the path of the socket must be absolute"));
            }
            return Ok(Self::Unix(PathBuf::from(path)));
        }
        let Some(address) = text.strip_prefix("tcp://").or_else(|| text.strip_prefix("http://")) else {
            return Err(refuse("only unix:// and tcp:// are understood; for ssh or TLS, forward a socket"));
        };
        let address = address.strip_suffix('/').unwrap_or(address);
        let port = address.rsplit_once(':').filter(|(host, _)| !host.is_empty()).map(|(_, port)| port.parse::<u16>());
        match port {
            Some(Ok(1..)) if !address.contains(['/', '?', '#', '@', ' ']) => Ok(Self::Tcp(address.to_owned())),
            _ => Err(refuse("a host and a port are needed")),
        }
    }

    /// The grant's address, else `DOCKER_HOST`, else Docker's own default.
    pub(crate) fn choose(granted: Option<&str>) -> Result<Self, InvalidEndpoint> {
        match granted {
            Some(host) => Self::parse(host),
            None => match std::env::var("DOCKER_HOST") {
                Ok(host) if !host.is_empty() => match Self::parse(&host)? {
                    Self::Tcp(_) if std::env::var_os("DOCKER_TLS_VERIFY").is_some_and(|value| !value.is_empty()) => {
                        Err(InvalidEndpoint { given: host, reason: "DOCKER_TLS_VERIFY is set, and TLS is not spoken" })
                    }
                    endpoint => Ok(endpoint),
                },
                _ => Self::parse(DEFAULT),
            },
        }
    }

    /// Whether the Engine sees this machine's files: only then can a bind mount be checked.
    pub(crate) fn is_local(&self) -> bool {
        match self {
            Self::Unix(_) => true,
            Self::Tcp(address) => {
                let host = address.rsplit_once(':').map_or(address.as_str(), |(host, _)| host);
                let host = host.trim_start_matches('[').trim_end_matches(']');
                host == "localhost" || host.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback())
            }
        }
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unix(path) => write!(f, "unix://{}", path.display()),
            Self::Tcp(address) => write!(f, "tcp://{address}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_as_docker_writes_them() {
        let unix = Endpoint::parse("unix:///run/docker.sock").unwrap();
        assert_eq!(unix, Endpoint::Unix("/run/docker.sock".into()));
        for (text, local) in [("tcp://127.0.0.1:2375", true), ("http://[::1]:2375/", true), ("tcp://10.0.0.1:1", false)]
        {
            assert_eq!(Endpoint::parse(text).unwrap().is_local(), local, "{text}");
        }
        assert_eq!(Endpoint::parse("tcp://localhost:2375").unwrap().to_string(), "tcp://localhost:2375");
    }

    #[test]
    fn an_address_of_another_kind_is_refused() {
        for bad in
            ["", "/run/docker.sock", "unix://run/x", "ssh://host", "tcp://host", "tcp://:1", "tcp://h:0", "tcp://h:1/x"]
        {
            let error = Endpoint::parse(bad).unwrap_err().to_string();
            assert!(error.contains("tcp://127.0.0.1:2375"), "{error}");
        }
    }
}
