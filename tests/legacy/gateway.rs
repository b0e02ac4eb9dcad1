//! The gateway, configured as the README says, and the EHR that calls it.

use std::path::Path;

use hookgate::app::{Ambient, App};
use hookgate::config::Config;
use hookgate::demo::ehr::SigningKey;
use reqwest::{Client, Response, redirect};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;
use tokio_util::sync::DropGuard;

use crate::port::free_port;

const README: &str = include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/README.md"));
/// The issuer that the README names.
const ISSUER: &str = "https://ehr.example.org/fhir";

/// The running gateway, with all that calls it.
pub(crate) struct Gateway {
    /// What the EHR calls.
    pub(crate) url: String,
    /// An EHR, or a browser: follows no redirect, keeps no cookie.
    pub(crate) http: Client,
    key: SigningKey,
    _directory: TempDir,
    _stop: DropGuard,
}

impl Gateway {
    /// Starts it in front of the service at `upstream`.
    pub(crate) async fn in_front_of(upstream: &str) -> Self {
        let _ = jsonwebtoken::crypto::aws_lc::DEFAULT_PROVIDER.install_default();
        let directory = tempfile::tempdir().unwrap();
        let key = SigningKey::generate("key-1").unwrap();
        let certified = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        for (name, text) in [
            ("tls.crt", certified.cert.pem()),
            ("tls.key", certified.signing_key.serialize_pem()),
            ("ehr.jwks", key.jwks()),
        ] {
            std::fs::write(directory.path().join(name), text).unwrap();
        }
        let port = free_port();
        let text = configuration(port, directory.path(), upstream);
        let config = Config::from_toml(&text).unwrap_or_else(|error| panic!("{error}\n{text}"));
        let app =
            App::bind(config, Ambient::system()).await.unwrap_or_else(|error| panic!("{error}"));
        let stop = CancellationToken::new();
        tokio::spawn(app.serve(stop.clone()));
        let http = Client::builder()
            .tls_certs_only([reqwest::Certificate::from_der(certified.cert.der()).unwrap()])
            .redirect(redirect::Policy::none())
            .build()
            .unwrap();
        let url = format!("https://localhost:{port}");
        Self { url, http, key, _directory: directory, _stop: stop.drop_guard() }
    }

    /// A signed call, as CDS Hooks 2.0 says.
    pub(crate) async fn call(&self, path: &str, body: &Value) -> Response {
        let url = format!("{}/cds-services/{path}", self.url);
        let now = jsonwebtoken::get_current_timestamp();
        let jti = format!("{path}-{}", self.key.sign(&json!({"at": now}), None).unwrap());
        let claims = json!({"iss": ISSUER, "aud": url, "iat": now, "exp": now + 300, "jti": jti});
        let token = self.key.sign(&claims, None).unwrap();
        self.http.post(url).bearer_auth(token).json(body).send().await.unwrap()
    }
}

/// The first TOML that the README shows below this heading.
fn shown(heading: &str) -> &'static str {
    let section =
        README.split_once(&format!("\n{heading}\n")).unwrap_or_else(|| panic!("no {heading}"));
    let fenced = section.1.split_once("```toml\n").unwrap_or_else(|| panic!("no TOML: {heading}"));
    fenced.1.split("```").next().unwrap()
}

/// What the README shows, with the addresses and files of this test in place of its own.
fn configuration(port: u16, directory: &Path, upstream: &str) -> String {
    let directory = directory.display();
    let (general, _) =
        shown("## In front of your service, in ten minutes").split_once("[[upstream]]").unwrap();
    let mut text = format!("{general}\n{}", shown("## In front of HealthChain"));
    for (readme, here) in [
        ("\"https://cds.example.org\"", format!("\"https://localhost:{port}\"")),
        ("\"0.0.0.0:443\"", format!("\"127.0.0.1:{port}\"")),
        ("/etc/hookgate/tls.crt", format!("{directory}/tls.crt")),
        ("/etc/hookgate/tls.key", format!("{directory}/tls.key")),
        (
            "jwks_url = \"https://ehr.example.org/jwks\"",
            format!("jwks_file = \"{directory}/ehr.jwks\""),
        ),
        ("\"http://127.0.0.1:8000/cds\"", format!("\"{upstream}/cds\"")),
    ] {
        assert_eq!(text.matches(readme).count(), 1, "{readme} in\n{text}");
        text = text.replace(readme, &here);
    }
    format!(
        "{text}\n[state]\ndirectory = \"{directory}/state\"\n[health]\naddress = \"127.0.0.1:0\"\n\
         [admin]\naddress = \"127.0.0.1:0\"\n"
    )
}
