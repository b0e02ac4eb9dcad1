//! The checks of an examination, each with what came, what would have been taken, and what to change.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use crate::clock::UnixTime;
use crate::gateway::auth::advice;
use crate::gateway::auth::algorithm::Algorithm;
use crate::gateway::auth::audience::{AudienceRule, Called, Endpoints};
use crate::gateway::auth::checks;
use crate::gateway::auth::claims::Payload;
use crate::gateway::auth::client::Client;
use crate::gateway::auth::error::AuthReason;
use crate::gateway::auth::finding::{Check, Finding};
use crate::gateway::auth::jwk::VerifyingKey;
use crate::gateway::auth::settings::ReplayMode;
use crate::gateway::auth::setup::Registered;
use crate::gateway::auth::shown::Shown;
use crate::gateway::auth::token::{Header, NEVER_TAKEN, Parts, known};
use crate::names::{ClientId, Tenant};
use crate::units::{Period, in_words, moment};

pub(super) const NO_KEY: &str = "there is no key to verify it with";
/// Nobody needs it told to the second.
const JUST_NOW: Duration = Duration::from_secs(60);
pub(super) const NO_CLIENT: &str = "by whose rules is not known";

/// What the header says, as far as it can be read.
#[derive(Debug, Default)]
pub(super) struct Said<'a> {
    pub(super) alg: Option<Cow<'a, str>>,
    pub(super) kid: Option<Cow<'a, str>>,
    pub(super) jku: Option<Option<Cow<'a, str>>>,
}

/// The claims, as far as they can be read.
#[derive(Debug)]
pub(super) struct Read<'a> {
    pub(super) audience: Option<Vec<Cow<'a, str>>>,
    pub(super) expires_at: Option<UnixTime>,
    pub(super) issued_at: Option<UnixTime>,
    pub(super) not_before: Option<Option<UnixTime>>,
    pub(super) tenant: Option<Option<Tenant>>,
    pub(super) confirmed: Option<Cow<'a, str>>,
}

/// The findings so far.
#[derive(Debug, Default)]
pub(super) struct Notes {
    pub(super) findings: Vec<Finding>,
    pub(super) client: Option<ClientId>,
    pub(super) replay: Option<ReplayMode>,
    pub(super) assumed: bool,
    pub(super) ignored: Vec<Shown>,
}

impl Notes {
    pub(super) fn add(&mut self, finding: Finding) {
        self.findings.push(finding);
    }

    /// What `result` holds; where it holds nothing, that is a finding.
    pub(super) fn take<T>(&mut self, check: Check, result: Result<T, AuthReason>) -> Option<T> {
        result
            .map_err(|reason| {
                let change = advice::general(&reason).map(str::to_owned);
                self.add(Finding::failed(check, reason, "").else_change(change));
            })
            .ok()
    }

