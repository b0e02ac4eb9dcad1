//! Whose client certificates are believed, and which of them no more.
//!
//! Where revocation lists are named, each certificate of a chain but the root must be on the good side of
//! a list that is still current. A list that is missing or has ended says nothing, and what nothing is
//! known of is refused: otherwise whoever keeps the next list away keeps a revoked certificate good.

use std::cmp::Reverse;
use std::collections::HashSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::RootCertStore;
use rustls::crypto::aws_lc_rs;
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::ClientCertVerifier;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, CertificateRevocationListDer};
use x509_parser::prelude::{CertificateRevocationList, FromDer, X509Certificate};

use crate::client_certificate::distinguished_name;
use crate::clock::UnixTime;
use crate::doors::settings::{ClientCertificates, Settings};

/// Why nobody's certificate can be judged.
#[derive(Debug, thiserror::Error)]
pub enum ClientTrustError {
    /// Certificates are asked for and nobody vouches for them.
    #[error(
        "client_ca_file is missing, so that nobody vouches for the certificates that are asked for; name a PEM \
         file with the authorities that issue the EHRs' certificates"
    )]
    NoAuthority,
    /// Files that would never be looked at.
    #[error(
        "client_certificates is \"off\", so that client_ca_file and client_crl_files have no use; write \
         \"optional\" or \"required\", or remove them"
    )]
    Unused,
    /// There is no TLS in which a certificate could be shown.
    #[error(
        "client_certificates has no use with plaintext = true, because certificates are shown in TLS; write \
         plaintext = false, or have them checked where TLS ends"
    )]
    Plaintext,
    /// The authorities' file cannot be used.
    #[error("client_ca_file {path}: {why}", path = path.display())]
    Authorities {
        /// Which file.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// A revocation list cannot be used.
    #[error("client_crl_files {path}: {why}", path = path.display())]
    List {
        /// Which file.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// An authority without a list, which would keep out everybody it vouches for.
    #[error(
        "client_crl_files has no list of the authority {0:?} in client_ca_file, so that every certificate it \
         issued would be refused; add its list, or leave client_crl_files empty to go without revocation"
    )]
    NoList(String),
}

/// A revocation list that is held.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct List {
    /// Where it was read from.
    pub(crate) file: PathBuf,
    /// Who made it.
    pub(crate) issuer: String,
    /// When its successor is due: from then on it says nothing (RFC 5280 section 5.1.2.5).
    pub(crate) next_update: UnixTime,
}

/// Judges client certificates. Never changes: other files make another one.
#[derive(Clone, Debug)]
pub(crate) struct ClientTrust {
    /// Asks for certificates, and takes who shows none.
    pub(crate) verifier: Arc<dyn ClientCertVerifier>,
    /// The revocation lists, in the order of the settings.
    pub(crate) lists: Vec<List>,
}

impl ClientTrust {
    /// Reads the authorities and lists that `settings` name; nothing where no certificate is asked for.
    ///
    /// # Errors
    /// [`ClientTrustError`]
    pub(crate) fn load(settings: &Settings) -> Result<Option<Self>, ClientTrustError> {
        let authorities = settings.client_ca_file.as_deref();
        let authorities = match (settings.client_certificates, authorities) {
            (ClientCertificates::Off, None) if settings.client_crl_files.is_empty() => {
                return Ok(None);
            }
            (ClientCertificates::Off, _) => return Err(ClientTrustError::Unused),
            (_, _) if settings.plaintext => return Err(ClientTrustError::Plaintext),
            (_, None) => return Err(ClientTrustError::NoAuthority),
            (ClientCertificates::Optional | ClientCertificates::Required, Some(file)) => file,
        };
        let (roots, mut unlisted) = read_authorities(authorities)?;
        let (mut lists, mut dated) = (Vec::new(), Vec::new());
        for file in &settings.client_crl_files {
            for der in read_lists(file)? {
                let (list, made) = describe(file, &der, &mut unlisted)?;
                lists.push(list);
                dated.push((made, der));
            }
        }
        // Of several lists that speak of a certificate rustls asks the first alone: that has to be the newest.
        dated.sort_by_key(|(made, _)| Reverse(*made));
        let held: Vec<_> = dated.into_iter().map(|(_, der)| der).collect();
        if let (false, Some((_, name))) = (lists.is_empty(), unlisted.into_iter().next()) {
            return Err(ClientTrustError::NoList(name));
        }
        let provider = Arc::new(aws_lc_rs::default_provider());
        // Certificates are told apart where a call is authenticated, so nobody is turned away here for
        // having none. The depth and the answer to an unknown status are rustls' own: all, and no.
        let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider)
            .with_crls(held)
            .enforce_revocation_expiration()
            .allow_unauthenticated()
            .build()
            .map_err(|error| ClientTrustError::Authorities {
                path: authorities.to_owned(),
                why: error.to_string(),
            })?;
        Ok(Some(Self { verifier, lists }))
    }

    /// Whether a chain, the client's own certificate first, is good at `now`.
    pub(crate) fn believes(&self, chain: &[CertificateDer<'_>], now: UnixTime) -> bool {
        let now = rustls_pki_types::UnixTime::since_unix_epoch(now.since(UnixTime::from_secs(0)));
        chain.split_first().is_some_and(|(leaf, others)| {
            self.verifier.verify_client_cert(leaf, others, now).is_ok()
        })
    }
}

