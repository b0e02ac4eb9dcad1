//! A folder with everything that a program needs, and the program running in it.

use std::io::{BufRead, BufReader, Read};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use hookgate::demo::ehr::SigningKey;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::leaks::credentials_in;
use crate::port::free_port;

const ISSUER: &str = "https://ehr.example.org/fhir";
/// Far more than anything here takes. Who waits longer waits in vain.
const PATIENCE: Duration = Duration::from_secs(60);
const GLANCE: Duration = Duration::from_millis(10);

/// Certificate, keys and a place for state.
pub(crate) struct Home {
    directory: TempDir,
    key: SigningKey,
    certificate: Vec<u8>,
    port: u16,
    next: AtomicU64,
}

impl Home {
    pub(crate) fn new() -> Self {
        let _ = jsonwebtoken::crypto::aws_lc::DEFAULT_PROVIDER.install_default();
        let directory = tempfile::tempdir().unwrap();
        let key = SigningKey::generate("key-1").unwrap();
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        let home = Self {
            directory,
            certificate: made.cert.der().to_vec(),
            port: free_port(),
            next: AtomicU64::new(0),
            key,
        };
        home.write("tls.crt", &made.cert.pem());
        home.write("tls.key", &made.signing_key.serialize_pem());
        home.write("ehr.jwks", &home.key.jwks());
        home
    }

    /// Another certificate and key in the files' place. Gives the certificate from before.
    pub(crate) fn renew_certificate(&mut self) -> Vec<u8> {
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        self.write("tls.crt", &made.cert.pem());
        self.write("tls.key", &made.signing_key.serialize_pem());
        std::mem::replace(&mut self.certificate, made.cert.der().to_vec())
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    pub(crate) fn write(&self, name: &str, text: &str) -> PathBuf {
        std::fs::write(self.path(name), text).unwrap();
        // As secrets should be; nothing here is for anybody else.
        self.permit(name, 0o600);
        self.path(name)
    }

    pub(crate) fn permit(&self, name: &str, mode: u32) {
        std::fs::set_permissions(self.path(name), std::fs::Permissions::from_mode(mode)).unwrap();
    }

    /// A configuration of this place for the service at `upstream`, that drains at once, and
    /// for which nothing that comes is late.
    pub(crate) fn config(&self, upstream: &str) -> String {
        let (here, port) = (self.directory.path().display(), self.port);
        format!(
            r#"public_url = "https://localhost:{port}"
[listener]
address = "127.0.0.1:{port}"
certificate_file = "{here}/tls.crt"
key_file = "{here}/tls.key"
ready_grace = "0s"
handshake_timeout = "20s"
[health]
address = "127.0.0.1:0"
[admin]
address = "127.0.0.1:0"
[limits]
mode = "off"
[state]
directory = "{here}/state"
[[client]]
id = "ehr"
issuer = "{ISSUER}"
jwks_file = "{here}/ehr.jwks"
[[upstream]]
id = "legacy"
url = "{upstream}"
connect_timeout = "60s"
response_timeout = "60s"
"#
        )
    }

    /// Starts `hookgate serve` and waits until it listens.
    pub(crate) fn serve(&self, config: &str) -> Running {
        let file = self.write("hookgate.toml", config);
        let running = Running::start(&file);
        running.await_line(|line| line["message"] == "serving");
        running
    }

    pub(crate) fn url(&self) -> String {
        format!("https://localhost:{}", self.port)
    }

    pub(crate) fn endpoint(&self) -> String {
        format!("{}/cds-services/greeting", self.url())
    }

    pub(crate) fn discovery(&self) -> String {
        format!("{}/cds-services", self.url())
    }

    pub(crate) fn token(&self, audience: &str) -> String {
        let now = std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap().as_secs();
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let claims = json!({
            "iss": ISSUER, "aud": audience, "iat": now, "exp": now + 120, "jti": format!("{now}-{number}"),
        });
        self.key.sign(&claims, None).unwrap()
    }

    /// Trusts the certificate, keeps connections, follows no redirect.
    pub(crate) fn http(&self) -> reqwest::ClientBuilder {
        self.http_that_trusts(&self.certificate)
    }

    /// The same, and trusts this certificate.
    pub(crate) fn http_that_trusts(&self, certificate: &[u8]) -> reqwest::ClientBuilder {
        reqwest::Client::builder()
            .tls_certs_only([reqwest::Certificate::from_der(certificate).unwrap()])
            .redirect(reqwest::redirect::Policy::none())
    }

    /// A signed hook call.
    pub(crate) async fn call(
        &self,
        client: &reqwest::Client,
    ) -> reqwest::Result<reqwest::Response> {
        let body = json!({
            "hook": "patient-view", "hookInstance": "9dc2d645-66ea-41ae-a931-660c96b23cca",
            "context": {"userId": "Practitioner/1", "patientId": "p1"},
        });
        let url = self.endpoint();
        client.post(&url).bearer_auth(self.token(&url)).json(&body).send().await
    }

    /// The link on a fresh card.
    pub(crate) async fn link(&self) -> String {
        let answer = self.call(&self.http().build().unwrap()).await.unwrap();
        assert_eq!(answer.status(), 200);
        let cards: Value = answer.json().await.unwrap();
        cards["cards"][0]["links"][0]["url"].as_str().unwrap().to_owned()
    }

    /// A browser that was never here before follows a link.
    pub(crate) async fn click(&self, link: &str) -> u16 {
        let browser = self.http().build().unwrap();
        let click = browser.get(link).header("sec-fetch-mode", "navigate");
        click.send().await.unwrap().status().as_u16()
    }
}

/// Cards with one link.
pub(crate) fn cards() -> http::Response<http_body_util::Full<bytes::Bytes>> {
    let cards = json!({"cards": [{
        "uuid": "card-1", "summary": "s", "indicator": "info", "source": {"label": "l"},
        "links": [{"label": "open", "url": "https://app.example/?session=4711", "type": "absolute"}],
    }]});
    hookgate::demo::server::json(200, cards.to_string())
}

/// The program, with nothing of this environment's configuration.
pub(crate) fn hookgate(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_hookgate"));
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("HOOKGATE") {
            command.env_remove(name);
        }
    }
    command.args(arguments).stdin(Stdio::null());
    command
}

