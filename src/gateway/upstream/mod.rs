//! The call to the legacy service.
//!
//! What an upstream receives is built, never copied: the headers that may pass, who is calling, a
//! credential of the operator's choice, and the EHR's body byte for byte. What it answers is held
//! whole, decoded and within bounds, before anybody sees it. A request is sent again only where the
//! upstream cannot have acted on it, or where asking twice does no harm.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Method};
use url::Url;

use crate::clock::Clock;
use crate::entropy::Entropy;
use crate::files::{Prints, named};
use crate::names::UpstreamId;

mod settings;
mod error;
mod status;
mod target;
mod identity;
mod credential;
mod headers;
mod places;
mod metrics;
mod dial;
mod decode;
mod answer;
mod exchange;

pub use crate::gateway::upstream::answer::Answer;
pub use crate::gateway::upstream::credential::{Claims, Signer};
pub use crate::gateway::upstream::error::{Stage, Unsigned, UpstreamError};
pub use crate::gateway::upstream::identity::Identity;
pub use crate::gateway::upstream::metrics::Metrics;
pub use crate::gateway::upstream::settings::{
    Authorization, Breaker, Dialled, Health, Settings, UpstreamErrors,
};
pub use crate::gateway::upstream::status::{AddressState, AddressStatus, UpstreamStatus};
pub use crate::gateway::upstream::target::Way;

use crate::gateway::upstream::answer::{Measure, accept};
use crate::gateway::upstream::credential::{Credential, Issue};
use crate::gateway::upstream::exchange::{Connections, Message, Received};
use crate::gateway::upstream::headers::Extra;
use crate::gateway::upstream::identity::Front;
use crate::gateway::upstream::metrics::{Gauges, Outcome};
use crate::gateway::upstream::places::Places;
use crate::gateway::upstream::target::{Target, Targets};
use crate::problem::{Code, KeyPath, Problem, Problems};

/// One call to an upstream, on behalf of somebody who may make it.
#[derive(Clone, Debug)]
pub struct Call<'a> {
    /// What for.
    pub way: Way<'a>,
    /// The EHR's header fields. Few of them pass.
    pub headers: &'a HeaderMap,
    /// The EHR's body, sent as it is. Discovery has none.
    pub body: Bytes,
    /// Who is calling.
    pub identity: Identity<'a>,
}

/// Every upstream that is configured, each with connections of its own.
#[derive(Debug)]
pub struct Upstreams {
    upstreams: HashMap<UpstreamId, Arc<Upstream>>,
    shared: Shared,
}

/// What all upstreams share, and all that a reload makes.
#[derive(Clone, Debug)]
struct Shared {
    signer: Option<Arc<dyn Signer>>,
    clock: Arc<dyn Clock>,
    entropy: Arc<dyn Entropy>,
    metrics: Metrics,
}

/// What decides how an upstream is called. One with equal settings is the same.
#[derive(Clone, Debug, PartialEq)]
struct MadeOf {
    settings: Settings,
    /// What was in the files that they name.
    files: Prints,
    public_url: Url,
}

/// One legacy service's base URL and how it is called.
#[derive(Debug)]
struct Upstream {
    made_of: MadeOf,
    targets: Targets,
    credential: Credential,
    extra: Extra,
    places: Places,
    connections: Connections,
    gauges: Gauges,
    cap: usize,
    errors: UpstreamErrors,
    front: Arc<Front>,
    clock: Arc<dyn Clock>,
    entropy: Arc<dyn Entropy>,
}

impl Upstreams {
    /// Reads certificates, keys and secrets. Nothing is dialled yet.
    ///
    /// `signer` is needed where an upstream has `authorization = "reissue"`.
    ///
    /// # Errors
    /// [`Problems`] names every problem of every upstream.
    pub fn new(
        settings: &[Settings],
        public_url: &Url,
        signer: Option<&Arc<dyn Signer>>,
        clock: &Arc<dyn Clock>,
        entropy: &Arc<dyn Entropy>,
        metrics: &Metrics,
    ) -> Result<Self, Problems> {
        let shared = Shared {
            signer: signer.cloned(),
            clock: Arc::clone(clock),
            entropy: Arc::clone(entropy),
            metrics: metrics.clone(),
        };
        Self::build(settings, public_url, shared, &HashMap::new())
    }

