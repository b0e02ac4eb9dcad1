//! The second way: a clinician opens a link. open → spend → redirect

use std::sync::Arc;

use bytes::Bytes;
use http::header::{CACHE_CONTROL, LOCATION, REFERRER_POLICY, SET_COOKIE};
use http::request::Parts;
use http::{HeaderValue, Method, StatusCode};
use http_body_util::Full;

use crate::clock::{Clock, UnixTime};
use crate::entropy::{Entropy, draw};
use crate::gateway::opening;
use crate::gateway::opening::{Browser, PageKind, Plan, SpendNote};
use crate::gateway::refusal::Refusal;
use crate::gateway::reply::Reply;
use crate::gateway::service::{Service, Services};
use crate::gateway::tokens::{LinkTokens, Opened, Target};
use crate::record::Record;
use crate::store::{Insert, Nonce, Store};

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
    pub async fn run(&self, token: &str, parts: &Parts, record: &mut Record) -> Result<Reply, Refusal> {
        let now = self.clock.now();
        let opened = self.links.open(token, now, self.store.incarnation())?;
        let binding = opened.binding();
        record.service = Some(binding.service.clone());
        record.client = Some(binding.client.clone());
        record.tenant = binding.tenant.clone();
        record.hook_instance = Some(binding.hook_instance);
        let service = self.services.get(&binding.service).ok_or(Refusal::Orphaned)?;
        match opening::plan(&parts.method, &parts.headers, &service.links) {
            Plan::Peek => self.peek(&opened, parts, service, now, record).await,
            Plan::Spend => self.spend(&opened, parts, service, now).await,
        }
    }

    /// Shows the page with the button. Nothing is spent; what is spent already is said at once.
    async fn peek(
        &self,
        opened: &Opened,
        parts: &Parts,
        service: &Service,
        now: UnixTime,
        record: &Record,
    ) -> Result<Reply, Refusal> {
        if let Some(note) = self.store.get(opened.spend_key()).await? {
            let browser = Browser::from_headers(&parts.headers);
            if !allowed_again(&note, browser.as_ref(), service, now) {
                return Err(Refusal::Spent);
            }
        }
        let page = opening::page(PageKind::Button, record.id);
        let mut reply = page.into_reply(StatusCode::OK);
        if parts.method == Method::HEAD {
            *reply.body_mut() = Full::default();
        }
        Ok(reply)
    }

    async fn spend(
        &self,
        opened: &Opened,
        parts: &Parts,
        service: &Service,
        now: UnixTime,
    ) -> Result<Reply, Refusal> {
        // Everything that can fail comes before the spending.
        let target = self.target(opened).await?;
        let location = opening::location(&target, parts.uri.query())?;
        let browser = match Browser::from_headers(&parts.headers) {
            Some(browser) => browser,
            None => Browser::new(self.entropy.as_ref())?,
        };
        let note = SpendNote::new(&browser, now).encode();
        let nonce = Nonce(draw(self.entropy.as_ref())?);
        match self.store.insert(opened.spend_key(), nonce, note, opened.expires()).await? {
            Insert::First => {}
            Insert::Held(note) if allowed_again(&note, Some(&browser), service, now) => {}
            Insert::Held(_) => return Err(Refusal::Spent),
        }
        Ok(redirect(location, browser.set_cookie(service.links.grace.get())))
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

fn allowed_again(note: &Bytes, browser: Option<&Browser>, service: &Service, now: UnixTime) -> bool {
    let grace = service.links.grace.get();
    SpendNote::decode(note).is_some_and(|note| browser.is_some_and(|b| note.allows_again(b, now, grace)))
}

/// 303, so that the browser goes on with `GET`. No `X-Frame-Options` and no opener policy: EHRs embed
/// apps, and SMART web messaging needs the window that opened them.
fn redirect(location: HeaderValue, cookie: HeaderValue) -> Reply {
    let mut reply = Reply::default();
    *reply.status_mut() = StatusCode::SEE_OTHER;
    let headers = reply.headers_mut();
    headers.insert(LOCATION, location);
    headers.insert(SET_COOKIE, cookie);
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    reply
}
