//! Where the redirect leads: the target, and what the client appended to the link.
//!
//! The target's bytes stay as the service wrote them, and the client's as the client sent them. Only a
//! target that no header can carry is respelled, exactly as any browser would have done.

use std::borrow::Cow;

use http::HeaderValue;
use url::Url;

/// Why there is no `Location`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LocationError {
    /// The target is not an absolute http or https URL.
    #[error("the link target is not an http or https URL")]
    Target,
    /// The query has characters that cannot stand in one (RFC 3986 section 3.4).
    #[error("the appended query has characters that cannot stand in one")]
    Query,
}

/// The `Location` that leads to `target`, with the query that came with the link.
///
/// # Errors
/// [`LocationError`]
pub fn location(target: &str, client_query: Option<&str>) -> Result<HeaderValue, LocationError> {
    let query = client_query.unwrap_or_default();
    // Visible ASCII: nothing that could end a header; and no `#`, which would end the query.
    if !query.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'#') {
        return Err(LocationError::Query);
    }
    let target = spell(target)?;
    HeaderValue::try_from(with_query(&target, query)).map_err(|_| LocationError::Target)
}

/// `url` with `query` after its own query and before its fragment. Nothing is decoded, encoded or
/// reordered; an empty `query` changes nothing.
pub fn with_query(url: &str, query: &str) -> String {
    if query.is_empty() {
        return url.to_owned();
    }
    let (before, fragment) = match url.split_once('#') {
        Some((before, fragment)) => (before, Some(fragment)),
        None => (url, None),
    };
    let joint = match before.split_once('?') {
        None => "?",
        Some((_, own)) if own.is_empty() || own.ends_with('&') => "",
        Some(_) => "&",
    };
    match fragment {
        Some(fragment) => format!("{before}{joint}{query}#{fragment}"),
        None => format!("{before}{joint}{query}"),
    }
}

