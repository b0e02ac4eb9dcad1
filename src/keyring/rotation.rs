//! What may be done to a key file: add the next keys, make them current, drop those that are not needed.
//!
//! Each step leaves a file with which every replica understands every other one, whether it has taken
//! the step yet or not.

use std::fmt::Write;
use std::path::PathBuf;
use std::time::Duration;

use crate::clock::UnixTime;
use crate::entropy::Entropy;
use crate::keyring::error::{KeyUse, KeyringError, spell};
use crate::keyring::file::{KeyFile, SealEntry, SignEntry};
use crate::keyring::life::{Course, KeyState, LONGEST_SIGNATURE};
use crate::keyring::ring::KeyRow;
use crate::keyring::seal::{Kid, draw_seal_entry};
use crate::keyring::sign::{SigningAlgorithm, draw_sign_entry};
use crate::keyring::step::{Step, until};

/// How old a next key must be before it becomes current: long enough for a Kubernetes Secret to be on every
/// node (up to two minutes), for every replica to read it (seconds), and for a verifier to fetch the key
/// set anew (300 s).
pub const PROPAGATION: Duration = Duration::from_secs(600);

/// The keys to add.
#[derive(Clone, Copy, Debug)]
pub struct Wanted {
    /// A sealing key, and how long what it seals may live.
    pub sealing: Option<Life>,
    /// A signing key.
    pub signing: Option<SigningAlgorithm>,
}

/// How long what a next sealing key seals may live. Gateways refuse a file with a key that is for less than
/// they are configured for, and whoever changes the file need not know how that is. What the current key is
/// for says enough: they have taken that one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Life {
    /// This, or longer where the current key is for longer.
    AtLeast(Duration),
    /// This, which must not be less than the current key is for.
    Exactly(Duration),
    /// This, also where it is less.
    EvenShorter(Duration),
}

/// Why a key file stays as it is.
#[derive(Debug, thiserror::Error)]
pub enum RotationError {
    /// The file cannot be used, or what would be in it could not.
    #[error(transparent)]
    File(#[from] KeyringError),
    /// There is one where a new one was to be made.
    #[error("{} is there already, and is left as it is", path.display())]
    Exists {
        /// The file.
        path: PathBuf,
    },
    /// Somebody else is changing the file, or has just done so.
    #[error(
        "the key file {} is being changed by somebody else: look at it (hookgate keys list), then try again",
        path.display()
    )]
    Busy {
        /// The file.
        path: PathBuf,
    },
    /// The file is a mounted secret.
    #[error(
        "the key file {} is a mounted secret and cannot be changed in place: write the new one elsewhere with \
         --output FILE, and apply it as the Secret",
        path.display()
    )]
    Mounted {
        /// The file.
        path: PathBuf,
    },
    /// The last step of the rotation before is missing.
    #[error(
        "there is a next {} key already, {kid}: make it current first (hookgate keys rotate)",
        r#use.word()
    )]
    NextExists {
        /// What it is for.
        r#use: KeyUse,
        /// Which one.
        kid: String,
    },
    /// All fifteen ids are taken.
    #[error("all 15 ids of sealing keys are taken: drop earlier keys first (hookgate keys retire)")]
    NoFreeKid,
    /// There is nothing to change to.
    #[error("there is no next key to change to: make one first (hookgate keys new)")]
    NoNext,
    /// Gateways that go with the current key may refuse the next one.
    #[error(
        "the current sealing key is for what lives for up to {}, and the next one would be for {} only: \
         a gateway that is configured for longer than that takes no such file up, and does not start with it; \
         say --shorter if none is",
        spell(*current),
        spell(*wanted)
    )]
    Shorter {
        /// What the current key is for.
        current: Duration,
        /// What was asked for.
        wanted: Duration,
    },
    /// Not every replica and verifier need have the next key yet.
    #[error(
        "the next {} key {kid} may become current from {from}: only then has every replica and every verifier \
         had time to get it; --after shortens the wait, --now does without",
        r#use.word()
    )]
    TooYoung {
        /// What it is for.
        r#use: KeyUse,
        /// Which one.
        kid: String,
        /// When it is old enough.
        from: UnixTime,
    },
    /// Nothing was superseded.
    #[error("there is no earlier key to drop")]
    NoPrevious,
    /// What the earlier keys made may be alive.
    #[error("no earlier key may go yet:{}", told(.0))]
    Needed(Vec<KeyRow>),
    /// No key has that id.
    #[error("no key has the id {kid:?}")]
    NoSuchKey {
        /// The id.
        kid: String,
    },
    /// The key that works cannot be dropped.
    #[error(
        "the {} key {kid} is in use: make another one current first (hookgate keys new, then rotate --now)",
        r#use.word()
    )]
    InUse {
        /// What it is for.
        r#use: KeyUse,
        /// Which one.
        kid: String,
    },
}

