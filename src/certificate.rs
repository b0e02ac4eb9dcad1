//! What a certificate says about itself: for whom, from when, until when, and who vouches for it.
//!
//! Nobody is authenticated by any of this. It is for telling an operator, before a client finds out.

use std::path::Path;
use std::time::Duration;

use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, ServerName};
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::FromDer;
use x509_parser::time::ASN1Time;

use crate::clock::UnixTime;

/// Why a file's certificates cannot be looked at.
#[derive(Debug, thiserror::Error)]
pub enum CertificateFileError {
    /// It cannot be read, or is no PEM.
    #[error("{0}")]
    File(rustls_pki_types::pem::Error),
    /// There is no certificate in it.
    #[error("holds no certificate")]
    Empty,
    /// What is in it is no certificate.
    #[error("holds what is no X.509 certificate: {0}")]
    Malformed(String),
}

/// A certificate (RFC 5280), read and not verified.
#[derive(Clone, Debug)]
pub struct Certificate {
    der: CertificateDer<'static>,
    names: Vec<String>,
    subject: Vec<u8>,
    issuer: Vec<u8>,
    not_before: UnixTime,
    not_after: UnixTime,
}

impl Certificate {
    /// The certificates in a PEM file, in their order.
    ///
    /// # Errors
    /// [`CertificateFileError`]
    pub fn read_chain(file: &Path) -> Result<Vec<Self>, CertificateFileError> {
        let chain = CertificateDer::pem_file_iter(file)
            .and_then(Iterator::collect::<Result<Vec<_>, _>>)
            .map_err(CertificateFileError::File)?;
        if chain.is_empty() {
            return Err(CertificateFileError::Empty);
        }
        chain.into_iter().map(Self::parse).collect()
    }

    /// One certificate.
    ///
    /// # Errors
    /// [`CertificateFileError::Malformed`]
    pub fn parse(der: CertificateDer<'static>) -> Result<Self, CertificateFileError> {
        let (_, read) = X509Certificate::from_der(&der)
            .map_err(|e| CertificateFileError::Malformed(e.to_string()))?;
        let (names, validity) = (alternative_names(&read), read.validity());
        let (subject, issuer) = (read.subject().as_raw().to_vec(), read.issuer().as_raw().to_vec());
        let (not_before, not_after) = (time(validity.not_before), time(validity.not_after));
        Ok(Self { names, subject, issuer, not_before, not_after, der })
    }

    /// The DNS names and addresses that it is for (`subjectAltName`). Its common name counts for nothing
    /// (RFC 9525 section 6.3).
    pub fn names(&self) -> &[String] {
        &self.names
    }

    /// The first moment at which it is good.
    pub const fn not_before(&self) -> UnixTime {
        self.not_before
    }

    /// The last moment at which it is good.
    pub const fn not_after(&self) -> UnixTime {
        self.not_after
    }

    /// How long it is still good; nothing once it has ended.
    pub fn left(&self, now: UnixTime) -> Option<Duration> {
        (now <= self.not_after).then(|| self.not_after.since(now))
    }

    /// Whether a client that asks for `host`, a name or an address, takes it, wildcards included (RFC 9525
    /// section 6).
    pub fn covers(&self, host: &str) -> bool {
        let Ok(name) = ServerName::try_from(host.trim_matches(['[', ']'])) else { return false };
        webpki::EndEntityCert::try_from(&self.der)
            .is_ok_and(|certificate| certificate.verify_is_valid_for_subject_name(&name).is_ok())
    }

    /// Whether it names itself as its issuer.
    pub fn is_self_signed(&self) -> bool {
        self.subject == self.issuer
    }

    /// Whether it names `issuer` as its issuer.
    pub fn names_issuer(&self, issuer: &Self) -> bool {
        self.issuer == issuer.subject
    }
}

