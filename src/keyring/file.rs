//! The key file: its form, and how it is read and made without ever being seen half-written or by others.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use aws_lc_rs::digest;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use zeroize::Zeroizing;

use crate::entropy::{Entropy, draw};
use crate::keyring::access::Access;
use crate::keyring::error::KeyringError;
use crate::keyring::life::{DEFAULT_LONGEST_LIFE, KeyState};
use crate::keyring::place::{folder_of, is_mounted, open};

const VERSION: u64 = 1;
const MOST_BYTES: u64 = 1 << 20;

/// Text that is wiped from memory when it is dropped, and never printed.
pub struct SecretText(Zeroizing<String>);

impl SecretText {
    /// Takes the text over.
    pub fn new(text: String) -> Self {
        Self(Zeroizing::new(text))
    }

    /// The text itself.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl<'de> Deserialize<'de> for SecretText {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        String::deserialize(from).map(Self::new)
    }
}

impl Serialize for SecretText {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(&self.0)
    }
}

/// A sealing key as the file holds it. Times are seconds since 1970, lengths seconds.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SealEntry {
    /// 1 to 15.
    pub kid: u8,
    /// Where it is in its life.
    pub state: KeyState,
    /// When it was made.
    pub created: u64,
    /// When it began to seal.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub current_since: Option<u64>,
    /// When it ceased to seal.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub superseded: Option<u64>,
    /// How long what it seals may live.
    #[serde(default = "default_life")]
    pub longest_life: u64,
    /// 32 bytes, base64url.
    pub key: SecretText,
}

const fn default_life() -> u64 {
    DEFAULT_LONGEST_LIFE.as_secs()
}

/// A signing key as the file holds it.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SignEntry {
    /// Where it is in its life.
    pub state: KeyState,
    /// When it was made.
    pub created: u64,
    /// When it began to sign.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub current_since: Option<u64>,
    /// When it ceased to sign.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub superseded: Option<u64>,
    /// The key.
    pub jwk: PrivateJwk,
}

/// A private signing key (RFC 7517; RFC 7518 section 6.2.2 for ES256, RFC 8037 section 2 for EdDSA).
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PrivateJwk {
    /// `EC` or `OKP`.
    pub kty: String,
    /// `P-256` or `Ed25519`.
    pub crv: String,
    /// `ES256` or `EdDSA`.
    pub alg: String,
    /// `sig`.
    pub r#use: String,
    /// The key's name in a JWS header and in the JWKS.
    pub kid: String,
    /// The public point or its first half, base64url.
    pub x: String,
    /// The public point's second half, base64url; ES256 only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub y: Option<String>,
    /// The private number or seed, base64url.
    pub d: SecretText,
}

/// All keys as the file holds them.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KeyFile {
    version: u64,
    /// For links, records and card ids.
    pub seal: Vec<SealEntry>,
    /// For tokens that others verify.
    pub sign: Vec<SignEntry>,
}

/// The bytes of a key file, wiped when dropped, and whose it is.
pub struct Text {
    bytes: Zeroizing<Vec<u8>>,
    /// Who owns it and who may do what with it.
    pub access: Access,
}

impl Text {
    /// Reads an open file, provided that nobody else can. `path` is for messages.
    ///
    /// # Errors
    /// `Read`, `Foreign`, `Exposed`, `ExposedMount`.
    pub fn read(path: &Path, mut file: &File) -> Result<Self, KeyringError> {
        let unreadable = |why| KeyringError::Read { path: path.to_owned(), why };
        // Asked of the open file, so that it cannot be swapped in between.
        let about = file.metadata().map_err(unreadable)?;
        let access = Access::of(&about);
        let reader = rustix::process::geteuid().as_raw();
        if access.is_foreign(reader) {
            return Err(KeyringError::Foreign { path: path.to_owned(), owner: access.owner });
        }
        if access.is_too_wide(reader) {
            let (path, mode, is_own) = (path.to_owned(), access.mode, access.owner == reader);
            return Err(if is_mounted(&path) {
                KeyringError::ExposedMount { path, mode, is_own }
            } else {
                KeyringError::Exposed { path, mode }
            });
        }
        // Room for all of it from the start: a buffer that grows leaves its earlier self behind.
        let room = usize::try_from(about.len().min(MOST_BYTES)).unwrap_or(0).saturating_add(1);
        let mut bytes = Zeroizing::new(Vec::with_capacity(room));
        Read::by_ref(&mut file).take(MOST_BYTES).read_to_end(&mut bytes).map_err(unreadable)?;
        Ok(Self { bytes, access })
    }

    /// The same for the same bytes only. To be kept in memory, not to be told.
    pub fn digest(&self) -> digest::Digest {
        digest::digest(&digest::SHA256, &self.bytes)
    }
}

#[derive(Deserialize)]
struct AnyVersion {
    version: u64,
}

impl KeyFile {
    /// A file with these keys.
    pub const fn new(seal: Vec<SealEntry>, sign: Vec<SignEntry>) -> Self {
        Self { version: VERSION, seal, sign }
    }

