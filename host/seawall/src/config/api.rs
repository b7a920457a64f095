//! `[api.tcp]`: where the API listens beside its socket. Nowhere, unless it is asked for; beyond this machine only if that is
//! asked for by itself, and then with TLS.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// The API beyond its socket.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub(crate) struct Api {
    /// Over TCP. Absent: not at all.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) tcp: Option<Tcp>,
}

/// The API over TCP: each request needs a token (`seawall token create`).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(crate) struct Tcp {
    /// Address and port; with port 0 the system chooses one.
    #[schema(value_type = String)]
    pub(crate) listen: SocketAddr,
    /// Other machines may reach it. Without this only a loopback address is taken. Default false.
    #[serde(default)]
    pub(crate) allow_remote: bool,
    /// Names, without a port, by which clients may call this daemon beside `localhost` and addresses of numbers. Default: none.
    #[serde(default)]
    pub(crate) hosts: Vec<String>,
    /// Certificate and key. Absent: no TLS, which is only for a loopback address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) tls: Option<TlsFiles>,
}

/// Files in PEM.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(crate) struct TlsFiles {
    /// The certificate, and those that lead from it to its CA.
    #[schema(value_type = String)]
    pub(crate) cert: PathBuf,
    /// Its private key, which not everybody may read.
    #[schema(value_type = String)]
    pub(crate) key: PathBuf,
}

impl Api {
    /// Whether there is nothing beyond the socket.
    pub(super) fn is_empty(&self) -> bool {
        self.tcp.is_none()
    }

    /// Says what cannot be: under which keys, and why.
    pub(super) fn validate(&self) -> Result<(), (Vec<&'static str>, String)> {
        let Some(tcp) = &self.tcp else { return Ok(()) };
        let wrong = |key, message: String| Err((vec!["api", "tcp", key], message));
        if !tcp.listen.ip().is_loopback() {
            let listen = tcp.listen;
            if !tcp.allow_remote {
                let message = format!(
                    "{listen} is reached from other machines: if that is meant, say `allow-remote = true` as well"
                );
                return wrong("listen", message);
            }
            if tcp.tls.is_none() {
                let message = format!(
                    "on {listen} others could read tokens on their way: name certificate and key in `tls = {{ cert, key }}`"
                );
                return wrong("listen", message);
            }
        }
        for host in &tcp.hosts {
            let letters = host.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-'));
            if !letters || !(1..=253).contains(&host.len()) {
                return wrong("hosts", format!("{host:?} is no name of a host: write it without scheme and port"));
            }
        }
        Ok(())
    }

    /// With paths that begin where they were written.
    pub(super) fn beside<'a>(mut self, folder_of: impl Fn(&str) -> &'a Path) -> Self {
        if let Some(tls) = self.tcp.as_mut().and_then(|tcp| tcp.tls.as_mut()) {
            tls.cert = folder_of("cert").join(&tls.cert);
            tls.key = folder_of("key").join(&tls.key);
        }
        self
    }
}

#[cfg(test)]
mod tests {
    use super::super::settings::tests::settings;

    #[test]
    fn tcp_is_loopback_unless_asked_twice_and_then_with_tls() {
        let tcp = |text: &str| settings(text).map(|settings| settings.api.tcp);
        assert_eq!(tcp("").unwrap(), None);
        for listen in ["127.0.0.1:7790", "[::1]:0", "127.3.2.1:80"] {
            let found = tcp(&format!("[api.tcp]\nlisten = \"{listen}\"")).unwrap().unwrap();
            assert_eq!((found.listen.to_string().as_str(), found.allow_remote), (listen, false));
        }
        for listen in ["0.0.0.0:7790", "[::]:7790", "192.168.1.4:7790"] {
            let once = format!("[api.tcp]\nlisten = \"{listen}\"");
            let said = tcp(&once).unwrap_err().to_string();
            assert!(said.contains(":2:1: ") && said.contains("`allow-remote = true`"), "{said}");
            let twice = format!("{once}\nallow-remote = true");
            let said = tcp(&twice).unwrap_err().to_string();
            assert!(said.contains(":2:1: ") && said.contains("`tls = "), "{said}");
            let found = tcp(&format!("{twice}\ntls = {{ cert = \"c.pem\", key = \"/k.pem\" }}")).unwrap().unwrap();
            let tls = found.tls.unwrap();
            assert!(tls.cert.is_absolute() && tls.cert.ends_with("c.pem") && tls.key.ends_with("k.pem"), "{tls:?}");
        }
    }

    #[test]
    fn what_cannot_be_meant_is_refused_where_it_is_written() {
        for (text, place, words) in [
            ("[api.tcp]\nlisten = \"localhost:7790\"", ":2:", "socket address"),
            ("[api.tcp]\nlisten = \"127.0.0.1\"", ":2:", "socket address"),
            ("[api.tcp]\nallow-remote = true", ":1:", "listen"),
            ("[api.tcp]\nlisten = \"127.0.0.1:1\"\nallow_remote = true", ":3:", "did you mean `allow-remote`?"),
            ("[api.tcp]\nlisten = \"127.0.0.1:1\"\ntls.cert = \"c\"", ":3:", "key"),
            ("[api.tcp]\nlisten = \"127.0.0.1:1\"\nhosts = [\"a:1\"]", ":3:", "without scheme and port"),
            ("[api.tcp]\nlisten = \"127.0.0.1:1\"\nhosts = [\"\"]", ":3:", "no name"),
            ("[api]\ntpc = {}", ":2:", "unknown key `tpc` (known: tcp)"),
        ] {
            let said = settings(text).unwrap_err().to_string();
            assert!(said.contains(place) && said.contains(words), "{text}\n -> {said}");
        }
    }
}
