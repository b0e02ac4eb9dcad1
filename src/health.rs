//! The health listener: `/livez`, `/readyz`, `/metrics`, and nothing that needs a credential.
//!
//! It is a listener of its own, so that no header of a public request can ever be mistaken for a
//! probe's. Each connection answers one request and has ten seconds for it.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE};
use http::{HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::Full;
use prometheus_client::encoding::text;
use prometheus_client::registry::Registry;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::listening;
use crate::listening::{Bounds, answer_each};
use crate::readiness::Readiness;

const BOUNDS: Bounds = Bounds {
    // Probes and scrapers come one at a time; a flood must not take memory from calls.
    connections: 64,
    headers: 32,
    // hyper's smallest.
    buffer: 8 * 1024,
    deadline: Duration::from_secs(10),
};
const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// The health listener.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// Where to listen. The default is this machine only: metrics name clients. In Kubernetes, where
    /// probes come from outside the pod, `"0.0.0.0:9090"` with a network policy.
    pub address: SocketAddr,
}

impl Default for Settings {
    fn default() -> Self {
        Self { address: SocketAddr::from((Ipv4Addr::LOCALHOST, 9090)) }
    }
}

/// Why it cannot listen.
#[derive(Debug, thiserror::Error)]
pub enum HealthError {
    /// The system refuses the address.
    #[error("health: cannot listen on {address}: {}", listening::why(source))]
    Address {
        /// Which address.
        address: SocketAddr,
        /// What the system says.
        source: io::Error,
    },
    /// A listener that was handed over is none.
    #[error(
        "health: the socket that was handed over cannot be listened on: {0}; hand over a listening TCP socket"
    )]
    Socket(io::Error),
}

/// The health listener, bound, and not yet serving.
#[derive(Debug)]
pub struct Health {
    listener: TcpListener,
    address: SocketAddr,
}

impl Health {
    /// Opens the listener.
    ///
    /// # Errors
    /// [`HealthError`] where the system refuses.
    pub async fn bind(settings: &Settings) -> Result<Self, HealthError> {
        let refused = |source| HealthError::Address { address: settings.address, source };
        let listener = TcpListener::bind(settings.address).await.map_err(refused)?;
        let address = listener.local_addr().map_err(refused)?;
        Ok(Self { listener, address })
    }

    /// Takes a listener that somebody else has opened, whatever `health.address` says.
    ///
    /// # Errors
    /// [`HealthError`] where it is none.
    pub fn take(socket: std::net::TcpListener) -> Result<Self, HealthError> {
        let taken = socket.set_nonblocking(true).and_then(|()| TcpListener::from_std(socket));
        let listener = taken.map_err(HealthError::Socket)?;
        let address = listener.local_addr().map_err(HealthError::Socket)?;
        Ok(Self { listener, address })
    }

    /// Where it listens: the port that was found where port 0 was asked for.
    pub const fn local_addr(&self) -> SocketAddr {
        self.address
    }

    /// Serves until `stop` is cancelled: the last thing to happen in a shutdown, since `/readyz` has to
    /// say so while it goes on. Open probes are dropped then.
    pub async fn serve(
        self,
        readiness: Readiness,
        registry: Arc<Registry>,
        stop: CancellationToken,
    ) {
        let handle = move |request| {
            let answer = answer(&request, &readiness, &registry);
            async move { answer }
        };
        answer_each(self.listener, BOUNDS, handle, stop).await;
    }
}

fn answer<B>(
    request: &Request<B>,
    readiness: &Readiness,
    registry: &Registry,
) -> Response<Full<Bytes>> {
    let answer = match request.uri().path() {
        "/livez" => plain(StatusCode::OK, "live\n"),
        "/readyz" => ready(readiness),
        "/metrics" => metrics(registry),
        _ => return plain(StatusCode::NOT_FOUND, "no such page\n"),
    };
    if matches!(*request.method(), Method::GET | Method::HEAD) {
        return answer;
    }
    let mut refusal = plain(StatusCode::METHOD_NOT_ALLOWED, "GET or HEAD\n");
    refusal.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
    refusal
}

