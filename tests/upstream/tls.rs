//! https and HTTP/2 upstreams.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use hookgate::gateway::upstream::{AddressState, Settings, UpstreamError};
use hookgate::units::Period;
use http::{Method, Response, Version};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use rustls::crypto::aws_lc_rs;
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use crate::rig::{Gateway, at, settings, until};

/// A hospital's own authority.
struct Authority {
    issuer: Issuer<'static, KeyPair>,
    der: CertificateDer<'static>,
    dir: TempDir,
}

impl Authority {
    fn new(name: &str) -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, name);
        let key = KeyPair::generate().unwrap();
        let certificate = params.self_signed(&key).unwrap();
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("ca.pem"), certificate.pem()).unwrap();
        let der = certificate.der().clone();
        Self { issuer: Issuer::new(params, key), der, dir }
    }

    fn ca_file(&self) -> Option<PathBuf> {
        Some(self.dir.path().join("ca.pem"))
    }

    fn issue(&self, name: &str) -> (rcgen::Certificate, KeyPair) {
        self.issue_until(name, 2099)
    }

    fn issue_until(&self, name: &str, year: i32) -> (rcgen::Certificate, KeyPair) {
        let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        params.not_before = rcgen::date_time_ymd(2001, 1, 1);
        params.not_after = rcgen::date_time_ymd(year, 1, 1);
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        (certificate, key)
    }

    /// A client certificate and its key, as files.
    fn client_files(&self, name: &str) -> (Option<PathBuf>, Option<PathBuf>) {
        let (certificate, key) = self.issue(name);
        let chain = self.dir.path().join(format!("{name}.pem"));
        let private = self.dir.path().join(format!("{name}.key"));
        std::fs::write(&chain, certificate.pem()).unwrap();
        std::fs::write(&private, key.serialize_pem()).unwrap();
        (Some(chain), Some(private))
    }
}

struct TlsServer {
    address: SocketAddr,
    versions: Arc<Mutex<Vec<Version>>>,
}

impl TlsServer {
    async fn start(
        identity: (rcgen::Certificate, KeyPair),
        clients: Option<&Authority>,
        alpn: &[&str],
    ) -> Self {
        let provider = Arc::new(aws_lc_rs::default_provider());
        let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .unwrap();
        let builder = match clients {
            None => builder.with_no_client_auth(),
            Some(authority) => {
                let mut roots = RootCertStore::empty();
                roots.add(authority.der.clone()).unwrap();
                let verifier =
                    WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider)
                        .build()
                        .unwrap();
                builder.with_client_cert_verifier(verifier)
            }
        };
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(identity.1.serialize_der()));
        let mut config = builder.with_single_cert(vec![identity.0.der().clone()], key).unwrap();
        config.alpn_protocols = alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let versions = Arc::new(Mutex::new(Vec::new()));
        let log = Arc::clone(&versions);
        tokio::spawn(async move {
            while let Ok((tcp, _)) = listener.accept().await {
                let (acceptor, log) = (acceptor.clone(), Arc::clone(&log));
                tokio::spawn(async move {
                    let Ok(tls) = acceptor.accept(tcp).await else { return };
                    let h2 = tls.get_ref().1.alpn_protocol() == Some(b"h2");
                    serve(TokioIo::new(tls), h2, log).await;
                });
            }
        });
        Self { address, versions }
    }

    /// By name: certificates are for names.
    fn url(&self) -> String {
        format!("https://localhost:{}", self.address.port())
    }

    fn versions(&self) -> Vec<Version> {
        self.versions.lock().unwrap().clone()
    }
}

