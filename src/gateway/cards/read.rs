//! Reads an answer (CDS Hooks 2.0, CDS Service Response) into a [`Plan`] in one pass.
//!
//! What is interpreted must be readable: where another reader could see a link that this one does not,
//! the whole answer is an error. What is not interpreted is never looked into.

use std::borrow::Cow;

use crate::gateway::cards::markdown;
use crate::gateway::cards::plan::{Counts, Extension, IdKind, IdSite, LinkSite, Places, Plan};
use crate::gateway::cards::policy::{Ids, Policy, Treatment};
use crate::gateway::cards::target::{Unfit, judge};
use crate::json::members::{BadMember, Seen};
use crate::json::scan::{Kind, Member, Scanner};
use crate::json::token::{JsonError, Span};

/// Why an answer that should be cards cannot be passed on. Says which member, never what it held.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CardsError {
    /// Not the JSON that may pass.
    #[error("the answer is {0}")]
    Json(#[from] JsonError),
    /// An interpreted member that an EHR could understand differently.
    #[error(transparent)]
    Member(#[from] BadMember),
    /// The answer is a JSON text, but no object, or an object without `cards`.
    #[error("the answer is not a cards object")]
    NotCards,
    /// An interpreted member has a JSON type in which its links could not be found.
    #[error("{0} has the wrong JSON type")]
    WrongType(&'static str),
}

/// Reads `body`. Links at the places in `unkept` go, as those do that may not stay.
///
/// # Errors
/// [`CardsError`]
pub fn read<'a>(body: &'a [u8], policy: &Policy, unkept: &Places) -> Result<Plan<'a>, CardsError> {
    let mut scan = Scanner::new(body)?;
    let plan = Plan {
        text: scan.text(),
        links: Vec::new(),
        ids: Vec::new(),
        announcements: Vec::new(),
        removals: Vec::new(),
        stripped: Vec::new(),
        counts: Counts::default(),
    };
    let mut reader = Reader { policy, unkept, plan };
    if scan.kind()? != Kind::Object {
        return Err(CardsError::NotCards);
    }
    let mut seen = Seen::new(&["cards"]);
    let mut found = false;
    scan.object(|scan, member| {
        if seen.meet(&member.name)?.is_some() {
            found = true;
            reader.cards(scan)?;
        }
        Ok::<(), CardsError>(())
    })?;
    scan.finish()?;
    if found { Ok(reader.plan) } else { Err(CardsError::NotCards) }
}

struct Reader<'a, 'p> {
    policy: &'p Policy,
    unkept: &'p Places,
    plan: Plan<'a>,
}

/// Whether a link stays in the answer, replaced or not.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Fate {
    Stays,
    Goes,
}

