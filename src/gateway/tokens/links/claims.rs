//! What a link's seal holds, byte for byte.

use uuid::Uuid;

use crate::gateway::tokens::binding::Tag;
use crate::gateway::tokens::wire::{self, Reader};
use crate::names::{HookInstance, ServiceId, Tenant};

/// The flags' low two bits say how the target is written.
const PLAIN: u8 = 0;
const HTTPS: u8 = 1;
const HTTP: u8 = 2;
const IN_STORE: u8 = 3;
const TARGET_BITS: u8 = 0b0011;
const SERVICE_SPELLED: u8 = 0b0100;
const HAS_TENANT: u8 = 0b1000;

/// All but the target, with the names still as they stand in the token.
pub(crate) struct Claims {
    pub(crate) seconds: u32,
    pub(crate) mark: [u8; 4],
    pub(crate) client: Tag,
    pub(crate) service: ServiceName,
    pub(crate) hook_instance: HookInstance,
    pub(crate) card: usize,
    pub(crate) tenant: Option<Tenant>,
}

/// A service that the configuration names, or one that a wildcard let through.
pub(crate) enum ServiceName {
    Tag(Tag),
    Spelled(ServiceId),
}

/// A target as the token holds it, without what one flag can say.
#[derive(Clone, Copy)]
pub(crate) enum Written<'target> {
    Whole(&'target str),
    AfterHttps(&'target str),
    AfterHttp(&'target str),
    InStore,
}

impl<'target> Written<'target> {
    pub(crate) fn shortest(target: &'target str) -> Self {
        if let Some(rest) = target.strip_prefix("https://") {
            Self::AfterHttps(rest)
        } else if let Some(rest) = target.strip_prefix("http://") {
            Self::AfterHttp(rest)
        } else {
            Self::Whole(target)
        }
    }

    /// The target, unless it is in the store.
    pub(crate) fn spell(self) -> Option<String> {
        match self {
            Self::Whole(target) => Some(target.to_owned()),
            Self::AfterHttps(rest) => Some(format!("https://{rest}")),
            Self::AfterHttp(rest) => Some(format!("http://{rest}")),
            Self::InStore => None,
        }
    }

    const fn parts(self) -> (u8, &'target str) {
        match self {
            Self::Whole(target) => (PLAIN, target),
            Self::AfterHttps(rest) => (HTTPS, rest),
            Self::AfterHttp(rest) => (HTTP, rest),
            Self::InStore => (IN_STORE, ""),
        }
    }

    fn of(flags: u8, text: &'target str) -> Option<Self> {
        match flags & TARGET_BITS {
            PLAIN => Some(Self::Whole(text)),
            HTTPS => Some(Self::AfterHttps(text)),
            HTTP => Some(Self::AfterHttp(text)),
            _ => text.is_empty().then_some(Self::InStore),
        }
    }
}

impl Claims {
    pub(crate) fn write(&self, target: Written<'_>) -> Vec<u8> {
        let (mut flags, text) = target.parts();
        let mut out = Vec::with_capacity(text.len().saturating_add(64));
        out.push(flags);
        out.extend(self.seconds.to_be_bytes());
        out.extend(self.mark);
        out.extend(self.client);
        match &self.service {
            ServiceName::Tag(tag) => out.extend(tag),
            ServiceName::Spelled(service) => {
                flags |= SERVICE_SPELLED;
                wire::put_text(&mut out, service.as_str());
            }
        }
        out.extend(self.hook_instance.0.as_bytes());
        wire::put_number(&mut out, self.card);
        if let Some(tenant) = &self.tenant {
            flags |= HAS_TENANT;
            wire::put_text(&mut out, tenant.as_str());
        }
        out.extend_from_slice(text.as_bytes());
        if let Some(first) = out.first_mut() {
            *first = flags;
        }
        out
    }

    /// Reads what [`Self::write`] wrote; `None` where something else did.
    pub(crate) fn read(bytes: &[u8]) -> Option<(Self, Written<'_>)> {
        let mut reader = Reader::new(bytes);
        let flags = reader.byte()?;
        if flags & !(TARGET_BITS | SERVICE_SPELLED | HAS_TENANT) != 0 {
            return None;
        }
        let seconds = u32::from_be_bytes(reader.array()?);
        let mark = reader.array()?;
        let client = reader.array()?;
        let service = if flags & SERVICE_SPELLED == 0 {
            ServiceName::Tag(reader.array()?)
        } else {
            ServiceName::Spelled(ServiceId::new(reader.text()?).ok()?)
        };
        let hook_instance = HookInstance(Uuid::from_bytes(reader.array()?));
        let card = reader.number()?;
        let tenant =
            if flags & HAS_TENANT == 0 { None } else { Some(Tenant::new(reader.text()?).ok()?) };
        let target = Written::of(flags, std::str::from_utf8(reader.rest()).ok()?)?;
        Some((Self { seconds, mark, client, service, hook_instance, card, tenant }, target))
    }
}