    pub(super) fn header<'a>(&mut self, header: &Header<'a>) -> Said<'a> {
        let mut clean = true;
        for (name, fault) in &NEVER_TAKEN {
            clean &= self.take(Check::Header, header.lacks(name, fault)).is_some();
        }
        clean &= self.take(Check::Header, header.is_not_nested()).is_some();
        if clean {
            let names = NEVER_TAKEN.map(|(name, _)| name).join(", ");
            self.add(Finding::passed(Check::Header, format!("none of {names}")));
        }
        if let Some(typ) = self.take(Check::Type, header.typ()) {
            let came = typ.map_or_else(|| "not there".to_owned(), |typ| typ.into_owned());
            self.add(Finding::passed(Check::Type, came));
        }
        Said {
            alg: self.take(Check::Algorithm, header.alg()),
            kid: self.take(Check::Key, header.kid()),
            jku: self.take(Check::KeyUrl, header.jku()),
        }
    }

    pub(super) fn algorithm(&mut self, said: &Said<'_>, client: &Client) -> Option<Algorithm> {
        let alg = said.alg.as_deref()?;
        let known = known(alg);
        let result = known.clone().and_then(|algorithm| checks::allowed(algorithm, client));
        let listed = client.algorithms.iter().map(|algorithm| format!("{algorithm:?}"));
        let advice = advice::algorithm(client, alg, known.is_ok());
        let finding = Finding::of(Check::Algorithm, result, Shown::new(alg).to_string());
        self.add(finding.expecting(listed).else_change(advice));
        known.ok()
    }

    pub(super) fn key_url(&mut self, said: &Said<'_>, client: &Client) {
        let Some(jku) = &said.jku else { return };
        let jku = jku.as_deref();
        let came = jku.map_or_else(|| "not there".to_owned(), |jku| Shown::new(jku).to_string());
        let finding = Finding::of(Check::KeyUrl, checks::jku(jku, client), came);
        let listed = client.jku.iter().cloned().chain(["not there".to_owned()]);
        self.add(finding.expecting(listed).else_change(advice::jku(client)));
    }

    pub(super) async fn key(
        &mut self,
        said: &Said<'_>,
        registered: &Registered,
        live: bool,
    ) -> Option<Arc<VerifyingKey>> {
        let (client, supply) = (&registered.client, &registered.supply);
        let (keys, source) = (&supply.keys, supply.source());
        let trouble = supply.read_keys(live).await.err();
        let kid = said.kid.as_deref()?;
        let found = checks::key(kid, keys).await;
        let status = keys.status();
        let mut held = vec![match (&trouble, status.age) {
            (Some(trouble), _) => format!("{source}: {trouble}"),
            (None, Some(age)) if age < JUST_NOW => format!("{source}, read just now"),
            (None, Some(age)) => format!("{source}, read {} ago", in_words(age)),
            (None, None) => format!("{source}, not read"),
        }];
        held.extend(status.kids.iter().map(|kid| format!("kid {}", Shown::new(kid))));
        if !status.refused.is_empty() {
            held.push(format!("not used: {}", status.refused.join(", ")));
        }
        let shown = Shown::new(kid).to_string();
        let finding = match &found {
            Err(AuthReason::KeysUnavailable { .. }) if !live => Finding::unsaid(
                Check::Key,
                "the key is not held here, and the key server was not asked: use --live",
                shown,
            ),
            Err(reason) => Finding::failed(Check::Key, reason.clone(), shown)
                .else_change(advice::key(reason, client, &source)),
            Ok(_) => Finding::passed(Check::Key, shown),
        };
        self.add(finding.expecting(held));
        found.ok()
    }

    pub(super) fn signature(
        &mut self,
        key: Option<&VerifyingKey>,
        algorithm: Option<Algorithm>,
        parts: &Parts<'_>,
        signature: Option<&Vec<u8>>,
    ) {
        let (Some(key), Some(algorithm), Some(signature)) = (key, algorithm, signature) else {
            return self.add(Finding::unsaid(Check::Signature, NO_KEY, ""));
        };
        if self.take(Check::Key, checks::fits(key, algorithm)).is_none() {
            return self.add(Finding::unsaid(Check::Signature, NO_KEY, ""));
        }
        let verified = checks::signature(key, algorithm, parts.message(), signature);
        if self.take(Check::Signature, verified).is_some() {
            self.add(Finding::passed(Check::Signature, "verifies with the key of this kid"));
        }
    }

    pub(super) fn claims<'a>(&mut self, payload: &Payload<'a>) -> Read<'a> {
        let read = Read {
            audience: self.take(Check::Audience, payload.audience()),
            expires_at: self.take(Check::Expiry, payload.expires_at()),
            issued_at: self.take(Check::IssuedAt, payload.issued_at()),
            not_before: self.take(Check::NotBefore, payload.not_before()),
            tenant: None,
            confirmed: None,
        };
        if let Some(jti) = self.take(Check::TokenId, payload.jti()) {
            self.add(Finding::passed(Check::TokenId, Shown::new(&jti).to_string()));
        }
        let tenant = self.take(Check::Tenant, payload.tenant());
        let confirmed = self.take(Check::Certificate, payload.confirmed()).flatten();
        Read { tenant, confirmed, ..read }
    }

    /// With which certificate the token must come, which nobody can tell from the token: `names` are those
    /// of its client.
    pub(super) fn certificate(&mut self, read: &Read<'_>, names: Vec<String>) {
        if names.is_empty() && read.confirmed.is_none() {
            return;
        }
        let confirmed = read.confirmed.as_ref().map(|hash| Shown::new(hash).to_string());
        let came = confirmed.map_or_else(String::new, |hash| format!("cnf x5t#S256 {hash}"));
        let why = "which certificate its connection shows cannot be told from a token";
        self.add(Finding::unsaid(Check::Certificate, why, came).expecting(names));
    }

    /// What the claims say, where nobody's rules apply.
    pub(super) fn show(&mut self, read: &Read<'_>, at: UnixTime) {
        if let Some(sent) = &read.audience {
            self.add(Finding::unsaid(Check::Audience, NO_CLIENT, shown(sent)));
        }
        for (check, time) in [
            (Check::Expiry, read.expires_at),
            (Check::IssuedAt, read.issued_at),
            (Check::NotBefore, read.not_before.flatten()),
        ] {
            if let Some(time) = time {
                self.add(Finding::unsaid(check, NO_CLIENT, moment(time, at)));
            }
        }
    }

    pub(super) fn judge(
        &mut self,
        read: &Read<'_>,
        client: &Client,
        endpoints: &Endpoints,
        (called, at): (&Called<'_>, UnixTime),
    ) {
        if let Some(sent) = &read.audience {
            self.audience(sent, client, endpoints, called);
        }
        self.times(read, client, at);
        if let Some(tenant) = &read.tenant {
            let came = tenant
                .as_ref()
                .map_or_else(|| "not there".to_owned(), |t| Shown::new(t.as_str()).to_string());
            let finding = Finding::of(Check::Tenant, checks::tenant(tenant.as_ref(), client), came);
            self.add(finding.expecting(client.tenants()).else_change(advice::tenant(client)));
        }
        if let Some(service) = called.service() {
            let result = checks::service(called, client);
            let finding = Finding::of(Check::Service, result, service.to_string());
            self.add(finding.expecting(client.services()).else_change(advice::service(client)));
        }
    }

    fn audience(
        &mut self,
        sent: &[Cow<'_, str>],
        client: &Client,
        endpoints: &Endpoints,
        called: &Called<'_>,
    ) {
        let result = checks::audience(sent, client, endpoints, called);
        let came = match &result {
            Ok(rule) => format!("{}, taken by the rule \"{}\"", shown(sent), rule.as_str()),
            Err(_) => shown(sent),
        };
        let rules = client.audience.iter().filter_map(|rule| {
            let word = AudienceRule::of(rule).as_str();
            Some(format!("{word}: {}", endpoints.written(rule, called)?))
        });
        let values: Vec<&str> = sent.iter().map(AsRef::as_ref).collect();
        let advice = advice::audience(&values, client, endpoints, called);
        let finding = Finding::of(Check::Audience, result.map(|_| ()), came);
        self.add(finding.expecting(rules).else_change(advice));
    }

    fn times(&mut self, read: &Read<'_>, client: &Client, at: UnixTime) {
        let skew = Period::secs(client.skew.as_secs());
        if let Some(expires_at) = read.expires_at {
            let result = checks::not_expired(expires_at, client, at);
            let change = advice::general(&AuthReason::Expired).map(str::to_owned);
            self.add(
                Finding::of(Check::Expiry, result, moment(expires_at, at))
                    .expecting([format!("ahead, or past by less than {skew}")])
                    .else_change(change),
            );
        }
        if let Some(issued_at) = read.issued_at {
            let change = advice::ahead(client, issued_at.since(at));
            self.add(
                Finding::of(
                    Check::IssuedAt,
                    checks::issued(issued_at, client, at),
                    moment(issued_at, at),
                )
                .expecting([format!("past, or ahead by at most {skew}")])
                .else_change(change),
            );
        }
        if let Some(not_before) = read.not_before {
            let came = not_before.map_or_else(|| "not there".to_owned(), |time| moment(time, at));
            let by = not_before.map(|time| time.since(at)).unwrap_or_default();
            self.add(
                Finding::of(Check::NotBefore, checks::begun(not_before, client, at), came)
                    .expecting([format!("not there, past, or ahead by at most {skew}")])
                    .else_change(advice::ahead(client, by)),
            );
        }
        if let (Some(issued_at), Some(expires_at)) = (read.issued_at, read.expires_at) {
            let lives = expires_at.since(issued_at);
            let came =
                if lives.is_zero() { "exp is not after iat".to_owned() } else { in_words(lives) };
            let max = Period::secs(client.max_lifetime.as_secs());
            self.add(
                Finding::of(
                    Check::Lifetime,
                    checks::lifetime(issued_at, expires_at, client, at),
                    came,
                )
                .expecting([format!("at most {max}")])
                .else_change(advice::lifetime(client, lives)),
            );
        }
    }
}

/// The values of `aud`, not more of them than anybody reads.
fn shown(sent: &[Cow<'_, str>]) -> String {
    const MOST: usize = 8;
    let mut all: Vec<String> =
        sent.iter().take(MOST).map(|one| Shown::new(one).to_string()).collect();
    if sent.len() > MOST {
        all.push(format!("{} more", sent.len().saturating_sub(MOST)));
    }
    all.join(" and ")
}
