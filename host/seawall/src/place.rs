//! Where the command line finds its daemon: at a Unix socket of this machine, or at an address with a token.

use std::fmt;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use reqwest::header::{AUTHORIZATION, HeaderMap, HeaderValue};
use reqwest::{Certificate, ClientBuilder, Url};
use seawall_model::Secret;

use crate::exit::Failure;

/// Where the daemon is.
#[derive(Clone, Debug)]
pub(crate) enum Place {
    /// On this machine; whoever may open the socket may do everything.
    Socket(PathBuf),
    /// Over TCP.
    Host(Host),
}

/// A daemon that is found over TCP.
#[derive(Clone, Debug)]
pub(crate) struct Host {
    /// `https://HOST:PORT`; `http` on this machine only.
    pub(crate) url: Url,
    /// Who asks.
    token: Secret,
    /// Whose certificates are believed. Absent: those that the system believes.
    ca: Option<PathBuf>,
}

/// Where a token comes from.
#[derive(Clone, Debug)]
pub(crate) enum TokenFrom {
    /// A file that has nothing else in it.
    File(PathBuf),
    /// The value of `SEAWALL_TOKEN`.
    Variable(Secret),
}

/// Neither a token nor what a CA is known by is longer, in bytes.
const LONGEST: u64 = 1 << 20;

impl Host {
    /// Reads the token.
    ///
    /// # Errors
    /// The address or the token cannot be used.
    pub(crate) fn new(url: Url, token: Option<TokenFrom>, ca: Option<PathBuf>) -> Result<Self, Failure> {
        let token = match token {
            None => {
                let words = "a daemon is only asked over TCP with a token: name its file with --token-file, or set \
                             SEAWALL_TOKEN; `seawall token create` on the daemon's machine makes one";
                return Err(Failure::Usage(words.to_owned()));
            }
            Some(TokenFrom::Variable(token)) => Secret::new(token.reveal().trim()),
            Some(TokenFrom::File(file)) => {
                let fail = |source| Failure::File { file: file.clone(), source };
                let mode = std::fs::metadata(&file).map_err(fail)?.mode();
                if mode & 0o077 != 0 {
                    let (file, mode) = (file.display(), mode & 0o7777);
                    let words =
                        format!("{file} has a token in it and others may use it (mode {mode:o}): `chmod 600 {file}`");
                    return Err(Failure::Usage(words));
                }
                Secret::new(String::from_utf8_lossy(&read(&file)?).trim())
            }
        };
        let visible = token.reveal().bytes().all(|byte| byte.is_ascii_graphic());
        if token.reveal().is_empty() || !visible {
            return Err(Failure::Usage("the token is none: it is one word that begins with `swl_`".to_owned()));
        }
        Ok(Self { url, token, ca })
    }

    /// What asks there.
    pub(crate) fn builder(&self) -> Result<ClientBuilder, Failure> {
        let mut bearer = HeaderValue::from_str(&format!("Bearer {}", self.token.reveal()))
            .map_err(|_| Failure::Usage("the token cannot be sent".to_owned()))?;
        bearer.set_sensitive(true);
        // Another address is another daemon, and the token is for this one.
        let builder = builder()
            .default_headers(HeaderMap::from_iter([(AUTHORIZATION, bearer)]))
            .redirect(reqwest::redirect::Policy::none());
        let Some(ca) = &self.ca else {
            // Without TLS it does not matter whom the system believes, which need not be anybody.
            return Ok(if self.url.scheme() == "http" { builder.tls_certs_only([]) } else { builder });
        };
        let certificates =
            certificates(&read(ca)?).map_err(|why| Failure::Usage(format!("{}: {why}", ca.display())))?;
        Ok(builder.tls_certs_only(certificates))
    }
}

/// What asks at a socket.
pub(crate) fn at(socket: &Path) -> ClientBuilder {
    plain().unix_socket(socket)
}

/// What asks in the clear. It believes nobody's certificate, since none is shown.
pub(crate) fn plain() -> ClientBuilder {
    builder().tls_certs_only([])
}

/// What asks with TLS. It believes whom this file vouches for, or else whom the system believes.
///
/// # Errors
/// What is wrong with the file.
pub(crate) fn secured(ca: Option<&Path>) -> Result<ClientBuilder, String> {
    let Some(ca) = ca else { return Ok(builder()) };
    let bytes = read(ca).map_err(|error| crate::exit::chain(&error))?;
    let certificates = certificates(&bytes).map_err(|why| format!("{}: {why}", ca.display()))?;
    Ok(builder().tls_certs_only(certificates))
}

