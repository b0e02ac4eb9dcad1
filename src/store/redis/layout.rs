//! Where things lie in Redis, and what a kept value looks like.
//!
//! | key | value |
//! |---|---|
//! | `prefix:v1:{hgN}:history` | a hash: `mark`, `since`, `steps`; the server's `run`, since when (`moved`), its `latest` time; for each process `w:…` its steps, `p:…` when it was there |
//! | `prefix:v1:{hgN}:e:` and the key's digest | kind, 1 byte; its end, 8 bytes; nonce, 16 bytes; the value, or whose claim it is |
//!
//! `N` is one of 64 hash tags: what has the same one lies on one server of a cluster, with the history of
//! its own by which that server's forgetting is noticed. Numbers in entries are big-endian, times are
//! milliseconds since 1970, a claim's end those of its process' stop watch. Everything has a time at which
//! Redis drops it; a history's is 30 days after the last hour in which anybody asked for it.

use std::time::Duration;

use bytes::Bytes;

use crate::clock::UnixTime;
use crate::store::contract::{Key, Nonce};

/// How many hash tags there are. A cluster spreads them over its servers.
pub(crate) const TAGS: usize = 64;

/// How much later than at its end Redis drops an entry: what its clock and a replica's may differ by.
pub(crate) const MARGIN: Duration = Duration::from_secs(5 * 60);

/// The last moment that Redis is asked to keep something until: the end of the year 9999.
const LAST: UnixTime = UnixTime::from_secs(253_402_300_799);

/// The keys of one store.
#[derive(Debug)]
pub(crate) struct Layout {
    prefix: String,
}

impl Layout {
    /// Keys that begin with `prefix`.
    pub(crate) fn new(prefix: &str) -> Self {
        Self { prefix: prefix.to_owned() }
    }

    /// Where the history of `tag` is.
    pub(crate) fn history(&self, tag: usize) -> Vec<u8> {
        format!("{}:v1:{{hg{tag}}}:history", self.prefix).into_bytes()
    }

    /// Where `key` is.
    pub(crate) fn entry(&self, key: &Key) -> Vec<u8> {
        let mut name = format!("{}:v1:{{hg{}}}:e:", self.prefix, tag_of(key)).into_bytes();
        name.extend_from_slice(key.as_bytes());
        name
    }
}

/// The tag of `key`.
pub(crate) fn tag_of(key: &Key) -> usize {
    let [first, ..] = key.as_bytes();
    usize::from(*first) % TAGS
}

/// One run of one hookgate.
pub(crate) type Process = [u8; 8];

/// What is kept for an entry.
pub(crate) fn entry_row(nonce: Nonce, value: &[u8], until: UnixTime) -> Vec<u8> {
    row(b'e', nonce, value, until.min(LAST).millis())
}

/// What is kept for a claim that ends at `until` on the stop watch of `process`.
pub(crate) fn claim_row(nonce: Nonce, process: &Process, until: Duration) -> Vec<u8> {
    row(b'c', nonce, process, millis(until))
}

/// What is kept in an entry that has not ended at `now`; nothing where it is no such entry.
pub(crate) fn entry_value(row: &[u8], now: UnixTime) -> Option<Bytes> {
    let (kind, rest) = row.split_first()?;
    let (ends, rest) = rest.split_first_chunk::<8>()?;
    let (_nonce, value) = rest.split_first_chunk::<16>()?;
    let lasts = *kind == b'e' && u64::from_be_bytes(*ends) > now.millis();
    lasts.then(|| Bytes::copy_from_slice(value))
}

fn row(kind: u8, nonce: Nonce, rest: &[u8], ends: u64) -> Vec<u8> {
    [&[kind][..], &ends.to_be_bytes(), &nonce.0, rest].concat()
}

/// A moment as scripts read it.
pub(crate) fn moment(time: UnixTime) -> Vec<u8> {
    number(time.min(LAST).millis())
}

/// When Redis drops what ends at `until`.
pub(crate) fn drop_at(until: UnixTime) -> Vec<u8> {
    moment(until.plus(MARGIN))
}

/// A number as scripts read it.
pub(crate) fn number(number: u64) -> Vec<u8> {
    number.to_string().into_bytes()
}

/// A length of time as scripts read it.
pub(crate) fn length(duration: Duration) -> Vec<u8> {
    number(millis(duration))
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::contract::Namespace;

    #[test]
    fn an_entry_lies_beside_the_history_of_its_tag() {
        let layout = Layout::new("hg");
        for n in 0..1_000_u32 {
            let key = Key::new(Namespace::Jti, &[&n.to_be_bytes()]);
            let history = layout.history(tag_of(&key));
            let tag = &history[..history.len() - b"history".len()];
            assert_eq!(layout.entry(&key), [tag, b"e:", key.as_bytes()].concat());
        }
    }

    #[test]
    fn the_far_future_is_a_number_that_scripts_can_hold() {
        assert_eq!(drop_at(UnixTime::from_millis(u64::MAX)), b"253402300799000");
        assert_eq!(moment(UnixTime::from_secs(1)), b"1000");
        let row = entry_row(Nonce([7; 16]), b"value", UnixTime::from_millis(u64::MAX));
        assert_eq!(entry_value(&row, UnixTime::from_secs(1)).unwrap(), "value");
        assert_eq!(entry_value(&row, LAST), None, "it has ended");
        assert_eq!(entry_value(&row[..20], UnixTime::from_secs(1)), None);
        assert_eq!(row.len(), 25 + 5);
        assert_eq!(row[1..9], 253_402_300_799_000_u64.to_be_bytes());
    }
}
