//! From header fields to one token, still unread.

use http::HeaderMap;
use http::header::AUTHORIZATION;

use crate::gateway::auth::error::AuthReason;

/// The longest token that is read. Real ones have 500 to 1,500 characters.
pub(super) const MAX_TOKEN: usize = 8 * 1024;

/// The one token of the one `Authorization: Bearer` field (RFC 6750 section 2.1).
///
/// # Errors
/// [`AuthReason`] of the first five kinds.
pub(super) fn token(headers: &HeaderMap) -> Result<&str, AuthReason> {
    let mut fields = headers.get_all(AUTHORIZATION).iter();
    let field = fields.next().ok_or(AuthReason::Missing)?;
    if fields.next().is_some() {
        return Err(AuthReason::Several);
    }
    let text = field.to_str().map_err(|_| AuthReason::NotOneToken)?;
    let (scheme, rest) = text.split_once(' ').unwrap_or((text, ""));
    if !scheme.eq_ignore_ascii_case("bearer") {
        return Err(AuthReason::Scheme);
    }
    // RFC 9110 section 11.4: one or more spaces after the scheme.
    let token = rest.trim_start_matches(' ');
    if token.is_empty() || !token.bytes().all(|b| b.is_ascii_graphic()) || token.contains(',') {
        return Err(AuthReason::NotOneToken);
    }
    if token.len() > MAX_TOKEN {
        return Err(AuthReason::TooLong);
    }
    Ok(token)
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;

    fn of(fields: &[&str]) -> Result<String, AuthReason> {
        let mut headers = HeaderMap::new();
        for field in fields {
            headers.append(AUTHORIZATION, HeaderValue::from_bytes(field.as_bytes()).unwrap());
        }
        token(&headers).map(str::to_owned)
    }

    #[test]
    fn takes_one_token_and_nothing_else() {
        for good in ["Bearer a.b.c", "bearer a.b.c", "BEARER a.b.c", "Bearer   a.b.c"] {
            assert_eq!(of(&[good]).unwrap(), "a.b.c");
        }
        assert_eq!(of(&[]), Err(AuthReason::Missing));
        assert_eq!(of(&["Bearer a.b.c", "Bearer a.b.c"]), Err(AuthReason::Several));
        assert_eq!(of(&["Basic dTpw"]), Err(AuthReason::Scheme));
        assert_eq!(of(&["a.b.c"]), Err(AuthReason::Scheme));
        assert_eq!(of(&["Bearer\ta.b.c"]), Err(AuthReason::Scheme));
        assert_eq!(of(&[""]), Err(AuthReason::Scheme));
        for none in
            ["Bearer", "Bearer ", "Bearer a.b c", "Bearer a.b.c ", "Bearer a,b", "Bearer \u{e4}"]
        {
            assert_eq!(of(&[none]), Err(AuthReason::NotOneToken), "{none}");
        }
        let at_limit = format!("Bearer {}", "a".repeat(MAX_TOKEN));
        assert_eq!(of(&[&at_limit]).unwrap().len(), MAX_TOKEN);
        assert_eq!(of(&[&format!("{at_limit}a")]), Err(AuthReason::TooLong));
    }
}