/// Runs the program to its end.
pub(crate) fn run(arguments: &[&str]) -> (i32, String, String) {
    said(hookgate(arguments).output().unwrap())
}

pub(crate) fn said(output: Output) -> (i32, String, String) {
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
}

/// A program that serves. Dropping it kills it.
pub(crate) struct Running {
    child: Child,
    lines: Arc<Mutex<Vec<String>>>,
    complaint: Arc<Mutex<String>>,
    readers: [JoinHandle<()>; 2],
}

impl Running {
    pub(crate) fn start(config: &Path) -> Self {
        Self::spawn(hookgate(&["serve", "--config", config.to_str().unwrap()]))
    }

    /// Runs a command that becomes the program.
    pub(crate) fn spawn(mut command: Command) -> Self {
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let (lines, complaint) = (Arc::<Mutex<Vec<_>>>::default(), Arc::<Mutex<String>>::default());
        let (out, into) = (BufReader::new(child.stdout.take().unwrap()), Arc::clone(&lines));
        let (mut trouble, told) = (child.stderr.take().unwrap(), Arc::clone(&complaint));
        let readers = [
            std::thread::spawn(move || {
                for line in out.lines() {
                    into.lock().unwrap().push(line.unwrap());
                }
            }),
            std::thread::spawn(move || {
                let mut all = String::new();
                trouble.read_to_string(&mut all).unwrap();
                *told.lock().unwrap() = all;
            }),
        ];
        Self { child, lines, complaint, readers }
    }

    /// What it has logged so far, each line an object.
    pub(crate) fn log(&self) -> Vec<Value> {
        let lines = self.lines.lock().unwrap();
        lines
            .iter()
            .map(|line| serde_json::from_str(line).unwrap_or_else(|e| panic!("{e}: {line}")))
            .collect()
    }

    /// Waits for a line of its log. What ended without it fails the test at once.
    pub(crate) fn await_line(&self, wanted: impl Fn(&Value) -> bool) -> Value {
        let mut waited = Duration::ZERO;
        loop {
            let ended = self.silent();
            if let Some(line) = self.log().into_iter().find(&wanted) {
                return line;
            }
            let complaint = self.complaint.lock().unwrap();
            assert!(!ended && waited < PATIENCE, "{:?} {complaint}", self.log());
            drop(complaint);
            std::thread::sleep(GLANCE);
            waited += GLANCE;
        }
    }

    /// Whether all is read that it will ever say.
    fn silent(&self) -> bool {
        self.readers.iter().all(JoinHandle::is_finished)
    }

    /// Status and body of a page of the health listener; nothing where it does not listen any more.
    pub(crate) async fn health(&self, page: &str) -> Option<(u16, String)> {
        let serving = self.await_line(|line| line["message"] == "serving");
        let url = format!("http://{}{page}", serving["health"].as_str().unwrap());
        let answer = reqwest::get(url).await.ok()?;
        Some((answer.status().as_u16(), answer.text().await.ok()?))
    }

    pub(crate) fn pid(&self) -> String {
        self.child.id().to_string()
    }

    /// Sends a signal by its name.
    pub(crate) fn signal(&self, name: &str) {
        let mut kill = Command::new("kill");
        kill.args([format!("-{name}"), self.pid()]);
        assert!(kill.status().unwrap().success());
    }

    /// Waits for its end. Gives how it ended, its log, and what it complained about.
    pub(crate) fn end(mut self) -> (ExitStatus, Vec<Value>, String) {
        let status = self.child.wait().unwrap();
        while !self.silent() {
            std::thread::sleep(GLANCE);
        }
        let complaint = self.complaint.lock().unwrap().clone();
        (status, self.log(), complaint)
    }
}

/// Nobody has to ask for it: whatever a program says is searched for what looks like a credential.
impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if !std::thread::panicking() {
            let said = self.lines.lock().unwrap().join("\n");
            let leaks = credentials_in(&format!("{said}\n{}", self.complaint.lock().unwrap()));
            assert!(leaks.is_empty(), "told and secret: {leaks:?}");
        }
    }
}

/// Waits until `happened`.
pub(crate) async fn until(what: &str, mut happened: impl AsyncFnMut() -> bool) {
    let mut waited = Duration::ZERO;
    while !happened().await {
        assert!(waited < PATIENCE, "{what}");
        tokio::time::sleep(GLANCE).await;
        waited += GLANCE;
    }
}
