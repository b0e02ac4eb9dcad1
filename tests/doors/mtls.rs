//! Client certificates: who is let in, who no more, and what requests know of it.

use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::sync::Arc;

use hookgate::clock::ManualClock;
use hookgate::doors::{BindError, ClientCertificates, ClientTrustError, Doors, Settings};
use http_body_util::Empty;
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};
use prometheus_client::registry::Registry;
use rcgen::ExtendedKeyUsagePurpose;
use rustls::{ClientConfig, HandshakeKind, RootCertStore};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::timeout;

use crate::authority::{Authority, Ehr, GOOD, NOW, file};
use crate::harness::{Gate, PATIENCE, Wire, settings};

/// A listener that asks for certificates of `root`'s, with these revocation lists.
struct Asking {
    gate: Gate,
    files: TempDir,
}

fn asking(folder: &Path, root: &Authority, lists: &[&str]) -> Settings {
    Settings {
        client_certificates: ClientCertificates::Optional,
        client_ca_file: Some(file(folder, "ca.pem", &root.pem)),
        client_crl_files: lists.iter().map(|name| folder.join(name)).collect(),
        ..settings()
    }
}

impl Asking {
    /// Each list is a file's name and content.
    async fn begin(root: &Authority, lists: &[(&str, &[u8])]) -> Self {
        let files = TempDir::new().unwrap();
        let names: Vec<&str> = lists.iter().map(|(name, _)| *name).collect();
        for (name, content) in lists {
            file(files.path(), name, content);
        }
        let settings = asking(files.path(), root, &names);
        let clock = Arc::new(ManualClock::new(NOW));
        Self { gate: Gate::tls_at(settings, clock).await, files }
    }

    /// Puts another list in place of the one in this file, as a reload does.
    fn replace(&self, name: &str, list: &[u8]) {
        file(self.files.path(), name, list);
        self.gate.reload();
    }
}

/// A client that resumes where it can.
fn config(
    gate: &Gate,
    ehr: Option<&Ehr>,
    version: &'static rustls::SupportedProtocolVersion,
    alpn: &str,
) -> ClientConfig {
    let mut roots = RootCertStore::empty();
    roots.add(gate.certificate.clone().unwrap()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[version])
        .unwrap()
        .with_root_certificates(roots);
    let mut config = match ehr {
        Some(ehr) => builder.with_client_cert_resolver(ehr.shown()),
        None => builder.with_no_client_auth(),
    };
    config.alpn_protocols = vec![alpn.as_bytes().to_vec()];
    config
}

/// Whether a request is answered. In TLS 1.3 a client hears of its refusal only after its own handshake.
async fn is_served(gate: &Gate, config: ClientConfig) -> bool {
    let Ok(mut stream) = gate.connect_tls(config).await else { return false };
    if stream.write_all(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").await.is_err() {
        return false;
    }
    let mut answer = Vec::new();
    let read = timeout(PATIENCE, stream.read_to_end(&mut answer)).await.expect("silence");
    read.is_ok() && answer.starts_with(b"HTTP/1.1 200")
}

const VERSIONS: [&rustls::SupportedProtocolVersion; 2] =
    [&rustls::version::TLS12, &rustls::version::TLS13];

#[tokio::test]
async fn who_shows_a_certificate_is_known_and_who_shows_none_is_served() {
    let root = Authority::root("hospital");
    let ehr = root.below("ward", 2).issue("ehr.example.org", 7);
    let asking = Asking::begin(&root, &[]).await;
    for version in VERSIONS {
        for ehr in [Some(&ehr), None] {
            assert!(is_served(&asking.gate, config(&asking.gate, ehr, version, "http/1.1")).await);
        }
    }
    let config = config(&asking.gate, Some(&ehr), VERSIONS[1], "h2");
    let stream = asking.gate.connect_tls(config).await.unwrap();
    let (mut send, connection) =
        http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    let request = http::Request::get("https://localhost/").body(Empty::<bytes::Bytes>::new());
    assert_eq!(send.send_request(request.unwrap()).await.unwrap().status(), 200);

    let seen = asking.gate.log.seen.lock().unwrap().clone();
    let known: Vec<bool> = seen.iter().map(|seen| seen.certificate.is_some()).collect();
    assert_eq!(known, [true, false, true, false, true]);
    for name in seen.iter().filter_map(|seen| seen.certificate.as_ref()) {
        assert!(
            name.starts_with("dns:ehr.example.org subject:CN=ehr.example.org sha256:"),
            "{name}"
        );
    }
}

