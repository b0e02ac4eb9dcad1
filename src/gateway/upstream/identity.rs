//! Who is calling, as the upstream is told.
//!
//! The upstream believes these headers, so they are only ever written here, and into a header map that
//! holds nothing the EHR could have put there under the same name.

use std::net::IpAddr;

use http::header::FORWARDED;
use http::{HeaderMap, HeaderName, HeaderValue};
use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};
use url::Url;

use crate::names::ClientId;
use crate::names::HookInstance;
use crate::names::RequestId;
use crate::names::Tenant;
use crate::trace::Trace;

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const X_FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const X_HOOKGATE_CLIENT: HeaderName = HeaderName::from_static("x-hookgate-client");
const X_HOOKGATE_ISSUER: HeaderName = HeaderName::from_static("x-hookgate-issuer");
const X_HOOKGATE_TENANT: HeaderName = HeaderName::from_static("x-hookgate-tenant");
const X_HOOKGATE_HOOK_INSTANCE: HeaderName = HeaderName::from_static("x-hookgate-hook-instance");

/// What a header value may not hold, and `%`, so that decoding gives back what was there. Everything
/// that is not ASCII is encoded too.
const UNSAFE: AsciiSet = CONTROLS.add(b' ').add(b'%');

/// What has been verified about one request.
#[derive(Clone, Copy, Debug)]
pub struct Identity<'a> {
    /// The client; none where discovery is open.
    pub client: Option<&'a ClientId>,
    /// The `iss` of its token.
    pub issuer: Option<&'a str>,
    /// The `tenant` of its token.
    pub tenant: Option<&'a Tenant>,
    /// The request's `hookInstance`, or the one that feedback is about.
    pub hook_instance: Option<HookInstance>,
    /// The request's name in every log.
    pub request_id: RequestId,
    /// The trace it belongs to, with the span of this very call.
    pub trace: &'a Trace,
    /// Where it came from, as far as trusted proxies say.
    pub client_address: IpAddr,
}

/// How the gateway is called from outside, for `Forwarded` (RFC 7239) and `X-Forwarded-*`.
#[derive(Debug)]
pub(crate) struct Front {
    scheme: HeaderValue,
    authority: HeaderValue,
    /// What every `Forwarded` says after the client's address.
    forwarded: String,
    /// The public URL without a slash at its end.
    pub(crate) url: String,
}

impl Front {
    /// Nothing where the URL has no host.
    pub(crate) fn new(public_url: &Url) -> Option<Self> {
        let host = public_url.host_str()?;
        let authority =
            public_url.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"));
        let scheme = public_url.scheme();
        Some(Self {
            scheme: HeaderValue::try_from(scheme).ok()?,
            authority: HeaderValue::try_from(authority.as_str()).ok()?,
            forwarded: format!(";host=\"{authority}\";proto={scheme}"),
            url: public_url.as_str().trim_end_matches('/').to_owned(),
        })
    }
}

/// Writes who is calling.
pub(crate) fn write(headers: &mut HeaderMap, identity: &Identity<'_>, front: &Front) {
    let address = identity.client_address.to_canonical();
    let forwarded = match address {
        IpAddr::V4(v4) => format!("for={v4}{}", front.forwarded),
        IpAddr::V6(v6) => format!("for=\"[{v6}]\"{}", front.forwarded),
    };
    headers.insert(X_FORWARDED_PROTO, front.scheme.clone());
    headers.insert(X_FORWARDED_HOST, front.authority.clone());
    let fields = [
        (FORWARDED, Some(forwarded)),
        (X_FORWARDED_FOR, Some(address.to_string())),
        (X_REQUEST_ID, Some(identity.request_id.to_string())),
        (X_HOOKGATE_CLIENT, identity.client.map(ToString::to_string)),
        (X_HOOKGATE_ISSUER, identity.issuer.map(encoded)),
        (X_HOOKGATE_TENANT, identity.tenant.map(|tenant| encoded(tenant.as_str()))),
        (X_HOOKGATE_HOOK_INSTANCE, identity.hook_instance.map(|instance| instance.to_string())),
    ];
    for (name, value) in fields {
        if let Some(Ok(value)) = value.map(HeaderValue::try_from) {
            headers.insert(name, value);
        }
    }
}

fn encoded(text: &str) -> String {
    utf8_percent_encode(text, &UNSAFE).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::UnixTime;
    use crate::entropy::SeededEntropy;
    use crate::trace::Sampling;

    fn written(
        address: &str,
        public_url: &str,
        tenant: Option<&Tenant>,
        issuer: Option<&str>,
    ) -> Vec<String> {
        let entropy = SeededEntropy::new(1);
        let trace = Trace::of(&HeaderMap::new(), Sampling::NEVER, &entropy).unwrap();
        let identity = Identity {
            client: None,
            issuer,
            tenant,
            hook_instance: None,
            request_id: RequestId::new(UnixTime::from_secs(1), &entropy).unwrap(),
            trace: &trace,
            client_address: address.parse().unwrap(),
        };
        let front = Front::new(&Url::parse(public_url).unwrap()).unwrap();
        let mut headers = HeaderMap::new();
        write(&mut headers, &identity, &front);
        headers.iter().map(|(n, v)| format!("{n}: {}", v.to_str().unwrap())).collect()
    }

    #[test]
    fn says_where_from_and_where_to() {
        for (address, url, expected) in [
            ("192.0.2.1", "https://gw.example", "for=192.0.2.1;host=\"gw.example\";proto=https"),
            ("::ffff:192.0.2.1", "http://gw:80/x", "for=192.0.2.1;host=\"gw\";proto=http"),
            ("2001:db8::1", "http://gw:81", "for=\"[2001:db8::1]\";host=\"gw:81\";proto=http"),
            ("::1", "https://[::2]:8443/", "for=\"[::1]\";host=\"[::2]:8443\";proto=https"),
        ] {
            let lines = written(address, url, None, None);
            assert!(lines.contains(&format!("forwarded: {expected}")), "{lines:?}");
            assert_eq!(lines.len(), 5, "an unknown caller has no identity: {lines:?}");
        }
    }

    #[test]
    fn any_text_becomes_a_value_that_decodes_to_it() {
        for text in ["plain", "Zürich 中文", "a\u{85}b", " edges ", "50%", "%20", "a,b;c=\"d\""]
        {
            let tenant = Tenant::new(&text.replace('\u{85}', "")).unwrap();
            let lines = written("::1", "https://gw", Some(&tenant), Some(text));
            for (name, said) in [("tenant", tenant.as_str()), ("issuer", text)] {
                let prefix = format!("x-hookgate-{name}: ");
                let value = lines.iter().find_map(|line| line.strip_prefix(&prefix)).unwrap();
                assert!(value.bytes().all(|b| b.is_ascii_graphic()), "{value}");
                let decoded = percent_encoding::percent_decode_str(value).decode_utf8().unwrap();
                assert_eq!(decoded, said);
            }
        }
        let lines = written("::1", "https://gw", None, Some("a\r\nX-Hookgate-Client: b\0"));
        assert!(
            lines.contains(&"x-hookgate-issuer: a%0D%0AX-Hookgate-Client:%20b%00".to_owned()),
            "{lines:?}"
        );
    }
}
