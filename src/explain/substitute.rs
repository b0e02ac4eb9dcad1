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
use crate::store::{StoreError, View};
use crate::units::{Period, moment};

/// Explains links and ids.
#[derive(Debug)]
pub struct Substitutes {
    keyring: Arc<LiveKeyring>,
    links: LinkTokens,
    ids: CardIds,
    services: Services,
    router: Router,
    public_url: Url,
    store: StoreSide,
}

/// What is known of the store's side.
#[derive(Debug)]
pub enum StoreSide {
    /// It can be looked into.
    Open(Box<dyn View>),
    /// It cannot, for this reason.
    Closed(&'static str),
}

const UNKNOWN_KEY: &str = "wait until every replica has the newest key file; a key that was retired does not come \
                           back, and what it made is gone";

impl Substitutes {
    /// Explains what a gateway at `public_url` with this `keyring` made.
    pub fn new(
        keyring: Arc<LiveKeyring>,
        (links, ids): (LinkTokens, CardIds),
        services: Services,
        public_url: &Url,
        store: StoreSide,
    ) -> Self {
        let router = Router::new(public_url);
        let public_url = public_url.clone();
        Self { keyring, links, ids, services, router, public_url, store }
    }

    /// Explains a link at `at`: the whole URL, or the token at its end. Where it leads is told only where it
    /// is asked for: it may be a credential.
    pub async fn link(&self, text: &str, at: UnixTime, show_target: bool) -> Report {
        let mut report = Report {
            subject: format!("a link at {at}"),
            steps: Vec::new(),
            verdict: Verdict::Undecided { sentence: String::new() },
            notes: Vec::new(),
        };
        let judged = match self.judge_link(text, at, show_target, &mut report) {
            Ok((token, opened)) => self.spent(&token, &opened, at, &mut report).await,
            Err(refusal) => Err(refusal),
        };
        report.verdict = match judged {
            Ok(sentence) => Verdict::Accepted { sentence: sentence.to_owned() },
            Err(refusal) => refused(&refusal),
        };
        report
    }

    /// What the store says to a link that is good in itself.
    async fn spent(
        &self,
        token: &str,
        opened: &Opened,
        at: UnixTime,
        report: &mut Report,
    ) -> Result<&'static str, Refusal> {
        const UNSEEN: &str =
            "unless it was opened before, or the store has lost its memory since it was made";
        let StoreSide::Open(view) = &self.store else {
            report.steps.push(self.closed("store"));
            return Ok(UNSEEN);
        };
        let history = match view.history().await {
            Ok(history) => history,
            Err(error) => {
                report.steps.push(Step::unsaid("store", &error.to_string(), ""));
                return Ok(UNSEEN);
            }
        };
        let Some(history) = history else {
            report.steps.push(Step::unsaid("store", "it holds nothing of any gateway yet", ""));
            return Ok(UNSEEN);
        };
        if let Err(error) = self.links.open(token, at, history) {
            let refusal = Refusal::from(error);
            let change =
                "the store was emptied or replaced since; the card is offered anew in the chart";
            report.steps.push(Step::failed("store", said(&refusal), "", change));
            return Err(refusal);
        }
        match view.get(opened.spend_key()).await {
            Ok(None) => {
                report.steps.push(Step::passed("store", "it was not opened yet"));
                Ok("for the first browser that opens it; looking has spent nothing")
            }
            Ok(Some(_)) => {
                let change = "nothing: it is good once. The browser that opened it may come again within \
                              service.links.grace";
                let refusal = Refusal::Spent;
                report.steps.push(Step::failed("store", said(&refusal), "it was opened", change));
                Err(refusal)
            }
            Err(error) => {
                report.steps.push(Step::unsaid("store", &error.to_string(), ""));
                Ok(UNSEEN)
            }
        }
    }

    fn closed(&self, name: &'static str) -> Step {
        let why = match &self.store {
            StoreSide::Open(_) => "",
            StoreSide::Closed(why) => why,
        };
        Step::unsaid(name, why, "")
    }

    fn judge_link(
        &self,
        text: &str,
        at: UnixTime,
        show_target: bool,
        report: &mut Report,
    ) -> Result<(String, Opened), Refusal> {
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
        Ok((token, opened))
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
    pub async fn id(&self, text: &str, at: UnixTime) -> Report {
        let id = self.id_of(text);
        let mut report = Report {
            subject: format!("the id {} at {at}", shown(&id)),
            steps: Vec::new(),
            verdict: Verdict::Undecided { sentence: String::new() },
            notes: Vec::new(),
        };
        report.verdict = match self.judge_id(&id, at, &mut report.steps) {
            Ok(()) => self.recorded(&id, at, &mut report.steps).await,
            Err(error) => refused(&Refusal::Id(error)),
        };
        report
    }

    /// What an id says by itself.
    fn judge_id(&self, id: &str, at: UnixTime, steps: &mut Vec<Step>) -> Result<(), IdError> {
        let form = CardIds::look(id).inspect_err(|error| {
            let change = "at the EHR: send the uuid that stands on the card, unchanged; it has an 8 at the \
                          beginning of its third group";
            steps.push(Step::failed("form", said(&Refusal::Id(*error)), "", change));
        })?;
        let place = form.index.saturating_add(1);
        steps.push(Step::passed(
            "form",
            format!("a UUID of version 8, number {place} of its answer"),
        ));
        let key = self.key(form.kid);
        let unknown = || said(&Refusal::Id(IdError::UnknownKey));
        steps.push(match &key {
            Some(key) => Step::passed("key", key),
            None => Step::failed("key", unknown(), form.kid.to_string(), UNKNOWN_KEY),
        });
        let expiry = moment(form.expires, at);
        if at >= form.expires {
            let change =
                "ids live for service.feedback.lifetime; raise it where feedback comes later";
            let expired = said(&Refusal::Id(IdError::Expired));
            steps.push(Step::failed("expiry", expired, expiry, change));
            return Err(IdError::Expired);
        }
        steps.push(Step::passed("expiry", expiry));
        key.map(|_| ()).ok_or(IdError::UnknownKey)
    }

    /// What the store says to an id that is good in itself.
    async fn recorded(&self, id: &str, at: UnixTime, steps: &mut Vec<Step>) -> Verdict {
        let undecided = || Verdict::Undecided {
            sentence:
                "whether this gateway made it hangs on the store's mark and on the record there"
                    .to_owned(),
        };
        let StoreSide::Open(view) = &self.store else {
            steps.push(self.closed("mac"));
            return undecided();
        };
        let looked = async {
            let Some(history) = view.history().await? else { return Ok(Err(IdError::Forged)) };
            match self.ids.parse(id, at, history) {
                Ok(parsed) => {
                    Ok(view.get(parsed.record_key()).await?.map(|_| ()).ok_or(IdError::Expired))
                }
                Err(error) => Ok::<_, StoreError>(Err(error)),
            }
        };
        match looked.await {
            Ok(Ok(())) => {
                steps.push(Step::passed("mac", "holds"));
                steps.push(Step::passed("record", "is there"));
                let sentence =
                    "from the client, and for the service, that it was given to".to_owned();
                Verdict::Accepted { sentence }
            }
            Ok(Err(error)) => {
                let refusal = Refusal::Id(error);
                let change = "at the EHR: it was changed, or made by another gateway, or the store has lost its \
                              memory since";
                steps.push(Step::failed("mac", said(&refusal), "", change));
                refused(&refusal)
            }
            Err(error) => {
                steps.push(Step::unsaid("mac", &error.to_string(), ""));
                undecided()
            }
        }
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
