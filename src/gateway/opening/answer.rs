//! The answers that are not pages, and who gets which.

use http::header::{ACCEPT, CACHE_CONTROL, LOCATION, REFERRER_POLICY, SET_COOKIE, USER_AGENT};
use http::{HeaderMap, HeaderValue, Response, StatusCode};

/// Sends the browser on: 303, so that a `POST` becomes a `GET` there too (RFC 9110 section 15.4.4).
///
/// No `X-Frame-Options` and no `Cross-Origin-Opener-Policy`: the target may be shown in a frame and
/// may talk to the window that opened it (SMART Web Messaging).
pub fn redirect(location: HeaderValue, cookie: HeaderValue) -> Response<()> {
    let mut response = bare(StatusCode::SEE_OTHER);
    response.headers_mut().insert(LOCATION, location);
    response.headers_mut().insert(SET_COOKIE, cookie);
    response
}

/// Answers `HEAD`: whether the link would open.
pub fn peek(opens: bool) -> Response<()> {
    bare(if opens { StatusCode::OK } else { StatusCode::GONE })
}

/// Whether whoever asks reads pages; others get problem documents. Old Internet Explorer, still found
/// embedded in EHRs, asks for pictures and `*/*` and means a page.
pub fn wants_page(headers: &HeaderMap) -> bool {
    let says = |name, word: &str| {
        headers.get_all(name).iter().any(|value| {
            String::from_utf8_lossy(value.as_bytes()).to_ascii_lowercase().contains(word)
        })
    };
    says(ACCEPT, "text/html") || says(ACCEPT, "*/*") && says(USER_AGENT, "mozilla/")
}

fn bare(status: StatusCode) -> Response<()> {
    let mut response = Response::new(());
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_redirect_has_these_headers_and_no_others() {
        let to = HeaderValue::from_static("https://app.example/");
        let cookie = HeaderValue::from_static("__Host-hookgate=x");
        let response = redirect(to.clone(), cookie.clone());
        assert_eq!(response.status(), 303);
        let headers = response.headers();
        assert_eq!(headers.get("location"), Some(&to));
        assert_eq!(headers.get("set-cookie"), Some(&cookie));
        assert_eq!(headers.get("cache-control").unwrap(), "no-store");
        assert_eq!(headers.get("referrer-policy").unwrap(), "no-referrer");
        assert_eq!(headers.len(), 4);
    }

    #[test]
    fn a_peek_says_yes_or_no() {
        assert_eq!((peek(true).status().as_u16(), peek(false).status().as_u16()), (200, 410));
        assert_eq!(peek(true).headers(), peek(false).headers());
    }

    #[test]
    fn people_get_pages() {
        for (accept, agent, page) in [
            ("text/html,application/xhtml+xml,*/*;q=0.8", "Mozilla/5.0 Firefox/145.0", true),
            ("Text/HTML", "", true),
            ("image/jpeg, application/x-ms-application, */*", "Mozilla/4.0 (MSIE 8.0)", true),
            ("*/*", "curl/8.10.1", false),
            ("*/*", "", false),
            ("application/json", "Mozilla/5.0", false),
            ("", "Mozilla/5.0", false),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(ACCEPT, HeaderValue::from_static(accept));
            headers.insert(USER_AGENT, HeaderValue::from_static(agent));
            assert_eq!(wants_page(&headers), page, "{accept} {agent}");
        }
        assert!(!wants_page(&HeaderMap::new()));
    }
}
