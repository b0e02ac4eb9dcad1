//! How connections are met: what a reload can change while the listener goes on.
//!
//! A connection is met in the manner of the moment in which it is accepted, and keeps to it.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use crate::doors::admission::Bounds;
use crate::doors::certificate;
use crate::doors::connection::Rules;
use crate::doors::error::BindError;
use crate::doors::metrics::Closed;
use crate::doors::settings::Settings;

const SMALLEST_HEAD: usize = 1024;
const LARGEST_HEAD: usize = 1024 * 1024;

/// One manner of meeting connections.
#[derive(Clone, Debug)]
pub(crate) struct Manner {
    /// Nothing where there is no TLS.
    pub(crate) tls: Option<Tls>,
    pub(crate) rules: Rules,
    pub(crate) bounds: Bounds,
    /// How long accepted requests may take at the end.
    pub(crate) drain_timeout: Duration,
}

/// TLS as it is spoken on one connection, and how many handshakes there may be at once.
#[derive(Clone)]
pub(crate) struct Tls {
    acceptor: TlsAcceptor,
    handshakes: Handshakes,
    timeout: Duration,
}

#[derive(Clone)]
struct Handshakes {
    max: NonZeroU32,
    free: Arc<Semaphore>,
}

impl std::fmt::Debug for Tls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tls").field("timeout", &self.timeout).finish_non_exhaustive()
    }
}

impl Manner {
    /// Loads what `settings` name. Handshakes in flight are counted on from `before`.
    ///
    /// # Errors
    /// [`BindError`]: everything that can be wrong with the settings by themselves.
    pub(crate) fn new(settings: &Settings, before: Option<&Self>) -> Result<Self, BindError> {
        let head = settings.max_header_bytes.bytes();
        if !(SMALLEST_HEAD..=LARGEST_HEAD).contains(&head) {
            return Err(BindError::HeaderBytes(head));
        }
        let running = before.and_then(|before| before.tls.as_ref()).map(|tls| &tls.handshakes);
        Ok(Self {
            tls: Tls::new(settings, running)?,
            rules: Rules::new(settings),
            bounds: Bounds {
                all: settings.max_connections.get(),
                per_address: settings.max_connections_per_address.get(),
            },
            drain_timeout: settings.drain_timeout.get(),
        })
    }
}

/// How a listener meets connections from now on. Clones are of the same listener.
#[derive(Clone, Debug)]
pub struct Manners(Arc<ArcSwap<Manner>>);

/// What is ready to be put in the present manner's place.
#[derive(Debug)]
#[must_use = "nothing changes until it is put in place"]
pub struct Next(Manner);

impl Manners {
    /// Begins with this one.
    pub(crate) fn new(first: Manner) -> Self {
        Self(Arc::new(ArcSwap::from_pointee(first)))
    }

    /// The present one.
    pub(crate) fn now(&self) -> Arc<Manner> {
        self.0.load_full()
    }

    /// Loads certificate and key anew. `listener.address` is not looked at: the listener stays.
    ///
    /// # Errors
    /// [`BindError`] says what to change.
    pub fn read(&self, settings: &Settings) -> Result<Next, BindError> {
        Manner::new(settings, Some(self.now().as_ref())).map(Next)
    }

    /// Meets connections in this manner from now on. Those that are open go on in theirs.
    pub fn put(&self, next: Next) {
        self.0.store(Arc::new(next.0));
    }
}

impl Tls {
    fn new(settings: &Settings, running: Option<&Handshakes>) -> Result<Option<Self>, BindError> {
        let files = (&settings.certificate_file, &settings.key_file);
        let (chain, key) = match (settings.plaintext, files) {
            (true, (None, None)) => return Ok(None),
            (true, (Some(_), _) | (_, Some(_))) => return Err(BindError::UnusedCertificate),
            (false, (Some(chain), Some(key))) => (chain, key),
            (false, (None, _) | (_, None)) => return Err(BindError::NoCertificate),
        };
        let config = certificate::server_config(chain, key, settings.http2)?;
        let max = settings.max_handshakes;
        let running = running.filter(|running| running.max == max);
        Ok(Some(Self {
            acceptor: TlsAcceptor::from(Arc::new(config)),
            handshakes: running.cloned().unwrap_or_else(|| Handshakes::new(max)),
            timeout: settings.handshake_timeout.get(),
        }))
    }

    /// Shakes hands.
    ///
    /// # Errors
    /// Why the connection ends.
    pub(crate) async fn handshake(
        &self,
        stream: TcpStream,
    ) -> Result<TlsStream<TcpStream>, Closed> {
        timeout(self.timeout, async {
            // A silent connection holds none of the few places.
            match stream.peek(&mut [0]).await {
                Ok(0) => return Err(Closed::Peer),
                Ok(_) => {}
                Err(_) => return Err(Closed::Lost),
            }
            let Ok(_place) = self.handshakes.free.acquire().await else {
                return Err(Closed::HandshakeTimeout);
            };
            self.acceptor.accept(stream).await.map_err(|_| Closed::HandshakeFailed)
        })
        .await
        .unwrap_or(Err(Closed::HandshakeTimeout))
    }
}

impl Handshakes {
    fn new(max: NonZeroU32) -> Self {
        let free = usize::try_from(max.get()).unwrap_or(usize::MAX);
        Self { max, free: Arc::new(Semaphore::new(free.min(Semaphore::MAX_PERMITS))) }
    }
}
