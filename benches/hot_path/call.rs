//! The whole call: through the gateway and through the bare proxy, to the same service over loopback.
//!
//! Both are called in process, so that neither has a listener's cost. State is in memory, the limits are
//! asked but far away, and the request's log line is written, to nowhere. Every call has a token of its
//! own, signed beforehand.

use std::io;
use std::sync::{Arc, Once};
use std::time::Duration;

use bytes::Bytes;
use criterion::Criterion;
use hookgate::app::{Ambient, App};
use hookgate::clock::{Clock, SystemClock};
use hookgate::demo::server;
use hookgate::demo::server::Server;
use hookgate::gateway::Gateway;
use hookgate::peer::{Peer, Protocol};
use http::{Request, Response};
use http_body_util::Full;
use serde_json::json;
use tokio::runtime::{Builder, Runtime};

use crate::bare::Bare;
use crate::tokens;

/// How long calls take, one after the other.
pub(crate) fn time(criterion: &mut Criterion) {
    measure(criterion, "call", |spent| spent.elapsed);
}

/// How much processor time calls take in the thread that handles them; the service runs in another.
pub(crate) fn cpu(criterion: &mut Criterion) {
    measure(criterion, "call, processor time", |spent| spent.processor);
}

fn measure(criterion: &mut Criterion, name: &str, of: fn(Spent) -> Duration) {
    log_to_nowhere();
    let service = Service::start();
    let here = Builder::new_current_thread().enable_all().build().unwrap();
    let plain = here.block_on(gateway(&service.server.url(), &json!({})));
    let folder = tempfile::tempdir().unwrap();
    let file = json!({"file": folder.path().join("audit")});
    let audited = here.block_on(gateway(&service.server.url(), &file));
    let bare = Bare::new(service.server.url());
    let mut group = criterion.benchmark_group(name);
    for (size, body) in tokens::requests() {
        group.bench_function(format!("bare {size}"), |bencher| {
            bencher
                .iter_custom(|n| of(here.block_on(run(calls(n, &body), |call| bare.handle(call)))));
        });
        for (who, gateway) in [("gateway", &plain), ("gateway with an audit", &audited)] {
            group.bench_function(format!("{who} {size}"), |bencher| {
                let handle = |call| gateway.handle(call, PEER);
                bencher.iter_custom(|n| of(here.block_on(run(calls(n, &body), handle))));
            });
        }
    }
    group.finish();
}

const PEER: Peer = Peer {
    address: std::net::SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 4711),
    protocol: Protocol::Http2,
    tls: true,
    certificate: None,
};

/// The service, in threads of its own.
struct Service {
    server: Server,
    _runtime: Runtime,
}

impl Service {
    fn start() -> Self {
        let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let answer = |_| async { server::json(200, tokens::cards(1)) };
        let server = runtime.block_on(Server::start(answer)).unwrap();
        Self { server, _runtime: runtime }
    }
}

async fn gateway(upstream: &str, audit: &serde_json::Value) -> Arc<Gateway> {
    let often = json!({"per_second": 1_000_000});
    let config = json!({
        "public_url": tokens::PUBLIC_URL,
        "listener": {"address": "127.0.0.1:0", "plaintext": true},
        "health": {"address": "127.0.0.1:0"},
        "state": {"backend": "memory"},
        "audit": audit,
        "limits": {"address": often, "client": often, "client_service": often},
        "client": [tokens::client()],
        "upstream": [{"id": "legacy", "url": upstream}],
    });
    let config = serde_json::from_value(config).unwrap();
    App::bind(config, Ambient::system()).await.unwrap().gateway()
}

fn calls(count: u64, body: &Bytes) -> Vec<Request<Full<Bytes>>> {
    let call = |_| {
        Request::post("/cds-services/patient-greeting")
            .header("host", "hookgate.example.org")
            .header("authorization", format!("Bearer {}", tokens::fresh("RS384")))
            .header("content-type", "application/json")
            .header("content-length", body.len())
            .header("accept", "application/json")
            .header("user-agent", "EHR/1.0")
            .body(Full::new(body.clone()))
            .unwrap()
    };
    (0..count).map(call).collect()
}

struct Spent {
    elapsed: Duration,
    processor: Duration,
}

async fn run<F>(
    calls: Vec<Request<Full<Bytes>>>,
    handle: impl Fn(Request<Full<Bytes>>) -> F,
) -> Spent
where
    F: Future<Output = Response<Full<Bytes>>>,
{
    let clock = SystemClock::new();
    let (began, processor) = (clock.monotonic(), processor_time());
    for call in calls {
        assert_eq!(handle(call).await.status(), 200);
    }
    Spent { elapsed: clock.monotonic() - began, processor: processor_time() - processor }
}

/// What this thread has had of the processor: `schedstat`'s first figure, in nanoseconds (Linux only).
fn processor_time() -> Duration {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap();
    Duration::from_nanos(text.split(' ').next().unwrap().parse().unwrap())
}

fn log_to_nowhere() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let lines = tracing_subscriber::fmt().json().flatten_event(true).with_current_span(false);
        lines.with_env_filter("info").with_writer(io::sink).init();
    });
}