async fn serve<S>(io: S, h2: bool, log: Arc<Mutex<Vec<Version>>>)
where
    S: hyper::rt::Read + hyper::rt::Write + Send + Unpin + 'static,
{
    let answer = service_fn(move |request: http::Request<Incoming>| {
        log.lock().unwrap().push(request.version());
        let method = request.method().clone();
        async move {
            let length = request.headers().get("content-length").cloned();
            let body = request.into_body().collect().await.unwrap().to_bytes();
            let told = length.is_some_and(|length| length == body.len().to_string().as_str());
            assert!(told || method == Method::GET);
            Ok::<_, std::convert::Infallible>(Response::new(Full::new(Bytes::from("{}"))))
        }
    });
    let _ = if h2 {
        hyper::server::conn::http2::Builder::new(TokioExecutor::new())
            .serve_connection(io, answer)
            .await
    } else {
        hyper::server::conn::http1::Builder::new().serve_connection(io, answer).await
    };
}

async fn tls_error(own: Settings) -> String {
    let error = Gateway::with(&[own], None).hook().await.unwrap_err();
    assert!(matches!(error, UpstreamError::Tls(_)), "{error}");
    assert!(error.surely_not_processed());
    error.to_string()
}

#[tokio::test]
async fn a_private_authority_is_trusted_where_it_is_named() {
    let (ours, other) = (Authority::new("ours"), Authority::new("other"));
    let server = TlsServer::start(ours.issue("localhost"), None, &[]).await;
    let with = |ca_file| Settings { ca_file, ..settings(&server.url()) };
    let answer = Gateway::with(&[with(ours.ca_file())], None).hook().await.unwrap();
    assert_eq!(answer.status(), 200);
    let error = tls_error(with(other.ca_file())).await;
    assert!(error.contains("UnknownIssuer") || error.contains("BadSignature"), "{error}");
    assert_eq!(server.versions().len(), 1);
}

#[tokio::test]
async fn a_certificate_must_be_for_this_name_and_this_day() {
    let ours = Authority::new("ours");
    for (identity, why) in [
        (ours.issue("elsewhere.example"), "not valid for name"),
        (ours.issue_until("localhost", 2002), "expired"),
    ] {
        let server = TlsServer::start(identity, None, &[]).await;
        let own = Settings { ca_file: ours.ca_file(), ..settings(&server.url()) };
        let error = tls_error(own).await;
        assert!(error.contains(why), "{error}");
        assert!(server.versions().is_empty());
    }
}

#[tokio::test]
async fn an_upstream_may_ask_for_a_certificate() {
    let (ours, other) = (Authority::new("ours"), Authority::new("other"));
    let server = TlsServer::start(ours.issue("localhost"), Some(&ours), &[]).await;
    let with = |(chain, key): (Option<PathBuf>, Option<PathBuf>)| Settings {
        ca_file: ours.ca_file(),
        client_certificate_file: chain,
        client_key_file: key,
        ..settings(&server.url())
    };
    let good = Gateway::with(&[with(ours.client_files("gateway"))], None);
    assert_eq!(good.hook().await.unwrap().status(), 200);
    for refused in [(None, None), other.client_files("stranger")] {
        let error = Gateway::with(&[with(refused)], None).hook().await.unwrap_err();
        // The refusal may be lost when the upstream closes before it is read; then it is not known
        // how far the request has come, and said so.
        let refused = matches!(error, UpstreamError::Tls(_)) && error.surely_not_processed();
        assert!(refused || matches!(error, UpstreamError::Broken(_)), "{error}");
    }
    assert_eq!(server.versions().len(), 1);
    let Err(problems) =
        Gateway::try_with(&[with((ours.client_files("a").0, ours.client_files("b").1))], None)
    else {
        panic!("a key of another certificate")
    };
    assert!(problems[0].contains("does not fit"), "{problems:?}");
}

#[tokio::test]
async fn plain_http_behind_an_https_url() {
    let plain = crate::rig::Server::answering("HTTP/1.1 400 Bad Request\r\n\r\n", true).await;
    let ours = Authority::new("ours");
    let url = format!("https://localhost:{}", plain.address.port());
    // It waits for the end of a head, and the gateway for the end of a handshake.
    let connect_timeout = Period::secs(1);
    let own = Settings { ca_file: ours.ca_file(), connect_timeout, ..settings(&url) };
    let gateway = Gateway::with(&[own], None);
    let error = gateway.hook().await.unwrap_err();
    assert!(error.surely_not_processed(), "{error}");
}

