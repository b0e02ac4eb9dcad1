//! What an operator says about Redis.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::units::Period;

/// Where Redis (7.0 or later) or Valkey is, and who asks. It is shared by all replicas.
///
/// Secrets are in files and never here: this can be shown to anybody who operates the gateway.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// How the servers work together. Default `standalone`.
    pub topology: Topology,
    /// `host:port` of the server, of all sentinels (more than half must name the same master), or of some nodes of the cluster, which name the
    /// others. A numeric IPv6 host stands in brackets. Default `127.0.0.1:6379`.
    pub addresses: Vec<String>,
    /// What the sentinels call the master. They need it, nothing else takes it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub master: Option<String>,
    /// Whether to speak TLS with all servers, sentinels included. Default `false`; say `true` wherever
    /// the network is not this machine's own.
    pub tls: bool,
    /// Who vouches for the servers' certificates, in PEM; read anew for each connection. Default: the
    /// system's certificates.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ca_file: Option<PathBuf>,
    /// The name that the servers' certificates must bear. Default: the host of each address. Sentinels
    /// and clusters name servers by number, and certificates seldom do.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tls_server_name: Option<String>,
    /// The certificate by which the gateway shows who it is, in PEM, where the servers ask for one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub certificate_file: Option<PathBuf>,
    /// Its private key, in PEM. Both files are read anew for each connection, so that renewed ones are
    /// taken up.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key_file: Option<PathBuf>,
    /// The ACL user. Default: the server's default user. See [`crate::redis`] for the rights it needs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub username: Option<String>,
    /// The file with the password, which is read anew for each connection, so that a rotated one is
    /// taken up. One line feed at its end does not count. Default: no login.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub password_file: Option<PathBuf>,
    /// The ACL user of the sentinels, as above.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sentinel_username: Option<String>,
    /// The file with the sentinels' password, as above.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sentinel_password_file: Option<PathBuf>,
    /// The number of the database. Default 0; a cluster has no other.
    pub database: u16,
    /// What every key begins with, so that others may use the same server. Default `hookgate`.
    pub prefix: String,
    /// The most that a call waits for Redis, connecting included. Default 250 ms: half of what a clinician
    /// waits for the whole call. From 10 ms to 1 s.
    pub timeout: Period,
    /// How many replicas must have a durable step before it counts. Default 0: the master's word is
    /// enough, and a failover may lose what it did last.
    pub wait_replicas: u8,
    /// How long to wait for them; at most half of `timeout`. Default 100 ms.
    pub wait_timeout: Period,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            topology: Topology::Standalone,
            addresses: vec!["127.0.0.1:6379".to_owned()],
            master: None,
            tls: false,
            ca_file: None,
            tls_server_name: None,
            certificate_file: None,
            key_file: None,
            username: None,
            password_file: None,
            sentinel_username: None,
            sentinel_password_file: None,
            database: 0,
            prefix: "hookgate".to_owned(),
            timeout: Period::millis(250),
            wait_replicas: 0,
            wait_timeout: Period::millis(100),
        }
    }
}

/// How servers work together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Topology {
    /// One server at a fixed address. A managed service that moves its address on failover is one, too.
    Standalone,
    /// Sentinels know which server is the master.
    Sentinel,
    /// Redis Cluster: several masters share the keys.
    Cluster,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_written_means_one_server_here() {
        assert_eq!(toml::from_str::<Settings>("").unwrap(), Settings::default());
    }

    #[test]
    fn what_is_written_is_read_and_nothing_else_is_taken() {
        let text = r#"
            topology = "sentinel"
            addresses = ["a:1", "b:2"]
            master = "m"
            tls = true
            ca_file = "/ca"
            username = "u"
            password_file = "/p"
            timeout = "100ms"
            wait_replicas = 1
            wait_timeout = "50ms"
        "#;
        let settings: Settings = toml::from_str(text).unwrap();
        assert_eq!(settings.topology, Topology::Sentinel);
        assert_eq!(toml::from_str::<Settings>(&toml::to_string(&settings).unwrap()), Ok(settings));
        for bad in
            ["topology = \"ring\"", "password = \"x\"", "database = -1", "wait_replicas = 256"]
        {
            assert!(toml::from_str::<Settings>(bad).is_err(), "{bad}");
        }
    }
}
