//! Which TLS and which protocol a client gets.

use std::path::PathBuf;
use std::sync::Arc;

use hookgate::clock::SystemClock;
use hookgate::doors::{BindError, Doors, Settings};
use hookgate::peer::Protocol;
use hookgate::units::ByteSize;
use prometheus_client::registry::Registry;
use rustls::ProtocolVersion;

use crate::harness::{Gate, Wire, settings};

#[tokio::test]
async fn serves_both_protocols_to_a_common_client() {
    let gate = Gate::tls(settings()).await;
    let both = gate.client().build().unwrap();
    let answer = both.post(gate.url("/2")).body("two").send().await.unwrap();
    assert_eq!(answer.version(), http::Version::HTTP_2);
    assert_eq!(answer.text().await.unwrap(), "POST /2");
    let old = gate.client().http1_only().build().unwrap();
    let answer = old.post(gate.url("/1")).body("one").send().await.unwrap();
    assert_eq!(answer.version(), http::Version::HTTP_11);
    assert_eq!(answer.text().await.unwrap(), "POST /1");
    let seen = gate.log.seen.lock().unwrap().clone();
    let seen = seen.into_iter().map(|s| (s.line, s.body, s.protocol, s.tls)).collect::<Vec<_>>();
    let expected = [
        ("POST /2".to_owned(), b"two".to_vec(), Protocol::Http2, true),
        ("POST /1".to_owned(), b"one".to_vec(), Protocol::Http1, true),
    ];
    assert_eq!(seen, expected);
}

#[tokio::test]
async fn speaks_1_2_and_1_3_and_http_1_without_alpn() {
    let gate = Gate::tls(settings()).await;
    for (version, name) in [
        (&rustls::version::TLS12, ProtocolVersion::TLSv1_2),
        (&rustls::version::TLS13, ProtocolVersion::TLSv1_3),
    ] {
        for alpn in [&[][..], &["http/1.1"]] {
            let mut roots = rustls::RootCertStore::empty();
            roots.add(gate.certificate.clone().unwrap()).unwrap();
            let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
            let mut config = rustls::ClientConfig::builder_with_provider(provider)
                .with_protocol_versions(&[version])
                .unwrap()
                .with_root_certificates(roots)
                .with_no_client_auth();
            config.alpn_protocols = alpn.iter().map(|n: &&str| n.as_bytes().to_vec()).collect();
            let stream = gate.connect_tls(config).await.unwrap();
            assert_eq!(stream.get_ref().1.protocol_version(), Some(name));
            let mut wire = Wire::new(stream);
            assert_eq!(wire.get("/").await.unwrap().status, 200);
        }
    }
}

#[tokio::test]
async fn offers_no_protocol_that_is_off_or_unknown() {
    let gate = Gate::tls(Settings { http2: false, ..settings() }).await;
    assert!(gate.connect_tls(gate.client_config(&["h2"])).await.is_err());
    let stream = gate.connect_tls(gate.client_config(&["h2", "http/1.1"])).await.unwrap();
    assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"http/1.1"[..]));
    let gate = Gate::tls(settings()).await;
    assert!(gate.connect_tls(gate.client_config(&["imap"])).await.is_err());
}

#[tokio::test]
async fn does_not_open_with_what_cannot_work() {
    let files = tempfile::tempdir().unwrap();
    let missing = |name: &str| Some::<PathBuf>(files.path().join(name));
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let bind = async |settings: Settings| {
        Doors::bind(&settings, Arc::new(SystemClock::new()), &mut Registry::default())
            .await
            .unwrap_err()
    };
    assert!(matches!(bind(settings()).await, BindError::NoCertificate));
    let half = Settings { certificate_file: missing("c"), ..settings() };
    assert!(matches!(bind(half.clone()).await, BindError::NoCertificate));
    let unused = Settings { plaintext: true, ..half.clone() };
    assert!(matches!(bind(unused).await, BindError::UnusedCertificate));
    let absent = Settings { key_file: missing("k"), ..half };
    assert!(matches!(bind(absent).await, BindError::Certificate(_)));
    let plain = Settings { plaintext: true, ..settings() };
    let narrow = Settings { max_header_bytes: ByteSize::kib(0), ..plain.clone() };
    assert!(matches!(bind(narrow).await, BindError::HeaderBytes(0)));
    let wide = Settings { max_header_bytes: ByteSize::mib(2), ..plain.clone() };
    assert!(matches!(bind(wide).await, BindError::HeaderBytes(_)));
    let busy = Settings { address: taken.local_addr().unwrap(), ..plain };
    assert!(matches!(bind(busy).await, BindError::Address { .. }));
}
