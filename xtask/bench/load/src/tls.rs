//! TLS as the load generator needs it: a self-signed certificate for loopback,
//! and a client that trusts that certificate and no other.

use std::path::Path;
use std::sync::Arc;

use anyhow::Context;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};

/// What the certificate is for, and what servers are called.
pub(crate) const NAME: &str = "localhost";

pub(crate) fn make_certificate(folder: &Path) -> anyhow::Result<()> {
    let names = vec![NAME.to_owned(), "127.0.0.1".to_owned()];
    let made = rcgen::generate_simple_self_signed(names).context("making a certificate")?;
    for (name, text) in [
        ("cert.pem", made.cert.pem()),
        ("key.pem", made.signing_key.serialize_pem()),
    ] {
        let path = folder.join(name);
        std::fs::write(&path, text).with_context(|| format!("writing {}", path.display()))?;
    }
    Ok(())
}

pub(crate) fn trusting(certificate: &Path) -> anyhow::Result<Arc<ClientConfig>> {
    let mut roots = RootCertStore::empty();
    let read = CertificateDer::from_pem_file(certificate)
        .with_context(|| format!("reading {}", certificate.display()))?;
    roots.add(read)?;
    let config = ClientConfig::builder()
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(Arc::new(config))
}
