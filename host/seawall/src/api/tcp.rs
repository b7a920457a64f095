//! The TCP listener: only where it is asked for, and with TLS wherever others can listen in. Its certificate may be
//! replaced while it listens; a connection keeps the one that it began with.

use std::fmt::Display;
use std::net::SocketAddr;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::sync::{Arc, PoisonError, RwLock};

use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use crate::app::StartError;
use crate::config::{Tcp, TlsFiles};

/// A listener that does not answer yet.
pub(crate) struct Listener {
    pub(super) listener: TcpListener,
    pub(super) tls: Option<TlsAcceptor>,
    certificate: Option<Certificate>,
    address: SocketAddr,
}

impl Listener {
    /// Where it listens.
    #[cfg(test)]
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// What its clients are shown, where it speaks TLS.
    pub(crate) fn certificate(&self) -> Option<Certificate> {
        self.certificate.clone()
    }

    /// Where clients find it: with the port that the system chose, if that was left to it.
    pub(crate) fn url(&self) -> String {
        format!("{}://{}", if self.tls.is_some() { "https" } else { "http" }, self.address)
    }
}

/// Binds it, and reads certificate and key.
///
/// # Errors
/// A file cannot be used, or the address cannot be bound.
pub(crate) async fn listen(config: &Tcp) -> Result<Listener, StartError> {
    let certificate = config.tls.as_ref().map(Certificate::open).transpose()?;
    let tls = certificate.as_ref().map(Certificate::acceptor).transpose()?;
    let fail = |source| StartError::Listen { address: config.listen, source };
    let listener = TcpListener::bind(config.listen).await.map_err(fail)?;
    let address = listener.local_addr().map_err(fail)?;
    Ok(Listener { listener, tls, certificate, address })
}

/// What clients are shown. Clones show the same.
#[derive(Clone, Debug)]
pub(crate) struct Certificate {
    files: TlsFiles,
    shown: Arc<Shown>,
}

/// A certificate with its key, as it was read.
#[derive(Debug)]
pub(crate) struct Read(Arc<CertifiedKey>);

#[derive(Debug)]
struct Shown(RwLock<Arc<CertifiedKey>>);

impl ResolvesServerCert for Shown {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.now())
    }
}

impl Shown {
    fn now(&self) -> Arc<CertifiedKey> {
        Arc::clone(&self.0.read().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Certificate {
    /// Reads the files. Blocks on them.
    ///
    /// # Errors
    /// One of them cannot be used.
    fn open(files: &TlsFiles) -> Result<Self, StartError> {
        let Read(key) = read(files)?;
        Ok(Self { files: files.clone(), shown: Arc::new(Shown(RwLock::new(key))) })
    }

    /// Reads the files again; `None` if the certificate is the one that is shown. Blocks on them.
    ///
    /// # Errors
    /// One of them cannot be used. What is shown stays.
    pub(crate) fn again(&self) -> Result<Option<Read>, StartError> {
        let read = read(&self.files)?;
        Ok((read.0.cert != self.shown.now().cert).then_some(read))
    }

    /// Shows this one to whoever comes from now on.
    pub(crate) fn show(&self, Read(key): Read) {
        *self.shown.0.write().unwrap_or_else(PoisonError::into_inner) = key;
    }

    fn acceptor(&self) -> Result<TlsAcceptor, StartError> {
        let shown: Arc<dyn ResolvesServerCert> = Arc::clone(&self.shown) as _;
        let config = ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(|error| fail(&self.files.cert, error))?
            .with_no_client_auth()
            .with_cert_resolver(shown);
        Ok(TlsAcceptor::from(Arc::new(config)))
    }
}

fn fail(file: &Path, why: impl Display) -> StartError {
    StartError::Tls { file: file.to_owned(), why: why.to_string() }
}

fn read(files: &TlsFiles) -> Result<Read, StartError> {
    let chain = CertificateDer::pem_file_iter(&files.cert).and_then(Iterator::collect::<Result<Vec<_>, _>>);
    let chain = chain.map_err(|error| fail(&files.cert, error))?;
    if chain.is_empty() {
        return Err(fail(&files.cert, "there is no certificate in it (PEM is expected)"));
    }
    let about = std::fs::metadata(&files.key).map_err(|error| fail(&files.key, error))?;
    if about.mode() & 0o004 != 0 {
        let mode = about.mode() & 0o7777;
        return Err(fail(&files.key, format_args!("everybody may read it (mode {mode:o}): `chmod 600` it")));
    }
    let key = PrivateKeyDer::from_pem_file(&files.key).map_err(|error| fail(&files.key, error))?;
    let key = CertifiedKey::from_der(chain, key, &rustls::crypto::ring::default_provider());
    key.map(|key| Read(Arc::new(key))).map_err(|error| fail(&files.cert, error))
}
