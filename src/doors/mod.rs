//! The public listener: TLS, HTTP/1.1 and HTTP/2, limits on connections, drain.
//!
//! What comes through was framed in exactly one way, came from an address that does not hold too many
//! connections, and is finished even when its client leaves. Who never finishes is cut off.

mod settings;
mod fault;
mod metrics;
mod certificate;
mod admission;
mod exchanges;
mod framing;
mod answer;
mod service;
mod preface;
mod connection;

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::FutureExt;
use http::{Request, Response};
use http_body_util::Full;
use hyper::body::Incoming;
use prometheus_client::registry::Registry;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::yield_now;
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tokio_util::sync::CancellationToken;

use crate::doors::admission::Admission;
use crate::doors::certificate::ALPN_HTTP2;
use crate::doors::connection::{Endings, Rules};
use crate::doors::metrics::{Closed, Metrics};
use crate::doors::service::Service;
use crate::peer::{Peer, Protocol};

pub use crate::doors::certificate::CertificateError;
pub use crate::doors::settings::Settings;

/// How long to leave the system alone after it had no connection to give, for want of file
/// descriptors mostly: asking again at once would burn a core until one is free.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
const SMALLEST_HEAD: usize = 1024;
const LARGEST_HEAD: usize = 1024 * 1024;
/// What ends with the deadline gets this long to notice.
const LAST_WORDS: Duration = Duration::from_millis(500);

/// Why the listener could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// TLS without a certificate and its key.
    #[error(
        "certificate_file and key_file are both needed, or plaintext = true behind a TLS terminator"
    )]
    NoCertificate,
    /// A certificate that would never be shown.
    #[error(
        "plaintext = true leaves no use for certificate_file and key_file: remove one or the other"
    )]
    UnusedCertificate,
    /// The certificate or key cannot be used.
    #[error(transparent)]
    Certificate(#[from] CertificateError),
    /// `max_header_bytes` is out of its range.
    #[error("max_header_bytes is {0}: it must lie between 1 KiB and 1 MiB")]
    HeaderBytes(usize),
    /// The system refuses the address.
    #[error("cannot listen on {address}: {source}")]
    Address {
        /// Which address.
        address: SocketAddr,
        /// What the system says.
        source: io::Error,
    },
}

/// How serving ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Drained {
    /// Every accepted request was answered.
    Complete,
    /// The deadline came first.
    Cut {
        /// Connections and requests that were unfinished then.
        unfinished: usize,
    },
}

/// The public listener, bound, and not yet serving.
#[derive(Debug)]
pub struct Doors {
    listener: TcpListener,
    address: SocketAddr,
    tls: Option<Tls>,
    metrics: Metrics,
    admission: Admission,
    rules: Arc<Rules>,
    drain_timeout: Duration,
}

#[derive(Clone)]
struct Tls {
    acceptor: TlsAcceptor,
    free: Arc<Semaphore>,
    timeout: Duration,
}

impl std::fmt::Debug for Tls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tls").field("timeout", &self.timeout).finish_non_exhaustive()
    }
}

impl Doors {
    /// Loads what [`Doors::bind`] would load, and opens nothing.
    ///
    /// # Errors
    /// [`BindError`] says what to change.
    pub fn check(settings: &Settings) -> Result<(), BindError> {
        tls(settings).map(|_| ())
    }

    /// Loads the certificate and opens the listener, so that nothing that can be known to be wrong is
    /// found out later.
    ///
    /// # Errors
    /// [`BindError`] says what to change.
    pub async fn bind(settings: &Settings, registry: &mut Registry) -> Result<Self, BindError> {
        let tls = tls(settings)?;
        let refused = |source| BindError::Address { address: settings.address, source };
        let listener = TcpListener::bind(settings.address).await.map_err(refused)?;
        let address = listener.local_addr().map_err(refused)?;
        Ok(Self {
            listener,
            address,
            tls,
            metrics: Metrics::register(registry),
            admission: Admission::new(
                settings.max_connections,
                settings.max_connections_per_address,
            ),
            rules: Arc::new(Rules::new(settings)),
            drain_timeout: settings.drain_timeout.get(),
        })
    }

    /// Where it listens: the port that was found where port 0 was asked for.
    pub const fn local_addr(&self) -> SocketAddr {
        self.address
    }

    /// Serves until `shutdown` is cancelled. Then it takes the connections that the system still
    /// holds, accepts no more, tells HTTP/2 clients to go (GOAWAY) and HTTP/1 clients with their next
    /// answer (`Connection: close`), waits for accepted requests up to `drain_timeout`, and closes
    /// the rest.
    ///
    /// `handle` runs in a task of its own: it completes even where the client hangs up. Should it
    /// panic, the client gets 500 and the connection goes on.
    pub async fn serve<H, F>(self, handle: H, shutdown: CancellationToken) -> Drained
    where
        H: Fn(Request<Incoming>, Peer) -> F + Clone + Send + Sync + 'static,
        F: Future<Output = Response<Full<Bytes>>> + Send + 'static,
    {
        let service = Service::new(handle, self.metrics.clone());
        let endings = Endings { drain: shutdown.clone(), kill: CancellationToken::new() };
        loop {
            tokio::select! {
                biased;
                () = shutdown.cancelled() => break,
                accepted = self.listener.accept() => match accepted {
                    Ok((stream, address)) => self.begin(stream, address, &service, &endings),
                    Err(_) => {
                        self.metrics.accept_error();
                        sleep(ACCEPT_PAUSE).await;
                    }
                },
            }
        }
        // Lets the runtime hear from the system what is queued.
        yield_now().await;
        while let Some(Ok((stream, address))) = self.listener.accept().now_or_never() {
            self.begin(stream, address, &service, &endings);
        }
        drop(self.listener);
        service.work.close();
        if timeout(self.drain_timeout, service.work.wait()).await.is_ok() {
            return Drained::Complete;
        }
        let unfinished = service.work.len();
        endings.kill.cancel();
        // Connections end now; a handler that does not is left to the end of the process.
        let _ = timeout(LAST_WORDS, service.work.wait()).await;
        Drained::Cut { unfinished }
    }

