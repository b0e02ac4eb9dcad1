//! A token judged to the end: every check that can still be made is made, also behind the first that fails.
//!
//! The checks are those of the authenticator, in its order; the verdict is its own.

use http::HeaderMap;

use crate::clock::UnixTime;
use crate::gateway::auth::advice;
use crate::gateway::auth::audience::Called;
use crate::gateway::auth::authenticator::Authenticator;
use crate::gateway::auth::bearer;
use crate::gateway::auth::claims::Payload;
use crate::gateway::auth::error::AuthReason;
use crate::gateway::auth::finding::{Check, Examination, Finding};
use crate::gateway::auth::notes::{NO_CLIENT, NO_KEY, Notes};
use crate::gateway::auth::setup::Registered;
use crate::gateway::auth::shown::Shown;
use crate::gateway::auth::token::{Header, Parts};
use crate::names::ClientId;

/// What is to be examined.
#[derive(Clone, Copy, Debug)]
pub struct Question<'a> {
    /// The request's header fields.
    pub headers: &'a HeaderMap,
    /// What it calls.
    pub called: &'a Called<'a>,
    /// When.
    pub at: UnixTime,
    /// By whose rules it is examined where its issuer is not known. Without a name: by those of the only
    /// client, where there is only one.
    pub assumed: Option<&'a ClientId>,
    /// Whether the client's key server is asked.
    pub live: bool,
}

impl Authenticator {
    /// Examines a token. Spends nothing. Reads the keys once, without the task of
    /// [`Authenticator::start`]: for a process that serves nobody.
    pub async fn examine(&self, question: &Question<'_>) -> Examination {
        let mut notes = Notes::default();
        self.look(question, &mut notes).await;
        let decided = self.decide(question.headers, question.called, question.at).await;
        let verdict = decided.map(|verified| verified.audience_rule());
        let out_of_reach = verdict
            .as_ref()
            .is_err_and(|error| matches!(error.reason(), AuthReason::KeysUnavailable { .. }));
        Examination {
            findings: notes.findings,
            verdict,
            client: notes.client,
            replay: notes.replay,
            assumed: notes.assumed,
            keys_unasked: out_of_reach && !question.live,
            ignored: notes.ignored,
        }
    }

    async fn look(&self, question: &Question<'_>, notes: &mut Notes) {
        let Some(token) = notes.take(Check::Bearer, bearer::token(question.headers)) else {
            return;
        };
        notes.add(Finding::passed(
            Check::Bearer,
            format!("one token of {} characters", token.len()),
        ));
        let Some(parts) = notes.take(Check::Form, Parts::cut(token)) else { return };
        let form = notes.findings.len();
        let header = notes.take(Check::Form, parts.header());
        let header =
            header.as_deref().and_then(|json| notes.take(Check::Form, Header::parse(json)));
        let said = header.as_ref().map(|header| notes.header(header)).unwrap_or_default();
        let signature = notes.take(Check::Form, parts.signature());
        let payload = notes.take(Check::Form, parts.payload());
        let payload =
            payload.as_deref().and_then(|json| notes.take(Check::Form, Payload::parse(json)));
        if header.is_some() && signature.is_some() && payload.is_some() {
            let whole = Finding::passed(Check::Form, "header, claims and signature");
            notes.findings.insert(form, whole);
        }
        let issuer = payload.as_ref().and_then(|p| notes.take(Check::Issuer, p.issuer()));
        let registered = self.client_of(issuer.as_deref(), question, notes);
        if let Some(registered) = registered {
            let algorithm = notes.algorithm(&said, &registered.client);
            notes.key_url(&said, &registered.client);
            let key = notes.key(&said, registered, question.live).await;
            notes.signature(key.as_deref(), algorithm, &parts, signature.as_ref());
        } else {
            let alg = said.alg.as_deref().map(Shown::new);
            notes.add(Finding::unsaid(
                Check::Algorithm,
                NO_CLIENT,
                alg.map_or_else(String::new, |a| a.to_string()),
            ));
            notes.add(Finding::unsaid(Check::Signature, NO_KEY, ""));
        }
        let Some(payload) = payload else { return };
        notes.ignored = payload.others();
        let read = notes.claims(&payload);
        match registered {
            Some(registered) => {
                notes.judge(
                    &read,
                    &registered.client,
                    &self.endpoints,
                    (question.called, question.at),
                );
                notes.certificate(&read, self.bindings.names(&registered.client.id));
            }
            None => notes.show(&read, question.at),
        }
    }

    fn client_of(
        &self,
        issuer: Option<&str>,
        question: &Question<'_>,
        notes: &mut Notes,
    ) -> Option<&Registered> {
        let known = issuer.and_then(|issuer| self.by_issuer.get(issuer));
        if let Some(issuer) = issuer {
            let shown = Shown::new(issuer);
            let result = known.map(|_| ()).ok_or_else(|| AuthReason::Issuer(shown.clone()));
            let clients = || self.by_issuer.iter().map(|(issuer, r)| (issuer.as_str(), &r.client));
            let mut issuers: Vec<String> = match known {
                Some(registered) => vec![format!("the issuer of client {}", registered.client.id)],
                None => clients().map(|(issuer, c)| format!("{issuer}, client {}", c.id)).collect(),
            };
            issuers.sort();
            let finding = Finding::of(Check::Issuer, result, shown.to_string());
            notes.add(finding.expecting(issuers).else_change(advice::issuer(issuer, clients())));
        }
        let only = || self.by_issuer.values().next().filter(|_| self.by_issuer.len() == 1);
        let assumed = || match question.assumed {
            Some(id) => self.by_issuer.values().find(|registered| registered.client.id == *id),
            None => only(),
        };
        notes.assumed = known.is_none();
        let registered = known.or_else(assumed);
        notes.replay = registered.map(|registered| registered.client.replay);
        notes.client = registered.map(|registered| registered.client.id.clone());
        registered
    }
}
