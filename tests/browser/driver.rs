//! A real Chromium, driven over WebDriver: what a clinician's browser does, not what we think it does.
//!
//! Promises that nothing it started outlives [`Driver`], and that a missing browser fails the test.

use std::io::{BufRead, BufReader};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};

use fantoccini::wd::WebDriverCompatibleCommand;
use fantoccini::{Client, ClientBuilder};
use http::Method;
use hyper_util::client::legacy::connect::HttpConnector;
use serde_json::{Value, json};
use tempfile::TempDir;
use url::{ParseError, Url};

/// Looked up in `PATH`; it finds the browser of its own version by itself.
const CHROMEDRIVER: &str = "chromedriver";

/// A running chromedriver, with the folder that holds its browsers' profiles.
pub(crate) struct Driver {
    process: Child,
    url: String,
    _profiles: TempDir,
}

/// Whether pages may run scripts. The confirmation page has to work without.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum JavaScript {
    /// As browsers come.
    On,
    /// As a hospital's policy has it for sites it does not know.
    Off,
}

impl Driver {
    /// Starts chromedriver on a port that it picks itself.
    pub(crate) fn start() -> Self {
        let profiles = TempDir::new().expect("a folder for profiles");
        let mut process = Command::new(CHROMEDRIVER)
            .arg("--port=0")
            .env("TMPDIR", profiles.path())
            .env("HOME", profiles.path())
            .env_remove("DBUS_SESSION_BUS_ADDRESS")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .process_group(0)
            .spawn()
            .unwrap_or_else(|error| panic!("{CHROMEDRIVER}: {error}; tests/run installs it"));
        let mut lines = BufReader::new(process.stdout.take().expect("its output is piped")).lines();
        let port = lines
            .by_ref()
            .map_while(Result::ok)
            .find_map(|line| {
                line.split_once("started successfully on port ").map(|(_, port)| port.to_owned())
            })
            .expect("chromedriver ended before it named its port");
        let port: u16 = port.trim_end_matches('.').parse().expect("a port");
        // Read on, so that chromedriver never waits for a reader.
        std::thread::spawn(move || lines.for_each(drop));
        Self { process, url: format!("http://127.0.0.1:{port}"), _profiles: profiles }
    }

    /// A browser with a new, empty profile: it shares no cookie and no cache with any other.
    pub(crate) async fn new_session(&self, javascript: JavaScript) -> Client {
        let Value::Object(capabilities) = capabilities(javascript) else {
            panic!("capabilities are an object");
        };
        ClientBuilder::new(HttpConnector::new())
            .capabilities(capabilities)
            .connect(&self.url)
            .await
            .unwrap_or_else(|error| panic!("no browser: {error}; tests/run installs it"))
    }
}

/// A `POST` that WebDriver's standard does not have and chromedriver does.
#[derive(Debug)]
struct Extension {
    path: &'static str,
    body: Value,
}

impl WebDriverCompatibleCommand for Extension {
    fn endpoint(&self, base: &Url, session: Option<&str>) -> Result<Url, ParseError> {
        base.join(&format!("session/{}/{}", session.expect("a session"), self.path))
    }

    fn method_and_body(&self, _url: &Url) -> (Method, Option<String>) {
        (Method::POST, Some(self.body.to_string()))
    }
}

/// A command of the Chrome DevTools Protocol: what no page and no WebDriver command can do.
pub(crate) async fn devtools(browser: &Client, command: &str, parameters: Value) -> Value {
    let body = json!({"cmd": command, "params": parameters});
    let answer = browser.issue_cmd(Extension { path: "goog/cdp/execute", body }).await;
    answer.unwrap_or_else(|error| panic!("{command}: {error}"))
}

/// What was logged since the last call: the console with every policy violation (`browser`), or what the
/// browser did on the network (`performance`).
pub(crate) async fn logged(browser: &Client, log: &str) -> Vec<Value> {
    let answer = browser.issue_cmd(Extension { path: "se/log", body: json!({"type": log}) }).await;
    let Value::Array(lines) = answer.unwrap_or_else(|error| panic!("the {log} log: {error}"))
    else {
        panic!("the {log} log is a list");
    };
    lines
}

impl Drop for Driver {
    fn drop(&mut self) {
        // The browsers of sessions that a failed test left open are in chromedriver's process group.
        let group = format!("kill -KILL -{}", self.process.id());
        let killed = Command::new("sh").args(["-c", &group]).status();
        if !killed.is_ok_and(|status| status.success()) {
            let _ = self.process.kill();
        }
        let _ = self.process.wait();
    }
}

fn capabilities(javascript: JavaScript) -> Value {
    // 1 allows, 2 blocks: Chromium's content settings.
    let scripts = match javascript {
        JavaScript::On => 1,
        JavaScript::Off => 2,
    };
    json!({
        "browserName": "chrome",
        "acceptInsecureCerts": true,
        "goog:loggingPrefs": { "browser": "ALL", "performance": "ALL" },
        "goog:chromeOptions": {
            "args": [
                "--headless",
                // A container, and root, have no sandbox to give.
                "--no-sandbox",
                "--disable-gpu",
                "--disable-dev-shm-usage",
                "--disable-quic",
                "--no-first-run",
                "--no-proxy-server",
                "--disable-background-networking",
                "--disable-component-update",
                "--disable-sync",
                // Names of different sites, so that same-site rules are those of the field.
                "--host-resolver-rules=MAP *.test 127.0.0.1",
            ],
            "prefs": { "profile.managed_default_content_settings.javascript": scripts },
        },
    })
}
