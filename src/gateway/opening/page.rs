//! The pages that a person sees: short, without script, readable in a narrow frame.
//!
//! What the policies leave out, on purpose:
//!
//! * `frame-ancestors` and `X-Frame-Options`: EHRs show links in frames. Nothing here is worth
//!   hijacking a click for: whoever can frame a link has it.
//! * `form-action` on the page with the button: Chromium holds it against every redirect that follows
//!   the form's `POST`, so it would have to list the target and wherever that redirects to. The page
//!   has one fixed form, and nothing from outside is in it but a request id.
//!
//! That form has no `action`: it then posts to the document's own URL, query included (HTML, form
//! submission algorithm), so that what the client appended to the link is not lost.

use std::fmt;
use std::sync::LazyLock;

use aws_lc_rs::digest;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS,
};
use http::{HeaderValue, Response, StatusCode};
use maud::{DOCTYPE, Markup, PreEscaped, html};

use crate::names::RequestId;

/// Which page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PageKind {
    /// The button that opens the link. 200.
    Open,
    /// The same page for a browser that looks ahead, which must not keep it. 503.
    Ahead,
    /// The link does not open: expired, spent or forged, which look alike. 410.
    Gone,
    /// The gateway cannot say now. 503; `Retry-After` is the caller's to add.
    TryLater,
    /// Too much was asked. 429; `Retry-After` is the caller's to add.
    TooMany,
    /// There is no such way. 404.
    NotFound,
    /// Anything else that ends with this status.
    Other(StatusCode),
}

/// A page, ready to be sent.
#[derive(Clone, Debug)]
pub struct Page {
    /// Its status.
    pub status: StatusCode,
    /// The whole document.
    pub html: String,
    /// Its `Content-Security-Policy`.
    pub csp: HeaderValue,
}

/// The page of that kind. `request_id` is shown, so that support can find the request.
pub fn page(kind: PageKind, request_id: RequestId) -> Page {
    let csp = if wording(kind).button { &POLICIES.with_form } else { &POLICIES.without_form };
    Page { status: status(kind), html: document(kind, &request_id).into_string(), csp: csp.clone() }
}

impl Page {
    /// The answer with this page and its headers.
    pub fn into_response(self) -> Response<String> {
        let mut response = Response::new(self.html);
        *response.status_mut() = self.status;
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8"));
        headers.insert(CONTENT_SECURITY_POLICY, self.csp);
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        headers.insert(REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
        headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
        response
    }
}

const fn status(kind: PageKind) -> StatusCode {
    match kind {
        PageKind::Open => StatusCode::OK,
        PageKind::Gone => StatusCode::GONE,
        PageKind::Ahead | PageKind::TryLater => StatusCode::SERVICE_UNAVAILABLE,
        PageKind::TooMany => StatusCode::TOO_MANY_REQUESTS,
        PageKind::NotFound => StatusCode::NOT_FOUND,
        PageKind::Other(status) => status,
    }
}

/// What a page says: what happened, and what to do.
struct Wording {
    title: &'static str,
    happened: &'static str,
    advice: &'static str,
    button: bool,
}

const fn wording(kind: PageKind) -> Wording {
    match kind {
        PageKind::Open | PageKind::Ahead => Wording {
            title: "Open this link",
            happened: "It leads from the card in the chart to another application.",
            advice: "It can be opened once.",
            button: true,
        },
        PageKind::Gone => Wording {
            title: "This link is no longer active",
            happened: "To protect patient information, a link on a card opens once and for a limited \
                       time.",
            advice: "Go back to the chart. The card will be offered again with a new link.",
            button: false,
        },
        PageKind::TryLater => Wording {
            title: "This link cannot be opened right now",
            happened: "A system that is needed to open it does not answer at the moment.",
            advice: "Wait a minute, then open the link again from the card in the chart.",
            button: false,
        },
        PageKind::TooMany => Wording {
            title: "Please wait a moment",
            happened: "More links are being opened from this network than usual.",
            advice: "Wait a minute, then open the link again from the card in the chart.",
            button: false,
        },
        PageKind::NotFound => Wording {
            title: "There is no page here",
            happened: "The address may have been shortened or changed on its way.",
            advice: "Go back to the chart and open the link from the card.",
            button: false,
        },
        PageKind::Other(_) => Wording {
            title: "This page cannot be shown",
            happened: "The request did not arrive in a form that can be answered.",
            advice: "Go back to the chart and open the link from the card.",
            button: false,
        },
    }
}

fn document(kind: PageKind, request_id: &dyn fmt::Display) -> Markup {
    let Wording { title, happened, advice, button } = wording(kind);
    html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                meta name="robots" content="noindex";
                title { (title) }
                style { (PreEscaped(STYLE)) }
            }
            body {
                main {
                    h1 { (title) }
                    p { (happened) }
                    p { (advice) }
                    @if button {
                        form method="post" { button type="submit" { "Open" } }
                    }
                    p.reference { "Reference for support: " code { (request_id) } }
                }
            }
        }
    }
}

