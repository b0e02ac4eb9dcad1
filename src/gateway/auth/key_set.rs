//! A client's JWK Set (RFC 7517 section 5).

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::Arc;

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::gateway::auth::jwk::{KeyFault, RefusedKey, VerifyingKey};

/// The keys of one set, each readable by itself: a bad one loses itself and no other.
#[derive(Debug)]
pub(super) struct KeySet {
    by_kid: HashMap<Arc<str>, Slot>,
    refused: Vec<RefusedKey>,
}

#[derive(Debug)]
enum Slot {
    Usable { key: Arc<VerifyingKey>, json: Box<RawValue> },
    Refused(KeyFault),
}

/// What a set has under a `kid`.
#[derive(Clone, Debug)]
pub(super) enum Found {
    /// Exactly one key that can verify.
    Key(Arc<VerifyingKey>),
    /// A key that cannot be used.
    Refused(KeyFault),
    /// Nothing.
    Nothing,
}

/// Why a text is no set that could be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum KeySetError {
    /// It is not a JWK Set.
    #[error("it is not a JWK Set: a JSON object with an array \"keys\"")]
    NotASet,
    /// Not one of its keys can be used. Carries the faults of those it has.
    #[error("none of its {} keys can be used{}", .0.len(), first_fault(.0))]
    NoUsableKey(Vec<RefusedKey>),
}

fn first_fault(refused: &[RefusedKey]) -> String {
    refused.first().map_or_else(String::new, |key| format!(" (the first: {})", key.fault))
}

#[derive(Deserialize)]
struct SetMembers<'a> {
    #[serde(borrow)]
    keys: Vec<&'a RawValue>,
}

impl KeySet {
    /// Reads a set.
    ///
    /// # Errors
    /// [`KeySetError`]: a set without a single usable key is never worth replacing another with.
    pub(super) fn parse(json: &[u8], allow_public_test_keys: bool) -> Result<Self, KeySetError> {
        let set: SetMembers<'_> = serde_json::from_slice(json).map_err(|_| KeySetError::NotASet)?;
        let mut read = Self { by_kid: HashMap::new(), refused: Vec::new() };
        for json in set.keys {
            match VerifyingKey::parse(json, allow_public_test_keys) {
                Ok(key) => read.add(key, json),
                Err(refused) => read.refuse(refused),
            }
        }
        if read.usable().next().is_none() {
            return Err(KeySetError::NoUsableKey(read.refused));
        }
        Ok(read)
    }

    /// Two usable keys under one `kid` make both unusable: which one is meant cannot be said.
    fn add(&mut self, key: VerifyingKey, json: &RawValue) {
        let slot = Slot::Usable { key: Arc::new(key.clone()), json: json.to_owned() };
        match self.by_kid.entry(Arc::clone(key.kid())) {
            Entry::Vacant(free) => {
                free.insert(slot);
            }
            Entry::Occupied(mut held) => match held.get() {
                Slot::Usable { key: first, .. } if first.is_same(&key) => {}
                Slot::Usable { .. } | Slot::Refused(KeyFault::Ambiguous) => {
                    held.insert(Slot::Refused(KeyFault::Ambiguous));
                    let kid = Some(key.kid().as_ref().to_owned());
                    self.refused.push(RefusedKey { kid, fault: KeyFault::Ambiguous });
                }
                // An unusable key, one for encryption for instance, does not make the name ambiguous.
                Slot::Refused(_) => {
                    held.insert(slot);
                }
            },
        }
    }

    fn refuse(&mut self, refused: RefusedKey) {
        if let Some(kid) = &refused.kid {
            self.by_kid.entry(Arc::from(kid.as_str())).or_insert(Slot::Refused(refused.fault));
        }
        self.refused.push(refused);
    }

    /// What there is under `kid`.
    pub(super) fn find(&self, kid: &str) -> Found {
        match self.by_kid.get(kid) {
            Some(Slot::Usable { key, .. }) => Found::Key(Arc::clone(key)),
            Some(Slot::Refused(fault)) => Found::Refused(*fault),
            None => Found::Nothing,
        }
    }

    /// The names of the usable keys, in order.
    pub(super) fn kids(&self) -> Vec<String> {
        let mut kids: Vec<String> = self.usable().map(|(key, _)| key.kid().to_string()).collect();
        kids.sort();
        kids
    }

    /// The keys that are not used.
    pub(super) fn refused(&self) -> &[RefusedKey] {
        &self.refused
    }

    /// The codes of what is wrong with these.
    pub(super) fn faults(&self) -> Vec<&'static str> {
        self.refused.iter().map(|key| key.fault.code()).collect()
    }

    /// The usable keys as they were sent.
    pub(super) fn usable_json(&self) -> Vec<&RawValue> {
        self.usable().map(|(_, json)| json).collect()
    }

    fn usable(&self) -> impl Iterator<Item = (&VerifyingKey, &RawValue)> {
        self.by_kid.values().filter_map(|slot| match slot {
            Slot::Usable { key, json } => Some((key.as_ref(), json.as_ref())),
            Slot::Refused(_) => None,
        })
    }
}