fn alternative_names(certificate: &X509Certificate<'_>) -> Vec<String> {
    let names = certificate.subject_alternative_name().ok().flatten();
    let names = names.iter().flat_map(|names| &names.value.general_names);
    names.filter_map(told).collect()
}

fn told(name: &GeneralName<'_>) -> Option<String> {
    if let GeneralName::DNSName(name) = name {
        return Some((*name).to_owned());
    }
    let GeneralName::IPAddress(bytes) = name else { return None };
    let four = <[u8; 4]>::try_from(*bytes).map(std::net::IpAddr::from);
    let six = <[u8; 16]>::try_from(*bytes).map(std::net::IpAddr::from);
    four.or(six).ok().map(|address| address.to_string())
}

/// What lies before 1970 has begun, whenever that was.
fn time(time: ASN1Time) -> UnixTime {
    UnixTime::from_secs(u64::try_from(time.timestamp()).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn made(change: impl FnOnce(&mut rcgen::CertificateParams)) -> Certificate {
        let mut params = rcgen::CertificateParams::new([
            "gate.example".to_owned(),
            "*.cds.example".to_owned(),
            "127.0.0.1".to_owned(),
        ])
        .unwrap();
        change(&mut params);
        let key = rcgen::KeyPair::generate().unwrap();
        Certificate::parse(params.self_signed(&key).unwrap().der().clone()).unwrap()
    }

    #[test]
    fn says_for_whom_and_until_when() {
        let certificate = made(|params| {
            params.not_before = rcgen::date_time_ymd(2024, 1, 1);
            params.not_after = rcgen::date_time_ymd(2025, 1, 1);
        });
        assert_eq!(certificate.names(), ["gate.example", "*.cds.example", "127.0.0.1"]);
        assert_eq!(certificate.not_before().to_string(), "2024-01-01T00:00:00Z");
        assert_eq!(certificate.not_after().secs(), 1_735_689_600);
        let day_before = UnixTime::from_secs(1_735_603_200);
        assert_eq!(certificate.left(day_before), Some(Duration::from_secs(86_400)));
        assert_eq!(certificate.left(UnixTime::from_secs(1_735_689_601)), None);
    }

    #[test]
    fn covers_what_a_client_would_take() {
        let certificate = made(|_| ());
        for host in ["gate.example", "GATE.example", "a.cds.example", "127.0.0.1"] {
            assert!(certificate.covers(host), "{host}");
        }
        for host in
            ["cds.example", "a.b.cds.example", "other.example", "127.0.0.2", "[::1]", "", "a b"]
        {
            assert!(!certificate.covers(host), "{host}");
        }
    }

    #[test]
    fn knows_who_vouches() {
        let named = |name: &str| {
            made(|params| {
                params.distinguished_name = rcgen::DistinguishedName::new();
                params.distinguished_name.push(rcgen::DnType::CommonName, name);
            })
        };
        let (one, other) = (named("one"), named("other"));
        assert!(one.is_self_signed() && one.names_issuer(&one) && !one.names_issuer(&other));
    }

    #[test]
    fn reads_files_and_says_what_is_wrong_with_them() {
        let dir = tempfile::tempdir().unwrap();
        let file = |name: &str, text: &str| {
            let path = dir.path().join(name);
            std::fs::write(&path, text).unwrap();
            path
        };
        let pem = rcgen::generate_simple_self_signed(["x".to_owned()]).unwrap().cert.pem();
        assert_eq!(Certificate::read_chain(&file("two", &(pem.clone() + &pem))).unwrap().len(), 2);
        let empty = Certificate::read_chain(&file("empty", "")).unwrap_err();
        assert!(matches!(empty, CertificateFileError::Empty));
        let garbage = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
        let garbage = Certificate::read_chain(&file("garbage", garbage)).unwrap_err();
        assert!(matches!(garbage, CertificateFileError::Malformed(_)), "{garbage}");
        let none = Certificate::read_chain(&dir.path().join("none")).unwrap_err();
        assert!(matches!(none, CertificateFileError::File(_)));
    }
}
