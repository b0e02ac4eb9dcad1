//! A listener with a handler that writes down what it was given, and clients that send bytes.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use hookgate::clock::{Clock, SystemClock};
use hookgate::doors::{Doors, Drained, Manners, Settings};
use hookgate::peer::{Peer, Protocol};
use hookgate::units::Period;
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use prometheus_client::encoding::text;
use prometheus_client::registry::Registry;
use rustls::ClientConfig;
use rustls::RootCertStore;
use rustls::crypto::aws_lc_rs;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, ServerName};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_util::sync::CancellationToken;

/// Longer than anything here takes, so that a hang is a failure and not a stuck run.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// A request whose body arrived whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Seen {
    pub(crate) line: String,
    pub(crate) body: Vec<u8>,
    pub(crate) protocol: Protocol,
    pub(crate) tls: bool,
    pub(crate) address: SocketAddr,
    /// The names in the client's certificate.
    pub(crate) certificate: Option<String>,
}

/// What the handler saw, and what lets it go on.
#[derive(Debug)]
pub(crate) struct Log {
    pub(crate) seen: Mutex<Vec<Seen>>,
    /// Requests that reached the handler, whatever became of their bodies.
    pub(crate) begun: Semaphore,
    /// `/wait` takes one permit before it answers.
    pub(crate) go: Semaphore,
    /// `/wait` says here that it came to its end.
    pub(crate) done: Semaphore,
}

impl Log {
    /// `/wait` came to its end.
    pub(crate) async fn is_done(&self) {
        let done = timeout(PATIENCE, self.done.acquire()).await;
        done.expect("the handler was stopped").unwrap().forget();
    }
}

/// A running listener.
pub(crate) struct Gate {
    pub(crate) address: SocketAddr,
    pub(crate) log: Arc<Log>,
    pub(crate) shutdown: CancellationToken,
    pub(crate) served: JoinHandle<Drained>,
    pub(crate) certificate: Option<CertificateDer<'static>>,
    registry: Arc<Registry>,
    settings: Settings,
    manners: Manners,
    _files: tempfile::TempDir,
}

/// A busy machine may be slow to shake hands.
pub(crate) fn settings() -> Settings {
    let (address, handshake_timeout) = ("127.0.0.1:0".parse().unwrap(), Period::secs(20));
    Settings { address, handshake_timeout, ..Settings::default() }
}

pub(crate) fn number(number: u32) -> NonZeroU32 {
    NonZeroU32::new(number).unwrap()
}

/// Long enough for what comes at once even on a busy machine, short enough to wait for its end.
pub(crate) const fn short() -> Period {
    Period::millis(600)
}

impl Gate {
    pub(crate) async fn plain(settings: Settings) -> Self {
        let clock = Arc::new(SystemClock::new());
        Self::start(Settings { plaintext: true, ..settings }, None, clock).await
    }

    pub(crate) async fn tls(settings: Settings) -> Self {
        Self::tls_at(settings, Arc::new(SystemClock::new())).await
    }

    pub(crate) async fn tls_at(settings: Settings, clock: Arc<dyn Clock>) -> Self {
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        let key = made.signing_key.serialize_pem();
        Self::start(settings, Some((made.cert.pem(), key)), clock).await
    }

    async fn start(
        mut settings: Settings,
        pair: Option<(String, String)>,
        clock: Arc<dyn Clock>,
    ) -> Self {
        let files = tempfile::tempdir().unwrap();
        let mut certificate = None;
        if let Some((cert, key)) = pair {
            let (cert_file, key_file) = (files.path().join("cert"), files.path().join("key"));
            std::fs::write(&cert_file, &cert).unwrap();
            std::fs::write(&key_file, key).unwrap();
            certificate = Some(CertificateDer::from_pem_slice(cert.as_bytes()).unwrap());
            settings.certificate_file = Some(cert_file);
            settings.key_file = Some(key_file);
        }
        let mut registry = Registry::default();
        let doors = Doors::bind(&settings, clock, &mut registry).await.unwrap();
        let (address, manners) = (doors.local_addr(), doors.manners());
        let log = Arc::new(Log {
            seen: Mutex::default(),
            begun: Semaphore::new(0),
            go: Semaphore::new(0),
            done: Semaphore::new(0),
        });
        let shutdown = CancellationToken::new();
        let handler = Arc::clone(&log);
        let handle = move |request, peer| handle(Arc::clone(&handler), request, peer);
        let served = tokio::spawn(doors.serve(handle, shutdown.clone()));
        let registry = Arc::new(registry);
        let _files = files;
        Self { address, log, shutdown, served, certificate, registry, settings, manners, _files }
    }

    /// Reads all files again.
    pub(crate) fn reload(&self) {
        self.manners.put(self.manners.read(&self.settings).unwrap());
    }

    /// The listener's own certificate, for programs that must believe it.
    pub(crate) fn certificate_file(&self, folder: &Path) -> PathBuf {
        let path = folder.join(format!("{}.pem", self.address.port()));
        std::fs::copy(self.settings.certificate_file.as_ref().unwrap(), &path).unwrap();
        path
    }

    pub(crate) fn lines(&self) -> Vec<String> {
        self.log.seen.lock().unwrap().iter().map(|seen| seen.line.clone()).collect()
    }

    fn metrics(&self) -> String {
        let mut out = String::new();
        text::encode(&mut out, &self.registry).unwrap();
        out
    }

