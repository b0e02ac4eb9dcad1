//! Card ids: what stands in place of `cards[].uuid` and `suggestions[].uuid`.
//!
//! Each is a UUID that says by itself whether it is ours and still good; one record for all ids of an
//! answer says what they stand for. Because an id is checked before anything is looked up, guesses
//! cost the store nothing.

mod bits;
mod record;

use std::fmt;
use std::sync::Arc;

use aws_lc_rs::constant_time;
use bytes::Bytes;
use url::Url;
use uuid::Uuid;

use crate::clock::UnixTime;
use crate::entropy::{Entropy, NoEntropy, draw};
use crate::gateway::tokens::base::PublicBase;
use crate::gateway::tokens::binding::Binding;
use crate::gateway::tokens::card_ids::bits::{Fields, MAC_LEN, PER_RECORD, Prefix};
use crate::gateway::tokens::card_ids::record::Content;
use crate::gateway::tokens::wire::{self, Reader};
use crate::keyring::{Kid, LiveKeyring, NONCE_LEN, Purpose, SealKey};
use crate::names::{ClientId, ServiceId};
use crate::store::{Incarnation, Key, Namespace};

pub use crate::gateway::tokens::card_ids::record::Kind;

const VERSION: u8 = 1;
/// The unit of an expiry, in milliseconds: ten minutes.
const SLOT: u64 = 600_000;

/// Makes card ids and reads them again.
#[derive(Debug)]
pub struct CardIds {
    keyring: Arc<LiveKeyring>,
    base: PublicBase,
    entropy: Arc<dyn Entropy>,
}

/// The ids of one answer. They may leave once the records are stored.
#[derive(Debug)]
pub struct Issued {
    /// One for each original, in its order: UUIDs in lower case with hyphens.
    pub substitutes: Vec<String>,
    /// One for each 1,024 originals.
    pub records: Vec<Record>,
}

/// What must be in the store for ids to mean something. It is sealed.
#[derive(Clone, Debug)]
pub struct Record {
    /// Under which key.
    pub key: Key,
    /// What.
    pub value: Bytes,
    /// Until when: the ids themselves are refused from then on.
    pub until: UnixTime,
}

/// Why no ids were made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum IssueError {
    /// None could be drawn.
    #[error(transparent)]
    NoEntropy(#[from] NoEntropy),
    /// The expiry lies before 2024 or after 2102.
    #[error("the expiry cannot be written down")]
    Expiry,
    /// The cipher refused, or the originals are longer than 128 MiB.
    #[error("the card id record could not be sealed")]
    Cipher,
}

/// Why an id means nothing to the caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum IdError {
    /// No UUID, or not of our kind.
    #[error("not a card id of this gateway")]
    NotOurs,
    /// Its key is not held: not yet, or no longer. Who made it cannot be told; by its own word it has not
    /// expired.
    #[error("the card id was made with a key that is not held")]
    UnknownKey,
    /// Not made by this gateway for its store's present history, or altered since.
    #[error("the card id is forged, or older than the store's present history")]
    Forged,
    /// Its time is over.
    #[error("the card id has expired")]
    Expired,
    /// It was given to another client.
    #[error("the card id was given to another client")]
    OtherClient,
    /// It stood on another service's card.
    #[error("the card id belongs to another service")]
    OtherService,
    /// The record has no such entry.
    #[error("the card id's record has no such entry")]
    NoSuchIndex,
    /// What the store holds is not what was put there.
    #[error("the card id's record cannot be read")]
    Corrupt,
}

impl IdError {
    /// Whether the fault may be this gateway's own. What it cannot read now another replica may read, or
    /// this one later: it is nothing to tell the sender as final.
    pub const fn may_pass(self) -> bool {
        match self {
            Self::UnknownKey | Self::Corrupt => true,
            Self::NotOurs
            | Self::Forged
            | Self::Expired
            | Self::OtherClient
            | Self::OtherService
            | Self::NoSuchIndex => false,
        }
    }
}

/// An authentic id that has not expired. What it stands for is in its record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CardId {
    key: Key,
    index: usize,
    expires: UnixTime,
    history: Incarnation,
}

impl CardId {
    /// Where the store has its record.
    pub const fn record_key(&self) -> Key {
        self.key
    }

    /// Which of the record's originals it stands for.
    pub const fn index(&self) -> usize {
        self.index
    }

