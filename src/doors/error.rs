//! Why there is no listener.

use std::io;
use std::net::SocketAddr;

use crate::doors::certificate::CertificateError;

/// Why the listener could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// TLS without a certificate and its key.
    #[error(
        "certificate_file and key_file are both needed, or plaintext = true behind a TLS terminator"
    )]
    NoCertificate,
    /// A certificate that would never be shown.
    #[error(
        "plaintext = true leaves no use for certificate_file and key_file: remove one or the other"
    )]
    UnusedCertificate,
    /// The certificate or key cannot be used.
    #[error(transparent)]
    Certificate(#[from] CertificateError),
    /// `max_header_bytes` is out of its range.
    #[error("max_header_bytes is {0}: it must lie between 1 KiB and 1 MiB")]
    HeaderBytes(usize),
    /// A listener that was handed over is none.
    #[error(
        "the socket that was handed over cannot be listened on: {0}; hand over a listening TCP socket"
    )]
    Socket(io::Error),
    /// The system refuses the address.
    #[error("cannot listen on {address}: {source}")]
    Address {
        /// Which address.
        address: SocketAddr,
        /// What the system says.
        source: io::Error,
    },
}
