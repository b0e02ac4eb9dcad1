//! The keys as they are used: parsed, checked, derived.

use std::path::Path;
use std::time::Duration;

use serde::Serialize;

use crate::clock::{Clock, UnixTime};
use crate::entropy::Entropy;
use crate::keyring::error::{KeyUse, KeyringError};
use crate::keyring::file::KeyFile;
use crate::keyring::fingerprint::{Fingerprint, print};
use crate::keyring::life::{Course, DEFAULT_LONGEST_LIFE, KeyState, LONGEST_SIGNATURE};
use crate::keyring::seal::{Kid, SealKey, draw_seal_entry};
use crate::keyring::sign::{PublicJwk, SigningAlgorithm, SigningKey, draw_sign_entry};

/// The gateway's keys, current and earlier. Never changes: a rotation makes another.
#[derive(Debug)]
pub struct Keyring {
    seal: InUse<SealKey>,
    sign: InUse<SigningKey>,
    fingerprint: Fingerprint,
}

/// What may be told of a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyRow {
    /// What it is for.
    pub r#use: KeyUse,
    /// Its id.
    pub kid: String,
    /// Its state and times.
    pub course: Course,
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
    /// Reads the key file, and makes it first where there is none. What its keys seal may live for
    /// `longest_life`.
    ///
    /// # Errors
    /// [`KeyringError`]
    pub fn load_or_create(
        path: &Path,
        longest_life: Duration,
        entropy: &dyn Entropy,
        clock: &dyn Clock,
    ) -> Result<Self, KeyringError> {
        let file = match KeyFile::read(path)? {
            Some(file) => file,
            None => {
                let life = longest_life.max(DEFAULT_LONGEST_LIFE);
                first_keys(SigningAlgorithm::default(), life, entropy, clock)?
                    .make(path, entropy)?;
                // What is in the file counts: another process may have been first.
                KeyFile::read_existing(path)?
            }
        };
        Self::try_from(&file)?.lasting(longest_life)
    }

    /// Reads the key file, which must be there.
    ///
    /// # Errors
    /// [`KeyringError`]
    pub fn load(path: &Path) -> Result<Self, KeyringError> {
        Self::try_from(&KeyFile::read_existing(path)?)
    }

    /// Keys that are in memory only: what they seal is lost with the process.
    ///
    /// # Errors
    /// `NoEntropy`, `Crypto`.
    pub fn generate(entropy: &dyn Entropy, clock: &dyn Clock) -> Result<Self, KeyringError> {
        let (algorithm, life) = (SigningAlgorithm::default(), DEFAULT_LONGEST_LIFE);
        Self::try_from(&first_keys(algorithm, life, entropy, clock)?)
    }

    /// The same ring, where what its keys seal may live for `longest_life`. One that may not is useless
    /// to whoever gives out what lives for that long: its keys would be retired too early.
    ///
    /// # Errors
    /// `Life`
    pub fn lasting(self, longest_life: Duration) -> Result<Self, KeyringError> {
        let short = self.seal.all().find(|key| {
            key.state() != KeyState::Previous && key.course().longest_life < longest_life
        });
        match short {
            None => Ok(self),
            Some(key) => Err(KeyringError::Life {
                kid: key.kid().get(),
                allowed: key.course().longest_life,
                wanted: longest_life,
            }),
        }
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

    /// What replicas compare.
    pub const fn fingerprint(&self) -> &Fingerprint {
        &self.fingerprint
    }

    /// What stands for each key without showing any, and its state.
    pub fn prints(&self) -> impl Iterator<Item = ([u8; 8], KeyState)> {
        self.marks().map(|(mark, state)| (print(&mark), state))
    }

    /// What may be told of each key: sealing before signing, and of each use the current one first.
    pub fn rows(&self) -> Vec<KeyRow> {
        let seal = self.seal.all().map(|key| KeyRow {
            r#use: KeyUse::Seal,
            kid: key.kid().get().to_string(),
            course: *key.course(),
        });
        let sign = self.sign.all().map(|key| KeyRow {
            r#use: KeyUse::Sign,
            kid: key.kid().to_owned(),
            course: *key.course(),
        });
        seal.chain(sign).collect()
    }

    /// The keys of `earlier` that this ring has no more, although something that they made may be alive
    /// at `now`.
    pub fn missing(&self, earlier: &Self, now: UnixTime) -> Vec<KeyRow> {
        let held: Vec<Vec<u8>> = self.marks().map(|(mark, _)| mark).collect();
        let marked = earlier.marks().zip(earlier.rows());
        marked
            .filter(|((mark, _), row)| !held.contains(mark) && row.course.may_be_needed(now))
            .map(|(_, row)| row)
            .collect()
    }

    fn marks(&self) -> impl Iterator<Item = (Vec<u8>, KeyState)> {
        marks(&self.seal, &self.sign)
    }
}

