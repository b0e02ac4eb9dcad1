//! The folder that all gateways of one place share: certificates, the EHR's public keys, the key file.

use std::path::{Path, PathBuf};

use hookgate::demo::ehr::SigningKey;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use tempfile::TempDir;

/// The one name under which all gateways are reached.
pub(crate) const HOST: &str = "cds.example.org";
pub(crate) const PUBLIC_URL: &str = "https://cds.example.org";
pub(crate) const ISSUER: &str = "https://ehr.example.org/fhir";
/// Links of this service outlive the cases that they are in.
pub(crate) const STEADY: &str = "steady";
/// Links of this one end while the test looks on.
pub(crate) const BRIEF: &str = "brief";
/// How long the links of [`BRIEF`] live, in seconds.
pub(crate) const BRIEF_SECS: u64 = 6;

/// How long everything else lives that a gateway gives out.
pub(crate) const LIFETIME: &str = "10m";

/// A place for gateways.
pub(crate) struct Site {
    folder: TempDir,
    key: SigningKey,
    authority: Vec<u8>,
}

impl Site {
    pub(crate) fn new() -> Self {
        let _ = jsonwebtoken::crypto::aws_lc::DEFAULT_PROVIDER.install_default();
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let leaf = KeyPair::generate().unwrap();
        let params = CertificateParams::new(vec![HOST.to_owned()]).unwrap();
        let certificate = params.signed_by(&leaf, &issuer).unwrap();
        let key = SigningKey::generate("key-1").unwrap();
        let site =
            Self { folder: tempfile::tempdir().unwrap(), authority: issuer.der().to_vec(), key };
        site.write("tls.crt", &certificate.pem());
        site.write("tls.key", &leaf.serialize_pem());
        site.write("ehr.jwks", &site.key.jwks());
        site
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(crate) fn write(&self, name: &str, text: &str) -> PathBuf {
        std::fs::write(self.path(name), text).unwrap();
        self.path(name)
    }

    /// The EHR's key.
    pub(crate) fn key(&self) -> &SigningKey {
        &self.key
    }

    /// The certificate that issued the gateways' own.
    pub(crate) fn authority(&self) -> &[u8] {
        &self.authority
    }

    /// The keys that seal links and ids.
    pub(crate) fn keys(&self) -> PathBuf {
        self.path("keys.json")
    }

    /// The configuration of one of so many gateways. Its limits are counted, and never reached.
    pub(crate) fn config(&self, port: u16, replicas: usize, upstream: &str, state: &str) -> String {
        let here = |name: &str| shown(&self.path(name));
        format!(
            r#"public_url = "{PUBLIC_URL}"
replicas = {replicas}
[listener]
address = "127.0.0.1:{port}"
certificate_file = "{}"
key_file = "{}"
ready_grace = "200ms"
[health]
address = "127.0.0.1:0"
[admin]
address = "127.0.0.1:0"
[limits]
address = {{ per_second = 100000, burst = 100000 }}
failing_address = {{ per_second = 100000, burst = 100000 }}
open_address = {{ per_second = 100000, burst = 100000 }}
client = {{ per_second = 100000, burst = 100000 }}
client_service = {{ per_second = 100000, burst = 100000 }}
{state}
[keyring]
file = "{}"
[[client]]
id = "ehr"
issuer = "{ISSUER}"
jwks_file = "{}"
[[upstream]]
id = "legacy"
url = "{upstream}"
connect_timeout = "10s"
response_timeout = "30s"
queue_timeout = "10s"
[[service]]
id = "{STEADY}"
links = {{ lifetime = "{LIFETIME}" }}
feedback = {{ lifetime = "{LIFETIME}" }}
[[service]]
id = "{BRIEF}"
links = {{ lifetime = "{BRIEF_SECS}s", grace = "2s" }}
feedback = {{ lifetime = "{LIFETIME}" }}
"#,
            here("tls.crt"),
            here("tls.key"),
            here("keys.json"),
            here("ehr.jwks"),
        )
    }
}

fn shown(path: &Path) -> String {
    path.display().to_string()
}
