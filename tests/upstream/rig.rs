//! An upstream that does exactly what a test says, and a gateway's side to call it with.

use std::future::Future;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use hookgate::clock::{ManualClock, UnixTime};
use hookgate::entropy::{Entropy, SeededEntropy};
use hookgate::gateway::upstream::{
    AddressState, AddressStatus, Answer, Call, Dialled, Identity, Metrics, Settings, Signer,
    Surroundings, UpstreamError, Upstreams, Way,
};
use hookgate::names::{ClientId, HookInstance, RequestId, ServiceId, Tenant, UpstreamId};
use hookgate::outbound::names::Resolver;
use hookgate::trace::{Sampling, Trace};
use hookgate::units::Period;
use http::HeaderMap;
use prometheus_client::encoding::text;
use prometheus_client::registry::Registry;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::Notify;
use tokio::time::timeout;
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;
use url::Url;

pub const NOW: UnixTime = UnixTime::from_secs(1_795_458_491);
pub const OK: &str =
    "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 12\r\n\r\n{\"cards\":[]}";

/// A request as it came over the wire.
#[derive(Clone, Debug)]
pub struct Seen {
    pub line: String,
    /// In order of arrival, names as sent.
    pub fields: Vec<(String, Vec<u8>)>,
    pub body: Vec<u8>,
}

impl Seen {
    pub fn all(&self, name: &str) -> Vec<String> {
        let values = self.fields.iter().filter(|(n, _)| n.eq_ignore_ascii_case(name));
        values.map(|(_, value)| String::from_utf8_lossy(value).into_owned()).collect()
    }

    pub fn one(&self, name: &str) -> String {
        let all = self.all(name);
        assert_eq!(all.len(), 1, "{name}: {all:?}");
        all[0].clone()
    }
}

/// One connection that an upstream has taken.
pub struct Peer<S> {
    pub stream: S,
    /// 0 for the first connection.
    pub number: usize,
    seen: Arc<Mutex<Vec<Seen>>>,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Peer<S> {
    /// Reads one request; nothing where the gateway has closed.
    pub async fn request(&mut self) -> Option<Seen> {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(self.stream.read_u8().await.ok()?);
        }
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
        let mut lines = head.split(|b| *b == b'\n').map(|line| line.trim_ascii_end());
        let line = text(lines.next().unwrap());
        let mut fields = Vec::new();
        for line in lines.filter(|line| !line.is_empty()) {
            let colon = line.iter().position(|b| *b == b':').unwrap();
            fields.push((text(&line[..colon]), line[colon + 1..].trim_ascii().to_vec()));
        }
        let mut seen = Seen { line, fields, body: Vec::new() };
        if let [length] = &seen.all("content-length")[..] {
            seen.body = vec![0; length.parse().unwrap()];
            self.stream.read_exact(&mut seen.body).await.ok()?;
        }
        self.seen.lock().unwrap().push(seen.clone());
        Some(seen)
    }

    pub async fn send(&mut self, bytes: impl AsRef<[u8]>) {
        let _ = self.stream.write_all(bytes.as_ref()).await;
        let _ = self.stream.flush().await;
    }

    /// Answers every request on this connection with the same bytes.
    pub async fn answer_all(&mut self, bytes: impl AsRef<[u8]>) {
        while self.request().await.is_some() {
            self.send(bytes.as_ref()).await;
        }
    }

    /// Waits until the gateway closes.
    pub async fn closed(&mut self) {
        let mut rest = Vec::new();
        let _ = self.stream.read_to_end(&mut rest).await;
    }
}

/// A server that hands each connection to `serve`.
pub struct Server {
    pub address: SocketAddr,
    pub seen: Arc<Mutex<Vec<Seen>>>,
    connections: Arc<AtomicUsize>,
}

impl Server {
    pub async fn start<F, S>(serve: F) -> Self
    where
        F: Fn(Peer<TcpStream>) -> S + Send + Sync + 'static,
        S: Future<Output = ()> + Send + 'static,
    {
        Self::start_at("127.0.0.1:0".parse().unwrap(), serve).await
    }

