//! One-time means one browser: a cookie tells it from all others for as long as it may come back.

use std::fmt;
use std::time::Duration;

use aws_lc_rs::{constant_time, digest};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use http::header::COOKIE;
use http::{HeaderMap, HeaderValue};

use crate::clock::UnixTime;
use crate::entropy::{Entropy, NoEntropy, draw};
use crate::units::Period;

/// `__Host-` binds it to this host and https (RFC 6265bis section 4.1.3.2).
const COOKIE_NAME: &str = "__Host-hookgate";
const NOTE_VERSION: u8 = 1;

/// A browser as its cookie names it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Browser([u8; 16]);

impl Browser {
    /// A browser that has no cookie yet.
    ///
    /// # Errors
    /// [`NoEntropy`]
    pub fn new(entropy: &dyn Entropy) -> Result<Self, NoEntropy> {
        draw(entropy).map(Self)
    }

    /// The browser that sent these headers, if its cookie says which. What is not a value of ours is
    /// passed over; two different ones say nothing.
    pub fn from_headers(headers: &HeaderMap) -> Option<Self> {
        let mut found = headers
            .get_all(COOKIE)
            .iter()
            .flat_map(|line| line.as_bytes().split(|byte| *byte == b';'))
            .filter_map(Self::from_pair);
        let first = found.next()?;
        found.all(|other| other == first).then_some(first)
    }

    fn from_pair(pair: &[u8]) -> Option<Self> {
        let value = pair.trim_ascii().strip_prefix(COOKIE_NAME.as_bytes())?.strip_prefix(b"=")?;
        let bytes = URL_SAFE_NO_PAD.decode(value).ok()?;
        bytes.try_into().ok().map(Self)
    }

    /// The `Set-Cookie` that keeps it for `max_age`, rounded up to a second; zero takes it away.
    ///
    /// `SameSite=None` and `Partitioned`: EHRs open links in frames, and each EHR's frames then have a
    /// cookie of their own even where others are blocked.
    pub fn set_cookie(&self, max_age: Duration) -> HeaderValue {
        let value = URL_SAFE_NO_PAD.encode(self.0);
        let seconds = max_age.as_millis().div_ceil(1000);
        let cookie = format!(
            "{COOKIE_NAME}={value}; Max-Age={seconds}; Path=/; Secure; HttpOnly; SameSite=None; \
             Partitioned"
        );
        // Only letters, digits and `-_=; ` went in: it is always a header value.
        HeaderValue::try_from(cookie).unwrap_or_else(|_| {
            HeaderValue::from_static("__Host-hookgate=; Max-Age=0; Path=/; Secure")
        })
    }

    /// What the store keeps of it: useless for another link and for making the cookie.
    fn mark(&self, link: &[u8; 12]) -> [u8; 16] {
        let parts = [&b"hookgate browser"[..], link, &self.0].concat();
        let hash = digest::digest(&digest::SHA256, &parts);
        hash.as_ref().first_chunk().copied().unwrap_or_default()
    }
}

/// The cookie is a credential for as long as it lasts.
impl fmt::Debug for Browser {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Browser(..)")
    }
}

/// Kept in the store with a spent link: which browser opened it first, and when.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SpendNote {
    browser: [u8; 16],
    opened: UnixTime,
}

impl SpendNote {
    /// The link of this id is opened by `browser` at `now`.
    pub fn new(browser: &Browser, link: &[u8; 12], now: UnixTime) -> Self {
        Self { browser: browser.mark(link), opened: now }
    }

    /// As the store keeps it: 25 bytes.
    pub fn encode(&self) -> Bytes {
        let millis = self.opened.millis().to_be_bytes();
        [&[NOTE_VERSION], &self.browser[..], &millis].concat().into()
    }

