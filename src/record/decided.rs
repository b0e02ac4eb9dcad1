//! What became of a request, as an auditor is told.

use http::Method;

use crate::audit::{Event, Print, What};

/// The reason of an answer that the service gave, and that is no success.
const UPSTREAM_STATUS: &str = "upstream-status";

/// How a link was opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Opening {
    /// For the first time: it is spent now.
    First,
    /// By the browser that had spent it, within the grace.
    Again,
}

/// What of a request decides how it is judged.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ended<'a> {
    /// Its way.
    pub(crate) way: &'static str,
    /// Its method.
    pub(crate) method: &'a Method,
    /// Why it was refused, where it was.
    pub(crate) reason: Option<&'static str>,
    /// More about that.
    pub(crate) detail: Option<&'a str>,
    /// Whether a link was opened.
    pub(crate) opened: Option<Opening>,
    /// Which link was to be.
    pub(crate) link: Option<Print>,
}

impl Ended<'_> {
    /// What was decided; nothing where nothing was.
    pub(crate) fn verdict(&self) -> Option<Event> {
        // What the service itself answered is no decision of the gateway's.
        let refused = self.reason.filter(|reason| *reason != UPSTREAM_STATUS);
        let Some(reason) = refused else { return self.acceptance().map(Event::new) };
        let detail = self.detail.map(str::to_owned);
        Some(Event { detail, ..Event::new(self.refusal(reason)).because(reason) })
    }

    fn acceptance(&self) -> Option<What> {
        match (self.way, self.opened) {
            // A preflight has no credential, and opens nothing.
            _ if self.method == Method::OPTIONS => None,
            ("open", Some(opening)) => {
                Some(What::LinkOpened { link: self.link, again: opening == Opening::Again })
            }
            // A page that asks first, a prefetch, or keys that are everybody's: nothing is given.
            ("open" | "jwks", _) => None,
            (_, _) => Some(What::CallAccepted),
        }
    }

    fn refusal(&self, reason: &str) -> What {
        match reason {
            "replayed" => What::TokenReplayed,
            "fhir-server" | "bundle-link" => What::FhirServerRefused,
            _ if reason.starts_with("limit-") => What::RateLimited,
            _ if self.way == "open" => What::LinkRefused { link: self.link },
            _ => What::CallRefused,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ended(way: &'static str) -> Ended<'static> {
        let method = &Method::POST;
        Ended { way, method, reason: None, detail: None, opened: None, link: None }
    }

    fn word(ended: &Ended<'_>) -> Option<&'static str> {
        ended.verdict().map(|event| event.what.word())
    }

    #[test]
    fn each_request_is_judged_once() {
        assert_eq!(word(&ended("hook")), Some("call-accepted"));
        for (reason, expected) in [
            ("audience", "call-refused"),
            ("replayed", "token-replayed"),
            ("limit-client", "rate-limited"),
            ("fhir-server", "fhir-server-refused"),
            ("bundle-link", "fhir-server-refused"),
            ("upstream-late-head", "call-refused"),
            (UPSTREAM_STATUS, "call-accepted"),
        ] {
            let refused = Ended { reason: Some(reason), ..ended("hook") };
            assert_eq!(word(&refused), Some(expected), "{reason}");
        }
        assert_eq!(word(&ended("open")), None, "a page with a button opens nothing");
        for opening in [Opening::First, Opening::Again] {
            let opened = Ended { opened: Some(opening), ..ended("open") };
            assert_eq!(word(&opened), Some("link-opened"));
        }
        let refused = |reason| word(&Ended { reason: Some(reason), ..ended("open") });
        assert_eq!(refused("link-spent"), Some("link-refused"));
        assert_eq!(refused("limit-open-address"), Some("rate-limited"));
        assert_eq!(word(&Ended { method: &Method::OPTIONS, ..ended("hook") }), None);
        assert_eq!(word(&ended("jwks")), None);
    }
}
