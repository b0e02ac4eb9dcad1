//! Certificates and the files of secrets: what is told before a client, or a stranger, finds out.

use std::time::{Duration, SystemTime};

use rcgen::{CertificateParams, DnType, Issuer, KeyPair};
use serde_json::Value;

use crate::home::{Home, run};

const UPSTREAM: &str = "http://127.0.0.1:8080";
const DAY: Duration = Duration::from_secs(86_400);

/// What is told about a home, as `(severity, code, path)`, and the exit code.
fn told(home: &Home, config: &str, arguments: &[&str]) -> (i32, Vec<(String, String, String)>) {
    let file = home.write("checked.toml", config);
    let common = ["check", "--format", "json", "--config", file.to_str().unwrap()];
    let (code, out, complaint) = run(&[&common[..], arguments].concat());
    let report: Value =
        serde_json::from_str(&out).unwrap_or_else(|e| panic!("{e}: {out}{complaint}"));
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let problems = report["problems"].as_array().unwrap().iter();
    (code, problems.map(|p| (text(&p["severity"]), text(&p["code"]), text(&p["path"]))).collect())
}

fn params(name: &str) -> CertificateParams {
    let mut params = CertificateParams::new(["localhost".to_owned()]).unwrap();
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    params
}

/// Puts a certificate of a CA and its key in the home, with more behind it.
fn issue(home: &Home, change: impl FnOnce(&mut CertificateParams), behind: &str) {
    let issuer = Issuer::new(params("ca"), KeyPair::generate().unwrap());
    let (key, mut params) = (KeyPair::generate().unwrap(), params("gateway"));
    change(&mut params);
    let certificate = params.signed_by(&key, &issuer).unwrap();
    home.write("tls.crt", &(certificate.pem() + behind));
    home.write("tls.key", &key.serialize_pem());
}

fn warning(code: &str) -> (String, String, String) {
    ("warning".to_owned(), code.to_owned(), "listener.certificate_file".to_owned())
}

fn error(code: &str) -> (String, String, String) {
    ("error".to_owned(), code.to_owned(), "listener.certificate_file".to_owned())
}

#[test]
fn a_certificate_that_clients_would_refuse_is_told_of() {
    let home = Home::new();
    let config = home.config(UPSTREAM);
    let now = SystemTime::UNIX_EPOCH + SystemTime::UNIX_EPOCH.elapsed().unwrap();
    issue(&home, |_| (), "");
    assert_eq!(told(&home, &config, &["--deny-warnings"]), (0, vec![]));
    issue(&home, |params| params.not_after = (now - DAY).into(), "");
    assert_eq!(told(&home, &config, &[]), (78, vec![error("certificate-expired")]));
    issue(&home, |params| params.not_before = (now + DAY).into(), "");
    assert_eq!(told(&home, &config, &[]), (78, vec![error("certificate-not-yet-valid")]));
    issue(&home, |params| params.not_after = (now + 10 * DAY).into(), "");
    assert_eq!(told(&home, &config, &[]), (0, vec![warning("certificate-expiring")]));
    assert_eq!(
        told(&home, &config, &["--deny-warnings"]),
        (78, vec![warning("certificate-expiring")])
    );
    let stranger = rcgen::generate_simple_self_signed(["x".to_owned()]).unwrap().cert.pem();
    issue(&home, |_| (), &stranger);
    assert_eq!(told(&home, &config, &[]), (0, vec![warning("certificate-chain")]));
    issue(&home, |params| params.subject_alt_names.clear(), "");
    assert_eq!(told(&home, &config, &[]), (0, vec![warning("certificate-name")]));
}

#[test]
fn a_public_url_that_the_certificate_does_not_cover() {
    let home = Home::new();
    let wild = |params: &mut CertificateParams| {
        *params = CertificateParams::new(["*.cds.example".to_owned()]).unwrap();
    };
    issue(&home, wild, "");
    for (host, expected) in [
        ("a.cds.example", vec![]),
        ("A.CDS.example", vec![]),
        ("cds.example", vec![warning("certificate-name")]),
        ("a.b.cds.example", vec![warning("certificate-name")]),
    ] {
        let config = home.config(UPSTREAM).replacen("localhost", host, 1);
        assert_eq!(told(&home, &config, &[]), (0, expected), "{host}");
    }
}

#[test]
fn secrets_that_everybody_can_read_and_files_that_are_none() {
    let home = Home::new();
    issue(&home, |_| (), "");
    let config = home.config(UPSTREAM);
    home.permit("tls.key", 0o644);
    let exposed = ("warning", "file-permissions", "listener.key_file");
    let own = |(severity, code, path): (&str, &str, &str)| {
        (severity.to_owned(), code.to_owned(), path.to_owned())
    };
    assert_eq!(told(&home, &config, &[]), (0, vec![own(exposed)]));
    home.permit("tls.key", 0o640);
    assert_eq!(told(&home, &config, &[]), (0, vec![]));
    std::fs::create_dir(home.path("folder")).unwrap();
    for (file, code) in
        [("folder", "file-kind"), ("none", "file-missing"), ("tls.crt/x", "file-unreadable")]
    {
        let config = config.replace("/tls.key", &format!("/{file}"));
        assert_eq!(
            told(&home, &config, &[]),
            (78, vec![own(("error", code, "listener.key_file"))]),
            "{file}"
        );
    }
}

#[test]
fn what_weakens_the_gateway_is_told_of_and_served() {
    let home = Home::new();
    issue(&home, |_| (), "");
    let config = home.config(UPSTREAM);
    let lines: Vec<_> = config.lines().filter(|line| !line.contains("/tls.")).collect();
    let plain = lines
        .join("\n")
        .replacen("address = \"127.0.0.1:", "address = \"0.0.0.0:", 1)
        .replace("[health]", "plaintext = true\n[health]");
    let plain = plain.replace("[[upstream]]", "allow_public_test_keys = true\n[[upstream]]");
    let (code, problems) = told(&home, &plain, &[]);
    let codes: Vec<_> =
        problems.iter().map(|(_, code, path)| (code.as_str(), path.as_str())).collect();
    assert_eq!(code, 0, "{problems:?}");
    assert_eq!(
        codes,
        [("weak", "listener.plaintext"), ("public-test-key", "client[0].allow_public_test_keys")]
    );
}

#[test]
fn serve_logs_what_check_warns_of() {
    let home = Home::new();
    let running = home.serve(&home.config(UPSTREAM));
    let line = running.await_line(|line| line["code"] == "certificate-self-signed");
    assert_eq!(
        (&line["level"], &line["path"]),
        (&"WARN".into(), &"listener.certificate_file".into())
    );
}
