//! The record behind an answer's ids: who asked whom, and what the service itself called its cards.
//!
//! ```text
//! record = version 1, nonce 12, sealed, tag 16
//! sealed = hookInstance 16, client, service and tenant as texts (tenant empty where there is none),
//!          how many, then for each: its length twice and one more for a suggestion, its bytes
//! ```
//!
//! It is sealed although the store is the gateway's own: the service's ids are strings of its choice
//! and may name a patient, and a store is copied, backed up and shared. Being bound to its key, one
//! record cannot be put in another's place either. That costs a microsecond for a whole answer.

use uuid::Uuid;

use crate::gateway::tokens::binding::Binding;
use crate::gateway::tokens::wire::{self, Reader};
use crate::names::{ClientId, HookInstance, ServiceId, Tenant};

/// What an id stands on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// `cards[].uuid`
    Card,
    /// `cards[].suggestions[].uuid`
    Suggestion,
}

pub(crate) fn write(out: &mut Vec<u8>, binding: &Binding, originals: &[(Kind, &str)]) {
    out.extend(binding.hook_instance.0.as_bytes());
    wire::put_text(out, binding.client.as_str());
    wire::put_text(out, binding.service.as_str());
    wire::put_text(out, binding.tenant.as_ref().map_or("", Tenant::as_str));
    wire::put_number(out, originals.len());
    for (kind, text) in originals {
        let suggestion = usize::from(*kind == Kind::Suggestion);
        wire::put_number(out, text.len().saturating_mul(2).saturating_add(suggestion));
        out.extend_from_slice(text.as_bytes());
    }
}

/// A record that has been opened.
pub(crate) struct Content<'bytes> {
    pub(crate) binding: Binding,
    originals: Reader<'bytes>,
    count: usize,
}

impl<'bytes> Content<'bytes> {
    pub(crate) fn read(bytes: &'bytes [u8]) -> Option<Self> {
        let mut reader = Reader::new(bytes);
        let hook_instance = HookInstance(Uuid::from_bytes(reader.array()?));
        let client = ClientId::new(reader.text()?).ok()?;
        let service = ServiceId::new(reader.text()?).ok()?;
        let tenant = match reader.text()? {
            "" => None,
            tenant => Some(Tenant::new(tenant).ok()?),
        };
        let count = reader.number()?;
        let binding = Binding { client, tenant, service, hook_instance };
        Some(Self { binding, originals: reader, count })
    }

    pub(crate) const fn count(&self) -> usize {
        self.count
    }

    /// The original at `index`, which is below [`Self::count`].
    pub(crate) fn original(mut self, index: usize) -> Option<(Kind, &'bytes str, Binding)> {
        for _ in 0..index {
            self.next()?;
        }
        let (kind, text) = self.next()?;
        Some((kind, text, self.binding))
    }

    fn next(&mut self) -> Option<(Kind, &'bytes str)> {
        let number = self.originals.number()?;
        let kind = if number & 1 == 0 { Kind::Card } else { Kind::Suggestion };
        Some((kind, self.originals.text_of(number >> 1)?))
    }
}
