//! TLS: whom the gateway trusts, and how it shows who it is.

use std::path::PathBuf;

use hookgate::redis::{Redis, Settings, Topology};
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use tempfile::TempDir;

use crate::port::free_port;
use crate::rig::{answers, count, file, says, settings, soon};
use crate::server::{RedisServer, cli};

/// An authority, and files signed by it.
struct Authority {
    folder: TempDir,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    fn new() -> Self {
        let folder = TempDir::new().expect("a folder");
        let issuer = Self::issuer(&folder);
        Self { folder, issuer }
    }

    /// Another one takes its place and its file.
    fn replace(&mut self) {
        self.issuer = Self::issuer(&self.folder);
    }

    fn issuer(folder: &TempDir) -> Issuer<'static, KeyPair> {
        let mut params = CertificateParams::new(Vec::new()).expect("parameters");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().expect("a key");
        file(folder, "ca.pem", &params.self_signed(&key).expect("a certificate").pem());
        Issuer::new(params, key)
    }

    fn ca_file(&self) -> PathBuf {
        self.folder.path().join("ca.pem")
    }

    /// A certificate and its key for `name`.
    fn sign(&self, name: &str) -> (PathBuf, PathBuf) {
        let key = KeyPair::generate().expect("a key");
        let mut params = CertificateParams::new(vec![name.to_owned()]).expect("parameters");
        // A subject that is the issuer's would make it a self-signed one.
        params.distinguished_name.push(DnType::CommonName, name);
        let certificate = params.signed_by(&key, &self.issuer).expect("a certificate");
        (
            file(&self.folder, &format!("{name}.pem"), &certificate.pem()),
            file(&self.folder, &format!("{name}.key"), &key.serialize_pem()),
        )
    }
}

