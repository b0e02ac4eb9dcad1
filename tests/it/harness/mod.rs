//! One scene: EHR, gateway, service, clinician's browser, and a clock that only the test moves.

mod browser;
mod ehr;
mod line;
mod log;
mod recorded;
mod refused;
mod reports;
#[path = "../../shared/leaks.rs"]
mod leaks;
mod signals;
mod trouble;
mod wire;

pub(crate) use browser::*;
pub(crate) use ehr::Ehr;
pub(crate) use leaks::credentials_in;
pub(crate) use line::Line;
pub(crate) use log::{all_lines, capture, lines_of, request_id};
pub(crate) use recorded::{published_request, published_response, replayed};
pub(crate) use refused::{Refused, logged_once, outcome, page, problem, refused};
pub(crate) use reports::{Ids, refused_as, status};
pub(crate) use signals::{Secrets, exported, keep_cookie};
pub(crate) use trouble::{Trouble, TroubledStore};

use signals::{Signals, runtime, scrape, signals};

use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use hookgate::app::{Ambient, App, Source};
use hookgate::clock::{Clock, ManualClock, SystemClock, UnixTime};
use hookgate::config::Config;
use hookgate::demo::ehr::SigningKey;
use hookgate::demo::server::{Server, json};
use hookgate::entropy::SystemEntropy;
use hookgate::files::{Prints, named};
use http::{HeaderMap, Method, Request, Response};
use http_body_util::{BodyExt, Full};
use serde_json::Value;
use tempfile::TempDir;
use tokio::runtime::Runtime;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::port::free_port;

pub(crate) const ISSUER: &str = "https://ehr.example.org/fhir";
pub(crate) const KID: &str = "key-1";
pub(crate) const SERVICE: &str = "patient-greeting";
/// A moment like any other: 2026-11-23T18:00:00Z.
pub(crate) const NOW: UnixTime = UnixTime::from_secs(1_795_456_800);

/// What arrived at the service.
#[derive(Clone, Debug)]
pub(crate) struct Arrival {
    pub(crate) method: Method,
    pub(crate) target: String,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

type Script = dyn Fn(&Arrival) -> Response<Full<Bytes>> + Send + Sync;

/// A service that does what the test says, and remembers what arrived.
pub(crate) struct Service {
    server: Server,
    script: Arc<Mutex<Box<Script>>>,
    arrivals: Arc<Mutex<Vec<Arrival>>>,
    secrets: Secrets,
}

impl Service {
    pub(crate) async fn start(
        script: impl Fn(&Arrival) -> Response<Full<Bytes>> + Send + Sync + 'static,
    ) -> Self {
        let script: Arc<Mutex<Box<Script>>> = Arc::new(Mutex::new(Box::new(script)));
        let arrivals = Arc::new(Mutex::new(Vec::new()));
        let secrets = Secrets::default();
        let (play, log, heard) = (Arc::clone(&script), Arc::clone(&arrivals), secrets.clone());
        let server = Server::start(move |request: Request<Bytes>| {
            let (parts, body) = request.into_parts();
            let target = parts.uri.to_string();
            let arrival = Arrival { method: parts.method, target, headers: parts.headers, body };
            let answer = (play.lock().unwrap())(&arrival);
            heard.add_credential(&arrival.headers);
            heard.add_body(&arrival.body);
            log.lock().unwrap().push(arrival);
            let heard = heard.clone();
            async move {
                heard.add_body(&answer.body().clone().collect().await.unwrap().to_bytes());
                answer
            }
        })
        .await
        .unwrap();
        Self { server, script, arrivals, secrets }
    }

    /// Answers differently from now on.
    pub(crate) fn plays(
        &self,
        script: impl Fn(&Arrival) -> Response<Full<Bytes>> + Send + Sync + 'static,
    ) {
        *self.script.lock().unwrap() = Box::new(script);
    }

    pub(crate) fn url(&self) -> String {
        self.server.url()
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.server.address()
    }

