//! Sealing keys: one secret each, of which every purpose gets a key of its own.

use std::fmt;
use std::time::Duration;

use aws_lc_rs::aead::{AES_256_GCM_SIV, Aad, LessSafeKey, Nonce, UnboundKey};
use aws_lc_rs::{hkdf, hmac};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use zeroize::Zeroizing;

use crate::clock::UnixTime;
use crate::entropy::{Entropy, NoEntropy, draw};
use crate::keyring::error::{KeyUse, KeyringError};
use crate::keyring::file::{SealEntry, SecretText};
use crate::keyring::life::{Course, KeyState};

/// Length of a nonce in bytes.
pub const NONCE_LEN: usize = 12;
/// What sealing adds, in bytes, the nonce not counted.
pub const TAG_LEN: usize = 16;

/// A sealing key's id: 1 to 15, since a card id has four bits for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Kid(u8);

impl Kid {
    /// The id of the first key.
    pub const FIRST: Self = Self(1);

    /// That id, where it is one.
    pub const fn new(number: u8) -> Option<Self> {
        if matches!(number, 1..=15) { Some(Self(number)) } else { None }
    }

    /// 1 to 15.
    pub const fn get(self) -> u8 {
        self.0
    }
}

/// What is sealed. Something sealed for one purpose does not open for another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// A link token.
    Link,
    /// A link target kept in the store.
    Target,
    /// The record behind card ids.
    CardRecord,
}

/// The bytes were not sealed with this key for this purpose, or have been altered since; or, on the
/// way in, are too many.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the seal does not hold")]
pub struct BadSeal;

/// Seals, opens and vouches. Holds derived keys only, which the cryptographic library wipes on drop.
pub struct SealKey {
    kid: Kid,
    course: Course,
    mark: [u8; 32],
    links: LessSafeKey,
    targets: LessSafeKey,
    records: LessSafeKey,
    ids: hmac::Key,
}

impl SealKey {
    /// This key's id.
    pub const fn kid(&self) -> Kid {
        self.kid
    }

    /// Where it is in its life.
    pub const fn state(&self) -> KeyState {
        self.course.state
    }

    /// When it was made.
    pub const fn created(&self) -> UnixTime {
        self.course.created
    }

    /// Its state, its times, and how long what it seals may live.
    pub const fn course(&self) -> &Course {
        &self.course
    }

    /// The same for the same key only, and says nothing about it: what a fingerprint is made of.
    pub(crate) const fn mark(&self) -> &[u8; 32] {
        &self.mark
    }

    /// Replaces the plain text from `start` on by its sealed form, [`TAG_LEN`] bytes longer.
    ///
    /// AES-256-GCM-SIV (RFC 8452): should a random nonce ever repeat among replicas, it shows no more
    /// than that two texts were equal.
    ///
    /// # Errors
    /// [`BadSeal`] where the text is longer than the cipher takes.
    pub fn seal(
        &self,
        purpose: Purpose,
        nonce: [u8; NONCE_LEN],
        bound_to: &[u8],
        bytes: &mut Vec<u8>,
        start: usize,
    ) -> Result<(), BadSeal> {
        let plain = bytes.get_mut(start..).ok_or(BadSeal)?;
        let tag = self
            .cipher(purpose)
            .seal_in_place_separate_tag(
                Nonce::assume_unique_for_key(nonce),
                Aad::from(bound_to),
                plain,
            )
            .map_err(|_| BadSeal)?;
        bytes.extend_from_slice(tag.as_ref());
        Ok(())
    }

