//! Where a call goes: the gateway's ways, mapped to the upstream's paths.

use http::Uri;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use url::Url;

use crate::gateway::upstream::error::UpstreamError;
use crate::gateway::upstream::settings::Settings;
use crate::names::ServiceId;
use crate::problem::{Code, Problem};

/// What an upstream is called for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way<'a> {
    /// `GET /cds-services`.
    Discovery,
    /// `POST /cds-services/{id}`.
    Hook(&'a ServiceId),
    /// `POST /cds-services/{id}/feedback`.
    Feedback(&'a ServiceId),
    /// `POST /cds-services/{id}/analytics/{uuid}`, with the id that the upstream gave: any text.
    Analytics(&'a ServiceId, &'a str),
}

/// RFC 3986 section 3.3: everything but `pchar` is encoded.
const SEGMENT: AsciiSet = UNRESERVED
    .remove(b'!')
    .remove(b'$')
    .remove(b'&')
    .remove(b'\'')
    .remove(b'(')
    .remove(b')')
    .remove(b'*')
    .remove(b'+')
    .remove(b',')
    .remove(b';')
    .remove(b'=')
    .remove(b':')
    .remove(b'@');

/// RFC 3986 section 2.3. In a query `&`, `=` and `+` would change what is said.
const UNRESERVED: AsciiSet = NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

#[derive(Debug)]
enum Piece {
    Text(String),
    Id(&'static AsciiSet),
    Uuid(&'static AsciiSet),
}

/// A URL with holes for ids.
#[derive(Debug)]
struct Template(Vec<Piece>);

impl Template {
    fn parse(text: &str) -> Result<Self, String> {
        let (mut pieces, mut rest, mut in_query) = (Vec::new(), text, false);
        while let Some((before, after)) = rest.split_once('{') {
            in_query |= before.contains('?');
            let set: &'static AsciiSet = if in_query { &UNRESERVED } else { &SEGMENT };
            let (name, after) = after.split_once('}').ok_or("has a \"{\" without a \"}\"")?;
            let piece = match name {
                "id" => Piece::Id(set),
                "uuid" => Piece::Uuid(set),
                other => {
                    return Err(format!("has {{{other}}}; only {{id}} and {{uuid}} are known"));
                }
            };
            pieces.push(Piece::Text(before.to_owned()));
            pieces.push(piece);
            rest = after;
        }
        pieces.push(Piece::Text(rest.to_owned()));
        Ok(Self(pieces))
    }

    fn count(&self, wanted: fn(&Piece) -> bool) -> usize {
        self.0.iter().filter(|piece| wanted(piece)).count()
    }

    fn fill(&self, id: &str, uuid: &str) -> String {
        let mut out = String::new();
        for piece in &self.0 {
            match piece {
                Piece::Text(text) => out.push_str(text),
                Piece::Id(set) => out.extend(utf8_percent_encode(id, set)),
                Piece::Uuid(set) => out.extend(utf8_percent_encode(uuid, set)),
            }
        }
        out
    }
}

const fn is_id(piece: &Piece) -> bool {
    matches!(piece, Piece::Id(_))
}

const fn is_uuid(piece: &Piece) -> bool {
    matches!(piece, Piece::Uuid(_))
}

/// One URL, as text for an audience and as what is dialled.
#[derive(Debug)]
pub(crate) struct Target {
    pub(crate) text: String,
    pub(crate) uri: Uri,
}

/// All URLs of one upstream.
#[derive(Debug)]
pub(crate) struct Targets {
    discovery: Template,
    service: Template,
    feedback: Template,
    analytics: Template,
}

impl Targets {
    /// Reads the paths; every problem is a sentence.
    pub(crate) fn new(settings: &Settings) -> Result<Self, Vec<Problem>> {
        let mut problems = Vec::new();
        let mut read = |name: &str, path: &str, ids: usize, uuids: usize| {
            template(&settings.url, path, ids, uuids).unwrap_or_else(|why| {
                problems.push(Problem::said(Code::BadValue, format!("{name} {why}")));
                Template(Vec::new())
            })
        };
        let targets = Self {
            discovery: read("discovery_path", &settings.discovery_path, 0, 0),
            service: read("service_path", &settings.service_path, 1, 0),
            feedback: read("feedback_path", &settings.feedback_path, 1, 0),
            analytics: read("analytics_path", &settings.analytics_path, 1, 1),
        };
        if problems.is_empty() { Ok(targets) } else { Err(problems) }
    }

    /// The URL for `way`.
    ///
    /// # Errors
    /// [`UpstreamError::Unaddressable`]
    pub(crate) fn of(&self, way: Way<'_>) -> Result<Target, UpstreamError> {
        let text = match way {
            Way::Discovery => self.discovery.fill("", ""),
            Way::Hook(id) => self.service.fill(id.as_str(), ""),
            Way::Feedback(id) => self.feedback.fill(id.as_str(), ""),
            // Many servers take an encoded dot segment for a dot segment, and go up.
            Way::Analytics(_, "" | "." | "..") => return Err(UpstreamError::Unaddressable),
            Way::Analytics(id, uuid) => self.analytics.fill(id.as_str(), uuid),
        };
        let uri = Uri::try_from(text.as_str()).map_err(|_| UpstreamError::Unaddressable)?;
        Ok(Target { text, uri })
    }
}

fn template(base: &Url, path: &str, ids: usize, uuids: usize) -> Result<Template, String> {
    let whole = if base.query().is_some() {
        if path.contains('?') {
            return Err("has a query, and so has url; leave one of them out".to_owned());
        }
        format!("{base}{path}")
    } else {
        if !path.starts_with(['/', '?']) {
            return Err("does not begin with \"/\"".to_owned());
        }
        format!("{}{path}", base.as_str().trim_end_matches('/'))
    };
    let template = Template::parse(&whole)?;
    // An upstream with one service may do without {id}; nothing can be told apart without {uuid}.
    if template.count(is_id) > ids {
        return Err(format!("has {{id}} too often; write it at most {ids} times"));
    }
    if template.count(is_uuid) != uuids {
        return Err(format!("has {{uuid}} not exactly {uuids} times"));
    }
    let sample = template.fill("id", "uuid");
    let understood = Url::parse(&sample).map_err(|e| format!("makes no URL: {e}"))?;
    if understood.as_str() != sample || understood.fragment().is_some() {
        return Err(format!(
            "is not as servers would read it ({understood}): encode what needs it, and leave out dot \
             segments and fragments"
        ));
    }
    Ok(template)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::names::UpstreamId;

    fn settings(url: &str) -> Settings {
        Settings::new(UpstreamId::new("u").unwrap(), Url::parse(url).unwrap())
    }

    fn service(id: &str) -> ServiceId {
        ServiceId::new(id).unwrap()
    }

    #[test]
    fn maps_the_ways() {
        let table = [
            ("https://h", "https://h/cds-services"),
            ("https://h/", "https://h/cds-services"),
            ("https://h:8443/r4", "https://h:8443/r4/cds-services"),
            ("https://h/r4/", "https://h/r4/cds-services"),
            ("http://[::1]:80/a", "http://[::1]/a/cds-services"),
            (
                "https://r/api/?type=module&cds-url=",
                "https://r/api/?type=module&cds-url=/cds-services",
            ),
        ];
        let greeting = service("patient-greeting");
        for (base, root) in table {
            let targets = Targets::new(&settings(base)).unwrap();
            for (way, suffix) in [
                (Way::Discovery, ""),
                (Way::Hook(&greeting), "/patient-greeting"),
                (Way::Feedback(&greeting), "/patient-greeting/feedback"),
                (Way::Analytics(&greeting, "u1"), "/patient-greeting/analytics/u1"),
            ] {
                let target = targets.of(way).unwrap();
                assert_eq!(target.text, format!("{root}{suffix}"));
                assert_eq!(target.uri, target.text.parse::<Uri>().unwrap());
            }
        }
    }

    #[test]
    fn own_paths() {
        let settings = Settings {
            discovery_path: "/cds/cds-discovery".to_owned(),
            service_path: "/{id}/run?code=k%20".to_owned(),
            feedback_path: "/all".to_owned(),
            analytics_path: "/a?u={uuid}&s={id}".to_owned(),
            ..settings("https://h/x")
        };
        let targets = Targets::new(&settings).unwrap();
        let id = service("a&b=c+d@e");
        for (way, expected) in [
            (Way::Discovery, "https://h/x/cds/cds-discovery"),
            (Way::Hook(&id), "https://h/x/a&b=c+d@e/run?code=k%20"),
            (Way::Feedback(&id), "https://h/x/all"),
            (Way::Analytics(&id, "1/2"), "https://h/x/a?u=1%2F2&s=a%26b%3Dc%2Bd%40e"),
        ] {
            assert_eq!(targets.of(way).unwrap().text, expected);
        }
    }

    #[test]
    fn an_id_stays_one_segment() {
        let targets = Targets::new(&settings("https://h")).unwrap();
        let id = service("s");
        for (uuid, encoded) in [
            ("123456", "123456"),
            ("urn:uuid:8-4", "urn:uuid:8-4"),
            ("a/b", "a%2Fb"),
            ("../x", "..%2Fx"),
            ("a?b#c", "a%3Fb%23c"),
            ("%2e%2e", "%252e%252e"),
            ("a b\t\r\n", "a%20b%09%0D%0A"),
            ("\u{0}\u{7f}", "%00%7F"),
            ("ä€\\", "%C3%A4%E2%82%AC%5C"),
            ("...", "..."),
            ("{id}", "%7Bid%7D"),
        ] {
            let target = targets.of(Way::Analytics(&id, uuid)).unwrap();
            assert_eq!(target.text, format!("https://h/cds-services/s/analytics/{encoded}"));
            let last = target.uri.path().rsplit('/').next().unwrap();
            let decoded = percent_encoding::percent_decode_str(last).decode_utf8().unwrap();
            assert_eq!(decoded, uuid);
        }
        for uuid in ["", ".", "..", &"x".repeat(70_000)] {
            assert!(matches!(
                targets.of(Way::Analytics(&id, uuid)),
                Err(UpstreamError::Unaddressable)
            ));
        }
    }

    #[test]
    fn names_every_path_that_is_none() {
        for (url, path, why) in [
            ("https://h", "cds", "does not begin"),
            ("https://h", "", "does not begin"),
            ("https://h", "/{id}/{id}", "has {id} too often"),
            ("https://h", "/{uuid}", "has {uuid} not exactly 0"),
            ("https://h", "/{name}", "has {name}; only"),
            ("https://h", "/{id", "has a \"{\" without"),
            ("https://h", "/id}", "is not as servers"),
            ("https://h", "/a/../{id}", "is not as servers"),
            ("https://h", "/a/%2e%2e/{id}", "is not as servers"),
            ("https://h", "/a b", "is not as servers"),
            ("https://h", "/a\\b", "is not as servers"),
            ("https://h", "/ä", "is not as servers"),
            ("https://h", "/a#b", "is not as servers"),
            ("https://h", "/a\nb", "is not as servers"),
            ("https://h/?x=", "/a?b=c", "has a query, and so"),
        ] {
            let settings = Settings { service_path: path.to_owned(), ..settings(url) };
            let problems = Targets::new(&settings).unwrap_err();
            assert_eq!(problems.len(), 1, "{path}: {problems:?}");
            assert!(problems[0].to_string().contains(why), "{path}: {problems:?}");
        }
        let settings = Settings {
            discovery_path: "/{id}".to_owned(),
            analytics_path: "/{id}".to_owned(),
            ..settings("https://h")
        };
        assert_eq!(Targets::new(&settings).unwrap_err().len(), 2);
    }
}
