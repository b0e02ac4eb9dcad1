//! What to change where a token is refused: the key of the configuration, or the EHR's setup.

use std::time::Duration;

use crate::gateway::auth::audience::{AudienceRule, Called, Endpoints};
use crate::gateway::auth::client::{Client, LARGEST_SKEW};
use crate::gateway::auth::error::{AuthReason, ClaimFault, HeaderFault, Malformed};
use crate::gateway::auth::settings::AudienceSetting;
use crate::units::Period;

/// What to do in this client's part of the configuration.
fn of(client: &Client, what: &str) -> String {
    format!("in [[client]] id = \"{}\", {what}", client.id)
}

/// What can be said from the reason alone.
pub(super) fn general(reason: &AuthReason) -> Option<&'static str> {
    Some(match reason {
        AuthReason::Missing => "at the EHR: send Authorization: Bearer <JWT> with each call",
        AuthReason::Several => {
            "at the EHR, or at a proxy on the way: send one Authorization header"
        }
        AuthReason::Scheme => "at the EHR: the scheme is Bearer, and one space before the token",
        AuthReason::NotOneToken => {
            "at the EHR: one token without blanks, commas and line breaks behind Bearer; check that it was \
             copied whole"
        }
        AuthReason::TooLong => {
            "at the EHR: leave out what is not needed; whole key sets or certificates do not belong in a token"
        }
        AuthReason::Malformed(fault) => malformed(*fault),
        AuthReason::Header(fault) => header(fault),
        AuthReason::KidMissing => {
            "at the EHR: name the signing key in kid, as its JWK Set does; a set may have several keys"
        }
        AuthReason::KeyRefused { .. } => {
            "at the EHR: publish a public key for signatures, alone under its kid; then sign with it"
        }
        AuthReason::KeyMismatch(_) => {
            "at the EHR: alg and kid of the header must name the algorithm and the key that sign"
        }
        AuthReason::Signature => {
            "at the EHR: the key that signs is not the one that is published under this kid. Or the token was \
             changed on its way, or is not the EHR's"
        }
        AuthReason::Claim { claim, fault } => claim_advice(claim, *fault),
        AuthReason::Expired => {
            "at the EHR: sign anew for each call, and set its clock by a time server; this machine's too"
        }
        AuthReason::TenantMissing => "at the EHR: send the tenant claim",
        AuthReason::CertificateMissing => {
            "at the EHR: show its certificate on each connection; a proxy on the way that ends TLS swallows it"
        }
        AuthReason::Certificate(_) => {
            "at the EHR: show its own certificate; or, in its [[client]], add what came to certificates"
        }
        AuthReason::Algorithm(sent) if sent.as_str().is_empty() => {
            "at the EHR: name the algorithm that signs in alg"
        }
        AuthReason::Algorithm(_)
        | AuthReason::KidUnknown(_)
        | AuthReason::Jku(_)
        | AuthReason::Issuer(_)
        | AuthReason::Audience(_)
        | AuthReason::NotYetValid
        | AuthReason::IssuedInFuture
        | AuthReason::Lifetime
        | AuthReason::Tenant(_)
        | AuthReason::ServiceForbidden(_)
        | AuthReason::KeysUnavailable { .. } => return None,
    })
}

const fn malformed(fault: Malformed) -> &'static str {
    match fault {
        Malformed::Parts => {
            "at the EHR: a JWT is header.payload.signature; check that it was copied whole"
        }
        Malformed::Base64 => "at the EHR: base64url without = at the end (RFC 7515 section 2)",
        Malformed::HeaderJson => "at the EHR: the header is one JSON object, each member once",
        Malformed::HeaderType => "at the EHR: alg, typ, cty and jku are strings",
        Malformed::ClaimsJson => "at the EHR: the claims are one JSON object, each member once",
        Malformed::Issuer => "at the EHR: send iss, a string",
    }
}

