//! A key server on this machine, with TLS and bad manners on demand.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::ServerConfig;
use rustls_pki_types::PrivateKeyDer;
use tempfile::NamedTempFile;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

/// What the server does with a request.
#[derive(Clone, Debug)]
pub(crate) enum Reply {
    /// Answers 200 with this body and these header lines.
    Set(String, &'static str),
    /// Writes exactly this.
    Raw(Vec<u8>),
    /// Answers after this time.
    Slow(Duration, String),
    /// Never answers.
    Hang,
    /// Closes the connection before the TLS handshake.
    Down,
}

pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    pub(crate) ca: NamedTempFile,
    reply: Arc<Mutex<Reply>>,
    requests: Arc<AtomicUsize>,
    seen: Arc<Mutex<String>>,
}

impl Server {
    pub(crate) async fn start(reply: Reply) -> Self {
        let mut authority = CertificateParams::new(Vec::<String>::new()).unwrap();
        authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let issuer = CertifiedIssuer::self_signed(authority, KeyPair::generate().unwrap()).unwrap();
        let own = KeyPair::generate().unwrap();
        let names = vec!["localhost".to_owned(), "127.0.0.1".to_owned()];
        let certificate = CertificateParams::new(names).unwrap().signed_by(&own, &issuer).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(
                vec![certificate.der().clone()],
                PrivateKeyDer::try_from(own.serialize_der()).unwrap(),
            )
            .unwrap();
        let ca = NamedTempFile::new().unwrap();
        std::fs::write(ca.path(), issuer.pem()).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let server = Self {
            address: listener.local_addr().unwrap(),
            ca,
            reply: Arc::new(Mutex::new(reply)),
            requests: Arc::default(),
            seen: Arc::default(),
        };
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let (reply, requests) = (Arc::clone(&server.reply), Arc::clone(&server.requests));
        let seen = Arc::clone(&server.seen);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (acceptor, reply) = (acceptor.clone(), Arc::clone(&reply));
                let (requests, seen) = (Arc::clone(&requests), Arc::clone(&seen));
                tokio::spawn(async move {
                    let reply = reply.lock().unwrap().clone();
                    if matches!(reply, Reply::Down) {
                        requests.fetch_add(1, Ordering::SeqCst);
                        return;
                    }
                    let Ok(mut stream) = acceptor.accept(stream).await else { return };
                    let mut request = Vec::new();
                    while !request.ends_with(b"\r\n\r\n") {
                        let Ok(byte) = stream.read_u8().await else { return };
                        request.push(byte);
                    }
                    requests.fetch_add(1, Ordering::SeqCst);
                    *seen.lock().unwrap() = String::from_utf8(request).unwrap();
                    let answer = match reply {
                        Reply::Set(body, headers) => answer(&body, headers),
                        Reply::Raw(bytes) => bytes,
                        Reply::Slow(time, body) => {
                            tokio::time::sleep(time).await;
                            answer(&body, "")
                        }
                        Reply::Hang => {
                            tokio::time::sleep(Duration::from_secs(3600)).await;
                            return;
                        }
                        Reply::Down => return,
                    };
                    let _ = stream.write_all(&answer).await;
                    let _ = stream.shutdown().await;
                });
            }
        });
        server
    }

    pub(crate) fn now(&self, reply: Reply) {
        *self.reply.lock().unwrap() = reply;
    }

    pub(crate) fn requests(&self) -> usize {
        self.requests.load(Ordering::SeqCst)
    }

    /// The head of the latest request.
    pub(crate) fn seen(&self) -> String {
        self.seen.lock().unwrap().clone()
    }

    pub(crate) fn url(&self) -> String {
        format!("https://localhost:{}/jwks.json", self.address.port())
    }

    /// The lines that make a client use this server.
    pub(crate) fn toml(&self) -> String {
        format!(
            "jwks_url = {:?}\nallow_private_key_server = true\nkey_server_ca_file = {:?}\n",
            self.url(),
            self.ca.path()
        )
    }
}

fn answer(body: &str, headers: &str) -> Vec<u8> {
    format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n{headers}\r\n{body}", body.len()).into_bytes()
}
