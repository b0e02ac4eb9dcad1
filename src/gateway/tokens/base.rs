//! `public_url` as substitutes know it: one spelling, so that a link made before and after somebody
//! typed a final slash into the configuration is the same link.

use url::Url;

/// `public_url` without a final slash, query or fragment.
#[derive(Clone, Debug)]
pub(crate) struct PublicBase(String);

impl PublicBase {
    pub(crate) fn new(public_url: &Url) -> Self {
        let mut url = public_url.clone();
        url.set_query(None);
        url.set_fragment(None);
        Self(url.as_str().trim_end_matches('/').to_owned())
    }

    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }

    /// What a seal is bound to: `parts`, of fixed length, and this gateway's URL.
    pub(crate) fn bound(&self, parts: &[&[u8]]) -> Vec<u8> {
        let mut bound = parts.concat();
        bound.extend_from_slice(self.0.as_bytes());
        bound
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_spelling_for_one_place() {
        for (given, base) in [
            ("https://gw.example", "https://gw.example"),
            ("https://GW.example:443/", "https://gw.example"),
            ("https://gw.example/cds", "https://gw.example/cds"),
            ("https://gw.example/cds//", "https://gw.example/cds"),
            ("https://gw.example:8443/cds/?a=b#c", "https://gw.example:8443/cds"),
        ] {
            assert_eq!(PublicBase::new(&given.parse().unwrap()).as_str(), base, "{given}");
        }
    }
}