    /// The upstreams of a changed configuration. One whose settings have not changed, nor its files, is the same
    /// as before, with its connections and all that is known of it.
    ///
    /// # Errors
    /// [`Problems`] names every problem of every upstream.
    pub fn renewed(&self, settings: &[Settings], public_url: &Url) -> Result<Self, Problems> {
        Self::build(settings, public_url, self.shared.clone(), &self.upstreams)
    }

    fn build(
        settings: &[Settings],
        public_url: &Url,
        shared: Shared,
        before: &HashMap<UpstreamId, Arc<Upstream>>,
    ) -> Result<Self, Problems> {
        let Some(front) = Front::new(public_url).map(Arc::new) else {
            let why = "public_url has no host; write \"https://cds.example.org\"";
            return Err(Problems(vec![Problem::said(Code::BadValue, why)]));
        };
        let (mut upstreams, mut problems) = (HashMap::new(), Vec::new());
        for (index, one) in settings.iter().enumerate() {
            let at = KeyPath::of("upstream").index(index);
            let made_of = MadeOf {
                settings: one.clone(),
                files: Prints::of(named(one)),
                public_url: public_url.clone(),
            };
            let same = before.get(&one.id).filter(|before| before.made_of == made_of);
            let upstream = match same {
                Some(same) => Ok(Arc::clone(same)),
                None => Upstream::new(made_of, &front, &shared).map(Arc::new),
            };
            match upstream {
                Ok(upstream) => {
                    if upstreams.insert(one.id.clone(), upstream).is_some() {
                        let why = "another upstream has this id; give each its own";
                        problems.push(Problem::error(Code::Duplicate, at.key("id"), why));
                    }
                }
                Err(found) => {
                    problems.extend(found.into_iter().map(|problem| problem.below(&at)));
                }
            }
        }
        if problems.is_empty() { Ok(Self { upstreams, shared }) } else { Err(Problems(problems)) }
    }

    /// Calls `upstream` and waits for its whole answer.
    ///
    /// May be dropped at any time: the connection is then closed and the place given back.
    ///
    /// # Errors
    /// [`UpstreamError`]; its [`surely_not_processed`](UpstreamError::surely_not_processed) says
    /// whether the call may be made again without the risk of its being done twice.
    pub async fn call(
        &self,
        upstream: &UpstreamId,
        call: Call<'_>,
    ) -> Result<Answer, UpstreamError> {
        let Some(upstream) = self.upstreams.get(upstream) else {
            return Err(UpstreamError::Unknown(upstream.clone()));
        };
        let waiting = upstream.places.take(self.shared.clock.as_ref()).await;
        let _place = waiting.inspect_err(|e| upstream.gauges.count(Outcome::of_error(e)))?;
        let under_way = upstream.gauges.begin();
        let result = upstream.call(call).await;
        under_way.finish(match &result {
            Ok(answer) => Outcome::of_status(answer.status()),
            Err(error) => Outcome::of_error(error),
        });
        result
    }
}

/// What is read from settings and files.
struct Parts {
    targets: Targets,
    credential: Credential,
    extra: Extra,
    connections: Connections,
}

impl Parts {
    fn read(settings: &Settings, signer: Option<&Arc<dyn Signer>>) -> Result<Self, Vec<Problem>> {
        let mut problems = settings::problems(settings);
        if !problems.is_empty() {
            return Err(problems);
        }
        let targets = Targets::new(settings).map_err(|found| problems.extend(found));
        let extra = Extra::new(&settings.request_headers).map_err(|found| problems.extend(found));
        let credential = Credential::new(settings, signer).map_err(|why| problems.push(why));
        let connections = Connections::new(settings).map_err(|why| problems.push(why));
        match (targets, credential, extra, connections) {
            (Ok(targets), Ok(credential), Ok(extra), Ok(connections)) => {
                Ok(Self { targets, credential, extra, connections })
            }
            (_, _, _, _) => Err(problems),
        }
    }
}

