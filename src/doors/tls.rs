//! TLS on the listener: what a handshake is held under, and who comes out of it.

use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::ServerConfig;
use rustls_pki_types::CertificateDer;
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use crate::certificate::Certificate;
use crate::client_certificate::ClientCertificate;
use crate::clock::{Clock, UnixTime};
use crate::doors::certificate;
use crate::doors::client_trust::{ClientTrust, List};
use crate::doors::error::BindError;
use crate::doors::handshake::Failure;
use crate::doors::metrics::{Closed, Metrics};
use crate::doors::settings::Settings;

/// TLS as it is spoken on one connection, and how many handshakes there may be at once.
#[derive(Clone)]
pub(crate) struct Tls {
    config: Arc<ServerConfig>,
    shown: Option<Shown>,
    trust: Option<ClientTrust>,
    handshakes: Handshakes,
}

/// What the listener shows to who connects.
#[derive(Clone, Debug)]
pub(crate) struct Shown {
    /// Where the certificates were read from.
    pub(crate) file: PathBuf,
    /// When the first of them ends: from then on clients refuse it.
    pub(crate) not_after: UnixTime,
}

impl Shown {
    /// Nothing where its end cannot be read: clients may be able to all the same.
    fn read(file: &Path) -> Option<Self> {
        let chain = Certificate::read_chain(file).ok()?;
        let not_after = chain.iter().map(Certificate::not_after).min()?;
        Some(Self { file: file.to_owned(), not_after })
    }
}

/// The places for handshakes.
#[derive(Clone)]
struct Handshakes {
    max: NonZeroU32,
    free: Arc<Semaphore>,
}

impl std::fmt::Debug for Tls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tls").field("trust", &self.trust).finish_non_exhaustive()
    }
}

/// A connection that has shaken hands.
pub(crate) struct Session {
    pub(crate) stream: TlsStream<TcpStream>,
    /// Who is there, where that was shown.
    pub(crate) client: Option<Client>,
}

/// The owner of a certificate, and what it was believed for.
pub(crate) struct Client {
    pub(crate) certificate: Arc<ClientCertificate>,
    /// The certificates that it showed, its own first.
    pub(crate) chain: Vec<CertificateDer<'static>>,
}

impl Tls {
    /// Reads the files that `settings` name; nothing where TLS is not spoken. Handshakes in flight are
    /// counted on from `before`.
    ///
    /// # Errors
    /// [`BindError`]
    pub(crate) fn new(
        settings: &Settings,
        clock: &Arc<dyn Clock>,
        before: Option<&Self>,
    ) -> Result<Option<Self>, BindError> {
        let trust = ClientTrust::load(settings)?;
        let files = (&settings.certificate_file, &settings.key_file);
        let (chain, key) = match (settings.plaintext, files) {
            (true, (None, None)) => return Ok(None),
            (true, (Some(_), _) | (_, Some(_))) => return Err(BindError::UnusedCertificate),
            (false, (Some(chain), Some(key))) => (chain, key),
            (false, (None, _) | (_, None)) => return Err(BindError::NoCertificate),
        };
        let verifier = trust.as_ref().map(|trust| Arc::clone(&trust.verifier));
        let config = certificate::server_config(chain, key, settings.http2, verifier, clock)?;
        let max = settings.max_handshakes;
        let running = before.map(|tls| &tls.handshakes).filter(|running| running.max == max);
        let handshakes = running.cloned().unwrap_or_else(|| Handshakes::new(max));
        Ok(Some(Self { config: Arc::new(config), shown: Shown::read(chain), trust, handshakes }))
    }

    /// What is shown, as far as that could be read.
    pub(crate) const fn shown(&self) -> Option<&Shown> {
        self.shown.as_ref()
    }

    /// Whether a client with this chain would be let in now.
    pub(crate) fn believes(&self, chain: &[CertificateDer<'_>], clock: &dyn Clock) -> bool {
        self.trust.as_ref().is_some_and(|trust| trust.believes(chain, clock.now()))
    }

    /// The revocation lists that are heeded.
    pub(crate) fn lists(&self) -> &[List] {
        self.trust.as_ref().map_or(&[], |trust| &trust.lists)
    }

    /// Shakes hands with who is at `address`.
    ///
    /// # Errors
    /// Why it came to nothing.
    pub(crate) async fn handshake(
        &self,
        stream: TcpStream,
        address: SocketAddr,
        metrics: &Metrics,
    ) -> Result<Session, Closed> {
        // A silent connection holds none of the few places.
        match stream.peek(&mut [0]).await {
            Ok(0) => return Err(Closed::Peer),
            Ok(_) => {}
            Err(_) => return Err(Closed::Lost),
        }
        let Ok(_place) = self.handshakes.free.acquire().await else {
            return Err(Closed::HandshakeTimeout);
        };
        let met = match TlsAcceptor::from(Arc::clone(&self.config)).accept(stream).await {
            Ok(stream) => client(&stream).map(|client| Session { stream, client }),
            Err(error) => Err(Failure::from(&error)),
        };
        met.map_err(|failure| {
            metrics.handshake_failed(failure);
            if failure.is_of_certificate() {
                let reason = failure.as_str();
                tracing::info!(%address, reason, "a client's certificate was refused");
            }
            Closed::HandshakeFailed
        })
    }
}

fn client(stream: &TlsStream<TcpStream>) -> Result<Option<Client>, Failure> {
    let chain = stream.get_ref().1.peer_certificates().unwrap_or_default();
    let Some(leaf) = chain.first() else { return Ok(None) };
    let certificate = ClientCertificate::read(leaf).map_err(|_| Failure::Certificate)?;
    Ok(Some(Client { certificate: Arc::new(certificate), chain: chain.to_vec() }))
}

impl Handshakes {
    fn new(max: NonZeroU32) -> Self {
        let free = usize::try_from(max.get()).unwrap_or(usize::MAX);
        Self { max, free: Arc::new(Semaphore::new(free.min(Semaphore::MAX_PERMITS))) }
    }
}
