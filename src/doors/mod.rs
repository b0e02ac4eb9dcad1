//! The public listener: TLS, HTTP/1.1 and HTTP/2, limits on connections, drain.
//!
//! What comes through was framed in exactly one way, came from an address that does not hold too many
//! connections, and is finished even when its client leaves. Who never finishes is cut off.

mod settings;
mod fault;
mod handshake;
mod client_trust;
mod metrics;
mod certificate;
mod error;
mod tls;
mod proxy_header;
mod admission;
mod exchanges;
mod framing;
mod answer;
mod service;
mod preface;
mod connection;
mod manner;
mod meeting;

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
use tokio::task::yield_now;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use crate::clock::Clock;
use crate::doors::admission::Admission;
use crate::doors::connection::Endings;
use crate::doors::manner::Manner;
use crate::doors::meeting::Meeting;
use crate::doors::metrics::Metrics;
use crate::doors::service::Service;
use crate::peer::Peer;

pub use crate::doors::certificate::CertificateError;
pub use crate::doors::client_trust::ClientTrustError;
pub use crate::doors::error::BindError;
pub use crate::doors::manner::{Manners, Next};
pub use crate::doors::settings::{ClientCertificates, Settings};

/// How long to leave the system alone after it had no connection to give, for want of file
/// descriptors mostly: asking again at once would burn a core until one is free.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
/// What ends with the deadline gets this long to notice.
const LAST_WORDS: Duration = Duration::from_millis(500);

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
    metrics: Metrics,
    admission: Admission,
    manners: Manners,
}

impl Doors {
    /// Loads what [`Doors::bind`] would load, and opens nothing.
    ///
    /// # Errors
    /// [`BindError`] says what to change.
    pub fn check(settings: &Settings, clock: &Arc<dyn Clock>) -> Result<(), BindError> {
        Manner::new(settings, clock, None).map(|_| ())
    }

    /// Loads the certificate and opens the listener.
    ///
    /// # Errors
    /// [`BindError`] says what to change.
    pub async fn bind(
        settings: &Settings,
        clock: Arc<dyn Clock>,
        registry: &mut Registry,
    ) -> Result<Self, BindError> {
        let manner = Manner::new(settings, &clock, None)?;
        let refused = |source| BindError::Address { address: settings.address, source };
        let listener = TcpListener::bind(settings.address).await.map_err(refused)?;
        Self::on(listener, manner, clock, registry).map_err(refused)
    }

    /// Loads the certificate and takes a listener that somebody else has opened, whatever
    /// `listener.address` says.
    ///
    /// # Errors
    /// [`BindError`] says what to change.
    pub fn take(
        socket: std::net::TcpListener,
        settings: &Settings,
        clock: Arc<dyn Clock>,
        registry: &mut Registry,
    ) -> Result<Self, BindError> {
        let manner = Manner::new(settings, &clock, None)?;
        socket
            .set_nonblocking(true)
            .and_then(|()| TcpListener::from_std(socket))
            .and_then(|listener| Self::on(listener, manner, clock, registry))
            .map_err(BindError::Socket)
    }

    fn on(
        listener: TcpListener,
        manner: Manner,
        clock: Arc<dyn Clock>,
        registry: &mut Registry,
    ) -> io::Result<Self> {
        let metrics = Metrics::register(registry);
        Ok(Self {
            address: listener.local_addr()?,
            listener,
            metrics: metrics.clone(),
            admission: Admission::default(),
            manners: Manners::new(manner, clock, metrics),
        })
    }

    /// How connections are met, to be changed while they are.
    pub fn manners(&self) -> Manners {
        self.manners.clone()
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
        let endings = Endings {
            drain: shutdown.clone(),
            kill: CancellationToken::new(),
            distrusted: CancellationToken::new(),
        };
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
        if timeout(self.manners.now().drain_timeout, service.work.wait()).await.is_ok() {
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
        let (manner, following) = self.manners.follow();
        let address = SocketAddr::new(address.ip().to_canonical(), address.port());
        let place = self.admission.admit(manner.bounds).and_then(|mut place| {
            if !manner.proxies.trusts(address.ip()) {
                place.belongs_to(address.ip())?;
            }
            Ok(place)
        });
        let place = match place {
            Ok(place) => place,
            Err(reason) => return self.metrics.closed(reason),
        };
        let meeting = Meeting { stream, address, place, manner, following };
        let (service, endings) = (service.clone(), endings.clone());
        let (work, metrics) = (service.work.clone(), self.metrics.clone());
        work.spawn(async move {
            let reason = meeting.converse(service, endings).await;
            metrics.closed(reason);
        });
    }
}
