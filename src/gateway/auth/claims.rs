//! What a verified token says, each claim of the type that the standard gives it.

use std::borrow::Cow;

use serde_json::value::RawValue;

use crate::clock::UnixTime;
use crate::gateway::auth::error::{AuthReason, ClaimFault, Malformed};
use crate::gateway::auth::members::{Members, text};
use crate::gateway::auth::shown::Shown;
use crate::names::Tenant;

/// The longest `jti` in characters. Known clients send a UUID, 25 random letters or 64 hex digits.
const MAX_JTI: usize = 256;

/// 9999-12-31T23:59:59Z.
const LAST_SECOND: u64 = 253_402_300_799;

/// A token's claims, each read only when it is asked for.
#[derive(Debug)]
pub(super) struct Payload<'a>(Members<'a>);

impl<'a> Payload<'a> {
    /// Reads `json`.
    ///
    /// # Errors
    /// [`Malformed::ClaimsJson`]
    pub(super) fn parse(json: &'a [u8]) -> Result<Self, AuthReason> {
        Members::parse(json).map(Self).map_err(|_| AuthReason::Malformed(Malformed::ClaimsJson))
    }

    /// The `iss` that the token claims. Before its signature is verified it picks whose keys to verify with,
    /// and serves nothing else.
    ///
    /// # Errors
    /// [`Malformed::Issuer`]
    pub(super) fn issuer(&self) -> Result<Cow<'a, str>, AuthReason> {
        match self.0.text("iss") {
            Ok(Some(issuer)) => Ok(issuer),
            Ok(None) | Err(_) => Err(AuthReason::Malformed(Malformed::Issuer)),
        }
    }

    /// `aud`, one or several.
    ///
    /// # Errors
    /// [`AuthReason::Claim`], as those below.
    pub(super) fn audience(&self) -> Result<Vec<Cow<'a, str>>, AuthReason> {
        self.required("aud", audience)
    }

    /// `exp`
    pub(super) fn expires_at(&self) -> Result<UnixTime, AuthReason> {
        self.required("exp", time)
    }

    /// `iat`
    pub(super) fn issued_at(&self) -> Result<UnixTime, AuthReason> {
        self.required("iat", time)
    }

    /// `nbf`, which Epic sends.
    pub(super) fn not_before(&self) -> Result<Option<UnixTime>, AuthReason> {
        self.optional("nbf", time)
    }

    /// `jti`
    pub(super) fn jti(&self) -> Result<Cow<'a, str>, AuthReason> {
        self.required("jti", jti)
    }

    /// `tenant`
    pub(super) fn tenant(&self) -> Result<Option<Tenant>, AuthReason> {
        self.optional("tenant", tenant)
    }

    /// `x5t#S256` in `cnf`
    pub(super) fn confirmed(&self) -> Result<Option<Cow<'a, str>>, AuthReason> {
        self.optional("cnf", confirmed).map(Option::flatten)
    }

    /// The names of the claims that nothing here reads.
    pub(super) fn others(&self) -> Vec<Shown> {
        const READ: [&str; 8] = ["iss", "aud", "exp", "iat", "nbf", "jti", "tenant", "cnf"];
        self.0.names().filter(|name| !READ.contains(name)).map(Shown::new).collect()
    }

    fn required<T>(
        &self,
        claim: &'static str,
        read: impl Fn(&'a RawValue) -> Result<T, ClaimFault>,
    ) -> Result<T, AuthReason> {
        let missing = || AuthReason::Claim { claim, fault: ClaimFault::Missing };
        self.optional(claim, read)?.ok_or_else(missing)
    }

    fn optional<T>(
        &self,
        claim: &'static str,
        read: impl Fn(&'a RawValue) -> Result<T, ClaimFault>,
    ) -> Result<Option<T>, AuthReason> {
        let raw = self.0.raw(claim);
        raw.map(read).transpose().map_err(|fault| AuthReason::Claim { claim, fault })
    }
}

/// The claims that count here (CDS Hooks 2.0, JSON Web Token; RFC 7519 section 4.1).
#[derive(Debug)]
pub(super) struct Claims<'a> {
    /// `aud`
    pub(super) audience: Vec<Cow<'a, str>>,
    /// `exp`
    pub(super) expires_at: UnixTime,
    /// `iat`
    pub(super) issued_at: UnixTime,
    /// `nbf`
    pub(super) not_before: Option<UnixTime>,
    /// `jti`
    pub(super) jti: Cow<'a, str>,
    /// `tenant`
    pub(super) tenant: Option<Tenant>,
    /// `x5t#S256` in `cnf`: the hash of the certificate that must come with it (RFC 8705 section 3.1).
    pub(super) confirmed: Option<Cow<'a, str>>,
}

