//! Keys whose private halves anybody can read.
//!
//! The public test clients of the field sign with private keys that stand in their repositories, so
//! a token of theirs proves nothing.

use url::Url;

/// RFC 7638 thumbprints (SHA-256, base64url) of keys whose private halves are published.
const PUBLISHED: [&str; 6] = [
    // The example in the CDS Hooks specification, 1.0 to 3.0.
    "-UtOymI2Z0XB5SZogEZu3s5oMyQ4YaewHtR9huroTQs",
    // cds-hooks/sandbox, keys/jwk-keypair.json.
    "s9fOe-KDYD1myZ8YCzleUqJQgrYZL49kVijBxhnZvZc",
    // cds-hooks/sandbox, the first ecprivatekey.pem, with which the legacy sandbox signed.
    "oinqNI3POUw3TTo_R_BmQFF2EK2jQK8R7cJm3Cw-K6Y",
    // inferno-framework/davinci-crd-test-kit, crd_jwks.json: ES384 and RS384.
    "RBFgQFFUIf4hfG8iUUZrf3vFZ_V2r3YRGPx9nKJXk5M",
    "Q7fgcIzqt0bVAKsWaw_FyUFSDDpOTfsGdGtjJmAnzFY",
    // mcode/request-generator, src/keys/crdPrivateKey.js.
    "jezoBy9CWUgfVBoMAmQ123AOr3vP7rju53QNoZHuNMo",
];

/// Hosts of clients that sign with a published key.
const HOSTS: [&str; 4] = [
    "sandbox.cds-hooks.org",
    "legacy-sandbox.cds-hooks.org",
    "inferno.healthit.gov",
    "inferno-qa.healthit.gov",
];

/// Where Inferno's CRD test client says it is, on whatever host it runs.
const INFERNO_CLIENT: &str = "/custom/crd_server";

/// Whether the private half of the key with this thumbprint is published.
pub(super) fn is_published(thumbprint: &str) -> bool {
    PUBLISHED.contains(&thumbprint)
}

/// Whether an issuer or a URL of keys is that of a client whose private key is published.
pub(super) fn belongs_to_test_client(url: &str) -> bool {
    let Ok(parsed) = url.parse::<Url>() else { return false };
    let host = parsed.host_str().unwrap_or_default().trim_end_matches('.');
    HOSTS.contains(&host) || parsed.path().contains(INFERNO_CLIENT)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn knows_the_test_clients() {
        for known in [
            "https://sandbox.cds-hooks.org",
            "https://SANDBOX.cds-hooks.org./.well-known/jwks.json",
            "http://legacy-sandbox.cds-hooks.org",
            "https://inferno.example.org/custom/crd_server",
            "https://inferno.example.org/custom/crd_server/jwks.json",
        ] {
            assert!(belongs_to_test_client(known), "{known}");
        }
        for other in
            ["https://ehr.example.org", "my-sandbox.cds-hooks.org", "https://cds-hooks.org"]
        {
            assert!(!belongs_to_test_client(other), "{other}");
        }
    }
}
