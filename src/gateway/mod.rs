//! The two ways through: a call to a service, and a link that a clinician opens.
//!
//! The list below is in the order in which a request meets the steps.

pub mod reply;
pub mod route;
pub mod auth;
pub mod limit;
pub mod replay;
pub mod inspect;
pub mod upstream;
pub mod signer;
pub mod tokens;
pub mod cards;
pub mod outcomes;
pub mod cors;
pub mod opening;
pub mod service;
pub mod refusal;
pub mod entry;
pub mod forward;
pub mod rewrite;
pub mod issued;
pub mod delivery;
pub mod discovery;
pub mod hook;
pub mod feedback;
pub mod analytics;
pub mod open;
pub mod jwks;

use std::sync::Arc;

use bytes::Bytes;
use http::header::{CONTENT_LENGTH, SET_COOKIE, X_CONTENT_TYPE_OPTIONS};
use http::request::Parts;
use http::{HeaderName, HeaderValue, Method, Request};
use http_body::Body;
use http_body_util::Full;

use crate::audit::{Audit, Unaudited};
use crate::client_certificate::ClientCertificate;
use crate::clock::Clock;
use crate::entropy::Entropy;
use crate::gateway::analytics::AnalyticsPath;
use crate::gateway::cors::Cors;
use crate::gateway::discovery::DiscoveryPath;
use crate::gateway::feedback::FeedbackPath;
use crate::gateway::hook::HookPath;
use crate::gateway::jwks::JwksPath;
use crate::gateway::limit::Limits;
use crate::gateway::open::OpenPath;
use crate::gateway::refusal::Refusal;
use crate::gateway::reply::{Reader, Reply};
use crate::gateway::route::{Router, Way};
use crate::names::RequestId;
use crate::peer::{Peer, TrustedProxies};
use crate::record::{Record, Recorder};
use crate::trace::Trace;
use crate::traces::Traces;

const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// Everything between the doors and the upstreams.
#[derive(Debug)]
pub struct Gateway {
    /// Which way a request wants to go.
    pub router: Router,
    /// Whom to believe about a client's address.
    pub trusted: TrustedProxies,
    /// Whether every call of an EHR must come over a connection on which a certificate was shown.
    pub certificate_required: bool,
    /// How often somebody may come.
    pub limits: Arc<Limits>,
    /// Browser EHRs.
    pub cors: Cors,
    /// The ways.
    pub ways: Ways,
    /// One line and one count per request.
    pub recorder: Recorder,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// One event per decision.
    pub audit: Audit,
    /// What requests' time went into.
    pub traces: Traces,
    /// Randomness for request ids.
    pub entropy: Arc<dyn Entropy>,
}

/// The ways that a request can go.
#[derive(Debug)]
pub struct Ways {
    /// `GET /cds-services`
    pub discovery: DiscoveryPath,
    /// `POST /cds-services/{id}`
    pub hook: HookPath,
    /// `POST /cds-services/{id}/feedback`
    pub feedback: FeedbackPath,
    /// `POST /cds-services/{id}/analytics/{uuid}`
    pub analytics: AnalyticsPath,
    /// `/open/{token}`
    pub open: OpenPath,
    /// `GET /.well-known/jwks.json`: the gateway's own public keys
    pub jwks: JwksPath,
}

impl Gateway {
    /// Answers a request. Never fails: what goes wrong becomes a refusal here, and is recorded here, once.
    pub async fn handle<B>(&self, request: Request<B>, peer: Peer) -> Reply
    where
        B: Body<Data = Bytes> + Send,
    {
        let (mut parts, body) = request.into_parts();
        if let Some(certificate) = peer.certificate {
            parts.extensions.insert(certificate);
        }
        let address = self.trusted.client_address(peer.address.ip(), &parts.headers);
        let (entropy, mut reader) = (self.entropy.as_ref(), Reader::Other);
        let id = RequestId::new(self.clock.now(), entropy);
        let trace = Trace::of(&parts.headers, self.traces.sampling(), entropy);
        let mut record = Record::open(
            id.unwrap_or(RequestId::UNKNOWN),
            address,
            parts.method.clone(),
            &self.clock,
        );
        if self.audit.is_on() {
            record.want_decisions();
        }
        let outcome = match (id, trace) {
            (Ok(_), Ok(trace)) => {
                if self.traces.wants(&trace) {
                    record.want_steps();
                }
                record.trace = Some(trace);
                self.run(&parts, body, &mut reader, &mut record).await
            }
            (Err(no_entropy), _) | (_, Err(no_entropy)) => Err(no_entropy.into()),
        };
        let mut reply = match outcome {
            Ok(reply) => reply,
            Err(refusal) => self.refuse(&refusal, reader, &mut record).await,
        };
        if let Err(unaudited) = self.tell(&reply, &record).await {
            // A link that was spent is this browser's, and stays so: it may come again when events can be written.
            let cookie = reply.headers_mut().remove(SET_COOKIE);
            reply = self.refuse(&unaudited.into(), reader, &mut record).await;
            if let Some(cookie) = cookie {
                reply.headers_mut().insert(SET_COOKIE, cookie);
            }
        }
        self.finish(&mut reply, reader, &parts, &record);
        reply
    }

