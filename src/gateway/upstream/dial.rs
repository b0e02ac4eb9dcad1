//! How a connection to an upstream comes about.

use std::error::Error;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use http::Uri;
use hyper_rustls::{HttpsConnector, MaybeHttpsStream};
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tower_service::Service;

use crate::gateway::upstream::settings::Settings;
use crate::gateway::upstream::tls::Tls;

/// Why there is no connection. Nothing was sent.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DialError {
    #[error("connecting took too long")]
    Late,
    #[error("{0}")]
    Tcp(String),
    #[error("{0}")]
    Tls(String),
}

/// Connects to one place, whatever the URL of the request names: that is for `Host` and for the name in
/// the certificate.
#[derive(Clone, Debug)]
struct To {
    tcp: HttpConnector,
    place: Uri,
}

impl Service<Uri> for To {
    type Response = <HttpConnector as Service<Uri>>::Response;
    type Error = <HttpConnector as Service<Uri>>::Error;
    type Future = <HttpConnector as Service<Uri>>::Future;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.tcp.poll_ready(cx)
    }

    fn call(&mut self, _: Uri) -> Self::Future {
        self.tcp.call(self.place.clone())
    }
}

/// Connects within a time, and says at which step it could not.
#[derive(Clone, Debug)]
pub(crate) struct Dial {
    connector: HttpsConnector<To>,
    timeout: Duration,
}

impl Dial {
    /// Dials `place`.
    pub(crate) fn new(settings: &Settings, tls: &Tls, place: Uri) -> Self {
        let mut tcp = HttpConnector::new();
        tcp.set_nodelay(true);
        let connector = HttpsConnector::new(
            To { tcp, place },
            Arc::clone(&tls.config),
            tls.required,
            Arc::new(hyper_rustls::DefaultServerNameResolver::default()),
        );
        Self { connector, timeout: settings.connect_timeout.get() }
    }
}

impl Service<Uri> for Dial {
    type Response = MaybeHttpsStream<TokioIo<TcpStream>>;
    type Error = DialError;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, DialError>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), DialError>> {
        self.connector.poll_ready(cx).map_err(|e| classify(e.as_ref()))
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let (connecting, timeout) = (self.connector.call(uri), self.timeout);
        Box::pin(async move {
            match tokio::time::timeout(timeout, connecting).await {
                Ok(connected) => connected.map_err(|e| classify(e.as_ref())),
                Err(_) => Err(DialError::Late),
            }
        })
    }
}

/// The connector's own errors are of TCP; what comes wrapped as I/O is of the handshake.
fn classify(error: &(dyn Error + Send + Sync + 'static)) -> DialError {
    if error.is::<io::Error>() {
        return DialError::Tls(error.to_string());
    }
    let cause = error.source().map(|cause| format!(": {cause}")).unwrap_or_default();
    DialError::Tcp(format!("{error}{cause}"))
}
