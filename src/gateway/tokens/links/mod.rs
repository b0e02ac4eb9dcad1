//! Link tokens: what stands in place of `links[].url`.
//!
//! ```text
//! token   = base64url( header nonce sealed tag )          base64url without padding
//! header    1  version (1) in the high four bits, sealing key's id in the low four
//! nonce    12  random: it is also the link's one-time id
//! sealed       flags 1, expiry 4, incarnation 4, client 4, service 4 or text, hookInstance 16,
//!              card 1 or more, tenant as text where there is one, target
//! tag      16
//! ```
//!
//! AES-256-GCM-SIV hides and authenticates at once; a signature beside it would add nothing but length.
//! It is bound to the purpose, the header and `public_url`. Neither client nor service is spelled out
//! where the configuration knows it, and the target's `https://` is one flag: 120 bytes of target
//! make a token of 234 characters. Its length tells the target's; nothing else shows.
//!
//! A target that would make a URL of 2,000 characters or more goes to the store, sealed as well.

mod claims;

use std::fmt;
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use url::Url;

use crate::clock::UnixTime;
use crate::entropy::{Entropy, NoEntropy, draw};
use crate::gateway::tokens::base::PublicBase;
use crate::gateway::tokens::binding::{Binding, KnownNames};
use crate::gateway::tokens::links::claims::{Claims, ServiceName, Written};
use crate::gateway::tokens::wire::{self, Reader};
use crate::keyring::{Keyring, Kid, LiveKeyring, NONCE_LEN, Purpose, SealKey, TAG_LEN};
use crate::store::{Incarnation, Key, Namespace};

/// URLs stay shorter than this: common clients refuse 2,084 characters and more.
const URL_LIMIT: usize = 2000;
/// The longest target that is taken, in bytes. What is longer does not fit common header limits, and
/// could not be put into a `Location`.
const TARGET_LIMIT: usize = 64 * 1024;
const VERSION: u8 = 1;

/// Seals targets into links and opens them again.
#[derive(Debug)]
pub struct LinkTokens {
    keyring: Arc<LiveKeyring>,
    base: PublicBase,
    names: KnownNames,
    entropy: Arc<dyn Entropy>,
}

/// A link that can be sent out, once what it needs is stored.
pub struct Sealed {
    /// `{public_url}/open/{token}`, shorter than 2,000 characters.
    pub url: String,
    /// What must be in the store before the link leaves, where the target did not fit. It is sealed.
    pub stored: Option<(Key, Bytes)>,
}

impl fmt::Debug for Sealed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Sealed({} characters, stored: {})", self.url.len(), self.stored.is_some())
    }
}

/// Why there is no link.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SealError {
    /// No id could be drawn.
    #[error(transparent)]
    NoEntropy(#[from] NoEntropy),
    /// The binding names a client that the configuration does not have.
    #[error("the client is not configured")]
    UnknownClient,
    /// The expiry lies before 2024 or after 2159.
    #[error("the expiry cannot be written down")]
    Expiry,
    /// The target is longer than 64 KiB.
    #[error("the link target is too long")]
    TargetTooLong,
    /// Even without the target the URL would be too long: `public_url` is.
    #[error("public_url leaves no room for a token")]
    UrlTooLong,
    /// The cipher refused.
    #[error("the link could not be sealed")]
    Cipher,
}

/// Why a token opens nothing. Outside these are one; inside they are told apart.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// Not a token at all, or of a later version.
    #[error("not a link token")]
    Malformed,
    /// Its key is not, or no longer, held.
    #[error("the link was sealed with a key that is not held")]
    UnknownKey,
    /// Not made by this gateway, or altered since.
    #[error("the link's seal does not hold")]
    Forged,
    /// Ours, but its client or service has left the configuration.
    #[error("the link belongs to a client or service that is not configured")]
    Orphaned,
    /// Ours, but its time is over.
    #[error("the link has expired")]
    Expired {
        /// Whose it was.
        binding: Binding,
    },
    /// Ours, but from before the store lost its memory: whether it was spent cannot be known.
    #[error("the link is from before the store's present history")]
    Forgotten {
        /// Whose it was.
        binding: Binding,
    },
    /// What the store holds as its target is not what was put there.
    #[error("the stored link target cannot be read")]
    StoredTarget,
}

/// An authentic link that has not expired. Whether it has been spent is for the store to say.
#[derive(Clone, PartialEq, Eq)]
pub struct Opened {
    binding: Binding,
    card: usize,
    expires: UnixTime,
    id: [u8; NONCE_LEN],
    target: Option<String>,
}

/// Where a link leads, or where to look that up.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Target<'opened> {
    /// There.
    Here(&'opened str),
    /// The store has it, sealed, under this key: see [`LinkTokens::open_target`].
    Stored(Key),
}

impl Opened {
    /// The hook call that the link came from.
    pub const fn binding(&self) -> &Binding {
        &self.binding
    }

    /// Which of the answer's cards it stood on, counted from 0.
    pub const fn card(&self) -> usize {
        self.card
    }