#[tokio::test]
async fn a_certificate_that_is_not_good_is_refused_for_its_reason() {
    let root = Authority::root("hospital");
    let (ward, lost, closed) =
        (root.below("ward", 2), root.below("lost", 3), root.below("closed", 4));
    let stranger = Authority::root("stranger");
    let impostor = Authority::root("hospital");
    let (client, server) =
        (ExtendedKeyUsagePurpose::ClientAuth, ExtendedKeyUsagePurpose::ServerAuth);
    let name = "ehr.example.org";
    let (good, revoked) = (ward.issue(name, 7), ward.issue(name, 8));
    let root_list = root.list(&[&closed.serial], 6).pem().unwrap();
    // Several lists in one file, and one as DER.
    let both = [root_list, ward.list(&[&revoked.serial], 6).pem().unwrap()].concat();
    let closed_list = closed.list(&[], 6);
    let lists: [(&str, &[u8]); 2] =
        [("both.pem", both.as_bytes()), ("closed.crl", closed_list.der())];
    for version in VERSIONS {
        for (ehr, reason) in [
            (stranger.issue(name, 7), "unknown_authority"),
            (impostor.issue(name, 7), "certificate"),
            (ward.issue_for(name, 9, (2029, 2030), client.clone()), "expired"),
            (ward.issue_for(name, 9, (2031, 2032), client.clone()), "not_yet_valid"),
            (ward.issue_for(name, 9, GOOD, server.clone()), "certificate"),
            (ward.issue(name, 8), "revoked"),
            (closed.issue(name, 7), "revoked"),
            (lost.issue(name, 7), "revocation_unknown"),
        ] {
            let asking = Asking::begin(&root, &lists).await;
            let show = |ehr| config(&asking.gate, Some(ehr), version, "http/1.1");
            assert!(!is_served(&asking.gate, show(&ehr)).await, "{reason}");
            asking.gate.closed_for("handshake_failed").await;
            let line = format!("hookgate_handshakes_failed_total{{reason=\"{reason}\"}} 1");
            asking.gate.counts(&line).await;
            assert!(asking.gate.lines().is_empty());
            assert!(is_served(&asking.gate, show(&good)).await, "{reason}");
        }
    }
}

#[tokio::test]
async fn a_list_that_has_ended_or_is_forged_vouches_for_nobody() {
    let (root, impostor) = (Authority::root("hospital"), Authority::root("hospital"));
    let ehr = root.issue("ehr.example.org", 7);
    for (list, reason) in [
        (root.list(&[], 5), "revocation_list_ended"),
        (impostor.list(&[], 6), "revocation_unknown"),
    ] {
        let asking = Asking::begin(&root, &[("a.crl", list.der())]).await;
        let show = || config(&asking.gate, Some(&ehr), VERSIONS[1], "http/1.1");
        assert!(!is_served(&asking.gate, show()).await, "{reason}");
        let line = format!("hookgate_handshakes_failed_total{{reason=\"{reason}\"}} 1");
        asking.gate.counts(&line).await;
        // Whoever has no certificate is not concerned, and with a good list all is well again.
        assert!(is_served(&asking.gate, config(&asking.gate, None, VERSIONS[1], "http/1.1")).await);
        asking.replace("a.crl", root.list(&[], 6).der());
        assert!(is_served(&asking.gate, show()).await, "{reason}");
    }
}

/// A list stays good for a while after its successor was made, and both may be there.
#[tokio::test]
async fn of_several_lists_the_newest_is_believed() {
    let root = Authority::root("hospital");
    let ehr = root.issue("ehr.example.org", 7);
    let before = root.list_of(&[], (2030, 4), (2030, 7)).pem().unwrap();
    let revoking = root.list_of(&[&ehr.serial], (2030, 5), (2030, 6)).pem().unwrap();
    for lists in [[before.as_str(), revoking.as_str()], [revoking.as_str(), before.as_str()]] {
        let asking = Asking::begin(&root, &[("a.pem", lists.concat().as_bytes())]).await;
        let shown = config(&asking.gate, Some(&ehr), VERSIONS[1], "http/1.1");
        assert!(!is_served(&asking.gate, shown).await);
        asking.gate.counts("hookgate_handshakes_failed_total{reason=\"revoked\"} 1").await;
    }
}

