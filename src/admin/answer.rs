//! What each request to the admin listener gets.

use std::error::Error;
use std::sync::Arc;

use bytes::Bytes;
use http::header::{
    ALLOW, CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, LOCATION, REFERRER_POLICY, VARY,
    X_CONTENT_TYPE_OPTIONS, X_FRAME_OPTIONS,
};
use http::request::Parts;
use http::{HeaderName, HeaderValue, Method, Request, Response, StatusCode};
use http_body::Body;
use http_body_util::{BodyExt, Full, Limited};
use serde::Serialize;
use url::form_urlencoded;

use crate::admin::action::{Action, Done, Journal, Operated};
use crate::admin::guard::{MARK, Mark, Stranger, host, same_origin};
use crate::admin::page;
use crate::admin::page::View;
use crate::admin::status::Status;
use crate::clock::Clock;

/// A form has a mark and a client's name.
const MAX_FORM: usize = 4096;

/// Answers requests about what is operated.
#[derive(Debug)]
pub(crate) struct Desk {
    operated: Arc<dyn Operated>,
    mark: Mark,
    clock: Arc<dyn Clock>,
    journal: Arc<Journal>,
}

type Answer = Response<Full<Bytes>>;

/// What `/status.json` says.
#[derive(Serialize)]
struct Told<'a> {
    #[serde(flatten)]
    status: &'a Status,
    done: Vec<Arc<Done>>,
}

impl Desk {
    pub(crate) fn new(operated: Arc<dyn Operated>, mark: Mark, clock: Arc<dyn Clock>) -> Self {
        Self { operated, mark, clock, journal: Arc::default() }
    }

    /// Answers one request.
    pub(crate) async fn answer<B>(&self, request: Request<B>) -> Answer
    where
        B: Body<Data = Bytes>,
        B::Error: Into<Box<dyn Error + Send + Sync>>,
    {
        let (parts, body) = request.into_parts();
        let mut answer = match &parts.method {
            &Method::GET | &Method::HEAD => self.show(&parts).await,
            &Method::POST => self.take(&parts, body).await,
            _ => {
                let mut answer =
                    refusal(StatusCode::METHOD_NOT_ALLOWED, "only GET, HEAD and POST are answered");
                answer.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD, POST"));
                answer
            }
        };
        for (name, value) in ALWAYS {
            answer.headers_mut().insert(name, HeaderValue::from_static(value));
        }
        answer
    }

    async fn show(&self, parts: &Parts) -> Answer {
        if let Err(stranger) = host(&parts.uri, &parts.headers) {
            return refusal(StatusCode::MISDIRECTED_REQUEST, &stranger.to_string());
        }
        match parts.uri.path() {
            "/" => {
                let view = View::read(parts.uri.query(), self.journal.latest());
                let mark = self.mark.written();
                self.told(move |status| html(StatusCode::OK, page::whole(status, &view, &mark)))
                    .await
            }
            "/status.json" => {
                let done = self.journal.latest();
                self.told(move |status| json(&Told { status, done })).await
            }
            _ => refusal(StatusCode::NOT_FOUND, "there are / and /status.json"),
        }
    }

    /// Collected, and made into an answer, beside the threads that calls run on.
    async fn told(&self, into: impl FnOnce(&Status) -> Answer + Send + 'static) -> Answer {
        let operated = Arc::clone(&self.operated);
        let told = tokio::task::spawn_blocking(move || into(&operated.status()));
        told.await.unwrap_or_else(|_| {
            refusal(
                StatusCode::INTERNAL_SERVER_ERROR,
                "the status could not be collected: see the log, and please report it",
            )
        })
    }

    /// The action runs in a task of its own: whoever goes away before its end does not cut it short of being
    /// written down.
    async fn take<B>(&self, parts: &Parts, body: B) -> Answer
    where
        B: Body<Data = Bytes>,
        B::Error: Into<Box<dyn Error + Send + Sync>>,
    {
        match self.admitted(parts, body).await {
            Ok(action) => {
                let (operated, journal) = (Arc::clone(&self.operated), Arc::clone(&self.journal));
                let clock = Arc::clone(&self.clock);
                let done = tokio::spawn(async move {
                    let outcome = operated.act(&action).await;
                    journal.note(clock.now(), &action, outcome)
                });
                match done.await {
                    Ok(number) => back_to(number),
                    Err(_) => refusal(
                        StatusCode::INTERNAL_SERVER_ERROR,
                        "it broke off in the middle: see the log, and please report it",
                    ),
                }
            }
            Err(refused) => refused,
        }
    }

    async fn admitted<B>(&self, parts: &Parts, body: B) -> Result<Action, Answer>
    where
        B: Body<Data = Bytes>,
        B::Error: Into<Box<dyn Error + Send + Sync>>,
    {
        let stranger = |why: Stranger| match why {
            Stranger::Host => refusal(StatusCode::MISDIRECTED_REQUEST, &why.to_string()),
            Stranger::Origin | Stranger::Mark => refusal(StatusCode::FORBIDDEN, &why.to_string()),
        };
        let host = host(&parts.uri, &parts.headers).map_err(stranger)?;
        same_origin(&host, &parts.headers).map_err(stranger)?;
        let unread = |_| refusal(StatusCode::BAD_REQUEST, "the form cannot be read");
        let form = Limited::new(body, MAX_FORM).collect().await.map_err(unread)?.to_bytes();
        let form: Vec<(String, String)> = form_urlencoded::parse(&form).into_owned().collect();
        let mark = form.iter().find(|(name, _)| name == MARK);
        self.mark.check(mark.map_or("", |(_, value)| value)).map_err(stranger)?;
        Action::read(parts.uri.path(), &form)
            .ok_or_else(|| refusal(StatusCode::NOT_FOUND, "there is no such button"))
    }
}

const PLAIN: &str = "text/plain; charset=utf-8";

/// On every answer.
///
/// The referrer policy is not `no-referrer`, because browsers then send `Origin: null` with our own forms (Fetch,
/// append a request `Origin` header).
const ALWAYS: [(HeaderName, &str); 7] = [
    (CACHE_CONTROL, "no-store"),
    (REFERRER_POLICY, "same-origin"),
    (X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (X_FRAME_OPTIONS, "DENY"),
    (VARY, "Host"),
    (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
    (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
];

/// To the page, so that a reload does not press the button again.
fn back_to(number: u64) -> Answer {
    let mut answer = sent(StatusCode::SEE_OTHER, PLAIN, Bytes::new());
    // A number always is a header value.
    if let Ok(page) = HeaderValue::try_from(format!("/?done={number}#done")) {
        answer.headers_mut().insert(LOCATION, page);
    }
    answer
}

fn html(status: StatusCode, text: String) -> Answer {
    sent(status, "text/html; charset=utf-8", text.into())
}

fn json(told: &Told<'_>) -> Answer {
    match serde_json::to_vec_pretty(told) {
        Ok(text) => sent(StatusCode::OK, "application/json", text.into()),
        Err(_) => refusal(
            StatusCode::INTERNAL_SERVER_ERROR,
            "the status cannot be written as JSON; please report it",
        ),
    }
}

fn refusal(status: StatusCode, why: &str) -> Answer {
    html(status, page::refusal(status, why))
}

fn sent(status: StatusCode, kind: &'static str, text: Bytes) -> Answer {
    let mut answer = Response::new(Full::new(text));
    *answer.status_mut() = status;
    let headers = answer.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    headers.insert(CONTENT_SECURITY_POLICY, page::policy());
    answer
}