/// The target as it can stand in a `Location`. Respelled are also a backslash, which browsers take for a
/// slash, and who does not would go to another host; and `https:a.b`, which alone means a host and in a
/// redirect a path on this one.
fn spell(target: &str) -> Result<Cow<'_, str>, LocationError> {
    let url = Url::parse(target).map_err(|_| LocationError::Target)?;
    if !matches!(url.scheme(), "http" | "https") || !url.has_host() {
        return Err(LocationError::Target);
    }
    let after_scheme = target.get(url.scheme().len()..).unwrap_or_default();
    let clean = target.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'\\');
    if clean && after_scheme.starts_with("://") {
        return Ok(Cow::Borrowed(target));
    }
    Ok(Cow::Owned(url.into()))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn lead(target: &str, query: Option<&str>) -> String {
        location(target, query).unwrap().to_str().unwrap().to_owned()
    }

    #[test]
    fn every_combination_of_query_and_fragment() {
        let table = [
            // target                    appended         location
            ("https://a.b", None, "https://a.b"),
            ("https://a.b", Some(""), "https://a.b"),
            ("https://a.b", Some("x=1"), "https://a.b?x=1"),
            ("https://a.b/", Some("x=1"), "https://a.b/?x=1"),
            ("https://a.b/c", None, "https://a.b/c"),
            ("https://a.b/c", Some(""), "https://a.b/c"),
            ("https://a.b/c", Some("x=1&y=2"), "https://a.b/c?x=1&y=2"),
            ("https://a.b/c?", None, "https://a.b/c?"),
            ("https://a.b/c?", Some("x=1"), "https://a.b/c?x=1"),
            ("https://a.b/c?d", Some("x=1"), "https://a.b/c?d&x=1"),
            ("https://a.b/c?d=1", None, "https://a.b/c?d=1"),
            ("https://a.b/c?d=1", Some(""), "https://a.b/c?d=1"),
            ("https://a.b/c?d=1", Some("x=1"), "https://a.b/c?d=1&x=1"),
            ("https://a.b/c?d=1&", Some("x=1"), "https://a.b/c?d=1&x=1"),
            ("https://a.b/c?d=1&d=1", Some("d=1"), "https://a.b/c?d=1&d=1&d=1"),
            ("https://a.b/c?iss=z", Some("iss=y"), "https://a.b/c?iss=z&iss=y"),
            ("https://a.b/c?d=?", Some("x=?"), "https://a.b/c?d=?&x=?"),
            ("https://a.b/c#", None, "https://a.b/c#"),
            ("https://a.b/c#", Some("x=1"), "https://a.b/c?x=1#"),
            ("https://a.b/c#f", None, "https://a.b/c#f"),
            ("https://a.b/c#f", Some(""), "https://a.b/c#f"),
            ("https://a.b/c#f", Some("x=1"), "https://a.b/c?x=1#f"),
            ("https://a.b#f", Some("x=1"), "https://a.b?x=1#f"),
            ("https://a.b/c?#f", Some("x=1"), "https://a.b/c?x=1#f"),
            ("https://a.b/c?d=1#f", Some("x=1"), "https://a.b/c?d=1&x=1#f"),
            ("https://a.b/c?d=1&#f", Some("x=1"), "https://a.b/c?d=1&x=1#f"),
            ("https://a.b/#/r?s=1", Some("x=1"), "https://a.b/?x=1#/r?s=1"),
            ("https://a.b/?d=1#/r?s=1#t", Some("x=1"), "https://a.b/?d=1&x=1#/r?s=1#t"),
            ("https://a.b/c", Some("x"), "https://a.b/c?x"),
            ("https://a.b/c", Some("="), "https://a.b/c?="),
            ("https://a.b/c", Some("&x=1"), "https://a.b/c?&x=1"),
            ("https://a.b/c", Some("?x=1"), "https://a.b/c??x=1"),
            ("https://a.b/c", Some("x=%2F%zz%"), "https://a.b/c?x=%2F%zz%"),
            ("https://a.b/c", Some("x=a+b%20c"), "https://a.b/c?x=a+b%20c"),
            // What the sandbox appends: its FHIR base, unencoded.
            (
                "https://a.b/launch.html",
                Some("launch=e1&iss=https://fhir.c.d/r4?t=1"),
                "https://a.b/launch.html?launch=e1&iss=https://fhir.c.d/r4?t=1",
            ),
            // What the one before it appended.
            (
                "http://a.b/app#advice",
                Some("fhirServiceUrl=https%3A%2F%2Fc.d&patientId=smart-1"),
                "http://a.b/app?fhirServiceUrl=https%3A%2F%2Fc.d&patientId=smart-1#advice",
            ),
            // Inferno's reference card.
            ("https://a.b/r/#external-reference", None, "https://a.b/r/#external-reference"),
        ];
        for (target, query, expected) in table {
            assert_eq!(lead(target, query), expected, "{target} and {query:?}");
        }
        assert!(table.len() > 30);
    }

    #[test]
    fn a_targets_bytes_stay() {
        for target in [
            "HTTPS://A.Example:443/./x/../y//z",
            "https://a.b/%7Euser/%2e%2E/%ZZ",
            "https://user:pass@a.b/c",
            "https://a.b/c?q={x}|^`\"<>'",
            "https://[::1]:8443/c",
            "https://1.2.3.4/c;d=1,2!$*()",
        ] {
            assert_eq!(lead(target, None), target);
        }
    }

    #[test]
    fn what_a_header_cannot_carry_is_spelled_as_a_browser_would() {
        for (target, expected) in [
            (
                "https://münchen.example/ä?ö=ü#ß",
                "https://xn--mnchen-3ya.example/%C3%A4?%C3%B6=%C3%BC#%C3%9F",
            ),
            ("https://a.b/c d?e f#g h", "https://a.b/c%20d?e%20f#g%20h"),
            (" https://a.b/c ", "https://a.b/c"),
            ("https://a.b/c\r\nSet-Cookie: x=y", "https://a.b/cSet-Cookie:%20x=y"),
            ("https://a.b/\u{0}\u{7f}", "https://a.b/%00%7F"),
            ("https://a.b\\@c.d/", "https://a.b/@c.d/"),
            ("https://a.b/c\td", "https://a.b/cd"),
            ("https:a.b/c", "https://a.b/c"),
            ("https:/a.b/c", "https://a.b/c"),
        ] {
            assert_eq!(lead(target, None), expected, "{target:?}");
        }
        assert_eq!(lead("https://a.b/ä#ö", Some("x=1")), "https://a.b/%C3%A4?x=1#%C3%B6");
    }

    #[test]
    fn other_targets_lead_nowhere() {
        for bad in [
            "",
            "/c",
            "a.b/c",
            "//a.b/c",
            "javascript:alert(1)",
            "data:text/html,x",
            "ftp://a.b/",
            "file:///etc/passwd",
            "https://",
            "https:///",
            "https://a b/",
            "mailto:x@a.b",
            "https://a.b:99999/",
        ] {
            assert_eq!(location(bad, None), Err(LocationError::Target), "{bad}");
        }
    }

    #[test]
    fn a_query_cannot_break_out() {
        for bad in
            ["x=1\r\nSet-Cookie: a=b", "x=1\n", "x=\0", "x= 1", "x=1#f", "#", "x=ä", "\u{7f}"]
        {
            let refused = location("https://a.b/", Some(bad));
            assert_eq!(refused, Err(LocationError::Query), "{bad:?}");
        }
    }

    proptest! {
        #[test]
        fn both_parts_are_in_it_whole_and_the_server_is_the_same(
            path in "[!-\"$->@-\\[\\]-~]{0,40}", own in "[!-\"$-~]{0,40}", fragment in "[!-~]{0,40}",
            appended in "[!-\"$-~]{1,40}",
        ) {
            let target = format!("https://a.b/{path}?{own}#{fragment}");
            prop_assume!(!target.contains('\\'));
            let led = lead(&target, Some(&appended));
            let joint = if own.is_empty() || own.ends_with('&') { "" } else { "&" };
            prop_assert_eq!(&led, &format!("https://a.b/{path}?{own}{joint}{appended}#{fragment}"));
            let url: Url = led.parse().unwrap();
            prop_assert_eq!(url.host_str(), Some("a.b"));
        }

        #[test]
        fn no_input_makes_a_second_header(target in "(https://a\\.b/)?\\PC{0,30}[\\x00-\\x7f]{0,30}", query in "[\\x00-\\x7f]{0,30}") {
            if let Ok(value) = location(&target, Some(&query)) {
                prop_assert!(value.as_bytes().iter().all(u8::is_ascii_graphic));
            }
        }
    }
}