    /// Waits until the metrics have this line.
    pub(crate) async fn counts(&self, line: &str) {
        let found = timeout(PATIENCE, async {
            while !self.metrics().lines().any(|found| found == line) {
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        });
        assert!(found.await.is_ok(), "no {line} in\n{}", self.metrics());
    }

    pub(crate) async fn closed_for(&self, reason: &str) {
        self.counts(&format!("hookgate_connections_closed_total{{reason=\"{reason}\"}} 1")).await;
        self.counts("hookgate_connections_open 0").await;
    }

    pub(crate) async fn connect(&self) -> Wire<TcpStream> {
        Wire::new(TcpStream::connect(self.address).await.unwrap())
    }

    pub(crate) fn client_config(&self, alpn: &[&str]) -> ClientConfig {
        let mut roots = RootCertStore::empty();
        roots.add(self.certificate.clone().unwrap()).unwrap();
        let mut config =
            ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
                .with_safe_default_protocol_versions()
                .unwrap()
                .with_root_certificates(roots)
                .with_no_client_auth();
        config.alpn_protocols = alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
        config
    }

    pub(crate) async fn connect_tls(
        &self,
        config: ClientConfig,
    ) -> std::io::Result<TlsStream<TcpStream>> {
        let stream = TcpStream::connect(self.address).await.unwrap();
        let name = ServerName::try_from("localhost").unwrap();
        TlsConnector::from(Arc::new(config)).connect(name, stream).await
    }

    /// A client that is used as a pool would use it.
    pub(crate) fn client(&self) -> reqwest::ClientBuilder {
        let builder = reqwest::Client::builder().no_proxy().timeout(PATIENCE);
        match &self.certificate {
            None => builder,
            Some(certificate) => builder
                .resolve("localhost", self.address)
                .tls_certs_only([reqwest::Certificate::from_der(certificate).unwrap()]),
        }
    }

    pub(crate) fn url(&self, path: &str) -> String {
        let scheme = if self.certificate.is_some() { "https" } else { "http" };
        format!("{scheme}://localhost:{}{path}", self.address.port())
    }

    pub(crate) async fn stop(self) -> Drained {
        self.shutdown.cancel();
        timeout(PATIENCE, self.served).await.expect("the drain hangs").unwrap()
    }
}

async fn handle(log: Arc<Log>, request: Request<Incoming>, peer: Peer) -> Response<Full<Bytes>> {
    log.begun.add_permits(1);
    let target = request.uri().path_and_query().map_or("*", |target| target.as_str()).to_owned();
    let line = format!("{} {target}", request.method());
    if target == "/early" {
        return Response::new(Full::from("early"));
    }
    assert!(target != "/panic", "on request");
    let Ok(body) = request.into_body().collect().await else {
        // What any handler would say; a well-behaved door does not leave it at that.
        let mut answer = Response::new(Full::from("broken body"));
        *answer.status_mut() = http::StatusCode::IM_A_TEAPOT;
        return answer;
    };
    if target == "/wait" {
        log.go.acquire().await.unwrap().forget();
        log.done.add_permits(1);
    }
    let body = body.to_bytes().to_vec();
    let mut seen = log.seen.lock().unwrap();
    let (Peer { address, protocol, tls, certificate }, line) = (peer, line.clone());
    let certificate = certificate.map(|certificate| certificate.to_string());
    seen.push(Seen { line: line.clone(), body, protocol, tls, address, certificate });
    if target == "/large" {
        return Response::new(Full::from(vec![b'x'; 32 * 1024 * 1024]));
    }
    Response::new(Full::from(line))
}

/// One answer, read from the wire.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: HashMap<String, String>,
    pub(crate) body: String,
}

impl Answer {
    pub(crate) fn is_last(&self) -> bool {
        self.headers.get("connection").is_some_and(|value| value == "close")
    }
}

/// A client that sends bytes as they are.
pub(crate) struct Wire<S> {
    pub(crate) stream: S,
    buffer: Vec<u8>,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Wire<S> {
    pub(crate) const fn new(stream: S) -> Self {
        Self { stream, buffer: Vec::new() }
    }

    pub(crate) async fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.stream.write_all(bytes.as_ref()).await.unwrap();
        self.stream.flush().await.unwrap();
    }

    pub(crate) async fn get(&mut self, target: &str) -> Option<Answer> {
        self.send(format!("GET {target} HTTP/1.1\r\nHost: a\r\n\r\n")).await;
        self.answer().await
    }

    /// The next answer; nothing where the connection ended before one began.
    pub(crate) async fn answer(&mut self) -> Option<Answer> {
        loop {
            let mut fields = [httparse::EMPTY_HEADER; 32];
            let mut response = httparse::Response::new(&mut fields);
            if let httparse::Status::Complete(head) = response.parse(&self.buffer).unwrap() {
                let status = response.code.unwrap();
                let headers: HashMap<_, _> = response
                    .headers
                    .iter()
                    .map(|field| {
                        let value = String::from_utf8(field.value.to_vec()).unwrap();
                        (field.name.to_ascii_lowercase(), value)
                    })
                    .collect();
                let length = headers.get("content-length").map_or(0, |n| n.parse().unwrap());
                while self.buffer.len() < head + length {
                    assert!(self.more().await, "cut in the middle of an answer");
                }
                let body = String::from_utf8(self.buffer[head..head + length].to_vec()).unwrap();
                self.buffer.drain(..head + length);
                return Some(Answer { status, headers, body });
            }
            if !self.more().await {
                assert!(self.buffer.is_empty(), "cut in the middle of a head");
                return None;
            }
        }
    }

    async fn more(&mut self) -> bool {
        let mut space = [0; 16 * 1024];
        let read = timeout(PATIENCE, self.stream.read(&mut space)).await.expect("silence");
        // A reset is an end too, for a client.
        let count = read.unwrap_or(0);
        self.buffer.extend_from_slice(&space[..count]);
        count > 0
    }
}
