//! A replica that has room for one token, which only a test gives it: what is done, and said, without room.

use std::collections::HashSet;
use std::sync::Arc;

use bytes::Bytes;
use hookgate::body;
use hookgate::body::Intake;
use hookgate::clock::{Clock, ManualClock};
use hookgate::demo::ehr::SigningKey;
use hookgate::entropy::{Entropy, SystemEntropy};
use hookgate::gateway::auth;
use hookgate::gateway::auth::{Authenticator, Called, ClientSettings, KeySettings};
use hookgate::gateway::limit;
use hookgate::gateway::limit::Limits;
use hookgate::gateway::replay;
use hookgate::gateway::replay::{Local, Replay, ReplayError};
use hookgate::gateway::route::Way;
use hookgate::names::{ClientId, ServiceId};
use hookgate::store::StoreError;
use http::{HeaderMap, Method};
use http_body_util::Full;
use prometheus_client::registry::Registry;
use serde_json::{Value, json};
use url::Url;

use crate::harness::{ISSUER, KID, NOW, SERVICE, Trouble, TroubledStore, all_lines, capture};

const ENDPOINT: &str = "https://localhost/cds-services/patient-greeting";

struct Narrow {
    key: SigningKey,
    auth: Authenticator,
    limits: Limits,
    replay: Replay,
    store: TroubledStore,
}

impl Narrow {
    fn new(client: &str, mode: &str) -> Self {
        let (clock, key) = (ManualClock::new(NOW), SigningKey::generate(KID).unwrap());
        let ticks: Arc<dyn Clock> = Arc::new(clock.clone());
        let entropy: Arc<dyn Entropy> = Arc::new(SystemEntropy::default());
        let mut registry = Registry::default();
        let jwks: Value = serde_json::from_str(&key.jwks()).unwrap();
        let settings: ClientSettings = serde_json::from_value(
            json!({"id": client, "issuer": ISSUER, "jwks": jwks, "replay": mode, "clock_skew": "0s"}),
        )
        .unwrap();
        let auth = Authenticator::new(
            vec![settings],
            KeySettings::default(),
            &Url::parse("https://localhost/").unwrap(),
            None,
            Arc::clone(&ticks),
            Arc::clone(&entropy),
            auth::Metrics::register(&mut registry),
        )
        .unwrap();
        let off = limit::Settings { mode: limit::Mode::Off, ..limit::Settings::default() };
        let metrics = limit::Metrics::register(&mut registry);
        let limits = Limits::new(&off, &[], None, Arc::clone(&ticks), metrics).unwrap();
        let clients = HashSet::from([ClientId::new(client).unwrap()]);
        let metrics = replay::Metrics::register(&mut registry);
        let local = Local::new(clients, 1, ticks, entropy.as_ref(), metrics).unwrap();
        let store = TroubledStore::new(&clock);
        let replay = Replay::new(Arc::new(store.clone()), Arc::new(local), entropy);
        Self { key, auth, limits, replay, store }
    }

    /// What is observed about a hook call with this token.
    async fn call(&self, jti: &str) -> Result<Vec<&'static str>, ReplayError> {
        let claims = json!({
            "iss": ISSUER, "aud": ENDPOINT, "jti": jti,
            "iat": NOW.secs(), "exp": NOW.secs() + 300,
        });
        let mut headers = HeaderMap::new();
        let token = format!("Bearer {}", self.key.sign(&claims, None).unwrap());
        headers.insert("authorization", token.parse().unwrap());
        let service = ServiceId::new(SERVICE).unwrap();
        let verified =
            self.auth.authenticate(&headers, &Called::Service(&service), None).await.unwrap();
        let admitted = self.limits.admit(verified, Some(&service)).await.unwrap();
        let body = Full::new(Bytes::from_static(b"{}"));
        let body = Intake::new(&body::Settings::default()).read(&headers, body).await.unwrap();
        let (way, request) = (Way::Hook(service), (&Method::POST, ENDPOINT));
        let caller = self.replay.spend(&way, admitted, request, &body).await?;
        Ok(caller.observed().to_vec())
    }
}

#[tokio::test]
async fn without_room_observing_says_that_nobody_has_noted_the_token() {
    let narrow = Narrow::new("narrow-observed", "observe");
    narrow.store.gets(Trouble::Down);
    assert_eq!(narrow.call("one").await.unwrap(), ["spent-locally"]);
    for _ in 0..2 {
        assert_eq!(narrow.call("two").await.unwrap(), ["token-not-recorded"]);
    }
    assert_eq!(narrow.call("one").await.unwrap(), ["spent-locally", "replayed"]);
}

#[tokio::test]
async fn without_room_a_call_waits_and_the_log_says_once_whose_room_is_full() {
    capture();
    let narrow = Narrow::new("narrow", "reject");
    for jti in ["one", "two", "three"] {
        assert!(narrow.call(jti).await.unwrap().is_empty(), "the store has room");
    }
    narrow.store.gets(Trouble::Down);
    for jti in ["two", "four"] {
        let refused = narrow.call(jti).await;
        assert!(matches!(refused, Err(ReplayError::Store(StoreError::Down(_)))), "{refused:?}");
    }
    let lines = all_lines();
    let told = lines.lines().filter(|line| line.contains("\"client\":\"narrow\""));
    assert_eq!(told.filter(|line| line.contains("no room for another token")).count(), 1);
}