    /// From this moment on it is refused; in whole seconds.
    pub const fn expires(&self) -> UnixTime {
        self.expires
    }

    /// The link's one-time id.
    pub const fn id(&self) -> [u8; NONCE_LEN] {
        self.id
    }

    /// What opening it spends.
    pub fn spend_key(&self) -> Key {
        Key::new(Namespace::Link, &[&self.id])
    }

    /// Where it leads.
    pub fn target(&self) -> Target<'_> {
        match &self.target {
            Some(target) => Target::Here(target),
            None => Target::Stored(target_key(&self.id)),
        }
    }
}

impl fmt::Debug for Opened {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Opened")
            .field("binding", &self.binding)
            .field("card", &self.card)
            .field("expires", &self.expires)
            .finish_non_exhaustive()
    }
}

/// The one-time id of what has the form of a token; it says nothing about whether it is one. It is what audits
/// know a link by, and opens nothing.
pub fn id_of(token: &str) -> Option<[u8; NONCE_LEN]> {
    // The header and the id are 13 bytes, of which the beginning holds 15.
    let begin = URL_SAFE_NO_PAD.decode(token.get(..ID_CHARS)?).ok()?;
    begin.get(1..=NONCE_LEN)?.try_into().ok()
}

/// The id of the key that what has the form of a token names; it says nothing about whether that key made it.
pub fn key_of(token: &str) -> Option<u8> {
    let begin = URL_SAFE_NO_PAD.decode(token.get(..ID_CHARS)?).ok()?;
    begin.first().filter(|header| **header >> 4 == VERSION).map(|header| header & 0x0f)
}

/// Whole groups of four, which decode by themselves.
const ID_CHARS: usize = 20;

impl LinkTokens {
    /// Seals with `keyring` for the gateway at `public_url`, whose configuration has `names`.
    pub fn new(
        keyring: Arc<LiveKeyring>,
        public_url: &Url,
        names: KnownNames,
        entropy: Arc<dyn Entropy>,
    ) -> Self {
        Self { keyring, base: PublicBase::new(public_url), names, entropy }
    }

    /// Makes the link that leads to `target`. Its expiry is `expires` rounded down to a second.
    ///
    /// # Errors
    /// [`SealError`]
    pub fn seal(
        &self,
        binding: &Binding,
        card: usize,
        target: &str,
        expires: UnixTime,
        incarnation: Incarnation,
    ) -> Result<Sealed, SealError> {
        if target.len() > TARGET_LIMIT {
            return Err(SealError::TargetTooLong);
        }
        let id = draw::<NONCE_LEN>(&*self.entropy)?;
        let claims = |written| self.claims(binding, card, written, expires, incarnation);
        let ring = self.keyring.ring();
        let key = ring.sealing();
        let here = claims(Written::shortest(target))?;
        if self.url_length(&here) < URL_LIMIT {
            return Ok(Sealed { url: self.url(key, id, &here)?, stored: None });
        }
        let elsewhere = claims(Written::InStore)?;
        if self.url_length(&elsewhere) >= URL_LIMIT {
            return Err(SealError::UrlTooLong);
        }
        let stored = (target_key(&id), self.seal_target(key, id, target)?);
        Ok(Sealed { url: self.url(key, id, &elsewhere)?, stored: Some(stored) })
    }

    /// Reads a token that somebody presents at `now` to a gateway whose store is `incarnation`.
    ///
    /// # Errors
    /// [`TokenError`]
    pub fn open(
        &self,
        token: &str,
        now: UnixTime,
        incarnation: Incarnation,
    ) -> Result<Opened, TokenError> {
        let (opened, mark) = self.unseal(token)?;
        if now >= opened.expires {
            return Err(TokenError::Expired { binding: opened.binding });
        }
        if mark != short_mark(incarnation) {
            return Err(TokenError::Forgotten { binding: opened.binding });
        }
        Ok(opened)
    }

    /// Reads a token, whatever the time and the store. It may have expired, and the store may have forgotten
    /// it: for looking at, not for following.
    ///
    /// # Errors
    /// [`TokenError`], but neither `Expired` nor `Forgotten`.
    pub fn look(&self, token: &str) -> Result<Opened, TokenError> {
        self.unseal(token).map(|(opened, _)| opened)
    }

    fn unseal(&self, token: &str) -> Result<(Opened, [u8; 4]), TokenError> {
        if token.len() >= URL_LIMIT {
            return Err(TokenError::Malformed);
        }
        let bytes = URL_SAFE_NO_PAD.decode(token).map_err(|_| TokenError::Malformed)?;
        let mut reader = Reader::new(&bytes);
        let header = reader.byte().ok_or(TokenError::Malformed)?;
        let id = reader.array().ok_or(TokenError::Malformed)?;
        let mut sealed = reader.rest().to_vec();
        if sealed.len() < TAG_LEN {
            return Err(TokenError::Malformed);
        }
        let ring = self.keyring.ring();
        let claims = key(&ring, header)?
            .open(Purpose::Link, id, &self.base.bound(&[b"link", &[header]]), &mut sealed)
            .map_err(|_| TokenError::Forged)?;
        self.read_claims(id, claims)
    }

