//! Everything that a gateway tells about its calls, and everything that must not be in it.
//!
//! Each scene has an audit and exports its traces, and when it ends everything that was told is searched for
//! everything secret that it used. No test has to ask for that, and none can forget it.

use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, mpsc};
use std::time::Duration;

use bytes::Bytes;
use hookgate::demo::server::Server;
use http::{HeaderMap, Response};
use http_body_util::Full;
use serde_json::Value;
use tokio::runtime::Runtime;

use crate::harness::HOOK_INSTANCE;
use crate::harness::leaks::credentials_in;
use crate::harness::log::logged_from;

/// Shorter texts are words that anything may have.
const SHORTEST: usize = 10;
/// Members whose values may be told, and names of services.
const TOLD: &[&str] = &["hook", "hookInstance", "outcome", "outcomeTimestamp", "indicator", "id"];
/// A date alone is nobody's, and one hookInstance is of all tests: some give it out as an id.
fn is_told(text: &str) -> bool {
    let is_date = text.len() == 10 && text.bytes().all(|b| b.is_ascii_digit() || b == b'-');
    is_date || text == HOOK_INSTANCE
}

/// What was sent to the collector, of all scenes.
static SPANS: Mutex<Vec<Bytes>> = Mutex::new(Vec::new());

/// A collector for all scenes, with a runtime of its own: it must answer when a scene ends.
struct Collector {
    _runtime: Runtime,
    _server: Server,
    url: String,
}

static COLLECTOR: LazyLock<Collector> = LazyLock::new(|| {
    let runtime = runtime();
    let (tell, told) = mpsc::channel();
    runtime.spawn(async move {
        let server = Server::start(|request: http::Request<Bytes>| {
            SPANS.lock().unwrap().push(request.into_body());
            async { Response::<Full<Bytes>>::default() }
        });
        tell.send(server.await.unwrap()).unwrap();
    });
    let server = told.recv().unwrap();
    Collector { _runtime: runtime, url: format!("{}/v1/traces", server.url()), _server: server }
});

/// A thread that works for others while a test's own is held.
pub(crate) fn runtime() -> Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap()
}

/// What was sent to the collector so far, of all scenes.
pub(crate) fn exported() -> Vec<Bytes> {
    SPANS.lock().unwrap().clone()
}

/// The configuration that has everything told, where the scene's own says nothing about it.
pub(crate) fn signals(tables: &str, audit: &Path) -> String {
    let mut lines = String::new();
    if !tables.contains("[audit]") {
        lines += &format!("[audit]\nfile = \"{}\"\n", audit.display());
    }
    if !tables.contains("[traces]") {
        lines += &format!("[traces]\nendpoint = \"{}\"\n", COLLECTOR.url);
    }
    lines
}

/// What must not be told. Clones are one.
#[derive(Clone, Default)]
pub(crate) struct Secrets(Arc<Mutex<BTreeSet<String>>>);

impl Secrets {
    pub(crate) fn add(&self, secret: &str) {
        if secret.len() >= SHORTEST {
            self.lock().insert(secret.to_owned());
        }
    }

    pub(crate) fn forget(&self, secret: &str) {
        self.lock().remove(secret);
    }

    /// A token, and its signature alone.
    pub(crate) fn add_token(&self, token: &str) {
        self.add(token);
        self.add(token.rsplit('.').next().unwrap());
    }

    /// A body: each text in it, where it is JSON, and each line where it is none.
    pub(crate) fn add_body(&self, body: &[u8]) {
        match serde_json::from_slice(body) {
            Ok(json) => self.add_texts(&json),
            Err(_) => String::from_utf8_lossy(body).lines().for_each(|line| self.add(line.trim())),
        }
    }

