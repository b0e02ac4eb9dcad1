//! The settings, once they are known to make sense.

use std::time::Duration;

use rustls_pki_types::ServerName;

use crate::redis::address::Address;
use crate::redis::dial::Dialer;
use crate::redis::error::SetupError;
use crate::redis::login::{Keys, Login};
use crate::redis::settings::{Settings, Topology};
use crate::redis::tls::Tls;

const TIMEOUTS: std::ops::RangeInclusive<Duration> =
    Duration::from_millis(10)..=Duration::from_secs(1);

/// Settings that make sense together; their files could be read.
pub(super) struct Setup {
    pub(super) servers: Servers,
    pub(super) dialer: Dialer,
    pub(super) login: Login,
    pub(super) database: u16,
    pub(super) prefix: String,
    pub(super) timeout: Duration,
    pub(super) replicas: Replicas,
}

/// Which servers there are.
pub(super) enum Servers {
    /// This one.
    Standalone(Address),
    /// The master of that name; the sentinels at these addresses know it.
    Sentinel { addresses: Vec<Address>, master: String, login: Login },
    /// Those that these know.
    Cluster(Vec<Address>),
}

/// How many replicas must have a durable step, and how long to wait for them.
#[derive(Clone, Copy, Debug)]
pub(super) struct Replicas {
    pub(super) needed: u8,
    pub(super) wait: Duration,
}

impl Setup {
    /// Reads the settings, and the files that they name.
    pub(super) fn new(settings: &Settings) -> Result<Self, SetupError> {
        let (timeout, wait) = times(settings)?;
        Ok(Self {
            servers: servers(settings)?,
            dialer: dialer(settings)?,
            login: login(settings)?,
            database: settings.database,
            prefix: prefix(&settings.prefix)?,
            timeout,
            replicas: Replicas { needed: settings.wait_replicas, wait },
        })
    }
}

impl Setup {
    /// Everything that [`Setup::new`] would stumble over.
    pub(super) fn problems(settings: &Settings) -> Vec<SetupError> {
        let found = [
            times(settings).err(),
            servers(settings).err(),
            dialer(settings).err(),
            login(settings).err(),
            prefix(&settings.prefix).err(),
        ];
        found.into_iter().flatten().collect()
    }
}

/// How long a call waits for Redis, and for its replicas.
fn times(settings: &Settings) -> Result<(Duration, Duration), SetupError> {
    let timeout = settings.timeout.get();
    if !TIMEOUTS.contains(&timeout) {
        return Err(SetupError::Timeout);
    }
    // A call may stand behind the wait of the one before, and then waits for its own.
    let wait = settings.wait_timeout.get();
    if wait < Duration::from_millis(1) || wait.saturating_mul(2) > timeout {
        return Err(SetupError::WaitTimeout);
    }
    Ok((timeout, wait))
}

fn login(settings: &Settings) -> Result<Login, SetupError> {
    let keys = Keys { username: "username", password_file: "password_file" };
    Login::new(keys, settings.username.as_ref(), settings.password_file.as_ref())
}

fn servers(settings: &Settings) -> Result<Servers, SetupError> {
    let read = |address: &String| {
        Address::parse(address).ok_or_else(|| SetupError::Address { address: address.clone() })
    };
    let addresses = settings.addresses.iter().map(read).collect::<Result<Vec<_>, _>>()?;
    if addresses.is_empty() {
        return Err(SetupError::NoAddress);
    }
    if settings.topology == Topology::Sentinel {
        let keys = Keys { username: "sentinel_username", password_file: "sentinel_password_file" };
        let (username, password) = (&settings.sentinel_username, &settings.sentinel_password_file);
        return Ok(Servers::Sentinel {
            addresses,
            master: settings.master.clone().ok_or(SetupError::NoMaster)?,
            login: Login::new(keys, username.as_ref(), password.as_ref())?,
        });
    }
    let only_for_sentinels = [
        ("master", settings.master.is_some()),
        ("sentinel_username", settings.sentinel_username.is_some()),
        ("sentinel_password_file", settings.sentinel_password_file.is_some()),
    ];
    if let Some((key, _)) = only_for_sentinels.into_iter().find(|(_, set)| *set) {
        return Err(SetupError::NoSentinel { key });
    }
    if settings.topology == Topology::Cluster {
        if settings.database != 0 {
            return Err(SetupError::Database);
        }
        return Ok(Servers::Cluster(addresses));
    }
    let mut addresses = addresses.into_iter();
    match (addresses.next(), addresses.next()) {
        (Some(address), None) => Ok(Servers::Standalone(address)),
        (_, _) => Err(SetupError::SeveralAddresses),
    }
}

