//! Who is limited, and what the bucket is called where all replicas see it.

use std::net::IpAddr;

use aws_lc_rs::digest;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use governor::Quota;

use crate::gateway::limit::metrics::Limit;
use crate::names::ClientId;
use crate::names::ServiceId;
use crate::peer;

/// Who is told apart from others by one kind of limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Subject<'a> {
    /// A network that is one subscriber: see [`Subject::address`].
    Address(IpAddr),
    Client(&'a ClientId),
    /// A client's calls to one service, or to discovery.
    Service(&'a ClientId, Option<&'a ServiceId>),
}

impl Subject<'_> {
    /// An address as limits see it: IPv6 by its /64, which is what one subscriber has.
    pub(crate) fn address(address: IpAddr) -> Self {
        Self::Address(peer::network(address).network())
    }

    /// The name of this one's bucket below `prefix`.
    ///
    /// What stands in braces is the address or the client (Redis Cluster specification, hash tags), so
    /// that the buckets of one call lie in one slot. It is a digest: an address is a personal datum and
    /// has no business in a key space that others read. The quota is part of the name, so that a changed
    /// one begins with a full bucket and replicas that disagree do not spoil each other's.
    pub(crate) fn name(self, prefix: &str, limit: Limit, quota: Quota) -> String {
        let (who, service) = match self {
            Self::Address(IpAddr::V4(address)) => (digest(b"v4", &address.octets()), None),
            Self::Address(IpAddr::V6(address)) => (digest(b"v6", &address.octets()), None),
            Self::Client(client) | Self::Service(client, None) => {
                (digest(b"client", client.as_str().as_bytes()), None)
            }
            Self::Service(client, Some(service)) => (
                digest(b"client", client.as_str().as_bytes()),
                Some(digest(b"service", service.as_str().as_bytes())),
            ),
        };
        let (burst, every) = (quota.burst_size(), quota.replenish_interval().as_nanos());
        let service = service.map(|service| format!(":{service}")).unwrap_or_default();
        format!("{prefix}:v1:limit:{{{who}}}:{limit}:{burst}x{every}{service}")
    }
}

/// Half of a SHA-256: too long to be met twice, short enough for a name.
fn digest(kind: &[u8], who: &[u8]) -> String {
    let mut context = digest::Context::new(&digest::SHA256);
    context.update(kind);
    context.update(&[0]);
    context.update(who);
    URL_SAFE_NO_PAD.encode(context.finish().as_ref().iter().copied().take(16).collect::<Vec<u8>>())
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;
    use std::num::NonZeroU32;

    use super::*;

    fn quota(count: u32) -> Quota {
        Quota::per_second(NonZeroU32::new(count).unwrap())
    }

    fn ip(text: &str) -> Subject<'static> {
        Subject::address(text.parse().unwrap())
    }

    fn tag(name: &str) -> &str {
        name.split_once('{').unwrap().1.split_once('}').unwrap().0
    }

    #[test]
    fn the_buckets_of_one_call_lie_in_one_slot() {
        let (client, service) = (ClientId::new("ehr").unwrap(), ServiceId::new("a").unwrap());
        let all = Subject::Client(&client).name("p", Limit::Client, quota(1));
        let one = Subject::Service(&client, Some(&service));
        let one = one.name("p", Limit::ClientService, quota(1));
        assert_eq!(tag(&all), tag(&one));
        let look = ip("192.0.2.1").name("p", Limit::FailingAddress, quota(1));
        let draw = ip("192.0.2.1").name("p", Limit::Address, quota(1));
        assert_eq!(tag(&look), tag(&draw));
        assert_ne!(tag(&all), tag(&draw));
    }

    #[test]
    fn names_differ_by_all_that_tells_buckets_apart() {
        let (ehr, other) = (ClientId::new("ehr").unwrap(), ClientId::new("other").unwrap());
        let (a, b) = (ServiceId::new("a").unwrap(), ServiceId::new("b").unwrap());
        let service = Limit::ClientService;
        let names = [
            ip("192.0.2.1").name("p", Limit::Address, quota(1)),
            ip("192.0.2.1").name("q", Limit::Address, quota(1)),
            ip("192.0.2.1").name("p", Limit::Address, quota(2)),
            ip("192.0.2.1").name(
                "p",
                Limit::Address,
                quota(1).allow_burst(NonZeroU32::new(2).unwrap()),
            ),
            ip("192.0.2.1").name("p", Limit::OpenAddress, quota(1)),
            ip("192.0.2.2").name("p", Limit::Address, quota(1)),
            ip("2001:db8:1:2::1").name("p", Limit::Address, quota(1)),
            ip("2001:db8:1:3::1").name("p", Limit::Address, quota(1)),
            Subject::Client(&ehr).name("p", Limit::Client, quota(1)),
            Subject::Client(&other).name("p", Limit::Client, quota(1)),
            Subject::Service(&ehr, None).name("p", service, quota(1)),
            Subject::Service(&ehr, Some(&a)).name("p", service, quota(1)),
            Subject::Service(&ehr, Some(&b)).name("p", service, quota(1)),
            Subject::Service(&other, Some(&a)).name("p", service, quota(1)),
        ];
        assert_eq!(names.iter().collect::<HashSet<_>>().len(), names.len(), "{names:#?}");
    }

    #[test]
    fn nobody_is_named() {
        let (client, service) = (ClientId::new("ehr").unwrap(), ServiceId::new("greet").unwrap());
        let name = Subject::Service(&client, Some(&service));
        let name = name.name("hookgate", Limit::ClientService, quota(1));
        assert!(!name.contains("ehr") && !name.contains("greet"), "{name}");
        let name = ip("192.0.2.1").name("hookgate", Limit::Address, quota(1));
        assert!(!name.contains("192"), "{name}");
        let same = ip("::ffff:192.0.2.1").name("hookgate", Limit::Address, quota(1));
        assert_eq!(name, same);
    }
}
