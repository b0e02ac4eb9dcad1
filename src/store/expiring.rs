//! A map whose entries end: what has ended is absent at once and swept in portions later.

use std::collections::{BTreeSet, HashMap};

use crate::clock::UnixTime;
use crate::store::contract::Key;

/// Values by key, each with the moment from which it is as if it had never been.
#[derive(Debug)]
pub(crate) struct Expiring<V> {
    values: HashMap<Key, (V, UnixTime)>,
    order: BTreeSet<(UnixTime, Key)>,
}

impl<V> Expiring<V> {
    pub(crate) fn new() -> Self {
        Self { values: HashMap::new(), order: BTreeSet::new() }
    }

    /// The value under `key`, if it has not ended.
    pub(crate) fn get(&self, key: &Key, now: UnixTime) -> Option<&V> {
        self.values.get(key).filter(|(_, until)| *until > now).map(|(value, _)| value)
    }

    /// Whether `key` takes up room, ended or not.
    pub(crate) fn holds(&self, key: &Key) -> bool {
        self.values.contains_key(key)
    }

    /// Puts `value` under `key` in the place of whatever was there.
    pub(crate) fn put(&mut self, key: Key, value: V, until: UnixTime) {
        if let Some((_, former)) = self.values.insert(key, (value, until)) {
            self.order.remove(&(former, key));
        }
        self.order.insert((until, key));
    }

    /// Takes `key` out, ended or not; whether it was there.
    pub(crate) fn remove(&mut self, key: &Key) -> bool {
        match self.values.remove(key) {
            Some((_, until)) => self.order.remove(&(until, *key)),
            None => false,
        }
    }

    /// Drops up to `most` entries that have ended, and says how many.
    pub(crate) fn sweep(&mut self, now: UnixTime, most: usize) -> usize {
        let mut dropped = 0;
        while dropped < most {
            let Some(&(until, key)) = self.order.first() else { break };
            if until > now {
                break;
            }
            self.remove(&key);
            dropped += 1;
        }
        dropped
    }

    /// How many entries take up room, ended ones that are not yet swept included.
    pub(crate) fn len(&self) -> usize {
        self.values.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::contract::Namespace;

    fn key(n: u8) -> Key {
        Key::new(Namespace::Jti, &[&[n]])
    }

    #[test]
    fn an_entry_ends_at_its_moment_and_is_swept_in_portions() {
        let mut map = Expiring::new();
        for n in 0..10 {
            map.put(key(n), n, UnixTime::from_millis(u64::from(n) + 1));
        }
        assert_eq!(map.get(&key(4), UnixTime::from_millis(4)), Some(&4));
        assert_eq!(map.get(&key(4), UnixTime::from_millis(5)), None);
        assert!(map.holds(&key(4)));
        assert_eq!(map.sweep(UnixTime::from_millis(5), 3), 3);
        assert_eq!(map.sweep(UnixTime::from_millis(5), 3), 2);
        assert_eq!(map.sweep(UnixTime::from_millis(5), 3), 0);
        assert_eq!(map.len(), 5);
    }

    #[test]
    fn a_replaced_entry_leaves_nothing_of_its_former_end() {
        let mut map = Expiring::new();
        map.put(key(1), 'a', UnixTime::from_millis(1));
        map.put(key(1), 'b', UnixTime::from_millis(9));
        assert_eq!(map.sweep(UnixTime::from_millis(5), 10), 0);
        assert_eq!(map.get(&key(1), UnixTime::from_millis(5)), Some(&'b'));
        assert!(map.remove(&key(1)));
        assert!(!map.remove(&key(1)));
        assert_eq!((map.len(), map.order.len()), (0, 0));
    }
}