    pub async fn start_at<F, S>(at: SocketAddr, serve: F) -> Self
    where
        F: Fn(Peer<TcpStream>) -> S + Send + Sync + 'static,
        S: Future<Output = ()> + Send + 'static,
    {
        let listener = TcpListener::bind(at).await.unwrap();
        let address = listener.local_addr().unwrap();
        let seen = Arc::new(Mutex::new(Vec::new()));
        let connections = Arc::new(AtomicUsize::new(0));
        let (log, count) = (Arc::clone(&seen), Arc::clone(&connections));
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let number = count.fetch_add(1, Ordering::SeqCst);
                tokio::spawn(serve(Peer { stream, number, seen: Arc::clone(&log) }));
            }
        });
        Self { address, seen, connections }
    }

    /// One that answers each connection's first request when `go` says so.
    pub async fn holding(go: &Arc<Notify>) -> Self {
        let go = Arc::clone(go);
        Self::start(move |mut peer| {
            let go = Arc::clone(&go);
            async move {
                peer.request().await;
                go.notified().await;
                peer.send(OK).await;
            }
        })
        .await
    }

    /// One that answers whatever comes with `bytes`, and closes if `close` says so.
    pub async fn answering(bytes: impl Into<Vec<u8>>, close: bool) -> Self {
        let bytes = Arc::new(bytes.into());
        Self::start(move |mut peer| {
            let bytes = Arc::clone(&bytes);
            async move {
                if close {
                    peer.request().await;
                    peer.send(bytes.as_slice()).await;
                } else {
                    peer.answer_all(bytes.as_slice()).await;
                }
            }
        })
        .await
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    pub fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }

    pub fn seen(&self) -> Vec<Seen> {
        self.seen.lock().unwrap().clone()
    }

    pub fn last(&self) -> Seen {
        self.seen().pop().unwrap()
    }
}

/// Names as a test says, and as it changes its mind. No name means no answer.
#[derive(Clone, Debug, Default)]
pub struct Names {
    meaning: Arc<Mutex<Vec<SocketAddr>>>,
    asked: Arc<AtomicUsize>,
}

impl Names {
    pub fn mean(&self, addresses: &[SocketAddr]) {
        *self.meaning.lock().unwrap() = addresses.to_vec();
    }

    /// How often somebody has asked. On one thread who has asked waits already for the next time.
    pub fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }
}

#[async_trait::async_trait]
impl Resolver for Names {
    async fn look_up(&self, _: &str, _: u16) -> std::io::Result<Vec<SocketAddr>> {
        self.asked.fetch_add(1, Ordering::SeqCst);
        Ok(self.meaning.lock().unwrap().clone())
    }
}

/// The gateway's side, with one upstream called `legacy`.
pub struct Gateway {
    pub upstreams: Upstreams,
    registry: Registry,
    pub clock: ManualClock,
    pub names: Names,
    entropy: Arc<dyn Entropy>,
}

pub fn id(text: &str) -> UpstreamId {
    UpstreamId::new(text).unwrap()
}

pub fn service() -> ServiceId {
    ServiceId::new("patient-greeting").unwrap()
}

pub fn settings(url: &str) -> Settings {
    // However busy the machine is: a test that is about time sets its own.
    Settings {
        connect_timeout: Period::secs(60),
        response_timeout: Period::secs(60),
        ..Settings::new(id("legacy"), url.parse().unwrap())
    }
}

impl Gateway {
    pub fn new(url: &str) -> Self {
        Self::with(&[settings(url)], None)
    }

    pub fn with(settings: &[Settings], signer: Option<Arc<dyn Signer>>) -> Self {
        Self::try_with(settings, signer).unwrap_or_else(|e| panic!("{}", e.join("; ")))
    }

    pub fn try_with(
        settings: &[Settings],
        signer: Option<Arc<dyn Signer>>,
    ) -> Result<Self, Vec<String>> {
        let mut registry = Registry::default();
        let metrics = Metrics::register(&mut registry);
        let clock = ManualClock::new(NOW);
        let entropy: Arc<dyn Entropy> = Arc::new(SeededEntropy::new(1));
        let names = Names::default();
        let around = Surroundings {
            clock: Arc::new(clock.clone()),
            entropy: Arc::clone(&entropy),
            resolver: Arc::new(names.clone()),
            metrics,
        };
        let upstreams = Upstreams::new(settings, &public_url(), signer.as_ref(), around)
            .map_err(|e| e.0.iter().map(ToString::to_string).collect::<Vec<_>>())?;
        Ok(Self { upstreams, registry, clock, names, entropy })
    }

