//! The collector: where it is, what it wants to be told, and what it answers.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, USER_AGENT};
use http::{HeaderMap, HeaderName, HeaderValue, Request, StatusCode};
use http_body_util::{BodyExt, Full, Limited};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use prost::Message;
use rustls::{ClientConfig, RootCertStore};
use url::Url;
use zeroize::Zeroizing;

use crate::outbound::roots;
use crate::problem::Code;
use crate::traces::otlp::Response;
use crate::traces::settings::{Settings, TracesError};

/// How long one attempt may take.
const DEADLINE: Duration = Duration::from_secs(10);
/// What is read of an answer.
const MOST: usize = 64 * 1024;

/// Why the collector did not take spans.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ExportError {
    /// It may do so later.
    #[error("{0}")]
    Later(String),
    /// It never will.
    #[error("the collector answers with status {0}")]
    Never(StatusCode),
}

/// A collector.
#[derive(Debug)]
pub(crate) struct Collector {
    endpoint: Url,
    headers_file: Option<PathBuf>,
    client: Client<HttpsConnector<HttpConnector>, Full<Bytes>>,
}

impl Collector {
    /// The one that `settings` name. Nothing is dialled yet.
    ///
    /// # Errors
    /// [`TracesError`]
    pub(crate) fn new(settings: &Settings, endpoint: &Url) -> Result<Self, TracesError> {
        if let Some(file) = &settings.headers_file {
            headers(file)?;
        }
        let roots = match endpoint.scheme() {
            "https" => roots::load(settings.ca_file.as_deref())?,
            _ => RootCertStore::empty(),
        };
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let tls = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots)
            .with_no_client_auth();
        let mut tcp = HttpConnector::new();
        tcp.enforce_http(false);
        let connector = HttpsConnectorBuilder::new()
            .with_tls_config(tls)
            .https_or_http()
            .enable_http1()
            .wrap_connector(tcp);
        let client = Client::builder(TokioExecutor::new()).build(connector);
        let headers_file = settings.headers_file.clone();
        Ok(Self { endpoint: endpoint.clone(), headers_file, client })
    }

    /// Hands over an encoded request. Gives how many of its spans are not wanted.
    ///
    /// # Errors
    /// [`ExportError`]
    pub(crate) async fn take(&self, body: Bytes) -> Result<usize, ExportError> {
        let later = |why: &str| ExportError::Later(why.to_owned());
        let exchange = async {
            let request = self.request(body).map_err(|why| later(&why))?;
            let answer = self.client.request(request).await;
            let answer = answer.map_err(|_| later("the collector cannot be reached"))?;
            let status = answer.status();
            if !status.is_success() {
                return Err(refused(status));
            }
            let body = Limited::new(answer.into_body(), MOST).collect().await;
            let body = body.map_err(|_| later("the collector's answer breaks off"))?.to_bytes();
            // An answer that cannot be read is still a yes.
            let partial = Response::decode(body).ok().and_then(|answer| answer.partial_success);
            let rejected = partial.map_or(0, |partial| partial.rejected_spans);
            Ok(usize::try_from(rejected).unwrap_or(0))
        };
        match tokio::time::timeout(DEADLINE, exchange).await {
            Ok(result) => result,
            Err(_) => Err(later("the collector does not answer")),
        }
    }

    fn request(&self, body: Bytes) -> Result<Request<Full<Bytes>>, String> {
        let mut request = Request::post(self.endpoint.as_str())
            .body(Full::new(body))
            .map_err(|error| error.to_string())?;
        if let Some(file) = &self.headers_file {
            let own = headers(file).map_err(|error| error.to_string())?;
            request.headers_mut().extend(own);
        }
        let fixed = [
            (CONTENT_TYPE, "application/x-protobuf"),
            (USER_AGENT, concat!("hookgate/", env!("CARGO_PKG_VERSION"))),
        ];
        for (name, value) in fixed {
            request.headers_mut().insert(name, HeaderValue::from_static(value));
        }
        Ok(request)
    }
}

/// OTLP 1.x, "Failures": these four may be tried again.
fn refused(status: StatusCode) -> ExportError {
    match status {
        StatusCode::TOO_MANY_REQUESTS
        | StatusCode::BAD_GATEWAY
        | StatusCode::SERVICE_UNAVAILABLE
        | StatusCode::GATEWAY_TIMEOUT => {
            ExportError::Later(format!("the collector answers with status {status}"))
        }
        other => ExportError::Never(other),
    }
}

/// The fields in the file. What they say is in no error.
fn headers(path: &Path) -> Result<HeaderMap, TracesError> {
    let wrong =
        |code, why: String| TracesError::Headers { path: path.display().to_string(), why, code };
    let text = fs::read_to_string(path)
        .map(Zeroizing::new)
        .map_err(|error| wrong(Code::FileUnreadable, format!("cannot be read: {error}")))?;
    let mut fields = HeaderMap::new();
    for (number, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
        let field = line.split_once(':').and_then(|(name, value)| {
            let mut value = HeaderValue::from_str(value.trim()).ok()?;
            value.set_sensitive(true);
            Some((HeaderName::try_from(name.trim()).ok()?, value))
        });
        let Some((name, value)) = field else {
            let why = format!("is wrong in line {}; write name: value", number + 1);
            return Err(wrong(Code::FileContent, why));
        };
        fields.append(name, value);
    }
    Ok(fields)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_error_shows_what_is_in_the_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("headers");
        fs::write(&path, "authorization: Bearer s3cr3t\n\nx-tenant: clinic\n").unwrap();
        let read = headers(&path).unwrap();
        assert_eq!(read.len(), 2);
        assert!(!format!("{read:?}").contains("s3cr3t"));
        fs::write(&path, "x-one: 1\ns3cr3t\n").unwrap();
        let why = headers(&path).unwrap_err().to_string();
        assert!(why.contains("line 2") && !why.contains("s3cr3t"), "{why}");
    }
}
