//! Whom a substitute belongs to, and the names that a token can leave out because the configuration
//! has them.

use std::collections::HashMap;
use std::fmt;

use aws_lc_rs::digest;

use crate::names::{ClientId, HookInstance, ServiceId, Tenant};

/// The hook call that a link or id came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Binding {
    /// The EHR that asked.
    pub client: ClientId,
    /// Its tenant, where its JWT named one.
    pub tenant: Option<Tenant>,
    /// The service that answered.
    pub service: ServiceId,
    /// The request's `hookInstance`.
    pub hook_instance: HookInstance,
}

/// Stands for a configured name in a token.
pub(crate) type Tag = [u8; 4];

/// The clients and services of the configuration. Each is known by the first four bytes of its
/// SHA-256, which do not change when others come and go.
#[derive(Clone, Debug)]
pub struct KnownNames {
    clients: HashMap<Tag, ClientId>,
    services: HashMap<Tag, ServiceId>,
    former: HashMap<Tag, ServiceId>,
}

/// Two configured names would be mistaken for each other: one in four thousand million pairs.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the ids {0:?} and {1:?} look the same in a token; rename one of them")]
pub struct NameClash(String, String);

impl KnownNames {
    /// Knows these names; one may be given twice.
    ///
    /// # Errors
    /// [`NameClash`]
    pub fn new(
        clients: impl IntoIterator<Item = ClientId>,
        services: impl IntoIterator<Item = ServiceId>,
    ) -> Result<Self, NameClash> {
        Ok(Self {
            clients: by_tag(clients, ClientId::as_str)?,
            services: by_tag(services, ServiceId::as_str)?,
            former: HashMap::new(),
        })
    }

    /// Reads these names, too, and writes none of them: services that were configured by name before, and may
    /// be served under no name now. Whether they are is not for a token to say.
    #[must_use]
    pub fn with_former(mut self, services: impl IntoIterator<Item = ServiceId>) -> Self {
        self.former.extend(services.into_iter().map(|service| (tag_of(service.as_str()), service)));
        self
    }

    pub(crate) fn client_tag(&self, client: &ClientId) -> Option<Tag> {
        let tag = tag_of(client.as_str());
        (self.clients.get(&tag) == Some(client)).then_some(tag)
    }

    pub(crate) fn client(&self, tag: Tag) -> Option<&ClientId> {
        self.clients.get(&tag)
    }

    pub(crate) fn service_tag(&self, service: &ServiceId) -> Option<Tag> {
        let tag = tag_of(service.as_str());
        (self.services.get(&tag) == Some(service)).then_some(tag)
    }

    pub(crate) fn service(&self, tag: Tag) -> Option<&ServiceId> {
        self.services.get(&tag).or_else(|| self.former.get(&tag))
    }
}

fn by_tag<N: Eq + fmt::Display>(
    names: impl IntoIterator<Item = N>,
    text: impl Fn(&N) -> &str,
) -> Result<HashMap<Tag, N>, NameClash> {
    let mut found: HashMap<Tag, N> = HashMap::new();
    for name in names {
        let tag = tag_of(text(&name));
        match found.get(&tag) {
            Some(held) if *held != name => {
                return Err(NameClash(held.to_string(), name.to_string()));
            }
            Some(_) | None => found.insert(tag, name),
        };
    }
    Ok(found)
}

fn tag_of(name: &str) -> Tag {
    let hash = digest::digest(&digest::SHA256, name.as_bytes());
    hash.as_ref().first_chunk().copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client(name: &str) -> ClientId {
        ClientId::new(name).unwrap()
    }

    #[test]
    fn names_that_look_the_same_are_refused_and_repeats_are_not() {
        // Found by trying: the SHA-256 of both begins with the same four bytes.
        let (one, other) = clash();
        let both = KnownNames::new([client(&one), client(&other)], []);
        assert_eq!(both.unwrap_err(), NameClash(one.clone(), other));
        assert!(KnownNames::new([client(&one), client(&one)], []).is_ok());
    }

    /// The first two of `c0`, `c1`, … with one tag.
    fn clash() -> (String, String) {
        let mut seen = HashMap::new();
        (0..)
            .find_map(|n| {
                let name = format!("c{n}");
                seen.insert(tag_of(&name), name.clone()).map(|first| (first, name))
            })
            .unwrap()
    }

    #[test]
    fn a_former_service_is_read_and_not_written() {
        let service = ServiceId::new("greeting").unwrap();
        let names = KnownNames::new([], [service.clone()]).unwrap();
        let tag = names.service_tag(&service).unwrap();
        let without = KnownNames::new([], []).unwrap();
        assert_eq!(without.service(tag), None);
        let later = without.with_former([service.clone()]);
        assert_eq!((later.service(tag), later.service_tag(&service)), (Some(&service), None));
    }

    #[test]
    fn a_name_that_is_not_configured_has_no_tag() {
        let (one, other) = clash();
        let names = KnownNames::new([client(&one)], []).unwrap();
        assert!(names.client_tag(&client(&one)).is_some());
        assert_eq!(names.client_tag(&client(&other)), None, "taken for its double");
        assert_eq!(names.client_tag(&client("stranger")), None);
    }
}
