//! What a request for a link may do, by its method and headers alone.

use http::{HeaderMap, Method};

use crate::gateway::opening::settings::{Confirm, Settings};

/// What to do with a request for `/open/{token}`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Plan {
    /// Say whether the link would open, and leave it as it is.
    Peek,
    /// A browser looks ahead before anybody clicked. Leave the link as it is, and answer 503: browsers
    /// then throw the answer away and ask again when somebody clicks.
    Decline,
    /// Show the page with the button. Leave the link as it is.
    Ask,
    /// Spend the link and redirect.
    Spend,
    /// `GET`, `HEAD` and `POST` are all there is.
    NotAllowed,
}

/// Fetch metadata (W3C Fetch Metadata Request Headers, section 2.2). Only browsers can set it: a page's
/// script cannot.
const MODE: &str = "sec-fetch-mode";
/// How browsers say that they look ahead: the present standard, then Chrome's, Safari's and Firefox's
/// former ways.
const PURPOSES: [&str; 4] = ["sec-purpose", "purpose", "x-purpose", "x-moz"];
const AHEAD: [&str; 3] = ["prefetch", "prerender", "preview"];

/// What this request may do.
pub fn plan(method: &Method, headers: &HeaderMap, settings: &Settings) -> Plan {
    if *method == Method::HEAD {
        return Plan::Peek;
    }
    let post = *method == Method::POST;
    if !post && *method != Method::GET {
        return Plan::NotAllowed;
    }
    if looks_ahead(headers) {
        return Plan::Decline;
    }
    if post {
        return Plan::Spend;
    }
    match settings.confirm {
        Confirm::Never => Plan::Spend,
        Confirm::Auto if navigates(headers) => Plan::Spend,
        Confirm::Auto | Confirm::Always => Plan::Ask,
    }
}

/// Values are lists with parameters (`prefetch;prerender`), which are not read apart: whoever mentions
/// looking ahead does it.
fn looks_ahead(headers: &HeaderMap) -> bool {
    PURPOSES.iter().flat_map(|name| headers.get_all(*name)).any(|value| {
        let value = String::from_utf8_lossy(value.as_bytes()).to_ascii_lowercase();
        AHEAD.iter().any(|word| value.contains(word))
    })
}

fn navigates(headers: &HeaderMap) -> bool {
    let mut modes = headers.get_all(MODE).iter();
    modes.next().is_some_and(|mode| mode == "navigate") && modes.next().is_none()
}

#[cfg(test)]
mod tests {
    use http::{HeaderName, HeaderValue};

    use super::*;

    type Headers = &'static [(&'static str, &'static str)];

    const CHROME: Headers = &[
        ("accept", "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"),
        ("sec-ch-ua", "\"Chromium\";v=\"142\""),
        ("sec-fetch-dest", "document"),
        ("sec-fetch-mode", "navigate"),
        ("sec-fetch-site", "cross-site"),
        ("sec-fetch-user", "?1"),
        ("upgrade-insecure-requests", "1"),
        ("user-agent", "Mozilla/5.0 (Windows NT 10.0; Win64; x64) Chrome/142.0.0.0 Safari/537.36"),
    ];
    const CHROME_IFRAME: Headers = &[
        ("sec-fetch-dest", "iframe"),
        ("sec-fetch-mode", "navigate"),
        ("sec-fetch-site", "cross-site"),
    ];
    const CHROME_PREFETCH: Headers = &[
        ("purpose", "prefetch"),
        ("sec-fetch-dest", "empty"),
        ("sec-fetch-mode", "no-cors"),
        ("sec-purpose", "prefetch"),
    ];
    const CHROME_SPECULATION: Headers = &[
        ("sec-fetch-dest", "document"),
        ("sec-fetch-mode", "navigate"),
        ("sec-purpose", "prefetch;anonymous-client-ip"),
    ];
    const CHROME_PRERENDER: Headers = &[
        ("sec-fetch-dest", "document"),
        ("sec-fetch-mode", "navigate"),
        ("sec-purpose", "prefetch;prerender"),
    ];
    const FIREFOX: Headers = &[
        ("sec-fetch-dest", "document"),
        ("sec-fetch-mode", "navigate"),
        ("sec-fetch-site", "none"),
        ("user-agent", "Mozilla/5.0 (X11; Linux x86_64; rv:145.0) Gecko/20100101 Firefox/145.0"),
    ];
    const FIREFOX_PREFETCH_2019: Headers = &[("x-moz", "prefetch")];
    const SAFARI_2018: Headers = &[
        ("accept", "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"),
        ("user-agent", "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_13) Version/12.0 Safari/605.1"),
    ];
    const SAFARI_PREVIEW: Headers = &[("x-purpose", "preview")];
    const INTERNET_EXPLORER: Headers = &[
        ("accept", "text/html, application/xhtml+xml, image/jxr, */*"),
        ("user-agent", "Mozilla/5.0 (Windows NT 10.0; WOW64; Trident/7.0; rv:11.0) like Gecko"),
    ];
    const CURL: Headers = &[("accept", "*/*"), ("user-agent", "curl/8.10.1")];
    const SAFE_LINKS: Headers = &[
        ("accept", "text/html,*/*"),
        ("accept-encoding", "gzip, deflate"),
        ("user-agent", "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36"),
    ];
    const SCRIPT: Headers = &[
        ("sec-fetch-dest", "empty"),
        ("sec-fetch-mode", "cors"),
        ("sec-fetch-site", "cross-site"),
    ];
    const IMAGE: Headers = &[("sec-fetch-dest", "image"), ("sec-fetch-mode", "no-cors")];
    const BUTTON: Headers = &[
        ("content-type", "application/x-www-form-urlencoded"),
        ("sec-fetch-dest", "document"),
        ("sec-fetch-mode", "navigate"),
        ("sec-fetch-site", "same-origin"),
    ];
    const TWO_MODES: Headers = &[("sec-fetch-mode", "navigate"), ("sec-fetch-mode", "cors")];
    const LOUD: Headers = &[("sec-fetch-mode", "navigate"), ("sec-purpose", "PREFETCH, x")];
    const SECOND: Headers =
        &[("sec-fetch-mode", "navigate"), ("purpose", ""), ("purpose", "prefetch")];
    const OTHER_PURPOSE: Headers = &[("sec-fetch-mode", "navigate"), ("purpose", "treatment")];