/// A server's options, each a name and a value, with a certificate for `name`.
fn options(authority: &Authority, name: &str, port: &str) -> [(&'static str, String); 4] {
    let (certificate, key) = authority.sign(name);
    let shown = |path: PathBuf| path.display().to_string();
    [
        ("tls-port", port.to_owned()),
        ("tls-cert-file", shown(certificate)),
        ("tls-key-file", shown(key)),
        ("tls-ca-cert-file", shown(authority.ca_file())),
    ]
}

/// A server whose certificate is for `name`, and its TLS address by number.
fn serve(authority: &Authority, name: &str, more: &[&str]) -> (RedisServer, String) {
    let port = free_port().to_string();
    let named = options(authority, name, &port).map(|(name, value)| [format!("--{name}"), value]);
    let words: Vec<&str> = named.iter().flatten().map(String::as_str).collect();
    let server = RedisServer::start_with(&[words.as_slice(), more].concat());
    (server, format!("127.0.0.1:{port}"))
}

const ANYBODY: &[&str] = &["--tls-auth-clients", "no"];

fn trusting(authority: &Authority, address: String) -> Settings {
    Settings { tls: true, ca_file: Some(authority.ca_file()), ..settings(address) }
}

#[tokio::test]
async fn the_right_name_by_the_right_authority_is_trusted_and_nothing_else() {
    let (authority, other) = (Authority::new(), Authority::new());
    let (_server, address) = serve(&authority, "127.0.0.1", ANYBODY);
    let good = trusting(&authority, address.clone());
    answers(&Redis::open(&good).expect("settings")).await;

    let by_other = Redis::open(&trusting(&other, address.clone())).expect("settings");
    says(&by_other, "no TLS").await;
    let system = Settings { ca_file: None, ..good.clone() };
    if let Ok(by_system) = Redis::open(&system) {
        says(&by_system, "no TLS").await;
    }
    let another = Settings { tls_server_name: Some("redis.test".to_owned()), ..good };
    says(&Redis::open(&another).expect("settings"), "no TLS").await;

    let plain = Redis::open(&settings(address)).expect("settings");
    assert!(count(&plain, "a").await.is_err());
}

#[tokio::test]
async fn a_name_can_be_expected_where_addresses_are_numbers() {
    let authority = Authority::new();
    let (_server, address) = serve(&authority, "redis.test", ANYBODY);
    let by_number = trusting(&authority, address);
    says(&Redis::open(&by_number).expect("settings"), "no TLS").await;
    let by_name = Settings { tls_server_name: Some("redis.test".to_owned()), ..by_number };
    answers(&Redis::open(&by_name).expect("settings")).await;
}

#[tokio::test]
async fn a_client_certificate_is_shown_where_it_is_asked_for() {
    let authority = Authority::new();
    let (_server, address) = serve(&authority, "127.0.0.1", &["--tls-auth-clients", "yes"]);
    let without = trusting(&authority, address);
    let refused = Redis::open(&without).expect("settings");
    assert!(count(&refused, "a").await.is_err());
    let (certificate, key) = authority.sign("hookgate.test");
    let with =
        Settings { certificate_file: Some(certificate), key_file: Some(key), ..without.clone() };
    answers(&Redis::open(&with).expect("settings")).await;
    for half in [
        Settings { key_file: None, ..with.clone() },
        Settings { certificate_file: None, ..with.clone() },
    ] {
        assert!(Redis::open(&half).is_err());
    }
    let (_, another_key) = authority.sign("another.test");
    let mismatched = Settings { key_file: Some(another_key), ..with };
    assert!(Redis::open(&mismatched).is_err(), "the key is not the certificate's");
}

#[tokio::test]
async fn renewed_files_count_from_the_next_connection_on() {
    let mut authority = Authority::new();
    let (mut server, address) = serve(&authority, "127.0.0.1", &["--tls-auth-clients", "yes"]);
    let (certificate, key) = authority.sign("hookgate.test");
    let shown = certificate.clone();
    let settings = Settings {
        certificate_file: Some(certificate),
        key_file: Some(key),
        ..trusting(&authority, address)
    };
    let redis = Redis::open(&settings).expect("settings");
    answers(&redis).await;

    authority.replace();
    authority.sign("127.0.0.1");
    authority.sign("hookgate.test");
    server.restart();
    answers(&redis).await;

    std::fs::remove_file(&shown).expect("a file to remove");
    server.restart();
    says(&redis, "state.redis.certificate_file").await;
    authority.sign("hookgate.test");
    answers(&redis).await;
}

#[tokio::test]
async fn every_node_of_a_cluster_is_reached_by_tls() {
    let authority = Authority::new();
    let nodes: Vec<_> = (0..3)
        .map(|_| {
            let bus = free_port().to_string();
            let cluster = ["--tls-cluster", "yes", "--cluster-enabled", "yes"];
            let more = [ANYBODY, &cluster, &["--cluster-port", &bus]].concat();
            serve(&authority, "127.0.0.1", &more)
        })
        .collect();
    let ca_file = authority.ca_file().display().to_string();
    let mut words = vec!["--tls", "--cacert", &ca_file, "--cluster", "create"];
    words.extend(nodes.iter().map(|(_, address)| address.as_str()));
    words.push("--cluster-yes");
    let said = cli(&words);
    assert!(said.contains("All 16384 slots covered"), "{said}");

    let first = nodes[0].1.clone();
    let all = Settings { topology: Topology::Cluster, ..trusting(&authority, first) };
    let redis = Redis::open(&all).expect("settings");
    answers(&redis).await;
    soon("every node is connected", async || redis.masters().len() == 3).await;
    for number in 0..30 {
        let key = number.to_string();
        soon("a key on one of them", async || count(&redis, &key).await.is_ok()).await;
    }
    let plain = Settings { tls: false, ca_file: None, ..all };
    assert!(count(&Redis::open(&plain).expect("settings"), "a").await.is_err());
}

#[tokio::test]
async fn sentinels_and_the_master_that_they_name_are_reached_by_tls() {
    let authority = Authority::new();
    let more = [ANYBODY, &["--tls-replication", "yes"]].concat();
    let (_master, address) = serve(&authority, "127.0.0.1", &more);
    let (folder, tls_port) = (TempDir::new().expect("a folder"), free_port());
    let port = free_port();
    let mut lines: Vec<String> = options(&authority, "127.0.0.1", &tls_port.to_string())
        .map(|(name, value)| format!("{name} {value}"))
        .into();
    lines.extend([
        format!("port {port}"),
        "bind 127.0.0.1".to_owned(),
        format!("dir {}", folder.path().display()),
        "tls-auth-clients no".to_owned(),
        "tls-replication yes".to_owned(),
        format!("sentinel monitor watched {} 1", address.replace(':', " ")),
    ]);
    let path = file(&folder, "sentinel.conf", &lines.join("\n")).display().to_string();
    let _sentinel = RedisServer::start_in(folder, port, &[&path, "--sentinel"]);

    let watched = Settings {
        topology: Topology::Sentinel,
        master: Some("watched".to_owned()),
        ..trusting(&authority, format!("127.0.0.1:{tls_port}"))
    };
    let redis = Redis::open(&watched).expect("settings");
    answers(&redis).await;
    let [master] = redis.masters().try_into().expect("one master");
    assert_eq!(master.address, address);
    let other = Authority::new();
    let by_other = Settings { ca_file: Some(other.ca_file()), ..watched };
    says(&Redis::open(&by_other).expect("settings"), "no TLS").await;
}
