//! A call of an EHR: its way, and its token.

use std::sync::Arc;

use http::header::{AUTHORIZATION, HOST};
use http::request::Parts;
use http::{HeaderMap, HeaderValue, Method, Request, Uri};
use url::Url;

use crate::clock::UnixTime;
use crate::explain::report::{Report, Standing, Step, Verdict, refused, said};
use crate::gateway::auth::{
    Authenticator, Called, Examination, Finding, Outcome, Question, ReplayMode,
};
use crate::gateway::discovery::Mode;
use crate::gateway::entry::called;
use crate::gateway::refusal::{Refusal, auth_reason};
use crate::gateway::route::{RouteError, Router, Way};
use crate::gateway::service::Services;
use crate::names::ClientId;

/// A call that is to be explained.
#[derive(Debug)]
pub struct CallQuestion<'a> {
    /// The value of its `Authorization` header.
    pub authorization: &'a HeaderValue,
    /// Its method; without one, the one that its way takes.
    pub method: Option<&'a Method>,
    /// Its URL, as the EHR has it.
    pub url: &'a Uri,
    /// When it came.
    pub at: UnixTime,
    /// By which client's rules it is examined where its issuer is not known.
    pub assumed: Option<&'a ClientId>,
    /// Whether the client's key server is asked.
    pub live: bool,
}

/// Explains calls.
#[derive(Debug)]
pub struct Calls {
    auth: Arc<Authenticator>,
    services: Arc<Services>,
    router: Router,
    discovery: Mode,
    public_url: Url,
}

impl Calls {
    /// Explains calls to the gateway at `public_url`.
    pub fn new(
        auth: Arc<Authenticator>,
        services: Arc<Services>,
        discovery: Mode,
        public_url: &Url,
    ) -> Self {
        let router = Router::new(public_url);
        Self { auth, services, router, discovery, public_url: public_url.clone() }
    }

    /// Explains one.
    pub async fn explain(&self, question: &CallQuestion<'_>) -> Report {
        let (route, way) = self.route(question);
        let shown = question.url.to_string();
        let method = question.method.map_or_else(String::new, |method| format!("{method} "));
        let mut report = Report {
            subject: format!("the token of a call of {method}{shown} at {}", question.at),
            steps: Vec::new(),
            verdict: Verdict::Undecided { sentence: String::new() },
            notes: self.notes(question.url),
        };
        let refusal = match route {
            Ok(step) => {
                report.steps.push(step);
                None
            }
            Err((step, refusal)) => {
                report.steps.push(step);
                Some(refusal)
            }
        };
        let Some(target) = way.as_ref().and_then(called) else {
            report.verdict = match refusal {
                Some(refusal) => refused(&refusal),
                None => Verdict::Accepted { sentence: "nobody needs a token here".to_owned() },
            };
            return report;
        };
        let examination = self.examine(question, &target).await;
        report.notes.extend(self.about(&examination, way.as_ref()));
        report.verdict = match refusal {
            Some(refusal) => refused(&refusal),
            None => self.verdict(&examination, way.as_ref()),
        };
        report.steps.extend(examination.findings.into_iter().map(step));
        report
    }

    async fn examine(&self, question: &CallQuestion<'_>, called: &Called<'_>) -> Examination {
        let mut headers = HeaderMap::new();
        headers.insert(AUTHORIZATION, question.authorization.clone());
        let question = Question {
            headers: &headers,
            called,
            at: question.at,
            assumed: question.assumed,
            live: question.live,
        };
        self.auth.examine(&question).await
    }

    /// The way, and the first step. The way is told also where it is refused, as far as it is known.
    fn route(&self, question: &CallQuestion<'_>) -> (Result<Step, (Step, Refusal)>, Option<Way>) {
        const NAME: &str = "route";
        let path = question.url.path().to_owned();
        let failed = |refusal: Refusal, change: &str| {
            (Step::failed(NAME, said(&refusal), path.clone(), change), refusal)
        };
        let routed = match question.method {
            Some(method) => self.routed(method, question.url),
            None => self.routed(&Method::POST, question.url).or_else(|error| match error {
                RouteError::Method { .. } => self.routed(&Method::GET, question.url),
                RouteError::NoRoute | RouteError::Malformed(_) => Err(error),
            }),
        };
        let way = match routed {
            Ok(way) => way,
            Err(error) => {
                let way = error.way().cloned();
                let change = match &error {
                    RouteError::Method { way } => format!("at the EHR: {}", way.allow()),
                    RouteError::NoRoute => format!(
                        "at the EHR: call {}/cds-services, …/{{id}} or …/{{id}}/feedback; mind the path in \
                         public_url",
                        self.public_url.as_str().trim_end_matches('/')
                    ),
                    RouteError::Malformed(_) => {
                        "at the EHR, or at a proxy on the way: send the plain path".to_owned()
                    }
                };
                return (Err(failed(error.into(), &change)), way);
            }
        };
        if way.service().is_some_and(|id| self.services.get(id).is_none()) {
            let change =
                "add a [[service]] with this id, or one with id = \"*\"; or correct the EHR";
            return (Err(failed(Refusal::NoService, change)), Some(way));
        }
        let of = way.service().map_or_else(String::new, |id| format!(" of service {id}"));
        (Ok(Step::passed(NAME, format!("{}{of}", way.name()))), Some(way))
    }

