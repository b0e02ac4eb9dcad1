//! An answer with cards, read, and rendered with its links and ids replaced.

use bytes::Bytes;

use crate::clock::UnixTime;
use crate::gateway::cards::plan::{Counts, Extension, IdSite, LinkSite, Places, Plan};
use crate::gateway::cards::policy::Policy;
use crate::gateway::cards::read::{CardsError, read};
use crate::json::splice::Edits;

/// What becomes of the ids.
#[derive(Clone, Copy, Debug)]
pub enum IdEdits<'r> {
    /// They are replaced by these, in the order of [`Cards::ids`].
    Replace(&'r [String]),
    /// Their members are removed: ids are optional, and one that nobody can map back is worse.
    Remove,
    /// They stay.
    Keep,
}

/// What was given to [`Cards::render`] does not fit the answer: a fault of the caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RenderError {
    /// Not one replacement for each link.
    #[error("{given} replacements were given for {sites} links")]
    Links {
        /// How many were given.
        given: usize,
        /// How many are needed.
        sites: usize,
    },
    /// Not one replacement for each id.
    #[error("{given} replacements were given for {sites} ids")]
    Ids {
        /// How many were given.
        given: usize,
        /// How many are needed.
        sites: usize,
    },
}

/// A readable answer with cards. What may not stay in it is already judged.
#[derive(Debug)]
pub struct Cards<'a>(Plan<'a>);

impl<'a> Cards<'a> {
    /// Reads an answer's body in one pass.
    ///
    /// # Errors
    /// [`CardsError`]: the answer must then not be passed on at all.
    pub fn read(body: &'a [u8], policy: &Policy) -> Result<Self, CardsError> {
        read(body, policy, &Places::new()).map(Self)
    }

    /// The same with the links at these places of [`Cards::links`] taken off their cards: what they need
    /// could not be kept.
    ///
    /// # Errors
    /// [`CardsError`]
    pub fn read_without(
        body: &'a [u8],
        policy: &Policy,
        unkept: &Places,
    ) -> Result<Self, CardsError> {
        read(body, policy, unkept).map(Self)
    }

    /// The links to be replaced.
    pub fn links(&self) -> &[LinkSite<'a>] {
        &self.0.links
    }

    /// The ids to be replaced; none where the policy passes them.
    pub fn ids(&self) -> &[IdSite<'a>] {
        &self.0.ids
    }

    /// What was met in the answer.
    pub const fn counts(&self) -> Counts {
        self.0.counts
    }

    /// Whether rendering would give the very bytes that came, so that they may be passed on as they
    /// are, with their `ETag`.
    pub const fn is_untouched(&self, ids: IdEdits<'_>) -> bool {
        let ids_stay = match ids {
            IdEdits::Replace(_) | IdEdits::Remove => self.0.ids.is_empty(),
            IdEdits::Keep => true,
        };
        ids_stay
            && self.0.links.is_empty()
            && self.0.removals.is_empty()
            && self.0.stripped.is_empty()
    }

    /// The answer with each link replaced by the one of `links` in the same place of
    /// [`Cards::links`]. With `announce`, replaced links and their cards say in their extension that
    /// they expire then and open once.
    ///
    /// # Errors
    /// [`RenderError`] where replacements and places do not match one to one.
    pub fn render(
        &self,
        links: &[String],
        ids: IdEdits<'_>,
        announce: Option<UnixTime>,
    ) -> Result<Bytes, RenderError> {
        let Plan { text, links: sites, ids: id_sites, announcements, removals, stripped, .. } =
            &self.0;
        if links.len() != sites.len() {
            return Err(RenderError::Links { given: links.len(), sites: sites.len() });
        }
        let announcement = announce.map(Announcement::new);
        let expected = [sites.len(), id_sites.len(), announcements.len(), removals.len()];
        let expected = expected.into_iter().fold(stripped.len(), usize::saturating_add);
        let mut edits = Edits::new(text, expected);
        for (site, link) in sites.iter().zip(links) {
            edits.replace_with_string(site.value, link);
        }
        match ids {
            IdEdits::Replace(with) => {
                if with.len() != id_sites.len() {
                    return Err(RenderError::Ids { given: with.len(), sites: id_sites.len() });
                }
                for (site, id) in id_sites.iter().zip(with) {
                    edits.replace_with_string(site.value, id);
                }
            }
            IdEdits::Remove => id_sites.iter().for_each(|site| edits.remove(site.member)),
            IdEdits::Keep => {}
        }
        if let Some(announcement) = &announcement {
            announcements.iter().for_each(|place| announcement.put(*place, &mut edits));
        }
        removals.iter().for_each(|span| edits.remove(*span));
        for (value, left) in stripped {
            edits.replace_with_string(*value, left);
        }
        Ok(Bytes::from(edits.apply()))
    }
}

