//! The tables of a disk store, and the steps on them inside one write transaction.
//!
//! | table | key | value |
//! |---|---|---|
//! | `about` | `"schema"` | version, 8 bytes |
//! | `about` | `"history"` | the mark, 8 bytes; since, 8 bytes; the file's identity, 24 bytes |
//! | `about` | `"follows"` | 1 where a forgotten history came before, 1 byte; may be missing |
//! | `about` | `"commits"` | how many, 8 bytes |
//! | `entries` | until, 8 bytes, and the key's digest, 32 bytes | nonce, 16 bytes; the value |
//!
//! Numbers in values are big-endian, times are milliseconds since 1970.
//!
//! Entries stand in the order in which they end. What is asked for together ends at nearly the same time
//! and so lies on few pages, however many callers there are: a commit writes those and not a page for each
//! caller. Where a key stands is known in memory, see [`Index`].

use std::collections::BTreeMap;
use std::sync::{PoisonError, RwLock};

use bytes::Bytes;
use redb::{
    Database, Error, ReadableDatabase, ReadableTable, ReadableTableMetadata, Table,
    TableDefinition, TableHandle, WriteTransaction,
};

use crate::clock::UnixTime;
use crate::store::contract::{Incarnation, Key, Nonce};
use crate::store::disk::medium::Identity;

/// The version of the tables above. Another one is refused.
pub(crate) const SCHEMA: u64 = 2;

type Digest = [u8; 32];

/// Stands behind all others that end at the same time.
const LAST: Digest = [u8::MAX; 32];

const ABOUT: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("about");
const ENTRIES: TableDefinition<'_, (u64, &Digest), &[u8]> = TableDefinition::new("entries");

/// The values of `"follows"`.
const FOLLOWS: &[u8] = &[1];
const NOTHING: &[u8] = &[0];

/// What the file says about itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum About {
    /// Nothing: it was made just now.
    Fresh,
    /// It was written by another version, or by another program.
    Foreign { schema: Option<u64> },
    /// It is a store.
    Known(History),
}

/// Which history the file remembers, how far it is, and which file it was when this was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct History {
    pub(crate) incarnation: Incarnation,
    /// Whether it came after another, which was forgotten.
    pub(crate) follows: bool,
    pub(crate) identity: Identity,
    pub(crate) commits: u64,
}

/// Reads what the file says about itself.
pub(crate) fn read_about(transaction: &WriteTransaction) -> Result<About, Error> {
    let tables: Vec<String> =
        transaction.list_tables()?.map(|table| table.name().to_owned()).collect();
    if tables.is_empty() {
        return Ok(About::Fresh);
    }
    if !tables.iter().any(|name| name == ABOUT.name()) {
        return Ok(About::Foreign { schema: None });
    }
    let about = transaction.open_table(ABOUT)?;
    let row = |name| -> Result<Vec<u8>, Error> {
        Ok(about.get(name)?.map(|value| value.value().to_vec()).unwrap_or_default())
    };
    let schema = parse_number(&row("schema")?);
    if schema != Some(SCHEMA) {
        return Ok(About::Foreign { schema });
    }
    let follows = row("follows")? == FOLLOWS;
    let known = parse_history(&row("history")?).zip(parse_number(&row("commits")?));
    known.map_or_else(
        || Err(damaged("about itself")),
        |((incarnation, identity), commits)| {
            Ok(About::Known(History { incarnation, follows, identity, commits }))
        },
    )
}

/// Writes what the file says about itself.
pub(crate) fn write_about(transaction: &WriteTransaction, history: &History) -> Result<(), Error> {
    let mut about = transaction.open_table(ABOUT)?;
    let Incarnation { mark, since } = history.incarnation;
    let row = [&mark[..], &since.millis().to_be_bytes(), &history.identity.0].concat();
    about.insert("schema", SCHEMA.to_be_bytes().as_slice())?;
    about.insert("history", row.as_slice())?;
    about.insert("follows", if history.follows { FOLLOWS } else { NOTHING })?;
    about.insert("commits", history.commits.to_be_bytes().as_slice())?;
    Ok(())
}

/// Writes only how far the file is.
pub(crate) fn write_commits(transaction: &WriteTransaction, commits: u64) -> Result<(), Error> {
    let mut about = transaction.open_table(ABOUT)?;
    about.insert("commits", commits.to_be_bytes().as_slice())?;
    Ok(())
}

/// When each key of the file ends, which is where it stands in it.
///
/// It has what the writer has done and not yet committed, too; what is not committed is not found in the
/// file. After a failed commit it is dropped with the database, and read from the file anew.
///
/// A tree, since a hash table of a million keys that grows keeps callers waiting while it moves.
#[derive(Debug)]
pub(crate) struct Index(RwLock<BTreeMap<Digest, UnixTime>>);

impl Index {
    fn until(&self, key: &Key) -> Option<UnixTime> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).get(key.as_bytes()).copied()
    }

    /// Returns the former end.
    fn put(&self, key: &Key, until: UnixTime) -> Option<UnixTime> {
        self.0.write().unwrap_or_else(PoisonError::into_inner).insert(*key.as_bytes(), until)
    }

    fn remove(&self, digest: &Digest) {
        self.0.write().unwrap_or_else(PoisonError::into_inner).remove(digest);
    }
}

