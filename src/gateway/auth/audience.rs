//! Is this token meant for this call?
//!
//! `aud` is compared as it was sent, without any normalisation (RFC 7519 section 2: StringOrURI is
//! case-sensitive), with URLs that are made from `public_url` alone, never from the request.

use url::Url;

use crate::gateway::auth::settings::AudienceSetting;
use crate::names::ServiceId;

/// What is being called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Called<'a> {
    /// `GET {public_url}/cds-services`
    Discovery,
    /// `POST {public_url}/cds-services/{id}`
    Service(&'a ServiceId),
    /// `POST {public_url}/cds-services/{id}/feedback`
    Feedback(&'a ServiceId),
    /// `POST {public_url}/cds-services/{id}/analytics/{uuid}`, the uuid as it stands in the path.
    Analytics(&'a ServiceId, &'a str),
}

impl<'a> Called<'a> {
    /// The service that is called or reported to.
    pub(super) const fn service(&self) -> Option<&'a ServiceId> {
        match *self {
            Self::Discovery => None,
            Self::Service(id) | Self::Feedback(id) | Self::Analytics(id, _) => Some(id),
        }
    }
}

/// Which rule accepted an audience.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum AudienceRule {
    /// The exact URL that was called.
    Endpoint,
    /// The URL of the service that the feedback or analytics is about.
    Service,
    /// The URL of the discovery endpoint.
    Base,
    /// A whole-segment prefix of the URL that was called.
    Prefix,
    /// A literal value from the configuration.
    Literal,
}

impl AudienceRule {
    /// The rule that a setting states.
    pub(super) const fn of(setting: &AudienceSetting) -> Self {
        match setting {
            AudienceSetting::Endpoint => Self::Endpoint,
            AudienceSetting::Service => Self::Service,
            AudienceSetting::Base => Self::Base,
            AudienceSetting::Prefix => Self::Prefix,
            AudienceSetting::Literal(_) => Self::Literal,
        }
    }

    /// The word for log and metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Endpoint => "endpoint",
            Self::Service => "service",
            Self::Base => "base",
            Self::Prefix => "prefix",
            Self::Literal => "literal",
        }
    }
}

/// The URLs of the CDS ways, as clients know them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Endpoints {
    base: String,
    origin_length: usize,
}

impl Endpoints {
    /// The endpoints below `public_url`.
    pub(super) fn new(public_url: &Url) -> Self {
        let origin = public_url.origin().ascii_serialization();
        let base = format!("{origin}{}/cds-services", public_url.path().trim_end_matches('/'));
        Self { base, origin_length: origin.len() }
    }

    /// The first rule, in the order of `rules`, that accepts one of the values of `aud`.
    pub(super) fn accept<'v>(
        &self,
        rules: &[AudienceSetting],
        sent: impl Iterator<Item = &'v str> + Clone,
        called: &Called<'_>,
    ) -> Option<AudienceRule> {
        rules.iter().find_map(|rule| {
            sent.clone()
                .any(|value| self.matches(rule, value, called))
                .then_some(AudienceRule::of(rule))
        })
    }

    /// What `rule` takes for a call of `called`, as one would write it; nothing where it takes nothing.
    pub(super) fn written(&self, rule: &AudienceSetting, called: &Called<'_>) -> Option<String> {
        let base = &self.base;
        let endpoint = |called: &Called<'_>| match *called {
            Called::Discovery => base.clone(),
            Called::Service(id) => format!("{base}/{id}"),
            Called::Feedback(id) => format!("{base}/{id}/feedback"),
            Called::Analytics(id, uuid) => format!("{base}/{id}/analytics/{uuid}"),
        };
        match rule {
            AudienceSetting::Endpoint => Some(endpoint(called)),
            AudienceSetting::Service => called.service().map(|id| endpoint(&Called::Service(id))),
            AudienceSetting::Base => Some(base.clone()),
            AudienceSetting::Prefix => {
                let origin = base.get(..self.origin_length).unwrap_or_default();
                Some(format!("{origin}, or anything from there on the way to {}", endpoint(called)))
            }
            AudienceSetting::Literal(literal) => Some(literal.clone()),
        }
    }

    fn matches(&self, rule: &AudienceSetting, value: &str, called: &Called<'_>) -> bool {
        match rule {
            AudienceSetting::Endpoint => self.rest(value) == Some(Rest::of(called)),
            AudienceSetting::Service => match called.service() {
                Some(id) => self.rest(value) == Some(Rest::of(&Called::Service(id))),
                None => false,
            },
            AudienceSetting::Base => value == self.base,
            AudienceSetting::Prefix => self.is_prefix(value, called),
            AudienceSetting::Literal(literal) => value == literal,
        }
    }

    /// What follows the base in `value`, cut at its slashes.
    fn rest<'v>(&self, value: &'v str) -> Option<Rest<'v>> {
        let rest = value.strip_prefix(self.base.as_str())?;
        if rest.is_empty() {
            return Some(Rest([None; 3]));
        }
        let mut segments = rest.strip_prefix('/')?.split('/');
        let cut = [segments.next(), segments.next(), segments.next()];
        segments.next().is_none().then_some(Rest(cut))
    }

    fn is_prefix(&self, value: &str, called: &Called<'_>) -> bool {
        if value.len() < self.origin_length {
            return false;
        }
        match self.base.strip_prefix(value) {
            Some(rest) => rest.is_empty() || rest.starts_with('/'),
            None => self.rest(value).is_some_and(|rest| rest.begins(&Rest::of(called))),
        }
    }
}

/// The segments of a URL below the base.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Rest<'a>([Option<&'a str>; 3]);