impl<'a> Claims<'a> {
    /// Reads a payload whose signature is verified.
    ///
    /// # Errors
    /// [`AuthReason::Claim`]
    pub(super) fn read(payload: &Payload<'a>) -> Result<Self, AuthReason> {
        Ok(Self {
            audience: payload.audience()?,
            expires_at: payload.expires_at()?,
            issued_at: payload.issued_at()?,
            not_before: payload.not_before()?,
            jti: payload.jti()?,
            tenant: payload.tenant()?,
            confirmed: payload.confirmed()?,
        })
    }
}

/// A string, or an array of at least one string and of nothing else.
fn audience(raw: &RawValue) -> Result<Vec<Cow<'_, str>>, ClaimFault> {
    if let Some(one) = text(raw) {
        return if one.is_empty() { Err(ClaimFault::Empty) } else { Ok(vec![one]) };
    }
    let items: Vec<&RawValue> = serde_json::from_str(raw.get()).map_err(|_| ClaimFault::Type)?;
    if items.is_empty() {
        return Err(ClaimFault::Empty);
    }
    items.into_iter().map(|item| text(item).ok_or(ClaimFault::Type)).collect()
}

/// A NumericDate in whole seconds. RFC 7519 would let it have a fraction, CDS Hooks calls it an
/// integer: `.0` is taken, for libraries that know only one kind of number, and nothing else is.
fn time(raw: &RawValue) -> Result<UnixTime, ClaimFault> {
    let number = raw.get();
    let digits = match number.split_once('.') {
        Some((digits, zeros)) if !zeros.is_empty() && zeros.bytes().all(|b| b == b'0') => digits,
        Some(_) => return Err(ClaimFault::Type),
        None => number,
    };
    if let Some(rest) = digits.strip_prefix('-')
        && !rest.is_empty()
        && rest.bytes().all(|b| b.is_ascii_digit())
    {
        return Err(ClaimFault::Range);
    }
    if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return Err(ClaimFault::Type);
    }
    match digits.parse::<u64>() {
        Ok(secs) if secs <= LAST_SECOND => Ok(UnixTime::from_secs(secs)),
        Ok(_) | Err(_) => Err(ClaimFault::Range),
    }
}

fn jti(raw: &RawValue) -> Result<Cow<'_, str>, ClaimFault> {
    let jti = text(raw).ok_or(ClaimFault::Type)?;
    if jti.is_empty() {
        return Err(ClaimFault::Empty);
    }
    if jti.chars().count() > MAX_JTI {
        return Err(ClaimFault::TooLong);
    }
    Ok(jti)
}

fn tenant(raw: &RawValue) -> Result<Tenant, ClaimFault> {
    let tenant = text(raw).ok_or(ClaimFault::Type)?;
    if tenant.is_empty() {
        return Err(ClaimFault::Empty);
    }
    Tenant::new(&tenant).map_err(|_| ClaimFault::Type)
}

/// Other methods of confirmation are not known here, and say nothing (RFC 7800 section 3.1).
fn confirmed(raw: &RawValue) -> Result<Option<Cow<'_, str>>, ClaimFault> {
    let members = Members::parse(raw.get().as_bytes()).map_err(|_| ClaimFault::Type)?;
    members.text("x5t#S256").map_err(|_| ClaimFault::Type)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_whole_seconds_of_our_era() {
        let of = |json: &str| time(&RawValue::from_string(json.to_owned()).unwrap());
        for (json, secs) in
            [("0", 0), ("1422568860", 1_422_568_860), ("1422568860.00", 1_422_568_860)]
        {
            assert_eq!(of(json), Ok(UnixTime::from_secs(secs)), "{json}");
        }
        assert_eq!(of("253402300799"), Ok(UnixTime::from_secs(LAST_SECOND)));
        for (json, fault) in [
            ("253402300800", ClaimFault::Range),
            ("9223372036854775808", ClaimFault::Range),
            ("18446744073709551616", ClaimFault::Range),
            ("-1", ClaimFault::Range),
            ("-1.0", ClaimFault::Range),
            ("1.5", ClaimFault::Type),
            ("1e30", ClaimFault::Type),
            ("1.0e3", ClaimFault::Type),
            ("\"1\"", ClaimFault::Type),
            ("null", ClaimFault::Type),
            ("true", ClaimFault::Type),
            ("[1]", ClaimFault::Type),
            ("{}", ClaimFault::Type),
        ] {
            assert_eq!(of(json), Err(fault), "{json}");
        }
    }
}