    /// From this moment on it is refused.
    pub const fn expires(&self) -> UnixTime {
        self.expires
    }

    /// The history of the store in which it was issued: under another one it means nothing.
    pub const fn history(&self) -> Incarnation {
        self.history
    }
}

/// What an id says about itself. Anybody can make one that says so.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IdForm {
    /// The id of the key that made it.
    pub kid: u8,
    /// From this moment on it is refused.
    pub expires: UnixTime,
    /// Which of its answer's ids it is, counted from 0.
    pub index: usize,
}

/// What an id stands for.
#[derive(Clone, PartialEq, Eq)]
pub struct Original {
    /// The service's own id, exactly as it wrote it.
    pub text: String,
    /// Whether it stood on a card or on a suggestion.
    pub kind: Kind,
    /// The hook call that it came from.
    pub binding: Binding,
}

impl fmt::Debug for Original {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Original")
            .field("kind", &self.kind)
            .field("binding", &self.binding)
            .finish_non_exhaustive()
    }
}

impl CardIds {
    /// Makes ids with `keyring` for the gateway at `public_url`.
    pub fn new(keyring: Arc<LiveKeyring>, public_url: &Url, entropy: Arc<dyn Entropy>) -> Self {
        Self { keyring, base: PublicBase::new(public_url), entropy }
    }

    /// Makes a substitute for each original id of one answer. They expire at `expires` or up to ten
    /// minutes later. Where the store says that a record's key is taken, call again.
    ///
    /// # Errors
    /// [`IssueError`]
    pub fn issue(
        &self,
        binding: &Binding,
        originals: &[(Kind, &str)],
        expires: UnixTime,
        incarnation: Incarnation,
    ) -> Result<Issued, IssueError> {
        let expiry = slot(expires).ok_or(IssueError::Expiry)?;
        let ring = self.keyring.ring();
        let key = ring.sealing();
        let mut issued =
            Issued { substitutes: Vec::with_capacity(originals.len()), records: vec![] };
        for chunk in originals.chunks(PER_RECORD) {
            let prefix = Prefix::new(key.kid().get(), expiry, draw(&*self.entropy)?);
            issued.records.push(self.record(key, prefix, binding, chunk)?);
            for (index, _) in (0..).zip(chunk) {
                let fields = Fields { prefix, index };
                let id = fields.pack(self.mac(key, fields, incarnation));
                issued.substitutes.push(id.as_hyphenated().to_string());
            }
        }
        Ok(issued)
    }

    /// Reads an id that somebody sends at `now` to a gateway whose store is `incarnation`. Upper case
    /// and a leading `urn:uuid:` are accepted (RFC 9562 section 4).
    ///
    /// # Errors
    /// `NotOurs`, `UnknownKey`, `Forged`, `Expired`.
    pub fn parse(
        &self,
        text: &str,
        now: UnixTime,
        incarnation: Incarnation,
    ) -> Result<CardId, IdError> {
        let (fields, mac) = parse_uuid(text).and_then(Fields::unpack).ok_or(IdError::NotOurs)?;
        let kid = Kid::new(fields.prefix.kid).ok_or(IdError::NotOurs)?;
        let ring = self.keyring.ring();
        let expires = slot_end(fields.prefix.expiry);
        let Some(key) = ring.opening(kid) else {
            // Nobody vouches for the time either, but whoever waits for the key need not wait longer.
            return Err(if now < expires { IdError::UnknownKey } else { IdError::Expired });
        };
        let expected = self.mac(key, fields, incarnation);
        constant_time::verify_slices_are_equal(&expected, &mac).map_err(|_| IdError::Forged)?;
        if now >= expires {
            return Err(IdError::Expired);
        }
        let (key, index) = (record_key(fields.prefix), fields.index.into());
        Ok(CardId { key, index, expires, history: incarnation })
    }

    /// What an id says about itself, by its own word alone.
    ///
    /// # Errors
    /// `NotOurs`
    pub fn look(text: &str) -> Result<IdForm, IdError> {
        let (fields, _) = parse_uuid(text).and_then(Fields::unpack).ok_or(IdError::NotOurs)?;
        let Prefix { kid, expiry, .. } = fields.prefix;
        Ok(IdForm { kid, expires: slot_end(expiry), index: fields.index.into() })
    }

