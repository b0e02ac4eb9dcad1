//! Fetching a small document from a server that may be hostile.
//!
//! One GET over https: no redirect is followed, nothing but the named host is dialled, addresses of
//! the own network are refused where they are dialled, and size and total time are capped. Nothing of
//! what the server said is in an error.

pub mod reach;
mod resolver;

use std::error::Error;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{ACCEPT, ACCEPT_ENCODING, CONTENT_ENCODING, CONTENT_LENGTH, USER_AGENT};
use http::{HeaderMap, Request, Uri};
use http_body_util::{BodyExt, Empty, LengthLimitError, Limited};
use hyper::body::Incoming;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use rustls::{ClientConfig, RootCertStore};
use url::{Host, Url};

use crate::outbound::fetch::reach::Reach;
use crate::outbound::fetch::resolver::{ForbiddenAddress, GuardedResolver};

/// What a fetch may cost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// From the resolution of the name to the last byte of the body.
    pub total_time: Duration,
    /// Bytes of the body.
    pub max_bytes: usize,
}

/// What a server answered with status 200.
#[derive(Clone, Debug)]
pub struct Fetched {
    /// Its header fields.
    pub headers: HeaderMap,
    /// Its whole body.
    pub body: Bytes,
}

/// Why nothing was fetched.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum FetchError {
    /// The URL is not https, or cannot be called at all.
    #[error("the URL cannot be fetched; it must be https")]
    Url,
    /// The address is private or reserved.
    #[error("the server's address is private or reserved")]
    Address,
    /// No connection: the name does not resolve, or nobody answers there.
    #[error("the server cannot be reached")]
    Unreachable,
    /// The TLS handshake failed; the certificate is not trusted, for instance.
    #[error("the server's TLS handshake or certificate is not acceptable")]
    Tls,
    /// The whole took longer than allowed.
    #[error("the server took too long")]
    Timeout,
    /// The server answers with a redirect, which is not followed.
    #[error("the server answers with a redirect, which is not followed")]
    Redirect,
    /// The server answers with another status than 200.
    #[error("the server answers with status {0}")]
    Status(u16),
    /// The body is encoded though plain bytes were asked for.
    #[error("the server's answer is compressed though that was not asked for")]
    Encoding,
    /// The body is larger than allowed.
    #[error("the server's answer is too large")]
    TooLarge,
    /// The answer broke off or is not HTTP.
    #[error("the server's answer is incomplete or not HTTP")]
    Broken,
}

impl FetchError {
    /// A stable word for metrics and logs.
    pub const fn code(self) -> &'static str {
        match self {
            Self::Url => "url",
            Self::Address => "address",
            Self::Unreachable => "unreachable",
            Self::Tls => "tls",
            Self::Timeout => "timeout",
            Self::Redirect => "redirect",
            Self::Status(_) => "status",
            Self::Encoding => "encoding",
            Self::TooLarge => "too-large",
            Self::Broken => "broken",
        }
    }
}

/// A client for small documents.
#[derive(Clone, Debug)]
pub struct Fetcher {
    client: Client<HttpsConnector<HttpConnector<GuardedResolver>>, Empty<Bytes>>,
    reach: Reach,
    limits: Limits,
}

