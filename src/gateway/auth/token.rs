//! A token as it came: taken apart, its header judged, nothing in it believed.

use std::borrow::Cow;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use crate::gateway::auth::algorithm::Algorithm;
use crate::gateway::auth::error::{AuthReason, HeaderFault, Malformed};
use crate::gateway::auth::members::Members;
use crate::gateway::auth::shown::Shown;

/// The longest `kid` that is looked up.
const MAX_KID: usize = 256;

/// Header parameters whose presence refuses a token, whatever they say.
pub(super) const NEVER_TAKEN: [(&str, HeaderFault); 6] = [
    ("crit", HeaderFault::Crit),
    ("b64", HeaderFault::B64),
    ("zip", HeaderFault::Zip),
    ("jwk", HeaderFault::Jwk),
    ("x5u", HeaderFault::X5u),
    ("x5c", HeaderFault::X5c),
];

/// The three parts of a JWS in compact form, still in base64url.
#[derive(Debug)]
pub(super) struct Parts<'a> {
    /// `header.payload`: what is signed.
    message: &'a str,
    header: &'a str,
    payload: &'a str,
    signature: &'a str,
}

impl<'a> Parts<'a> {
    /// Cuts `token` at its dots.
    ///
    /// # Errors
    /// [`Malformed::Parts`]
    pub(super) fn cut(token: &'a str) -> Result<Self, AuthReason> {
        const PARTS: AuthReason = AuthReason::Malformed(Malformed::Parts);
        let (message, signature) = token.rsplit_once('.').ok_or(PARTS)?;
        let (header, payload) = message.split_once('.').ok_or(PARTS)?;
        if payload.contains('.') || header.is_empty() || payload.is_empty() {
            return Err(PARTS);
        }
        Ok(Self { message, header, payload, signature })
    }

    /// What is signed.
    pub(super) const fn message(&self) -> &'a [u8] {
        self.message.as_bytes()
    }

    /// The header's JSON.
    ///
    /// # Errors
    /// [`Malformed::Base64`]
    pub(super) fn header(&self) -> Result<Vec<u8>, AuthReason> {
        decode(self.header)
    }

    /// The payload's JSON.
    ///
    /// # Errors
    /// [`Malformed::Base64`]
    pub(super) fn payload(&self) -> Result<Vec<u8>, AuthReason> {
        decode(self.payload)
    }

    /// The signature's bytes.
    ///
    /// # Errors
    /// [`Malformed::Base64`]
    pub(super) fn signature(&self) -> Result<Vec<u8>, AuthReason> {
        decode(self.signature)
    }
}

/// The header parameters. Those that are not asked for here are ignored, as RFC 7515 section 4 demands.
#[derive(Debug)]
pub(super) struct Header<'a>(Members<'a>);

impl<'a> Header<'a> {
    /// Reads `json`.
    ///
    /// # Errors
    /// [`Malformed::HeaderJson`]
    pub(super) fn parse(json: &'a [u8]) -> Result<Self, AuthReason> {
        Members::parse(json).map(Self).map_err(|_| AuthReason::Malformed(Malformed::HeaderJson))
    }

    /// That one of the [`NEVER_TAKEN`] is not there.
    ///
    /// # Errors
    /// `fault`, where `name` is there.
    pub(super) fn lacks(&self, name: &str, fault: &HeaderFault) -> Result<(), AuthReason> {
        if self.0.has(name) { Err(AuthReason::Header(fault.clone())) } else { Ok(()) }
    }

    /// `typ`, which is `JWT` where it is there.
    ///
    /// # Errors
    /// [`HeaderFault::Typ`], [`Malformed::HeaderType`]
    pub(super) fn typ(&self) -> Result<Option<Cow<'a, str>>, AuthReason> {
        // RFC 7515 section 4.1.9: media type names are not case-sensitive.
        match self.text("typ")? {
            Some(typ) if !typ.eq_ignore_ascii_case("JWT") => {
                Err(AuthReason::Header(HeaderFault::Typ(Shown::new(&typ))))
            }
            typ => Ok(typ),
        }
    }

    /// That `cty` does not say that there is a token within the token.
    ///
    /// # Errors
    /// [`HeaderFault::Nested`], [`Malformed::HeaderType`]
    pub(super) fn is_not_nested(&self) -> Result<(), AuthReason> {
        if self.text("cty")?.is_some_and(|cty| cty.eq_ignore_ascii_case("JWT")) {
            return Err(AuthReason::Header(HeaderFault::Nested));
        }
        Ok(())
    }

    /// What `alg` says. Whether it is anything that can be allowed is [`known`]'s to say.
    ///
    /// # Errors
    /// [`AuthReason::Algorithm`] where it is not there, [`Malformed::HeaderType`]
    pub(super) fn alg(&self) -> Result<Cow<'a, str>, AuthReason> {
        self.text("alg")?.ok_or_else(|| AuthReason::Algorithm(Shown::new("")))
    }

    /// `kid`.
    ///
    /// # Errors
    /// [`AuthReason::KidMissing`]
    pub(super) fn kid(&self) -> Result<Cow<'a, str>, AuthReason> {
        let kid = self.0.text("kid").ok().flatten().ok_or(AuthReason::KidMissing)?;
        if kid.is_empty() || kid.chars().count() > MAX_KID {
            return Err(AuthReason::KidMissing);
        }
        Ok(kid)
    }

    /// `jku`.
    ///
    /// # Errors
    /// [`Malformed::HeaderType`]
    pub(super) fn jku(&self) -> Result<Option<Cow<'a, str>>, AuthReason> {
        self.text("jku")
    }

    fn text(&self, name: &str) -> Result<Option<Cow<'a, str>>, AuthReason> {
        self.0.text(name).map_err(|_| AuthReason::Malformed(Malformed::HeaderType))
    }
}

/// The algorithm that `alg` names.
///
/// # Errors
/// [`AuthReason::Algorithm`] where it names none that a client can be allowed.
pub(super) fn known(alg: &str) -> Result<Algorithm, AuthReason> {
    Algorithm::from_name(alg).ok_or_else(|| AuthReason::Algorithm(Shown::new(alg)))
}

/// Base64url without padding, as RFC 7515 section 2 has it, and no bits left over: one text for one
/// value.
fn decode(part: &str) -> Result<Vec<u8>, AuthReason> {
    URL_SAFE_NO_PAD.decode(part).map_err(|_| AuthReason::Malformed(Malformed::Base64))
}