impl<'a> Reader<'a, '_> {
    fn cards(&mut self, scan: &mut Scanner<'a>) -> Result<(), CardsError> {
        if scan.kind()? != Kind::Array {
            return Err(CardsError::NotCards);
        }
        scan.array(|scan, number| {
            self.plan.counts.cards = self.plan.counts.cards.saturating_add(1);
            self.card(scan, number)
        })?;
        Ok(())
    }

    fn card(&mut self, scan: &mut Scanner<'a>, card: usize) -> Result<(), CardsError> {
        require(scan, Kind::Object, "cards")?;
        let links_before = self.plan.links.len();
        let mut extension = None;
        let mut seen =
            Seen::new(&["uuid", "links", "suggestions", "source", "detail", "extension"]);
        let object = scan.object(|scan, member| {
            match seen.meet(&member.name)? {
                Some("uuid") => self.id(scan, &member, IdKind::Card, card)?,
                Some("links") => self.links(scan, &member, card)?,
                Some("suggestions") => self.suggestions(scan, card)?,
                Some("source") => self.source(scan, &member)?,
                Some("detail") => self.detail(scan, &member)?,
                Some("extension") => extension = Some(read_extension(scan)?),
                Some(_) | None => {}
            }
            Ok::<(), CardsError>(())
        })?;
        if self.plan.links.len() > links_before {
            self.plan.announcements.push(extension.unwrap_or(Extension::None(object)));
        }
        Ok(())
    }

    fn links(
        &mut self,
        scan: &mut Scanner<'a>,
        member: &Member<'a>,
        card: usize,
    ) -> Result<(), CardsError> {
        if scan.kind()? == Kind::Null {
            return Ok(());
        }
        require(scan, Kind::Array, "links")?;
        let removals_before = self.plan.removals.len();
        let mut left = false;
        let array = scan.array(|scan, number| {
            left |= self.link(scan, card, number)? == Fate::Stays;
            Ok::<(), CardsError>(())
        })?;
        // The standard forbids an empty array here; one that came empty is the service's own.
        if !left && self.plan.removals.len() > removals_before {
            self.plan.removals.truncate(removals_before);
            self.plan.removals.push(Span { start: member.start, end: array.end });
        }
        Ok(())
    }

    fn link(
        &mut self,
        scan: &mut Scanner<'a>,
        card: usize,
        link: usize,
    ) -> Result<Fate, CardsError> {
        require(scan, Kind::Object, "links")?;
        let (mut url, mut kind, mut extension) = (None, None, None);
        let mut seen = Seen::new(&["url", "type", "extension"]);
        let object = scan.object(|scan, member| {
            match seen.meet(&member.name)? {
                Some("url") => url = text(scan, "url")?,
                Some("type") => kind = text(scan, "type")?,
                Some("extension") => extension = Some(read_extension(scan)?),
                Some(_) | None => {}
            }
            Ok::<(), CardsError>(())
        })?;
        let (address, value) = url.unwrap_or((Cow::Borrowed(""), object));
        let target = match judge(address, &self.policy.allowed_origins) {
            Ok(target) => target,
            Err(unfit) => {
                self.drop(unfit, object);
                return Ok(Fate::Goes);
            }
        };
        // A type that nobody has defined yet is opened by clients like an absolute link, or not at all.
        let smart = kind.is_some_and(|(kind, _)| kind == "smart");
        if smart && !self.policy.rewrite_smart {
            self.plan.counts.smart_kept = self.plan.counts.smart_kept.saturating_add(1);
        } else if self.unkept.contains(&(card, link)) {
            self.plan.counts.dropped_unkept = self.plan.counts.dropped_unkept.saturating_add(1);
            self.plan.removals.push(object);
            return Ok(Fate::Goes);
        } else {
            self.plan.counts.rewritten = self.plan.counts.rewritten.saturating_add(1);
            self.plan.links.push(LinkSite { card, link, target, value });
            self.plan.announcements.push(extension.unwrap_or(Extension::None(object)));
        }
        Ok(Fate::Stays)
    }

    fn drop(&mut self, unfit: Unfit, link: Span) {
        let counts = &mut self.plan.counts;
        let count = match unfit {
            Unfit::Unparsable => &mut counts.dropped_unparsable,
            Unfit::Scheme => &mut counts.dropped_scheme,
            Unfit::Origin => &mut counts.dropped_origin,
        };
        *count = count.saturating_add(1);
        self.plan.removals.push(link);
    }

    fn suggestions(&mut self, scan: &mut Scanner<'a>, card: usize) -> Result<(), CardsError> {
        if scan.kind()? == Kind::Null {
            return Ok(());
        }
        require(scan, Kind::Array, "suggestions")?;
        scan.array(|scan, _| {
            require(scan, Kind::Object, "suggestions")?;
            let mut seen = Seen::new(&["uuid"]);
            scan.object(|scan, member| match seen.meet(&member.name)? {
                Some(_) => self.id(scan, &member, IdKind::Suggestion, card),
                None => Ok(()),
            })?;
            Ok::<(), CardsError>(())
        })?;
        Ok(())
    }

    /// An id that is empty or no string cannot come back in feedback, and stays.
    fn id(
        &mut self,
        scan: &mut Scanner<'a>,
        member: &Member<'a>,
        kind: IdKind,
        card: usize,
    ) -> Result<(), CardsError> {
        if self.policy.ids == Ids::Pass || scan.kind()? != Kind::String {
            return Ok(());
        }
        let read = scan.string()?;
        if !read.decoded.is_empty() {
            self.plan.ids.push(IdSite {
                kind,
                card,
                original: read.decoded,
                value: read.span,
                member: Span { start: member.start, end: read.span.end },
            });
        }
        Ok(())
    }

    fn source(&mut self, scan: &mut Scanner<'a>, member: &Member<'a>) -> Result<(), CardsError> {
        let strip = self.policy.source_url == Treatment::Strip;
        if scan.kind()? != Kind::Object {
            return must_be_readable(scan, strip, "source");
        }
        let (mut url, mut others) = (None, false);
        let mut seen = Seen::new(&["url"]);
        let source = scan.object(|scan, member| {
            if seen.meet(&member.name)?.is_some() {
                url = Some(Span { start: member.start, end: scan.skip()?.end });
            } else {
                others = true;
            }
            Ok::<(), CardsError>(())
        })?;
        if let Some(url) = url {
            self.plan.counts.source_urls = self.plan.counts.source_urls.saturating_add(1);
            if strip {
                let whole = Span { start: member.start, end: source.end };
                self.plan.removals.push(if others { url } else { whole });
            }
        }
        Ok(())
    }

    fn detail(&mut self, scan: &mut Scanner<'a>, member: &Member<'a>) -> Result<(), CardsError> {
        let strip = self.policy.detail_links == Treatment::Strip;
        if scan.kind()? != Kind::String {
            return must_be_readable(scan, strip, "detail");
        }
        if !strip {
            let found = markdown::count(scan.skip()?.of(self.plan.text));
            self.plan.counts.detail_links = self.plan.counts.detail_links.saturating_add(found);
            return Ok(());
        }
        let detail = scan.string()?;
        let found = markdown::count(&detail.decoded);
        self.plan.counts.detail_links = self.plan.counts.detail_links.saturating_add(found);
        let left = markdown::strip(&detail.decoded);
        if left != detail.decoded {
            if left.trim().is_empty() {
                self.plan.removals.push(Span { start: member.start, end: detail.span.end });
            } else {
                self.plan.stripped.push((detail.span, left.into_owned()));
            }
        }
        Ok(())
    }
}

