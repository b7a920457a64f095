//! The TCP listener: only where it is asked for, and with TLS wherever others can listen in.

use std::net::SocketAddr;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::sync::Arc;

use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use crate::app::StartError;
use crate::config::{Tcp, TlsFiles};

/// A listener that does not answer yet.
pub(crate) struct Listener {
    pub(super) listener: TcpListener,
    pub(super) tls: Option<TlsAcceptor>,
    address: SocketAddr,
}

impl Listener {
    /// Where it listens.
    #[cfg(test)]
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
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
    let tls = config.tls.as_ref().map(acceptor).transpose()?;
    let fail = |source| StartError::Listen { address: config.listen, source };
    let listener = TcpListener::bind(config.listen).await.map_err(fail)?;
    let address = listener.local_addr().map_err(fail)?;
    Ok(Listener { listener, tls, address })
}

fn acceptor(files: &TlsFiles) -> Result<TlsAcceptor, StartError> {
    let fail = |file: &Path, why: String| StartError::Tls { file: file.to_owned(), why };
    let chain = CertificateDer::pem_file_iter(&files.cert).and_then(Iterator::collect::<Result<Vec<_>, _>>);
    let chain = chain.map_err(|error| fail(&files.cert, error.to_string()))?;
    if chain.is_empty() {
        return Err(fail(&files.cert, "there is no certificate in it (PEM is expected)".to_owned()));
    }
    let about = std::fs::metadata(&files.key).map_err(|error| fail(&files.key, error.to_string()))?;
    if about.mode() & 0o004 != 0 {
        let mode = about.mode() & 0o7777;
        return Err(fail(&files.key, format!("everybody may read it (mode {mode:o}): `chmod 600` it")));
    }
    let key = PrivateKeyDer::from_pem_file(&files.key).map_err(|error| fail(&files.key, error.to_string()))?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .and_then(|config| config.with_no_client_auth().with_single_cert(chain, key))
        .map_err(|error| fail(&files.cert, error.to_string()))?;
    Ok(TlsAcceptor::from(Arc::new(config)))
}