    pub(crate) fn arrivals(&self) -> Vec<Arrival> {
        self.arrivals.lock().unwrap().clone()
    }
}

/// A card with one link and ids, as most tests want it.
pub(crate) fn card_with_link(url: &str) -> String {
    serde_json::json!({"cards": [{
        "uuid": "card-1", "summary": "s", "indicator": "info", "source": {"label": "l"},
        "links": [{"label": "open", "url": url, "type": "absolute"}],
        "suggestions": [{"label": "a", "uuid": "suggestion-1"}, {"label": "b", "uuid": "suggestion-2"}],
    }]})
    .to_string()
}

/// Everybody on stage. Dropping it ends everything.
pub(crate) struct Scene {
    pub(crate) clock: ManualClock,
    pub(crate) key: Arc<SigningKey>,
    pub(crate) service: Arc<Service>,
    /// Without a slash at its end, whatever the configuration says.
    pub(crate) public_url: String,
    pub(crate) certificate: Vec<u8>,
    /// Where this gateway listens, at the public URL's port.
    host: Ipv4Addr,
    troubled: Option<TroubledStore>,
    reloads: bool,
    config: String,
    directory: Arc<TempDir>,
    running: Option<Running>,
    next: Arc<AtomicU64>,
    signals: Signals,
}

/// A gateway at work, on threads of its own: it can be asked things while the test's own is held.
struct Running {
    health: String,
    admin: String,
    address: SocketAddr,
    stop: CancellationToken,
    task: JoinHandle<()>,
    runtime: Option<Runtime>,
}

impl Drop for Running {
    fn drop(&mut self) {
        self.runtime.take().unwrap().shutdown_background();
    }
}

impl Scene {
    /// A scene with memory for state, and these lines added to its configuration.
    pub(crate) async fn new(extra: &Extra) -> Self {
        let service =
            Service::start(|_| json(200, card_with_link("https://app.example/?session=4711")))
                .await;
        let directory = tempfile::tempdir().unwrap();
        let key = SigningKey::generate(KID).unwrap();
        let certified = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        write(directory.path(), "tls.crt", &certified.cert.pem());
        write(directory.path(), "tls.key", &certified.signing_key.serialize_pem());
        write(directory.path(), "ehr.jwks", &key.jwks());
        let port = free_port();
        let public_url = format!("https://localhost:{port}{}", extra.path);
        let told = signals(&extra.tables, &directory.path().join(AUDIT));
        let config = configuration(&public_url, port, directory.path(), &service.url(), extra);
        let config = config.replacen("[state]\n", &format!("{told}[state]\n"), 1);
        let clock = match extra.redis {
            None => ManualClock::new(NOW),
            Some(_) => ManualClock::new(ahead_of_redis()),
        };
        let troubled = extra.trouble.map(|trouble| {
            let store = TroubledStore::new(&clock);
            store.gets(trouble);
            store
        });
        capture();
        let signals = Signals::new(service.secrets.clone());
        let mut scene = Self {
            signals,
            clock,
            host: Ipv4Addr::LOCALHOST,
            troubled,
            reloads: extra.reloads,
            key: Arc::new(key),
            service: Arc::new(service),
            public_url: public_url.trim_end_matches('/').to_owned(),
            certificate: certified.cert.der().to_vec(),
            config,
            directory: Arc::new(directory),
            running: None,
            next: Arc::default(),
        };
        scene.start().await;
        scene
    }

    /// Another replica beside this one: behind the same public URL at another address, with the same
    /// state, keys and service, and with other words in its configuration.
    pub(crate) async fn replica(&self, last: u8, changes: &[(&str, &str)]) -> Self {
        let host = Ipv4Addr::new(127, 0, 0, last);
        let mut replica = Self {
            signals: Signals::new(self.secrets().clone()),
            clock: self.clock.clone(),
            key: Arc::clone(&self.key),
            service: Arc::clone(&self.service),
            public_url: self.public_url.clone(),
            certificate: self.certificate.clone(),
            host,
            troubled: None,
            reloads: self.reloads,
            config: self.config.clone(),
            directory: Arc::clone(&self.directory),
            running: None,
            next: Arc::clone(&self.next),
        };
        let port = self.public_url.rsplit(':').next().unwrap();
        let listens = |host: Ipv4Addr| format!("address = \"{host}:{port}\"");
        replica.reconfigure(&listens(self.host), &listens(host));
        for (from, to) in changes {
            replica.reconfigure(from, to);
        }
        replica.start().await;
        replica
    }

    /// Starts the gateway, again after [`Scene::stop`]. Disk state and keys are those of before.
    pub(crate) async fn start(&mut self) {
        let _ = jsonwebtoken::crypto::aws_lc::DEFAULT_PROVIDER.install_default();
        capture();
        let config =
            Config::from_toml(&self.config).unwrap_or_else(|e| panic!("{e}\n{}", self.config));
        let ambient = Ambient {
            clock: Arc::new(self.clock.clone()),
            entropy: Arc::new(SystemEntropy::default()),
        };
        write(self.directory.path(), "hookgate.toml", &self.config);
        let file = self.directory.path().join("hookgate.toml");
        let seen = Prints::of(named(&config).into_iter().chain([file.clone()]));
        let (runtime, store) = (runtime(), self.troubled.clone());
        let app = runtime.spawn(async move {
            match store {
                Some(store) => App::bind_on(config, ambient, Arc::new(store)).await,
                None => App::bind(config, ambient).await,
            }
        });
        let app = app.await.unwrap();
        let app = app.unwrap_or_else(|e| panic!("{e}"));
        let address = app.health_addr();
        let health = format!("http://{address}");
        let admin = format!("http://{}", app.admin_addr().unwrap());
        let stop = CancellationToken::new();
        let shutdown = stop.clone();
        let (_nobody, asked) = tokio::sync::mpsc::channel(1);
        let source = Source { file, seen, asked, log: Box::new(|_| {}) };
        let reloads = self.reloads;
        let task = runtime.spawn(async move {
            let _ = match reloads {
                true => app.serve_from(source, shutdown).await,
                false => app.serve(shutdown).await,
            };
        });
        let runtime = Some(runtime);
        self.running = Some(Running { health, admin, address, stop, task, runtime });
    }

