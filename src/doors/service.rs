//! From hyper to the handler and back.

use std::future::Future;
use std::sync::Arc;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use hyper::body::Incoming;
use tokio_util::task::TaskTracker;

use crate::doors::answer;
use crate::doors::exchanges::{Exchange, Exchanges};
use crate::doors::metrics::Metrics;
use crate::peer::{Peer, Protocol};

/// What every connection shares.
#[derive(Clone, Debug)]
pub(crate) struct Service<H> {
    handle: H,
    /// What must end before the process may.
    pub(crate) work: TaskTracker,
    pub(crate) metrics: Metrics,
}

impl<H, F> Service<H>
where
    H: Fn(Request<Incoming>, Peer) -> F + Clone + Send + Sync + 'static,
    F: Future<Output = Response<Full<Bytes>>> + Send + 'static,
{
    /// Serves with `handle`.
    pub(crate) fn new(handle: H, metrics: Metrics) -> Self {
        Self { handle, work: TaskTracker::new(), metrics }
    }

    /// Answers one request. Dropping this does not stop the handler: it may be between spending a
    /// token and saying so, and hyper drops what it waits for as soon as the client is gone.
    pub(crate) fn answer(
        &self,
        request: Request<Incoming>,
        peer: Peer,
        exchanges: &Arc<Exchanges>,
    ) -> impl Future<Output = Response<Full<Bytes>>> + Send + use<H, F> {
        let (exchange, protocol) = (exchanges.begin(), peer.protocol);
        let metrics = self.metrics.clone();
        // A request at fault is refused on the spot; it is not even shown to the handler.
        let work =
            exchange.fault().is_none().then(|| self.work.spawn((self.handle)(request, peer)));
        async move {
            let answer = match work {
                None => None,
                Some(work) => Some(work.await.unwrap_or_else(|_panicked| {
                    metrics.panicked();
                    answer::broken()
                })),
            };
            finish(answer, protocol, &exchange)
        }
    }
}

/// The answer that goes out. Whatever the handler made of a body that turned out to be broken, the
/// client hears that it was.
fn finish(
    answer: Option<Response<Full<Bytes>>>,
    protocol: Protocol,
    exchange: &Exchange,
) -> Response<Full<Bytes>> {
    match (exchange.fault(), answer) {
        (Some(fault), _) => answer::refused(fault),
        (None, Some(answer)) if protocol == Protocol::Http1 && exchange.is_last() => {
            answer::last(answer)
        }
        (None, Some(answer)) => answer,
        (None, None) => answer::broken(),
    }
}
