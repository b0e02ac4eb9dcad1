//! Which addresses a fetch may dial.
//!
//! A name that an attacker can point at will, or a server that moved, must not make hookgate knock on
//! the doors of its own network. The check is made on the address that is dialled, so that a name
//! cannot resolve to one address when it is checked and to another when it is used.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

/// How far a fetch may go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reach {
    /// Addresses of the public internet only.
    Public,
    /// Also loopback, private (RFC 1918, RFC 4193) and shared (RFC 6598) addresses. Link-local
    /// addresses stay closed: that is where clouds keep the credentials of their machines.
    Private,
}

impl Reach {
    /// Whether `address` may be dialled.
    pub fn allows(self, address: IpAddr) -> bool {
        match self {
            Self::Public => is_public(address),
            Self::Private => {
                let address = address.to_canonical();
                is_public(address) || is_private(address)
            }
        }
    }
}

/// Reserved in the IANA IPv4 special-purpose address registry, multicast included.
const NOT_PUBLIC_V4: [Ipv4Net; 15] = [
    v4(0, 0, 0, 0, 8),
    v4(10, 0, 0, 0, 8),
    v4(100, 64, 0, 0, 10),
    v4(127, 0, 0, 0, 8),
    v4(169, 254, 0, 0, 16),
    v4(172, 16, 0, 0, 12),
    v4(192, 0, 0, 0, 24),
    v4(192, 0, 2, 0, 24),
    v4(192, 88, 99, 0, 24),
    v4(192, 168, 0, 0, 16),
    v4(198, 18, 0, 0, 15),
    v4(198, 51, 100, 0, 24),
    v4(203, 0, 113, 0, 24),
    v4(224, 0, 0, 0, 4),
    v4(240, 0, 0, 0, 4),
];

/// Where IANA assigns public IPv6 addresses from.
const GLOBAL_UNICAST_V6: Ipv6Net = v6([0x2000, 0, 0, 0, 0, 0, 0, 0], 3);

/// Parts of it that are reserved, or that carry an IPv4 address which a gateway on the way would
/// unwrap (Teredo, 6to4).
const NOT_PUBLIC_V6: [Ipv6Net; 4] = [
    v6([0x2001, 0, 0, 0, 0, 0, 0, 0], 23),
    v6([0x2001, 0xdb8, 0, 0, 0, 0, 0, 0], 32),
    v6([0x2002, 0, 0, 0, 0, 0, 0, 0], 16),
    v6([0x3fff, 0, 0, 0, 0, 0, 0, 0], 20),
];

/// RFC 6052: how an IPv6-only network writes the IPv4 address in the last 32 bits.
const NAT64: Ipv6Net = v6([0x64, 0xff9b, 0, 0, 0, 0, 0, 0], 96);

const PRIVATE: [IpNet; 7] = [
    IpNet::V4(v4(10, 0, 0, 0, 8)),
    IpNet::V4(v4(100, 64, 0, 0, 10)),
    IpNet::V4(v4(127, 0, 0, 0, 8)),
    IpNet::V4(v4(172, 16, 0, 0, 12)),
    IpNet::V4(v4(192, 168, 0, 0, 16)),
    IpNet::V6(v6([0xfc00, 0, 0, 0, 0, 0, 0, 0], 7)),
    IpNet::V6(v6([0, 0, 0, 0, 0, 0, 0, 1], 128)),
];

const fn v4(a: u8, b: u8, c: u8, d: u8, length: u8) -> Ipv4Net {
    Ipv4Net::new_assert(Ipv4Addr::new(a, b, c, d), length)
}

const fn v6(s: [u16; 8], length: u8) -> Ipv6Net {
    let [a, b, c, d, e, f, g, h] = s;
    Ipv6Net::new_assert(Ipv6Addr::new(a, b, c, d, e, f, g, h), length)
}

fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => !NOT_PUBLIC_V4.iter().any(|net| net.contains(&address)),
        IpAddr::V6(address) if NAT64.contains(&address) => {
            let [.., a, b, c, d] = address.octets();
            is_public(IpAddr::V4(Ipv4Addr::new(a, b, c, d)))
        }
        IpAddr::V6(address) => {
            GLOBAL_UNICAST_V6.contains(&address)
                && !NOT_PUBLIC_V6.iter().any(|net| net.contains(&address))
        }
    }
}

fn is_private(address: IpAddr) -> bool {
    PRIVATE.iter().any(|net| net.contains(&address))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keeps_to_the_public_internet() {
        for public in ["8.8.8.8", "172.15.0.1", "172.32.0.1", "100.128.0.1", "2606:4700::1111"] {
            assert!(Reach::Public.allows(public.parse().unwrap()), "{public}");
            assert!(Reach::Private.allows(public.parse().unwrap()), "{public}");
        }
        assert!(Reach::Public.allows("64:ff9b::8.8.8.8".parse().unwrap()));
    }

    #[test]
    fn private_addresses_need_leave() {
        for private in [
            "127.0.0.1",
            "127.8.8.8",
            "10.1.2.3",
            "172.16.0.1",
            "172.31.255.255",
            "192.168.1.1",
            "100.64.0.1",
            "::1",
            "fc00::1",
            "fd12::1",
            "::ffff:127.0.0.1",
            "::ffff:10.0.0.1",
        ] {
            assert!(!Reach::Public.allows(private.parse().unwrap()), "{private}");
            assert!(Reach::Private.allows(private.parse().unwrap()), "{private}");
        }
    }

    #[test]
    fn some_are_never_dialled() {
        for never in [
            "0.0.0.0",
            "169.254.169.254",
            "::ffff:169.254.169.254",
            "224.0.0.1",
            "255.255.255.255",
            "198.18.0.1",
            "192.0.2.1",
            "::",
            "fe80::1",
            "ff02::1",
            "2001:db8::1",
            "2001::1",
            "2002:7f00:1::",
            "64:ff9b::127.0.0.1",
            "64:ff9b::169.254.169.254",
        ] {
            assert!(!Reach::Public.allows(never.parse().unwrap()), "{never}");
            assert!(!Reach::Private.allows(never.parse().unwrap()), "{never}");
        }
    }

    #[test]
    fn a_mapped_address_is_no_public_name() {
        assert!(!Reach::Public.allows("::ffff:8.8.8.8".parse().unwrap()));
    }
}
