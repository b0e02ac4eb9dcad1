//! One request to one upstream, and its answer.

use std::error::Error;
use std::io;
use std::time::Duration;

use bytes::Bytes;
use http::header::CONTENT_LENGTH;
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, Uri};
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper::body::{Body, Incoming};
use hyper_util::client::legacy;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::{CaptureConnection, capture_connection};
use hyper_util::rt::{TokioExecutor, TokioTimer};
use rustls::AlertDescription;
use tokio::time::{Instant, timeout_at};

use crate::gateway::upstream::answer::{Measure, judge};
use crate::gateway::upstream::dial::{Dial, DialError};
use crate::gateway::upstream::error::{Stage, UpstreamError};
use crate::gateway::upstream::settings::Settings;
use crate::gateway::upstream::tls::Tls;

/// A header block beyond this is no CDS service's.
const LARGEST_HEADER: usize = 64 * 1024;
const MOST_HEADERS: usize = 100;
const PING_EVERY: Duration = Duration::from_secs(20);
const PONG_WITHIN: Duration = Duration::from_secs(10);

/// A request that can be sent again: its body is shared, not copied.
#[derive(Clone, Debug)]
pub(crate) struct Message {
    pub(crate) method: Method,
    pub(crate) uri: Uri,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

/// What came over the wire, whole.
#[derive(Debug)]
pub(crate) struct Received {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

/// The connections to one address.
#[derive(Clone, Debug)]
pub(crate) struct Connections {
    client: Client<Dial, Full<Bytes>>,
}

impl Connections {
    /// None is opened yet.
    pub(crate) fn new(settings: &Settings, tls: &Tls, place: Uri) -> Self {
        let mut builder = Client::builder(TokioExecutor::new());
        builder
            .timer(TokioTimer::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(settings.idle_timeout.get())
            .pool_max_idle_per_host(settings.max_concurrent)
            // Only what was never written is sent again by itself.
            .retry_canceled_requests(true)
            .http1_max_buf_size(LARGEST_HEADER)
            .http1_max_headers(MOST_HEADERS)
            .http2_keep_alive_interval(PING_EVERY)
            .http2_keep_alive_timeout(PONG_WITHIN)
            .http2_only(settings.http2 && settings.url.scheme() == "http");
        Self { client: builder.build(Dial::new(settings, tls, place)) }
    }

    /// Sends and receives once.
    pub(crate) async fn exchange(
        &self,
        message: Message,
        measure: Measure,
        deadline: Instant,
    ) -> Result<Received, UpstreamError> {
        let (head, body) = self.send(message, deadline).await?.into_parts();
        judge(head.status, measure)?;
        let body = timeout_at(deadline, collect(body, measure.cap))
            .await
            .map_err(|_| UpstreamError::Late(Stage::Body))??;
        Ok(Received { status: head.status, headers: head.headers, body })
    }

    /// Asks for `uri` with GET, and takes any status for an answer. Its body is read, so that the connection
    /// can be used again, and dropped.
    pub(crate) async fn ask(
        &self,
        uri: Uri,
        deadline: Instant,
    ) -> Result<StatusCode, UpstreamError> {
        let (headers, body) = (HeaderMap::new(), Bytes::new());
        let message = Message { method: Method::GET, uri, headers, body };
        let (head, body) = self.send(message, deadline).await?.into_parts();
        let read = timeout_at(deadline, collect(body, LARGEST_HEADER)).await;
        read.map_err(|_| UpstreamError::Late(Stage::Body))??;
        Ok(head.status)
    }

    async fn send(
        &self,
        message: Message,
        deadline: Instant,
    ) -> Result<Response<Incoming>, UpstreamError> {
        let mut request = request(message);
        let connection = capture_connection(&mut request);
        timeout_at(deadline, self.client.request(request))
            .await
            .map_err(|_| UpstreamError::Late(reached(&connection)))?
            .map_err(|e| of_client(&e))
    }
}

/// How far a request came for which there was no answer in time: connecting may have taken all of it.
fn reached(connection: &CaptureConnection) -> Stage {
    if connection.connection_metadata().is_some() { Stage::Head } else { Stage::Connect }
}

fn request(message: Message) -> Request<Full<Bytes>> {
    let Message { method, uri, mut headers, body } = message;
    if method != Method::GET {
        headers.insert(CONTENT_LENGTH, HeaderValue::from(body.len()));
    }
    let mut request = Request::new(Full::new(body));
    *request.method_mut() = method;
    *request.uri_mut() = uri;
    *request.headers_mut() = headers;
    request
}

async fn collect(body: Incoming, cap: usize) -> Result<Bytes, UpstreamError> {
    let announced = usize::try_from(body.size_hint().lower()).unwrap_or(usize::MAX);
    if announced > cap {
        return Err(UpstreamError::TooLarge);
    }
    let whole = Limited::new(body, cap).collect().await.map_err(|e| of_body(e.as_ref()))?;
    Ok(whole.to_bytes())
}

/// Finds an error of type `T` behind `error`. An I/O error hides what it wraps from `source`.
fn find<'a, T: Error + 'static>(error: &'a (dyn Error + 'static)) -> Option<&'a T> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(found) = error.downcast_ref::<T>() {
            return Some(found);
        }
        let wrapped = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
        next = match wrapped {
            Some(inner) => Some(inner),
            None => error.source(),
        };
    }
    None
}

