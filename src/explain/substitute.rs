//! A link or an id that stands for something: what is sealed in it, and whether it is still good.

use std::sync::Arc;
use std::time::Duration;

use http::{Method, Request, Uri};
use url::Url;

use crate::clock::UnixTime;
use crate::explain::report::{Report, Step, Verdict, refused, said};
use crate::gateway::refusal::Refusal;
use crate::gateway::route::{Router, Way};
use crate::gateway::service::Services;
use crate::gateway::tokens::{CardIds, IdError, LinkTokens, Opened, Target, TokenError, key_of};
use crate::keyring::{KeyRow, KeyUse, LiveKeyring};
use crate::units::{Period, moment};

/// Explains links and ids.
#[derive(Debug)]
pub struct Substitutes {
    keyring: Arc<LiveKeyring>,
    links: LinkTokens,
    services: Services,
    router: Router,
    public_url: Url,
}

const UNKNOWN_KEY: &str = "wait until every replica has the newest key file; a key that was retired does not come \
                           back, and what it made is gone";

impl Substitutes {
    /// Explains what a gateway at `public_url` with this `keyring` made.
    pub fn new(
        keyring: Arc<LiveKeyring>,
        links: LinkTokens,
        services: Services,
        public_url: &Url,
    ) -> Self {
        let router = Router::new(public_url);
        Self { keyring, links, services, router, public_url: public_url.clone() }
    }

    /// Explains a link at `at`: the whole URL, or the token at its end. Where it leads is told only where it
    /// is asked for: it may be a credential.
    pub fn link(&self, text: &str, at: UnixTime, show_target: bool) -> Report {
        let mut report = Report {
            subject: format!("a link at {at}"),
            steps: Vec::new(),
            verdict: Verdict::Undecided { sentence: String::new() },
            notes: Vec::new(),
        };
        report.verdict = match self.judge_link(text, at, show_target, &mut report) {
            Ok(()) => Verdict::Accepted {
                sentence: "unless it was opened before, or the store has lost its memory since it was made: the \
                           store is not asked, and nothing is spent"
                    .to_owned(),
            },
            Err(refusal) => refused(&refusal),
        };
        report
    }

    fn judge_link(
        &self,
        text: &str,
        at: UnixTime,
        show_target: bool,
        report: &mut Report,
    ) -> Result<(), Refusal> {
        let steps = &mut report.steps;
        let token = match self.token_of(text) {
            Ok(token) => token,
            Err(refusal) => {
                let change = format!("a link is {}/open/ and a token", self.base());
                steps.push(Step::failed("url", said(&refusal), "", &change));
                return Err(refusal);
            }
        };
        let length = format!("a token of {} characters", token.len());
        let Some(kid) = key_of(&token) else {
            let refusal = Refusal::from(TokenError::Malformed);
            let change = "check that it was copied whole; a link that was cut is no link";
            steps.push(Step::failed("form", said(&refusal), length, change));
            return Err(refusal);
        };
        steps.push(Step::passed("form", length));
        steps.push(match self.key(kid) {
            Some(key) => Step::passed("key", key),
            None => Step::failed(
                "key",
                said(&TokenError::UnknownKey.into()),
                kid.to_string(),
                UNKNOWN_KEY,
            ),
        });
        let opened = self.links.look(&token).map_err(Refusal::from).inspect_err(|refusal| {
            // Told already.
            if let Refusal::Token(TokenError::UnknownKey) = refusal {
                return;
            }
            let change = if let Refusal::Token(TokenError::Orphaned) = refusal {
                "put the client and the service that it was made for back into the configuration"
            } else {
                "it was changed, or made by a gateway with another key file or another public_url"
            };
            steps.push(Step::failed("seal", said(refusal), "", change));
        })?;
        steps.push(Step::passed("seal", "holds: made by this gateway and not changed since"));
        self.describe(&opened, at, show_target, report);
        let expired = Refusal::from(TokenError::Expired { binding: opened.binding().clone() });
        let expiry = moment(opened.expires(), at);
        if at >= opened.expires() {
            let change = "the clinician goes back to the chart, where the card is offered anew; links live for \
                          service.links.lifetime";
            report.steps.push(Step::failed("expiry", said(&expired), expiry, change));
            return Err(expired);
        }
        report.steps.push(Step::passed("expiry", expiry));
        let service = &opened.binding().service;
        if self.services.get(service).is_none() {
            let change = "add a [[service]] with this id, or one with id = \"*\"";
            let refusal = Refusal::Orphaned;
            report.steps.push(Step::failed("service", said(&refusal), service.to_string(), change));
            return Err(refusal);
        }
        Ok(())
    }

