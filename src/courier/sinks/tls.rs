//! TLS to a receiver: one set-up for all sinks that speak it.
//!
//! In: a file of authorities, or none for the system's. Out: a client configuration, TLS 1.2 and
//! 1.3. Never: takes a certificate that does not verify.
//! Source: RFC 5425 §4.2 for syslog.

use std::path::Path;
use std::sync::Arc;

use tokio_rustls::rustls::pki_types::CertificateDer;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::{ClientConfig, RootCertStore, crypto};

/// Makes ring the cryptography of this process's TLS, once; a second call changes nothing.
pub fn prepare() {
    // An error means that one is there already.
    let _ = crypto::ring::default_provider().install_default();
}

/// What a client needs to trust a receiver.
///
/// # Errors
/// If the authorities cannot be read, or there are none.
pub fn client(authorities: Option<&Path>) -> Result<Arc<ClientConfig>, String> {
    prepare();
    let mut roots = RootCertStore::empty();
    for certificate in certificates(authorities)? {
        // A system's store may hold an odd one; the others still serve.
        let _ = roots.add(certificate);
    }
    if roots.is_empty() {
        return Err("no certificate authority to trust: name one with `ca`".to_owned());
    }
    Ok(Arc::new(ClientConfig::builder().with_root_certificates(roots).with_no_client_auth()))
}

/// The certificates of a PEM file, or those that the system trusts.
///
/// # Errors
/// If the file cannot be read or holds none.
pub fn certificates(path: Option<&Path>) -> Result<Vec<CertificateDer<'static>>, String> {
    let Some(path) = path else { return Ok(rustls_native_certs::load_native_certs().certs) };
    let told = |e: &dyn std::fmt::Display| format!("{}: {e}", path.display());
    let found: Vec<_> = CertificateDer::pem_file_iter(path)
        .map_err(|e| told(&e))?
        .collect::<Result<_, _>>()
        .map_err(|e| told(&e))?;
    if found.is_empty() { Err(told(&"holds no certificate")) } else { Ok(found) }
}