    pub async fn call_with(
        &self,
        upstream: &str,
        way: Way<'_>,
        headers: &HeaderMap,
        body: Bytes,
    ) -> Result<Answer, UpstreamError> {
        let entropy = self.entropy.as_ref();
        call(&self.upstreams, upstream, (way, headers, body), entropy).await
    }

    /// Takes other settings up, and gives what was there before.
    pub fn renew(&mut self, settings: &[Settings]) -> Upstreams {
        let renewed = self.upstreams.renewed(settings, &public_url());
        std::mem::replace(&mut self.upstreams, renewed.unwrap())
    }

    /// Begins what runs beside the calls; it ends when what is returned is dropped.
    pub fn start(&self) -> DropGuard {
        let stop = CancellationToken::new();
        self.upstreams.start(&TaskTracker::new(), &stop);
        stop.drop_guard()
    }

    /// How each address of the upstream is.
    pub fn addresses(&self) -> Vec<AddressStatus> {
        self.upstreams.status().remove(0).addresses
    }

    pub fn states(&self) -> Vec<AddressState> {
        self.addresses().iter().map(|address| address.state).collect()
    }

    pub async fn hook(&self) -> Result<Answer, UpstreamError> {
        let (service, headers) = (service(), json());
        self.call_with("legacy", Way::Hook(&service), &headers, Bytes::from_static(HOOK)).await
    }

    pub async fn discover(&self) -> Result<Answer, UpstreamError> {
        self.call_with("legacy", Way::Discovery, &HeaderMap::new(), Bytes::new()).await
    }

    pub fn metrics(&self) -> String {
        let mut out = String::new();
        text::encode(&mut out, &self.registry).unwrap();
        out
    }
}

const HOOK: &[u8] = b"{\"hook\":\"patient-view\"}";

/// Calls `upstreams` themselves.
pub async fn hook(upstreams: &Upstreams) -> Result<Answer, UpstreamError> {
    let (service, headers) = (service(), json());
    let what = (Way::Hook(&service), &headers, Bytes::from_static(HOOK));
    call(upstreams, "legacy", what, &SeededEntropy::new(2)).await
}

async fn call(
    upstreams: &Upstreams,
    upstream: &str,
    (way, headers, body): (Way<'_>, &HeaderMap, Bytes),
    entropy: &dyn Entropy,
) -> Result<Answer, UpstreamError> {
    let trace = Trace::of(headers, Sampling::new(1.0), entropy).unwrap();
    let (client, tenant) = (ClientId::new("ehr").unwrap(), Tenant::new("Klinik Süd").unwrap());
    let identity = Identity {
        client: Some(&client),
        issuer: Some("https://ehr.example.org/iss"),
        tenant: Some(&tenant),
        hook_instance: Some(HookInstance(uuid::Uuid::from_u128(7))),
        request_id: RequestId::new(NOW, entropy).unwrap(),
        trace: &trace,
        client_address: "2001:db8::7".parse().unwrap(),
    };
    upstreams.call(&id(upstream), Call { way, headers, body, identity }).await
}

fn public_url() -> Url {
    "https://gw.example:8443/cds/".parse().unwrap()
}

/// Waits for what will come, however busy the machine is.
pub async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let waiting = async {
        while !holds() {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    timeout(Duration::from_secs(60), waiting).await.unwrap_or_else(|_| panic!("{what}"));
}

/// Those addresses instead of the URL's.
pub fn at(addresses: &[SocketAddr]) -> Settings {
    let dialled = |it: &SocketAddr| Dialled::try_from(it.to_string()).unwrap();
    Settings {
        addresses: addresses.iter().map(dialled).collect(),
        ..settings("http://cds.example:8443/r4")
    }
}

/// An address that nobody listens at, and that nobody else gets while this is held.
pub fn nobody() -> (TcpSocket, SocketAddr) {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let address = socket.local_addr().unwrap();
    (socket, address)
}

pub fn json() -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert("content-type", "application/json".parse().unwrap());
    headers
}

pub fn data(name: &str) -> Vec<u8> {
    let folder = if name.starts_with("sandbox") { "requests" } else { "responses" };
    let path = format!("{}/tests/data/{folder}/{name}", env!("CARGO_MANIFEST_DIR"));
    std::fs::read(&path).unwrap_or_else(|e| panic!("{path}: {e}"))
}