#[tokio::test]
async fn when_a_list_ends_is_told() {
    let root = Authority::root("hospital");
    let lists = [root.list(&[], 7).pem().unwrap(), root.list(&[], 6).pem().unwrap()].concat();
    let asking = Asking::begin(&root, &[("a.pem", lists.as_bytes())]).await;
    let path = asking.files.path().join("a.pem");
    let metric = "hookgate_client_crl_next_update_timestamp_seconds";
    // 2030-06-28 and 2030-08-28.
    asking.gate.counts(&format!("{metric}{{file={path:?}}} 1908835200")).await;
    asking.replace("a.pem", root.list(&[], 8).pem().unwrap().as_bytes());
    asking.gate.counts(&format!("{metric}{{file={path:?}}} 1914105600")).await;
}

/// Both kinds of client, on either protocol, with one that goes on beside them.
#[tokio::test]
async fn a_revoked_client_is_refused_on_its_next_connection_and_its_open_ones_end() {
    let root = Authority::root("hospital");
    let (ehr, other) = (root.issue("ehr.example.org", 7), root.issue("other.example.org", 8));
    let asking = Asking::begin(&root, &[("a.crl", root.list(&[], 6).der())]).await;
    let gate = &asking.gate;
    let open = async |ehr: Option<&Ehr>, alpn: &str| {
        gate.connect_tls(config(gate, ehr, VERSIONS[1], alpn)).await.unwrap()
    };
    let mut one = Wire::new(open(Some(&ehr), "http/1.1").await);
    let mut another = Wire::new(open(Some(&other), "http/1.1").await);
    let mut nobody = Wire::new(open(None, "http/1.1").await);
    for wire in [&mut one, &mut another, &mut nobody] {
        assert!(!wire.get("/").await.unwrap().is_last());
    }
    let stream = open(Some(&ehr), "h2").await;
    let (mut send, connection) =
        http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
    let ended = tokio::spawn(connection);
    let get = |path: &str| {
        let url = format!("https://localhost{path}");
        http::Request::get(url).body(Empty::<bytes::Bytes>::new()).unwrap()
    };
    // What is under way when the list comes is answered, and is the last.
    let waiting = tokio::spawn(send.send_request(get("/wait")));
    let begun = timeout(PATIENCE, gate.log.begun.acquire_many(4)).await.unwrap();
    begun.unwrap().forget();

    asking.replace("a.crl", root.list(&[&ehr.serial], 6).der());
    gate.counts("hookgate_connections_closed_total{reason=\"distrusted\"} 1").await;
    assert!(one.answer().await.is_none(), "an idle connection ends");
    gate.log.go.add_permits(1);
    assert_eq!(waiting.await.unwrap().unwrap().status(), 200);
    assert!(timeout(PATIENCE, ended).await.expect("no GOAWAY").is_ok());
    gate.counts("hookgate_connections_closed_total{reason=\"distrusted\"} 2").await;
    for wire in [&mut another, &mut nobody] {
        assert!(!wire.get("/").await.unwrap().is_last(), "others go on");
    }
    for version in VERSIONS {
        assert!(!is_served(gate, config(gate, Some(&ehr), version, "http/1.1")).await);
        assert!(is_served(gate, config(gate, Some(&other), version, "http/1.1")).await);
        assert!(is_served(gate, config(gate, None, version, "http/1.1")).await);
    }
}

#[tokio::test]
async fn another_authority_takes_over_without_a_restart() {
    let (old, new) = (Authority::root("old"), Authority::root("new"));
    let (before, after) = (old.issue("ehr.example.org", 7), new.issue("ehr.example.org", 7));
    let asking = Asking::begin(&old, &[]).await;
    let show = |ehr| config(&asking.gate, Some(ehr), VERSIONS[1], "http/1.1");
    assert!(is_served(&asking.gate, show(&before)).await);
    assert!(!is_served(&asking.gate, show(&after)).await);
    asking.replace("ca.pem", [old.pem.as_str(), &new.pem].concat().as_bytes());
    assert!(is_served(&asking.gate, show(&before)).await);
    assert!(is_served(&asking.gate, show(&after)).await);
    asking.replace("ca.pem", new.pem.as_bytes());
    assert!(!is_served(&asking.gate, show(&before)).await);
    assert!(is_served(&asking.gate, show(&after)).await);
}

