//! What TLS with an upstream needs: whom to trust, and what to show.

use std::path::Path;
use std::sync::Arc;

use rustls::ClientConfig;
use rustls::crypto::aws_lc_rs;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};

use crate::gateway::upstream::settings::Settings;
use crate::outbound::roots;
use crate::problem::{Code, Problem};

/// The TLS of all addresses of one upstream.
#[derive(Clone, Debug)]
pub(crate) struct Tls {
    /// What a connection is made with.
    pub(crate) config: Arc<ClientConfig>,
    /// Whether it is https.
    pub(crate) required: bool,
}

impl Tls {
    /// Reads certificates and keys. The settings have been found sound; a problem is a sentence.
    pub(crate) fn read(settings: &Settings) -> Result<Self, Problem> {
        let required = settings.url.scheme() == "https";
        let config = if required { trusting(settings)? } else { no_tls()? };
        Ok(Self { config: Arc::new(config), required })
    }
}

fn builder() -> Result<rustls::ConfigBuilder<ClientConfig, rustls::WantsVerifier>, Problem> {
    ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|e| {
            Problem::said(Code::Outside, format!("url cannot be called, there is no TLS: {e}"))
        })
}

/// For http: a configuration that trusts nobody, since none is ever used.
fn no_tls() -> Result<ClientConfig, Problem> {
    Ok(builder()?.with_root_certificates(rustls::RootCertStore::empty()).with_no_client_auth())
}

fn trusting(settings: &Settings) -> Result<ClientConfig, Problem> {
    let roots = roots::load(settings.ca_file.as_deref())
        .map_err(|e| Problem::said(Code::FileContent, format!("ca_file {e}")))?;
    let trusting = builder()?.with_root_certificates(roots);
    let files = (&settings.client_certificate_file, &settings.client_key_file);
    let mut config = if let (Some(chain), Some(key)) = files {
        let (chain, private) = (certificates(chain)?, private_key(key)?);
        trusting.with_client_auth_cert(chain, private).map_err(|e| {
            let why =
                format!("client_key_file does not fit together with client_certificate_file: {e}");
            Problem::said(Code::CertificateKey, why)
        })?
    } else {
        trusting.with_no_client_auth()
    };
    if settings.http2 {
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    }
    Ok(config)
}

fn certificates(file: &Path) -> Result<Vec<CertificateDer<'static>>, Problem> {
    let wrong = |why: String| {
        let why = format!("client_certificate_file {}: {why}", file.display());
        Problem::said(Code::FileContent, why)
    };
    let chain = CertificateDer::pem_file_iter(file)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(|e| wrong(e.to_string()))?;
    if chain.is_empty() { Err(wrong("holds no certificate".to_owned())) } else { Ok(chain) }
}

fn private_key(file: &Path) -> Result<PrivateKeyDer<'static>, Problem> {
    PrivateKeyDer::from_pem_file(file).map_err(|e| {
        Problem::said(Code::FileContent, format!("client_key_file {}: {e}", file.display()))
    })
}
