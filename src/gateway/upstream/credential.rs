//! What stands in `Authorization` when the gateway calls an upstream.

use std::fmt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::HeaderMap;
use http::HeaderValue;
use http::header::AUTHORIZATION;
use serde::Serialize;
use uuid::Builder;
use zeroize::Zeroizing;

use crate::clock::Clock;
use crate::entropy::Entropy;
use crate::entropy::draw;
use crate::gateway::upstream::error::Unsigned;
use crate::gateway::upstream::error::UpstreamError;
use crate::gateway::upstream::identity::Identity;
use crate::gateway::upstream::settings::Authorization;
use crate::gateway::upstream::settings::Settings;
use crate::problem::{Code, Problem};

/// How long a reissued token is good for: long enough for clocks that differ, too short to keep.
const REISSUED_LIFETIME: Duration = Duration::from_secs(60);

/// A larger file is no secret but a mistake.
const LARGEST_SECRET: usize = 8 * 1024;

/// What a reissued token says (CDS Hooks 2.0, JSON Web Token; RFC 7519 section 4.1).
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Claims<'a> {
    /// The gateway's public URL, without a slash at its end.
    pub iss: &'a str,
    /// The upstream URL that is called, exactly.
    pub aud: &'a str,
    /// The client, as the operator calls it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sub: Option<&'a str>,
    /// Now, in seconds.
    pub iat: u64,
    /// A minute later.
    pub exp: u64,
    /// A random UUID.
    pub jti: String,
    /// The tenant in the EHR's own token.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tenant: Option<&'a str>,
}

/// The gateway's own key, as far as upstreams are concerned.
pub trait Signer: Send + Sync + fmt::Debug {
    /// A compact JWS over `claims`, with `typ` `JWT` and the `kid` under which the gateway publishes
    /// the key.
    ///
    /// # Errors
    /// [`Unsigned`]
    fn sign(&self, claims: &Claims<'_>) -> Result<String, Unsigned>;
}

/// A whole value of `Authorization` from a file. It is wiped when dropped and never printed.
pub(crate) struct Secret(Zeroizing<Vec<u8>>);

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}

impl Secret {
    fn basic(text: &str) -> Result<Self, &'static str> {
        if !text.contains(':') {
            return Err("holds no \":\"; write user:password");
        }
        if text.chars().any(char::is_control) {
            return Err("holds a control character");
        }
        let encoded = Zeroizing::new(STANDARD.encode(text));
        Ok(Self::joined("Basic ", &encoded))
    }

    fn bearer(text: &str) -> Result<Self, &'static str> {
        if !text.bytes().all(|b| b.is_ascii_graphic()) {
            return Err("holds white space or characters that no token has; write the token alone");
        }
        Ok(Self::joined("Bearer ", text))
    }

    fn joined(scheme: &str, rest: &str) -> Self {
        let mut value = Zeroizing::new(Vec::with_capacity(scheme.len().saturating_add(rest.len())));
        value.extend_from_slice(scheme.as_bytes());
        value.extend_from_slice(rest.as_bytes());
        Self(value)
    }
}

/// Which `Authorization` an upstream gets.
#[derive(Debug)]
pub(crate) enum Credential {
    Strip,
    Forward,
    Reissue(Arc<dyn Signer>),
    Fixed(Secret),
}

impl Credential {
    /// Reads the secret, where one is named. The settings have been found sound.
    pub(crate) fn new(
        settings: &Settings,
        signer: Option<&Arc<dyn Signer>>,
    ) -> Result<Self, Problem> {
        let file = settings.secret_file.as_deref();
        match (settings.authorization, file) {
            (Authorization::Strip, _) => Ok(Self::Strip),
            (Authorization::Forward, _) => Ok(Self::Forward),
            (Authorization::Reissue, _) => {
                signer.map(Arc::clone).map(Self::Reissue).ok_or_else(|| {
                    let why = "authorization needs a key of the gateway's to sign with; name keyring.file";
                    Problem::said(Code::Conflict, why)
                })
            }
            (Authorization::Basic, Some(file)) => secret(file, Secret::basic),
            (Authorization::Bearer, Some(file)) => secret(file, Secret::bearer),
            (Authorization::Basic | Authorization::Bearer, None) => {
                Err(Problem::said(Code::MissingKey, "secret_file is missing"))
            }
        }
    }

    /// Writes `Authorization` for one call to `audience`.
    pub(crate) fn write(
        &self,
        headers: &mut HeaderMap,
        inbound: &HeaderMap,
        issue: &Issue<'_>,
    ) -> Result<(), UpstreamError> {
        let value = match self {
            Self::Strip => return Ok(()),
            Self::Forward => match inbound.get(AUTHORIZATION) {
                Some(value) => sensitive(value.as_bytes())?,
                None => return Ok(()),
            },
            Self::Reissue(signer) => {
                let token = issue.sign(signer.as_ref())?;
                sensitive(format!("Bearer {token}").as_bytes())?
            }
            Self::Fixed(Secret(value)) => sensitive(value)?,
        };
        headers.insert(AUTHORIZATION, value);
        Ok(())
    }
}

