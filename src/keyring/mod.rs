//! The keys that seal links, vouch for ids and sign.
//!
//! They live in one file: JSON, mode 0600, made at the first start, then only read. Every replica of
//! one gateway has the same file. What a key sealed stays readable for as long as the file holds the
//! key. [`Keyring`] keeps no secret of the file, only what was derived from it; none of it is printed.

mod error;
mod file;
mod seal;
mod sign;

use std::path::Path;

use serde::Serialize;

pub use error::{KeyUse, KeyringError};
pub use file::KeyState;
pub use seal::{BadSeal, Kid, NONCE_LEN, Purpose, SealKey, TAG_LEN};
pub use sign::{PublicJwk, SigningKey};

use crate::clock::Clock;
use crate::entropy::Entropy;
use crate::keyring::file::KeyFile;
use crate::keyring::seal::draw_seal_entry;
use crate::keyring::sign::draw_sign_entry;

/// The gateway's keys, current and earlier. Never changes: a rotation makes another.
#[derive(Debug)]
pub struct Keyring {
    seal: InUse<SealKey>,
    sign: InUse<SigningKey>,
}

/// One key that works, and those that are held beside it.
#[derive(Debug)]
struct InUse<K> {
    current: K,
    beside: Vec<K>,
}

impl<K> InUse<K> {
    fn all(&self) -> impl Iterator<Item = &K> {
        std::iter::once(&self.current).chain(&self.beside)
    }
}

impl Keyring {
    /// Reads the key file, and makes it first where there is none.
    ///
    /// # Errors
    /// [`KeyringError`]
    pub fn load_or_create(
        path: &Path,
        entropy: &dyn Entropy,
        clock: &dyn Clock,
    ) -> Result<Self, KeyringError> {
        if let Some(file) = KeyFile::read(path)? {
            return Self::try_from(&file);
        }
        first_keys(entropy, clock)?.make(path, entropy)?;
        // What is in the file counts: another process may have been first.
        Self::load(path)
    }

    /// Reads the key file, which must be there.
    ///
    /// # Errors
    /// [`KeyringError`]
    pub fn load(path: &Path) -> Result<Self, KeyringError> {
        let missing = || KeyringError::Read {
            path: path.to_owned(),
            why: std::io::ErrorKind::NotFound.into(),
        };
        Self::try_from(&KeyFile::read(path)?.ok_or_else(missing)?)
    }

    /// Keys that are in memory only: what they seal is lost with the process.
    ///
    /// # Errors
    /// `NoEntropy`, `Crypto`.
    pub fn generate(entropy: &dyn Entropy, clock: &dyn Clock) -> Result<Self, KeyringError> {
        Self::try_from(&first_keys(entropy, clock)?)
    }

    /// The key to seal and vouch with.
    pub const fn sealing(&self) -> &SealKey {
        &self.seal.current
    }

    /// The key of that id, where it is held.
    pub fn opening(&self, kid: Kid) -> Option<&SealKey> {
        self.seal.all().find(|key| key.kid() == kid)
    }

    /// The key to sign with.
    pub const fn signing_key(&self) -> &SigningKey {
        &self.sign.current
    }

    /// The public halves of all signing keys, as a JWK Set (RFC 7517 section 5).
    pub fn public_jwks(&self) -> String {
        let keys = self.sign.all().map(SigningKey::public).collect();
        // Strings in a struct always serialize; an empty set would only fail closed.
        serde_json::to_string(&Jwks { keys }).unwrap_or_else(|_| r#"{"keys":[]}"#.to_owned())
    }
}

#[derive(Serialize)]
struct Jwks<'keys> {
    keys: Vec<&'keys PublicJwk>,
}

fn first_keys(entropy: &dyn Entropy, clock: &dyn Clock) -> Result<KeyFile, KeyringError> {
    let now = clock.now();
    let seal = draw_seal_entry(Kid::FIRST, now, entropy)?;
    let sign = draw_sign_entry(now, entropy)?;
    Ok(KeyFile::new(vec![seal], vec![sign]))
}

impl TryFrom<&KeyFile> for Keyring {
    type Error = KeyringError;

    fn try_from(file: &KeyFile) -> Result<Self, KeyringError> {
        let seal: Vec<SealKey> =
            file.seal.iter().map(TryFrom::try_from).collect::<Result<_, _>>()?;
        let sign: Vec<SigningKey> =
            file.sign.iter().map(TryFrom::try_from).collect::<Result<_, _>>()?;
        Ok(Self {
            seal: sort(KeyUse::Seal, seal, |key| (key.kid().get().to_string(), key.state()))?,
            sign: sort(KeyUse::Sign, sign, |key| (key.kid().to_owned(), key.state()))?,
        })
    }
}

fn sort<K>(
    r#use: KeyUse,
    keys: Vec<K>,
    about: impl Fn(&K) -> (String, KeyState),
) -> Result<InUse<K>, KeyringError> {
    let mut kids = std::collections::HashSet::new();
    for key in &keys {
        let (kid, _) = about(key);
        if !kids.insert(kid.clone()) {
            return Err(KeyringError::SameId { r#use, kid });
        }
    }
    let (current, beside): (Vec<K>, Vec<K>) =
        keys.into_iter().partition(|key| about(key).1 == KeyState::Current);
    let found = current.len();
    let mut current = current.into_iter();
    match (current.next(), current.next()) {
        (Some(current), None) => Ok(InUse { current, beside }),
        (None | Some(_), _) => Err(KeyringError::Current { r#use, found }),
    }
}

#[cfg(test)]
mod tests;