fn require(scan: &mut Scanner<'_>, kind: Kind, name: &'static str) -> Result<(), CardsError> {
    if scan.kind()? == kind { Ok(()) } else { Err(CardsError::WrongType(name)) }
}

/// What has to be stripped must have the type in which it can be; otherwise any type passes.
fn must_be_readable(
    scan: &mut Scanner<'_>,
    strip: bool,
    name: &'static str,
) -> Result<(), CardsError> {
    if strip && scan.kind()? != Kind::Null {
        return Err(CardsError::WrongType(name));
    }
    Ok(())
}

/// A string and its place; `None` for null.
fn text<'a>(
    scan: &mut Scanner<'a>,
    name: &'static str,
) -> Result<Option<(Cow<'a, str>, Span)>, CardsError> {
    match scan.kind()? {
        Kind::String => Ok(scan.string().map(|read| Some((read.decoded, read.span)))?),
        Kind::Null => Ok(None),
        Kind::Object | Kind::Array | Kind::Number | Kind::Bool => Err(CardsError::WrongType(name)),
    }
}

fn read_extension(scan: &mut Scanner<'_>) -> Result<Extension, CardsError> {
    if scan.kind()? != Kind::Object {
        return Ok(Extension::Strange);
    }
    let mut ours = None;
    let mut seen = Seen::new(&["org.hookgate"]);
    let object = scan.object(|scan, member| {
        if seen.meet(&member.name)?.is_some() {
            ours = Some(scan.skip()?);
        }
        Ok::<(), CardsError>(())
    })?;
    Ok(ours.map_or(Extension::Object(object), Extension::Ours))
}
