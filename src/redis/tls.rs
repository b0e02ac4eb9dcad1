//! Whom the servers are trusted by, and how the gateway shows who it is.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::crypto::aws_lc_rs;
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use tokio::task::spawn_blocking;
use tokio_rustls::TlsConnector;

use crate::outbound::roots;
use crate::redis::error::SetupError;
use crate::redis::settings::Settings;
use crate::redis::trouble::Trouble;

/// What TLS is made of. Its files are read anew for each connection, so that renewed ones are taken up.
#[derive(Clone, Debug)]
pub(super) struct Tls {
    trusted: Trusted,
    own: Option<Own>,
}

/// Who vouches for the servers.
#[derive(Clone, Debug)]
enum Trusted {
    /// Those in the file.
    File(PathBuf),
    /// Those of the system, as they were at start: there are many, and no key names them.
    System(Arc<RootCertStore>),
}

/// The certificate that is shown to the servers, and its key.
#[derive(Clone, Debug)]
struct Own {
    certificate: PathBuf,
    key: PathBuf,
}

impl Tls {
    /// What `settings` name, once it could be used.
    pub(super) fn new(settings: &Settings) -> Result<Self, SetupError> {
        let trusted = match &settings.ca_file {
            Some(path) => Trusted::File(path.clone()),
            None => Trusted::System(Arc::new(roots::load(None)?)),
        };
        let own = match (&settings.certificate_file, &settings.key_file) {
            (None, None) => None,
            (Some(_), None) => return Err(SetupError::HalfCertificate { missing: "key_file" }),
            (None, Some(_)) => {
                return Err(SetupError::HalfCertificate { missing: "certificate_file" });
            }
            (Some(certificate), Some(key)) => {
                Some(Own { certificate: certificate.clone(), key: key.clone() })
            }
        };
        let tls = Self { trusted, own };
        tls.config()?;
        Ok(tls)
    }

    /// That of a new connection, with the files as they are now.
    pub(super) async fn now(&self) -> Result<TlsConnector, Trouble> {
        let tls = self.clone();
        let config = match spawn_blocking(move || tls.config()).await {
            Ok(Ok(config)) => config,
            Ok(Err(error)) => return Err(Trouble::TlsFile(error.to_string())),
            Err(_) => {
                let why = "the reading of the files for TLS with Redis broke off";
                return Err(Trouble::TlsFile(why.to_owned()));
            }
        };
        Ok(TlsConnector::from(Arc::new(config)))
    }

    fn config(&self) -> Result<ClientConfig, SetupError> {
        let trusted = match &self.trusted {
            Trusted::File(path) => Arc::new(roots::load(Some(path))?),
            Trusted::System(roots) => Arc::clone(roots),
        };
        let builder = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()?
            .with_root_certificates(trusted);
        let Some(Own { certificate, key }) = &self.own else {
            return Ok(builder.with_no_client_auth());
        };
        let unusable = |name, path: &Path, why: String| SetupError::File {
            key: name,
            path: path.to_owned(),
            why,
        };
        let chain = CertificateDer::pem_file_iter(certificate)
            .and_then(Iterator::collect::<Result<Vec<_>, _>>)
            .map_err(|e| unusable("certificate_file", certificate, e.to_string()))?;
        let private = PrivateKeyDer::from_pem_file(key)
            .map_err(|e| unusable("key_file", key, e.to_string()))?;
        Ok(builder.with_client_auth_cert(chain, private)?)
    }
}
