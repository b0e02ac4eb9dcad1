//! TLS: whom the gateway trusts, and how it shows who it is.

use std::path::PathBuf;

use hookgate::redis::{Redis, Settings};
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use tempfile::TempDir;

use crate::port::free_port;
use crate::rig::{answers, file, says, settings};
use crate::server::RedisServer;

/// An authority, and files signed by it.
struct Authority {
    folder: TempDir,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).expect("parameters");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().expect("a key");
        let folder = TempDir::new().expect("a folder");
        file(&folder, "ca.pem", &params.self_signed(&key).expect("a certificate").pem());
        Self { folder, issuer: Issuer::new(params, key) }
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

/// A server whose certificate is for `name`, and its TLS address by number.
fn serve(authority: &Authority, name: &str, clients: &str) -> (RedisServer, String) {
    let (certificate, key) = authority.sign(name);
    let port = free_port().to_string();
    let server = RedisServer::start_with(&[
        "--tls-port",
        &port,
        "--tls-cert-file",
        &certificate.display().to_string(),
        "--tls-key-file",
        &key.display().to_string(),
        "--tls-ca-cert-file",
        &authority.ca_file().display().to_string(),
        "--tls-auth-clients",
        clients,
    ]);
    (server, format!("127.0.0.1:{port}"))
}

fn trusting(authority: &Authority, address: String) -> Settings {
    Settings { tls: true, ca_file: Some(authority.ca_file()), ..settings(address) }
}

#[tokio::test]
async fn the_right_name_by_the_right_authority_is_trusted_and_nothing_else() {
    let (authority, other) = (Authority::new(), Authority::new());
    let (_server, address) = serve(&authority, "127.0.0.1", "no");
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
    assert!(crate::rig::count(&plain, "a").await.is_err());
}

#[tokio::test]
async fn a_name_can_be_expected_where_addresses_are_numbers() {
    let authority = Authority::new();
    let (_server, address) = serve(&authority, "redis.test", "no");
    let by_number = trusting(&authority, address);
    says(&Redis::open(&by_number).expect("settings"), "no TLS").await;
    let by_name = Settings { tls_server_name: Some("redis.test".to_owned()), ..by_number };
    answers(&Redis::open(&by_name).expect("settings")).await;
}

#[tokio::test]
async fn a_client_certificate_is_shown_where_it_is_asked_for() {
    let authority = Authority::new();
    let (_server, address) = serve(&authority, "127.0.0.1", "yes");
    let without = trusting(&authority, address);
    let refused = Redis::open(&without).expect("settings");
    assert!(crate::rig::count(&refused, "a").await.is_err());
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