fn of_client(error: &legacy::Error) -> UpstreamError {
    match find::<DialError>(error) {
        Some(DialError::Late) => return UpstreamError::Late(Stage::Connect),
        Some(DialError::Tcp(why)) => return UpstreamError::Unreachable(why.clone()),
        Some(DialError::Tls(why)) => return UpstreamError::Tls(why.clone()),
        None => {}
    }
    if let Some(refused) = certificate_refused(error) {
        return refused;
    }
    if let Some(returned) = find::<h2::Error>(error).and_then(returned) {
        return returned;
    }
    let Some(cause) = find::<hyper::Error>(error) else {
        return UpstreamError::Broken(error.to_string());
    };
    let why = described(cause);
    if cause.is_canceled() {
        // hyper gives the request back untouched only where not a byte of it was written.
        return UpstreamError::Unreachable(format!("closed before anything was sent: {why}"));
    }
    if cause.is_parse() || cause.is_user() {
        return UpstreamError::NotHttp(why);
    }
    UpstreamError::Broken(why)
}

/// A stream that is named in GOAWAY as not begun, or reset with REFUSED_STREAM, has not been acted on
/// (RFC 9113, sections 6.8 and 8.7). h2 gives a stream the peer's GOAWAY as its error only where its id is
/// above the last that the peer has taken; the others end with the connection.
fn returned(error: &h2::Error) -> Option<UpstreamError> {
    let refused = error.is_reset() && error.reason() == Some(h2::Reason::REFUSED_STREAM);
    let unread = error.is_remote() && (error.is_go_away() || refused);
    unread.then(|| UpstreamError::Returned(error.to_string()))
}

/// With TLS 1.3 an upstream judges our certificate after the handshake is over for us. It has then
/// read nothing of the request.
fn certificate_refused(error: &legacy::Error) -> Option<UpstreamError> {
    let Some(tls @ rustls::Error::AlertReceived(alert)) = find::<rustls::Error>(error) else {
        return None;
    };
    let of_certificates = [
        AlertDescription::NoCertificate,
        AlertDescription::BadCertificate,
        AlertDescription::UnsupportedCertificate,
        AlertDescription::CertificateRevoked,
        AlertDescription::CertificateExpired,
        AlertDescription::CertificateUnknown,
        AlertDescription::CertificateRequired,
        AlertDescription::UnknownCA,
        AlertDescription::AccessDenied,
    ];
    of_certificates.contains(alert).then(|| UpstreamError::Tls(tls.to_string()))
}

fn of_body(error: &(dyn Error + Send + Sync + 'static)) -> UpstreamError {
    if error.is::<LengthLimitError>() {
        return UpstreamError::TooLarge;
    }
    let malformed = find::<io::Error>(error).is_some_and(|io| {
        matches!(io.kind(), io::ErrorKind::InvalidInput | io::ErrorKind::InvalidData)
    });
    let why = described(error);
    if malformed { UpstreamError::NotHttp(why) } else { UpstreamError::Broken(why) }
}

/// An error with its cause. hyper's texts name no header and no byte of a body.
fn described(error: &(dyn Error + 'static)) -> String {
    error.source().map_or_else(|| error.to_string(), |cause| format!("{error}: {cause}"))
}
