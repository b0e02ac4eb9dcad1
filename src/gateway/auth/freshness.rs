//! How long a fetched set stays fresh.

use std::time::Duration;

use headers::{Age, CacheControl, HeaderMapExt};
use http::HeaderMap;

/// The bounds within which a key server's wishes are followed.
#[derive(Clone, Copy, Debug)]
pub(super) struct Freshness {
    /// Never less than this.
    pub(super) floor: Duration,
    /// Never more than this.
    pub(super) ceiling: Duration,
    /// Where the server says nothing that counts.
    pub(super) unstated: Duration,
}

impl Freshness {
    /// How long an answer with these headers is fresh (RFC 9111 section 4.2). There is no value
    /// that means "for ever": what is absent, unknown or unreadable means the default.
    pub(super) fn of(self, headers: &HeaderMap) -> Duration {
        self.stated(headers).unwrap_or(self.unstated).clamp(self.floor, self.ceiling)
    }

    fn stated(self, headers: &HeaderMap) -> Option<Duration> {
        let control = headers.typed_try_get::<CacheControl>().ok().flatten()?;
        if control.no_store() || control.no_cache() {
            return Some(Duration::ZERO);
        }
        let age = headers.typed_try_get::<Age>().ok().flatten();
        let age = Duration::from_secs(age.map_or(0, |age| age.as_secs()));
        Some(control.max_age()?.saturating_sub(age))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::header::{AGE, CACHE_CONTROL};

    #[test]
    fn follows_the_server_within_bounds() {
        let bounds = Freshness {
            floor: Duration::from_secs(60),
            ceiling: Duration::from_secs(86_400),
            unstated: Duration::from_secs(900),
        };
        let table: &[(&[&str], Option<&str>, u64)] = &[
            (&[], None, 900),
            (&["max-age=300"], None, 300),
            (&["max-age=300, public"], None, 300),
            (&["public, max-age=300, must-revalidate, x-unknown=5"], None, 300),
            (&["public", "max-age=300"], None, 300),
            (&["max-age=300"], Some("100"), 200),
            (&["max-age=300"], Some("1000"), 60),
            (&["max-age=300"], Some("nonsense"), 300),
            (&["max-age=0"], None, 60),
            (&["max-age=1"], None, 60),
            (&["no-store"], None, 60),
            (&["no-cache, max-age=3600"], None, 60),
            (&["max-age=31536000, immutable"], None, 86_400),
            (&["max-age=99999999999999999999"], None, 900),
            (&["immutable"], None, 900),
            (&["stale-if-error=99999"], None, 900),
            (&["max-age=soon"], None, 900),
            (&["max-age=-1"], None, 900),
            (&["s-maxage=7200"], None, 900),
            (&[""], None, 900),
        ];
        for (control, age, secs) in table {
            let mut headers = HeaderMap::new();
            for line in *control {
                headers.append(CACHE_CONTROL, line.parse().unwrap());
            }
            if let Some(age) = age {
                headers.insert(AGE, age.parse().unwrap());
            }
            assert_eq!(bounds.of(&headers).as_secs(), *secs, "{control:?} {age:?}");
        }
    }
}