    /// Tells what was decided, before anybody sees the answer.
    async fn tell(&self, reply: &Reply, record: &Record) -> Result<(), Unaudited> {
        match record.decisions(reply.status()) {
            Some((about, events)) => self.audit.note_all(about, events).await,
            None => Ok(()),
        }
    }

    /// The request's way, from the address limit on. Every step may refuse with `?`.
    async fn run<B>(
        &self,
        parts: &Parts,
        body: B,
        reader: &mut Reader,
        record: &mut Record,
    ) -> Result<Reply, Refusal>
    where
        B: Body<Data = Bytes> + Send,
    {
        let routed = self.router.route(parts);
        let way = match &routed {
            Ok(route) => Some(route.way()),
            Err(error) => error.way(),
        };
        *reader = read_by(way, parts);
        if let Some(way) = way {
            record.way = way.name();
            record.service = way.service().cloned();
        }
        let route = routed?;
        if route.is_preflight() {
            // A browser sends it by itself and without a credential: it costs the caller nothing.
            return Ok(self.preflight(route.way(), parts));
        }
        // What cannot be told is not decided.
        self.audit.ready()?;
        let _standing = self.limits.admit_address(record.address).await?;
        let has_certificate = parts.extensions.get::<Arc<ClientCertificate>>().is_some();
        if self.certificate_required && route.way().is_for_ehrs() && !has_certificate {
            return Err(Refusal::NoCertificate);
        }
        match route.way() {
            Way::Discovery => self.ways.discovery.run(parts, body, record).await,
            Way::Hook(id) => self.ways.hook.run(id, parts, body, record).await,
            Way::Feedback(id) => self.ways.feedback.run(id, parts, body, record).await,
            Way::Analytics(id, uuid) => {
                self.ways.analytics.run((id, uuid), parts, body, record).await
            }
            Way::Open(token) => {
                let _standing = self.limits.admit_open(record.address).await?;
                self.ways.open.run(token, parts, record).await
            }
            Way::Jwks => Ok(self.ways.jwks.run(parts)),
        }
    }

    async fn refuse(&self, refusal: &Refusal, reader: Reader, record: &mut Record) -> Reply {
        let public = refusal.public();
        record.code = Some(public.code);
        record.reason = Some(refusal.reason());
        // By house rule no error's text holds a secret, a body or a link's target.
        record.detail = Some(refusal.to_string());
        if refusal.may_be_a_guess() {
            self.limits.note_failure(record.address).await;
        }
        match reader {
            Reader::Ehr => public.outcome(record.id),
            Reader::Browser => refusal.page(record.id),
            Reader::Other => public.problem(record.id),
        }
    }

    /// What every answer has, whoever made it.
    fn finish(&self, reply: &mut Reply, reader: Reader, parts: &Parts, record: &Record) {
        // A preflight's answer says already what a page may send.
        if reader == Reader::Ehr && parts.method != Method::OPTIONS {
            self.cors.decorate(reply.headers_mut(), &parts.headers);
        }
        let headers = reply.headers_mut();
        headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
        if let Ok(id) = HeaderValue::try_from(record.id.to_string()) {
            headers.insert(X_REQUEST_ID, id);
        }
        let length = body_length(reply);
        if parts.method == Method::HEAD {
            reply.headers_mut().insert(CONTENT_LENGTH, HeaderValue::from(length));
            *reply.body_mut() = Full::default();
        }
        self.recorder.close(record, reply.status(), length);
        self.traces.finish(record, reply.status());
    }

    fn preflight(&self, way: &Way, parts: &Parts) -> Reply {
        let (status, headers) = self.cors.preflight(&parts.headers, &way.methods());
        let mut reply = Reply::default();
        *reply.status_mut() = status;
        *reply.headers_mut() = headers;
        reply
    }
}

/// Where there is no way, a person may have come by a link that was cut short.
fn read_by(way: Option<&Way>, parts: &Parts) -> Reader {
    if way.is_some_and(Way::is_for_ehrs) {
        return Reader::Ehr;
    }
    let for_people = way.is_none_or(|way| matches!(way, Way::Open(_)));
    if for_people && opening::wants_page(&parts.headers) { Reader::Browser } else { Reader::Other }
}

fn body_length(reply: &Reply) -> usize {
    reply.body().size_hint().exact().and_then(|length| usize::try_from(length).ok()).unwrap_or(0)
}
