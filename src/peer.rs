//! Whom a connection comes from, and whom to believe about it.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use http::HeaderMap;
use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::client_certificate::ClientCertificate;

/// How the peer speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Protocol {
    /// HTTP/1.0 or HTTP/1.1 (RFC 9112).
    Http1,
    /// HTTP/2 (RFC 9113).
    Http2,
}

/// The other end of a connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Peer {
    /// Its address; an IPv4 address as such, also on a listener for both.
    pub address: SocketAddr,
    /// How it speaks.
    pub protocol: Protocol,
    /// Whether what it says is encrypted on its way to this process.
    pub tls: bool,
    /// The certificate that it showed, if any: its chain was verified, and was not revoked.
    pub certificate: Option<Arc<ClientCertificate>>,
}

/// The network that counts as one client in limits: IPv6 by its /64, of which a single host usually
/// has all addresses (RFC 4291 section 2.5.1); IPv4 by itself, also where it is mapped into IPv6.
pub fn network(address: IpAddr) -> IpNet {
    match address.to_canonical() {
        IpAddr::V4(address) => IpNet::V4(Ipv4Net::from(address)),
        IpAddr::V6(address) => {
            IpNet::V6(Ipv6Net::new(address, 64).unwrap_or_else(|_| address.into()).trunc())
        }
    }
}

/// A text that names no proxies.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadProxy {
    /// Neither an address nor a network.
    #[error("{0:?} is neither an address nor a network; write \"10.0.0.1\" or \"10.0.0.0/8\"")]
    Network(String),
    /// The whole Internet.
    #[error("{0:?} would let everyone choose the address that limits and logs see")]
    Everyone(String),
}

/// The reverse proxies in front of this process, whose word about the client's address is taken.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "Vec<String>", into = "Vec<String>")]
pub struct TrustedProxies(Vec<IpNet>);

impl TryFrom<Vec<String>> for TrustedProxies {
    type Error = BadProxy;

    fn try_from(texts: Vec<String>) -> Result<Self, BadProxy> {
        texts.into_iter().map(parse_network).collect::<Result<_, _>>().map(Self)
    }
}

impl From<TrustedProxies> for Vec<String> {
    fn from(proxies: TrustedProxies) -> Self {
        proxies.0.iter().map(ToString::to_string).collect()
    }
}

impl TrustedProxies {
    /// The client's address: `peer` itself where it is no trusted proxy, otherwise the first untrusted
    /// address when `X-Forwarded-For` or `Forwarded` (RFC 7239) is read from the right, the end that the
    /// nearest proxy wrote. What is no address stops the walk: the proxy that passed it on counts.
    ///
    /// Where both are present and lead to different clients, one of them was passed through from
    /// outside, and there is no telling which: then `peer` counts.
    pub fn client_address(&self, peer: IpAddr, headers: &HeaderMap) -> IpAddr {
        let peer = peer.to_canonical();
        if !self.trusts(peer) {
            return peer;
        }
        let by_list = headers
            .contains_key(X_FORWARDED_FOR)
            .then(|| self.walk(peer, x_forwarded_for(headers)));
        let by_rfc = headers.contains_key(FORWARDED).then(|| self.walk(peer, forwarded(headers)));
        match (by_list, by_rfc) {
            (Some(one), Some(other)) if one != other => peer,
            (Some(client), _) | (None, Some(client)) => client,
            (None, None) => peer,
        }
    }

    /// Whether the proxy at `address` is among them.
    pub fn trusts(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        self.0.iter().any(|network| network.contains(&address))
    }

    /// `hops` from the nearest to the farthest.
    fn walk(&self, peer: IpAddr, hops: impl Iterator<Item = Option<IpAddr>>) -> IpAddr {
        let mut client = peer;
        for hop in hops {
            let Some(hop) = hop else { break };
            client = hop;
            if !self.trusts(client) {
                break;
            }
        }
        client
    }
}

const X_FORWARDED_FOR: &str = "x-forwarded-for";
const FORWARDED: &str = "forwarded";

fn parse_network(text: String) -> Result<IpNet, BadProxy> {
    let network = text.parse::<IpNet>().ok();
    let network = network.or_else(|| text.parse::<IpAddr>().ok().map(|a| a.to_canonical().into()));
    match network {
        None => Err(BadProxy::Network(text)),
        Some(network) if network.prefix_len() == 0 => Err(BadProxy::Everyone(text)),
        Some(network) => Ok(network.trunc()),
    }
}

fn x_forwarded_for(headers: &HeaderMap) -> impl Iterator<Item = Option<IpAddr>> {
    let lines = headers.get_all(X_FORWARDED_FOR).into_iter().rev();
    lines.flat_map(|line| {
        // A line that is no text is one hop that is no address.
        line.to_str().unwrap_or("?").rsplit(',').map(|hop| node_address(hop.trim()))
    })
}

