//! From the upstream's cards to those that the EHR gets: links sealed, ids replaced, nothing else touched.

use std::sync::Arc;

use bytes::Bytes;
use futures_util::future::{join_all, try_join_all};

use crate::clock::{Clock, UnixTime};
use crate::entropy::{Entropy, draw};
use crate::gateway::cards::answer::{Cards, IdEdits};
use crate::gateway::cards::plan::{Counts, IdKind, LinkSite, Places};
use crate::gateway::refusal::Refusal;
use crate::gateway::service::Service;
use crate::gateway::tokens::{Binding, CardIds, Kind, LinkTokens, Record, Sealed};
use crate::store::{Insert, Key, Nonce, Store, StoreError};

/// Cards, ready for the EHR.
#[derive(Debug)]
pub struct Rewritten {
    /// The body.
    pub body: Bytes,
    /// When the links in it expire, where there are any and the EHR is to be told.
    pub expires: Option<UnixTime>,
    /// The links that are in it.
    pub links: Vec<String>,
    /// Until when these can be opened.
    pub links_until: UnixTime,
    /// What was found and done.
    pub counts: Counts,
    /// The ids were left out, because what they stand for could not be recorded.
    pub without_ids: bool,
}

/// Rewrites cards.
#[derive(Debug)]
pub struct Rewriter {
    links: Arc<LinkTokens>,
    ids: Arc<CardIds>,
    store: Arc<dyn Store>,
    clock: Arc<dyn Clock>,
    entropy: Arc<dyn Entropy>,
}

/// A record's key is taken about never; several times in a row means that something else is wrong.
const ATTEMPTS: usize = 4;

impl Rewriter {
    /// A step that seals with `links`, issues with `ids` and records in `store`.
    pub fn new(
        links: Arc<LinkTokens>,
        ids: Arc<CardIds>,
        store: Arc<dyn Store>,
        clock: Arc<dyn Clock>,
        entropy: Arc<dyn Entropy>,
    ) -> Self {
        Self { links, ids, store, clock, entropy }
    }

    /// Rewrites the cards in `body`, which `service` gave on the call that `binding` describes.
    ///
    /// # Errors
    /// [`Refusal`]; nothing of `body` may then go out.
    pub async fn rewrite(
        &self,
        body: &Bytes,
        service: &Service,
        binding: &Binding,
    ) -> Result<Rewritten, Refusal> {
        let mut cards = Cards::read(body, &service.cards)?;
        let now = self.clock.now();
        let expires = now.plus(service.links.lifetime.get());
        let sealed = self.seal(&cards, binding, expires).await?;
        let unkept = places_without(&sealed, cards.links());
        if !unkept.is_empty() {
            tracing::error!(
                links = unkept.len(),
                "cards go out with links taken off: the store cannot keep what these need"
            );
            cards = Cards::read_without(body, &service.cards, &unkept)?;
        }
        let links: Vec<String> = sealed.into_iter().flatten().collect();
        let ids_until = now.plus(service.feedback.lifetime.get());
        let ids = self.issue(&cards, binding, ids_until).await?;
        let edits = ids.as_deref().map_or(IdEdits::Remove, IdEdits::Replace);
        let announced = service.cards.announce && !links.is_empty();
        let body = if cards.is_untouched(edits) {
            body.clone()
        } else {
            cards.render(&links, edits, announced.then_some(expires))?
        };
        Ok(Rewritten {
            body,
            expires: announced.then_some(expires),
            links,
            links_until: expires,
            counts: cards.counts(),
            without_ids: ids.is_none(),
        })
    }

