//! How a connection to an upstream comes about.

use std::error::Error;
use std::future::Future;
use std::io;
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use http::Uri;
use hyper_rustls::{HttpsConnector, MaybeHttpsStream};
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use rustls::crypto::aws_lc_rs;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use tokio::net::TcpStream;
use tower_service::Service;

use crate::gateway::upstream::settings::Settings;
use crate::outbound::roots;
use crate::problem::{Code, Problem};

/// Why there is no connection. Nothing was sent.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DialError {
    #[error("connecting took too long")]
    Late,
    #[error("{0}")]
    Tcp(String),
    #[error("{0}")]
    Tls(String),
}

/// Connects within a time, and says at which step it could not.
#[derive(Clone, Debug)]
pub(crate) struct Dial {
    connector: HttpsConnector<HttpConnector>,
    timeout: Duration,
}

impl Dial {
    /// Reads certificates and keys. The settings have been found sound.
    pub(crate) fn new(settings: &Settings) -> Result<Self, Problem> {
        let mut tcp = HttpConnector::new();
        tcp.enforce_http(false);
        tcp.set_nodelay(true);
        let https = settings.url.scheme() == "https";
        let tls = if https { tls(settings)? } else { no_tls()? };
        let connector = HttpsConnector::new(
            tcp,
            tls,
            https,
            Arc::new(hyper_rustls::DefaultServerNameResolver::default()),
        );
        Ok(Self { connector, timeout: settings.connect_timeout.get() })
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

fn tls(settings: &Settings) -> Result<ClientConfig, Problem> {
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

impl Service<Uri> for Dial {
    type Response = MaybeHttpsStream<TokioIo<TcpStream>>;
    type Error = DialError;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, DialError>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), DialError>> {
        self.connector.poll_ready(cx).map_err(|e| classify(e.as_ref()))
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let (connecting, timeout) = (self.connector.call(uri), self.timeout);
        Box::pin(async move {
            match tokio::time::timeout(timeout, connecting).await {
                Ok(connected) => connected.map_err(|e| classify(e.as_ref())),
                Err(_) => Err(DialError::Late),
            }
        })
    }
}

/// The connector's own errors are of TCP; what comes wrapped as I/O is of the handshake.
fn classify(error: &(dyn Error + Send + Sync + 'static)) -> DialError {
    if error.is::<io::Error>() {
        return DialError::Tls(error.to_string());
    }
    let cause = error.source().map(|cause| format!(": {cause}")).unwrap_or_default();
    DialError::Tcp(format!("{error}{cause}"))
}
