//! What must stand in no signal: whatever has the form of a credential, wherever it came from.

/// Longer than any id, fingerprint or name that is told, and shorter than any token or signature.
const TOO_LONG: usize = 80;

/// What in `text` looks like a token, a link, an id that was issued, or a private key.
pub(crate) fn credentials_in(text: &str) -> Vec<String> {
    let is_part = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'_';
    let mut found = Vec::new();
    let mut rest = text;
    while let Some(begin) = rest.bytes().position(is_part) {
        let run = &rest[begin..];
        let end = run.bytes().position(|b| !is_part(b)).unwrap_or(run.len());
        let word = &run[..end];
        let is_link = rest[..begin].ends_with("/open/") && word.len() >= 20;
        if word.len() >= TOO_LONG || is_link || is_token(word) || is_issued_id(word) {
            found.push(word.to_owned());
        }
        rest = &run[end..];
    }
    for mark in ["-----BEGIN", "__Host-"] {
        found.extend(text.contains(mark).then(|| mark.to_owned()));
    }
    found
}

/// The beginning of a JWT, which is `{"` in base64url.
fn is_token(word: &str) -> bool {
    word.starts_with("eyJ") && word.len() >= 20
}

/// A UUID of version 8: nobody but the gateway makes any.
fn is_issued_id(word: &str) -> bool {
    let parts: Vec<&str> = word.split('-').collect();
    let lengths: Vec<usize> = parts.iter().map(|part| part.len()).collect();
    let hex = |part: &&str| part.bytes().all(|b| b.is_ascii_hexdigit());
    lengths == [8, 4, 4, 4, 12] && parts.iter().all(hex) && parts[2].starts_with('8')
}