    /// Stops the gateway as SIGTERM does.
    pub(crate) async fn stop(&mut self) {
        let mut running = self.running.take().unwrap();
        running.stop.cancel();
        (&mut running.task).await.unwrap();
    }

    /// Has other words in the configuration from the next start on.
    pub(crate) fn reconfigure(&mut self, from: &str, to: &str) {
        assert!(self.config.contains(from), "{}", self.config);
        self.config = self.config.replace(from, to);
    }

    /// The store that can be brought into trouble, where [`Extra::trouble`] asked for one.
    pub(crate) fn store(&self) -> &TroubledStore {
        self.troubled.as_ref().unwrap()
    }

    /// Lets time pass.
    pub(crate) fn advance(&self, by: Duration) {
        self.clock.advance(by);
    }

    /// Lets so much time pass since memory began that a token which is issued now cannot have been used
    /// before, however far clocks may be apart.
    pub(crate) fn outlast_the_skew(&self) {
        self.advance(Duration::from_secs(31));
    }

    pub(crate) fn directory(&self) -> &Path {
        self.directory.path()
    }

    pub(crate) fn health(&self) -> &str {
        &self.running.as_ref().unwrap().health
    }

    /// Where the status page is.
    pub(crate) fn admin(&self) -> &str {
        &self.running.as_ref().unwrap().admin
    }

    pub(crate) fn endpoint(&self) -> String {
        format!("{}/cds-services/{SERVICE}", self.public_url)
    }

    /// A browser or an EHR: trusts the gateway's certificate, follows no redirect, keeps no cookie.
    pub(crate) fn http(&self) -> reqwest::Client {
        reqwest::Client::builder()
            .tls_certs_only([reqwest::Certificate::from_der(&self.certificate).unwrap()])
            .resolve("localhost", SocketAddr::from((self.host, 0)))
            .redirect(reqwest::redirect::Policy::none())
            .build()
            .unwrap()
    }

    pub(crate) fn jti(&self) -> String {
        format!("jti-{}", self.next.fetch_add(1, Ordering::Relaxed))
    }

    pub(crate) fn claims(&self, audience: &str) -> Value {
        let now = self.clock.now().secs();
        serde_json::json!({
            "iss": ISSUER, "aud": audience, "iat": now, "exp": now + 300, "jti": self.jti(),
        })
    }

    pub(crate) fn token(&self, audience: &str) -> String {
        let token = self.key.sign(&self.claims(audience), None).unwrap();
        self.secrets().add_token(&token);
        token
    }

    /// What must not be told.
    pub(crate) fn secrets(&self) -> &Secrets {
        &self.signals.secrets
    }

    /// What was told and must not be, each as `signal: secret`. Traces are exported first.
    pub(crate) fn leaks(&self) -> Vec<String> {
        let metrics = self.running.as_ref().map_or_else(String::new, |running| {
            self.clock.advance(Duration::from_secs(6));
            let waiting = |text: &str| {
                let value = |sample: &str| {
                    let found = text.lines().find_map(|line| line.strip_prefix(sample));
                    found.and_then(|value| value.trim().parse::<u64>().ok())
                };
                let asked = text.contains("hookgate_requests_total{");
                asked && value("hookgate_traces_spans_total{outcome=\"exported\"}").is_none()
            };
            let mut metrics = scrape(running.address);
            for _ in 0..20 {
                if !waiting(&metrics) {
                    break;
                }
                std::thread::sleep(Duration::from_millis(5));
                // The exporter may have begun to gather only now.
                self.clock.advance(Duration::from_secs(6));
                metrics = scrape(running.address);
            }
            metrics
        });
        self.signals.leaks(self.directory.path(), &metrics)
    }

    /// A signed POST with this JSON body.
    pub(crate) async fn post(
        &self,
        url: &str,
        body: impl Into<reqwest::Body>,
    ) -> reqwest::Response {
        self.post_with(url, &self.token(url), body).await
    }