impl<'a> Rest<'a> {
    fn of(called: &Called<'a>) -> Self {
        Self(match *called {
            Called::Discovery => [None, None, None],
            Called::Service(id) => [Some(id.as_str()), None, None],
            Called::Feedback(id) => [Some(id.as_str()), Some("feedback"), None],
            Called::Analytics(id, uuid) => [Some(id.as_str()), Some("analytics"), Some(uuid)],
        })
    }

    fn begins(&self, whole: &Self) -> bool {
        self.0.iter().zip(&whole.0).all(|(mine, theirs)| mine.is_none() || mine == theirs)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn accepts(public: &str, rule: &str, sent: &str, called: &Called<'_>) -> bool {
        let rules = [AudienceSetting::from(rule.to_owned())];
        let endpoints = Endpoints::new(&public.parse().unwrap());
        endpoints.accept(&rules, [sent].into_iter(), called).is_some()
    }

    #[test]
    fn each_rule_accepts_what_it_names_and_nothing_beside() {
        let id = ServiceId::new("greet").unwrap();
        let uuid = "9b2b0d3e-0000-4000-8000-000000000000";
        let (discovery, service) = (Called::Discovery, Called::Service(&id));
        let (feedback, analytics) = (Called::Feedback(&id), Called::Analytics(&id, uuid));
        let at = |tail: &str| format!("https://gw.example.org/cds-services{tail}");
        let full = format!("/greet/analytics/{uuid}");
        let table = [
            ("endpoint", "", discovery, true),
            ("endpoint", "/", discovery, false),
            ("endpoint", "/greet", discovery, false),
            ("endpoint", "/greet", service, true),
            ("endpoint", "", service, false),
            ("endpoint", "/greet/", service, false),
            ("endpoint", "/greet//", service, false),
            ("endpoint", "//greet", service, false),
            ("endpoint", "/Greet", service, false),
            ("endpoint", "/greet2", service, false),
            ("endpoint", "/gree", service, false),
            ("endpoint", "/%67reet", service, false),
            ("endpoint", "/greet?x=1", service, false),
            ("endpoint", "/greet#x", service, false),
            ("endpoint", "/greet/feedback", service, false),
            ("endpoint", "/greet/feedback", feedback, true),
            ("endpoint", "/greet", feedback, false),
            ("endpoint", &full, analytics, true),
            ("endpoint", &format!("{full}/x"), analytics, false),
            ("service", "/greet", service, true),
            ("service", "/greet", feedback, true),
            ("service", "/greet", analytics, true),
            ("service", "/greet/", feedback, false),
            ("service", "/other", feedback, false),
            ("service", "/greet/feedback", feedback, false),
            ("service", "", discovery, false),
            ("base", "", service, true),
            ("base", "", discovery, true),
            ("base", "", feedback, true),
            ("base", "/", service, false),
            ("base", "/greet", service, false),
            ("prefix", "", service, true),
            ("prefix", "/greet", service, true),
            ("prefix", "/greet", feedback, true),
            ("prefix", "/greet/feedback", feedback, true),
            ("prefix", "/greet/analytics", analytics, true),
            ("prefix", "/gree", service, false),
            ("prefix", "/greet/", feedback, false),
            ("prefix", "/greet/feedback", service, false),
            ("prefix", "/other", service, false),
            ("prefix", "/", service, false),
        ];
        for (rule, tail, called, expected) in table {
            let sent = at(tail);
            assert_eq!(
                accepts("https://gw.example.org", rule, &sent, &called),
                expected,
                "{rule} {sent} {called:?}"
            );
        }
    }

    #[test]
    fn a_prefix_is_the_origin_at_least() {
        let id = ServiceId::new("greet").unwrap();
        let called = Called::Service(&id);
        let public = "https://gw.example.org:8443/deep/path/";
        for good in [
            "https://gw.example.org:8443",
            "https://gw.example.org:8443/deep",
            "https://gw.example.org:8443/deep/path",
            "https://gw.example.org:8443/deep/path/cds-services",
        ] {
            assert!(accepts(public, "prefix", good, &called), "{good}");
        }
        for bad in [
            "",
            "https:",
            "https:/",
            "https://gw.example.org",
            "https://gw.example.org:844",
            "https://gw.example.org:8443/",
            "https://gw.example.org:8443/dee",
            "https://gw.example.org:8443/deep/path/cds",
            "https://other.example.org:8443/deep",
            "HTTPS://gw.example.org:8443/deep",
        ] {
            assert!(!accepts(public, "prefix", bad, &called), "{bad}");
        }
        assert!(accepts(
            public,
            "endpoint",
            "https://gw.example.org:8443/deep/path/cds-services/greet",
            &called
        ));
    }

    #[test]
    fn says_which_rule_matched() {
        let id = ServiceId::new("greet").unwrap();
        let endpoints = Endpoints::new(&"https://gw.example.org".parse().unwrap());
        let rules =
            ["endpoint", "service", "sand_man"].map(|r| AudienceSetting::from(r.to_owned()));
        let accept =
            |sent: &[&str]| endpoints.accept(&rules, sent.iter().copied(), &Called::Feedback(&id));
        let url = "https://gw.example.org/cds-services/greet";
        assert_eq!(accept(&[url]), Some(AudienceRule::Service));
        assert_eq!(accept(&["x", "sand_man"]), Some(AudienceRule::Literal));
        assert_eq!(accept(&[url, &format!("{url}/feedback")]), Some(AudienceRule::Endpoint));
        assert_eq!(accept(&["SAND_MAN"]), None);
    }
}