    fn begin<H, F>(
        &self,
        stream: TcpStream,
        address: SocketAddr,
        service: &Service<H>,
        endings: &Endings,
    ) where
        H: Fn(Request<Incoming>, Peer) -> F + Clone + Send + Sync + 'static,
        F: Future<Output = Response<Full<Bytes>>> + Send + 'static,
    {
        self.metrics.accepted();
        let place = match self.admission.admit(address.ip()) {
            Ok(place) => place,
            Err(reason) => return self.metrics.closed(reason),
        };
        let address = SocketAddr::new(address.ip().to_canonical(), address.port());
        let (rules, tls) = (Arc::clone(&self.rules), self.tls.clone());
        let (service, endings) = (service.clone(), endings.clone());
        let (work, metrics) = (service.work.clone(), self.metrics.clone());
        work.spawn(async move {
            let reason = converse(stream, address, tls, &rules, service, endings).await;
            drop(place);
            metrics.closed(reason);
        });
    }
}

/// Everything that can be wrong with the settings by themselves.
fn tls(settings: &Settings) -> Result<Option<Tls>, BindError> {
    let head = settings.max_header_bytes.bytes();
    if !(SMALLEST_HEAD..=LARGEST_HEAD).contains(&head) {
        return Err(BindError::HeaderBytes(head));
    }
    Tls::new(settings)
}

async fn converse<H, F>(
    stream: TcpStream,
    address: SocketAddr,
    tls: Option<Tls>,
    rules: &Rules,
    service: Service<H>,
    endings: Endings,
) -> Closed
where
    H: Fn(Request<Incoming>, Peer) -> F + Clone + Send + Sync + 'static,
    F: Future<Output = Response<Full<Bytes>>> + Send + 'static,
{
    // An answer is written whole; waiting for more of it only delays it. Refused only where the
    // connection is already gone.
    let _ = stream.set_nodelay(true);
    let Some(tls) = tls else {
        let peer = Peer { address, protocol: Protocol::Http1, tls: false };
        return rules.http1(stream, peer, service, endings).await;
    };
    let handshake = tokio::select! {
        done = tls.handshake(stream) => done,
        () = endings.kill.cancelled() => Err(Closed::DrainTimeout),
    };
    match handshake {
        Err(reason) => reason,
        Ok(stream) if stream.get_ref().1.alpn_protocol() == Some(ALPN_HTTP2) => {
            let peer = Peer { address, protocol: Protocol::Http2, tls: true };
            rules.http2(stream, peer, service, endings).await
        }
        Ok(stream) => {
            let peer = Peer { address, protocol: Protocol::Http1, tls: true };
            rules.http1(stream, peer, service, endings).await
        }
    }
}

impl Tls {
    fn new(settings: &Settings) -> Result<Option<Self>, BindError> {
        let files = (&settings.certificate_file, &settings.key_file);
        let (chain, key) = match (settings.plaintext, files) {
            (true, (None, None)) => return Ok(None),
            (true, (Some(_), _) | (_, Some(_))) => return Err(BindError::UnusedCertificate),
            (false, (Some(chain), Some(key))) => (chain, key),
            (false, (None, _) | (_, None)) => return Err(BindError::NoCertificate),
        };
        let config = certificate::server_config(chain, key, settings.http2)?;
        let free = usize::try_from(settings.max_handshakes.get()).unwrap_or(usize::MAX);
        Ok(Some(Self {
            acceptor: TlsAcceptor::from(Arc::new(config)),
            free: Arc::new(Semaphore::new(free.min(Semaphore::MAX_PERMITS))),
            timeout: settings.handshake_timeout.get(),
        }))
    }

    async fn handshake(&self, stream: TcpStream) -> Result<TlsStream<TcpStream>, Closed> {
        timeout(self.timeout, async {
            // A silent connection holds none of the few places.
            match stream.peek(&mut [0]).await {
                Ok(0) => return Err(Closed::Peer),
                Ok(_) => {}
                Err(_) => return Err(Closed::Lost),
            }
            let Ok(_place) = self.free.acquire().await else {
                return Err(Closed::HandshakeTimeout);
            };
            self.acceptor.accept(stream).await.map_err(|_| Closed::HandshakeFailed)
        })
        .await
        .unwrap_or(Err(Closed::HandshakeTimeout))
    }
}