fn forwarded(headers: &HeaderMap) -> impl Iterator<Item = Option<IpAddr>> {
    let lines = headers.get_all(FORWARDED).into_iter().rev();
    lines.flat_map(|line| {
        let hops = line.to_str().ok().and_then(elements).unwrap_or_else(|| vec![None]);
        hops.into_iter().rev()
    })
}

/// An address, with or without a port: `192.0.2.1`, `192.0.2.1:4711`, `2001:db8::1`, `[2001:db8::1]`,
/// `[2001:db8::1]:4711`.
fn node_address(node: &str) -> Option<IpAddr> {
    let bare = node.strip_prefix('[').and_then(|node| node.strip_suffix(']'));
    let address = match bare {
        Some(inner) => inner.parse::<std::net::Ipv6Addr>().ok().map(IpAddr::V6),
        None => node
            .parse::<IpAddr>()
            .ok()
            .or_else(|| node.parse::<SocketAddr>().ok().map(|socket| socket.ip())),
    };
    address.map(|address| address.to_canonical())
}

/// The `for` of each element of one `Forwarded` line (RFC 7239 section 4): nothing where the element
/// names no address, and nothing at all where the line cannot be read, since then its elements cannot
/// be told apart.
fn elements(line: &str) -> Option<Vec<Option<IpAddr>>> {
    let mut hops = Vec::new();
    let mut rest = line;
    loop {
        let (hop, after) = element(rest)?;
        hops.push(hop);
        match after.strip_prefix(',') {
            Some(after) => rest = after,
            None => return after.is_empty().then_some(hops),
        }
    }
}

/// One element, and what follows it: `,` or the end.
fn element(text: &str) -> Option<(Option<IpAddr>, &str)> {
    let (mut node, mut rest, mut seen) = (None, text, false);
    loop {
        let (name, after) = rest.split_once('=')?;
        let (value, after) = value(after)?;
        if !is_token(name.trim_start()) {
            return None;
        }
        if name.trim_start().eq_ignore_ascii_case("for") {
            if seen {
                return None;
            }
            (node, seen) = (node_address(&value), true);
        }
        let after = after.trim_start();
        match after.strip_prefix(';') {
            Some(after) => rest = after,
            None => return Some((node, after)),
        }
    }
}

/// A token or quoted string (RFC 9110 sections 5.6.2 and 5.6.4), and what follows it.
fn value(text: &str) -> Option<(String, &str)> {
    let Some(quoted) = text.strip_prefix('"') else {
        let end = text.find([',', ';', ' ', '\t']).unwrap_or(text.len());
        let (token, rest) = text.split_at_checked(end)?;
        // Browsers of this header are laxer than RFC 7239: a bare `a.b.c.d:port` has a colon.
        let sound = token.bytes().all(|b| is_token_byte(b) || b == b':');
        return (sound && !token.is_empty()).then(|| (token.to_owned(), rest));
    };
    let mut out = String::new();
    let mut chars = quoted.char_indices();
    loop {
        match chars.next()? {
            (at, '"') => return Some((out, quoted.get(at.saturating_add(1)..)?)),
            (_, '\\') => out.push(chars.next()?.1),
            (_, other) => out.push(other),
        }
    }
}

fn is_token(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(is_token_byte)
}