/// Braces would decide which slot of a cluster a key lies in.
fn prefix(text: &str) -> Result<String, SetupError> {
    let ordinary = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | ':' | '_' | '-');
    if (1..=64).contains(&text.len()) && text.chars().all(ordinary) {
        Ok(text.to_owned())
    } else {
        Err(SetupError::Prefix)
    }
}

fn dialer(settings: &Settings) -> Result<Dialer, SetupError> {
    if !settings.tls {
        let only_for_tls = [
            ("ca_file", settings.ca_file.is_some()),
            ("tls_server_name", settings.tls_server_name.is_some()),
            ("certificate_file", settings.certificate_file.is_some()),
            ("key_file", settings.key_file.is_some()),
        ];
        return only_for_tls
            .into_iter()
            .find(|(_, set)| *set)
            .map_or(Ok(Dialer { tls: None, server_name: None }), |(key, _)| {
                Err(SetupError::TlsOff { key })
            });
    }
    let server_name = match &settings.tls_server_name {
        None => None,
        Some(name) => Some(
            ServerName::try_from(name.clone())
                .map_err(|_| SetupError::ServerName { name: name.clone() })?,
        ),
    };
    Ok(Dialer { tls: Some(Tls::new(settings)?), server_name })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What the operator is told.
    fn told(text: &str) -> String {
        let settings: Settings = toml::from_str(text).unwrap();
        Setup::new(&settings).err().map_or_else(String::new, |error| error.to_string())
    }

    #[test]
    fn every_mistake_is_named_with_what_to_write() {
        let cases = [
            ("addresses = [\"redis://a:1\"]", "state.redis.addresses"),
            ("addresses = []", "[\"host:port\"]"),
            ("addresses = [\"a:1\", \"b:1\"]", "\"cluster\""),
            ("topology = \"sentinel\"", "state.redis.master"),
            ("master = \"m\"", "state.redis.master"),
            ("sentinel_username = \"u\"", "state.redis.sentinel_username"),
            (
                "topology = \"cluster\"\nsentinel_password_file = \"/x\"",
                "state.redis.sentinel_password_file",
            ),
            ("topology = \"cluster\"\ndatabase = 1", "state.redis.database"),
            ("username = \"u\"", "state.redis.password_file"),
            (
                "topology = \"sentinel\"\nmaster = \"m\"\nsentinel_username = \"u\"",
                "state.redis.sentinel_password_file",
            ),
            ("password_file = \"/does/not/exist\"", "state.redis.password_file: /does/not/exist"),
            ("prefix = \"\"", "state.redis.prefix"),
            ("prefix = \"a{b}\"", "state.redis.prefix"),
            ("timeout = \"9ms\"", "\"10ms\""),
            ("timeout = \"1001ms\"", "\"1s\""),
            ("wait_timeout = \"126ms\"", "state.redis.timeout"),
            ("wait_timeout = \"0s\"", "\"1ms\""),
            ("ca_file = \"/x\"", "tls = true"),
            ("key_file = \"/x\"", "tls = true"),
            ("tls_server_name = \"x\"", "tls = true"),
            ("tls = true\nca_file = \"/does/not/exist\"", "state.redis.ca_file"),
            ("tls = true\ntls_server_name = \"a b\"", "state.redis.tls_server_name"),
        ];
        for (text, part) in cases {
            let told = told(text);
            assert!(told.contains(part), "{text}: {told}");
        }
    }

    #[test]
    fn what_makes_sense_is_taken() {
        for text in [
            "",
            "addresses = [\"[::1]:6379\"]\ndatabase = 3\nprefix = \"a:b\"",
            "topology = \"sentinel\"\nmaster = \"m\"\naddresses = [\"a:1\", \"b:1\", \"c:1\"]",
            "topology = \"cluster\"\naddresses = [\"a:1\", \"b:1\"]",
            "timeout = \"1s\"\nwait_timeout = \"500ms\"",
        ] {
            assert_eq!(told(text), "", "{text}");
        }
    }
}
