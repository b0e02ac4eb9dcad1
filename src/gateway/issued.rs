//! From an id that an EHR echoes back to what it was issued for.

use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;

use crate::clock::{Clock, UnixTime};
use crate::gateway::outcomes::Entry;
use crate::gateway::tokens::{CardId, CardIds, IdError, Kind, Original};
use crate::names::{ClientId, ServiceId};
use crate::store::{Incarnation, Key, Store, StoreError};

/// Looks ids up.
#[derive(Debug)]
pub struct Lookup {
    ids: Arc<CardIds>,
    store: Arc<dyn Store>,
    clock: Arc<dyn Clock>,
}

/// What the ids of an entry stand for.
#[derive(Debug)]
pub struct Mapped {
    /// Its card.
    pub card: Original,
    /// Its suggestions, in their order.
    pub suggestions: Vec<Original>,
    /// From this moment on none of its ids is honoured.
    pub expires: UnixTime,
    /// The history of the store in which all this holds.
    pub history: Incarnation,
}

/// What the ids of an entry stand for, or why the entry is unknown.
pub type Found = Result<Mapped, IdError>;

/// Records read during one call: all ids of one answer share a record.
struct Records {
    /// The store's when the call asked first: its ids are all looked at under one.
    history: Incarnation,
    read: HashMap<Key, Option<Bytes>>,
}

impl Lookup {
    /// A step that reads records from `store`.
    pub fn new(ids: Arc<CardIds>, store: Arc<dyn Store>, clock: Arc<dyn Clock>) -> Self {
        Self { ids, store, clock }
    }

    /// What the ids of every entry stand for, each entry by itself, where they were issued to `client`
    /// for `service`.
    ///
    /// # Errors
    /// [`StoreError`] where nobody can tell.
    pub async fn entries(
        &self,
        entries: &[Entry<'_>],
        client: &ClientId,
        service: &ServiceId,
    ) -> Result<Vec<Found>, StoreError> {
        let mut records = self.records()?;
        let mut found = Vec::with_capacity(entries.len());
        for entry in entries {
            found.push(self.entry(entry, client, service, &mut records).await?);
        }
        Ok(found)
    }

    async fn entry(
        &self,
        entry: &Entry<'_>,
        client: &ClientId,
        service: &ServiceId,
        records: &mut Records,
    ) -> Result<Found, StoreError> {
        let (mut expires, card) =
            match self.original(entry.card(), Kind::Card, Some(client), service, records).await? {
                Ok((id, card)) => (id.expires(), card),
                Err(unknown) => return Ok(Err(unknown)),
            };
        let mut suggestions = Vec::new();
        for id in entry.suggestions() {
            match self.original(id, Kind::Suggestion, Some(client), service, records).await? {
                Ok((id, suggestion)) => {
                    expires = expires.max(id.expires());
                    suggestions.push(suggestion);
                }
                Err(unknown) => return Ok(Err(unknown)),
            }
        }
        Ok(Ok(Mapped { card, suggestions, expires, history: records.history }))
    }

    /// What the suggestion id of an analytics call stands for, and the id itself, which can be spelled in
    /// several ways. Without a `client` the id alone decides.
    ///
    /// # Errors
    /// [`StoreError`] where nobody can tell.
    pub async fn suggestion(
        &self,
        id: &str,
        client: Option<&ClientId>,
        service: &ServiceId,
    ) -> Result<Result<(CardId, Original), IdError>, StoreError> {
        self.original(id, Kind::Suggestion, client, service, &mut self.records()?).await
    }

    fn records(&self) -> Result<Records, StoreError> {
        Ok(Records { history: self.store.incarnation()?, read: HashMap::new() })
    }

    async fn original(
        &self,
        text: &str,
        kind: Kind,
        client: Option<&ClientId>,
        service: &ServiceId,
        records: &mut Records,
    ) -> Result<Result<(CardId, Original), IdError>, StoreError> {
        let id = match self.ids.parse(text, self.clock.now(), records.history) {
            Ok(id) => id,
            Err(unknown) => return Ok(Err(unknown)),
        };
        let Some(record) = self.record(&id, records).await? else {
            return Ok(Err(IdError::Expired));
        };
        let original = match client {
            Some(client) => self.ids.resolve(&id, &record, client, service),
            None => self.ids.resolve_for_bearer(&id, &record, service),
        };
        // An id of the other kind stands for nothing where this kind is asked for.
        Ok(original
            .and_then(|o| if o.kind == kind { Ok((id, o)) } else { Err(IdError::NoSuchIndex) }))
    }

    async fn record(
        &self,
        id: &CardId,
        records: &mut Records,
    ) -> Result<Option<Bytes>, StoreError> {
        let key = id.record_key();
        if let Some(record) = records.read.get(&key) {
            return Ok(record.clone());
        }
        let record = self.store.get(key).await?;
        records.read.insert(key, record.clone());
        Ok(record)
    }
}
