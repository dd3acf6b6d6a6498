//! TLS: certificate and key from PEM files, read again when they change, and handshakes with a
//! deadline. A new certificate that cannot be used changes nothing: the old one stays.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, SystemTime};

use rustls::ServerConfig;
use rustls::crypto::CryptoProvider;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use super::places::{Kind, Places};
use crate::wire::{Rehome, Stream};

/// How often the files are looked at.
const LOOK: Duration = Duration::from_secs(1);
/// How often a handshake that found no place looks for one.
const PLACE_LOOK: Duration = Duration::from_millis(20);

/// Where the certificate and its key are, both as PEM.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TlsFiles {
    /// The certificate, then those that lead to its root.
    pub certificate: PathBuf,
    /// Its private key: PKCS #8, PKCS #1 or SEC 1.
    pub key: PathBuf,
}

/// Why a certificate cannot be served.
#[derive(Debug)]
pub struct TlsError {
    file: PathBuf,
    reason: String,
}

impl fmt::Display for TlsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.file.display(), self.reason)
    }
}

impl std::error::Error for TlsError {}

/// What every worker's listeners speak.
pub(crate) struct Tls {
    acceptor: TlsAcceptor,
    current: Arc<Current>,
}

/// The certificate in use. Contention: every handshake reads, a reload writes.
#[derive(Debug)]
struct Current(RwLock<Arc<CertifiedKey>>);

impl ResolvesServerCert for Current {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(
            &self.0.read().unwrap_or_else(PoisonError::into_inner),
        ))
    }
}

impl TlsFiles {
    /// Reads the files.
    pub(crate) fn load(self) -> Result<Arc<Tls>, TlsError> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        // Before the read: a change in between is seen as one.
        let seen = self.stamps();
        let key = self.read(&provider)?;
        let current = Arc::new(Current(RwLock::new(Arc::new(key))));
        let config = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .map_err(|error| self.error(&self.certificate, error))?;
        let resolver = Arc::clone(&current);
        let mut config = config.with_no_client_auth().with_cert_resolver(resolver);
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        let tls = Arc::new(Tls {
            acceptor: TlsAcceptor::from(Arc::new(config)),
            current,
        });
        watch(self, seen, &tls, provider);
        Ok(tls)
    }

    fn read(&self, provider: &CryptoProvider) -> Result<CertifiedKey, TlsError> {
        let chain: Result<Vec<_>, _> =
            CertificateDer::pem_file_iter(&self.certificate).and_then(Iterator::collect);
        let chain = chain.map_err(|error| self.error(&self.certificate, error))?;
        if chain.is_empty() {
            return Err(self.error(
                &self.certificate,
                "holds no certificate (`-----BEGIN CERTIFICATE-----`)",
            ));
        }
        let key = PrivateKeyDer::from_pem_file(&self.key)
            .map_err(|error| self.error(&self.key, error))?;
        CertifiedKey::from_der(chain, key, provider).map_err(|error| match error {
            rustls::Error::InconsistentKeys(_) => self.error(
                &self.key,
                format!(
                    "is not the key of the certificate in {}",
                    self.certificate.display()
                ),
            ),
            error => self.error(&self.certificate, error),
        })
    }

    fn error(&self, file: &Path, reason: impl fmt::Display) -> TlsError {
        TlsError {
            file: file.to_owned(),
            reason: reason.to_string(),
        }
    }

    /// What changes when a file is written or replaced.
    fn stamps(&self) -> [Option<(SystemTime, u64)>; 2] {
        [&self.certificate, &self.key].map(|file| {
            let metadata = std::fs::metadata(file).ok()?;
            Some((metadata.modified().ok()?, metadata.len()))
        })
    }
}

/// Looks at the files from a thread of its own, for as long as somebody uses the certificate: they
/// may lie on a slow disk.
fn watch(
    files: TlsFiles,
    mut seen: [Option<(SystemTime, u64)>; 2],
    tls: &Arc<Tls>,
    provider: Arc<CryptoProvider>,
) {
    let tls = Arc::downgrade(tls);
    let watching = move || {
        loop {
            std::thread::sleep(LOOK);
            let Some(tls) = tls.upgrade() else { return };
            let found = files.stamps();
            if found != seen {
                seen = found;
                tls.replace(&files, &provider);
            }
        }
    };
    if let Err(error) = std::thread::Builder::new()
        .name("wharf-certificate".into())
        .spawn(watching)
    {
        tracing::warn!("the certificate will not be read again when it changes: {error}");
    }
}

impl Tls {
    fn replace(&self, files: &TlsFiles, provider: &CryptoProvider) {
        match files.read(provider) {
            Ok(key) => {
                *self
                    .current
                    .0
                    .write()
                    .unwrap_or_else(PoisonError::into_inner) = Arc::new(key);
                tracing::info!(file = %files.certificate.display(), "certificate replaced");
            }
            Err(error) => {
                tracing::error!("the certificate was not replaced, the old one stays: {error}")
            }
        }
    }

    /// The server's side of a handshake, within its deadline.
    pub(super) async fn accept(
        &self,
        stream: Stream,
        places: &Arc<Places>,
    ) -> io::Result<TlsStream<Rehome>> {
        let handshake = async {
            let _place = loop {
                match places.take(Kind::TlsHandshake) {
                    Some(place) => break place,
                    None => tokio::time::sleep(PLACE_LOOK).await,
                }
            };
            self.acceptor.accept(Rehome::new(stream)).await
        };
        let within = places.limits().tls_handshake_timeout;
        let late = |_| io::Error::new(io::ErrorKind::TimedOut, "the TLS handshake took too long");
        tokio::time::timeout(within, handshake)
            .await
            .map_err(late)?
    }
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tls").finish_non_exhaustive()
    }
}