/// Colours have a contrast of at least 7:1 in both schemes (WCAG 2.2, 1.4.6).
const STYLE: &str = "\
:root{color-scheme:light dark;--paper:#ffffff;--ink:#1b1f24;--faint:#4b5159;--act:#0a4a9e;--on:#ffffff}\
@media(prefers-color-scheme:dark){:root{--paper:#14171a;--ink:#e8eaed;--faint:#b4bac1;--act:#9cc4ff;--on:#0c1014}}\
body{margin:0;background:var(--paper);color:var(--ink);font:1rem/1.5 system-ui,sans-serif}\
main{max-width:34rem;margin:0 auto;padding:clamp(1rem,8vh,4rem) 1rem 1rem}\
h1{font-size:1.375rem;line-height:1.25;margin:0 0 .75rem}\
p{margin:0 0 .75rem;overflow-wrap:anywhere}\
form{margin:1.25rem 0}\
button{font:inherit;font-weight:600;min-height:2.75rem;padding:.5rem 2rem;border:2px solid transparent;\
border-radius:.375rem;background:var(--act);color:var(--on);cursor:pointer}\
button:focus-visible{outline:3px solid var(--ink);outline-offset:3px}\
.reference{margin-top:1.5rem;font-size:.8125rem;color:var(--faint)}";

struct Policies {
    with_form: HeaderValue,
    without_form: HeaderValue,
}