fn is_token_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;

    fn client(peer: &str, headers: &[(&'static str, &str)]) -> String {
        let proxies = ["10.0.0.0/8", "192.168.1.1", "2001:db8:f::/48"].map(str::to_owned);
        let proxies = TrustedProxies::try_from(proxies.to_vec()).unwrap();
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(*name, HeaderValue::from_bytes(value.as_bytes()).unwrap());
        }
        proxies.client_address(peer.parse().unwrap(), &map).to_string()
    }

    #[test]
    fn walks_x_forwarded_for_from_the_right() {
        for (peer, header, expected) in [
            ("203.0.113.9", "198.51.100.1", "203.0.113.9"),
            ("10.0.0.1", "198.51.100.1", "198.51.100.1"),
            ("::ffff:10.0.0.1", "198.51.100.1", "198.51.100.1"),
            ("10.0.0.1", "1.1.1.1, 198.51.100.1", "198.51.100.1"),
            ("10.0.0.1", "1.1.1.1, 198.51.100.1,10.0.0.2 , 192.168.1.1", "198.51.100.1"),
            ("10.0.0.1", "10.0.0.3, 10.0.0.2", "10.0.0.3"),
            ("10.0.0.1", "198.51.100.1:4711", "198.51.100.1"),
            ("10.0.0.1", "::ffff:198.51.100.1", "198.51.100.1"),
            ("10.0.0.1", "2001:db8::7", "2001:db8::7"),
            ("10.0.0.1", "[2001:db8::7]:4711", "2001:db8::7"),
            ("10.0.0.1", "[2001:db8::7]", "2001:db8::7"),
            ("2001:db8:f::1", "2001:db8::7, 2001:db8:f::2", "2001:db8::7"),
            ("10.0.0.1", "198.51.100.1, unknown, 10.0.0.2", "10.0.0.2"),
            ("10.0.0.1", "198.51.100.1, ", "10.0.0.1"),
            ("10.0.0.1", "", "10.0.0.1"),
            ("10.0.0.1", "198.51.100.1, 10.0.0.256", "10.0.0.1"),
            ("10.0.0.1", "198.51.100.1 10.0.0.2", "10.0.0.1"),
            ("10.0.0.1", "fe80::1%eth0", "10.0.0.1"),
            ("10.0.0.1", "[10.0.0.9]", "10.0.0.1"),
            ("10.0.0.1", "198.51.100.1, \u{e4}", "10.0.0.1"),
        ] {
            assert_eq!(client(peer, &[(X_FORWARDED_FOR, header)]), expected, "{header}");
        }
        let lines = [(X_FORWARDED_FOR, "1.1.1.1"), (X_FORWARDED_FOR, "198.51.100.1, 10.0.0.2")];
        assert_eq!(client("10.0.0.1", &lines), "198.51.100.1");
        assert_eq!(client("10.0.0.1", &[]), "10.0.0.1");
    }

    #[test]
    fn walks_forwarded_from_the_right() {
        for (header, expected) in [
            ("for=198.51.100.1", "198.51.100.1"),
            ("For=\"198.51.100.1:4711\";proto=https;by=10.0.0.9", "198.51.100.1"),
            (
                "for=1.1.1.1, for=198.51.100.1;host=\"a,b;for=9.9.9.9\", for=10.0.0.2",
                "198.51.100.1",
            ),
            ("proto=https; for=\"[2001:db8::7]:80\"", "2001:db8::7"),
            ("for=198.51.100.1:80", "198.51.100.1"),
            ("for=198.51.100.1, proto=https", "10.0.0.1"),
            ("for=198.51.100.1, for=unknown", "10.0.0.1"),
            ("for=198.51.100.1, for=_hidden, for=10.0.0.2", "10.0.0.2"),
            ("for=9.9.9.9;for=198.51.100.1", "10.0.0.1"),
            ("for=198.51.100.1, for=\"10.0.0.2", "10.0.0.1"),
            ("for=198.51.100.1 for=9.9.9.9", "10.0.0.1"),
            ("for=198.51.100.1,", "10.0.0.1"),
            ("for =198.51.100.1", "10.0.0.1"),
            ("for=", "10.0.0.1"),
            ("", "10.0.0.1"),
            ("for=\"198.51.100.\\1\"", "198.51.100.1"),
        ] {
            assert_eq!(client("10.0.0.1", &[(FORWARDED, header)]), expected, "{header}");
        }
    }

    #[test]
    fn believes_neither_of_two_that_disagree() {
        let agree = [(X_FORWARDED_FOR, "198.51.100.1"), (FORWARDED, "for=198.51.100.1")];
        assert_eq!(client("10.0.0.1", &agree), "198.51.100.1");
        let differ = [(X_FORWARDED_FOR, "198.51.100.1"), (FORWARDED, "for=9.9.9.9")];
        assert_eq!(client("10.0.0.1", &differ), "10.0.0.1");
    }

    #[test]
    fn no_proxy_trusts_everyone() {
        let parse = |text: &str| TrustedProxies::try_from(vec![text.to_owned()]);
        for everyone in ["0.0.0.0/0", "::/0", "10.0.0.0/0"] {
            assert!(matches!(parse(everyone), Err(BadProxy::Everyone(_))), "{everyone}");
        }
        for bad in ["", "proxy", "10.0.0.0/33", "10.0.0", "*"] {
            assert!(matches!(parse(bad), Err(BadProxy::Network(_))), "{bad}");
        }
        assert_eq!(Vec::from(parse("10.1.2.3/8").unwrap()), ["10.0.0.0/8"]);
        assert_eq!(Vec::from(parse("::ffff:10.1.2.3").unwrap()), ["10.1.2.3/32"]);
    }

    #[test]
    fn counts_ipv6_by_its_64() {
        for (address, expected) in [
            ("192.0.2.1", "192.0.2.1/32"),
            ("::ffff:192.0.2.1", "192.0.2.1/32"),
            ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ] {
            assert_eq!(network(address.parse().unwrap()).to_string(), expected);
        }
    }
}