/// Subjects of authorities as they are encoded, and as they are written.
type Subjects = HashSet<(Vec<u8>, String)>;

fn read_authorities(file: &Path) -> Result<(RootCertStore, Subjects), ClientTrustError> {
    let wrong = |why: String| ClientTrustError::Authorities { path: file.to_owned(), why };
    let (mut roots, mut subjects) = (RootCertStore::empty(), Subjects::new());
    for der in CertificateDer::pem_file_iter(file).map_err(|e| wrong(e.to_string()))? {
        let der = der.map_err(|e| wrong(e.to_string()))?;
        let (_, read) = X509Certificate::from_der(&der).map_err(|e| wrong(e.to_string()))?;
        let name = distinguished_name(read.subject());
        if !read.is_ca() {
            return Err(wrong(format!(
                "the certificate {name:?} may not issue others; name the authority that issued it"
            )));
        }
        subjects.insert((read.subject().as_raw().to_vec(), name));
        roots.add(der.clone()).map_err(|e| wrong(e.to_string()))?;
    }
    if roots.is_empty() {
        return Err(wrong("holds no certificate".to_owned()));
    }
    Ok((roots, subjects))
}

/// The lists in a file, PEM or DER.
fn read_lists(file: &Path) -> Result<Vec<CertificateRevocationListDer<'static>>, ClientTrustError> {
    let wrong = |why: String| ClientTrustError::List { path: file.to_owned(), why };
    let bytes = fs::read(file).map_err(|e| wrong(e.to_string()))?;
    // DER begins with a SEQUENCE; PEM with text of any kind.
    if bytes.first() == Some(&0x30) {
        return Ok(vec![bytes.into()]);
    }
    let lists = CertificateRevocationListDer::pem_slice_iter(&bytes)
        .collect::<Result<Vec<_>, _>>()
        .map_err(|e| wrong(e.to_string()))?;
    if lists.is_empty() { Err(wrong("holds no revocation list".to_owned())) } else { Ok(lists) }
}

/// What a list says of itself, and when it was made, in Unix time; its issuer is taken off the `unlisted`.
fn describe(
    file: &Path,
    der: &CertificateRevocationListDer<'_>,
    unlisted: &mut Subjects,
) -> Result<(List, i64), ClientTrustError> {
    let wrong = |why: String| ClientTrustError::List { path: file.to_owned(), why };
    let (_, list) =
        CertificateRevocationList::from_der(der).map_err(|error| wrong(error.to_string()))?;
    let issuer = distinguished_name(list.issuer());
    let Some(next_update) = list.next_update() else {
        return Err(wrong(format!(
            "the list of {issuer:?} does not say when the next one comes; make it with a nextUpdate"
        )));
    };
    unlisted.remove(&(list.issuer().as_raw().to_vec(), issuer.clone()));
    let next_update = u64::try_from(next_update.timestamp()).unwrap_or_default();
    let next_update = UnixTime::from_secs(next_update);
    let made = list.last_update().timestamp();
    Ok((List { file: file.to_owned(), issuer, next_update }, made))
}