    fn routed(&self, method: &Method, url: &Uri) -> Result<Way, RouteError> {
        let parts = self.request(method, url).ok_or(RouteError::Malformed("target"))?;
        self.router.route(&parts).map(|route| route.way().clone())
    }

    /// The request as it would come.
    fn request(&self, method: &Method, url: &Uri) -> Option<Parts> {
        let target = url.path_and_query()?.as_str();
        let host = url.authority().map_or("gateway", |authority| authority.as_str());
        let request = Request::builder().method(method).uri(target).header(HOST, host);
        Some(request.body(()).ok()?.into_parts().0)
    }

    fn notes(&self, url: &Uri) -> Vec<String> {
        let origin = self.public_url.origin().ascii_serialization();
        let called = url.to_string().parse::<Url>().ok().map(|url| url.origin());
        match called.map(|origin| origin.ascii_serialization()) {
            Some(called) if called != origin => vec![format!(
                "{called} is not {origin}, under which public_url says that this gateway is called; audiences \
                 are computed from public_url"
            )],
            Some(_) | None => Vec::new(),
        }
    }

    fn about(&self, examination: &Examination, way: Option<&Way>) -> Vec<String> {
        let mut notes = Vec::new();
        if let Some(client) = examination.client.as_ref().filter(|_| examination.assumed) {
            notes.push(format!("examined by the rules of client {client}, which it does not name"));
        }
        if !examination.ignored.is_empty() {
            let names: Vec<&str> = examination.ignored.iter().map(|name| name.as_str()).collect();
            notes.push(format!("claims that nothing here looks at: {}", names.join(", ")));
        }
        if matches!(way, Some(Way::Discovery)) && self.discovery == Mode::Open {
            notes.push("discovery.mode is \"open\": this call needs no token".to_owned());
        }
        let by_uuid = way.and_then(Way::service).and_then(|id| self.services.get(id));
        if matches!(way, Some(Way::Analytics(..))) && by_uuid.is_some_and(|s| s.takes_uuid_alone())
        {
            notes.push("feedback.analytics is \"uuid\": this call needs no token".to_owned());
        }
        notes
    }

    fn verdict(&self, examination: &Examination, way: Option<&Way>) -> Verdict {
        match &examination.verdict {
            _ if matches!(way, Some(Way::Discovery)) && self.discovery == Mode::Open => {
                Verdict::Accepted { sentence: "anybody may ask which services there are".to_owned() }
            }
            Err(_) if examination.keys_unasked => Verdict::Undecided {
                sentence: "the signature was not verified for want of the client's keys; use --live to ask its \
                           key server once"
                    .to_owned(),
            },
            Err(error) => refused(&Refusal::Auth(error.clone())),
            Ok(_) => Verdict::Accepted { sentence: self.still(examination) },
        }
    }

    /// What comes after the token.
    fn still(&self, examination: &Examination) -> String {
        let replay = match examination.replay {
            Some(ReplayMode::Reject) => "unless it was used before",
            Some(ReplayMode::SameRequest) => "unless it was used before for another request",
            Some(ReplayMode::Observe) | None => "used before or not",
        };
        format!(
            "{replay}, which is not looked up here, and the token is not spent; limits and the request's body \
             come after"
        )
    }
}

fn step(finding: Finding) -> Step {
    let Finding { check, outcome, came, expected, change } = finding;
    let standing = match outcome {
        Outcome::Passed => Standing::Passed,
        Outcome::Failed(reason) => {
            Standing::Failed { reason: auth_reason(&reason), sentence: reason.to_string() }
        }
        Outcome::Unsaid(why) => Standing::Unsaid { sentence: why.to_owned() },
    };
    Step { name: check.name(), standing, came, expected, change }
}