    fn add_texts(&self, json: &Value) {
        match json {
            Value::String(text) if is_told(text) => {}
            Value::String(text) => self.add(text),
            Value::Array(all) => all.iter().for_each(|each| self.add_texts(each)),
            Value::Object(all) => all
                .iter()
                .filter(|(name, _)| !TOLD.contains(&name.as_str()))
                .for_each(|(_, each)| self.add_texts(each)),
            Value::Null | Value::Bool(_) | Value::Number(_) => {}
        }
    }

    /// What the service is given to show, or to call back with.
    pub(crate) fn add_credential(&self, headers: &HeaderMap) {
        if let Some(value) = headers.get("authorization").and_then(|value| value.to_str().ok()) {
            self.add(value.split_once(' ').map_or(value, |(_, credential)| credential));
        }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeSet<String>> {
        self.0.lock().unwrap()
    }
}

/// Cookies, of all scenes: they are read from answers without saying whose.
static COOKIES: LazyLock<Secrets> = LazyLock::new(Secrets::default);

/// A cookie was set: what is behind `=` is the browser's alone.
pub(crate) fn keep_cookie(cookie: &str) {
    COOKIES.add(cookie.split_once('=').unwrap().1);
}

/// What is told from now on.
pub(crate) struct Signals {
    pub(crate) secrets: Secrets,
    log_from: usize,
    spans_from: usize,
}

impl Signals {
    pub(crate) fn new(secrets: Secrets) -> Self {
        Self { secrets, log_from: logged_from(0).len(), spans_from: SPANS.lock().unwrap().len() }
    }

    /// What was told and must not be, each as `signal: secret`.
    pub(crate) fn leaks(&self, directory: &Path, metrics: &str) -> Vec<String> {
        let mut told = vec![("log", logged_from(self.log_from)), ("metrics", metrics.to_owned())];
        for file in files(directory) {
            let name = file.file_name().unwrap().to_string_lossy().into_owned();
            let text =
                String::from_utf8_lossy(&std::fs::read(&file).unwrap_or_default()).into_owned();
            if name.starts_with("audit") {
                told.push(("audit", text));
            } else if name.ends_with(".key") {
                text.lines()
                    .filter(|line| !line.starts_with("---"))
                    .for_each(|l| self.secrets.add(l));
            } else if name == "keys.json" {
                self.add_keys(&text);
            }
        }
        for spans in SPANS.lock().unwrap().iter().skip(self.spans_from) {
            told.push(("spans", String::from_utf8_lossy(spans).into_owned()));
        }
        let mut leaks = Vec::new();
        for (signal, text) in &told {
            leaks.extend(credentials_in(text).iter().map(|found| format!("{signal}: {found}")));
            for secrets in [&self.secrets, &COOKIES] {
                let secrets = secrets.lock();
                let found = secrets.iter().filter(|secret| text.contains(secret.as_str()));
                leaks.extend(found.map(|secret| format!("{signal}: {secret}")));
            }
        }
        leaks
    }

    /// The private parts of the gateway's own keys.
    fn add_keys(&self, text: &str) {
        let Ok(file) = serde_json::from_str::<Value>(text) else { return };
        for (list, path) in [("seal", "/key"), ("sign", "/jwk/d")] {
            for entry in file[list].as_array().into_iter().flatten() {
                entry
                    .pointer(path)
                    .and_then(Value::as_str)
                    .iter()
                    .for_each(|key| self.secrets.add(key));
            }
        }
    }
}

fn files(directory: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(directory).into_iter().flatten();
    entries.map(|entry| entry.unwrap().path()).filter(|path| path.is_file()).collect()
}

/// The text at `/metrics`, for whoever cannot wait as others do. Nothing where nobody answers.
pub(crate) fn scrape(address: SocketAddr) -> String {
    let mut text = String::new();
    if let Ok(mut stream) = TcpStream::connect(address) {
        stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        let asked = b"GET /metrics HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n";
        let _ = stream.write_all(asked).and_then(|()| stream.read_to_string(&mut text));
    }
    text
}
