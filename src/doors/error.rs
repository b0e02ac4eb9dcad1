//! Why there is no listener.

use std::io;
use std::net::SocketAddr;

use crate::doors::certificate::CertificateError;
use crate::doors::client_trust::ClientTrustError;
use crate::listening;
use crate::problem::{Code, KeyPath, Problem};

/// Why the listener could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// TLS without a certificate and its key.
    #[error(
        "certificate_file and key_file are both needed; write both, or plaintext = true behind a TLS terminator"
    )]
    NoCertificate,
    /// A certificate that would never be shown.
    #[error(
        "plaintext = true leaves no use for certificate_file and key_file; remove one or the other"
    )]
    UnusedCertificate,
    /// The certificate or key cannot be used.
    #[error(transparent)]
    Certificate(#[from] CertificateError),
    /// Client certificates cannot be judged.
    #[error(transparent)]
    ClientTrust(#[from] ClientTrustError),
    /// `max_header_bytes` is out of its range.
    #[error("max_header_bytes is {0}; write \"1KiB\" to \"1MiB\"")]
    HeaderBytes(usize),
    /// A listener that was handed over is none.
    #[error(
        "the socket that was handed over cannot be listened on: {0}; hand over a listening TCP socket"
    )]
    Socket(io::Error),
    /// The system refuses the address.
    #[error("cannot listen on {address}: {}", listening::why(source))]
    Address {
        /// Which address.
        address: SocketAddr,
        /// What the system says.
        source: io::Error,
    },
}

impl BindError {
    /// What kind of problem it is, and with which key of `[listener]`.
    const fn about(&self) -> (Code, &'static str) {
        match self {
            Self::NoCertificate => (Code::MissingKey, "certificate_file"),
            Self::UnusedCertificate => (Code::Conflict, "plaintext"),
            Self::Certificate(error) => match error {
                CertificateError::Chain { .. } => (Code::FileContent, "certificate_file"),
                CertificateError::Key { .. } => (Code::FileContent, "key_file"),
                CertificateError::Mismatch(_) => (Code::CertificateKey, "key_file"),
                CertificateError::Tls(_) => (Code::Outside, "certificate_file"),
            },
            Self::ClientTrust(error) => match error {
                ClientTrustError::NoAuthority => (Code::MissingKey, "client_ca_file"),
                ClientTrustError::Unused | ClientTrustError::Plaintext => {
                    (Code::Conflict, "client_certificates")
                }
                ClientTrustError::Authorities { .. } => (Code::FileContent, "client_ca_file"),
                ClientTrustError::List { .. } | ClientTrustError::NoList(_) => {
                    (Code::FileContent, "client_crl_files")
                }
            },
            Self::HeaderBytes(_) => (Code::OutOfRange, "max_header_bytes"),
            Self::Socket(_) | Self::Address { .. } => (Code::Outside, "address"),
        }
    }
}

impl From<BindError> for Problem {
    fn from(error: BindError) -> Self {
        let (code, key) = error.about();
        let text = error.to_string();
        let sentence = text.strip_prefix(key).map_or(text.as_str(), str::trim_start);
        Self::error(code, KeyPath::of("listener").key(key), sentence)
    }
}
