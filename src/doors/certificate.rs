//! The certificate that the listener shows, and the TLS it speaks.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::ServerConfig;
use rustls::crypto::aws_lc_rs;
use rustls::server::NoServerSessionStorage;
use rustls::server::danger::ClientCertVerifier;
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::time_provider::TimeProvider;
use rustls::version::{TLS12, TLS13};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, UnixTime};

use crate::clock::Clock;

/// HTTP/2's name in ALPN (RFC 9113 section 3.2).
pub(crate) const ALPN_HTTP2: &[u8] = b"h2";
const ALPN_HTTP1: &[u8] = b"http/1.1";

/// Why the listener has nothing to show.
#[derive(Debug, thiserror::Error)]
pub enum CertificateError {
    /// The certificate file cannot be used.
    #[error("certificate_file {path}: {why}", path = path.display())]
    Chain {
        /// Which file.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// The key file cannot be used.
    #[error("key_file {path}: {why}", path = path.display())]
    Key {
        /// Which file.
        path: PathBuf,
        /// What is wrong with it. Never a part of the key.
        why: String,
    },
    /// The key cannot be used, or is not that of the first certificate.
    #[error("certificate_file and key_file do not belong together: {0}")]
    Mismatch(rustls::Error),
    /// The TLS library refused its own defaults.
    #[error("TLS: {0}")]
    Tls(rustls::Error),
}

/// The time for rustls.
#[derive(Debug)]
struct Now(Arc<dyn Clock>);

impl TimeProvider for Now {
    fn current_time(&self) -> Option<UnixTime> {
        let now = self.0.now().since(crate::clock::UnixTime::from_secs(0));
        Some(UnixTime::since_unix_epoch(now))
    }
}

/// TLS 1.2 and 1.3 with the certificate and key in these files, asking for client certificates where
/// somebody verifies them. No early data: a replayed link or token must not get as far as the gateway.
///
/// # Errors
/// [`CertificateError`] where a file is unusable or the two do not belong together.
pub(crate) fn server_config(
    chain: &Path,
    key: &Path,
    http2: bool,
    clients: Option<Arc<dyn ClientCertVerifier>>,
    clock: &Arc<dyn Clock>,
) -> Result<ServerConfig, CertificateError> {
    let shown = Arc::new(SingleCertAndKey::from(load(chain, key)?));
    let provider = Arc::new(aws_lc_rs::default_provider());
    let builder = ServerConfig::builder_with_details(provider, Arc::new(Now(Arc::clone(clock))))
        .with_protocol_versions(&[&TLS13, &TLS12])
        .map_err(CertificateError::Tls)?;
    let mut config = match clients {
        None => builder.with_no_client_auth().with_cert_resolver(shown),
        Some(verifier) => {
            let mut config = builder.with_client_cert_verifier(verifier).with_cert_resolver(shown);
            // Who resumes shows no certificate again: a revoked one would go on. A ticketer there is not.
            config.send_tls13_tickets = 0;
            config.session_storage = Arc::new(NoServerSessionStorage {});
            config
        }
    };
    let offered: &[&[u8]] = if http2 { &[ALPN_HTTP2, ALPN_HTTP1] } else { &[ALPN_HTTP1] };
    config.alpn_protocols = offered.iter().map(|name| name.to_vec()).collect();
    Ok(config)
}

fn load(chain: &Path, key: &Path) -> Result<CertifiedKey, CertificateError> {
    let bad_chain = |why: String| CertificateError::Chain { path: chain.to_owned(), why };
    let certificates = CertificateDer::pem_file_iter(chain)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(|e| bad_chain(e.to_string()))?;
    if certificates.is_empty() {
        return Err(bad_chain("holds no certificate".to_owned()));
    }
    let private = PrivateKeyDer::from_pem_file(key)
        .map_err(|e| CertificateError::Key { path: key.to_owned(), why: e.to_string() })?;
    CertifiedKey::from_der(certificates, private, &aws_lc_rs::default_provider())
        .map_err(CertificateError::Mismatch)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pair() -> (String, String) {
        let made = rcgen::generate_simple_self_signed(["gate.example".to_owned()]).unwrap();
        (made.cert.pem(), made.signing_key.serialize_pem())
    }

    #[test]
    fn takes_a_pair_and_nothing_else() {
        let dir = tempfile::tempdir().unwrap();
        let file = |name: &str, text: &str| {
            let path = dir.path().join(name);
            std::fs::write(&path, text).unwrap();
            path
        };
        let ((cert, key), (_, other)) = (pair(), pair());
        let (cert, key) = (file("cert", &cert), file("key", &key));
        let (other, empty) = (file("other", &other), file("empty", ""));
        let missing = dir.path().join("missing");

        let clock: Arc<dyn Clock> = Arc::new(crate::clock::SystemClock::new());
        let server_config = |http2| server_config(&cert, &key, http2, None, &clock).unwrap();
        let config = server_config(true);
        assert_eq!(config.alpn_protocols, [b"h2".to_vec(), b"http/1.1".to_vec()]);
        assert_eq!(config.max_early_data_size, 0);
        assert_eq!(server_config(false).alpn_protocols, [b"http/1.1"]);

        let load = |chain: &Path, key: &Path| load(chain, key).unwrap_err();
        assert!(matches!(load(&cert, &other), CertificateError::Mismatch(_)));
        assert!(matches!(load(&empty, &key), CertificateError::Chain { .. }));
        assert!(matches!(load(&missing, &key), CertificateError::Chain { .. }));
        assert!(matches!(load(&key, &key), CertificateError::Chain { .. }));
        assert!(matches!(load(&cert, &empty), CertificateError::Key { .. }));
        assert!(matches!(load(&cert, &missing), CertificateError::Key { .. }));
    }
}