const fn header(fault: &HeaderFault) -> &'static str {
    match fault {
        HeaderFault::Crit => {
            "at the EHR: leave crit out; nothing that it could demand is understood"
        }
        HeaderFault::B64 => "at the EHR: leave b64 out and encode the payload",
        HeaderFault::Zip => "at the EHR: leave zip out and do not compress the payload",
        HeaderFault::Jwk | HeaderFault::X5u | HeaderFault::X5c => {
            "at the EHR: leave it out; a key that comes with a token proves nothing. The key must be in the \
             JWK Set that jwks_url, jwks_file or jwks of its [[client]] names"
        }
        HeaderFault::Typ(_) => {
            "at the EHR: write typ JWT or leave it out; a token for another use (at+jwt, logout+jwt) does not \
             count here"
        }
        HeaderFault::Nested => "at the EHR: send the inner token, not one within another",
    }
}

const fn claim_advice(claim: &'static str, fault: ClaimFault) -> &'static str {
    match (claim.as_bytes(), fault) {
        (b"exp" | b"iat" | b"nbf", ClaimFault::Range) => {
            "at the EHR: seconds since 1970, not milliseconds"
        }
        (b"exp" | b"iat" | b"nbf", _) => {
            "at the EHR: a whole number of seconds since 1970, without quotes"
        }
        (b"aud", _) => "at the EHR: aud is a string, or a list of strings and of nothing else",
        (b"jti", _) => "at the EHR: jti is a string of 1 to 256 characters, another for each token",
        (b"cnf", _) => {
            "at the EHR: cnf is an object, and its x5t#S256 a string (RFC 8705 section 3.1); or leave it out"
        }
        (_, _) => "at the EHR: send it as CDS Hooks says, a string",
    }
}

/// `alg` that is not on the client's list.
pub(super) fn algorithm(client: &Client, alg: &str, known: bool) -> Vec<String> {
    let listed: Vec<String> = client.algorithms.iter().map(|a| format!("{a:?}")).collect();
    let ehr = format!("at the EHR: sign with {}", listed.join(" or "));
    if !known {
        return vec![format!("{ehr}; an algorithm without a public key cannot be allowed")];
    }
    let all: Vec<String> = listed.iter().map(|one| format!("\"{one}\"")).collect();
    vec![format!("{}algorithms = [{}, \"{alg}\"]", of(client, "write "), all.join(", ")), ehr]
}

/// `jku` that is not the client's.
pub(super) fn jku(client: &Client) -> Vec<String> {
    vec![
        format!("{}, if this URL is the EHR's", of(client, "add it to jku")),
        "at the EHR: leave jku out; nothing is fetched from it in any case".to_owned(),
    ]
}

/// A key that is not there, cannot be used, or cannot be had from `source`.
pub(super) fn key(reason: &AuthReason, client: &Client, source: &str) -> Vec<String> {
    if let AuthReason::KeysUnavailable { .. } = reason {
        let sentence = "make it reachable from here; until then calls get 503, not 401";
        return vec![format!("{source}: {sentence}")];
    }
    if let AuthReason::KidUnknown(_) = reason {
        let elsewhere = of(client, "change jwks_url");
        return vec![
            "at the EHR: publish the key under this kid in its JWK Set, or sign with one that is there"
                .to_owned(),
            format!("{elsewhere}, where the EHR publishes this key elsewhere (now: {source})"),
        ];
    }
    general(reason).map(str::to_owned).into_iter().collect()
}

/// `iss` that no client has. `known` are those that are configured.
pub(super) fn issuer<'a>(
    sent: &str,
    known: impl Iterator<Item = (&'a str, &'a Client)>,
) -> Vec<String> {
    let alike = |text: &str| text.trim().trim_end_matches('/').to_ascii_lowercase();
    let same = |text: &str| alike(text).replacen("http://", "https://", 1);
    let near = known.filter(|(issuer, _)| same(issuer) == same(sent)).map(|(issuer, client)| {
        let how = if alike(issuer) != alike(sent) {
            "http or https"
        } else if issuer.eq_ignore_ascii_case(sent) {
            "capital letters"
        } else {
            "a slash or blank at its end"
        };
        format!(
            "it differs from the issuer of client {} only in {how}: {}",
            client.id,
            of(client, "write issuer exactly as it came")
        )
    });
    let mut change: Vec<String> = near.collect();
    if change.is_empty() {
        change.push("add a [[client]] with this issuer, if it is an EHR that may call".to_owned());
    }
    change
}