fn certificates(pem: &[u8]) -> Result<Vec<Certificate>, &'static str> {
    let certificates = Certificate::from_pem_bundle(pem).unwrap_or_default();
    if certificates.is_empty() { Err("there is no certificate in it (PEM is expected)") } else { Ok(certificates) }
}

fn builder() -> ClientBuilder {
    // There is one arithmetic in the program: whoever comes second finds it there.
    let _ = rustls::crypto::ring::default_provider().install_default();
    ClientBuilder::new()
}

fn read(file: &Path) -> Result<Vec<u8>, Failure> {
    let fail = |source| Failure::File { file: file.to_owned(), source };
    if std::fs::metadata(file).map_err(fail)?.len() > LONGEST {
        return Err(fail(std::io::Error::other("it is larger than 1 MiB")));
    }
    std::fs::read(file).map_err(fail)
}

/// An address as it is given with `--host`.
///
/// # Errors
/// What is wrong with it.
pub(crate) fn address(text: &str) -> Result<Url, String> {
    let url = Url::parse(text).map_err(|error| format!("{error}: write https://HOST:PORT"))?;
    let bare = url.path() == "/" && url.query().is_none() && url.fragment().is_none();
    if !bare || !url.username().is_empty() || url.password().is_some() || url.host_str().is_none() {
        return Err("write https://HOST:PORT and nothing else".to_owned());
    }
    let here = url.host_str().is_some_and(|host| {
        let host = host.trim_start_matches('[').trim_end_matches(']');
        host == "localhost" || host.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
    });
    match url.scheme() {
        "https" => Ok(url),
        "http" if here => Ok(url),
        "http" => Err("over http others could read the token on its way: write https".to_owned()),
        other => Err(format!("{other}: write https://HOST:PORT")),
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Socket(socket) => write!(f, "{}", socket.display()),
            Self::Host(host) => write!(f, "{}", host.url.as_str().trim_end_matches('/')),
        }
    }
}

impl Place {
    /// What is said when nobody answers.
    pub(crate) fn no_daemon(&self, error: reqwest::Error) -> Failure {
        let error = error.without_url();
        match self {
            Self::Socket(socket) => Failure::NoDaemon { socket: socket.clone(), source: io_cause(&error) },
            Self::Host(_) => {
                let tls = crate::exit::chain(&error).contains("certificate");
                let hint = match tls {
                    true => "name the CA of its certificate with --ca-file",
                    false => "see that it has an [api.tcp] section, and that this machine reaches it",
                };
                Failure::NoHost { host: self.to_string(), hint, source: error.into() }
            }
        }
    }
}

/// The system's own error inside of the HTTP client's.
fn io_cause(error: &reqwest::Error) -> std::io::Error {
    let mut next = std::error::Error::source(error);
    while let Some(source) = next {
        if let Some(io) = source.downcast_ref::<std::io::Error>() {
            return std::io::Error::new(io.kind(), io.to_string());
        }
        next = source.source();
    }
    std::io::Error::other("the connection failed")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_https_or_stays_on_this_machine() {
        for text in [
            "https://seawall.example",
            "https://10.0.0.1:7790/",
            "http://127.0.0.1:1",
            "http://[::1]:1",
            "http://localhost",
        ] {
            assert!(address(text).is_ok(), "{text}: {:?}", address(text));
        }
        for text in [
            "",
            "seawall.example",
            "127.0.0.1:7790",
            "http://seawall.example",
            "http://10.0.0.1:7790",
            "ftp://localhost",
            "https://a:b@c",
            "https://a/v1",
            "https://a/?b",
            "unix:///s",
            "http://localhost.evil.example",
        ] {
            assert!(address(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_token_that_others_may_read_or_that_is_none_is_refused() {
        use std::os::unix::fs::PermissionsExt as _;
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("token");
        let host = |text: &str, mode: u32| {
            std::fs::write(&file, text).unwrap();
            std::fs::set_permissions(&file, std::fs::Permissions::from_mode(mode)).unwrap();
            let url = address("http://localhost:1").unwrap();
            Host::new(url, Some(TokenFrom::File(file.clone())), None).map(|host| host.token.reveal().to_owned())
        };
        assert_eq!(host("swl_1_2\n", 0o600).unwrap(), "swl_1_2");
        for (text, mode) in [("swl_1_2", 0o640), ("swl_1_2", 0o604), ("", 0o600), ("a b", 0o600), ("a\nb", 0o600)] {
            assert!(matches!(host(text, mode), Err(Failure::Usage(_))), "{text:?} {mode:o}");
        }
        let url = address("http://localhost:1").unwrap();
        assert!(matches!(Host::new(url, None, None), Err(Failure::Usage(words)) if words.contains("token create")));
    }
}