    /// Opens in place what [`Self::seal`] made.
    ///
    /// # Errors
    /// [`BadSeal`]
    pub fn open<'bytes>(
        &self,
        purpose: Purpose,
        nonce: [u8; NONCE_LEN],
        bound_to: &[u8],
        bytes: &'bytes mut [u8],
    ) -> Result<&'bytes [u8], BadSeal> {
        self.cipher(purpose)
            .open_in_place(Nonce::assume_unique_for_key(nonce), Aad::from(bound_to), bytes)
            .map(|plain| &*plain)
            .map_err(|_| BadSeal)
    }

    /// HMAC-SHA-256 over `parts` for card ids.
    pub fn vouch(&self, parts: &[&[u8]]) -> hmac::Tag {
        let mut mac = hmac::Context::with_key(&self.ids);
        for part in parts {
            mac.update(part);
        }
        mac.sign()
    }

    const fn cipher(&self, purpose: Purpose) -> &LessSafeKey {
        match purpose {
            Purpose::Link => &self.links,
            Purpose::Target => &self.targets,
            Purpose::CardRecord => &self.records,
        }
    }
}

impl fmt::Debug for SealKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SealKey({}, {:?})", self.kid.0, self.course.state)
    }
}

impl SealEntry {
    /// Its state and times.
    pub(crate) fn course(&self) -> Course {
        Course {
            state: self.state,
            created: UnixTime::from_secs(self.created),
            current_since: self.current_since.map(UnixTime::from_secs),
            superseded: self.superseded.map(UnixTime::from_secs),
            longest_life: Duration::from_secs(self.longest_life),
        }
    }
}

impl TryFrom<&SealEntry> for SealKey {
    type Error = KeyringError;

    fn try_from(entry: &SealEntry) -> Result<Self, KeyringError> {
        let bad = || KeyringError::BadKey { r#use: KeyUse::Seal, kid: entry.kid.to_string() };
        let kid = Kid::new(entry.kid).ok_or_else(bad)?;
        let secret = URL_SAFE_NO_PAD.decode(entry.key.reveal()).map(Zeroizing::new);
        let secret = secret.ok().filter(|secret| secret.len() == 32).ok_or_else(bad)?;
        let root = hkdf::Salt::new(hkdf::HKDF_SHA256, b"hookgate/1").extract(&secret);
        Ok(Self {
            kid,
            course: entry.course(),
            mark: mark(&root)?,
            links: derive_cipher(&root, b"link")?,
            targets: derive_cipher(&root, b"target")?,
            records: derive_cipher(&root, b"card record")?,
            ids: root
                .expand(&[b"card id"], hmac::HMAC_SHA256)
                .map_err(|_| KeyringError::Crypto)?
                .into(),
        })
    }
}

/// One-way: an HMAC of nothing under a key that is derived for this alone.
fn mark(root: &hkdf::Prk) -> Result<[u8; 32], KeyringError> {
    let key: hmac::Key =
        root.expand(&[b"fingerprint"], hmac::HMAC_SHA256).map_err(|_| KeyringError::Crypto)?.into();
    hmac::sign(&key, b"").as_ref().first_chunk().copied().ok_or(KeyringError::Crypto)
}

fn derive_cipher(root: &hkdf::Prk, purpose: &[u8]) -> Result<LessSafeKey, KeyringError> {
    let info = [purpose];
    let okm = root.expand(&info, &AES_256_GCM_SIV).map_err(|_| KeyringError::Crypto)?;
    Ok(LessSafeKey::new(UnboundKey::from(okm)))
}

/// Draws a sealing key.
///
/// # Errors
/// [`NoEntropy`]
pub(crate) fn draw_seal_entry(
    kid: Kid,
    course: &Course,
    entropy: &dyn Entropy,
) -> Result<SealEntry, NoEntropy> {
    let secret = Zeroizing::new(draw::<32>(entropy)?);
    let key = SecretText::new(URL_SAFE_NO_PAD.encode(*secret));
    Ok(SealEntry {
        kid: kid.0,
        state: course.state,
        created: course.created.secs(),
        current_since: course.current_since.map(UnixTime::secs),
        superseded: None,
        longest_life: course.longest_life.as_secs(),
        key,
    })
}