    /// Reads the target that the store held under the key of [`Target::Stored`].
    ///
    /// # Errors
    /// [`TokenError::StoredTarget`]; `UnknownKey` where the key has been removed since.
    pub fn open_target(&self, opened: &Opened, value: &[u8]) -> Result<String, TokenError> {
        let (header, sealed) = value.split_first().ok_or(TokenError::StoredTarget)?;
        let mut sealed = sealed.to_vec();
        let ring = self.keyring.ring();
        let plain = key(&ring, *header)?
            .open(
                Purpose::Target,
                opened.id,
                &self.base.bound(&[b"target", &[*header]]),
                &mut sealed,
            )
            .map_err(|_| TokenError::StoredTarget)?;
        std::str::from_utf8(plain).map(str::to_owned).map_err(|_| TokenError::StoredTarget)
    }

    fn claims(
        &self,
        binding: &Binding,
        card: usize,
        target: Written<'_>,
        expires: UnixTime,
        incarnation: Incarnation,
    ) -> Result<Vec<u8>, SealError> {
        let seconds = wire::seconds(expires).ok_or(SealError::Expiry)?;
        let client = self.names.client_tag(&binding.client).ok_or(SealError::UnknownClient)?;
        let service = match self.names.service_tag(&binding.service) {
            Some(tag) => ServiceName::Tag(tag),
            None => ServiceName::Spelled(binding.service.clone()),
        };
        let claims = Claims {
            seconds,
            mark: short_mark(incarnation),
            client,
            service,
            hook_instance: binding.hook_instance,
            card,
            tenant: binding.tenant.clone(),
        };
        Ok(claims.write(target))
    }

    fn read_claims(
        &self,
        id: [u8; NONCE_LEN],
        claims: &[u8],
    ) -> Result<(Opened, [u8; 4]), TokenError> {
        let (claims, target) = Claims::read(claims).ok_or(TokenError::Malformed)?;
        let client = self.names.client(claims.client).ok_or(TokenError::Orphaned)?;
        let service = match claims.service {
            ServiceName::Tag(tag) => self.names.service(tag).ok_or(TokenError::Orphaned)?.clone(),
            ServiceName::Spelled(service) => service,
        };
        let binding = Binding {
            client: client.clone(),
            tenant: claims.tenant,
            service,
            hook_instance: claims.hook_instance,
        };
        let expires = wire::moment(u64::from(claims.seconds));
        let target = target.spell();
        Ok((Opened { binding, card: claims.card, expires, id, target }, claims.mark))
    }

    fn url_length(&self, claims: &[u8]) -> usize {
        let bytes = claims.len().saturating_add(1 + NONCE_LEN + TAG_LEN);
        let token = base64::encoded_len(bytes, false).unwrap_or(usize::MAX);
        token.saturating_add(self.base.as_str().len()).saturating_add("/open/".len())
    }

    fn url(&self, key: &SealKey, id: [u8; NONCE_LEN], claims: &[u8]) -> Result<String, SealError> {
        let header = header(key.kid());
        let mut bytes = [&[header], &id[..], claims].concat();
        key.seal(
            Purpose::Link,
            id,
            &self.base.bound(&[b"link", &[header]]),
            &mut bytes,
            1 + NONCE_LEN,
        )
        .map_err(|_| SealError::Cipher)?;
        let mut url = format!("{}/open/", self.base.as_str());
        URL_SAFE_NO_PAD.encode_string(&bytes, &mut url);
        Ok(url)
    }

    /// The link's id serves as nonce here too: the key is another.
    fn seal_target(
        &self,
        key: &SealKey,
        id: [u8; NONCE_LEN],
        target: &str,
    ) -> Result<Bytes, SealError> {
        let header = header(key.kid());
        let mut bytes = [&[header], target.as_bytes()].concat();
        key.seal(Purpose::Target, id, &self.base.bound(&[b"target", &[header]]), &mut bytes, 1)
            .map_err(|_| SealError::Cipher)?;
        Ok(bytes.into())
    }
}

fn key(ring: &Keyring, header: u8) -> Result<&SealKey, TokenError> {
    if header >> 4 != VERSION {
        return Err(TokenError::Malformed);
    }
    let kid = Kid::new(header & 0x0f).ok_or(TokenError::Malformed)?;
    ring.opening(kid).ok_or(TokenError::UnknownKey)
}

const fn header(kid: Kid) -> u8 {
    VERSION << 4 | kid.get()
}

/// Half of the mark: enough to tell one history from another, which nobody can choose.
fn short_mark(incarnation: Incarnation) -> [u8; 4] {
    let [a, b, c, d, ..] = incarnation.mark;
    [a, b, c, d]
}

fn target_key(id: &[u8; NONCE_LEN]) -> Key {
    Key::new(Namespace::Target, &[id])
}

#[cfg(test)]
mod tests;