static POLICIES: LazyLock<Policies> = LazyLock::new(|| {
    let hash = STANDARD.encode(digest::digest(&digest::SHA256, STYLE.as_bytes()));
    let policy = |more: &str| {
        let text = format!("default-src 'none'; style-src 'sha256-{hash}'; base-uri 'none'{more}");
        // ASCII always is a header value; the stricter policy would only cost the style.
        HeaderValue::try_from(text)
            .unwrap_or_else(|_| HeaderValue::from_static("default-src 'none'; base-uri 'none'"))
    };
    Policies { with_form: policy(""), without_form: policy("; form-action 'none'") }
});

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::UnixTime;
    use crate::entropy::SeededEntropy;

    const ALL: [PageKind; 7] = [
        PageKind::Open,
        PageKind::Ahead,
        PageKind::Gone,
        PageKind::TryLater,
        PageKind::TooMany,
        PageKind::NotFound,
        PageKind::Other(StatusCode::BAD_REQUEST),
    ];

    fn id() -> RequestId {
        RequestId::new(UnixTime::from_secs(1_795_458_491), &SeededEntropy::new(1)).unwrap()
    }

    #[test]
    fn statuses() {
        let statuses = ALL.map(|kind| page(kind, id()).into_response().status().as_u16());
        assert_eq!(statuses, [200, 503, 410, 503, 429, 404, 400]);
    }

    #[test]
    fn every_page_is_whole_and_needs_nothing_from_elsewhere() {
        for kind in ALL {
            let html = page(kind, id()).html;
            assert!(html.starts_with("<!DOCTYPE html><html lang=\"en\">"), "{html}");
            assert!(html.ends_with("</html>"));
            for needed in ["name=\"viewport\"", "<main>", "<h1>", "<title>", &id().to_string()] {
                assert!(html.contains(needed), "{kind:?} lacks {needed}");
            }
            for never in
                ["<script", "javascript:", " src=", " href=", "http", "@import", "url(", "onclick"]
            {
                assert!(!html.contains(never), "{kind:?} has {never}");
            }
            assert_eq!(html.contains("<form method=\"post\">"), html.contains("<button"));
        }
    }

    #[test]
    fn only_the_page_with_the_button_may_post() {
        for kind in ALL {
            let page = page(kind, id());
            let policy = page.csp.to_str().unwrap();
            let button = page.html.contains("<button");
            assert_eq!(button, matches!(kind, PageKind::Open | PageKind::Ahead));
            assert_eq!(policy.contains("form-action 'none'"), !button, "{policy}");
            assert!(policy.starts_with("default-src 'none'; style-src 'sha256-"), "{policy}");
            assert!(policy.contains("base-uri 'none'"));
            assert!(!policy.contains("frame-ancestors") && !policy.contains("unsafe"));
        }
    }

    #[test]
    fn the_policy_allows_exactly_the_style_that_is_sent() {
        for kind in ALL {
            let page = page(kind, id());
            let sent = page.html.split_once("<style>").unwrap().1.split_once("</style>").unwrap().0;
            let hash = STANDARD.encode(digest::digest(&digest::SHA256, sent.as_bytes()));
            assert!(page.csp.to_str().unwrap().contains(&format!("'sha256-{hash}'")));
        }
    }

    #[test]
    fn headers_keep_it_out_of_caches_and_leave_frames_alone() {
        for kind in ALL {
            let response = page(kind, id()).into_response();
            let header = |name: &str| response.headers().get(name).map(|v| v.to_str().unwrap());
            assert_eq!(header("cache-control"), Some("no-store"));
            assert_eq!(header("referrer-policy"), Some("no-referrer"));
            assert_eq!(header("content-type"), Some("text/html; charset=utf-8"));
            assert_eq!(header("x-content-type-options"), Some("nosniff"));
            assert_eq!(header("x-frame-options"), None);
            assert_eq!(header("cross-origin-opener-policy"), None);
        }
    }

    #[test]
    fn nobody_is_blamed_and_no_jargon_is_used() {
        for kind in ALL {
            let html = page(kind, id()).html.to_lowercase();
            let text = html.split_once("<main>").unwrap().1;
            for word in ["error", "invalid", "forged", "token", "expired", "denied", "you ", "410"]
            {
                assert!(!text.contains(word), "{kind:?} says {word}");
            }
        }
    }

    #[test]
    fn what_is_shown_is_escaped() {
        let html = document(PageKind::Gone, &"<b>\"&").into_string();
        assert!(html.contains("<code>&lt;b&gt;&quot;&amp;</code>"), "{html}");
    }

    /// WCAG 2.2, "relative luminance".
    fn luminance(colour: &str) -> f64 {
        let channel = |at: usize| {
            let value = f64::from(u8::from_str_radix(&colour[at..at + 2], 16).unwrap()) / 255.0;
            if value <= 0.04045 { value / 12.92 } else { ((value + 0.055) / 1.055).powf(2.4) }
        };
        0.2126 * channel(0) + 0.7152 * channel(2) + 0.0722 * channel(4)
    }

    #[test]
    fn colours_can_be_told_apart() {
        let schemes: Vec<&str> = STYLE.split("--paper:#").skip(1).collect();
        assert_eq!(schemes.len(), 2);
        for scheme in schemes {
            let colour = |name: &str| &scheme.split(name).nth(1).unwrap()[..6];
            let paper = &scheme[..6];
            let (ink, faint) = (colour("--ink:#"), colour("--faint:#"));
            let (act, on) = (colour("--act:#"), colour("--on:#"));
            for (one, other) in [(ink, paper), (faint, paper), (act, on), (act, paper)] {
                let (a, b) = (luminance(one), luminance(other));
                let contrast = (a.max(b) + 0.05) / (a.min(b) + 0.05);
                assert!(contrast >= 7.0, "{one} on {other}: {contrast}");
            }
        }
    }
}
