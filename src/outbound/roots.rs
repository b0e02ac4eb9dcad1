//! Whom a TLS client of ours trusts.

use std::path::{Path, PathBuf};

use rustls::RootCertStore;
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;

/// Why no trust could be established. Without roots nothing is dialled.
#[derive(Debug, thiserror::Error)]
pub enum RootsError {
    /// The file cannot be read, or holds no certificate.
    #[error("{path}: {why}", path = path.display())]
    File {
        /// Which file.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// The system has no certificate store.
    #[error(
        "no trusted certificate found on this system ({0}); install ca-certificates or set ca_file"
    )]
    NoneFound(String),
}

/// The certificates in `ca_file`, or the system's where none is named.
///
/// # Errors
/// [`RootsError`] where that leaves nothing to trust.
pub fn load(ca_file: Option<&Path>) -> Result<RootCertStore, RootsError> {
    ca_file.map_or_else(system, from_file)
}

fn from_file(path: &Path) -> Result<RootCertStore, RootsError> {
    let wrong = |why: String| RootsError::File { path: path.to_owned(), why };
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_file_iter(path).map_err(|e| wrong(e.to_string()))? {
        let certificate = certificate.map_err(|e| wrong(e.to_string()))?;
        roots.add(certificate).map_err(|e| wrong(e.to_string()))?;
    }
    if roots.is_empty() {
        return Err(wrong("holds no certificate".to_owned()));
    }
    Ok(roots)
}

fn system() -> Result<RootCertStore, RootsError> {
    let found = rustls_native_certs::load_native_certs();
    let mut roots = RootCertStore::empty();
    // A system store may hold a certificate that rustls cannot use; the others still count.
    let (added, _unusable) = roots.add_parsable_certificates(found.certs);
    if added == 0 {
        let why = found.errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ");
        return Err(RootsError::NoneFound(why));
    }
    Ok(roots)
}
