//! From a request that is answered to its spans.
//!
//! Attributes are those of OpenTelemetry's semantic conventions for HTTP, and the gateway's own. None has a token,
//! a body or a link's target: of the path there is the route alone, because paths have link tokens and ids in them.

use std::net::IpAddr;
use std::time::Duration;

use http::{Method, StatusCode};

use crate::clock::{Clock, UnixTime};
use crate::entropy::{Entropy, NoEntropy};
use crate::names::{ClientId, RequestId, ServiceId};
use crate::record::{Record, Step};
use crate::trace::{SpanId, Trace};
use crate::traces::otlp::{Code, KeyValue, Kind, Span, Status, number, text};

/// W3C: the parent is known to be elsewhere.
const REMOTE_PARENT: u32 = 0x300;

/// What is told of a request that is answered.
#[derive(Clone, Debug)]
pub(crate) struct Finished {
    trace: Trace,
    request: RequestId,
    address: IpAddr,
    method: Method,
    way: &'static str,
    status: StatusCode,
    code: Option<&'static str>,
    reason: Option<&'static str>,
    client: Option<ClientId>,
    service: Option<ServiceId>,
    began: UnixTime,
    took: Duration,
    steps: Vec<Step>,
}

impl Finished {
    /// The request of `record`, which is answered now. Nothing where its trace is not recorded.
    pub(crate) fn new(record: &Record, status: StatusCode, clock: &dyn Clock) -> Option<Self> {
        let steps = record.steps()?.to_vec();
        let took = record.elapsed();
        Some(Self {
            trace: record.trace.clone()?,
            request: record.id,
            address: record.address,
            method: record.method.clone(),
            way: record.way,
            status,
            code: record.code,
            reason: record.reason,
            client: record.client.clone(),
            service: record.service.clone(),
            began: clock.now().minus(took),
            took,
            steps,
        })
    }

    /// How many spans it has.
    pub(crate) fn len(&self) -> usize {
        self.steps.len() + 1
    }

    /// Its spans, the request's own first.
    ///
    /// # Errors
    /// [`NoEntropy`] where a span needs an id and there is none.
    pub(crate) fn spans(&self, entropy: &dyn Entropy) -> Result<Vec<Span>, NoEntropy> {
        let mut spans = vec![self.whole()];
        for step in &self.steps {
            spans.push(self.part(step, entropy)?);
        }
        Ok(spans)
    }

    fn whole(&self) -> Span {
        let method = known(&self.method);
        let route = route(self.way);
        let mut attributes = vec![
            text("http.request.method", method),
            number("http.response.status_code", self.status.as_u16()),
            text("client.address", self.address.to_string()),
            text("hookgate.request", self.request.to_string()),
            text("hookgate.way", self.way),
        ];
        attributes.extend(route.map(|route| text("http.route", route)));
        attributes.extend(self.client.as_ref().map(|id| text("hookgate.client", id.as_str())));
        attributes.extend(self.service.as_ref().map(|id| text("hookgate.service", id.as_str())));
        attributes.extend(self.code.map(|code| text("hookgate.code", code)));
        attributes.extend(self.reason.map(|reason| text("hookgate.reason", reason)));
        let failed = self.status.is_server_error();
        if failed {
            let kind = self.reason.map_or_else(|| self.status.as_str().to_owned(), str::to_owned);
            attributes.push(text("error.type", kind));
        }
        let name = if method == OTHER { "HTTP" } else { method };
        Span {
            name: route.map_or_else(|| name.to_owned(), |route| format!("{name} {route}")),
            parent_span_id: self.trace.parent().map(SpanId::to_bytes).unwrap_or_default().to_vec(),
            flags: self.flags() | self.trace.parent().map_or(0, |_| REMOTE_PARENT),
            ..self.span(self.trace.span(), Kind::Server, (Duration::ZERO, self.took), failed)
        }
        .with(attributes)
    }

    fn part(&self, step: &Step, entropy: &dyn Entropy) -> Result<Span, NoEntropy> {
        let times = (step.began, step.ended);
        let child = |id, kind, failed| Span {
            name: step.name.to_owned(),
            parent_span_id: self.trace.span().to_bytes().to_vec(),
            ..self.span(id, kind, times, failed)
        };
        let Some(call) = &step.call else {
            return Ok(child(SpanId::new(entropy)?, Kind::Internal, false));
        };
        let failed = call.status.is_none_or(|status| status >= 400);
        let mut attributes = vec![text("hookgate.upstream", call.upstream.as_str())];
        attributes.extend(call.status.map(|status| number("http.response.status_code", status)));
        if failed {
            let kind = match (call.status, self.reason) {
                (Some(status), _) => status.to_string(),
                (None, reason) => reason.unwrap_or("upstream").to_owned(),
            };
            attributes.push(text("error.type", kind));
        }
        Ok(child(call.span, Kind::Client, failed).with(attributes))
    }

    fn span(&self, id: SpanId, kind: Kind, times: (Duration, Duration), failed: bool) -> Span {
        Span {
            trace_id: self.trace.id().to_bytes().to_vec(),
            span_id: id.to_bytes().to_vec(),
            flags: self.flags(),
            kind: kind.into(),
            start_time_unix_nano: self.at(times.0),
            end_time_unix_nano: self.at(times.1),
            status: failed.then(|| Status { code: Code::Error.into() }),
            ..Span::default()
        }
    }

    fn flags(&self) -> u32 {
        u32::from(self.trace.is_sampled())
    }

    fn at(&self, after: Duration) -> u64 {
        let after = u64::try_from(after.as_nanos()).unwrap_or(u64::MAX);
        self.began.millis().saturating_mul(1_000_000).saturating_add(after)
    }
}

impl Span {
    fn with(mut self, attributes: Vec<KeyValue>) -> Self {
        self.attributes = attributes;
        self
    }
}

/// What the conventions want for a method that is not one of theirs: a caller can make up any.
const OTHER: &str = "_OTHER";

fn known(method: &Method) -> &'static str {
    let known = [
        Method::GET,
        Method::POST,
        Method::HEAD,
        Method::OPTIONS,
        Method::PUT,
        Method::DELETE,
        Method::PATCH,
        Method::TRACE,
        Method::CONNECT,
    ];
    let words = ["GET", "POST", "HEAD", "OPTIONS", "PUT", "DELETE", "PATCH", "TRACE", "CONNECT"];
    let found = known.iter().zip(words).find(|(known, _)| *known == method);
    found.map_or(OTHER, |(_, word)| word)
}

fn route(way: &str) -> Option<&'static str> {
    match way {
        "discovery" => Some("/cds-services"),
        "hook" => Some("/cds-services/{id}"),
        "feedback" => Some("/cds-services/{id}/feedback"),
        "analytics" => Some("/cds-services/{id}/analytics/{uuid}"),
        "open" => Some("/open/{token}"),
        "jwks" => Some("/.well-known/jwks.json"),
        _ => None,
    }
}