    /// Reads what [`Self::encode`] made; `None` where something else did, which allows nothing.
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let (version, rest) = bytes.split_first()?;
        let (browser, millis) = rest.split_first_chunk()?;
        let opened = UnixTime::from_millis(u64::from_be_bytes(millis.try_into().ok()?));
        (*version == NOTE_VERSION).then_some(Self { browser: *browser, opened })
    }

    /// When the link was first opened.
    pub const fn opened(&self) -> UnixTime {
        self.opened
    }

    /// Whether `browser` is the one that opened the link, less than `grace` ago.
    pub fn allows_again(
        &self,
        browser: &Browser,
        link: &[u8; 12],
        now: UnixTime,
        grace: Period,
    ) -> bool {
        let same = constant_time::verify_slices_are_equal(&self.browser, &browser.mark(link));
        same.is_ok() && now.since(self.opened) < grace.get()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::entropy::SeededEntropy;

    const LINK: [u8; 12] = [7; 12];
    const NOW: UnixTime = UnixTime::from_secs(1_795_458_491);

    fn browser(seed: u64) -> Browser {
        Browser::new(&SeededEntropy::new(seed)).unwrap()
    }

    fn sent(lines: &[&str]) -> Option<Browser> {
        let lines = lines.iter().map(|line| (COOKIE, HeaderValue::from_str(line).unwrap()));
        Browser::from_headers(&lines.collect())
    }

    fn value(of: &Browser) -> String {
        URL_SAFE_NO_PAD.encode(of.0)
    }

    #[test]
    fn the_cookie_is_what_browsers_accept_in_a_frame() {
        let cookie = browser(1).set_cookie(Duration::from_millis(29_001));
        let expected = format!(
            "__Host-hookgate={}; Max-Age=30; Path=/; Secure; HttpOnly; SameSite=None; Partitioned",
            value(&browser(1))
        );
        assert_eq!(cookie, expected.as_str());
        let none = browser(1).set_cookie(Duration::ZERO);
        assert!(none.to_str().unwrap().contains("; Max-Age=0;"));
        assert!(browser(1).set_cookie(Duration::MAX).to_str().is_ok());
    }

    #[test]
    fn cookies_are_read_as_browsers_and_others_send_them() {
        let (one, other) = (browser(1), browser(2));
        let (a, b) = (value(&one), value(&other));
        let name = COOKIE_NAME;
        let good = format!("{name}={a}");
        let table: &[(&[&str], bool)] = &[
            (&[&good], true),
            (&[&format!("x=y; {good}; z=")], true),
            (&[&format!("x=y;{good};z")], true),
            (&["x=y", &good], true),
            (&[&format!("{good}; {good}")], true),
            (&[&good, &good], true),
            (&[&format!("{name}=garbage; {good}")], true),
            (&[&format!("{good}; {name}=")], true),
            (&[&format!("{name}={b}; {good}")], false),
            (&[&good, &format!("{name}={b}")], false),
            (&[], false),
            (&[""], false),
            (&[";;;===;"], false),
            (&[name], false),
            (&[&format!("{name}=")], false),
            (&[&format!("{name} ={a}")], false),
            (&[&format!("{name}=\"{a}\"")], false),
            (&[&format!("{name}={a}=")], false),
            (&[&format!("{name}={a}A")], false),
            (&[&format!("{name}={}", &a[..21])], false),
            (&[&format!("{name}={}", "B".repeat(22))], false),
            (&[&format!("{name}={}", "+".repeat(22))], false),
            (&[&format!("{name}=={a}")], false),
            (&[&format!("{name}2={a}")], false),
            (&[&format!("x{good}")], false),
            (&[&good.to_lowercase()], false),
            (&[&format!("hookgate={a}")], false),
        ];
        for (lines, ours) in table {
            assert_eq!(sent(lines), ours.then_some(one), "{lines:?}");
        }
    }

    #[test]
    fn bytes_that_are_no_text_are_passed_over() {
        let mut line = b"\xff\xfe=\x80; ".to_vec();
        line.extend(format!("{COOKIE_NAME}={}", value(&browser(1))).bytes());
        let line = HeaderValue::from_bytes(&line).unwrap();
        assert_eq!(
            Browser::from_headers(&[(COOKIE, line)].into_iter().collect()),
            Some(browser(1))
        );
    }

    #[test]
    fn only_the_same_browser_and_only_within_the_grace() {
        let note = SpendNote::new(&browser(1), &LINK, NOW);
        let grace = Period::secs(30);
        let after = |millis| UnixTime::from_millis(NOW.millis() + millis);
        let again =
            |browser: &Browser, link: &[u8; 12], now| note.allows_again(browser, link, now, grace);
        assert!(again(&browser(1), &LINK, NOW));
        assert!(again(&browser(1), &LINK, after(29_999)));
        assert!(!again(&browser(1), &LINK, after(30_000)));
        assert!(again(&browser(1), &LINK, NOW.minus(Duration::from_secs(2))), "another clock");
        assert!(!again(&browser(2), &LINK, NOW));
        assert!(!again(&browser(1), &[8; 12], NOW), "a note is for one link");
        assert!(!note.allows_again(&browser(1), &LINK, NOW, Period::secs(0)));
    }

    #[test]
    fn a_note_comes_back_and_nothing_else_is_one() {
        let note = SpendNote::new(&browser(1), &LINK, NOW);
        let bytes = note.encode();
        assert_eq!(bytes.len(), 25);
        assert_eq!(SpendNote::decode(&bytes), Some(note));
        assert_eq!(note.opened(), NOW);
        for length in 0..25 {
            assert_eq!(SpendNote::decode(&bytes[..length]), None, "{length}");
        }
        assert_eq!(SpendNote::decode(&[&bytes[..], b"x"].concat()), None);
        assert_eq!(SpendNote::decode(&[&[2], &bytes[1..]].concat()), None);
    }

    #[test]
    fn the_store_learns_nothing_of_the_cookie() {
        let one = browser(1);
        let note = SpendNote::new(&one, &LINK, NOW).encode();
        assert!(!note.windows(4).any(|window| one.0.windows(4).any(|part| part == window)));
        assert!(!format!("{one:?}").contains(&value(&one)));
        assert_ne!(note, SpendNote::new(&one, &[8; 12], NOW).encode(), "links can be joined");
    }
}
