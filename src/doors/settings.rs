//! What an operator can set about the public listener: `[listener]`.

use std::net::{Ipv4Addr, SocketAddr};
use std::num::{NonZeroU8, NonZeroU32};
use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::peer::TrustedProxies;
use crate::units::{ByteSize, Period};

/// What is asked of clients in the handshake.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum ClientCertificates {
    /// Nothing.
    #[default]
    Off,
    /// They are asked for a certificate and may go without. One that is shown must be good.
    Optional,
    /// The same in the handshake, because a clinician's browser has none; but a call of an EHR without one
    /// is refused.
    Required,
}

/// The public listener.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// Where to listen. `"[::]:8443"` takes IPv4 too where the system is set so; port 0 takes a free one.
    pub address: SocketAddr,
    /// The certificate chain, PEM, the listener's own certificate first. Required unless `plaintext`.
    pub certificate_file: Option<PathBuf>,
    /// The private key of the first certificate, PEM (PKCS#8, SEC1 or PKCS#1). Required unless `plaintext`.
    pub key_file: Option<PathBuf>,
    /// No TLS: for a TLS terminator in the same pod, and nothing else. Serves HTTP/1.1 only, because
    /// without ALPN nothing says which protocol the peer speaks.
    pub plaintext: bool,
    /// Offer HTTP/2. Off helps only where a middle box breaks it.
    pub http2: bool,
    /// Whether EHRs show certificates of their own (mutual TLS).
    pub client_certificates: ClientCertificates,
    /// The authorities that issue them, PEM. Needed unless `client_certificates` is off. All are believed
    /// about every name: see `client.certificates` for what a client is bound to.
    pub client_ca_file: Option<PathBuf>,
    /// Their revocation lists, each PEM or DER. Empty: nothing is revoked. Otherwise every authority needs
    /// a list that has not ended, those in the middle of a chain too; without one its certificates are
    /// refused.
    pub client_crl_files: Vec<PathBuf>,
    /// Load balancers whose connections begin with a PROXY protocol header, version 2, which says where the
    /// client is. Theirs must; nobody else's is taken.
    pub proxy_protocol_from: TrustedProxies,
    /// Connections open at once. One more is closed as soon as it is accepted, so that the established
    /// ones are served. The default keeps memory below about 1 GiB with TLS.
    pub max_connections: NonZeroU32,
    /// Connections open at once from one address (IPv6: one /64). Large, because an EHR's calls and a
    /// hospital's browsers leave through few addresses.
    pub max_connections_per_address: NonZeroU32,
    /// TLS handshakes in flight. They cost more CPU than anything else a stranger can ask for.
    pub max_handshakes: NonZeroU32,
    /// From the accepted connection to the finished handshake, the wait for a free handshake included.
    pub handshake_timeout: Period,
    /// From the first byte of a request's head to its last; for HTTP/2, for the connection preface.
    pub header_timeout: Period,
    /// How long a connection may stay without a request, and an answer without the peer reading it.
    /// Longer than the usual clients' own pools keep a connection is not worth a socket.
    pub idle_timeout: Period,
    /// After this a connection is asked to end, so that clients find new replicas and new certificates.
    pub max_connection_age: Period,
    /// The largest head of a request, and the largest HTTP/2 field section. 1 KiB to 1 MiB.
    pub max_header_bytes: ByteSize,
    /// The most fields in a head or in trailers.
    pub max_headers: NonZeroU8,
    /// HTTP/2 requests in flight on one connection.
    pub max_streams: NonZeroU32,
    /// How long accepted requests may take once accepting has ended. Together with `ready_grace` it must
    /// stay below the platform's own patience (Kubernetes: `terminationGracePeriodSeconds`, 30 s),
    /// with some seconds left to close the store.
    pub drain_timeout: Period,
    /// How long to go on accepting after readiness turned false: load balancers need that long to notice.
    pub ready_grace: Period,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            address: SocketAddr::from((Ipv4Addr::UNSPECIFIED, 8443)),
            certificate_file: None,
            key_file: None,
            plaintext: false,
            http2: true,
            client_certificates: ClientCertificates::Off,
            client_ca_file: None,
            client_crl_files: Vec::new(),
            proxy_protocol_from: TrustedProxies::default(),
            max_connections: at_least_one(10_000),
            max_connections_per_address: at_least_one(512),
            max_handshakes: at_least_one(256),
            handshake_timeout: Period::secs(5),
            header_timeout: Period::secs(10),
            idle_timeout: Period::secs(60),
            max_connection_age: Period::secs(3600),
            max_header_bytes: ByteSize::kib(16),
            max_headers: NonZeroU8::MIN.saturating_add(63),
            max_streams: at_least_one(100),
            drain_timeout: Period::secs(20),
            ready_grace: Period::secs(5),
        }
    }
}

const fn at_least_one(number: u32) -> NonZeroU32 {
    NonZeroU32::MIN.saturating_add(number.saturating_sub(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_it_prints_and_refuses_what_cannot_work() {
        let printed = toml::to_string(&Settings::default()).unwrap();
        assert_eq!(toml::from_str::<Settings>(&printed).unwrap(), Settings::default(), "{printed}");
        assert_eq!(Settings::default().max_connections.get(), 10_000);
        assert_eq!(Settings::default().max_headers.get(), 64);
        for bad in [
            "max_connections = 0",
            "max_connections_per_address = 0",
            "max_handshakes = 0",
            "max_headers = 0",
            "max_headers = 256",
            "max_streams = 0",
            "address = \"8443\"",
            "idle_timeout = 60",
            "tls = false",
            "client_certificates = \"strict\"",
            "client_certificates = true",
            "proxy_protocol_from = [\"0.0.0.0/0\"]",
        ] {
            assert!(toml::from_str::<Settings>(bad).is_err(), "{bad}");
        }
    }
}
