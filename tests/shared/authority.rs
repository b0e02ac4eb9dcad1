//! Authorities of the test's own: they issue certificates to EHRs, and take them back.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use hookgate::clock::UnixTime;
use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationList,
    CertificateRevocationListParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyIdMethod,
    KeyPair, KeyUsagePurpose, RevokedCertParams, SerialNumber, date_time_ymd,
};
use rustls::client::ResolvesClientCert;
use rustls::crypto::aws_lc_rs;
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};

/// 2030-06-01, when none of this is good by the machine's clock.
pub(crate) const NOW: UnixTime = UnixTime::from_secs(1_906_502_400);

/// From the first day of a year to the first of another.
pub(crate) type Years = (i32, i32);
pub(crate) const GOOD: Years = (2030, 2031);

/// Who issues certificates.
pub(crate) struct Authority {
    issuer: Issuer<'static, KeyPair>,
    /// Its own certificate.
    pub(crate) pem: String,
    /// The certificates between its own and the root.
    above: Vec<CertificateDer<'static>>,
    pub(crate) serial: SerialNumber,
}

/// An EHR's certificate and key.
pub(crate) struct Ehr {
    chain: Vec<CertificateDer<'static>>,
    pub(crate) pem: String,
    pub(crate) key: String,
    pub(crate) serial: SerialNumber,
}

fn authority_params(name: &str, serial: u64) -> CertificateParams {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params.serial_number = Some(SerialNumber::from(serial));
    params
}

impl Authority {
    pub(crate) fn root(name: &str) -> Self {
        let (params, key) = (authority_params(name, 1), KeyPair::generate().unwrap());
        let pem = params.self_signed(&key).unwrap().pem();
        let serial = params.serial_number.clone().unwrap();
        Self { issuer: Issuer::new(params, key), pem, above: Vec::new(), serial }
    }

    pub(crate) fn below(&self, name: &str, serial: u64) -> Self {
        let (params, key) = (authority_params(name, serial), KeyPair::generate().unwrap());
        let made = params.signed_by(&key, &self.issuer).unwrap();
        let serial = params.serial_number.clone().unwrap();
        let above = [vec![made.der().clone()], self.above.clone()].concat();
        Self { issuer: Issuer::new(params, key), pem: made.pem(), above, serial }
    }

    /// A good certificate for the EHR at this DNS name.
    pub(crate) fn issue(&self, name: &str, serial: u64) -> Ehr {
        self.issue_for(name, serial, GOOD, ExtendedKeyUsagePurpose::ClientAuth)
    }

    pub(crate) fn issue_for(
        &self,
        name: &str,
        serial: u64,
        (from, to): Years,
        purpose: ExtendedKeyUsagePurpose,
    ) -> Ehr {
        let (mut params, key) =
            (CertificateParams::new([name.to_owned()]).unwrap(), KeyPair::generate().unwrap());
        params.distinguished_name.push(DnType::CommonName, name);
        params.extended_key_usages = vec![purpose];
        params.serial_number = Some(SerialNumber::from(serial));
        params.not_before = date_time_ymd(from, 1, 1);
        params.not_after = date_time_ymd(to, 1, 1);
        let made = params.signed_by(&key, &self.issuer).unwrap();
        let chain = [vec![made.der().clone()], self.above.clone()].concat();
        let serial = params.serial_number.clone().unwrap();
        Ehr { chain, pem: made.pem(), key: key.serialize_pem(), serial }
    }

    /// A list that is good from April to the end of `month` 2030.
    pub(crate) fn list(&self, revoked: &[&SerialNumber], month: u8) -> CertificateRevocationList {
        self.list_of(revoked, (2030, 4), (2030, month))
    }

    /// A list that is good from the second day of a month to the end of another.
    pub(crate) fn list_of(
        &self,
        revoked: &[&SerialNumber],
        (from, since): (i32, u8),
        (to, month): (i32, u8),
    ) -> CertificateRevocationList {
        let revoked_certs = revoked.iter().map(|serial| RevokedCertParams {
            serial_number: (*serial).clone(),
            revocation_time: date_time_ymd(from, since, 1),
            reason_code: None,
            invalidity_date: None,
        });
        let params = CertificateRevocationListParams {
            this_update: date_time_ymd(from, since, 2),
            next_update: date_time_ymd(to, month, 28),
            crl_number: SerialNumber::from(1_u64),
            issuing_distribution_point: None,
            revoked_certs: revoked_certs.collect(),
            key_identifier_method: KeyIdMethod::Sha256,
        };
        params.signed_by(&self.issuer).unwrap()
    }
}

impl Ehr {
    /// Shows the certificate whoever asks, as an attacker would; rustls by itself holds back what the
    /// server's list of authorities does not name.
    pub(crate) fn shown(&self) -> Arc<dyn ResolvesClientCert> {
        let key = PrivateKeyDer::from_pem_slice(self.key.as_bytes()).unwrap();
        let provider = aws_lc_rs::default_provider();
        let key = CertifiedKey::from_der(self.chain.clone(), key, &provider).unwrap();
        Arc::new(SingleCertAndKey::from(key))
    }

    /// The chain and the key in files, for programs.
    pub(crate) fn files(&self, folder: &Path) -> (PathBuf, PathBuf) {
        (file(folder, "ehr.pem", &self.pem), file(folder, "ehr.key", &self.key))
    }
}

pub(crate) fn file(folder: &Path, name: &str, bytes: impl AsRef<[u8]>) -> PathBuf {
    let path = folder.join(name);
    std::fs::write(&path, bytes).unwrap();
    path
}
