//! What is to be done with an answer.

use std::borrow::Cow;
use std::collections::HashSet;

use crate::json::token::Span;

/// A link that is to be replaced.
#[derive(Clone, Debug)]
pub struct LinkSite<'a> {
    /// Which card, counted from 0.
    pub card: usize,
    /// Which of the card's links, counted from 0 and with those that go.
    pub link: usize,
    /// Where it leads: an absolute http or https URL in ASCII. It may be a credential.
    pub target: Cow<'a, str>,
    /// The place of the `url` value.
    pub value: Span,
}

/// Links by their [`LinkSite::card`] and [`LinkSite::link`].
pub type Places = HashSet<(usize, usize)>;

/// Whose id it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum IdKind {
    /// `cards[].uuid`, which comes back as feedback's `card`.
    Card,
    /// `cards[].suggestions[].uuid`, which comes back in feedback's `acceptedSuggestions` and as the
    /// last segment of an analytics call.
    Suggestion,
}

/// An id that is to be replaced.
#[derive(Clone, Debug)]
pub struct IdSite<'a> {
    /// Whose it is.
    pub kind: IdKind,
    /// Which card it is in, counted from 0.
    pub card: usize,
    /// What the service calls it. Not empty.
    pub original: Cow<'a, str>,
    /// The place of the value.
    pub value: Span,
    /// The place of the whole member.
    pub member: Span,
}

/// Where an object is told what `org.hookgate` says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Extension {
    /// This object has no `extension`.
    None(Span),
    /// Its `extension` is this object.
    Object(Span),
    /// Its `extension` has an `org.hookgate` already, with this value: a forgery of ours.
    Ours(Span),
    /// Its `extension` is no object. It stays alone.
    Strange,
}

/// What was met in an answer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Cards.
    pub cards: usize,
    /// Links to be replaced.
    pub rewritten: usize,
    /// `smart` links left as they are.
    pub smart_kept: usize,
    /// Links dropped: their address is missing, or no absolute URL.
    pub dropped_unparsable: usize,
    /// Links dropped: neither http nor https.
    pub dropped_scheme: usize,
    /// Links dropped: not on an allowed origin.
    pub dropped_origin: usize,
    /// Links dropped: what they need could not be kept.
    pub dropped_unkept: usize,
    /// `source.url`s, kept or stripped as the policy says.
    pub source_urls: usize,
    /// Web addresses in `detail`s, kept or stripped as the policy says.
    pub detail_links: usize,
}

/// An answer and all that is to be done with it. Spans are positions in `text`.
#[derive(Debug)]
pub struct Plan<'a> {
    /// The answer.
    pub text: &'a str,
    /// Links to be replaced, in the order of the text.
    pub links: Vec<LinkSite<'a>>,
    /// Ids to be replaced, in the order of the text.
    pub ids: Vec<IdSite<'a>>,
    /// One for each replaced link and each card that has one.
    pub announcements: Vec<Extension>,
    /// Members and elements to be removed.
    pub removals: Vec<Span>,
    /// Strings to be replaced by what is left of them.
    pub stripped: Vec<(Span, String)>,
    /// What was met.
    pub counts: Counts,
}
