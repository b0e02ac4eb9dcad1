//! Who is limited.

use std::net::IpAddr;

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
}
