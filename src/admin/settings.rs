//! `[admin]`: where the status page is, and that it is nowhere else.

use std::fmt;
use std::net::{Ipv4Addr, SocketAddr};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The admin listener.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// Whether there is one. Default yes.
    pub enabled: bool,
    /// Where it listens: this machine only, because there is no login. From elsewhere it is reached with
    /// `kubectl port-forward` or an ssh tunnel, which ask who is coming. Default `"127.0.0.1:9091"`.
    pub address: LoopbackAddress,
}

impl Default for Settings {
    fn default() -> Self {
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, 9091));
        Self { enabled: true, address: LoopbackAddress(address) }
    }
}

/// An address that only this machine can reach.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "SocketAddr", into = "SocketAddr")]
pub struct LoopbackAddress(SocketAddr);

/// Others could reach it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "\"{0}\" can be reached from elsewhere, and there is no login here; write \"127.0.0.1:9091\", and use kubectl \
     port-forward or an ssh tunnel"
)]
pub struct NotLoopback(SocketAddr);

impl LoopbackAddress {
    /// The same as the standard library's type.
    pub const fn get(self) -> SocketAddr {
        self.0
    }
}

impl TryFrom<SocketAddr> for LoopbackAddress {
    type Error = NotLoopback;

    fn try_from(address: SocketAddr) -> Result<Self, NotLoopback> {
        if address.ip().is_loopback() { Ok(Self(address)) } else { Err(NotLoopback(address)) }
    }
}

impl From<LoopbackAddress> for SocketAddr {
    fn from(address: LoopbackAddress) -> Self {
        address.0
    }
}

impl fmt::Display for LoopbackAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_this_machine_can_reach_it() {
        for good in ["127.0.0.1:9091", "127.8.0.1:0", "[::1]:9091"] {
            let settings = toml::from_str::<Settings>(&format!("address = \"{good}\"")).unwrap();
            assert_eq!(settings.address.to_string(), good);
        }
        for bad in ["0.0.0.0:9091", "[::]:9091", "10.0.0.1:9091", "[::ffff:127.0.0.1]:9091"] {
            let error = toml::from_str::<Settings>(&format!("address = \"{bad}\"")).unwrap_err();
            let said = error.to_string();
            assert!(said.contains("there is no login here; write \"127.0.0.1:9091\""), "{said}");
            assert!(said.contains("kubectl port-forward or an ssh tunnel"), "{said}");
        }
    }
}