impl Fetcher {
    /// A client that trusts `roots`.
    ///
    /// # Errors
    /// Where the TLS library cannot serve the protocol versions it was built with.
    pub fn new(roots: RootCertStore, reach: Reach, limits: Limits) -> Result<Self, rustls::Error> {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let tls = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots)
            .with_no_client_auth();
        let mut tcp = HttpConnector::new_with_resolver(GuardedResolver(reach));
        tcp.enforce_http(false);
        let connector = HttpsConnectorBuilder::new()
            .with_tls_config(tls)
            .https_or_http()
            .enable_http1()
            .wrap_connector(tcp);
        // Each fetch dials anew: a kept connection would outlive the check of its address.
        let client = Client::builder(TokioExecutor::new())
            .pool_max_idle_per_host(0)
            .retry_canceled_requests(false)
            .build(connector);
        Ok(Self { client, reach, limits })
    }

    /// Fetches `url`. Plain http is taken only to this machine itself, and only with
    /// [`Reach::Private`].
    ///
    /// # Errors
    /// [`FetchError`]
    pub async fn get(&self, url: &Url) -> Result<Fetched, FetchError> {
        self.check(url)?;
        match tokio::time::timeout(self.limits.total_time, self.exchange(url)).await {
            Ok(done) => done,
            Err(_elapsed) => Err(FetchError::Timeout),
        }
    }

    /// An IP literal is never resolved, so it is judged here.
    fn check(&self, url: &Url) -> Result<(), FetchError> {
        let plain = match url.scheme() {
            "https" => false,
            "http" => true,
            _ => return Err(FetchError::Url),
        };
        let (address, here) = match url.host().ok_or(FetchError::Url)? {
            Host::Domain(name) => (None, name.eq_ignore_ascii_case("localhost")),
            Host::Ipv4(address) => (Some(address.into()), address.is_loopback()),
            Host::Ipv6(address) => (Some(address.into()), address.is_loopback()),
        };
        if plain && !(here && self.reach == Reach::Private) {
            return Err(FetchError::Url);
        }
        match address {
            Some(address) if !self.reach.allows(address) => Err(FetchError::Address),
            Some(_) | None => Ok(()),
        }
    }

    async fn exchange(&self, url: &Url) -> Result<Fetched, FetchError> {
        let target: Uri = url.as_str().parse().map_err(|_| FetchError::Url)?;
        let request = Request::get(target)
            .header(ACCEPT, "application/jwk-set+json, application/json;q=0.9, */*;q=0.1")
            .header(ACCEPT_ENCODING, "identity")
            .header(USER_AGENT, concat!("hookgate/", env!("CARGO_PKG_VERSION")))
            .body(Empty::new())
            .map_err(|_| FetchError::Url)?;
        let response = self.client.request(request).await.map_err(|e| classify(&e))?;
        let status = response.status();
        if status.is_redirection() {
            return Err(FetchError::Redirect);
        }
        if status != http::StatusCode::OK {
            return Err(FetchError::Status(status.as_u16()));
        }
        let (head, body) = response.into_parts();
        if head.headers.get(CONTENT_ENCODING).is_some_and(|v| v != "identity") {
            return Err(FetchError::Encoding);
        }
        let body = self.read(&head.headers, body).await?;
        Ok(Fetched { headers: head.headers, body })
    }

    async fn read(&self, headers: &HeaderMap, body: Incoming) -> Result<Bytes, FetchError> {
        let max = self.limits.max_bytes;
        let announced = headers.get(CONTENT_LENGTH).and_then(|v| v.to_str().ok()?.parse().ok());
        if announced.is_some_and(|length: usize| length > max) {
            return Err(FetchError::TooLarge);
        }
        match Limited::new(body, max).collect().await {
            Ok(read) => Ok(read.to_bytes()),
            Err(error) if error.is::<LengthLimitError>() => Err(FetchError::TooLarge),
            Err(_) => Err(FetchError::Broken),
        }
    }
}

fn classify(error: &hyper_util::client::legacy::Error) -> FetchError {
    let mut next: Option<&(dyn Error + 'static)> = Some(error);
    while let Some(cause) = next {
        if cause.is::<ForbiddenAddress>() {
            return FetchError::Address;
        }
        if cause.is::<rustls::Error>() {
            return FetchError::Tls;
        }
        // An io::Error passes over the error that it wraps when asked for its source.
        let wrapped = cause.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
        next = match wrapped {
            Some(inner) => Some(inner),
            None => cause.source(),
        };
    }
    if error.is_connect() { FetchError::Unreachable } else { FetchError::Broken }
}