    fn run(method: &Method, headers: Headers, confirm: Confirm) -> Plan {
        let headers: HeaderMap = headers
            .iter()
            .map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value)))
            .collect();
        plan(method, &headers, &Settings { confirm, ..Settings::default() })
    }

    #[test]
    fn get_by_what_clients_really_send() {
        use Plan::{Ask, Decline, Spend};
        #[rustfmt::skip]
        let table: &[(&str, Headers, [Plan; 3])] = &[
            // name                   headers                  auto     always   never
            ("Chrome",                CHROME,                [Spend,   Ask,     Spend]),
            ("Chrome, iframe",        CHROME_IFRAME,         [Spend,   Ask,     Spend]),
            ("Chrome, prefetch",      CHROME_PREFETCH,       [Decline, Decline, Decline]),
            ("Chrome, speculation",   CHROME_SPECULATION,    [Decline, Decline, Decline]),
            ("Chrome, prerender",     CHROME_PRERENDER,      [Decline, Decline, Decline]),
            ("Firefox",               FIREFOX,               [Spend,   Ask,     Spend]),
            ("Firefox 2019 prefetch", FIREFOX_PREFETCH_2019, [Decline, Decline, Decline]),
            ("Safari 2018",           SAFARI_2018,           [Ask,     Ask,     Spend]),
            ("Safari preview",        SAFARI_PREVIEW,        [Decline, Decline, Decline]),
            ("Internet Explorer",     INTERNET_EXPLORER,     [Ask,     Ask,     Spend]),
            ("curl",                  CURL,                  [Ask,     Ask,     Spend]),
            ("SafeLinks",             SAFE_LINKS,            [Ask,     Ask,     Spend]),
            ("fetch()",               SCRIPT,                [Ask,     Ask,     Spend]),
            ("img",                   IMAGE,                 [Ask,     Ask,     Spend]),
            ("two modes",             TWO_MODES,             [Ask,     Ask,     Spend]),
            ("upper case",            LOUD,                  [Decline, Decline, Decline]),
            ("in the second field",   SECOND,                [Decline, Decline, Decline]),
            ("another purpose",       OTHER_PURPOSE,         [Spend,   Ask,     Spend]),
            ("nothing at all",        &[],                   [Ask,     Ask,     Spend]),
        ];
        for (name, headers, plans) in table {
            for (confirm, plan) in
                [Confirm::Auto, Confirm::Always, Confirm::Never].iter().zip(plans)
            {
                assert_eq!(run(&Method::GET, headers, *confirm), *plan, "{name}, {confirm:?}");
            }
        }
    }

    #[test]
    fn the_other_methods() {
        for confirm in [Confirm::Auto, Confirm::Always, Confirm::Never] {
            for headers in [CHROME, CURL, CHROME_PREFETCH, BUTTON, &[]] {
                assert_eq!(run(&Method::HEAD, headers, confirm), Plan::Peek);
                let post = run(&Method::POST, headers, confirm);
                let ahead = headers == CHROME_PREFETCH;
                assert_eq!(post, if ahead { Plan::Decline } else { Plan::Spend });
                for method in [Method::PUT, Method::DELETE, Method::OPTIONS, Method::TRACE] {
                    assert_eq!(run(&method, headers, confirm), Plan::NotAllowed, "{method}");
                }
            }
        }
        let made_up = Method::from_bytes(b"get").unwrap();
        assert_eq!(run(&made_up, CHROME, Confirm::Never), Plan::NotAllowed);
    }

    #[test]
    fn a_value_that_is_not_text_does_no_harm() {
        let mut headers = HeaderMap::new();
        headers.insert("sec-fetch-mode", HeaderValue::from_bytes(b"navigate\xff").unwrap());
        headers.insert("sec-purpose", HeaderValue::from_bytes(b"\xff\xfe").unwrap());
        assert_eq!(plan(&Method::GET, &headers, &Settings::default()), Plan::Ask);
        headers.insert("sec-purpose", HeaderValue::from_bytes(b"\xffprefetch").unwrap());
        assert_eq!(plan(&Method::GET, &headers, &Settings::default()), Plan::Decline);
    }
}
