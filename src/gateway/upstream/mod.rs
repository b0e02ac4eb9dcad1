//! The call to the legacy service.
//!
//! What an upstream receives is built, never copied: the headers that may pass, who is calling, a
//! credential of the operator's choice, and the EHR's body byte for byte. What it answers is held
//! whole, decoded and within bounds, before anybody sees it. A request is sent again only where the
//! upstream cannot have acted on it, or where asking twice does no harm.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Method};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use url::Url;

use crate::clock::Clock;
use crate::entropy::Entropy;
use crate::names::UpstreamId;

mod settings;
mod error;
mod outcome;
mod status;
mod target;
mod identity;
mod credential;
mod headers;
mod places;
mod metrics;
mod tls;
mod dial;
mod decode;
mod answer;
mod exchange;
mod rolling;
mod recent;
mod breaker;
mod address;
mod pool;
mod tending;
mod kept;

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
pub use crate::gateway::upstream::tending::Surroundings;

use crate::gateway::upstream::answer::{Measure, accept};
use crate::gateway::upstream::credential::{Credential, Issue};
use crate::gateway::upstream::exchange::{Message, Received};
use crate::gateway::upstream::headers::Extra;
use crate::gateway::upstream::identity::Front;
use crate::gateway::upstream::kept::Kept;
use crate::gateway::upstream::outcome::Outcome;
use crate::gateway::upstream::places::Place;
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
    upstreams: BTreeMap<UpstreamId, Upstream>,
    shared: Shared,
}

/// What all upstreams share, and all that a reload makes.
#[derive(Clone, Debug)]
struct Shared {
    signer: Option<Arc<dyn Signer>>,
    around: Surroundings,
}

/// One legacy service's base URL and how it is called.
#[derive(Debug)]
struct Upstream {
    targets: Targets,
    credential: Credential,
    extra: Extra,
    front: Arc<Front>,
    kept: Arc<Kept>,
    cap: usize,
    errors: UpstreamErrors,
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
        around: Surroundings,
    ) -> Result<Self, Problems> {
        let shared = Shared { signer: signer.cloned(), around };
        Self::build(settings, public_url, shared, &BTreeMap::new())
    }

    /// The upstreams of a changed configuration. One whose settings and certificates are the same as before
    /// goes on as it is: with its connections, its calls under way and what is known about its addresses.
    /// Secrets are read anew.
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
        before: &BTreeMap<UpstreamId, Upstream>,
    ) -> Result<Self, Problems> {
        let Some(front) = Front::new(public_url).map(Arc::new) else {
            let why = "public_url has no host; write \"https://cds.example.org\"";
            return Err(Problems(vec![Problem::said(Code::BadValue, why)]));
        };
        let (mut upstreams, mut problems) = (BTreeMap::new(), Vec::new());
        for (index, one) in settings.iter().enumerate() {
            let at = KeyPath::of("upstream").index(index);
            match Upstream::new(one, &front, &shared, before.get(&one.id)) {
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

    /// Begins to look names up and to ask after the health of addresses, where that does not run from before;
    /// it ends with `stop`, or when nobody has the upstream any more.
    pub fn start(&self, tasks: &TaskTracker, stop: &CancellationToken) {
        for upstream in self.upstreams.values() {
            upstream.kept.start(tasks, stop);
        }
    }

    /// How each upstream is, in the order of their names.
    pub fn status(&self) -> Vec<UpstreamStatus> {
        self.upstreams.values().map(|upstream| upstream.kept.status()).collect()
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
        let gauges = &upstream.kept.gauges;
        let place = upstream.place().await.inspect_err(|e| gauges.count(Outcome::of_error(e)))?;
        let under_way = gauges.begin();
        let result = upstream.call(call).await;
        under_way.finish(match &result {
            Ok(answer) => Outcome::of_status(answer.status()),
            Err(error) => Outcome::of_error(error),
        });
        drop(place);
        result
    }
}

impl Upstream {
    fn new(
        settings: &Settings,
        front: &Arc<Front>,
        shared: &Shared,
        before: Option<&Self>,
    ) -> Result<Self, Vec<Problem>> {
        let mut problems = settings::problems(settings);
        if !problems.is_empty() {
            return Err(problems);
        }
        let (signer, around) = (shared.signer.as_ref(), &shared.around);
        let targets = Targets::new(settings).map_err(|found| problems.extend(found));
        let extra = Extra::new(&settings.request_headers).map_err(|found| problems.extend(found));
        let credential = Credential::new(settings, signer).map_err(|why| problems.push(why));
        let kept = Kept::after(before.map(|before| &before.kept), settings, around)
            .map_err(|why| problems.push(why));
        match (targets, credential, extra, kept) {
            (Ok(targets), Ok(credential), Ok(extra), Ok(kept)) => Ok(Self {
                targets,
                credential,
                extra,
                front: Arc::clone(front),
                kept,
                cap: settings.max_answer.bytes(),
                errors: settings.upstream_errors,
                clock: Arc::clone(&around.clock),
                entropy: Arc::clone(&around.entropy),
            }),
            (_, _, _, _) => Err(problems),
        }
    }

    /// Leave to call. Who would be turned away does not wait for it.
    async fn place(&self) -> Result<Place<'_>, UpstreamError> {
        self.kept.pool().admits()?;
        self.kept.places.take(self.clock.as_ref()).await
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
        self.kept.gauges.took(took);
        self.accept(received?, measure, took).await
    }

    /// Sends once more where that does no harm: to another address, or to the same where there is no
    /// other and it may help.
    async fn exchange(
        &self,
        message: Message,
        measure: Measure,
    ) -> Result<Received, UpstreamError> {
        let deadline = self.kept.deadline();
        let asks_only = message.method == Method::GET;
        let first = self.kept.pool().lease()?;
        let failed = match first.exchange(message.clone(), measure, deadline).await {
            Err(error) if Instant::now() < deadline => error,
            last => return first.finish(last),
        };
        let again = again(&failed, asks_only);
        if again == Again::Never {
            return first.finish(Err(failed));
        }
        if let Some(other) = self.kept.pool().lease_other(first.address()) {
            self.kept.gauges.repeated();
            let _elsewhere_it_may_go_well = first.finish(Err(failed));
            let last = other.exchange(message, measure, deadline).await;
            return other.finish(last);
        }
        if again == Again::Elsewhere {
            return first.finish(Err(failed));
        }
        self.kept.gauges.repeated();
        // One call, however often it is sent: it fails once.
        let last = first.exchange(message, measure, deadline).await;
        first.finish(last)
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

/// Where a second try may succeed, and cannot do what the first has done already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Again {
    Never,
    /// At another address only: the same would give the same.
    Elsewhere,
    Anywhere,
}

const fn again(error: &UpstreamError, asks_only: bool) -> Again {
    match error {
        UpstreamError::Unreachable(_) | UpstreamError::Returned(_) => Again::Anywhere,
        UpstreamError::Broken(_) if asks_only => Again::Anywhere,
        UpstreamError::Tls(_) | UpstreamError::Late(Stage::Connect) => Again::Elsewhere,
        UpstreamError::Unknown(_)
        | UpstreamError::Unaddressable
        | UpstreamError::Entropy(_)
        | UpstreamError::Unsigned(_)
        | UpstreamError::Overloaded
        | UpstreamError::Open { .. }
        | UpstreamError::Broken(_)
        | UpstreamError::Late(Stage::Head | Stage::Body)
        | UpstreamError::NotHttp(_)
        | UpstreamError::TooLarge
        | UpstreamError::Encoded(_)
        | UpstreamError::Redirect(_) => Again::Never,
    }
}