    /// One link for each of the cards' links; `None` where what it needs cannot be kept: the store's
    /// history is not known, without which a link could revive after a loss, or it does not take a target
    /// that is too long for its token.
    ///
    /// The clinician is better off with cards and one link fewer than with none, and nothing is given
    /// away: the link is taken off its card, never sent as the service wrote it. What is lost is the way
    /// to that target from this card; the next call brings it again.
    async fn seal(
        &self,
        cards: &Cards<'_>,
        binding: &Binding,
        expires: UnixTime,
    ) -> Result<Vec<Option<String>>, Refusal> {
        if cards.links().is_empty() {
            return Ok(Vec::new());
        }
        let Ok(incarnation) = self.store.incarnation() else {
            return Ok(vec![None; cards.links().len()]);
        };
        let seal = |link: &LinkSite<'_>| {
            self.links.seal(binding, link.card, &link.target, expires, incarnation)
        };
        let sealed = cards.links().iter().map(seal).collect::<Result<Vec<_>, _>>()?;
        let urls = join_all(sealed.into_iter().map(|link| self.keep_target(link, expires)));
        urls.await.into_iter().collect()
    }

    /// The link's URL, once its target is kept where it did not fit.
    async fn keep_target(
        &self,
        link: Sealed,
        expires: UnixTime,
    ) -> Result<Option<String>, Refusal> {
        let Some((key, value)) = link.stored else { return Ok(Some(link.url)) };
        match self.keep(key, value, expires).await {
            Ok(Insert::First) => Ok(Some(link.url)),
            // Held: another link's target, under a key that is new by chance. It would open nothing.
            Ok(Insert::Held(_)) | Err(Refusal::Store(_)) => Ok(None),
            Err(other) => Err(other),
        }
    }

    /// Keeps a value under a key that is new by chance. Whether somebody held it is the answer's second half.
    async fn keep(&self, key: Key, value: Bytes, until: UnixTime) -> Result<Insert, Refusal> {
        let nonce = Nonce(draw(self.entropy.as_ref())?);
        Ok(self.store.insert(key, nonce, value, until).await?)
    }

    /// The substitutes of all ids; `None` where the store cannot keep what they stand for: the clinician
    /// gets the cards all the same, and ids are optional in them (CDS Hooks 2.0, Card Attributes).
    async fn issue(
        &self,
        cards: &Cards<'_>,
        binding: &Binding,
        until: UnixTime,
    ) -> Result<Option<Vec<String>>, Refusal> {
        if cards.ids().is_empty() {
            return Ok(Some(Vec::new()));
        }
        let originals: Vec<(Kind, &str)> =
            cards.ids().iter().map(|id| (kind(id.kind), id.original.as_ref())).collect();
        for _attempt in 0..ATTEMPTS {
            let incarnation = match self.store.incarnation() {
                Ok(incarnation) => incarnation,
                Err(error) => {
                    note_without_ids(&error);
                    return Ok(None);
                }
            };
            let issued = self.ids.issue(binding, &originals, until, incarnation)?;
            match self.record(issued.records).await {
                Ok(true) => return Ok(Some(issued.substitutes)),
                Ok(false) => {}
                Err(Refusal::Store(error)) => {
                    note_without_ids(&error);
                    return Ok(None);
                }
                Err(other) => return Err(other),
            }
        }
        Ok(None)
    }

    async fn record(&self, records: Vec<Record>) -> Result<bool, Refusal> {
        let kept = try_join_all(
            records.into_iter().map(|record| self.keep(record.key, record.value, record.until)),
        )
        .await?;
        Ok(kept.iter().all(|kept| matches!(kept, Insert::First)))
    }
}

/// The places of those that got none.
fn places_without(links: &[Option<String>], sites: &[LinkSite<'_>]) -> Places {
    let all = sites.iter().zip(links);
    all.filter(|(_, link)| link.is_none()).map(|(site, _)| (site.card, site.link)).collect()
}

fn note_without_ids(error: &StoreError) {
    tracing::error!(%error, "cards go out without ids: their record cannot be kept");
}

const fn kind(kind: IdKind) -> Kind {
    match kind {
        IdKind::Card => Kind::Card,
        IdKind::Suggestion => Kind::Suggestion,
    }
}
