//! Who may ask: a browser on this machine that went to this page by itself.
//!
//! There is no login, so what remains is other pages in the operator's browser. One whose name was made to lead
//! to this machine (DNS rebinding) sends its own name as `Host`. One that posts a form across sends its own
//! `Origin`, and has not read the mark that stands in ours.

use std::fmt;
use std::net::IpAddr;

use aws_lc_rs::constant_time::verify_slices_are_equal;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::header::{HOST, ORIGIN};
use http::uri::Authority;
use http::{HeaderMap, Uri};

use crate::entropy::{Entropy, NoEntropy, draw};

/// Why a request is not answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Stranger {
    /// Another site's name leads here, or nothing says where the request was meant to go.
    #[error(
        "this page answers on this machine only: open it as http://127.0.0.1 or http://localhost"
    )]
    Host,
    /// Another page sent the form.
    #[error("this form was sent by another page: open the status page and press the button there")]
    Origin,
    /// The form is not one of this process's.
    #[error("this form is from before the gateway started: go back, reload the page and try again")]
    Mark,
}

/// The field of a form with its mark.
pub(crate) const MARK: &str = "mark";

/// What stands in every form of this process, and in no other.
pub(crate) struct Mark([u8; 32]);

impl Mark {
    /// One that nobody knows.
    ///
    /// # Errors
    /// [`NoEntropy`]
    pub(crate) fn new(entropy: &dyn Entropy) -> Result<Self, NoEntropy> {
        draw(entropy).map(Self)
    }

    /// As it stands in a form.
    pub(crate) fn written(&self) -> String {
        URL_SAFE_NO_PAD.encode(self.0)
    }

    /// Whether `sent` came out of one.
    ///
    /// # Errors
    /// [`Stranger::Mark`]
    pub(crate) fn check(&self, sent: &str) -> Result<(), Stranger> {
        let sent = URL_SAFE_NO_PAD.decode(sent).map_err(|_| Stranger::Mark)?;
        verify_slices_are_equal(&self.0, &sent).map_err(|_| Stranger::Mark)
    }
}

/// Whoever knows it can press buttons from another page.
impl fmt::Debug for Mark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Mark(..)")
    }
}

/// Whom the request was meant for, where that is this machine.
///
/// The port is not held to ours: a forwarded one is another. A page of a port of this machine has an origin of
/// its own, which [`same_origin`] tells from ours.
///
/// # Errors
/// [`Stranger::Host`]
pub(crate) fn host(uri: &Uri, headers: &HeaderMap) -> Result<Authority, Stranger> {
    let mut hosts = headers.get_all(HOST).iter();
    let (Some(host), None, None) = (hosts.next(), hosts.next(), uri.authority()) else {
        return Err(Stranger::Host);
    };
    let host = host.to_str().ok().filter(|host| !host.contains('@')).ok_or(Stranger::Host)?;
    let host: Authority = host.parse().map_err(|_| Stranger::Host)?;
    let name = host.host();
    let bare = name.strip_prefix('[').and_then(|n| n.strip_suffix(']')).unwrap_or(name);
    let here = name.eq_ignore_ascii_case("localhost")
        || bare.parse::<IpAddr>().is_ok_and(|address| address.is_loopback());
    if here { Ok(host) } else { Err(Stranger::Host) }
}

/// Whether a page of this very origin sent the form. Browsers say so in `Origin`, `Sec-Fetch-Site` or both, and
/// no page can make them say something else.
///
/// # Errors
/// [`Stranger::Origin`], also where neither says anything.
pub(crate) fn same_origin(host: &Authority, headers: &HeaderMap) -> Result<(), Stranger> {
    let only = |name: &str| {
        let mut values = headers.get_all(name).iter();
        match (values.next(), values.next()) {
            (None, _) => Ok(None),
            (Some(value), None) => value.to_str().map(Some).map_err(|_| Stranger::Origin),
            (Some(_), Some(_)) => Err(Stranger::Origin),
        }
    };
    let origin = only(ORIGIN.as_str())?;
    let site = only("sec-fetch-site")?;
    let ours = format!("http://{host}");
    let origin_fits = origin.is_none_or(|origin| origin.eq_ignore_ascii_case(&ours));
    let site_fits = site.is_none_or(|site| site == "same-origin");
    if origin_fits && site_fits && (origin.is_some() || site.is_some()) {
        Ok(())
    } else {
        Err(Stranger::Origin)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::entropy::SeededEntropy;

    fn headers(lines: &[(&str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            let name: http::HeaderName = name.parse().unwrap();
            headers.append(name, value.parse().unwrap());
        }
        headers
    }

    #[test]
    fn only_names_of_this_machine_are_answered() {
        let ask = |target: &str, lines: &[(&str, &str)]| {
            host(&target.parse().unwrap(), &headers(lines)).is_ok()
        };
        for good in ["127.0.0.1:9091", "localhost:18091", "LOCALHOST", "[::1]:9091", "127.9.9.9"] {
            assert!(ask("/", &[("host", good)]), "{good}");
        }
        for bad in [
            "rebound.example:9091",
            "localhost.example:9091",
            "127.0.0.1.example",
            "evil.localhost:9091",
            "10.0.0.1:9091",
            "0.0.0.0:9091",
            "[::]:9091",
            "2130706433:9091",
            "user@localhost:9091",
            "localhost:9091, evil.example",
            "",
        ] {
            assert!(!ask("/", &[("host", bad)]), "{bad}");
        }
        assert!(!ask("/", &[]));
        assert!(!ask("/", &[("host", "localhost"), ("host", "localhost")]));
        assert!(!ask("http://localhost/", &[("host", "localhost")]), "a proxy's request");
    }

    #[test]
    fn only_this_origins_forms_are_taken() {
        let ours: Authority = "localhost:9091".parse().unwrap();
        let sent = |lines: &[(&str, &str)]| same_origin(&ours, &headers(lines)).is_ok();
        let (origin, site) =
            (("origin", "http://localhost:9091"), ("sec-fetch-site", "same-origin"));
        for good in [&[origin][..], &[site], &[origin, site]] {
            assert!(sent(good), "{good:?}");
        }
        for bad in [
            &[][..],
            &[("origin", "null")],
            &[("origin", "http://localhost:9092")],
            &[("origin", "https://localhost:9091")],
            &[("origin", "http://127.0.0.1:9091")],
            &[("origin", "http://evil.example"), site],
            &[origin, ("sec-fetch-site", "same-site")],
            &[origin, ("sec-fetch-site", "cross-site")],
            &[origin, ("sec-fetch-site", "none")],
            &[origin, origin],
            &[site, site],
        ] {
            assert!(!sent(bad), "{bad:?}");
        }
    }

    #[test]
    fn a_mark_is_known_to_its_process_alone() {
        let mark = Mark::new(&SeededEntropy::new(1)).unwrap();
        let other = Mark::new(&SeededEntropy::new(2)).unwrap();
        assert_eq!(mark.check(&mark.written()), Ok(()));
        for bad in [&other.written(), "", "A", &mark.written()[..42], &(mark.written() + "A")] {
            assert_eq!(mark.check(bad), Err(Stranger::Mark), "{bad}");
        }
        assert!(!format!("{mark:?}").contains(&mark.written()));
    }
}