    fn describe(&self, opened: &Opened, at: UnixTime, show_target: bool, report: &mut Report) {
        let binding = opened.binding();
        let tenant = binding.tenant.as_ref().map_or("none", |tenant| tenant.as_str());
        report.steps.extend([
            Step::passed("client", binding.client.to_string()),
            Step::passed("tenant", tenant),
            Step::passed("service", binding.service.to_string()),
            Step::passed("instance", binding.hook_instance.0.to_string()),
            Step::passed("card", format!("{} of its answer", opened.card().saturating_add(1))),
        ]);
        if let Some(service) = self.services.get(&binding.service) {
            let lifetime = service.links.lifetime.get();
            let made = UnixTime::from_millis(
                opened.expires().millis().saturating_sub(saturating_millis(lifetime)),
            );
            report.notes.push(format!(
                "made {}, if service.links.lifetime was {} then as it is now; a link does not say",
                moment(made, at),
                Period::secs(lifetime.as_secs())
            ));
        }
        report.notes.push(match opened.target() {
            Target::Here(target) if show_target => format!("it leads to {target}"),
            Target::Here(_) => {
                "where it leads is sealed in it: --show-target tells, and that may be a credential"
                    .to_owned()
            }
            Target::Stored(_) => {
                "where it leads was too long for it and is in the store".to_owned()
            }
        });
    }

    /// Explains an id of feedback or analytics at `at`: the id, or the URL of an analytics call.
    pub fn id(&self, text: &str, at: UnixTime) -> Report {
        let id = self.id_of(text);
        let mut report = Report {
            subject: format!("the id {} at {at}", shown(&id)),
            steps: Vec::new(),
            verdict: Verdict::Undecided {
                sentence: "whether this gateway made it is told by the store's mark and record, which are not \
                           asked"
                    .to_owned(),
            },
            notes: Vec::new(),
        };
        let form = match CardIds::look(&id) {
            Ok(form) => form,
            Err(error) => {
                let refusal = Refusal::Id(error);
                let change = "at the EHR: send the uuid that stands on the card, unchanged; it has an 8 at the \
                              beginning of its third group";
                report.steps.push(Step::failed("form", said(&refusal), "", change));
                report.verdict = refused(&refusal);
                return report;
            }
        };
        report.steps.push(Step::passed("form", "a UUID of version 8"));
        let held = self.key(form.kid);
        let expired = at >= form.expires;
        report.steps.push(match &held {
            Some(key) => Step::passed("key", key),
            None => {
                let refusal = Refusal::Id(IdError::UnknownKey);
                Step::failed("key", said(&refusal), form.kid.to_string(), UNKNOWN_KEY)
            }
        });
        let expiry = moment(form.expires, at);
        let refusal = Refusal::Id(if expired { IdError::Expired } else { IdError::UnknownKey });
        report.steps.push(if expired {
            let change =
                "ids live for service.feedback.lifetime; raise it where feedback comes later";
            Step::failed("expiry", said(&refusal), expiry, change)
        } else {
            Step::passed("expiry", expiry)
        });
        report.steps.push(Step::unsaid(
            "mac",
            "it hangs on the store's mark: not checked",
            format!("id {} of its answer", form.index.saturating_add(1)),
        ));
        if expired || held.is_none() {
            report.verdict = refused(&refusal);
        }
        report
    }

    /// A sealing key that is held, in words.
    fn key(&self, kid: u8) -> Option<String> {
        let rows = self.keyring.ring().rows();
        let is = |row: &&KeyRow| row.r#use == KeyUse::Seal && row.kid == kid.to_string();
        let row = rows.iter().find(is)?;
        Some(format!("{kid}, {}, made {}", row.course.state.word(), row.course.created))
    }

    /// The token at the end of a link.
    fn token_of(&self, text: &str) -> Result<String, Refusal> {
        if !text.contains('/') {
            return Ok(text.to_owned());
        }
        match self.way(text)? {
            Way::Open(token) => Ok(token),
            Way::Discovery | Way::Hook(_) | Way::Feedback(_) | Way::Analytics(..) | Way::Jwks => {
                Err(TokenError::Malformed.into())
            }
        }
    }

    /// The id at the end of an analytics call's URL, or what was given.
    fn id_of(&self, text: &str) -> String {
        match self.way(text) {
            Ok(Way::Analytics(_, id)) => id,
            Ok(_) | Err(_) => text.to_owned(),
        }
    }

    fn way(&self, text: &str) -> Result<Way, Refusal> {
        let malformed = || Refusal::from(TokenError::Malformed);
        let url: Uri = text.parse().map_err(|_| malformed())?;
        let target = url.path_and_query().ok_or_else(malformed)?.as_str();
        let request = Request::builder().method(Method::POST).uri(target).header("host", "gateway");
        let (parts, ()) = request.body(()).map_err(|_| malformed())?.into_parts();
        Ok(self.router.route(&parts)?.way().clone())
    }

    fn base(&self) -> &str {
        self.public_url.as_str().trim_end_matches('/')
    }
}

/// An id as it may be shown: it is no secret, but anything may have been given for one.
fn shown(id: &str) -> String {
    id.chars().filter(|c| c.is_ascii_graphic()).take(64).collect()
}

fn saturating_millis(length: Duration) -> u64 {
    u64::try_from(length.as_millis()).unwrap_or(u64::MAX)
}
