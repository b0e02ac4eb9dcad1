//! The second way: a clinician opens a link. open → spend → redirect

use std::sync::Arc;

use bytes::Bytes;
use http::Method;
use http::request::Parts;
use http_body_util::Full;

use crate::audit::Print;
use crate::clock::{Clock, UnixTime};
use crate::entropy::{Entropy, draw};
use crate::gateway::opening;
use crate::gateway::opening::{Browser, PageKind, Plan, SpendNote};
use crate::gateway::refusal::Refusal;
use crate::gateway::reply::Reply;
use crate::gateway::route::{RouteError, Way};
use crate::gateway::service::{Service, Services};
use crate::gateway::tokens::{LinkTokens, Opened, Target, TokenError, id_of};
use crate::record::{Opening, Record};
use crate::store::{Insert, Nonce, Store, StoreError};

/// The way of a link.
#[derive(Debug)]
pub struct OpenPath {
    services: Arc<Services>,
    links: Arc<LinkTokens>,
    store: Arc<dyn Store>,
    clock: Arc<dyn Clock>,
    entropy: Arc<dyn Entropy>,
}

impl OpenPath {
    /// The way through these steps.
    pub fn new(
        services: Arc<Services>,
        links: Arc<LinkTokens>,
        store: Arc<dyn Store>,
        clock: Arc<dyn Clock>,
        entropy: Arc<dyn Entropy>,
    ) -> Self {
        Self { services, links, store, clock, entropy }
    }

    /// Opens a link, or offers to.
    ///
    /// # Errors
    /// [`Refusal`] where it leads nowhere, or nobody can tell.
    pub async fn run(
        &self,
        token: &str,
        parts: &Parts,
        record: &mut Record,
    ) -> Result<Reply, Refusal> {
        let now = self.clock.now();
        record.link = id_of(token).map(|id| Print::of(&id));
        let opened = self
            .links
            .open(token, now, self.store.incarnation()?)
            .inspect_err(|error| note_owner(error, record))?;
        note(&opened, record);
        let service = self.services.get(&opened.binding().service).ok_or(Refusal::Orphaned)?;
        let mut reply = match opening::plan(&parts.method, &parts.headers, &service.links) {
            Plan::NotAllowed => {
                let way = Way::Open(token.to_owned());
                return Err(RouteError::Method { way }.into());
            }
            // `HEAD` gets what `GET` would, and the outermost function leaves its body out.
            Plan::Peek | Plan::Ask => self.ask(&opened, parts, service, now, record).await?,
            Plan::Decline => page(PageKind::Ahead, record),
            Plan::Spend => {
                let step = record.begin();
                let spent = self.spend(&opened, parts, service, now).await;
                record.end("spend", step);
                let (reply, opening) = spent?;
                record.opened = Some(opening);
                reply
            }
        };
        if parts.method == Method::HEAD {
            *reply.body_mut() = Full::default();
        }
        Ok(reply)
    }

    /// Shows the page with the button. Nothing is spent; what is spent already is said at once.
    async fn ask(
        &self,
        opened: &Opened,
        parts: &Parts,
        service: &Service,
        now: UnixTime,
        record: &Record,
    ) -> Result<Reply, Refusal> {
        if let Some(note) = self.store.get(opened.spend_key()).await? {
            let browser = Browser::from_headers(&parts.headers);
            if !browser.is_some_and(|b| allowed_again(&note, &b, opened, service, now)) {
                return Err(Refusal::Spent);
            }
        }
        Ok(page(PageKind::Open, record))
    }

    async fn spend(
        &self,
        opened: &Opened,
        parts: &Parts,
        service: &Service,
        now: UnixTime,
    ) -> Result<(Reply, Opening), Refusal> {
        // Everything that can fail comes before the spending.
        let target = self.target(opened).await?;
        let location = opening::location(&target, parts.uri.query())?;
        let browser = match Browser::from_headers(&parts.headers) {
            Some(browser) => browser,
            None => Browser::new(self.entropy.as_ref())?,
        };
        let note = SpendNote::new(&browser, &opened.id(), now).encode();
        let nonce = Nonce(draw(self.entropy.as_ref())?);
        let mut cookie = browser.set_cookie(service.links.grace.get());
        let spent = self.store.insert(opened.spend_key(), nonce, note, opened.expires()).await;
        let opening = match spent {
            Ok(Insert::First) => Opening::First,
            Ok(Insert::Held(first)) if allowed_again(&first, &browser, opened, service, now) => {
                Opening::Again
            }
            Ok(Insert::Held(_)) => return Err(Refusal::Spent),
            // It may be spent, by this browser: without its cookie a reload would find it gone.
            Err(error @ StoreError::Down(_)) => {
                cookie.set_sensitive(true);
                return Err(Refusal::Unanswered { error, cookie });
            }
            // It expired on the way here: a page that asks for another try would ask in vain.
            Err(StoreError::Late) => {
                return Err(TokenError::Expired { binding: opened.binding().clone() }.into());
            }
            Err(error @ (StoreError::Full | StoreError::LeaseLost)) => return Err(error.into()),
        };
        Ok((opening::redirect(location, cookie).map(|()| Full::default()), opening))
    }

    async fn target(&self, opened: &Opened) -> Result<String, Refusal> {
        match opened.target() {
            Target::Here(target) => Ok(target.to_owned()),
            Target::Stored(key) => {
                let sealed = self.store.get(key).await?.ok_or(Refusal::Orphaned)?;
                Ok(self.links.open_target(opened, &sealed)?)
            }
        }
    }
}

fn allowed_again(
    note: &Bytes,
    browser: &Browser,
    opened: &Opened,
    service: &Service,
    now: UnixTime,
) -> bool {
    SpendNote::decode(note)
        .is_some_and(|note| note.allows_again(browser, &opened.id(), now, service.links.grace))
}

fn page(kind: PageKind, record: &Record) -> Reply {
    opening::page(kind, record.id).into_response().map(|html| Full::new(Bytes::from(html)))
}

fn note(opened: &Opened, record: &mut Record) {
    let binding = opened.binding();
    record.service = Some(binding.service.clone());
    record.client = Some(binding.client.clone());
    record.tenant.clone_from(&binding.tenant);
    record.hook_instance = Some(binding.hook_instance);
}

/// Whose link it was, where an authentic one is refused.
fn note_owner(error: &TokenError, record: &mut Record) {
    match error {
        TokenError::Expired { binding } | TokenError::Forgotten { binding } => {
            record.service = Some(binding.service.clone());
            record.client = Some(binding.client.clone());
            record.hook_instance = Some(binding.hook_instance);
        }
        TokenError::Malformed
        | TokenError::UnknownKey
        | TokenError::Forged
        | TokenError::Orphaned
        | TokenError::StoredTarget => {}
    }
}
