//! EHRs beside the one that every scene has.

use hookgate::demo::ehr::SigningKey;
use serde_json::Value;

use crate::harness::Scene;

/// An EHR with an issuer and a key of its own.
pub(crate) struct Ehr {
    pub(crate) id: &'static str,
    pub(crate) key: SigningKey,
}

impl Ehr {
    pub(crate) fn new(id: &'static str) -> Self {
        Self { id, key: SigningKey::generate(&format!("{id}-key")).unwrap() }
    }

    pub(crate) fn issuer(&self) -> String {
        format!("https://{}.example.org/fhir", self.id)
    }

    /// Its `[[client]]`, with these lines added and its keys written in place.
    pub(crate) fn inline(&self, lines: &str) -> String {
        let jwks: Value = serde_json::from_str(&self.key.jwks()).unwrap();
        let keys = toml::Value::try_from(jwks).unwrap();
        self.table(&format!("jwks = {keys}\n{lines}"))
    }

    /// Its `[[client]]` with keys that are fetched from `url`.
    pub(crate) fn fetched(&self, url: &str) -> String {
        self.table(&format!("jwks_url = \"{url}\"\nallow_private_key_server = true\n"))
    }

    fn table(&self, lines: &str) -> String {
        format!("[[client]]\nid = \"{}\"\nissuer = \"{}\"\n{lines}\n", self.id, self.issuer())
    }

    pub(crate) fn token(&self, scene: &Scene, audience: &str) -> String {
        let mut claims = scene.claims(audience);
        claims["iss"] = self.issuer().into();
        let token = self.key.sign(&claims, None).unwrap();
        scene.secrets().add_token(&token);
        token
    }
}

impl Scene {
    /// The feedback URL of the greeting service.
    pub(crate) fn feedback(&self) -> String {
        format!("{}/feedback", self.endpoint())
    }

    /// The claims of a call, changed, as a token of the scene's own EHR.
    pub(crate) fn token_with(&self, audience: &str, change: impl FnOnce(&mut Value)) -> String {
        let mut claims = self.claims(audience);
        change(&mut claims);
        let token = self.key.sign(&claims, None).unwrap();
        self.secrets().add_token(&token);
        token
    }

    /// The value of a sample at `/metrics`, written as Prometheus does; 0 where it is not there.
    pub(crate) async fn sample(&self, sample: &str) -> u64 {
        let text = self.metrics().await;
        let found = text.lines().find_map(|line| line.strip_prefix(sample)?.strip_prefix(' '));
        found.map_or(0, |value| value.parse().unwrap())
    }

    /// `/readyz`: its status and what is pending.
    pub(crate) async fn pending(&self) -> (u16, Vec<String>) {
        let answer = reqwest::get(format!("{}/readyz", self.health())).await.unwrap();
        let status = answer.status().as_u16();
        let said: Value = answer.json().await.unwrap();
        (status, serde_json::from_value(said["pending"].clone()).unwrap())
    }

    /// Waits until `/readyz` has exactly this pending, which a task in the background brings about.
    pub(crate) async fn until_pending(&self, expected: &[&str]) {
        for _ in 0..6000 {
            let (status, pending) = self.pending().await;
            if pending == expected {
                assert_eq!(status, if expected.is_empty() { 200 } else { 503 });
                return;
            }
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
        panic!("never pending as expected, but {:?}", self.pending().await.1);
    }
}
