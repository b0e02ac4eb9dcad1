//! A small legacy CDS service, as they are found: it asks nobody who is calling, and its card's link
//! carries a credential in the clear.

use std::io;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use http::{Method, Request, Response};
use http_body_util::Full;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::demo::server;
use crate::demo::server::Server;

/// The service's id.
pub const ID: &str = "patient-greeting";
/// The id that the service itself gives to every card.
pub const CARD: &str = "7cdad318-9995-40b9-b5c7-e0caf1656146";
/// The id that the service itself gives to every suggestion.
pub const SUGGESTION: &str = "bd37e682-4110-44be-b4b7-cf28d7ea258f";
/// The credential in its link.
pub const SESSION: &str = "s3cr3t-4711";

/// What arrived at the service: path, hookInstance header and body.
#[derive(Clone, Debug)]
pub struct Arrival {
    /// The request's path.
    pub path: String,
    /// The gateway's word on which hookInstance it is about.
    pub hook_instance: Option<String>,
    /// The body.
    pub body: String,
}

/// The running service.
#[derive(Debug)]
pub struct LegacyService {
    server: Server,
    arrivals: Arc<Mutex<Vec<Arrival>>>,
}

impl LegacyService {
    /// Starts it on a free loopback port.
    ///
    /// # Errors
    /// Where no port can be bound.
    pub async fn start() -> io::Result<Self> {
        let arrivals = Arc::new(Mutex::new(Vec::new()));
        let log = Arc::clone(&arrivals);
        let server = Server::start(move |request| {
            let log = Arc::clone(&log);
            async move { serve(&request, &log) }
        })
        .await?;
        Ok(Self { server, arrivals })
    }

    /// Its base URL.
    pub fn url(&self) -> String {
        self.server.url()
    }

    /// The calls that arrived so far.
    pub fn arrivals(&self) -> Vec<Arrival> {
        self.arrivals.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

fn serve(request: &Request<Bytes>, log: &Mutex<Vec<Arrival>>) -> Response<Full<Bytes>> {
    let path = request.uri().path();
    let hook_instance = request.headers().get("x-hookgate-hook-instance");
    log.lock().unwrap_or_else(PoisonError::into_inner).push(Arrival {
        path: path.to_owned(),
        hook_instance: hook_instance.and_then(|v| v.to_str().ok()).map(str::to_owned),
        body: String::from_utf8_lossy(request.body()).into_owned(),
    });
    let host = request.headers().get(http::header::HOST).and_then(|host| host.to_str().ok());
    match (request.method(), path.strip_prefix("/cds-services")) {
        (&Method::GET, Some("")) => server::json(200, discovery().to_string()),
        (&Method::POST, Some("/patient-greeting")) => greet(request, host.unwrap_or_default()),
        (&Method::POST, Some("/patient-greeting/feedback")) => server::json(200, "{}".to_owned()),
        (&Method::GET, None) if path == "/app" => app(request),
        _ => server::answer(404, "text/html", "<h1>Cannot find that</h1>".to_owned()),
    }
}

fn discovery() -> Value {
    json!({"services": [{
        "id": ID, "hook": "patient-view", "title": "Patient greeting",
        "description": "Greets the patient whose chart is open",
        "prefetch": {"patient": "Patient/{{context.patientId}}"},
    }]})
}

#[derive(Deserialize)]
struct HookCall {
    prefetch: Option<Value>,
}

fn greet(request: &Request<Bytes>, host: &str) -> Response<Full<Bytes>> {
    let Ok(call) = serde_json::from_slice::<HookCall>(request.body()) else {
        return server::answer(
            500,
            "text/html",
            "<pre>SyntaxError at /srv/app.js:12</pre>".to_owned(),
        );
    };
    let family = call
        .prefetch
        .as_ref()
        .and_then(|prefetch| prefetch.pointer("/patient/name/0/family"))
        .and_then(Value::as_str)
        .unwrap_or("the patient");
    let cards = json!({"cards": [{
        "uuid": CARD,
        "summary": format!("Now seeing: {family}"),
        "indicator": "info",
        "source": {"label": "Legacy greeter"},
        "links": [{
            "label": "Open the greeter",
            "url": format!("http://{host}/app?session={SESSION}#greeting"),
            "type": "absolute",
        }],
        "suggestions": [{"label": "Wave", "uuid": SUGGESTION}],
    }]});
    server::json(200, cards.to_string())
}

/// The page behind the card's link.
fn app(request: &Request<Bytes>) -> Response<Full<Bytes>> {
    let known = request.uri().query().is_some_and(|query| query.contains(SESSION));
    let text = if known {
        "<!doctype html><html lang=en><title>Greeter</title><h1 id=greeting>Hello from the app behind \
         the link.</h1><p>The service handed the session over in the URL; the EHR never saw it."
    } else {
        "<!doctype html><html lang=en><title>Greeter</title><h1>No session</h1>"
    };
    server::answer(if known { 200 } else { 403 }, "text/html; charset=utf-8", text.to_owned())
}
