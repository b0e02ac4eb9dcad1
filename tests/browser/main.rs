//! What only a browser can tell: that it follows, posts, remembers and forgets as the pages expect.
#![expect(clippy::expect_used, clippy::panic, reason = "a failing test is the report")]

mod driver;

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;

use fantoccini::{Client, Locator};
use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::header::{CONTENT_TYPE, COOKIE, LOCATION, SET_COOKIE};
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use rustls_pki_types::PrivateKeyDer;
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use driver::{Driver, JavaScript};

const PAGE: &str = r#"<!doctype html><title>Open</title><p id="scripts">off</p>
<script>document.getElementById("scripts").textContent = "on"</script>
<form method="post"><button>Open</button></form>"#;

/// One page with one button: `POST` leads to `/known` with a cookie, which `/known` reads back.
async fn answer(request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
    let known = request.headers().contains_key(COOKIE);
    let response = Response::builder().header(CONTENT_TYPE, "text/html; charset=utf-8");
    let response = match (request.method(), request.uri().path()) {
        (&Method::POST, "/") => response
            .status(StatusCode::SEE_OTHER)
            .header(LOCATION, "/known")
            .header(SET_COOKIE, "__Host-known=1; Secure; HttpOnly; Path=/; SameSite=Lax")
            .body(Full::from("")),
        (&Method::GET, "/known") if known => response.body(Full::from("<p id=known>yes</p>")),
        (&Method::GET, "/known") => response.body(Full::from("<p id=known>no</p>")),
        _ => response.body(Full::from(PAGE)),
    };
    Ok(response.expect("a response"))
}

async fn serve() -> SocketAddr {
    let certified = rcgen::generate_simple_self_signed(["page.test".to_owned()]).expect("a key");
    let key = PrivateKeyDer::try_from(certified.signing_key.serialize_der()).expect("a PKCS#8 key");
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let tls = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("protocol versions")
        .with_no_client_auth()
        .with_single_cert(vec![certified.cert.der().clone()], key)
        .expect("a certificate");
    let acceptor = TlsAcceptor::from(Arc::new(tls));
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("an address");
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let acceptor = acceptor.clone();
            tokio::spawn(async move {
                let Ok(stream) = acceptor.accept(stream).await else { return };
                let connection = hyper::server::conn::http1::Builder::new();
                let _ = connection.serve_connection(TokioIo::new(stream), service_fn(answer)).await;
            });
        }
    });
    address
}

async fn text(browser: &Client, selector: &str) -> String {
    let element = browser.wait().for_element(Locator::Css(selector)).await;
    let element = element.unwrap_or_else(|error| panic!("{selector}: {error}"));
    element.text().await.expect("its text")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_button_works_with_and_without_scripts_and_profiles_share_no_cookie() {
    let port = serve().await.port();
    let driver = Driver::start();
    for (javascript, scripts) in [(JavaScript::On, "on"), (JavaScript::Off, "off")] {
        let browser = driver.new_session(javascript).await;
        browser.goto(&format!("https://page.test:{port}/known")).await.expect("the page");
        assert_eq!(text(&browser, "#known").await, "no", "{javascript:?}: a profile is not empty");

        browser.goto(&format!("https://page.test:{port}/")).await.expect("the page");
        assert_eq!(text(&browser, "#scripts").await, scripts, "{javascript:?}");
        let button = browser.find(Locator::Css("button")).await.expect("the button");
        button.click().await.expect("a click");
        assert_eq!(text(&browser, "#known").await, "yes", "{javascript:?}");
        browser.close().await.expect("an end");
    }
}