/// What stands for each key in a fingerprint, in the order of [`Keyring::rows`].
fn marks(
    seal: &InUse<SealKey>,
    sign: &InUse<SigningKey>,
) -> impl Iterator<Item = (Vec<u8>, KeyState)> {
    let seal =
        seal.all().map(|key| ([&[b's', key.kid().get()], &key.mark()[..]].concat(), key.state()));
    let sign = sign.all().map(|key| {
        let thumbprint = key.public().thumbprint();
        ([b"j", thumbprint.as_bytes(), key.kid().as_bytes()].concat(), key.state())
    });
    seal.chain(sign)
}

#[derive(Serialize)]
struct Jwks<'keys> {
    keys: Vec<&'keys PublicJwk>,
}

/// A file with one key of each use, both current.
///
/// # Errors
/// `NoEntropy`, `Crypto`.
pub(crate) fn first_keys(
    algorithm: SigningAlgorithm,
    longest_life: Duration,
    entropy: &dyn Entropy,
    clock: &dyn Clock,
) -> Result<KeyFile, KeyringError> {
    let now = clock.now();
    let course = Course {
        state: KeyState::Current,
        created: now,
        current_since: Some(now),
        superseded: None,
        longest_life,
    };
    let seal = draw_seal_entry(Kid::FIRST, &course, entropy)?;
    let course = Course { longest_life: LONGEST_SIGNATURE, ..course };
    let sign = draw_sign_entry(algorithm, &course, entropy)?;
    Ok(KeyFile::new(vec![seal], vec![sign]))
}

impl TryFrom<&KeyFile> for Keyring {
    type Error = KeyringError;

    fn try_from(file: &KeyFile) -> Result<Self, KeyringError> {
        let seal: Vec<SealKey> =
            file.seal.iter().map(TryFrom::try_from).collect::<Result<_, _>>()?;
        let sign: Vec<SigningKey> =
            file.sign.iter().map(TryFrom::try_from).collect::<Result<_, _>>()?;
        let seal = sort(KeyUse::Seal, seal, |key| (key.kid().get().to_string(), key.state()))?;
        let sign = sort(KeyUse::Sign, sign, |key| (key.kid().to_owned(), key.state()))?;
        let is_current = |state: &KeyState| matches!(state, KeyState::Current);
        let all: Vec<_> = marks(&seal, &sign).collect();
        let current =
            all.iter().filter(|(_, state)| is_current(state)).map(|(mark, _)| mark.clone());
        let current = current.collect();
        let held = all.into_iter().map(|(mark, _)| mark).collect();
        let ring = Self { seal, sign, fingerprint: Fingerprint::new(current, held) };
        match ring.rows().into_iter().find(|row| row.course.runs_backwards()) {
            Some(KeyRow { r#use, kid, .. }) => Err(KeyringError::Times { r#use, kid }),
            None => Ok(ring),
        }
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
    let count = |state| keys.iter().filter(|key| about(key).1 == state).count();
    let (found, next) = (count(KeyState::Current), count(KeyState::Next));
    if next > 1 {
        return Err(KeyringError::Next { r#use, found: next });
    }
    let (current, beside): (Vec<K>, Vec<K>) =
        keys.into_iter().partition(|key| about(key).1 == KeyState::Current);
    let mut current = current.into_iter();
    match (current.next(), current.next()) {
        (Some(current), None) => Ok(InUse { current, beside }),
        (None | Some(_), _) => Err(KeyringError::Current { r#use, found }),
    }
}
