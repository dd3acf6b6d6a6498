//! Whose certificates are believed: the machine's roots, and what the operator adds.

use std::path::Path;
use std::sync::{Arc, OnceLock};

use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;
use tokio_rustls::TlsConnector;

/// Roots, read when the first connection wants them: reading those of the machine takes longer than
/// starting a server that needs none.
pub(super) struct Trust {
    own: Vec<CertificateDer<'static>>,
    connector: OnceLock<TlsConnector>,
}

impl Trust {
    /// Believes the machine's roots and those in a PEM file.
    pub(super) fn new(file: Option<&Path>) -> Result<Self, String> {
        let own = match file {
            Some(file) => read(file)?,
            None => Vec::new(),
        };
        Ok(Self {
            own,
            connector: OnceLock::new(),
        })
    }

    /// What makes TLS of a connection, if the roots have been read.
    pub(super) fn ready(&self) -> Option<TlsConnector> {
        self.connector.get().cloned()
    }

    /// As [`Trust::ready`], and reads the roots before: not for a worker's thread.
    pub(super) fn connector(&self) -> TlsConnector {
        self.connector.get_or_init(|| self.build()).clone()
    }

    fn build(&self) -> TlsConnector {
        let found = rustls_native_certs::load_native_certs();
        for error in &found.errors {
            tracing::warn!(%error, "some of the machine's root certificates cannot be read");
        }
        let mut roots = RootCertStore::empty();
        // Machines have old certificates that rustls cannot use: those are left out.
        roots.add_parsable_certificates(found.certs);
        roots.add_parsable_certificates(self.own.iter().cloned());
        if roots.is_empty() {
            tracing::warn!("there are no root certificates: no host can be trusted");
        }
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("ring has what the default versions need")
            .with_root_certificates(roots)
            .with_no_client_auth();
        TlsConnector::from(Arc::new(config))
    }
}

fn read(file: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let named = |why: String| format!("the roots in {}: {why}", file.display());
    let certificates = CertificateDer::pem_file_iter(file)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(|error| named(error.to_string()))?;
    if certificates.is_empty() {
        return Err(named("there is no certificate in it".to_owned()));
    }
    Ok(certificates)
}
