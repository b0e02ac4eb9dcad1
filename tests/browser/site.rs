//! A web site of its own origin: the EHR's page, or the application behind a link.

use std::convert::Infallible;
use std::sync::{Arc, Mutex};

use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use rustls_pki_types::PrivateKeyDer;
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

/// What a site answers.
pub(crate) type Answer = Response<Full<Bytes>>;
type Script = dyn Fn(&Request<Incoming>) -> Answer + Send + Sync;

/// A running site with a certificate that nobody vouches for. It ends with the test's runtime.
pub(crate) struct Site {
    port: u16,
    script: Arc<Mutex<Box<Script>>>,
    visits: Arc<Mutex<Vec<String>>>,
}

impl Site {
    /// Answers as `script` says, under every name.
    pub(crate) async fn start(
        script: impl Fn(&Request<Incoming>) -> Answer + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let port = listener.local_addr().expect("an address").port();
        let script: Arc<Mutex<Box<Script>>> = Arc::new(Mutex::new(Box::new(script)));
        let visits = Arc::new(Mutex::new(Vec::new()));
        tokio::spawn(accept(listener, acceptor(), Arc::clone(&script), Arc::clone(&visits)));
        Self { port, script, visits }
    }

    /// A site that shows this page at every path.
    pub(crate) async fn with_page(html: &str) -> Self {
        let html = html.to_owned();
        Self::start(move |_| page(&html)).await
    }

    /// Shows this page from now on.
    pub(crate) fn shows(&self, html: String) {
        *self.script.lock().expect("the script") = Box::new(move |_| page(&html));
    }

    /// `https://{name}:{port}{rest}`; names end in `.test`, or are `localhost`.
    pub(crate) fn url(&self, name: &str, rest: &str) -> String {
        format!("https://{name}:{}{rest}", self.port)
    }

    /// The request targets that came, without those that browsers ask for by themselves.
    pub(crate) fn visits(&self) -> Vec<String> {
        let visits = self.visits.lock().expect("the visits");
        visits.iter().filter(|visit| *visit != "/favicon.ico").cloned().collect()
    }
}

/// A page.
pub(crate) fn page(html: &str) -> Answer {
    Response::builder()
        .header("content-type", "text/html; charset=utf-8")
        .body(Full::from(html.to_owned()))
        .expect("a response")
}

async fn accept(
    listener: TcpListener,
    acceptor: TlsAcceptor,
    script: Arc<Mutex<Box<Script>>>,
    visits: Arc<Mutex<Vec<String>>>,
) {
    while let Ok((stream, _)) = listener.accept().await {
        let (acceptor, script, visits) = (acceptor.clone(), script.clone(), visits.clone());
        let service = service_fn(move |request: Request<Incoming>| {
            visits.lock().expect("the visits").push(request.uri().to_string());
            let answer = (script.lock().expect("the script"))(&request);
            async move { Ok::<_, Infallible>(answer) }
        });
        tokio::spawn(async move {
            let Ok(stream) = acceptor.accept(stream).await else { return };
            let connection = hyper::server::conn::http1::Builder::new();
            let _ = connection.serve_connection(TokioIo::new(stream), service).await;
        });
    }
}

fn acceptor() -> TlsAcceptor {
    let certified = rcgen::generate_simple_self_signed(["page.test".to_owned()]).expect("a key");
    let key = PrivateKeyDer::try_from(certified.signing_key.serialize_der()).expect("a PKCS#8 key");
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let tls = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("protocol versions")
        .with_no_client_auth()
        .with_single_cert(vec![certified.cert.der().clone()], key)
        .expect("a certificate");
    TlsAcceptor::from(Arc::new(tls))
}
