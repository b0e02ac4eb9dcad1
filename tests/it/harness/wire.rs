//! Bytes on a TLS connection, for what no HTTP client would send.

use std::sync::Arc;

use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::{CertificateDer, ServerName};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use url::Url;

use crate::harness::Scene;

impl Scene {
    /// `localhost:{port}`
    pub(crate) fn authority(&self) -> String {
        self.public_url.parse::<Url>().unwrap().authority().to_owned()
    }

    /// Sends these bytes over HTTP/1.1 and gives back what comes until the gateway closes.
    pub(crate) async fn raw(&self, bytes: impl AsRef<[u8]>) -> String {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from(self.certificate.clone())).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let mut tls = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        tls.alpn_protocols = vec![b"http/1.1".to_vec()];
        let tcp = TcpStream::connect(self.authority()).await.unwrap();
        let name = ServerName::try_from("localhost").unwrap();
        let mut stream = TlsConnector::from(Arc::new(tls)).connect(name, tcp).await.unwrap();
        stream.write_all(bytes.as_ref()).await.unwrap();
        let mut text = Vec::new();
        // It may end without TLS's farewell.
        let _ = stream.read_to_end(&mut text).await;
        String::from_utf8(text).unwrap()
    }
}