/// Shakes hands twice with the same memory of sessions, and reads in between what the server gives for it.
async fn kinds(gate: &Gate, config: ClientConfig) -> [HandshakeKind; 2] {
    let mut kinds = [HandshakeKind::Full; 2];
    for kind in &mut kinds {
        let mut stream = gate.connect_tls(config.clone()).await.unwrap();
        stream.write_all(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").await.unwrap();
        let mut answer = Vec::new();
        timeout(PATIENCE, stream.read_to_end(&mut answer)).await.unwrap().unwrap();
        *kind = stream.get_ref().1.handshake_kind().unwrap();
    }
    kinds
}

#[tokio::test]
async fn nobody_resumes_where_certificates_are_asked_for() {
    let root = Authority::root("hospital");
    let ehr = root.issue("ehr.example.org", 7);
    let asking = Asking::begin(&root, &[]).await;
    let usual = Gate::tls(settings()).await;
    for version in VERSIONS {
        // Elsewhere the same client resumes, so that it would be seen.
        let elsewhere = kinds(&usual, config(&usual, None, version, "http/1.1")).await;
        assert_eq!(elsewhere, [HandshakeKind::Full, HandshakeKind::Resumed]);
        for ehr in [Some(&ehr), None] {
            let here = kinds(&asking.gate, config(&asking.gate, ehr, version, "http/1.1")).await;
            assert_eq!(here, [HandshakeKind::Full, HandshakeKind::Full], "{version:?}");
        }
    }
}

/// Runs a program that gets `input`.
fn run(program: &str, arguments: &[&str], input: &'static str) -> Output {
    let mut command = Command::new(program);
    command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    std::io::Write::write_all(&mut stdin, input.as_bytes()).unwrap();
    drop(stdin);
    child.wait_with_output().unwrap()
}

async fn aside(run: impl FnOnce() -> Output + Send + 'static) -> Output {
    timeout(PATIENCE, tokio::task::spawn_blocking(run)).await.expect("hangs").unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn curl_is_let_in_with_its_certificate_until_it_is_revoked() {
    let root = Authority::root("hospital");
    let ehr = root.issue("ehr.example.org", 7);
    let asking = Asking::begin(&root, &[("a.crl", root.list(&[], 6).der())]).await;
    let folder = asking.files.path();
    let (certificate, key) = ehr.files(folder);
    let ca = asking.gate.certificate_file(folder);
    let address = format!("localhost:{}:127.0.0.1", asking.gate.address.port());
    let url = asking.gate.url("/curl");
    let shown = |path: &Path| path.display().to_string();
    let (ca, certificate, key) = (shown(&ca), shown(&certificate), shown(&key));
    let curl = async |version: &'static str, more: &'static str| {
        let (address, url) = (address.clone(), url.clone());
        let (ca, certificate, key) = (ca.clone(), certificate.clone(), key.clone());
        aside(move || {
            let all = [
                version,
                more,
                "--silent",
                "--show-error",
                "--noproxy",
                "*",
                "--resolve",
                &address,
                "--cacert",
                &ca,
                "--cert",
                &certificate,
                "--key",
                &key,
                &url,
            ];
            run("curl", &all, "")
        })
        .await
    };
    for (version, tls) in
        [("--http1.1", "--tlsv1.2"), ("--http2", "--tlsv1.2"), ("--http2", "--tlsv1.3")]
    {
        let output = curl(version, tls).await;
        assert!(output.status.success(), "{output:?}");
        assert_eq!(String::from_utf8(output.stdout).unwrap(), "GET /curl");
    }
    let seen = asking.gate.log.seen.lock().unwrap().clone();
    assert!(seen.iter().all(|seen| seen.certificate.is_some()), "{seen:?}");
    asking.replace("a.crl", root.list(&[&ehr.serial], 6).der());
    for version in ["--http1.1", "--http2"] {
        let output = curl(version, "--tlsv1.2").await;
        let told = String::from_utf8(output.stderr).unwrap();
        assert!(!output.status.success() && told.contains("revoked"), "{told}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn openssl_gets_nothing_to_resume_with() {
    let root = Authority::root("hospital");
    let ehr = root.issue("ehr.example.org", 7);
    let asking = Asking::begin(&root, &[]).await;
    let folder = asking.files.path();
    let (certificate, key) = ehr.files(folder);
    let usual = Gate::tls(settings()).await;
    let session = folder.join("session");
    for (gate, gives) in [(&usual, true), (&asking.gate, false)] {
        let _ = std::fs::remove_file(&session);
        let ca = gate.certificate_file(folder);
        let visit = async |option: &'static str| {
            let words = [
                "s_client",
                "-connect",
                &gate.address.to_string(),
                "-servername",
                "localhost",
                "-CAfile",
                ca.to_str().unwrap(),
                "-cert",
                certificate.to_str().unwrap(),
                "-key",
                key.to_str().unwrap(),
                "-tls1_2",
                "-ign_eof",
                option,
                session.to_str().unwrap(),
            ]
            .map(str::to_owned);
            let output = aside(move || {
                let words: Vec<&str> = words.iter().map(String::as_str).collect();
                run("openssl", &words, "GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
            });
            let output = output.await;
            format!(
                "{}{}",
                String::from_utf8_lossy(&output.stdout),
                String::from_utf8_lossy(&output.stderr)
            )
        };
        let first = visit("-sess_out").await;
        assert!(first.contains("HTTP/1.1 200") && first.contains("New, TLSv1.2"), "{first}");
        assert_eq!(session.exists(), gives, "{first}");
        if gives {
            // Elsewhere it resumes, so that it would be seen.
            let second = visit("-sess_in").await;
            assert!(second.contains("Reused, TLSv1.2"), "{second}");
        }
    }
}

#[tokio::test]
async fn does_not_ask_for_what_it_could_not_judge() {
    let files = TempDir::new().unwrap();
    let (root, other) = (Authority::root("hospital"), Authority::root("other"));
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let folder = files.path();
    let good = Settings {
        certificate_file: Some(file(folder, "cert", made.cert.pem())),
        key_file: Some(file(folder, "key", made.signing_key.serialize_pem())),
        ..asking(folder, &root, &[])
    };
    let ehr = root.issue("ehr.example.org", 7);
    let clock: Arc<dyn hookgate::clock::Clock> = Arc::new(ManualClock::new(NOW));
    let why = async |settings: Settings| match Doors::bind(
        &settings,
        Arc::clone(&clock),
        &mut Registry::default(),
    )
    .await
    {
        Err(BindError::ClientTrust(error)) => error,
        other => panic!("{other:?}"),
    };
    let with_ca = |name: &str, bytes: &[u8]| Settings {
        client_ca_file: Some(file(folder, name, bytes)),
        ..good.clone()
    };
    let with_list = |name: &str, bytes: &[u8]| Settings {
        client_crl_files: vec![file(folder, name, bytes)],
        ..good.clone()
    };
    let off = ClientCertificates::Off;
    type E = ClientTrustError;
    assert!(matches!(why(Settings { client_ca_file: None, ..good.clone() }).await, E::NoAuthority));
    assert!(matches!(why(Settings { client_certificates: off, ..good.clone() }).await, E::Unused));
    let plain =
        Settings { plaintext: true, certificate_file: None, key_file: None, ..good.clone() };
    assert!(matches!(why(plain).await, E::Plaintext));
    for (name, bytes) in
        [("e", &b""[..]), ("t", b"no PEM"), ("k", made.signing_key.serialize_pem().as_bytes())]
    {
        assert!(matches!(why(with_ca(name, bytes)).await, E::Authorities { .. }), "{name}");
        assert!(matches!(why(with_list(name, bytes)).await, E::List { .. }), "{name}");
    }
    let leaf = why(with_ca("leaf", ehr.pem.as_bytes())).await.to_string();
    assert!(leaf.contains("may not issue others"), "{leaf}");
    let missing = Settings { client_ca_file: Some(folder.join("missing")), ..good.clone() };
    assert!(matches!(why(missing).await, E::Authorities { .. }));
    let missing = Settings { client_crl_files: vec![folder.join("missing")], ..good.clone() };
    assert!(matches!(why(missing).await, E::List { .. }));
    assert!(matches!(why(with_list("half", &root.list(&[], 6).der()[..40])).await, E::List { .. }));
    let others = why(with_list("other", other.list(&[], 6).der())).await;
    assert!(matches!(&others, E::NoList(name) if name == "CN=hospital"), "{others}");
    let listed = with_list("good", root.list(&[], 6).der());
    assert!(Doors::check(&listed, &clock).is_ok());
}