#[tokio::test]
async fn http2_is_spoken_where_it_is_wanted_and_offered() {
    let ours = Authority::new("ours");
    for (http2, alpn, expected) in [
        (false, vec!["h2", "http/1.1"], Version::HTTP_11),
        (true, vec!["h2", "http/1.1"], Version::HTTP_2),
        (true, vec!["http/1.1"], Version::HTTP_11),
        (true, vec![], Version::HTTP_11),
    ] {
        let server = TlsServer::start(ours.issue("localhost"), None, &alpn).await;
        let own = Settings { http2, ca_file: ours.ca_file(), ..settings(&server.url()) };
        let gateway = Gateway::with(&[own], None);
        for _ in 0..2 {
            assert_eq!(gateway.hook().await.unwrap().status(), 200);
        }
        assert_eq!(server.versions(), [expected, expected], "{http2} {alpn:?}");
    }
}

#[tokio::test]
async fn http2_without_tls_is_taken_for_granted_where_it_is_configured() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let versions = Arc::new(Mutex::new(Vec::new()));
    let log = Arc::clone(&versions);
    tokio::spawn(async move {
        while let Ok((tcp, _)) = listener.accept().await {
            tokio::spawn(serve(TokioIo::new(tcp), true, Arc::clone(&log)));
        }
    });
    let own = Settings { http2: true, ..settings(&url) };
    assert_eq!(Gateway::with(&[own], None).hook().await.unwrap().status(), 200);
    assert_eq!(*versions.lock().unwrap(), [Version::HTTP_2]);
}

#[tokio::test]
async fn every_address_is_held_to_the_name_in_the_url_and_shown_the_certificate() {
    let ours = Authority::new("ours");
    let (chain, key) = ours.client_files("gateway");
    let good = TlsServer::start(ours.issue("cds.example"), Some(&ours), &[]).await;
    let twin = TlsServer::start(ours.issue("cds.example"), Some(&ours), &[]).await;
    // It is dialled by this name, and that is not what its certificate must be for.
    let wrong = TlsServer::start(ours.issue("127.0.0.1"), Some(&ours), &[]).await;
    let own = Settings {
        url: "https://cds.example/".parse().unwrap(),
        ca_file: ours.ca_file(),
        client_certificate_file: chain,
        client_key_file: key,
        health: Some(toml::from_str("path = \"/healthz\"\ntimeout = \"1m\"").unwrap()),
        ..at(&[good.address, wrong.address, twin.address])
    };
    let gateway = Gateway::with(&[own], None);
    for _ in 0..6 {
        assert_eq!(gateway.hook().await.unwrap().status(), 200);
    }
    assert!(wrong.versions().is_empty());
    assert_eq!(good.versions().len() + twin.versions().len(), 6);
    let wrongs = gateway.addresses().remove(1);
    assert_eq!(wrongs.last_error.unwrap().1, "tls");

    let _running = gateway.start();
    until("the one with the wrong name is found out", || {
        gateway.clock.advance(Duration::from_secs(5));
        gateway.states() == [AddressState::Closed, AddressState::Unhealthy, AddressState::Closed]
    })
    .await;
    assert!(good.versions().len() + twin.versions().len() > 6, "they were asked");
}

#[tokio::test]
async fn a_handshake_that_hangs_is_left_for_another_address() {
    let ours = Authority::new("ours");
    let good = TlsServer::start(ours.issue("cds.example"), None, &[]).await;
    let mute = crate::rig::Server::start(|mut peer| async move { peer.closed().await }).await;
    let own = Settings {
        url: "https://cds.example/".parse().unwrap(),
        ca_file: ours.ca_file(),
        connect_timeout: Period::secs(5),
        ..at(&[mute.address, good.address])
    };
    let gateway = Gateway::with(&[own], None);
    for _ in 0..2 {
        assert_eq!(gateway.hook().await.unwrap().status(), 200);
    }
    assert_eq!(good.versions().len(), 2);
    assert_eq!(gateway.addresses()[0].last_error.unwrap().1, "late_connect");
}
