//! One connection from its acceptance on: who is there, and then its requests.

use std::convert::Infallible;
use std::future::{Future, pending};
use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use hyper::body::Incoming;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::doors::admission::Place;
use crate::doors::certificate::ALPN_HTTP2;
use crate::doors::connection::Endings;
use crate::doors::manner::{Following, Manner};
use crate::doors::metrics::Closed;
use crate::doors::proxy_header;
use crate::doors::service::Service;
use crate::doors::tls::{Client, Session};
use crate::peer::{Peer, Protocol};

/// A connection that was accepted, and how it is met.
pub(crate) struct Meeting {
    pub(crate) stream: TcpStream,
    /// Where it comes from: the client, or a proxy that will say where the client is.
    pub(crate) address: SocketAddr,
    pub(crate) place: Place,
    pub(crate) manner: Arc<Manner>,
    pub(crate) following: Following,
}

/// What requests come over.
enum Line {
    Plain(TcpStream),
    Tls(Box<Session>),
}

impl Meeting {
    /// Serves it until it ends, and says why it did.
    pub(crate) async fn converse<H, F>(self, service: Service<H>, endings: Endings) -> Closed
    where
        H: Fn(Request<Incoming>, Peer) -> F + Clone + Send + Sync + 'static,
        F: Future<Output = Response<Full<Bytes>>> + Send + 'static,
    {
        let Self { stream, mut address, mut place, manner, following } = self;
        // An answer is written whole; waiting for more of it only delays it. Refused only where the
        // connection is already gone.
        let _ = stream.set_nodelay(true);
        let greeting = greet(stream, &mut address, &mut place, &manner, &service);
        let greeted = tokio::select! {
            greeted = timeout(manner.handshake_timeout, greeting) => {
                greeted.unwrap_or(Err(Closed::HandshakeTimeout))
            }
            () = endings.kill.cancelled() => Err(Closed::DrainTimeout),
        };
        match greeted {
            Err(reason) => reason,
            Ok(Line::Plain(stream)) => {
                let (protocol, tls) = (Protocol::Http1, false);
                let peer = Peer { address, protocol, tls, certificate: None };
                manner.rules.http1(stream, peer, service, endings).await
            }
            Ok(Line::Tls(session)) => {
                let Session { stream, client } = *session;
                let distrusted = endings.distrusted.child_token();
                let endings = Endings { distrusted: distrusted.clone(), ..endings };
                let http2 = stream.get_ref().1.alpn_protocol() == Some(ALPN_HTTP2);
                let peer = Peer {
                    address,
                    protocol: if http2 { Protocol::Http2 } else { Protocol::Http1 },
                    tls: true,
                    certificate: client.as_ref().map(|client| Arc::clone(&client.certificate)),
                };
                let serving = async {
                    if http2 {
                        manner.rules.http2(stream, peer, service, endings).await
                    } else {
                        manner.rules.http1(stream, peer, service, endings).await
                    }
                };
                tokio::select! {
                    reason = serving => reason,
                    never = doubt(client, following, distrusted) => match never {},
                }
            }
        }
    }
}

/// All that comes before the first request. `address` is then that of the client.
async fn greet<H>(
    mut stream: TcpStream,
    address: &mut SocketAddr,
    place: &mut Place,
    manner: &Manner,
    service: &Service<H>,
) -> Result<Line, Closed> {
    if manner.proxies.trusts(address.ip()) {
        let proxy = address.ip();
        let client = proxy_header::read(&mut stream).await.map_err(|fault| {
            tracing::info!(%proxy, "a connection was closed: {fault}");
            Closed::ProxyHeader
        })?;
        if let Some(client) = client {
            *address = SocketAddr::new(client.ip().to_canonical(), client.port());
        }
        place.belongs_to(address.ip())?;
    }
    match &manner.tls {
        None => Ok(Line::Plain(stream)),
        Some(tls) => {
            let session = tls.handshake(stream, *address, &service.metrics).await?;
            Ok(Line::Tls(Box::new(session)))
        }
    }
}

/// Cancels `distrusted` once this client would not be let in any more.
async fn doubt(
    client: Option<Client>,
    following: Following,
    distrusted: CancellationToken,
) -> Infallible {
    if let Some(client) = client {
        following.distrusts(&client.chain).await;
        distrusted.cancel();
    }
    pending().await
}
