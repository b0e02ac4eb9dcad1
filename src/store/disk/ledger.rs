//! The tables of a disk store, and the steps on them inside one write transaction.
//!
//! | table | key | value |
//! |---|---|---|
//! | `about` | `"schema"` | version, 8 bytes |
//! | `about` | `"history"` | the mark, 8 bytes; since, 8 bytes; the file's identity, 24 bytes |
//! | `about` | `"commits"` | how many, 8 bytes |
//! | `entries` | the key's digest, 32 bytes | until, 8 bytes; nonce, 16 bytes; the value |
//! | `expiry` | until and the key's digest | nothing |
//!
//! Numbers are big-endian, times are milliseconds since 1970.

use bytes::Bytes;
use redb::{
    Database, Error, ReadableDatabase, ReadableTable, ReadableTableMetadata, Table,
    TableDefinition, TableHandle, WriteTransaction,
};

use crate::clock::UnixTime;
use crate::store::contract::{Incarnation, Key, Nonce};
use crate::store::disk::medium::Identity;

/// The version of the tables above. Another one is refused.
pub(crate) const SCHEMA: u64 = 1;

const ABOUT: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("about");
const ENTRIES: TableDefinition<'_, &[u8; 32], &[u8]> = TableDefinition::new("entries");
const EXPIRY: TableDefinition<'_, (u64, &[u8; 32]), ()> = TableDefinition::new("expiry");

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
    let known = parse_history(&row("history")?).zip(parse_number(&row("commits")?));
    known.map_or_else(
        || Err(damaged("about itself")),
        |((incarnation, identity), commits)| {
            Ok(About::Known(History { incarnation, identity, commits }))
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
    about.insert("commits", history.commits.to_be_bytes().as_slice())?;
    Ok(())
}

/// Writes only how far the file is.
pub(crate) fn write_commits(transaction: &WriteTransaction, commits: u64) -> Result<(), Error> {
    let mut about = transaction.open_table(ABOUT)?;
    about.insert("commits", commits.to_be_bytes().as_slice())?;
    Ok(())
}

/// The value under `key` in the last commit, if it has not ended.
pub(crate) fn read(database: &Database, key: &Key, now: UnixTime) -> Result<Option<Bytes>, Error> {
    let entries = database.begin_read()?.open_table(ENTRIES)?;
    let found = entries.get(key.as_bytes())?;
    let Some(row) = found else { return Ok(None) };
    let entry = Entry::parse(row.value())?;
    Ok((entry.until > now).then_some(entry.value))
}

/// Whether something has ended and not been swept in the last commit.
pub(crate) fn has_ended(database: &Database, now: UnixTime) -> Result<bool, Error> {
    let expiry = database.begin_read()?.open_table(EXPIRY)?;
    Ok(expiry.first()?.is_some_and(|(row, _)| row.value().0 <= now.millis()))
}

/// What is kept under a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) until: UnixTime,
    pub(crate) nonce: Nonce,
    pub(crate) value: Bytes,
}

impl Entry {
    fn parse(row: &[u8]) -> Result<Self, Error> {
        let parts = row.split_first_chunk::<8>().and_then(|(until, rest)| {
            let (nonce, value) = rest.split_first_chunk::<16>()?;
            Some((until, nonce, value))
        });
        let (until, nonce, value) = parts.ok_or_else(|| damaged("an entry"))?;
        Ok(Self {
            until: UnixTime::from_millis(u64::from_be_bytes(*until)),
            nonce: Nonce(*nonce),
            value: Bytes::copy_from_slice(value),
        })
    }

    fn to_row(&self) -> Vec<u8> {
        [&self.until.millis().to_be_bytes()[..], &self.nonce.0, &self.value].concat()
    }
}

/// The entries, inside one write transaction.
#[derive(Debug)]
pub(crate) struct Ledger<'t> {
    entries: Table<'t, &'static [u8; 32], &'static [u8]>,
    expiry: Table<'t, (u64, &'static [u8; 32]), ()>,
}

impl<'t> Ledger<'t> {
    pub(crate) fn open(transaction: &'t WriteTransaction) -> Result<Self, Error> {
        Ok(Self {
            entries: transaction.open_table(ENTRIES)?,
            expiry: transaction.open_table(EXPIRY)?,
        })
    }

    /// How many entries take up room, ended ones included.
    pub(crate) fn len(&self) -> Result<u64, Error> {
        Ok(self.entries.len()?)
    }

    /// What is kept under `key`, ended or not.
    pub(crate) fn get(&self, key: &Key) -> Result<Option<Entry>, Error> {
        self.entries.get(key.as_bytes())?.map(|row| Entry::parse(row.value())).transpose()
    }

    /// Puts `entry` under `key` in the place of whatever was there.
    pub(crate) fn put(&mut self, key: &Key, entry: &Entry) -> Result<(), Error> {
        let row = entry.to_row();
        let former = match self.entries.insert(key.as_bytes(), row.as_slice())? {
            Some(former) => Some(Entry::parse(former.value())?.until),
            None => None,
        };
        if let Some(former) = former {
            self.expiry.remove((former.millis(), key.as_bytes()))?;
        }
        self.expiry.insert((entry.until.millis(), key.as_bytes()), ())?;
        Ok(())
    }

    /// Drops up to `most` entries that have ended, and says how many.
    pub(crate) fn sweep(&mut self, now: UnixTime, most: usize) -> Result<usize, Error> {
        for dropped in 0..most {
            let key = match self.expiry.first()? {
                Some((row, _)) if row.value().0 <= now.millis() => *row.value().1,
                Some(_) | None => return Ok(dropped),
            };
            self.entries.remove(&key)?;
            self.expiry.pop_first()?;
        }
        Ok(most)
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