/// `extension."org.hookgate"`, as the different places need it.
struct Announcement {
    extension: String,
    member: String,
    value: String,
}

impl Announcement {
    fn new(expires_at: UnixTime) -> Self {
        let value = format!(r#"{{"expiresAt":"{expires_at}","uses":1}}"#);
        let member = format!(r#""org.hookgate":{value}"#);
        Self { extension: format!(r#""extension":{{{member}}}"#), member, value }
    }

    fn put<'e>(&'e self, place: Extension, edits: &mut Edits<'e>) {
        match place {
            Extension::None(object) => edits.append(object, self.extension.as_str()),
            Extension::Object(extension) => edits.append(extension, self.member.as_str()),
            Extension::Ours(value) => edits.replace_with_json(value, self.value.as_str()),
            Extension::Strange => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn render(body: &str, policy: &Policy, ids: IdEdits<'_>, announce: bool) -> String {
        let cards = Cards::read(body.as_bytes(), policy).unwrap();
        let links: Vec<String> =
            (0..cards.links().len()).map(|n| format!("https://gate/open/{n}")).collect();
        let expiry = announce.then(|| UnixTime::from_secs(1_795_458_491));
        let out = cards.render(&links, ids, expiry).unwrap();
        if cards.is_untouched(ids) {
            assert_eq!(out, body);
        }
        String::from_utf8(out.to_vec()).unwrap()
    }

    #[test]
    fn announces_in_each_kind_of_extension() {
        let told = r#""org.hookgate":{"expiresAt":"2026-11-23T18:28:11Z","uses":1}"#;
        for (extension, link, card) in [
            ("", format!(r#","extension":{{{told}}}"#), format!(r#","extension":{{{told}}}"#)),
            (r#","extension":{}"#, format!(r#","extension":{{{told}}}"#), String::new()),
            (
                r#","extension":{"a":1 }"#,
                format!(r#","extension":{{"a":1,{told} }}"#),
                String::new(),
            ),
            (
                r#","extension":{"org.hookgate":0,"a":1}"#,
                format!(r#","extension":{{{told},"a":1}}"#),
                String::new(),
            ),
            (r#","extension":[]"#, r#","extension":[]"#.to_owned(), String::new()),
            (r#","extension":null"#, r#","extension":null"#.to_owned(), String::new()),
        ] {
            let body = format!(
                r#"{{"cards":[{{"links":[{{"url":"https://app/"{extension}}}]{extension}}}]}}"#
            );
            let card = if card.is_empty() { &link } else { &card };
            let expected = format!(
                r#"{{"cards":[{{"links":[{{"url":"https://gate/open/0"{link}}}]{card}}}]}}"#
            );
            let policy = Policy::default();
            assert_eq!(render(&body, &policy, IdEdits::Keep, true), expected, "{extension}");
        }
    }

    #[test]
    fn a_card_without_a_replaced_link_says_nothing() {
        let body = r#"{"cards":[{"summary":"a"},{"links":[{"url":"https://a/","type":"smart"}]}]}"#;
        assert_eq!(render(body, &Policy::default(), IdEdits::Keep, true), body);
    }

    #[test]
    fn ids_are_replaced_removed_or_kept() {
        let body = r#"{"cards":[{"uuid" : "a","x":1,"suggestions":[{"uuid":"b\n","label":"l"},
            {"label":"m","uuid":"c"},{"uuid":""},{"uuid":7}]}]}"#;
        let cards = Cards::read(body.as_bytes(), &Policy::default()).unwrap();
        let originals: Vec<&str> = cards.ids().iter().map(|id| id.original.as_ref()).collect();
        assert_eq!(originals, ["a", "b\n", "c"]);
        let new = ["1", "2", "3"].map(str::to_owned);
        let replaced = body
            .replace(r#""a""#, r#""1""#)
            .replace(r#""b\n""#, r#""2""#)
            .replace(r#""c""#, r#""3""#);
        let policy = Policy::default();
        assert_eq!(render(body, &policy, IdEdits::Replace(&new), false), replaced);
        let removed = body
            .replace(r#""uuid" : "a","#, "")
            .replace(r#""uuid":"b\n","#, "")
            .replace(r#","uuid":"c""#, "");
        assert_eq!(render(body, &policy, IdEdits::Remove, false), removed);
        assert_eq!(render(body, &policy, IdEdits::Keep, false), body);
        let pass = Policy { ids: crate::gateway::cards::policy::Ids::Pass, ..policy };
        assert!(Cards::read(body.as_bytes(), &pass).unwrap().ids().is_empty());
    }

    #[test]
    fn links_that_could_not_be_kept_go_and_the_others_stay() {
        let link = |to: &str| format!(r#"{{"url":"https://app/{to}"}}"#);
        let smart = r#"{"url":"https://app/s","type":"smart"}"#;
        let (bad, a, b) = (r#"{"url":"javascript:1"}"#, link("a"), link("b"));
        let body = format!(
            r#"{{"cards":[{{"links":[{bad},{a},{b}]}},{{"links":[{smart},{a}]}},{{"x":1,"links":[{bad},{a}]}}]}}"#
        );
        let policy = Policy::default();
        let without = |places: &[(usize, usize)]| {
            let places = places.iter().copied().collect();
            let cards = Cards::read_without(body.as_bytes(), &policy, &places).unwrap();
            let links: Vec<String> =
                cards.links().iter().map(|site| format!("https://gate/{}", site.target)).collect();
            let out = cards.render(&links, IdEdits::Keep, None).unwrap();
            let dropped = cards.counts().dropped_unkept;
            assert_eq!(cards.counts().rewritten + dropped, 4);
            (String::from_utf8(out.to_vec()).unwrap(), dropped)
        };
        let sealed = |to: &str| link(to).replace("https:", "https://gate/https:");
        let (a, b) = (sealed("a"), sealed("b"));
        let expected = format!(
            r#"{{"cards":[{{"links":[{b}]}},{{"links":[{smart},{a}]}},{{"x":1,"links":[{a}]}}]}}"#
        );
        assert_eq!(without(&[(0, 1)]), (expected, 1));
        let expected =
            format!(r#"{{"cards":[{{"links":[{a}]}},{{"links":[{smart}]}},{{"x":1}}]}}"#);
        assert_eq!(without(&[(0, 2), (1, 1), (2, 1)]), (expected, 3));
        let expected = format!(r#"{{"cards":[{{}},{{"links":[{smart}]}},{{"x":1}}]}}"#);
        assert_eq!(without(&[(0, 1), (0, 2), (1, 1), (2, 1)]), (expected, 4));
    }

    #[test]
    fn replacements_must_fit() {
        let body = br#"{"cards":[{"uuid":"a","links":[{"url":"https://a/"}]}]}"#;
        let cards = Cards::read(body, &Policy::default()).unwrap();
        assert_eq!(
            cards.render(&[], IdEdits::Keep, None),
            Err(RenderError::Links { given: 0, sites: 1 })
        );
        assert_eq!(
            cards.render(&[String::new()], IdEdits::Replace(&[]), None),
            Err(RenderError::Ids { given: 0, sites: 1 })
        );
        assert!(!cards.is_untouched(IdEdits::Keep));
    }
}
