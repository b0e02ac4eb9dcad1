//! The EHR: tokens that are good once, calls, and what it reports.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::UNIX_EPOCH;

use hookgate::demo::ehr::SigningKey;
use reqwest::{Client, RequestBuilder};
use serde_json::{Value, json};

use crate::site::{ISSUER, PUBLIC_URL};

/// How long a token is good, in seconds.
#[derive(Clone, Copy)]
pub(crate) enum Good {
    Long = 120,
    /// It ends while the test looks on.
    Short = 5,
}

/// Signs.
pub(crate) struct Ehr {
    key: SigningKey,
    run: u128,
    next: AtomicU64,
}

impl Ehr {
    pub(crate) fn new(key: &SigningKey) -> Self {
        let run = UNIX_EPOCH.elapsed().unwrap().as_nanos();
        Self { key: key.clone(), run, next: AtomicU64::new(0) }
    }

    /// A number that nothing else of this EHR has.
    pub(crate) fn number(&self) -> u64 {
        self.next.fetch_add(1, Ordering::Relaxed)
    }

    /// A token that nobody has shown yet.
    pub(crate) fn token(&self, service: &str, good: Good) -> String {
        let now = UNIX_EPOCH.elapsed().unwrap().as_secs();
        let claims = json!({
            "iss": ISSUER, "aud": endpoint(service), "iat": now, "exp": now + good as u64,
            "jti": format!("{}-{}", self.run, self.number()),
        });
        self.key.sign(&claims, None).unwrap()
    }
}

/// Where a service is called.
pub(crate) fn endpoint(service: &str) -> String {
    format!("{PUBLIC_URL}/cds-services/{service}")
}

/// The hookInstance of a case.
pub(crate) fn hook_instance(case: u64) -> String {
    format!("00000000-0000-4000-8000-{case:012x}")
}

/// A hook call. The service is told which case it is, and by which token it was let in.
pub(crate) fn call(
    client: &Client,
    service: &str,
    token: &str,
    (case, token_number): (u64, u64),
) -> RequestBuilder {
    let body = json!({
        "hook": "patient-view", "hookInstance": hook_instance(case),
        "context": {
            "userId": "Practitioner/1", "patientId": "p1", "case": case, "token": token_number,
        },
    });
    client.post(endpoint(service)).bearer_auth(token).json(&body)
}

/// What is reported once: an entry of feedback, or that a suggestion was accepted.
#[derive(Clone, Debug)]
pub(crate) enum Entry {
    Feedback { card: String, number: u64 },
    Analytics { suggestion: String, number: u64 },
}

impl Entry {
    /// Names it at the service.
    pub(crate) const fn number(&self) -> u64 {
        match self {
            Self::Feedback { number, .. } | Self::Analytics { number, .. } => *number,
        }
    }
}

/// Reports it. What names the attempt stands beside the entry, which is the same each time.
pub(crate) fn report(
    client: &Client,
    service: &str,
    token: &str,
    entry: &Entry,
    (case, attempt): (u64, u64),
) -> RequestBuilder {
    let endpoint = endpoint(service);
    let (url, body): (String, Value) = match entry {
        Entry::Feedback { card, number } => (
            format!("{endpoint}/feedback"),
            json!({
                "case": case, "attempt": attempt,
                "feedback": [{"card": card, "outcome": "accepted", "number": number}],
            }),
        ),
        Entry::Analytics { suggestion, number } => (
            format!("{endpoint}/analytics/{suggestion}"),
            json!({"case": case, "attempt": attempt, "number": number}),
        ),
    };
    client.post(url).bearer_auth(token).json(&body)
}