    /// Reads the file, or says that there is none.
    ///
    /// # Errors
    /// `Read`, `NoFile`, `Foreign`, `Exposed`, `ExposedMount`, `Version`, `Malformed`.
    pub fn read(path: &Path) -> Result<Option<Self>, KeyringError> {
        match open(path) {
            Ok(file) => Self::parse(path, &Text::read(path, &file)?).map(Some),
            Err(KeyringError::Read { why, .. }) if why.kind() == io::ErrorKind::NotFound => {
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    /// Reads the file, which must be there.
    ///
    /// # Errors
    /// `Read`, `NoFile`, `Foreign`, `Exposed`, `ExposedMount`, `Version`, `Malformed`.
    pub fn read_existing(path: &Path) -> Result<Self, KeyringError> {
        let missing =
            || KeyringError::Read { path: path.to_owned(), why: io::ErrorKind::NotFound.into() };
        Self::read(path)?.ok_or_else(missing)
    }

    /// What the text says; `path` is for messages.
    ///
    /// # Errors
    /// `Version`, `Malformed`.
    pub fn parse(path: &Path, text: &Text) -> Result<Self, KeyringError> {
        // The parser's own message may quote what it stumbled over: only the place is passed on.
        let damaged = |why: serde_json::Error| KeyringError::Malformed {
            path: path.to_owned(),
            line: why.line(),
            column: why.column(),
        };
        let AnyVersion { version } = serde_json::from_slice(&text.bytes).map_err(damaged)?;
        if version != VERSION {
            return Err(KeyringError::Version { path: path.to_owned(), found: version });
        }
        serde_json::from_slice(&text.bytes).map_err(damaged)
    }

    /// Makes the file unless there is one. It appears whole or not at all, on disk before it is seen;
    /// of several processes that try at once, one wins, and the others leave what it made. Says whether
    /// this one made it.
    ///
    /// # Errors
    /// `Write`, `NoEntropy`.
    pub fn make(&self, path: &Path, entropy: &dyn Entropy) -> Result<bool, KeyringError> {
        let folder = folder_of(path);
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&folder)
            .map_err(|why| KeyringError::Write { path: path.to_owned(), why })?;
        self.write(path, entropy, |draft, _| publish(draft, path))
    }

    /// Puts these keys in place of those in the file at `path`, for the same owner and with the same mode.
    /// Whoever reads it sees the file as it was or as it is, on disk before it is seen.
    ///
    /// # Errors
    /// `Write`, `NoEntropy`.
    pub fn replace(
        &self,
        path: &Path,
        access: &Access,
        entropy: &dyn Entropy,
    ) -> Result<(), KeyringError> {
        self.write(path, entropy, |draft, file| {
            access.give(file)?;
            file.sync_all()?;
            fs::rename(draft, path)
        })
    }

    fn write<T>(
        &self,
        path: &Path,
        entropy: &dyn Entropy,
        publish: impl FnOnce(&Path, &File) -> io::Result<T>,
    ) -> Result<T, KeyringError> {
        let draft = draft_of(path, u64::from_be_bytes(draw(entropy)?));
        let made = self.write_new(&draft).and_then(|file| publish(&draft, &file));
        // After a rename there is no draft; after a link or a failure it must not stay.
        let _ = fs::remove_file(&draft);
        let synced = |made| File::open(folder_of(path))?.sync_all().map(|()| made);
        made.and_then(synced).map_err(|why| KeyringError::Write { path: path.to_owned(), why })
    }

    fn write_new(&self, path: &Path) -> io::Result<File> {
        let mut text = Zeroizing::new(Vec::with_capacity(16 * 1024));
        serde_json::to_writer_pretty(&mut *text, self)?;
        text.push(b'\n');
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
        file.write_all(&text)?;
        file.sync_all()?;
        Ok(file)
    }
}

const DRAFT_DIGITS: usize = 16;

fn draft_of(path: &Path, number: u64) -> PathBuf {
    let mut draft = path.as_os_str().to_owned();
    draft.push(format!(".{number:016x}"));
    PathBuf::from(draft)
}

/// Removes what writers left behind that were killed in the middle: it holds keys. Nobody else may be
/// writing the file at `path`.
pub(crate) fn sweep_drafts(path: &Path) {
    let Some(name) = path.file_name().and_then(|name| name.to_str()) else { return };
    let entries = fs::read_dir(folder_of(path)).into_iter().flatten().flatten();
    for entry in entries {
        let found = entry.file_name();
        let number = found.to_str().and_then(|f| f.strip_prefix(name)?.strip_prefix('.'));
        let is_draft = number.is_some_and(|number| {
            number.len() == DRAFT_DIGITS && number.bytes().all(|b| b.is_ascii_hexdigit())
        });
        if is_draft {
            let _ = fs::remove_file(entry.path());
        }
    }
}

/// Gives the draft its name unless the name is taken, and says whether. A hard link does both in one step;
/// where the file system knows none, a rename does, which keeps the file whole but not the first of two.
fn publish(draft: &Path, path: &Path) -> io::Result<bool> {
    match fs::hard_link(draft, path) {
        Ok(()) => Ok(true),
        Err(why) if why.kind() == io::ErrorKind::AlreadyExists => Ok(false),
        Err(_) if path.try_exists()? => Ok(false),
        Err(_) => fs::rename(draft, path).map(|()| true),
    }
}