/// Reads the whole table.
pub(crate) fn read_index(transaction: &WriteTransaction) -> Result<Index, Error> {
    let entries = transaction.open_table(ENTRIES)?;
    let place = |row: Result<_, redb::StorageError>| {
        let (place, _): (redb::AccessGuard<'_, (u64, &Digest)>, _) = row?;
        let (until, digest) = place.value();
        Ok((*digest, UnixTime::from_millis(until)))
    };
    Ok(Index(RwLock::new(entries.iter()?.map(place).collect::<Result<_, Error>>()?)))
}

/// The value under `key` in the last commit, if it has not ended.
pub(crate) fn read(
    database: &Database,
    index: &Index,
    key: &Key,
    now: UnixTime,
) -> Result<Option<Bytes>, Error> {
    let Some(until) = index.until(key).filter(|until| *until > now) else { return Ok(None) };
    let entries = database.begin_read()?.open_table(ENTRIES)?;
    let found = entries.get((until.millis(), key.as_bytes()))?;
    found.map(|row| Ok(Entry::parse(until, row.value())?.value)).transpose()
}

/// Whether something has ended and not been swept in the last commit.
pub(crate) fn has_ended(database: &Database, now: UnixTime) -> Result<bool, Error> {
    let entries = database.begin_read()?.open_table(ENTRIES)?;
    Ok(entries.first()?.is_some_and(|(place, _)| place.value().0 <= now.millis()))
}

/// What is kept under a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) until: UnixTime,
    pub(crate) nonce: Nonce,
    pub(crate) value: Bytes,
}

impl Entry {
    fn parse(until: UnixTime, row: &[u8]) -> Result<Self, Error> {
        let (nonce, value) = row.split_first_chunk::<16>().ok_or_else(|| damaged("an entry"))?;
        Ok(Self { until, nonce: Nonce(*nonce), value: Bytes::copy_from_slice(value) })
    }

    fn to_row(&self) -> Vec<u8> {
        [&self.nonce.0[..], &self.value].concat()
    }
}

/// The entries, inside one write transaction.
#[derive(Debug)]
pub(crate) struct Ledger<'t> {
    entries: Table<'t, (u64, &'static Digest), &'static [u8]>,
    index: &'t Index,
}

impl<'t> Ledger<'t> {
    pub(crate) fn open(transaction: &'t WriteTransaction, index: &'t Index) -> Result<Self, Error> {
        Ok(Self { entries: transaction.open_table(ENTRIES)?, index })
    }

    /// How many entries take up room, ended ones included.
    pub(crate) fn len(&self) -> Result<u64, Error> {
        Ok(self.entries.len()?)
    }

    /// What is kept under `key` beyond `now`.
    pub(crate) fn get(&self, key: &Key, now: UnixTime) -> Result<Option<Entry>, Error> {
        let Some(until) = self.index.until(key).filter(|until| *until > now) else {
            return Ok(None);
        };
        let row = self.entries.get((until.millis(), key.as_bytes()))?;
        let row = row.ok_or_else(|| damaged("where an entry stands"))?;
        Entry::parse(until, row.value()).map(Some)
    }

    /// Puts `entry` under `key` in the place of whatever was there.
    pub(crate) fn put(&mut self, key: &Key, entry: &Entry) -> Result<(), Error> {
        if let Some(former) = self.index.put(key, entry.until) {
            self.entries.remove((former.millis(), key.as_bytes()))?;
        }
        let row = entry.to_row();
        self.entries.insert((entry.until.millis(), key.as_bytes()), row.as_slice())?;
        Ok(())
    }

    /// Drops up to `most` entries that have ended, and says how many.
    pub(crate) fn sweep(&mut self, now: UnixTime, most: usize) -> Result<usize, Error> {
        let ended = ..=(now.millis(), &LAST);
        let mut last = None;
        let mut dropped = 0;
        for row in self.entries.range::<(u64, &Digest)>(ended)?.take(most) {
            let (place, _) = row?;
            let (until, digest) = place.value();
            self.index.remove(digest);
            last = Some((until, *digest));
            dropped += 1;
        }
        if let Some((until, digest)) = last {
            // In one go: taken out one by one, each would have its page written anew in memory.
            self.entries.retain_in::<(u64, &Digest), _>(..=(until, &digest), |_, _| false)?;
        }
        Ok(dropped)
    }
}

fn damaged(what: &str) -> Error {
    Error::Corrupted(format!("what the file says of {what} cannot be read"))
}

fn parse_number(row: &[u8]) -> Option<u64> {
    row.try_into().ok().map(u64::from_be_bytes)
}

fn parse_history(row: &[u8]) -> Option<(Incarnation, Identity)> {
    let (mark, rest) = row.split_first_chunk::<8>()?;
    let (since, identity) = rest.split_first_chunk::<8>()?;
    let since = UnixTime::from_millis(u64::from_be_bytes(*since));
    Some((Incarnation { mark: *mark, since }, Identity(identity.try_into().ok()?)))
}