fn ready(readiness: &Readiness) -> Response<Full<Bytes>> {
    let pending = readiness.pending();
    let ready = pending.is_empty();
    let status = if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    let mut said = serde_json::json!({ "ready": ready, "pending": pending });
    let degraded = readiness.degraded();
    if let Some(said) = said.as_object_mut().filter(|_| !degraded.is_empty()) {
        said.insert("degraded".to_owned(), degraded.into());
    }
    page(status, "application/json", said.to_string().into())
}

fn metrics(registry: &Registry) -> Response<Full<Bytes>> {
    let mut out = String::new();
    match text::encode(&mut out, registry) {
        Ok(()) => page(StatusCode::OK, OPEN_METRICS, out.into()),
        Err(_) => plain(StatusCode::INTERNAL_SERVER_ERROR, "a metric cannot be written\n"),
    }
}

fn plain(status: StatusCode, text: &'static str) -> Response<Full<Bytes>> {
    page(status, "text/plain; charset=utf-8", Bytes::from_static(text.as_bytes()))
}

fn page(status: StatusCode, kind: &'static str, text: Bytes) -> Response<Full<Bytes>> {
    let mut answer = Response::new(Full::new(text));
    *answer.status_mut() = status;
    let headers = answer.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    answer
}

#[cfg(test)]
mod tests {
    use super::*;
    use prometheus_client::metrics::counter::Counter;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpStream;

    async fn ask(address: SocketAddr, line: &str) -> String {
        let mut stream = TcpStream::connect(address).await.unwrap();
        let request = format!("{line} HTTP/1.1\r\nHost: a\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).await.unwrap();
        text
    }

    #[tokio::test]
    async fn answers_probes_and_nothing_else() {
        let settings = Settings { address: "127.0.0.1:0".parse().unwrap() };
        let health = Health::bind(&settings).await.unwrap();
        let address = health.local_addr();
        let (readiness, stop) = (Readiness::new(), CancellationToken::new());
        let mut registry = Registry::default();
        let counter = Counter::<u64>::default();
        registry.register("hookgate_test", "A test", counter.clone());
        counter.inc();
        let keys = readiness.register("keys: epic-prod");
        let served = health.serve(readiness.clone(), Arc::new(registry), stop.clone());
        let served = tokio::spawn(served);

        let answer = ask(address, "GET /livez").await;
        assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
        let answer = ask(address, "GET /readyz").await;
        assert!(answer.starts_with("HTTP/1.1 503 "), "{answer}");
        assert!(answer.ends_with(r#"{"pending":["keys: epic-prod"],"ready":false}"#), "{answer}");
        drop(keys);
        let full = readiness.degrade("store: the store is full");
        let answer = ask(address, "GET /readyz").await;
        assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
        let told = r#"{"degraded":["store: the store is full"],"pending":[],"ready":true}"#;
        assert!(answer.ends_with(told), "{answer}");
        drop(full);
        let answer = ask(address, "GET /readyz?verbose").await;
        assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
        assert!(answer.ends_with(r#"{"pending":[],"ready":true}"#), "{answer}");
        let answer = ask(address, "HEAD /readyz").await;
        assert!(answer.starts_with("HTTP/1.1 200 ") && answer.ends_with("\r\n\r\n"), "{answer}");
        let answer = ask(address, "GET /metrics").await;
        assert!(answer.contains("content-type: application/openmetrics-text; version=1.0.0"));
        assert!(answer.contains("hookgate_test_total 1\n"), "{answer}");
        assert!(answer.ends_with("# EOF\n"), "{answer}");
        for (line, status) in [
            ("POST /livez", "405"),
            ("DELETE /metrics", "405"),
            ("GET /", "404"),
            ("POST /", "404"),
            ("GET /livez/", "404"),
        ] {
            assert!(ask(address, line).await.starts_with(&format!("HTTP/1.1 {status} ")), "{line}");
        }
        stop.cancel();
        served.await.unwrap();
        assert!(TcpStream::connect(address).await.is_err());
    }
}