    pub(crate) async fn post_with(
        &self,
        url: &str,
        token: &str,
        body: impl Into<reqwest::Body>,
    ) -> reqwest::Response {
        let body = body.into();
        self.secrets().add_token(token);
        self.secrets().add_body(body.as_bytes().unwrap_or_default());
        self.http()
            .post(url)
            .bearer_auth(token)
            .header("content-type", "application/json")
            .body(body)
            .send()
            .await
            .unwrap()
    }

    /// A signed hook call of the greeting service; its answer as JSON.
    pub(crate) async fn cards(&self) -> Value {
        let response = self.post(&self.endpoint(), hook_body()).await;
        assert_eq!(response.status(), 200, "{}", response.text().await.unwrap());
        response.json().await.unwrap()
    }

    /// The text at `/metrics`.
    pub(crate) async fn metrics(&self) -> String {
        reqwest::get(format!("{}/metrics", self.health())).await.unwrap().text().await.unwrap()
    }
}

/// Nobody has to ask for it: whoever plays a scene has everything searched that was told in it.
impl Drop for Scene {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            let leaks = self.leaks();
            assert!(leaks.is_empty(), "told and secret: {leaks:#?}");
        }
    }
}

/// The audit of the first gateway of a scene.
pub(crate) const AUDIT: &str = "audit.ndjson";

/// The hookInstance of [`hook_body`].
pub(crate) const HOOK_INSTANCE: &str = "9dc2d645-66ea-41ae-a931-660c96b23cca";

pub(crate) fn hook_body() -> String {
    hook_body_of(HOOK_INSTANCE)
}

pub(crate) fn hook_body_of(hook_instance: &str) -> String {
    serde_json::json!({
        "hook": "patient-view", "hookInstance": hook_instance,
        "context": {"userId": "Practitioner/of-the-tests", "patientId": "patient-of-the-tests"},
    })
    .to_string()
}

/// What a scene's configuration has beyond the least.
#[derive(Default)]
pub(crate) struct Extra {
    /// Lines of `[listener]`.
    pub(crate) listener: String,
    /// `[limits]` and other tables, before the lists.
    pub(crate) tables: String,
    /// Lines of the one `[[client]]`.
    pub(crate) client: String,
    /// Lines of the one `[[upstream]]`.
    pub(crate) upstream: String,
    /// Further lists: `[[service]]` and what belongs to it.
    pub(crate) lists: String,
    /// State on disk instead of memory.
    pub(crate) disk: bool,
    /// State in the Redis at this address instead of memory.
    pub(crate) redis: Option<String>,
    /// State in memory behind a line that fails, from the start with this.
    pub(crate) trouble: Option<Trouble>,
    /// The path of the public URL, as the configuration writes it.
    pub(crate) path: &'static str,
    /// Takes up files that change.
    pub(crate) reloads: bool,
}

/// A moment for scenes with Redis. It has a clock of its own, and refuses those who are far from it. It goes
/// on while a scene's stands: a history must not begin after what is issued in it.
pub(crate) fn ahead_of_redis() -> UnixTime {
    SystemClock::new().now().plus(Duration::from_secs(20))
}

/// Nothing that comes is late, however busy the machine.
fn configuration(
    public_url: &str,
    port: u16,
    directory: &Path,
    service: &str,
    extra: &Extra,
) -> String {
    let directory = directory.display();
    let state = match &extra.redis {
        Some(address) => format!(
            "backend = \"redis\"\n[state.redis]\naddresses = [\"{address}\"]\ntimeout = \"1s\"\n\
             [keyring]\nfile = \"{directory}/keys.json\""
        ),
        None if extra.disk => format!("backend = \"disk\"\ndirectory = \"{directory}/state\""),
        None => "backend = \"memory\"".to_owned(),
    };
    let Extra { listener, tables, client, upstream, lists, .. } = extra;
    format!(
        r#"public_url = "{public_url}"
[listener]
address = "127.0.0.1:{port}"
certificate_file = "{directory}/tls.crt"
key_file = "{directory}/tls.key"
ready_grace = "0s"
handshake_timeout = "20s"
{listener}
[health]
address = "127.0.0.1:0"
[admin]
address = "127.0.0.1:0"
[state]
{state}
{tables}
[[client]]
id = "ehr"
issuer = "{ISSUER}"
jwks_file = "{directory}/ehr.jwks"
{client}
[[upstream]]
id = "legacy"
url = "{service}"
connect_timeout = "60s"
response_timeout = "60s"
{upstream}
{lists}
"#
    )
}

fn write(directory: &Path, name: &str, text: &str) {
    std::fs::write(directory.join(name), text).unwrap();
}