/// One line for each key that stays.
fn told(rows: &[KeyRow]) -> String {
    let mut text = String::new();
    for row in rows {
        let _ = write!(text, "\n  {} {}: {}", row.r#use.word(), row.kid, until(row));
    }
    text
}

impl KeyFile {
    /// Adds next keys. What a sealing key seals is configured to live for `configured`, as far as is known.
    ///
    /// # Errors
    /// `NextExists`, `NoFreeKid`, `Shorter`, `File`.
    pub(crate) fn add(
        &mut self,
        wanted: &Wanted,
        configured: Duration,
        now: UnixTime,
        entropy: &dyn Entropy,
    ) -> Result<Step, RotationError> {
        let mut changed = Vec::new();
        let course = |longest_life| Course {
            state: KeyState::Next,
            created: now,
            current_since: None,
            superseded: None,
            longest_life,
        };
        if let Some(life) = wanted.sealing {
            without_next(&self.seal)?;
            let kid = self.free_kid().ok_or(RotationError::NoFreeKid)?;
            let longest_life = self.settle(kid, life, configured)?;
            let entry = draw_seal_entry(kid, &course(longest_life), entropy)
                .map_err(KeyringError::NoEntropy)?;
            changed.push(entry.row());
            self.seal.push(entry);
        }
        if let Some(algorithm) = wanted.signing {
            without_next(&self.sign)?;
            let entry = draw_sign_entry(algorithm, &course(LONGEST_SIGNATURE), entropy)?;
            changed.push(entry.row());
            self.sign.push(entry);
        }
        Ok(Step { changed, staying: Vec::new() })
    }

    fn settle(
        &self,
        kid: Kid,
        life: Life,
        configured: Duration,
    ) -> Result<Duration, RotationError> {
        let current = self.current_life();
        let (wanted, may_be_shorter) = match life {
            Life::AtLeast(least) => (least.max(configured).max(current), false),
            Life::Exactly(wanted) => (wanted, false),
            Life::EvenShorter(wanted) => (wanted, true),
        };
        if wanted < configured {
            let (kid, allowed) = (kid.get(), wanted);
            Err(KeyringError::Life { kid, allowed, wanted: configured }.into())
        } else if wanted < current && !may_be_shorter {
            Err(RotationError::Shorter { current, wanted })
        } else {
            Ok(wanted)
        }
    }

    fn current_life(&self) -> Duration {
        let mut current = self.seal.iter().filter(|entry| entry.state == KeyState::Current);
        current.next().map(|entry| entry.course().longest_life).unwrap_or_default()
    }

    /// The first free id after the current one, so that an id that was dropped comes again late.
    fn free_kid(&self) -> Option<Kid> {
        let current = self.seal.iter().find(|entry| entry.state == KeyState::Current)?.kid;
        let after = (current..=15).chain(1..=current);
        after.filter_map(Kid::new).find(|kid| self.seal.iter().all(|e| e.kid != kid.get()))
    }

    /// Makes next keys current, and current ones previous.
    ///
    /// What the file knows to have happened is not later than now, so a clock that is behind it is wrong: the
    /// step is written down with the latest time in the file then. An earlier one would let the keys that are
    /// previous from now on go too early.
    ///
    /// # Errors
    /// `NoNext`, `TooYoung`.
    pub(crate) fn rotate(&mut self, now: UnixTime, after: Duration) -> Result<Step, RotationError> {
        let latest = self.rows().iter().map(|row| row.course.latest()).fold(now, UnixTime::max);
        let mut changed = advance(&mut self.seal, now, after, latest)?;
        changed.extend(advance(&mut self.sign, now, after, latest)?);
        if changed.is_empty() {
            Err(RotationError::NoNext)
        } else {
            Ok(Step { changed, staying: Vec::new() })
        }
    }

    /// Drops the earlier keys whose work has all ended.
    ///
    /// # Errors
    /// `NoPrevious`, `Needed`.
    pub(crate) fn retire(&mut self, now: UnixTime) -> Result<Step, RotationError> {
        let (mut changed, mut staying) = sift(&mut self.seal, now);
        let (gone, kept) = sift(&mut self.sign, now);
        changed.extend(gone);
        staying.extend(kept);
        match (changed.is_empty(), staying.is_empty()) {
            (true, true) => Err(RotationError::NoPrevious),
            (true, false) => Err(RotationError::Needed(staying)),
            (false, _) => Ok(Step { changed, staying }),
        }
    }

    /// Drops a key that is not in use, whatever may depend on it.
    ///
    /// # Errors
    /// `NoSuchKey`, `InUse`.
    pub(crate) fn force_out(&mut self, kid: &str) -> Result<Step, RotationError> {
        let dropped = match take(&mut self.seal, kid)? {
            Some(row) => Some(row),
            None => take(&mut self.sign, kid)?,
        };
        let row = dropped.ok_or_else(|| RotationError::NoSuchKey { kid: kid.to_owned() })?;
        Ok(Step { changed: vec![row], staying: Vec::new() })
    }

    /// What may be told of each key.
    pub(crate) fn rows(&self) -> Vec<KeyRow> {
        self.seal.iter().map(Entry::row).chain(self.sign.iter().map(Entry::row)).collect()
    }
}

/// What both kinds of entries have.
trait Entry {
    fn row(&self) -> KeyRow;
    fn promote(&mut self, now: UnixTime);
    fn supersede(&mut self, now: UnixTime);
}

impl Entry for SealEntry {
    fn row(&self) -> KeyRow {
        KeyRow { r#use: KeyUse::Seal, kid: self.kid.to_string(), course: self.course() }
    }

    fn promote(&mut self, now: UnixTime) {
        (self.state, self.current_since) = (KeyState::Current, Some(now.secs()));
    }

    fn supersede(&mut self, now: UnixTime) {
        (self.state, self.superseded) = (KeyState::Previous, Some(now.secs()));
    }
}

impl Entry for SignEntry {
    fn row(&self) -> KeyRow {
        KeyRow { r#use: KeyUse::Sign, kid: self.jwk.kid.clone(), course: self.course() }
    }

    fn promote(&mut self, now: UnixTime) {
        (self.state, self.current_since) = (KeyState::Current, Some(now.secs()));
    }

    fn supersede(&mut self, now: UnixTime) {
        (self.state, self.superseded) = (KeyState::Previous, Some(now.secs()));
    }
}

fn without_next(entries: &[impl Entry]) -> Result<(), RotationError> {
    let mut rows = entries.iter().map(Entry::row);
    match rows.find(|row| row.course.state == KeyState::Next) {
        Some(KeyRow { r#use, kid, .. }) => Err(RotationError::NextExists { r#use, kid }),
        None => Ok(()),
    }
}

/// Changes keys at `at`. Nothing where there is no next key.
fn advance(
    entries: &mut [impl Entry],
    now: UnixTime,
    after: Duration,
    at: UnixTime,
) -> Result<Vec<KeyRow>, RotationError> {
    let mut rows = entries.iter().map(Entry::row);
    let Some(next) = rows.find(|row| row.course.state == KeyState::Next) else {
        return Ok(Vec::new());
    };
    if now.since(next.course.created) < after {
        let from = next.course.created.plus(after);
        return Err(RotationError::TooYoung { r#use: next.r#use, kid: next.kid, from });
    }
    let mut changed = Vec::new();
    for entry in entries {
        match entry.row().course.state {
            KeyState::Next => entry.promote(at),
            KeyState::Current => entry.supersede(at),
            KeyState::Previous => continue,
        }
        changed.push(entry.row());
    }
    Ok(changed)
}

/// Drops what is not needed. Gives what went, and what had to stay.
fn sift(entries: &mut Vec<impl Entry>, now: UnixTime) -> (Vec<KeyRow>, Vec<KeyRow>) {
    let is_previous = |row: &KeyRow| row.course.state == KeyState::Previous;
    let previous = entries.iter().map(Entry::row).filter(is_previous);
    let (staying, gone) = previous.partition(|row| row.course.may_be_needed(now));
    entries.retain(|entry| {
        let row = entry.row();
        !is_previous(&row) || row.course.may_be_needed(now)
    });
    (gone, staying)
}

fn take(entries: &mut Vec<impl Entry>, kid: &str) -> Result<Option<KeyRow>, RotationError> {
    let Some(at) = entries.iter().position(|entry| entry.row().kid == kid) else { return Ok(None) };
    let row = entries.get(at).map(Entry::row);
    if let Some(KeyRow { r#use, kid, course }) = &row
        && course.state == KeyState::Current
    {
        return Err(RotationError::InUse { r#use: *r#use, kid: kid.clone() });
    }
    entries.remove(at);
    Ok(row)
}
