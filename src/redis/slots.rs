//! Which master has which slot.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use redis::Value;
use redis::cluster_routing::Slot;

use crate::redis::address::Address;

const SLOTS: usize = 16384;

/// The masters, by slot.
#[derive(Debug, Default)]
pub(super) struct Slots {
    masters: HashMap<Slot, Arc<Address>>,
}

impl Slots {
    /// Reads the answer to `CLUSTER SLOTS`. Nothing where it names no master.
    pub(super) fn read(answer: &Value, answering: &Address) -> Option<Self> {
        let Value::Array(ranges) = answer else { return None };
        let mut masters = HashMap::with_capacity(SLOTS);
        for (first, last, master) in ranges.iter().filter_map(|range| read_range(range, answering))
        {
            let master = Arc::new(master);
            let slots = (first..=last).filter_map(Slot::new);
            masters.extend(slots.map(|slot| (slot, Arc::clone(&master))));
        }
        (!masters.is_empty()).then_some(Self { masters })
    }

    /// Who has the slot of this key.
    pub(super) fn master_of(&self, key: &[u8]) -> Option<&Address> {
        self.masters.get(&Slot::for_key(key)).map(AsRef::as_ref)
    }

    /// All masters that have slots.
    pub(super) fn masters(&self) -> HashSet<&Address> {
        self.masters.values().map(AsRef::as_ref).collect()
    }

    /// Whether each slot has a master.
    pub(super) fn are_whole(&self) -> bool {
        self.masters.len() == SLOTS
    }
}

/// First slot, last slot, master; what follows are its replicas.
fn read_range(range: &Value, answering: &Address) -> Option<(u16, u16, Address)> {
    let Value::Array(parts) = range else { return None };
    let [Value::Int(first), Value::Int(last), Value::Array(master), ..] = parts.as_slice() else {
        return None;
    };
    let [host, Value::Int(port), ..] = master.as_slice() else { return None };
    // No name at all means that of the node that answers.
    let host = redis::from_redis_value::<Option<String>>(host.clone()).ok()?.unwrap_or_default();
    let master = Address::parse_redirect(&format!("{host}:{port}"), answering)?;
    Some((u16::try_from(*first).ok()?, u16::try_from(*last).ok()?, master))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn range(first: i64, last: i64, host: Value, port: i64) -> Value {
        let master = Value::Array(vec![host, Value::Int(port), Value::BulkString(b"id".to_vec())]);
        Value::Array(vec![Value::Int(first), Value::Int(last), master])
    }

    fn name(host: &str) -> Value {
        Value::BulkString(host.as_bytes().to_vec())
    }

    #[test]
    fn masters_are_found_by_slot() {
        let here = Address::parse("here:1").unwrap();
        let answer = Value::Array(vec![
            range(0, 8191, name("10.0.0.1"), 7000),
            range(8192, 16383, Value::Nil, 7001),
        ]);
        let slots = Slots::read(&answer, &here).unwrap();
        assert!(slots.are_whole());
        assert_eq!(slots.masters().len(), 2);
        // 12182 and 5061, as CLUSTER KEYSLOT says.
        assert_eq!(slots.master_of(b"foo").unwrap().to_string(), "here:7001");
        assert_eq!(slots.master_of(b"bar").unwrap().to_string(), "10.0.0.1:7000");
        assert_eq!(slots.master_of(b"x{bar}y").unwrap().to_string(), "10.0.0.1:7000");
    }

    #[test]
    fn what_is_no_master_is_left_out() {
        let here = Address::parse("here:1").unwrap();
        for bad in [
            range(0, 16383, name("?"), 7000),
            range(0, 16383, name("a"), 0),
            range(-1, 16383, name("a"), 7000),
            Value::Array(vec![Value::Int(0), Value::Int(1)]),
            Value::Nil,
        ] {
            assert!(Slots::read(&Value::Array(vec![bad]), &here).is_none());
        }
        let half = Value::Array(vec![range(0, 16382, name("a"), 1)]);
        let half = Slots::read(&half, &here).unwrap();
        assert!(!half.are_whole());
        assert!(Slots::read(&Value::Nil, &here).is_none());
    }
}