    /// What `id` stands for, provided that `record` is what the store had under its key, and that
    /// `client` got it from `service`.
    ///
    /// # Errors
    /// `OtherClient`, `OtherService`, `NoSuchIndex`, `Corrupt`; `UnknownKey` where the key has been
    /// removed since.
    pub fn resolve(
        &self,
        id: &CardId,
        record: &[u8],
        client: &ClientId,
        service: &ServiceId,
    ) -> Result<Original, IdError> {
        let original = self.resolve_for_bearer(id, record, service)?;
        if original.binding.client != *client {
            return Err(IdError::OtherClient);
        }
        Ok(original)
    }

    /// The same where the id is all that the caller shows: analytics of the early drafts, for
    /// services that opted in.
    ///
    /// # Errors
    /// As [`Self::resolve`], but never `OtherClient`.
    pub fn resolve_for_bearer(
        &self,
        id: &CardId,
        record: &[u8],
        service: &ServiceId,
    ) -> Result<Original, IdError> {
        let mut reader = Reader::new(record);
        let header = reader.byte().ok_or(IdError::Corrupt)?;
        let nonce = reader.array().ok_or(IdError::Corrupt)?;
        let kid = Kid::new(header & 0x0f).filter(|_| header >> 4 == VERSION);
        let ring = self.keyring.ring();
        let key = ring.opening(kid.ok_or(IdError::Corrupt)?).ok_or(IdError::UnknownKey)?;
        let mut sealed = reader.rest().to_vec();
        let plain = key
            .open(Purpose::CardRecord, nonce, &self.bound(header, &id.key), &mut sealed)
            .map_err(|_| IdError::Corrupt)?;
        let content = Content::read(plain).ok_or(IdError::Corrupt)?;
        if content.binding.service != *service {
            return Err(IdError::OtherService);
        }
        if id.index >= content.count() {
            return Err(IdError::NoSuchIndex);
        }
        let (kind, text, binding) = content.original(id.index).ok_or(IdError::Corrupt)?;
        Ok(Original { text: text.to_owned(), kind, binding })
    }

    fn record(
        &self,
        key: &SealKey,
        prefix: Prefix,
        binding: &Binding,
        originals: &[(Kind, &str)],
    ) -> Result<Record, IssueError> {
        let longest = originals.iter().map(|(_, text)| text.len()).max();
        if longest.is_some_and(|length| length >= 1 << 27) {
            return Err(IssueError::Cipher);
        }
        let header = VERSION << 4 | key.kid().get();
        let nonce = draw::<NONCE_LEN>(&*self.entropy)?;
        let store_key = record_key(prefix);
        let mut value = [&[header], &nonce[..]].concat();
        let start = value.len();
        record::write(&mut value, binding, originals);
        let bound = self.bound(header, &store_key);
        key.seal(Purpose::CardRecord, nonce, &bound, &mut value, start)
            .map_err(|_| IssueError::Cipher)?;
        Ok(Record { key: store_key, value: value.into(), until: slot_end(prefix.expiry) })
    }

    fn bound(&self, header: u8, key: &Key) -> Vec<u8> {
        self.base.bound(&[b"card record", &[header], key.as_bytes()])
    }

    fn mac(&self, key: &SealKey, fields: Fields, incarnation: Incarnation) -> [u8; MAC_LEN] {
        let base = self.base.as_str().as_bytes();
        let tag = key.vouch(&[b"card id", &incarnation.mark, &fields.bytes(), base]);
        tag.as_ref().first_chunk().copied().unwrap_or_default()
    }
}

fn record_key(prefix: Prefix) -> Key {
    Key::new(Namespace::CardIds, &[&prefix.bytes()])
}

/// Only the 36-character form: other spellings of a UUID are other strings to everybody else.
fn parse_uuid(text: &str) -> Option<Uuid> {
    let bare = match text.split_at_checked("urn:uuid:".len()) {
        Some((prefix, rest)) if prefix.eq_ignore_ascii_case("urn:uuid:") => rest,
        Some(_) | None => text,
    };
    Uuid::try_parse(bare).ok().filter(|_| bare.len() == 36)
}

/// The first slot boundary at or after `time`, counted from 2024.
fn slot(time: UnixTime) -> Option<u32> {
    let slot = wire::millis(time)?.div_ceil(SLOT);
    u32::try_from(slot).ok().filter(|slot| *slot <= Prefix::LAST_EXPIRY)
}

fn slot_end(slot: u32) -> UnixTime {
    wire::moment(u64::from(slot) * (SLOT / 1000))
}

#[cfg(test)]
mod tests;
