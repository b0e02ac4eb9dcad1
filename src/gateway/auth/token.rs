//! A token as it came: taken apart, its header judged, nothing in it believed.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use crate::gateway::auth::algorithm::Algorithm;
use crate::gateway::auth::error::{AuthReason, HeaderFault, Malformed};
use crate::gateway::auth::members::Members;
use crate::gateway::auth::shown::Shown;

/// The longest `kid` that is looked up.
const MAX_KID: usize = 256;

/// A JWS in compact form with an acceptable header, its signature not yet looked at.
#[derive(Debug)]
pub(super) struct Unverified<'a> {
    /// `header.payload`: what is signed.
    pub(super) message: &'a [u8],
    /// The signature's bytes.
    pub(super) signature: Vec<u8>,
    /// The payload's bytes.
    pub(super) payload: Vec<u8>,
    /// What the header says.
    pub(super) header: Header,
}

/// The header parameters that are used. Others are ignored, as RFC 7515 section 4 demands, except
/// for those that refuse the token ([`HeaderFault`]).
#[derive(Debug)]
pub(super) struct Header {
    /// `alg`, where it is one that a client can be allowed; else what was sent.
    pub(super) algorithm: Result<Algorithm, Shown>,
    /// `kid`.
    pub(super) kid: String,
    /// `jku`.
    pub(super) jku: Option<String>,
}

impl<'a> Unverified<'a> {
    /// Takes `token` apart.
    ///
    /// # Errors
    /// [`AuthReason::Malformed`], [`AuthReason::Header`], [`AuthReason::Algorithm`],
    /// [`AuthReason::KidMissing`]
    pub(super) fn parse(token: &'a str) -> Result<Self, AuthReason> {
        const PARTS: AuthReason = AuthReason::Malformed(Malformed::Parts);
        let (message, signature) = token.rsplit_once('.').ok_or(PARTS)?;
        let (header, payload) = message.split_once('.').ok_or(PARTS)?;
        if payload.contains('.') || header.is_empty() || payload.is_empty() {
            return Err(PARTS);
        }
        let header = Header::parse(&decode(header)?)?;
        Ok(Self {
            message: message.as_bytes(),
            signature: decode(signature)?,
            payload: decode(payload)?,
            header,
        })
    }

    /// The `iss` that the token claims. It picks whose keys to verify with, and serves nothing else.
    ///
    /// # Errors
    /// [`AuthReason::Malformed`]
    pub(super) fn claimed_issuer(&self) -> Result<String, AuthReason> {
        let members = Members::parse(&self.payload)
            .map_err(|_| AuthReason::Malformed(Malformed::ClaimsJson))?;
        match members.text("iss") {
            Ok(Some(issuer)) => Ok(issuer.into_owned()),
            Ok(None) | Err(_) => Err(AuthReason::Malformed(Malformed::Issuer)),
        }
    }
}

impl Header {
    fn parse(json: &[u8]) -> Result<Self, AuthReason> {
        let members =
            Members::parse(json).map_err(|_| AuthReason::Malformed(Malformed::HeaderJson))?;
        for (name, fault) in [
            ("crit", HeaderFault::Crit),
            ("b64", HeaderFault::B64),
            ("zip", HeaderFault::Zip),
            ("jwk", HeaderFault::Jwk),
            ("x5u", HeaderFault::X5u),
            ("x5c", HeaderFault::X5c),
        ] {
            if members.has(name) {
                return Err(AuthReason::Header(fault));
            }
        }
        let text =
            |name| members.text(name).map_err(|_| AuthReason::Malformed(Malformed::HeaderType));
        // RFC 7515 section 4.1.9: media type names are not case-sensitive.
        if let Some(typ) = text("typ")?.filter(|typ| !typ.eq_ignore_ascii_case("JWT")) {
            return Err(AuthReason::Header(HeaderFault::Typ(Shown::new(&typ))));
        }
        if text("cty")?.is_some_and(|cty| cty.eq_ignore_ascii_case("JWT")) {
            return Err(AuthReason::Header(HeaderFault::Nested));
        }
        let alg = text("alg")?.ok_or_else(|| AuthReason::Algorithm(Shown::new("")))?;
        let algorithm = Algorithm::from_name(&alg).ok_or_else(|| Shown::new(&alg));
        let kid = members.text("kid").ok().flatten().ok_or(AuthReason::KidMissing)?;
        if kid.is_empty() || kid.chars().count() > MAX_KID {
            return Err(AuthReason::KidMissing);
        }
        let jku = text("jku")?.map(|jku| jku.into_owned());
        Ok(Self { algorithm, kid: kid.into_owned(), jku })
    }
}

/// Base64url without padding, as RFC 7515 section 2 has it, and no bits left over: one text for one
/// value.
fn decode(part: &str) -> Result<Vec<u8>, AuthReason> {
    URL_SAFE_NO_PAD.decode(part).map_err(|_| AuthReason::Malformed(Malformed::Base64))
}
