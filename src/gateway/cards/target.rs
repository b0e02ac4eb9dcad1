//! Where a link leads, and whether it may.

use std::borrow::Cow;

use url::Url;

use crate::gateway::cards::policy::Origin;

/// Why a link may not stay.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Unfit {
    /// Missing, or no absolute URL.
    Unparsable,
    /// Another scheme than http and https: `javascript:`, `data:`, `file:`, an app's own.
    Scheme,
    /// Not on one of the service's allowed origins.
    Origin,
}

/// Judges the address of a link as a browser would understand it (WHATWG URL), and gives the address
/// to send the browser to: as it was written where that is plain RFC 3986, otherwise as the browser
/// would write it. It so is always ASCII, without blanks and control characters, and what was judged
/// is what is opened.
///
/// A user name and password stay: they may be the credential that the service gave the link, and a
/// sealed link hides them better than the card did.
///
/// # Errors
/// [`Unfit`]
pub fn judge<'a>(written: Cow<'a, str>, allowed: &[Origin]) -> Result<Cow<'a, str>, Unfit> {
    let url = Url::parse(&written).map_err(|_| Unfit::Unparsable)?;
    if !matches!(url.scheme(), "http" | "https") {
        return Err(Unfit::Scheme);
    }
    if !allowed.is_empty() && !allowed.iter().any(|origin| origin.holds(&url)) {
        return Err(Unfit::Origin);
    }
    Ok(if is_plain(&written) { written } else { Cow::Owned(url.into()) })
}

/// Nothing that a browser would drop, replace or guess: `scheme://host…` of the characters of RFC
/// 3986 section 2.
fn is_plain(address: &str) -> bool {
    let authority = address.split_once("://").map(|(_, rest)| rest);
    authority.is_some_and(|rest| !rest.starts_with('/')) && address.bytes().all(is_url_byte)
}

const fn is_url_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric()
        || matches!(byte, b'-' | b'.' | b'_' | b'~' | b'%')
        || matches!(byte, b':' | b'/' | b'?' | b'#' | b'[' | b']' | b'@')
        || matches!(
            byte,
            b'!' | b'$' | b'&' | b'\'' | b'(' | b')' | b'*' | b'+' | b',' | b';' | b'='
        )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_may_stay_is_written_as_it_came_or_as_a_browser_would() {
        for plain in [
            "https://app.example",
            "HTTP://App.example:8080/a%2fb/../c?x=1&y=%20#frag/ment",
            "https://user:secret@app.example/?token=a.b-c_d~e",
            "http://[2001:db8::1]/",
        ] {
            assert_eq!(judge(Cow::from(plain), &[]).unwrap(), plain);
        }
        for (written, target) in [
            (" https://app.example/a ", "https://app.example/a"),
            ("https://app.example/a b\"c", "https://app.example/a%20b%22c"),
            ("https://app.example/ä?ö#ü", "https://app.example/%C3%A4?%C3%B6#%C3%BC"),
            ("https://bücher.example/", "https://xn--bcher-kva.example/"),
            ("https:\\\\app.example\\a", "https://app.example/a"),
            ("https:app.example/a", "https://app.example/a"),
            ("https:///app.example/a", "https://app.example/a"),
            ("ht\ntps://app.example/\ta", "https://app.example/a"),
            ("https://app.example/a\r\nSet-Cookie: x", "https://app.example/aSet-Cookie:%20x"),
            ("https://app.example/\u{0}a\u{0}", "https://app.example/%00a"),
        ] {
            assert_eq!(judge(Cow::from(written), &[]).unwrap(), target);
        }
    }

    #[test]
    fn what_may_not_stay() {
        for (written, unfit) in [
            ("", Unfit::Unparsable),
            ("/a", Unfit::Unparsable),
            ("//app.example/a", Unfit::Unparsable),
            ("app.example", Unfit::Unparsable),
            ("https://", Unfit::Unparsable),
            ("https://a b/", Unfit::Unparsable),
            ("https://app.example:99999/", Unfit::Unparsable),
            ("javascript:alert(1)", Unfit::Scheme),
            ("JaVaScRiPt:alert(1)//https://app.example", Unfit::Scheme),
            (" \u{1}java\tscr\nipt:alert(1)", Unfit::Scheme),
            ("data:text/html,<script>", Unfit::Scheme),
            ("vbscript:x", Unfit::Scheme),
            ("file:///etc/passwd", Unfit::Scheme),
            ("blob:https://app.example/x", Unfit::Scheme),
            ("view-source:https://app.example/", Unfit::Scheme),
            ("ftp://app.example/", Unfit::Scheme),
            ("app.example:443/a", Unfit::Scheme),
            ("mailto:a@app.example", Unfit::Scheme),
        ] {
            assert_eq!(judge(Cow::from(written), &[]), Err(unfit), "{written:?}");
        }
    }

    #[test]
    fn origins_are_those_a_browser_would_go_to() {
        let allowed = [Origin::new("https://app.example").unwrap()];
        for good in ["https://app.example/a", "https://APP.example:443/", "https:\\\\app.example"] {
            assert!(judge(Cow::from(good), &allowed).is_ok(), "{good}");
        }
        for bad in [
            "http://app.example/",
            "https://app.example:8443/",
            "https://app.example@evil.test/",
            "https://evil.test\\@app.example/",
            "https://app.example.evil.test/",
            "https://evil.test/?https://app.example/",
        ] {
            assert_eq!(judge(Cow::from(bad), &allowed), Err(Unfit::Origin), "{bad}");
        }
    }
}