/// `aud` that no rule takes.
pub(super) fn audience(
    sent: &[&str],
    client: &Client,
    endpoints: &Endpoints,
    called: &Called<'_>,
) -> Vec<String> {
    let listed = |rule: &AudienceSetting| format!("\"{}\"", String::from(rule.clone()));
    let all: Vec<String> = client.audience.iter().map(listed).collect();
    let with = |word: &str| format!("audience = [{}, {word}]", all.join(", "));
    let mut change = Vec::new();
    let endpoint = endpoints.written(&AudienceSetting::Endpoint, called).unwrap_or_default();
    change.push(format!("at the EHR: aud {endpoint}"));
    let others = [AudienceSetting::Service, AudienceSetting::Base, AudienceSetting::Prefix];
    let would = others.iter().find(|rule| {
        endpoints.accept(std::slice::from_ref(rule), sent.iter().copied(), called).is_some()
    });
    if let Some(rule) = would {
        change.push(format!(
            "{}: the rule \"{}\" takes what came",
            of(client, &format!("write {}", with(&listed(rule)))),
            AudienceRule::of(rule).as_str()
        ));
    } else {
        change.extend(
            sent.iter()
                .filter_map(|one| near(one, &endpoint, endpoints, called))
                .map(str::to_owned),
        );
        change.push(format!(
            "{}, where the EHR cannot be changed and sends this for all its services",
            of(client, "add what came to audience, word for word")
        ));
    }
    change
}

/// In what alone `sent` differs from the endpoint, where it differs in little.
fn near(
    sent: &str,
    endpoint: &str,
    endpoints: &Endpoints,
    called: &Called<'_>,
) -> Option<&'static str> {
    if sent.trim_end_matches('/') == endpoint {
        return Some("it differs from the endpoint only in a slash at its end");
    }
    if sent.eq_ignore_ascii_case(endpoint) {
        return Some("it differs from the endpoint only in capital letters");
    }
    let base = endpoints.written(&AudienceSetting::Base, called).unwrap_or_default();
    if sent.strip_prefix(base.as_str()).is_some_and(|rest| rest.starts_with('/')) {
        return Some(
            "it names something else below this gateway: another service, or another way of this one",
        );
    }
    let (sent, expected) = (sent.parse::<url::Url>().ok()?, endpoint.parse::<url::Url>().ok()?);
    if sent == expected {
        return Some(
            "it is the endpoint in another spelling, which is not the same: no port 443, for one",
        );
    }
    if sent.path() == expected.path() {
        return Some(
            "its path is the endpoint's and its host, port or scheme is not: is public_url what the EHR calls?",
        );
    }
    None
}

/// `iat` or `nbf` that lies ahead by `by`.
pub(super) fn ahead(client: &Client, by: Duration) -> Vec<String> {
    let mut change =
        vec!["at the EHR: set its clock by a time server; compare this machine's, too".to_owned()];
    if by <= LARGEST_SKEW {
        change.push(of(client, &format!("write clock_skew = \"{}\" or more", whole(by))));
    }
    change
}

/// The Da Vinci test client signs for a day. Whoever signs for longer had better sign for less.
const LONGEST_ADVISED: Duration = Duration::from_secs(86_400);

/// A token that lives for `lives`.
pub(super) fn lifetime(client: &Client, lives: Duration) -> Vec<String> {
    let max = Period::secs(client.max_lifetime.as_secs());
    let mut change = vec![format!("at the EHR: sign for at most {max}, and exp after iat")];
    if !lives.is_zero() && lives <= LONGEST_ADVISED {
        change.push(of(client, &format!("write max_lifetime = \"{}\"", whole(lives))));
    }
    change
}

/// In whole seconds, rounded up.
fn whole(length: Duration) -> Period {
    Period::secs(length.as_secs().saturating_add(u64::from(length.subsec_nanos() > 0)))
}

/// A tenant that is not on the client's list.
pub(super) fn tenant(client: &Client) -> Vec<String> {
    vec![of(client, "add it to tenants, if it is one of this EHR's")]
}

/// A service that the client may not call.
pub(super) fn service(client: &Client) -> Vec<String> {
    vec![of(client, "add the service to services, if this EHR may call it")]
}