impl Upstream {
    fn new(made_of: MadeOf, front: &Arc<Front>, shared: &Shared) -> Result<Self, Vec<Problem>> {
        let settings = &made_of.settings;
        let parts = Parts::read(settings, shared.signer.as_ref())?;
        let queue_timeout = settings.queue_timeout.get();
        Ok(Self {
            targets: parts.targets,
            credential: parts.credential,
            extra: parts.extra,
            places: Places::new(settings.max_concurrent, settings.max_queued, queue_timeout),
            connections: parts.connections,
            gauges: shared.metrics.of(&settings.id),
            cap: settings.max_answer.bytes(),
            errors: settings.upstream_errors,
            front: Arc::clone(front),
            clock: Arc::clone(&shared.clock),
            entropy: Arc::clone(&shared.entropy),
            made_of,
        })
    }

    async fn call(&self, call: Call<'_>) -> Result<Answer, UpstreamError> {
        let target = self.targets.of(call.way)?;
        let discovery = call.way == Way::Discovery;
        let headers = self.headers(&call, &target)?;
        let conditional = discovery
            && (headers.contains_key(http::header::IF_NONE_MATCH)
                || headers.contains_key(http::header::IF_MODIFIED_SINCE));
        let message = Message {
            method: if discovery { Method::GET } else { Method::POST },
            uri: target.uri,
            headers,
            body: if discovery { Bytes::new() } else { call.body },
        };
        let measure = Measure { cap: self.cap, errors: self.errors, conditional };
        let began = self.clock.monotonic();
        let received = self.exchange(message, measure).await;
        let took = self.clock.monotonic().saturating_sub(began);
        self.gauges.took(took);
        self.accept(received?, measure, took).await
    }

    /// Sends once more where that does no harm.
    async fn exchange(
        &self,
        message: Message,
        measure: Measure,
    ) -> Result<Received, UpstreamError> {
        let deadline = self.connections.deadline();
        let asks_only = message.method == Method::GET;
        match self.connections.exchange(message.clone(), measure, deadline).await {
            Err(error) if worth_repeating(&error, asks_only) => {
                self.gauges.repeated();
                self.connections.exchange(message, measure, deadline).await
            }
            first => first,
        }
    }

    async fn accept(
        &self,
        received: Received,
        measure: Measure,
        took: Duration,
    ) -> Result<Answer, UpstreamError> {
        accept(received.status, &received.headers, received.body, measure, took).await
    }

    fn headers(&self, call: &Call<'_>, target: &Target) -> Result<HeaderMap, UpstreamError> {
        let discovery = call.way == Way::Discovery;
        let mut headers = headers::request(call.headers, discovery, &self.extra);
        identity::write(&mut headers, &call.identity, &self.front);
        call.identity.trace.write(&mut headers);
        let issue = Issue {
            issuer: &self.front.url,
            audience: &target.text,
            identity: &call.identity,
            clock: self.clock.as_ref(),
            entropy: self.entropy.as_ref(),
        };
        self.credential.write(&mut headers, call.headers, &issue)?;
        Ok(headers)
    }
}

/// Whether a second try may succeed, and cannot do what the first has done already.
const fn worth_repeating(error: &UpstreamError, asks_only: bool) -> bool {
    match error {
        UpstreamError::Unreachable(_) => true,
        UpstreamError::Broken(_) => asks_only,
        UpstreamError::Unknown(_)
        | UpstreamError::Unaddressable
        | UpstreamError::Entropy(_)
        | UpstreamError::Unsigned(_)
        | UpstreamError::Overloaded
        | UpstreamError::Tls(_)
        | UpstreamError::Late(_)
        | UpstreamError::NotHttp(_)
        | UpstreamError::TooLarge
        | UpstreamError::Encoded(_)
        | UpstreamError::Redirect(_) => false,
    }
}
