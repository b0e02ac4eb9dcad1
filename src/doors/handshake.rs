//! Why a TLS handshake failed, as far as it is worth to tell apart.

use std::io;

use rustls::{CertificateError, Error};

/// Why a handshake failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Failure {
    /// The client's certificate has been revoked.
    Revoked,
    /// No list says whether the client's certificate, or one above it, has been revoked.
    RevocationUnknown,
    /// The list that would say so has ended.
    RevocationListEnded,
    /// The client's certificate does not lead to a known authority.
    UnknownAuthority,
    /// The client's certificate has expired.
    Expired,
    /// The client's certificate is not valid yet.
    NotYetValid,
    /// Something else about the client's certificate: its purpose, its signature, its form.
    Certificate,
    /// The client gave up and said so, mostly because it does not believe this listener's certificate.
    Alert,
    /// The connection ended.
    Lost,
    /// What came is no TLS, or not one that is spoken here.
    Protocol,
}

impl Failure {
    /// How metrics and logs call it.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Revoked => "revoked",
            Self::RevocationUnknown => "revocation_unknown",
            Self::RevocationListEnded => "revocation_list_ended",
            Self::UnknownAuthority => "unknown_authority",
            Self::Expired => "expired",
            Self::NotYetValid => "not_yet_valid",
            Self::Certificate => "certificate",
            Self::Alert => "alert",
            Self::Lost => "lost",
            Self::Protocol => "protocol",
        }
    }

    /// Whether it is the client's certificate that was refused.
    pub(crate) const fn is_of_certificate(self) -> bool {
        match self {
            Self::Revoked
            | Self::RevocationUnknown
            | Self::RevocationListEnded
            | Self::UnknownAuthority
            | Self::Expired
            | Self::NotYetValid
            | Self::Certificate => true,
            Self::Alert | Self::Lost | Self::Protocol => false,
        }
    }
}

impl From<&io::Error> for Failure {
    fn from(error: &io::Error) -> Self {
        let Some(error) = error.get_ref().and_then(|inner| inner.downcast_ref::<Error>()) else {
            return Self::Lost;
        };
        // Not exhaustive: both enums of rustls may grow.
        if let Error::InvalidCertificate(error) = error {
            of_certificate(error)
        } else if matches!(error, Error::InvalidCertRevocationList(_)) {
            // A list that its authority has not signed.
            Self::RevocationUnknown
        } else if matches!(error, Error::AlertReceived(_)) {
            Self::Alert
        } else {
            Self::Protocol
        }
    }
}

fn of_certificate(error: &CertificateError) -> Failure {
    use CertificateError as E;
    if matches!(error, E::Revoked) {
        Failure::Revoked
    } else if matches!(error, E::UnknownRevocationStatus) {
        Failure::RevocationUnknown
    } else if matches!(error, E::ExpiredRevocationList | E::ExpiredRevocationListContext { .. }) {
        Failure::RevocationListEnded
    } else if matches!(error, E::UnknownIssuer) {
        Failure::UnknownAuthority
    } else if matches!(error, E::Expired | E::ExpiredContext { .. }) {
        Failure::Expired
    } else if matches!(error, E::NotValidYet | E::NotValidYetContext { .. }) {
        Failure::NotYetValid
    } else {
        Failure::Certificate
    }
}