fn sensitive(value: &[u8]) -> Result<HeaderValue, Unsigned> {
    let mut value = HeaderValue::from_bytes(value)
        .map_err(|_| Unsigned("what was signed cannot stand in a header".to_owned()))?;
    // Kept out of HPACK's table and of anything that prints headers.
    value.set_sensitive(true);
    Ok(value)
}

/// What a reissued token is made of.
#[derive(Debug)]
pub(crate) struct Issue<'a> {
    pub(crate) issuer: &'a str,
    pub(crate) audience: &'a str,
    pub(crate) identity: &'a Identity<'a>,
    pub(crate) clock: &'a dyn Clock,
    pub(crate) entropy: &'a dyn Entropy,
}

impl Issue<'_> {
    fn sign(&self, signer: &dyn Signer) -> Result<String, UpstreamError> {
        let now = self.clock.now();
        let claims = Claims {
            iss: self.issuer,
            aud: self.audience,
            sub: self.identity.client.map(|client| client.as_str()),
            iat: now.secs(),
            exp: now.plus(REISSUED_LIFETIME).secs(),
            jti: Builder::from_random_bytes(draw(self.entropy)?).into_uuid().to_string(),
            tenant: self.identity.tenant.map(|tenant| tenant.as_str()),
        };
        Ok(signer.sign(&claims)?)
    }
}

fn secret(
    file: &Path,
    read: fn(&str) -> Result<Secret, &'static str>,
) -> Result<Credential, Problem> {
    let of = |code, why: &str| Problem::said(code, format!("secret_file {} {why}", file.display()));
    let wrong = |why: &str| of(Code::FileContent, why);
    let contents = std::fs::read(file)
        .map(Zeroizing::new)
        .map_err(|e| of(Code::FileUnreadable, &format!("cannot be read: {e}")))?;
    if writable_by_others(file) {
        let why = "can be written by everybody; take that right away (chmod o-w)";
        return Err(of(Code::FilePermissions, why));
    }
    let text = std::str::from_utf8(&contents).map_err(|_| wrong("is not text"))?;
    let text = text.strip_suffix('\n').unwrap_or(text);
    let text = text.strip_suffix('\r').unwrap_or(text);
    if text.is_empty() {
        return Err(wrong("is empty"));
    }
    if text.len() > LARGEST_SECRET {
        return Err(wrong("is larger than 8 KiB, which is no secret"));
    }
    read(text).map(Credential::Fixed).map_err(wrong)
}

#[cfg(unix)]
fn writable_by_others(file: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt;
    const OTHERS_WRITE: u32 = 0o002;
    std::fs::metadata(file).is_ok_and(|found| found.permissions().mode() & OTHERS_WRITE != 0)
}

#[cfg(not(unix))]
fn writable_by_others(_file: &Path) -> bool {
    false
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;
    use crate::names::UpstreamId;

    fn read(authorization: Authorization, contents: &[u8], mode: u32) -> Result<String, String> {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("secret");
        std::fs::write(&file, contents).unwrap();
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(mode)).unwrap();
        let url = "https://h".parse().unwrap();
        let settings = Settings {
            authorization,
            secret_file: Some(file),
            ..Settings::new(UpstreamId::new("u").unwrap(), url)
        };
        let credential = Credential::new(&settings, None).map_err(|e| e.to_string())?;
        assert_eq!(format!("{credential:?}"), "Fixed(Secret(..))");
        let Credential::Fixed(Secret(value)) = credential else { panic!("not fixed") };
        Ok(String::from_utf8(value.to_vec()).unwrap())
    }

    #[test]
    fn reads_secrets() {
        let basic = |text: &str| read(Authorization::Basic, text.as_bytes(), 0o600);
        let bearer = |text: &str| read(Authorization::Bearer, text.as_bytes(), 0o644);
        assert_eq!(basic("Aladdin:open sesame\n").unwrap(), "Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==");
        assert_eq!(basic("u:ü").unwrap(), "Basic dTrDvA==");
        assert_eq!(basic(":").unwrap(), "Basic Og==");
        assert_eq!(bearer("abc.def~=\r\n").unwrap(), "Bearer abc.def~=");
        for wrong in ["nocolon", "a:b\nc:d", "", "\n", "a:\u{7}"] {
            assert!(basic(wrong).is_err(), "{wrong:?}");
        }
        for wrong in ["a b", "tok\n\n", "ä", "", &"x".repeat(9000)] {
            assert!(bearer(wrong).is_err(), "{wrong:?}");
        }
        assert!(read(Authorization::Bearer, b"\xff\xfe", 0o600).is_err());
    }

    #[test]
    fn a_secret_that_everybody_can_write_is_none() {
        let error = read(Authorization::Bearer, b"t", 0o646).unwrap_err();
        assert!(error.contains("can be written by everybody"), "{error}");
    }

    #[test]
    fn no_problem_shows_the_secret() {
        for (kind, contents) in [
            (Authorization::Basic, "hunter2"),
            (Authorization::Basic, "hunter2:\u{1}"),
            (Authorization::Bearer, "hunter2 hunter2"),
        ] {
            assert!(!read(kind, contents.as_bytes(), 0o600).unwrap_err().contains("hunter2"));
        }
    }
}
